"""Names and shapes of weights are those of the published checkpoints."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from d2_modeling import GeneralizedRCNN, ProposalNetwork

FULL_SIZE: dict[str, Any] = {
    "stem": 64,
    "res2": 256,
    "bottleneck": 64,
    "fpn": 256,
    "fc": 1024,
    "num_classes": 80,
}
MASK: dict[str, Any] = {"mask": (256,) * 5}
X101: dict[str, Any] = {"depth": 101, "num_groups": 32, "bottleneck": 8, "stride_in_1x1": False}


def heads_with_norm(norm: str) -> dict[str, Any]:
    return {
        **MASK,
        "norm": norm,
        "fpn_norm": norm,
        "head_norm": norm,
        "conv_dims": (256,) * 4,
        "stride_in_1x1": False,
    }


CONFIGS: dict[str, dict[str, Any]] = {
    "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml": {},
    "COCO-Detection/faster_rcnn_R_101_FPN_3x.yaml": {"depth": 101},
    "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml": X101,
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml": MASK,
    "COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x.yaml": {**MASK, "depth": 101},
    "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml": {**MASK, **X101},
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.py": MASK,
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml": {"keypoint": (512,) * 8, "num_classes": 1},
    "COCO-Keypoints/keypoint_rcnn_X_101_32x8d_FPN_3x.yaml": {
        **X101,
        "keypoint": (512,) * 8,
        "num_classes": 1,
    },
    "LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml": {**MASK, "num_classes": 1203},
    "LVISv0.5-InstanceSegmentation/mask_rcnn_R_101_FPN_1x.yaml": {
        **MASK,
        "depth": 101,
        "num_classes": 1230,
    },
    "Cityscapes/mask_rcnn_R_50_FPN.yaml": {**MASK, "num_classes": 8},
    "Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic.yaml": {
        **MASK,
        "cls_agnostic_mask": True,
        "cls_agnostic_bbox_reg": True,
    },
    "Misc/mask_rcnn_R_50_FPN_3x_gn.yaml": heads_with_norm("GN"),
    "Misc/mask_rcnn_R_50_FPN_3x_syncbn.yaml": heads_with_norm("SyncBN"),
}


def shapes(model: torch.nn.Module) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in model.state_dict().items()}


@pytest.mark.parametrize("config", list(CONFIGS))
def test_a_published_detector_has_the_published_names_and_shapes(
    config: str, build_rcnn: Callable[..., GeneralizedRCNN], load_golden: Callable[[str], Any]
) -> None:
    reference = load_golden("state_dict_keys.json")
    with torch.device("meta"):
        model = build_rcnn(**{**FULL_SIZE, **CONFIGS[config]})
    assert shapes(model) == reference["tables"][reference["configs"][config]]
    stats = reference["stats"][config]
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trainable) == stats["trainable"]
    assert len(trainable) == stats["n_trainable"]


def test_a_published_proposal_network_has_the_published_names_and_shapes(
    build_rcnn: Callable[..., GeneralizedRCNN], load_golden: Callable[[str], Any]
) -> None:
    reference = load_golden("state_dict_keys.json")
    with torch.device("meta"):
        detector = build_rcnn(**FULL_SIZE)
        assert detector.proposal_generator is not None
        model = ProposalNetwork(
            backbone=detector.backbone,
            proposal_generator=detector.proposal_generator,
            pixel_mean=[0.0] * 3,
            pixel_std=[1.0] * 3,
        )
    table = reference["configs"]["COCO-Detection/rpn_R_50_FPN_1x.yaml"]
    assert shapes(model) == reference["tables"][table]
