"""Classes of the ground truth that a model does not know."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from d2_config import CfgNode, get_cfg
from d2_modeling import GeneralizedRCNN, ShapeSpec, build_model
from d2_modeling.backbone import Backbone
from d2_modeling.gt_classes import check_gt_classes, check_pixel_labels
from d2_modeling.meta_arch import FCOS, FCOSHead
from d2_structures import Boxes, Instances

SIZE = (64, 80)


def truth(classes: Sequence[int]) -> Instances:
    boxes = torch.tensor([[4.0, 4, 40, 44]]).expand(len(classes), 4)
    return Instances(
        SIZE, gt_boxes=Boxes(boxes), gt_classes=torch.tensor(classes, dtype=torch.int64)
    )


def entry(classes: Sequence[int]) -> dict[str, Any]:
    return {"image": torch.zeros(3, *SIZE, dtype=torch.uint8), "instances": truth(classes)}


def tiny_cfg(architecture: str) -> CfgNode:
    cfg = get_cfg()
    model = cfg.MODEL
    model.META_ARCHITECTURE, model.DEVICE = architecture, "cpu"
    model.BACKBONE.NAME, model.BACKBONE.FREEZE_AT = "build_retinanet_resnet_fpn_backbone", 0
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    model.RESNETS.RES2_OUT_CHANNELS = 8
    model.RESNETS.STEM_OUT_CHANNELS = model.RESNETS.WIDTH_PER_GROUP = 4
    model.FPN.OUT_CHANNELS = 8
    model.RETINANET.NUM_CLASSES, model.RETINANET.NUM_CONVS = 3, 1
    model.RPN.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
    model.ANCHOR_GENERATOR.SIZES = [[size] for size in (16, 32, 64, 128, 256)]
    return cfg


class _Map(Backbone):
    """One feature map of stride 8."""

    def __init__(self) -> None:
        super().__init__()
        self._out_features = ["p3"]
        self._out_feature_strides = {"p3": 8}
        self._out_feature_channels = {"p3": 4}
        self.conv = torch.nn.Conv2d(3, 4, 8, stride=8)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"p3": self.conv(x)}


def rcnn(build_rcnn: Callable[..., GeneralizedRCNN]) -> Any:
    return build_rcnn(num_classes=3, anchor_sizes=(8, 16, 32, 64, 128))


def retinanet(build_rcnn: Any) -> Any:
    del build_rcnn
    return build_model(tiny_cfg("RetinaNet"))


def fcos(build_rcnn: Any) -> FCOS:
    del build_rcnn
    head = FCOSHead(input_shape=[ShapeSpec(channels=4)], num_classes=3, conv_dims=[4], norm="GN")
    return FCOS(
        backbone=_Map(), head=head, num_classes=3, pixel_mean=[0.0] * 3, pixel_std=[1.0] * 3
    )


@given(st.lists(st.integers(-3, 6), max_size=6), st.integers(1, 5))
def test_exactly_the_classes_below_the_number_are_accepted(
    classes: list[int], num_classes: int
) -> None:
    if all(0 <= one < num_classes for one in classes):
        check_gt_classes([truth([]), truth(classes)], num_classes)
        return
    wrong = next(one for one in classes if not 0 <= one < num_classes)
    with pytest.raises(ValueError, match=f"image 1 of the batch .* class {wrong}, but") as caught:
        check_gt_classes([truth([]), truth(classes)], num_classes)
    assert f"num_classes={num_classes}" in str(caught.value)


def test_the_remedy_fits_the_class() -> None:
    with pytest.raises(ValueError, match="set num_classes .* or, if its ids begin with 1"):
        check_gt_classes([truth([3])], 3)
    with pytest.raises(ValueError, match="iscrowd=1"):
        check_gt_classes([truth([-1])], 3)


def test_ground_truth_without_classes_has_nothing_to_compare() -> None:
    check_gt_classes([Instances(SIZE, gt_boxes=Boxes(torch.ones(1, 4)))], 3)


@pytest.mark.parametrize("wrong", [3, -1])
@pytest.mark.parametrize("build", [rcnn, retinanet, fcos])
def test_models_refuse_unknown_classes_before_they_compute(
    build: Callable[[Any], Any], build_rcnn: Any, wrong: int
) -> None:
    model = build(build_rcnn).train()
    model.backbone.forward = None  # would fail
    with pytest.raises(ValueError, match=rf"image 1 .* class {wrong}, but .* num_classes=3"):
        model([entry([0]), entry([2, wrong])])


@pytest.mark.parametrize("build", [rcnn, retinanet, fcos])
def test_models_train_on_their_last_class(build: Callable[[Any], Any], build_rcnn: Any) -> None:
    torch.manual_seed(0)
    losses = build(build_rcnn).train()([entry([2])])
    assert all(bool(loss.isfinite()) for loss in losses.values())


def test_region_heads_refuse_unknown_classes_on_their_own(
    build_rcnn: Callable[..., GeneralizedRCNN],
) -> None:
    heads = build_rcnn(num_classes=3).roi_heads
    proposals = Instances(
        SIZE, proposal_boxes=Boxes(torch.ones(0, 4)), objectness_logits=torch.ones(0)
    )
    with pytest.raises(ValueError, match="class 5, but"):
        heads.label_and_sample_proposals([proposals], [truth([5])])


def test_a_model_of_proposals_takes_any_class() -> None:
    model = build_model(tiny_cfg("ProposalNetwork"))
    assert set(model.train()([entry([99])])) == {"loss_rpn_cls", "loss_rpn_loc"}


@given(st.lists(st.integers(-3, 9), min_size=1, max_size=6), st.integers(1, 6), st.integers(-2, 9))
def test_pixels_have_labels_below_the_number_or_the_ignored_one(
    values: list[int], num_classes: int, ignore_value: int
) -> None:
    labels = [None, torch.zeros(1, 2), torch.tensor([values])]
    wrong = [one for one in values if not 0 <= one < num_classes and one != ignore_value]
    if not wrong:
        check_pixel_labels(labels, num_classes, ignore_value)
        return
    with pytest.raises(ValueError, match=rf"input 2 has pixels of label {wrong[0]} in") as caught:
        check_pixel_labels(labels, num_classes, ignore_value)
    assert f"0 to {num_classes - 1} and ignores {ignore_value}:" in str(caught.value)
    assert "MODEL.SEM_SEG_HEAD" in str(caught.value)


def test_labels_of_bytes_are_compared_like_others() -> None:
    labels = torch.tensor([[0, 1, 255]], dtype=torch.uint8)
    check_pixel_labels([labels], 2, 255)
    check_pixel_labels([labels], 300, -1)
    with pytest.raises(ValueError, match="label 255 in 'sem_seg'.*ignores -1"):
        check_pixel_labels([labels], 2, -1)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_nothing_waits_for_the_device() -> None:
    targets = [truth([0, 2]).to("cuda")]
    torch.cuda.set_sync_debug_mode("error")
    try:
        check_gt_classes(targets, 3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.cuda.synchronize()
