"""The options of TridentNet in yacs-style configs."""

from d2_config import CfgNode


def add_tridentnet_config(cfg: CfgNode) -> None:
    """Add the options of TridentNet to a config, in place."""
    cfg.MODEL.TRIDENT = CfgNode(
        {
            "NUM_BRANCH": 3,
            "BRANCH_DILATIONS": [1, 2, 3],
            # The stage with branches.
            "TRIDENT_STAGE": "res4",
            # The branch that inference runs; -1 runs all and merges their detections.
            "TEST_BRANCH_IDX": 1,
        }
    )
