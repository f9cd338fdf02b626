"""How often the host waits for the device in a batch, counted on the CPU as if it were a device.

Counted are operations whose result the host has to see, or whose output has a size that depends on
values. Checks that are made of values in the CPU's memory only are not (``ON_THE_CPU_ONLY``).

What is left, whatever the number of images, feature maps and fields:

* each suppression: the host asks how many boxes each image keeps, so that it can make one
  `Instances` for each; proposals and detections are two. In the same copy it learns whether
  predictions are finite, and whether detections keep an area in the output;
* merging to panoptic segments: how many instances are good enough, each of which is laid by itself,
  and at the end what has stayed;
* training: how many proposals there are to draw from, as heads get no more than are drawn; how many
  of them each further head (masks, keypoints) gets.

Seldom there is one more in inference: where a detection is empty, or an image has more candidates
than are looked at first and they are not enough.

Polygons live on the host and are cut and drawn there: twice per image in training (``POLYGONS``).
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from d2_config import get_cfg
from d2_modeling import build_model, host_waits
from d2_modeling.backbone import build_backbone
from d2_modeling.matcher import Matcher
from d2_modeling.meta_arch import FCOS, FCOSHead
from d2_modeling.postprocessing import detector_postprocess
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


def small_cfg(architecture: str, draw_all: bool = False) -> Any:
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
    if draw_all:  # what is drawn then depends on no seed
        for options in (model.RPN, heads):
            options.BATCH_SIZE_PER_IMAGE, options.POSITIVE_FRACTION = 100_000, 1.0
    return cfg


def mask_rcnn(**options: Any) -> Any:
    cfg = small_cfg("GeneralizedRCNN", **options)
    cfg.MODEL.MASK_ON = True
    return build_model(cfg)


def mask_rcnn_c4(**options: Any) -> Any:
    cfg = small_cfg("GeneralizedRCNN", **options)
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.ROI_HEADS.NAME = "build_resnet_backbone", "Res5ROIHeads"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res4"]
    cfg.MODEL.RPN.IN_FEATURES = cfg.MODEL.ROI_HEADS.IN_FEATURES = ["res4"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[8, 32, 64]]
    return build_model(cfg)


def keypoint_rcnn(**options: Any) -> Any:
    cfg = small_cfg("GeneralizedRCNN", **options)
    cfg.MODEL.KEYPOINT_ON = True
    return build_model(cfg)


def cascade_rcnn(**options: Any) -> Any:
    cfg = small_cfg("GeneralizedRCNN", **options)
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = "CascadeROIHeads", True
    return build_model(cfg)


def panoptic_fpn(**options: Any) -> Any:
    cfg = small_cfg("PanopticFPN", **options)
    cfg.MODEL.MASK_ON = True
    return build_model(cfg)


def dense_cfg(architecture: str) -> Any:
    cfg = small_cfg(architecture)
    cfg.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    cfg.MODEL.RETINANET.NUM_CLASSES, cfg.MODEL.RETINANET.SCORE_THRESH_TEST = 3, 0.0
    cfg.MODEL.RETINANET.NUM_CONVS = 1
    return cfg


def retinanet(**_: Any) -> Any:
    return build_model(dense_cfg("RetinaNet"))


def fcos(**_: Any) -> Any:
    backbone = build_backbone(dense_cfg("RetinaNet"))
    shapes = list(backbone.output_shape().values())
    head = FCOSHead(input_shape=shapes, num_classes=3, conv_dims=[8])
    torch.nn.init.ones_(head.bbox_pred.bias)  # boxes are not empty
    return FCOS(
        backbone=backbone,
        head=head,
        num_classes=3,
        test_score_thresh=0.0,
        pixel_mean=[103.5, 116.3, 123.7],
        pixel_std=[1.0, 1.0, 1.0],
    )


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


@pytest.fixture
def as_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_waits, "_is_read_at_once", lambda device: False)


@pytest.mark.usefixtures("as_on_a_device")
@pytest.mark.parametrize(
    ("build", "inference", "training"),
    [
        (mask_rcnn, 2, 3),
        (mask_rcnn_c4, 2, 3),
        (keypoint_rcnn, 2, 3),
        (cascade_rcnn, 2, 2),
        (panoptic_fpn, 4, 3),
        (retinanet, 1, 0),
        (fcos, 1, 0),
    ],
)
def test_waits_are_as_few_for_three_images_as_for_one(
    build: Callable[..., Any], inference: int, training: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = build()
    for mode, allowed in ((False, inference), (True, training)):
        one, three = (waits_of(model.train(mode), count, monkeypatch) for count in (1, 3))
        assert sorted(three) == sorted(one)
        assert len(one) <= allowed, one


@pytest.mark.usefixtures("as_on_a_device")
def test_where_a_detection_is_empty_the_host_asks_once_more_and_leaves_it_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    model = fcos().eval()
    torch.nn.init.constant_(model.head.bbox_pred.bias, -1.0)  # distances below 0 count as 0
    assert len(waits_of(model, 2, monkeypatch)) == 2
    with torch.no_grad():
        assert [len(found["instances"]) for found in model(batch_of(2))] == [0, 0]


def test_boxes_that_are_moved_or_written_to_are_no_longer_known() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10]])
    host_waits.remember_lasting(boxes)
    assert host_waits.known_lasting(boxes)
    assert not host_waits.known_lasting(boxes.clone())
    boxes[0, 2] = 0
    assert not host_waits.known_lasting(boxes)
    with torch.inference_mode():
        inference = torch.tensor([[0.0, 0, 10, 10]])
        host_waits.remember_lasting(inference)
        assert host_waits.known_lasting(inference)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(-300, 300, width=32), min_size=4, max_size=4),
    st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
)
def test_boxes_that_remain_are_not_empty_in_any_output(
    corners: list[float], size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    tensor = torch.tensor([corners])
    tensor = torch.cat([tensor[:, :2], tensor[:, :2] + tensor[:, 2:].abs() * 1e-4], dim=1)
    remains = host_waits.sides_remain(tensor, torch.tensor([size]))
    scores, classes = torch.ones(1), torch.zeros(1, dtype=torch.int64)
    found = Instances(size, pred_boxes=Boxes(tensor), scores=scores, pred_classes=classes)
    if remains.item():
        assert len(detector_postprocess(found, *wanted)) == 1


def test_sides_of_numbers_that_are_not_finite_do_not_remain() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, torch.inf, 9], [0, torch.nan, 9, 9]])
    assert host_waits.sides_remain(boxes, torch.full((3, 2), 10)).tolist() == [True, False, False]
    assert not host_waits.sides_remain(boxes.half()[:1], torch.full((1, 2), 10)).any()


ARCHITECTURES = [
    mask_rcnn,
    mask_rcnn_c4,
    keypoint_rcnn,
    cascade_rcnn,
    panoptic_fpn,
    retinanet,
    fcos,
]


@pytest.mark.parametrize("build", ARCHITECTURES)
def test_a_device_detects_what_the_cpu_detects(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = build().eval()
    with torch.no_grad():
        wanted = model(batch_of(2))
        monkeypatch.setattr(host_waits, "_is_read_at_once", lambda device: False)
        got = model(batch_of(2))
    for one, other in zip(got, wanted, strict=True):
        assert len(other["instances"]) > 0
        fields = {name: plain(field) for name, field in one["instances"].get_fields().items()}
        for name, field in other["instances"].get_fields().items():
            torch.testing.assert_close(fields[name], plain(field), rtol=0, atol=0)


def plain(field: Any) -> Tensor:
    tensor: Tensor = getattr(field, "tensor", field)
    return tensor


@pytest.mark.parametrize("build", ARCHITECTURES)
def test_a_device_has_the_losses_and_gradients_of_the_cpu(
    build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = build(draw_all=True).train()
    wanted, wanted_gradients = losses_and_gradients(model)
    monkeypatch.setattr(host_waits, "_is_read_at_once", lambda device: False)
    got, gradients = losses_and_gradients(model)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients, wanted_gradients, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("spread", [3.0, 10.0, 30.0])  # the further, the more leave the image
def test_a_cascade_leaves_out_on_a_device_what_the_cpu_leaves_out(
    spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = cascade_rcnn(draw_all=True).train()
    for predictor in model.roi_heads.box_predictor:
        torch.nn.init.normal_(predictor.bbox_pred.weight, std=spread)
    model.roi_heads.proposal_matchers = [Matcher([0.05], [0, 1])] * 3
    lengths: list[list[int]] = []
    plain = model.roi_heads._match_and_label_boxes

    def label(proposals: Any, stage: int, targets: Any) -> Any:
        lengths.append([len(image) for image in proposals])
        return plain(proposals, stage, targets)

    monkeypatch.setattr(model.roi_heads, "_match_and_label_boxes", label)
    wanted, wanted_gradients = losses_and_gradients(model, all_count=False)
    monkeypatch.setattr(host_waits, "_is_read_at_once", lambda device: False)
    got, gradients = losses_and_gradients(model, all_count=False)
    assert sum(lengths[0]) > sum(lengths[1])
    assert lengths[2] == lengths[3]
    assert sum(lengths[2]) > sum(lengths[0])
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    for name, gradient in wanted_gradients.items():  # large ones cancel each other in part
        largest = float(gradient.abs().max())
        torch.testing.assert_close(gradients[name], gradient, rtol=0, atol=1e-3 * largest + 1e-6)


def losses_and_gradients(
    model: Any, all_count: bool = True
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    if hasattr(model, "loss_normalizer"):
        model.loss_normalizer.fill_(100.0)
    model.zero_grad()
    losses = model(batch_of(2))
    assert all(loss.item() > 0 for loss in losses.values()) or not all_count
    sum(losses.values()).backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {name: loss.detach() for name, loss in losses.items()}, gradients


def test_the_counter_sees_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    from d2_modeling.batched_selection import rows_where

    with counted_waits(monkeypatch) as waits:
        rows_where([torch.tensor([True, False]), torch.tensor([False, True])])
    assert waits.places == [("batched_selection.py", "rows_where")]
