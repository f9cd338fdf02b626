"""Names and shapes of weights are those of the published checkpoints."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from d2_config import CfgNode, get_cfg
from d2_modeling import build_model

# One config of each family and kind of layer; d2-engine checks every config of the zoo.
CONFIGS = [
    "COCO-Detection/fast_rcnn_R_50_FPN_1x.yaml",
    "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x.yaml",
    "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
    "COCO-Detection/rpn_R_50_C4_1x.yaml",
    "COCO-Detection/rpn_R_50_FPN_1x.yaml",
    "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml",
    "COCO-Detection/faster_rcnn_R_50_DC5_1x.yaml",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x.yaml",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x.yaml",
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml",
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml",
    "LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
    "Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml",
    "Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic.yaml",
    "Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5.yaml",
    "Misc/mask_rcnn_R_50_FPN_3x_gn.yaml",
    "Misc/semantic_R_50_FPN_1x.yaml",
    "Misc/scratch_mask_rcnn_R_50_FPN_9x_syncbn.yaml",
]


@pytest.mark.parametrize("name", CONFIGS)
def test_an_official_config_builds_the_model_of_its_checkpoint(
    name: str, load_golden: Callable[[str], Any]
) -> None:
    reference = load_golden("state_dict_keys.json")
    cfg = get_cfg()
    cfg.merge_from_other_cfg(CfgNode.load_cfg(load_golden("all_yaml_cfg_dumps.json.gz")[name]))
    cfg.MODEL.DEVICE = "meta"
    model = build_model(cfg)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert shapes == reference["tables"][reference["configs"][name]]
    stats = reference["stats"][name]
    assert type(model).__name__ == stats["meta_arch"]
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trainable) == stats["trainable"]
    assert len(trainable) == stats["n_trainable"]


def test_a_model_on_the_meta_device_takes_no_memory(load_golden: Callable[[str], Any]) -> None:
    cfg = get_cfg()
    dumps = load_golden("all_yaml_cfg_dumps.json.gz")
    cfg.merge_from_other_cfg(CfgNode.load_cfg(dumps["COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml"]))
    cfg.MODEL.DEVICE = "meta"
    model = build_model(cfg)
    assert {p.device for p in model.parameters()} == {torch.device("meta")}
