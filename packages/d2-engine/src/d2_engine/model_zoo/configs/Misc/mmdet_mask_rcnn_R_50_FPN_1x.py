"""Mask R-CNN R50-FPN of MMDetection (2 or 3), trained by our loop; needs mmdet and mmcv.

What is below ``detector`` is in MMDetection's terms.
"""

from d2_config import LazyCall as L
from d2_modeling import MMDetDetector

from ..common.coco_schedule import lr_multiplier_1x as lr_multiplier
from ..common.data.coco import dataloader
from ..common.data.constants import constants
from ..common.optim import SGD as optimizer
from ..common.train import train


def _pool_regions(output_size: int) -> dict:
    return {
        "type": "SingleRoIExtractor",
        "roi_layer": {"type": "RoIAlign", "output_size": output_size, "sampling_ratio": 0},
        "out_channels": 256,
        "featmap_strides": [4, 8, 16, 32],
    }


def _box_coder(*deviations: float) -> dict:
    return {
        "type": "DeltaXYWHBBoxCoder",
        "target_means": [0.0, 0.0, 0.0, 0.0],
        "target_stds": list(deviations),
    }


def _cross_entropy(**options: bool) -> dict:
    return {"type": "CrossEntropyLoss", "loss_weight": 1.0, **options}


def _sampling(num: int, pos_fraction: float, *, add_gt_as_proposals: bool) -> dict:
    return {
        "type": "RandomSampler",
        "num": num,
        "pos_fraction": pos_fraction,
        "neg_pos_ub": -1,
        "add_gt_as_proposals": add_gt_as_proposals,
    }


def _assignment(positive: float, negative: float) -> dict:
    return {
        "type": "MaxIoUAssigner",
        "pos_iou_thr": positive,
        "neg_iou_thr": negative,
        "min_pos_iou": negative,
        "match_low_quality": True,
        "ignore_iof_thr": -1,
    }


def _proposals(nms_pre: int) -> dict:
    return {
        "nms_pre": nms_pre,
        "max_per_img": 1000,
        "nms": {"type": "nms", "iou_threshold": 0.7},
        "min_bbox_size": 0,
    }


_l1 = {"type": "L1Loss", "loss_weight": 1.0}

model = L(MMDetDetector)(
    detector={
        "type": "MaskRCNN",
        "pretrained": "torchvision://resnet50",
        "backbone": {
            "type": "ResNet",
            "depth": 50,
            "num_stages": 4,
            "out_indices": [0, 1, 2, 3],
            "frozen_stages": 1,
            "norm_cfg": {"type": "BN", "requires_grad": True},
            "norm_eval": True,
            "style": "pytorch",
        },
        "neck": {
            "type": "FPN",
            "in_channels": [256, 512, 1024, 2048],
            "out_channels": 256,
            "num_outs": 5,
        },
        "rpn_head": {
            "type": "RPNHead",
            "in_channels": 256,
            "feat_channels": 256,
            "anchor_generator": {
                "type": "AnchorGenerator",
                "scales": [8],
                "ratios": [0.5, 1.0, 2.0],
                "strides": [4, 8, 16, 32, 64],
            },
            "bbox_coder": _box_coder(1.0, 1.0, 1.0, 1.0),
            "loss_cls": _cross_entropy(use_sigmoid=True),
            "loss_bbox": _l1,
        },
        "roi_head": {
            "type": "StandardRoIHead",
            "bbox_roi_extractor": _pool_regions(7),
            "bbox_head": {
                "type": "Shared2FCBBoxHead",
                "in_channels": 256,
                "fc_out_channels": 1024,
                "roi_feat_size": 7,
                "num_classes": 80,
                "bbox_coder": _box_coder(0.1, 0.1, 0.2, 0.2),
                "reg_class_agnostic": False,
                "loss_cls": _cross_entropy(use_sigmoid=False),
                "loss_bbox": _l1,
            },
            "mask_roi_extractor": _pool_regions(14),
            "mask_head": {
                "type": "FCNMaskHead",
                "num_convs": 4,
                "in_channels": 256,
                "conv_out_channels": 256,
                "num_classes": 80,
                "loss_mask": _cross_entropy(use_mask=True),
            },
        },
        "train_cfg": {
            "rpn": {
                "assigner": _assignment(0.7, 0.3),
                "sampler": _sampling(256, 0.5, add_gt_as_proposals=False),
                "allowed_border": -1,
                "pos_weight": -1,
                "debug": False,
            },
            "rpn_proposal": _proposals(2000),
            "rcnn": {
                "assigner": _assignment(0.5, 0.5),
                "sampler": _sampling(512, 0.25, add_gt_as_proposals=True),
                "mask_size": 28,
                "pos_weight": -1,
                "debug": False,
            },
        },
        "test_cfg": {
            "rpn": _proposals(1000),
            "rcnn": {
                "score_thr": 0.05,
                "nms": {"type": "nms", "iou_threshold": 0.5},
                "max_per_img": 100,
                "mask_thr_binary": 0.5,
            },
        },
    },
    pixel_mean=constants["imagenet_rgb256_mean"],
    pixel_std=constants["imagenet_rgb256_std"],
)

dataloader.train.mapper.image_format = "RGB"
train.init_checkpoint = None  # MMDetection loads its own backbone
