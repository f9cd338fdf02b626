"""The options of PointRend in yacs-style configs."""

from d2_config import CfgNode


def add_pointrend_config(cfg: CfgNode) -> None:
    """Add the options of PointRend to a config, in place."""
    # Crops in which one class covers more than this are drawn again; 1 takes any.
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 1.0
    # Brightness, contrast, saturation and hue as SSD changes them.
    cfg.INPUT.COLOR_AUG_SSD = False
    mask_head = cfg.MODEL.ROI_MASK_HEAD
    mask_head.IN_FEATURES = ["p2"]
    mask_head.FC_DIM = 1024
    mask_head.NUM_FC = 2
    mask_head.OUTPUT_SIDE_RESOLUTION = 7
    mask_head.POINT_HEAD_ON = False
    cfg.MODEL.POINT_HEAD = CfgNode(
        {
            "NAME": "StandardPointHead",
            "NUM_CLASSES": 80,
            "IN_FEATURES": ["p2"],
            "FC_DIM": 256,
            "NUM_FC": 3,
            # Points of each region (or image) in training; so many times more are looked at, and
            # this share of them is taken where the mask is uncertain.
            "TRAIN_NUM_POINTS": 14 * 14,
            "OVERSAMPLE_RATIO": 3,
            "IMPORTANCE_SAMPLE_RATIO": 0.75,
            # In inference the mask doubles so often, and so many points are looked at anew.
            "SUBDIVISION_STEPS": 5,
            "SUBDIVISION_NUM_POINTS": 28 * 28,
            "CLS_AGNOSTIC_MASK": False,
            # Every layer sees the coarse prediction, not only the first.
            "COARSE_PRED_EACH_LAYER": True,
            "COARSE_SEM_SEG_HEAD_NAME": "SemSegFPNHead",
        }
    )
    cfg.MODEL.IMPLICIT_POINTREND = CfgNode(
        {
            "IMAGE_FEATURE_ENABLED": True,
            "POS_ENC_ENABLED": True,
            "PARAMS_L2_REGULARIZER": 1e-5,
        }
    )
