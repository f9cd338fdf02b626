"""The default yacs-style config: every key a config file may set, and what it means.

Keys that end in ``_TRAIN`` or ``_TEST`` apply to that phase only.
"""

from typing import Any

from .cfg_node import CfgNode
from .versions import LATEST_VERSION


def get_cfg() -> CfgNode:
    """Return a fresh copy of the default config."""
    return CfgNode(DEFAULTS)


_MODEL: dict[str, Any] = {
    "LOAD_PROPOSALS": False,
    "MASK_ON": False,
    "KEYPOINT_ON": False,
    "DEVICE": "cuda",
    "META_ARCHITECTURE": "GeneralizedRCNN",
    # Checkpoint to start from: a path or a URL (detectron2://..., https://...).
    "WEIGHTS": "",
    # Subtracted from and divided into each channel, in the order of INPUT.FORMAT; one value per
    # channel. The mean is ImageNet's. Backbones from Detectron1 or MSRA have the deviation folded
    # into their first layer, hence 1; others want (57.375, 57.120, 58.395).
    "PIXEL_MEAN": [103.530, 116.280, 123.675],
    "PIXEL_STD": [1.0, 1.0, 1.0],
    "BACKBONE": {
        "NAME": "build_resnet_backbone",
        # Stages whose parameters are not trained, counted from the stem (a ResNet has 5).
        "FREEZE_AT": 2,
    },
    "FPN": {
        # Backbone outputs to use; their strides must be successive powers of 2.
        "IN_FEATURES": [],
        "OUT_CHANNELS": 256,
        "NORM": "",  # "" or "GN"
        "FUSE_TYPE": "sum",  # how lateral and top-down maps are joined: "sum" or "avg"
    },
    "PROPOSAL_GENERATOR": {
        "NAME": "RPN",  # "RPN", "RRPN" or "PrecomputedProposals"
        # Proposals must be higher and wider than this, in pixels of the network input.
        "MIN_SIZE": 0,
    },
    "ANCHOR_GENERATOR": {
        "NAME": "DefaultAnchorGenerator",
        # For each feature map, or one list for all: square roots of anchor areas in input pixels,
        "SIZES": [[32, 64, 128, 256, 512]],
        # height/width ratios,
        "ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
        # and, for rotated anchors, angles in degrees.
        "ANGLES": [[-90, 0, 90]],
        # Centre of the first anchor from the image's corner, in strides; 0 <= OFFSET < 1.
        "OFFSET": 0.0,
    },
    "RPN": {
        "HEAD_NAME": "StandardRPNHead",
        "IN_FEATURES": ["res4"],
        # Drop training anchors that leave the image by more than this many pixels; -1 keeps all.
        "BOUNDARY_THRESH": -1,
        # IoU with ground truth below the first: background (0); from the second on: foreground
        # (1); between them: ignored (-1).
        "IOU_THRESHOLDS": [0.3, 0.7],
        "IOU_LABELS": [0, -1, 1],
        "BATCH_SIZE_PER_IMAGE": 256,  # anchors sampled per image
        "POSITIVE_FRACTION": 0.5,  # aimed-at share of foreground among them
        "BBOX_REG_LOSS_TYPE": "smooth_l1",  # "smooth_l1" or "giou"
        "BBOX_REG_LOSS_WEIGHT": 1.0,
        "BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0),  # scale of (dx, dy, dw, dh)
        "SMOOTH_L1_BETA": 0.0,  # where L1 turns into L2; 0 is plain L1
        "LOSS_WEIGHT": 1.0,
        # Best-scored proposals kept before and after NMS. With FPN, the first counts per level,
        # the second per level and again over all levels of one image.
        "PRE_NMS_TOPK_TRAIN": 12000,
        "PRE_NMS_TOPK_TEST": 6000,
        "POST_NMS_TOPK_TRAIN": 2000,
        "POST_NMS_TOPK_TEST": 1000,
        "NMS_THRESH": 0.7,
        "CONV_DIMS": [-1],  # channels of the head's convolutions; -1: as many as come in
    },
    "ROI_HEADS": {
        "NAME": "Res5ROIHeads",
        "NUM_CLASSES": 80,  # foreground classes
        "IN_FEATURES": ["res4"],  # used by all heads: box, mask, keypoint
        "IOU_THRESHOLDS": [0.5],
        "IOU_LABELS": [0, 1],
        "BATCH_SIZE_PER_IMAGE": 512,  # regions sampled per image
        "POSITIVE_FRACTION": 0.25,
        # Scores are in [0, 1]. A threshold of 0 gains a little AP and costs much time.
        "SCORE_THRESH_TEST": 0.05,
        "NMS_THRESH_TEST": 0.5,
        "PROPOSAL_APPEND_GT": True,  # sample training regions from ground-truth boxes, too
    },
    "ROI_BOX_HEAD": {
        "NAME": "",  # not used by C4 models; others: "FastRCNNConvFCHead"
        "BBOX_REG_LOSS_TYPE": "smooth_l1",  # "smooth_l1" or "giou"
        "BBOX_REG_LOSS_WEIGHT": 1.0,
        # Chosen so that the targets have about unit variance.
        "BBOX_REG_WEIGHTS": (10.0, 10.0, 5.0, 5.0),
        "SMOOTH_L1_BETA": 0.0,
        "POOLER_RESOLUTION": 14,
        "POOLER_SAMPLING_RATIO": 0,
        "POOLER_TYPE": "ROIAlignV2",
        "NUM_FC": 0,
        "FC_DIM": 1024,
        "NUM_CONV": 0,
        "CONV_DIM": 256,
        "NORM": "",  # "", "GN" or "SyncBN"
        "CLS_AGNOSTIC_BBOX_REG": False,
        # Feed the mask and keypoint heads with predicted boxes rather than proposals.
        "TRAIN_ON_PRED_BOXES": False,
        # Federated loss, for data annotated with some of its classes only (LVIS).
        "USE_FED_LOSS": False,
        "USE_SIGMOID_CE": False,
        "FED_LOSS_FREQ_WEIGHT_POWER": 0.5,
        "FED_LOSS_NUM_CLASSES": 50,
    },
    "ROI_BOX_CASCADE_HEAD": {
        # Both have one entry per stage of the cascade.
        "BBOX_REG_WEIGHTS": (
            (10.0, 10.0, 5.0, 5.0),
            (20.0, 20.0, 10.0, 10.0),
            (30.0, 30.0, 15.0, 15.0),
        ),
        "IOUS": (0.5, 0.6, 0.7),
    },
    "ROI_MASK_HEAD": {
        "NAME": "MaskRCNNConvUpsampleHead",
        "POOLER_RESOLUTION": 14,
        "POOLER_SAMPLING_RATIO": 0,
        "NUM_CONV": 0,
        "CONV_DIM": 256,
        "NORM": "",  # "", "GN" or "SyncBN"
        "CLS_AGNOSTIC_MASK": False,
        "POOLER_TYPE": "ROIAlignV2",
    },
    "ROI_KEYPOINT_HEAD": {
        "NAME": "KRCNNConvDeconvUpsampleHead",
        "POOLER_RESOLUTION": 14,
        "POOLER_SAMPLING_RATIO": 0,
        "CONV_DIMS": (512, 512, 512, 512, 512, 512, 512, 512),
        "NUM_KEYPOINTS": 17,
        "MIN_KEYPOINTS_PER_IMAGE": 1,  # images with fewer are left out of training
        # Divide the loss by the visible keypoints of the batch. Otherwise by all that could be,
        # so that images with few visible ones weigh less; LOSS_WEIGHT is 4 then.
        "NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS": True,
        "LOSS_WEIGHT": 1.0,
        "POOLER_TYPE": "ROIAlignV2",
    },
    "SEM_SEG_HEAD": {
        "NAME": "SemSegFPNHead",
        "IN_FEATURES": ["p2", "p3", "p4", "p5"],
        "IGNORE_VALUE": 255,  # pixels with this label have no loss
        "NUM_CLASSES": 54,
        "CONVS_DIM": 128,
        "COMMON_STRIDE": 4,  # all levels are brought to this stride
        "NORM": "GN",  # "" or "GN"
        "LOSS_WEIGHT": 1.0,
    },
    "PANOPTIC_FPN": {
        "INSTANCE_LOSS_WEIGHT": 1.0,
        "COMBINE": {
            "ENABLED": True,  # has no effect any more
            "OVERLAP_THRESH": 0.5,
            "STUFF_AREA_LIMIT": 4096,
            "INSTANCES_CONFIDENCE_THRESH": 0.5,
        },
    },
    "RETINANET": {
        "NUM_CLASSES": 80,  # foreground classes
        "IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
        "NUM_CONVS": 4,  # in each tower, the last one (logits or deltas) not counted
        "IOU_THRESHOLDS": [0.4, 0.5],
        "IOU_LABELS": [0, -1, 1],
        # Foreground probability that the classifier starts from; it keeps the many background
        # anchors from drowning the first iterations.
        "PRIOR_PROB": 0.01,
        "SCORE_THRESH_TEST": 0.05,
        "TOPK_CANDIDATES_TEST": 1000,  # kept before NMS
        "NMS_THRESH_TEST": 0.5,
        "BBOX_REG_WEIGHTS": (1.0, 1.0, 1.0, 1.0),
        "FOCAL_LOSS_GAMMA": 2.0,
        "FOCAL_LOSS_ALPHA": 0.25,
        "SMOOTH_L1_LOSS_BETA": 0.1,
        "BBOX_REG_LOSS_TYPE": "smooth_l1",  # "smooth_l1" or "giou"
        "NORM": "",  # "", "GN", "BN", "SyncBN" or "FrozenBN"
    },
    # ResNet and ResNeXt, as backbone and as part of a C4 head.
    "RESNETS": {
        "DEPTH": 50,
        "OUT_FEATURES": ["res4"],
        "NUM_GROUPS": 1,  # more than one makes a ResNeXt
        "NORM": "FrozenBN",  # "FrozenBN", "GN", "SyncBN" or "BN"
        "WIDTH_PER_GROUP": 64,  # scales all bottleneck widths
        # Where a stage halves the map: in its 1x1 convolution (MSRA weights) or its 3x3 (others).
        "STRIDE_IN_1X1": True,
        "RES5_DILATION": 1,
        "RES2_OUT_CHANNELS": 256,  # scales all stage outputs; depths 18 and 34 need 64
        "STEM_OUT_CHANNELS": 64,
        # Deformable convolutions in res2, res3, res4, res5.
        "DEFORM_ON_PER_STAGE": [False, False, False, False],
        "DEFORM_MODULATED": False,  # version 2, with a modulation mask
        "DEFORM_NUM_GROUPS": 1,
    },
}

_INPUT: dict[str, Any] = {
    "MIN_SIZE_TRAIN": (800,),  # length of the shorter side, in pixels
    "MIN_SIZE_TRAIN_SAMPLING": "choice",  # "choice" among the sizes, or "range" between two
    "MAX_SIZE_TRAIN": 1333,  # limit of the longer side
    "MIN_SIZE_TEST": 800,  # 0: do not resize
    "MAX_SIZE_TEST": 1333,
    "RANDOM_FLIP": "horizontal",  # "horizontal", "vertical" or "none"
    "CROP": {
        "ENABLED": False,
        # As of transforms.RandomCrop: SIZE is a share of the image in (0, 1] for the two
        # "relative" types, pixels for the two "absolute" ones.
        "TYPE": "relative_range",
        "SIZE": [0.9, 0.9],
    },
    "FORMAT": "BGR",  # "BGR" or any mode of Pillow
    "MASK_FORMAT": "polygon",  # "polygon" or "bitmask"
}

_DATASETS: dict[str, Any] = {
    # Catalog names; all of TRAIN are merged.
    "TRAIN": (),
    "TEST": (),
    # Precomputed proposals, one file per dataset, and how many of the best to keep.
    "PROPOSAL_FILES_TRAIN": (),
    "PROPOSAL_FILES_TEST": (),
    "PRECOMPUTED_PROPOSAL_TOPK_TRAIN": 2000,
    "PRECOMPUTED_PROPOSAL_TOPK_TEST": 1000,
}

_DATALOADER: dict[str, Any] = {
    "NUM_WORKERS": 4,
    "ASPECT_RATIO_GROUPING": True,  # no portrait and landscape images in the same batch
    "SAMPLER_TRAIN": "TrainingSampler",  # or "RepeatFactorTrainingSampler" and others
    # For repeat factors: images with a class rarer than this are repeated; take the square root.
    "REPEAT_THRESHOLD": 0.0,
    "REPEAT_SQRT": True,
    "FILTER_EMPTY_ANNOTATIONS": True,  # leave images without annotations out of training
}

_SOLVER: dict[str, Any] = {
    "LR_SCHEDULER_NAME": "WarmupMultiStepLR",
    "MAX_ITER": 40000,
    "BASE_LR": 0.001,
    "BASE_LR_END": 0.0,  # where a cosine schedule ends
    "MOMENTUM": 0.9,
    "NESTEROV": False,
    "WEIGHT_DECAY": 0.0001,
    "WEIGHT_DECAY_NORM": 0.0,  # for the parameters of normalization layers
    # Multiply the learning rate by GAMMA at these iterations.
    "GAMMA": 0.1,
    "STEPS": (30000,),
    "NUM_DECAYS": 3,  # for schedules that decay at regular steps instead
    "WARMUP_FACTOR": 0.001,
    "WARMUP_ITERS": 1000,
    "WARMUP_METHOD": "linear",
    # After warm-up, play the whole schedule in the time left instead of joining it midway.
    "RESCALE_INTERVAL": False,
    "CHECKPOINT_PERIOD": 5000,  # iterations between two checkpoints
    "IMS_PER_BATCH": 16,  # images per iteration over all workers
    # Number of workers the values above are meant for; 0: do not adapt them to the actual number.
    "REFERENCE_WORLD_SIZE": 0,
    # Detectron1 trained biases at twice the rate and without decay; None: the same decay.
    "BIAS_LR_FACTOR": 1.0,
    "WEIGHT_DECAY_BIAS": None,
    "CLIP_GRADIENTS": {
        "ENABLED": False,
        "CLIP_TYPE": "value",  # "value": each element; "norm": each parameter's norm
        "CLIP_VALUE": 1.0,
        "NORM_TYPE": 2.0,  # p of the norm; .inf for the largest element
    },
    "AMP": {"ENABLED": False},  # mixed precision in training
}

_TEST: dict[str, Any] = {
    "EXPECTED_RESULTS": [],  # [task, metric, value, tolerance], ["bbox", "AP", 38.5, 0.2]
    "EVAL_PERIOD": 0,  # iterations between two evaluations; 0: only at the end
    "KEYPOINT_OKS_SIGMAS": [],  # one per keypoint; empty: COCO's
    "DETECTIONS_PER_IMAGE": 100,
    "AUG": {
        "ENABLED": False,
        "MIN_SIZES": (400, 500, 600, 700, 800, 900, 1000, 1100, 1200),
        "MAX_SIZE": 4000,
        "FLIP": True,
    },
    "PRECISE_BN": {"ENABLED": False, "NUM_ITER": 200},
}

DEFAULTS: dict[str, Any] = {
    "VERSION": LATEST_VERSION,
    "MODEL": _MODEL,
    "INPUT": _INPUT,
    "DATASETS": _DATASETS,
    "DATALOADER": _DATALOADER,
    "SOLVER": _SOLVER,
    "TEST": _TEST,
    "OUTPUT_DIR": "./output",
    "SEED": -1,  # negative: a random one. A fixed seed alone does not make GPU runs repeatable
    # Time the convolution algorithms; pays off when images have few different sizes.
    "CUDNN_BENCHMARK": False,
    "FLOAT32_PRECISION": "",  # of matrix products: "", "highest", "high" or "medium"
    "VIS_PERIOD": 0,  # iterations between two pictures of training samples; 0: none
    # For quick experiments with `global_cfg`; keep it out of committed configs.
    "GLOBAL": {"HACK": 1.0},
}
