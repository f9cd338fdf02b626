"""The options of Panoptic-DeepLab in yacs-style configs."""

from d2_config import CfgNode

from ..deeplab.config import add_deeplab_config


def add_panoptic_deeplab_config(cfg: CfgNode) -> None:
    """Add the options of Panoptic-DeepLab, and those of DeepLab, to a config, in place."""
    add_deeplab_config(cfg)
    # Targets: the width of a centre, and which pixels count how much.
    cfg.INPUT.GAUSSIAN_SIGMA = 10
    cfg.INPUT.IGNORE_STUFF_IN_OFFSET = True
    cfg.INPUT.SMALL_INSTANCE_AREA = 4096
    cfg.INPUT.SMALL_INSTANCE_WEIGHT = 3
    cfg.INPUT.IGNORE_CROWD_IN_SEMANTIC = False
    cfg.SOLVER.OPTIMIZER = "ADAM"  # or "SGD"
    cfg.MODEL.SEM_SEG_HEAD.HEAD_CHANNELS = 256
    cfg.MODEL.SEM_SEG_HEAD.LOSS_TOP_K = 0.2
    cfg.MODEL.INS_EMBED_HEAD = CfgNode(
        {
            "NAME": "PanopticDeepLabInsEmbedHead",
            "IN_FEATURES": ["res2", "res3", "res5"],
            "PROJECT_FEATURES": ["res2", "res3"],
            "PROJECT_CHANNELS": [32, 64],
            "ASPP_CHANNELS": 256,
            "ASPP_DILATIONS": [6, 12, 18],
            "ASPP_DROPOUT": 0.1,
            "HEAD_CHANNELS": 32,
            "CONVS_DIM": 128,
            "COMMON_STRIDE": 4,
            "NORM": "SyncBN",
            "CENTER_LOSS_WEIGHT": 200.0,
            "OFFSET_LOSS_WEIGHT": 0.01,
        }
    )
    cfg.MODEL.PANOPTIC_DEEPLAB = CfgNode(
        {
            # Stuff of a smaller area is void.
            "STUFF_AREA": 2048,
            "CENTER_THRESHOLD": 0.1,
            "NMS_KERNEL": 7,
            "TOP_K_INSTANCE": 200,
            "PREDICT_INSTANCES": True,
            "USE_DEPTHWISE_SEPARABLE_CONV": False,
            # Images are padded to multiples of it; -1 takes the backbone's.
            "SIZE_DIVISIBILITY": -1,
            # Only run the network, without post-processing.
            "BENCHMARK_NETWORK_SPEED": False,
        }
    )
