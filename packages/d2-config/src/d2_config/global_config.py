"""One config that can be reached from anywhere, for quick experiments."""

from .cfg_node import CfgNode

global_cfg = CfgNode()


def set_global_cfg(cfg: CfgNode) -> None:
    """Let ``global_cfg`` have the keys of ``cfg``.

    ::

        from d2_config import global_cfg
        print(global_cfg.KEY)

    Convenient for prototypes; elsewhere, pass values to the code that needs them.
    """
    global_cfg.defrost()
    global_cfg.clear()
    global_cfg.update(cfg)
