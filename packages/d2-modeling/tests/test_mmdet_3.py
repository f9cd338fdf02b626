"""Models of the real mmdetection 3 under our interfaces.

mmcv's operators have no builds for a recent torch: where they are missing, our suppression and
RoIAlign stand in for theirs, and whatever else is called fails.
"""

import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import d2_ops
from d2_modeling import MMDetBackbone, MMDetDetector, ShapeSpec
from d2_modeling.events import EventStorage
from d2_structures import BitMasks, Boxes, Instances, PolygonMasks

pytestmark = [
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("mmdet", "mmengine", "mmcv")),
        reason="mmdetection 3 is not installed: pip install mmdet mmengine 'mmcv-lite<2.2'",
    ),
    pytest.mark.filterwarnings("ignore"),  # of others' code about itself
]

SIZE = (64, 96)
STRIDES = [8, 16, 32]
WIDTHS = [16, 32, 64]
BACKBONE: dict[str, Any] = {
    "type": "ResNet",
    "depth": 18,
    "base_channels": 8,
    "out_indices": (1, 2, 3),
}
NECK: dict[str, Any] = {
    "type": "FPN",
    "in_channels": WIDTHS,
    "out_channels": 16,
    "num_outs": 3,
}


class _Operators(types.ModuleType):
    """As much of mmcv's compiled operators as the models here call."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._missing

    def _missing(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("an operator of mmcv that is not built here")

    def nms(self, boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
        assert offset == 0
        return d2_ops.nms(boxes, scores, iou_threshold)

    def roi_align_forward(
        self,
        features: Tensor,
        rois: Tensor,
        output: Tensor,
        *argmax: Tensor,
        aligned_height: int,
        aligned_width: int,
        spatial_scale: float,
        sampling_ratio: int,
        pool_mode: int,
        aligned: bool,
    ) -> None:
        assert pool_mode == 1  # the average
        size = (aligned_height, aligned_width)
        output.copy_(d2_ops.roi_align(features, rois, size, spatial_scale, sampling_ratio, aligned))


@pytest.fixture(autouse=True, scope="module")
def operators() -> Iterator[None]:
    """Where mmcv has no compiled operators, some of ours."""
    if importlib.util.find_spec("mmcv._ext") is not None:
        yield
        return
    sys.modules["mmcv._ext"] = _Operators("mmcv._ext")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mmdet.models  # noqa: F401  # which looks for them
    yield
    del sys.modules["mmcv._ext"]


def retinanet_config() -> dict[str, Any]:
    return {
        "type": "RetinaNet",
        "backbone": BACKBONE,
        "neck": NECK,
        "bbox_head": {
            "type": "RetinaHead",
            "num_classes": 3,
            "in_channels": 16,
            "stacked_convs": 1,
            "feat_channels": 16,
            "anchor_generator": {
                "type": "AnchorGenerator",
                "octave_base_scale": 4,
                "scales_per_octave": 1,
                "ratios": [1.0],
                "strides": STRIDES,
            },
            "bbox_coder": {
                "type": "DeltaXYWHBBoxCoder",
                "target_means": [0.0] * 4,
                "target_stds": [1.0] * 4,
            },
        },
        "train_cfg": {
            "assigner": {
                "type": "MaxIoUAssigner",
                "pos_iou_thr": 0.5,
                "neg_iou_thr": 0.4,
                "min_pos_iou": 0,
            },
            "sampler": {"type": "PseudoSampler"},
            "allowed_border": -1,
            "pos_weight": -1,
            "debug": False,
        },
        "test_cfg": {
            "nms_pre": 100,
            "min_bbox_size": 0,
            "score_thr": 0.0,
            "nms": {"type": "nms", "iou_threshold": 0.5},
            "max_per_img": 10,
        },
    }


def solo_config() -> dict[str, Any]:
    """An instance segmenter that pools nothing."""
    return {
        "type": "SOLO",
        "backbone": BACKBONE | {"out_indices": (0, 1, 2, 3)},
        "neck": NECK | {"in_channels": [8, *WIDTHS], "num_outs": 5},
        "mask_head": {
            "type": "SOLOHead",
            "num_classes": 3,
            "in_channels": 16,
            "stacked_convs": 1,
            "feat_channels": 32,
            "strides": [8, 8, 16, 32, 32],
            "scale_ranges": ((1, 32), (16, 64), (32, 128), (64, 256), (128, 512)),
            "pos_scale": 0.2,
            "num_grids": [8, 6, 5, 4, 3],
            "loss_mask": {"type": "DiceLoss", "use_sigmoid": True},
            "loss_cls": {"type": "FocalLoss", "use_sigmoid": True},
        },
        "test_cfg": {
            "nms_pre": 50,
            "score_thr": 0.0,
            "mask_thr": 0.5,
            "filter_thr": 0.0,
            "kernel": "gaussian",
            "sigma": 2.0,
            "max_per_img": 5,
        },
    }


def mask_rcnn_config() -> dict[str, Any]:
    """Two stages, with boxes and masks of regions."""

    def pooling(size: int) -> dict[str, Any]:
        return {
            "type": "SingleRoIExtractor",
            "roi_layer": {"type": "RoIAlign", "output_size": size, "sampling_ratio": 0},
            "out_channels": 16,
            "featmap_strides": STRIDES,
        }

    def assignment(positive: float, negative: float, num: int) -> dict[str, Any]:
        return {
            "assigner": {
                "type": "MaxIoUAssigner",
                "pos_iou_thr": positive,
                "neg_iou_thr": negative,
                "min_pos_iou": negative,
            },
            "sampler": {
                "type": "RandomSampler",
                "num": num,
                "pos_fraction": 0.5,
                "add_gt_as_proposals": True,
            },
            "allowed_border": -1,
            "pos_weight": -1,
            "mask_size": 14,
            "debug": False,
        }

    coder = {"type": "DeltaXYWHBBoxCoder", "target_means": [0.0] * 4, "target_stds": [1.0] * 4}
    suppression = {"type": "nms", "iou_threshold": 0.7}
    proposals = {"nms_pre": 100, "max_per_img": 20, "nms": suppression, "min_bbox_size": 0}
    return {
        "type": "MaskRCNN",
        "backbone": BACKBONE,
        "neck": NECK,
        "rpn_head": {
            "type": "RPNHead",
            "in_channels": 16,
            "feat_channels": 16,
            "anchor_generator": {
                "type": "AnchorGenerator",
                "scales": [4],
                "ratios": [1.0],
                "strides": STRIDES,
            },
            "bbox_coder": coder,
        },
        "roi_head": {
            "type": "StandardRoIHead",
            "bbox_roi_extractor": pooling(7),
            "bbox_head": {
                "type": "Shared2FCBBoxHead",
                "in_channels": 16,
                "fc_out_channels": 16,
                "roi_feat_size": 7,
                "num_classes": 3,
                "bbox_coder": coder,
            },
            "mask_roi_extractor": pooling(7),
            "mask_head": {
                "type": "FCNMaskHead",
                "num_convs": 1,
                "in_channels": 16,
                "conv_out_channels": 16,
                "num_classes": 3,
                "loss_mask": {"type": "CrossEntropyLoss", "use_mask": True},
            },
        },
        "train_cfg": {
            "rpn": assignment(0.7, 0.3, 32),
            "rpn_proposal": proposals,
            "rcnn": assignment(0.5, 0.5, 16),
        },
        "test_cfg": {
            "rpn": proposals,
            "rcnn": {
                "score_thr": 0.0,
                "nms": suppression,
                "max_per_img": 5,
                "mask_thr_binary": 0.5,
            },
        },
    }


def detector(config: dict[str, Any]) -> MMDetDetector:
    torch.manual_seed(0)
    return MMDetDetector(config, pixel_mean=[120.0] * 3, pixel_std=[60.0] * 3)


def image(height: int = SIZE[0], width: int = SIZE[1]) -> Tensor:
    generator = torch.Generator().manual_seed(width)
    return torch.randint(0, 255, (3, height, width), generator=generator, dtype=torch.uint8)


def truth(masks: Any = None, size: tuple[int, int] = SIZE) -> Instances:
    instances = Instances(
        size,
        gt_boxes=Boxes(torch.tensor([[4.0, 6, 40, 50], [30, 10, 44, 30]])),
        gt_classes=torch.tensor([2, 0]),
    )
    if masks is not None:
        instances.gt_masks = masks
    return instances


def test_a_backbone_and_a_neck_of_configs_give_maps_by_name() -> None:
    shapes = [ShapeSpec(channels=16, stride=stride) for stride in STRIDES]
    backbone = MMDetBackbone(BACKBONE, NECK, output_shapes=shapes, output_names=["p3", "p4", "p5"])
    maps = backbone(torch.randn(2, 3, *SIZE))
    assert list(maps) == ["p3", "p4", "p5"]
    for stride, feature in zip(STRIDES, maps.values(), strict=True):
        assert feature.shape == (2, 16, SIZE[0] // stride, SIZE[1] // stride)
    assert backbone.output_shape()["p4"].stride == 16
    assert backbone.training


def test_pretrained_weights_come_from_where_is_said(tmp_path: Any) -> None:
    shapes = [ShapeSpec(channels=width) for width in WIDTHS]
    torch.manual_seed(0)
    first = MMDetBackbone(BACKBONE, output_shapes=shapes)
    torch.save(first.backbone.state_dict(), tmp_path / "weights.pth")
    torch.manual_seed(1)
    other = MMDetBackbone(BACKBONE, output_shapes=shapes)
    again = MMDetBackbone(
        BACKBONE, pretrained_backbone=str(tmp_path / "weights.pth"), output_shapes=shapes
    )
    weights = [each.backbone.state_dict()["conv1.weight"] for each in (first, other, again)]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_a_detector_starts_with_the_weights_that_its_config_says(tmp_path: Any) -> None:
    first = detector(retinanet_config())
    prior = first.detector.bbox_head.retina_cls.bias.sigmoid()
    torch.testing.assert_close(prior, torch.full_like(prior, 0.01))
    torch.save(first.detector.backbone.state_dict(), tmp_path / "weights.pth")
    saved = {"type": "Pretrained", "checkpoint": str(tmp_path / "weights.pth")}
    for more in (
        {"backbone": BACKBONE | {"init_cfg": saved}},
        {"pretrained": saved["checkpoint"]},  # as configs of version 2 say it
    ):
        torch.manual_seed(5)
        statistics = {"pixel_mean": [0.0] * 3, "pixel_std": [1.0] * 3}
        other = MMDetDetector(retinanet_config() | more, **statistics)
        for name, value in other.detector.backbone.state_dict().items():
            assert torch.equal(value, first.detector.backbone.state_dict()[name]), name
    assert detector(retinanet_config() | {"pretrained": None}).detector.bbox_head is not None


def test_a_detector_trains() -> None:
    model = detector(retinanet_config()).train()
    batch = [
        {"image": image(), "instances": truth()},
        {"image": image(60, 80), "instances": truth(size=(60, 80))[:0]},
    ]
    losses = model(batch)
    assert sorted(losses) == ["loss_bbox", "loss_cls"]
    assert all(loss.dim() == 0 and loss.isfinite() for loss in losses.values())
    assert all(loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.detector.bbox_head.parameters())
    with pytest.raises(ValueError, match="'instances'"):
        model([{"image": image()}])


def test_losses_are_those_of_mmdetection_itself() -> None:
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    model = detector(retinanet_config()).train()
    losses = model([{"image": image(), "instances": truth()}])
    sample = DetDataSample(
        metainfo={
            "img_shape": SIZE,
            "ori_shape": SIZE,
            "pad_shape": SIZE,
            "batch_input_shape": SIZE,
            "scale_factor": (1.0, 1.0),
        }
    )
    sample.gt_instances = InstanceData(bboxes=truth().gt_boxes.tensor, labels=truth().gt_classes)
    wanted = model.detector.loss((image()[None].float() - 120) / 60, [sample])
    for name, parts in wanted.items():
        torch.testing.assert_close(losses[name], sum(part.mean() for part in parts))


@torch.no_grad()
def test_a_detector_finds_boxes_in_the_wanted_size() -> None:
    model = detector(retinanet_config()).eval()
    (plain,) = model([{"image": image()}])
    scaled, other = model(
        [
            {"image": image(), "height": 128, "width": 288},
            {"image": image(60, 80), "height": 60, "width": 80},
        ]
    )
    found, wanted = scaled["instances"], plain["instances"]
    assert len(wanted) > 0
    assert wanted.image_size == SIZE
    assert found.image_size == (128, 288)
    assert other["instances"].image_size == (60, 80)
    torch.testing.assert_close(found.scores, wanted.scores)
    assert torch.equal(found.pred_classes, wanted.pred_classes)
    factors = torch.tensor([3.0, 2.0, 3.0, 2.0])
    torch.testing.assert_close(found.pred_boxes.tensor, wanted.pred_boxes.tensor * factors)
    assert (other["instances"].pred_boxes.tensor <= torch.tensor([80.0, 60, 80, 60])).all()


MASK_LOSSES = {
    "SOLO": ["loss_cls", "loss_mask"],
    "MaskRCNN": ["loss_bbox", "loss_cls", "loss_mask", "loss_rpn_bbox", "loss_rpn_cls"],
}


@pytest.mark.parametrize("kind", ["polygons", "bitmaps"])
@pytest.mark.parametrize("config", [solo_config(), mask_rcnn_config()], ids=MASK_LOSSES)
def test_masks_train_and_come_out(config: dict[str, Any], kind: str) -> None:
    model = detector(config)
    boxes = truth(size=(60, 80)).gt_boxes.tensor.tolist()
    if kind == "polygons":
        masks: Any = PolygonMasks(
            [[np.array([x1, y1, x2, y1, x2, y2, x1, y2])] for x1, y1, x2, y2 in boxes]
        )
    else:
        bitmaps = torch.zeros(2, 60, 80, dtype=torch.bool)
        for bitmap, (x1, y1, x2, y2) in zip(bitmaps, boxes, strict=True):
            bitmap[int(y1) : int(y2), int(x1) : int(x2)] = True
        masks = BitMasks(bitmaps)
    with EventStorage() as storage:
        losses = model.train()([{"image": image(60, 80), "instances": truth(masks, (60, 80))}])
    assert sorted(losses) == MASK_LOSSES[config["type"]]
    assert all(loss.isfinite() for loss in losses.values())
    assert losses["loss_mask"] > 0
    assert list(storage.latest()) == (["acc"] if config["type"] == "MaskRCNN" else [])
    for name, parameter in model.detector.named_parameters():
        if "conv_mask_list" in name:  # which start sure that there is nothing
            torch.nn.init.normal_(parameter)
    with torch.no_grad():
        (output,) = model.eval()([{"image": image(60, 80), "height": 120, "width": 100}])
    found = output["instances"]
    assert found.image_size == (120, 100)
    assert len(found) > 0
    assert found.pred_masks.shape == (len(found), 120, 100)
    assert found.pred_masks.dtype == torch.bool
    assert found.pred_boxes.tensor.shape == (len(found), 4)
