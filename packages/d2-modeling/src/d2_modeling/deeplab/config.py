"""The options of DeepLab in yacs-style configs."""

from d2_config import CfgNode


def add_deeplab_config(cfg: CfgNode) -> None:
    """Add the options of DeepLab to a config, in place."""
    # Crops in which one class covers more than this are drawn again; 1 takes any.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # Of the schedule "WarmupPolyLR".
    cfg.SOLVER.POLY_LR_POWER = 0.9
    cfg.SOLVER.POLY_LR_CONSTANT_ENDING = 0.0
    head = cfg.MODEL.SEM_SEG_HEAD
    head.LOSS_TYPE = "hard_pixel_mining"  # or "cross_entropy"
    head.PROJECT_FEATURES = ["res2"]
    head.PROJECT_CHANNELS = [48]
    head.ASPP_CHANNELS = 256
    head.ASPP_DILATIONS = [6, 12, 18]
    head.ASPP_DROPOUT = 0.1
    head.USE_DEPTHWISE_SEPARABLE_CONV = False
    resnet = cfg.MODEL.RESNETS
    resnet.STEM_TYPE = "deeplab"  # or "basic"
    resnet.RES4_DILATION = 1
    resnet.RES5_MULTI_GRID = [1, 2, 4]
