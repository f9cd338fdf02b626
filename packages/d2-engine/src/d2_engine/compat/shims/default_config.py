"""One default config that projects add their keys to before ``get_cfg`` is called.

d2's ``get_cfg`` builds a new one each time; there is none to add to.
"""

from d2_config import CfgNode
from d2_config import get_cfg as new_config

_C = new_config()


def get_cfg() -> CfgNode:
    """Return a copy of the default config, with what was added to it."""
    return _C.clone()
