"""How often the host waits for the device in a batch, counted on the CPU.

Counted are operations whose result the host has to see, or whose output has a size that depends on
values. Checks that are made of values in the CPU's memory only are not (``ON_THE_CPU_ONLY``).

What is left, whatever the number of images, feature maps and fields:

* each suppression: its kernel returns as many rows as it keeps, and then the host asks how many
  each image has, so that it can make one `Instances` for each;
* two-stage detectors: the pairs of region and class above the threshold, which may be thousands
  of regions times classes;
* post-processing: how many boxes of each image have an area after clipping;
* merging to panoptic segments: how many instances are good enough, and at the end what has stayed;
* training: for each sampling how many candidates there are (the numbers drawn are then those of
  the original, for the same seed); whether predictions are finite; the rows of each loss.

Polygons live on the host and are cut and drawn there: twice per image in training (``POLYGONS``).
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from d2_config import get_cfg
from d2_modeling import build_model
from d2_structures import Boxes, Instances, Keypoints, PolygonMasks

WAITING = {
    *("nonzero", "_local_scalar_dense", "masked_select", "_unique2", "unique_dim", "equal"),
    *("nms", "batched_nms", "nms_rotated", "batched_nms_rotated", "bincount"),
}
INDEXING = {"index", "index_put", "index_put_"}
ON_THE_CPU_ONLY = {
    ("gt_classes.py", "check_gt_classes"),
    ("box_regression.py", "_check_positive_size"),
}
POLYGONS = ("tensor_input.py", "selected_positions")
SIZE = (64, 96)


class Waits(TorchDispatchMode):
    """Notes from where in the package each wait comes."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[tuple[str, str]] = []

    def note(self) -> None:
        frame: Any = sys._getframe(1)
        while not frame.f_globals["__name__"].startswith("d2_"):
            frame = frame.f_back
        place = frame.f_code.co_filename.rsplit("/", 1)[1], frame.f_code.co_name
        if place not in ON_THE_CPU_ONLY and place != POLYGONS:
            self.places.append(place)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in INDEXING and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name in WAITING or by_mask:
            self.note()
        return func(*args, **(kwargs or {}))


@contextmanager
def counted_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Waits]:
    with Waits() as waits, monkeypatch.context() as patch:
        plain = Tensor.tolist

        def tolist(tensor: Tensor) -> Any:
            waits.note()
            return plain(tensor)

        patch.setattr(Tensor, "tolist", tolist)
        yield waits


def small_cfg(architecture: str) -> Any:
    cfg = get_cfg()
    model = cfg.MODEL
    model.META_ARCHITECTURE, model.DEVICE, model.BACKBONE.FREEZE_AT = architecture, "cpu", 0
    model.BACKBONE.NAME = "build_resnet_fpn_backbone"
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    model.FPN.OUT_CHANNELS, model.RESNETS.RES2_OUT_CHANNELS, model.RESNETS.NORM = 8, 8, "GN"
    model.RESNETS.STEM_OUT_CHANNELS = model.RESNETS.WIDTH_PER_GROUP = 4
    model.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    model.RPN.POST_NMS_TOPK_TRAIN = model.RPN.POST_NMS_TOPK_TEST = 30
    model.ANCHOR_GENERATOR.SIZES = [[size] for size in (8, 16, 32, 64, 128)]
    heads = model.ROI_HEADS
    heads.NAME, heads.IN_FEATURES = "StandardROIHeads", ["p2", "p3", "p4", "p5"]
    heads.NUM_CLASSES, heads.SCORE_THRESH_TEST = 3, 0.0
    model.ROI_BOX_HEAD.NAME, model.ROI_BOX_HEAD.POOLER_RESOLUTION = "FastRCNNConvFCHead", 7
    model.ROI_BOX_HEAD.NUM_FC, model.ROI_BOX_HEAD.FC_DIM = 1, 12
    model.ROI_MASK_HEAD.CONV_DIM, model.SEM_SEG_HEAD.CONVS_DIM = 8, 32
    model.ROI_KEYPOINT_HEAD.CONV_DIMS, model.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS = [8], 5
    model.SEM_SEG_HEAD.NUM_CLASSES, cfg.TEST.DETECTIONS_PER_IMAGE = 5, 10
    return cfg


def mask_rcnn() -> Any:
    cfg = small_cfg("GeneralizedRCNN")
    cfg.MODEL.MASK_ON = True
    return build_model(cfg)


def keypoint_rcnn() -> Any:
    cfg = small_cfg("GeneralizedRCNN")
    cfg.MODEL.KEYPOINT_ON = True
    return build_model(cfg)


def cascade_rcnn() -> Any:
    cfg = small_cfg("GeneralizedRCNN")
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = "CascadeROIHeads", True
    return build_model(cfg)


def panoptic_fpn() -> Any:
    cfg = small_cfg("PanopticFPN")
    cfg.MODEL.MASK_ON = True
    return build_model(cfg)


def retinanet() -> Any:
    cfg = small_cfg("RetinaNet")
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.RETINANET.NUM_CLASSES, cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 3, 0.0
    cfg.MODEL.RETINANET.NUM_CONVS = 1
    return build_model(cfg)


def batch_of(count: int) -> list[dict[str, Any]]:
    random = torch.Generator().manual_seed(0)
    corners = torch.tensor([[4.0, 4, 40, 44], [50, 10, 90, 60], [20, 30, 60, 50]])
    outlines = [[np.array([x1, y1, x2, y1, x2, y2, x1, y2])] for x1, y1, x2, y2 in corners.tolist()]
    middle = ((corners[:, None, :2] + corners[:, None, 2:]) / 2).expand(-1, 5, -1)
    objects = Instances(
        SIZE,
        gt_boxes=Boxes(corners),
        gt_classes=torch.tensor([0, 2, 1]),
        gt_masks=PolygonMasks(outlines),
        gt_keypoints=Keypoints(torch.cat([middle, torch.full((3, 5, 1), 2.0)], 2)),
    )
    return [
        {
            "image": torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8, generator=random),
            "sem_seg": torch.randint(0, 5, SIZE, generator=random),
            "instances": objects,
            "height": 80,
            "width": 120,
        }
        for _ in range(count)
    ]


def waits_of(model: Any, count: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    batch = batch_of(count)
    torch.manual_seed(0)
    with torch.set_grad_enabled(model.training), counted_waits(monkeypatch) as waits:
        model(batch)
    return waits.places


@pytest.mark.parametrize(
    ("build", "inference", "training"),
    [
        (mask_rcnn, 6, 9),
        (keypoint_rcnn, 6, 11),
        (cascade_rcnn, 6, 12),
        (panoptic_fpn, 8, 9),
        (retinanet, 3, 3),
    ],
)
def test_waits_are_as_few_for_three_images_as_for_one(
    build: Callable[[], Any], inference: int, training: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = build()
    for mode, allowed in ((False, inference), (True, training)):
        one, three = (waits_of(model.train(mode), count, monkeypatch) for count in (1, 3))
        assert sorted(three) == sorted(one)
        assert len(one) <= allowed, one


def test_the_counter_sees_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    from d2_modeling.batched_selection import rows_where

    with counted_waits(monkeypatch) as waits:
        rows_where([torch.tensor([True, False]), torch.tensor([False, True])])
    assert waits.places == [("batched_selection.py", "rows_where")]
