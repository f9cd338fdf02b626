"""Code that was written for detectron2 runs on d2: one import, opted into.

``import d2_engine.compat.detectron2`` installs it; importing this package alone does not. From a
command line: ``python -m d2_engine.compat script.py …`` or ``… -m package.module …``.
"""

from d2_engine.compat.finder import install, is_installed, uninstall
from d2_engine.compat.module_map import is_provided, provided_modules, translate

__all__ = [
    "install",
    "is_installed",
    "is_provided",
    "provided_modules",
    "translate",
    "uninstall",
]
