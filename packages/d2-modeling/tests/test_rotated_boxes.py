"""Anchors, encodings and models of rotated boxes."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_config import CfgNode, get_cfg
from d2_modeling import build_model
from d2_modeling.anchor_generator import RotatedAnchorGenerator
from d2_modeling.box_kinds import box_kind
from d2_modeling.box_regression import Box2BoxTransformLinear, Box2BoxTransformRotated
from d2_structures import Boxes, Instances, RotatedBoxes


def rotated_boxes(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(count, 5, generator=generator)
    scale = torch.tensor([100.0, 100, 50, 50, 360])
    return uniform * scale + torch.tensor([0.0, 0, 1, 1, -180])


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_anchors_equal_the_reference(golden_modeling: Any, offset: float) -> None:
    golden = golden_modeling["anchors"]
    wanted = golden[f"rotated_{offset}"]
    sizes, strides = golden["feature_sizes"], [8, 16]
    maps = [torch.zeros(1, 1, *size) for size in sizes]
    per_cell = [
        len(level) // (size[0] * size[1]) for level, size in zip(wanted, sizes, strict=True)
    ]
    cells = [level[:count] for level, count in zip(wanted, per_cell, strict=True)]
    widths = [(cell[:, 2] * cell[:, 3]).sqrt().unique() for cell in cells]
    generator = RotatedAnchorGenerator(
        sizes=[unique_values(width) for width in widths],
        aspect_ratios=[unique_values(cells[0][:, 3] / cells[0][:, 2])],
        angles=[unique_values(cells[0][:, 4])],
        strides=strides,
        offset=offset,
    )
    anchors = generator(maps)
    for got, level in zip(anchors, wanted, strict=True):
        assert isinstance(got, RotatedBoxes)
        torch.testing.assert_close(got.tensor, level)


def unique_values(values: torch.Tensor) -> list[float]:
    return sorted({round(value, 2) for value in values.tolist()})


def test_angles_vary_fastest_then_ratios() -> None:
    generator = RotatedAnchorGenerator(
        sizes=[[8, 16]], aspect_ratios=[1.0, 4.0], angles=[-45, 0, 30], strides=[4]
    )
    cells = generator.cell_anchors[0]
    assert generator.num_anchors == [12]
    assert cells[:4].tolist() == [
        [0, 0, 8, 8, -45],
        [0, 0, 8, 8, 0],
        [0, 0, 8, 8, 30],
        [0, 0, 4, 16, -45],
    ]
    assert generator.box_dim == 5


def test_rotated_deltas_and_boxes_equal_the_reference(golden_modeling: Any) -> None:
    golden = golden_modeling["box2box_rotated"]
    transform = Box2BoxTransformRotated((10.0, 10.0, 5.0, 5.0, 1.0))
    torch.testing.assert_close(transform.get_deltas(golden["src"], golden["tgt"]), golden["get"])
    got = transform.apply_deltas(golden["deltas3cls"], golden["src"])
    torch.testing.assert_close(got, golden["apply"], rtol=1e-5, atol=1e-4)


@given(st.integers(0, 20), st.integers(0, 1000), st.floats(0.5, 20))
@settings(max_examples=30, deadline=None)
def test_decoding_undoes_encoding(count: int, seed: int, weight: float) -> None:
    transform = Box2BoxTransformRotated((weight, 1.0, 2.0, weight, 3.0))
    src, target = rotated_boxes(count, seed), rotated_boxes(count, seed + 1)
    decoded = transform.apply_deltas(transform.get_deltas(src, target), src)
    torch.testing.assert_close(decoded[:, :4], target[:, :4], rtol=1e-4, atol=1e-3)
    turn = (decoded[:, 4] - target[:, 4] + 180) % 360 - 180
    assert (turn.abs() < 1e-3).all()


def test_a_turn_takes_the_short_way() -> None:
    transform = Box2BoxTransformRotated((1, 1, 1, 1, 1))
    src = torch.tensor([[0.0, 0, 4, 2, 170]])
    target = torch.tensor([[0.0, 0, 4, 2, -170]])
    deltas = transform.get_deltas(src, target)
    torch.testing.assert_close(deltas[0, 4].rad2deg(), torch.tensor(20.0))
    torch.testing.assert_close(transform.apply_deltas(deltas, src), target)


def test_sizes_are_bounded_and_empty_sources_refused() -> None:
    transform = Box2BoxTransformRotated((1, 1, 1, 1, 1), scale_clamp=1.0)
    src = torch.tensor([[0.0, 0, 1, 1, 0]])
    decoded = transform.apply_deltas(torch.tensor([[0.0, 0, 9, 9, 0]]), src)
    torch.testing.assert_close(decoded[0, 2:4], torch.tensor([1.0, 1.0]).exp())
    with pytest.raises(ValueError, match="box 0"):
        transform.get_deltas(torch.tensor([[0.0, 0, 0, 1, 0]]), src)
    with pytest.raises(ValueError, match="5 numbers"):
        Box2BoxTransformRotated((1, 1, 1, 1))


@pytest.mark.parametrize("normalize", [True, False])
def test_linear_deltas_and_boxes_equal_the_reference(golden_modeling: Any, normalize: bool) -> None:
    golden = golden_modeling[f"box2box_linear_{normalize}"]
    transform = Box2BoxTransformLinear(normalize_by_size=normalize)
    torch.testing.assert_close(transform.get_deltas(golden["src"], golden["tgt"]), golden["get"])
    got = transform.apply_deltas(golden["deltas"], golden["src"])
    torch.testing.assert_close(got, golden["apply"])


def test_boxes_have_four_or_five_values() -> None:
    assert box_kind(4).boxes is Boxes
    assert box_kind(5).boxes is RotatedBoxes
    with pytest.raises(ValueError, match="got 6"):
        box_kind(6)


def small_cfg() -> CfgNode:
    cfg = get_cfg()
    model = cfg.MODEL
    model.DEVICE = "cpu"
    model.BACKBONE.FREEZE_AT = 0
    model.RESNETS.RES2_OUT_CHANNELS = 8
    model.RESNETS.STEM_OUT_CHANNELS = model.RESNETS.WIDTH_PER_GROUP = 4
    model.RESNETS.NORM = "GN"
    model.ANCHOR_GENERATOR.NAME = "RotatedAnchorGenerator"
    model.ANCHOR_GENERATOR.SIZES = [[16, 32]]
    model.PROPOSAL_GENERATOR.NAME = "RRPN"
    model.RPN.BBOX_REG_WEIGHTS = (1, 1, 1, 1, 1)
    model.ROI_HEADS.NAME, model.ROI_BOX_HEAD.NAME = "RROIHeads", "FastRCNNConvFCHead"
    model.ROI_HEADS.NUM_CLASSES, model.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 3, 16
    model.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    model.ROI_BOX_HEAD.POOLER_TYPE = "ROIAlignRotated"
    model.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = (10, 10, 5, 5, 1)
    model.ROI_BOX_HEAD.NUM_FC, model.ROI_BOX_HEAD.FC_DIM = 1, 12
    model.ROI_BOX_HEAD.POOLER_RESOLUTION = 4
    return cfg


@pytest.mark.parametrize("objects", [0, 1])
@pytest.mark.parametrize("train_on_pred_boxes", [False, True])
def test_a_rotated_detector_trains_all_of_its_parameters(
    objects: int, train_on_pred_boxes: bool
) -> None:
    cfg = small_cfg()
    cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES = train_on_pred_boxes
    torch.manual_seed(0)
    model = build_model(cfg).train()
    gt = Instances(
        (64, 80),
        gt_boxes=RotatedBoxes(torch.tensor([[30.0, 30, 20, 10, 35]])[:objects]),
        gt_classes=torch.arange(objects),
    )
    image = torch.randint(0, 256, (3, 64, 80), dtype=torch.uint8)
    losses = model([{"image": image, "instances": gt}])
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_a_rotated_detector_finds_rotated_boxes() -> None:
    torch.manual_seed(0)
    model = build_model(small_cfg()).eval()
    image = torch.randint(0, 256, (3, 64, 80), dtype=torch.uint8)
    with torch.no_grad():
        (output,) = model([{"image": image, "height": 128, "width": 160}])
    found = output["instances"]
    assert isinstance(found.pred_boxes, RotatedBoxes)
    assert len(found) > 0
    assert found.image_size == (128, 160)


def test_what_rotated_heads_lack_is_refused() -> None:
    cfg = small_cfg()
    cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE = "ROIAlignV2"
    with pytest.raises(ValueError, match="box_pooler of type 'ROIAlignRotated'"):
        build_model(cfg)
    cfg = small_cfg()
    cfg.MODEL.MASK_ON = True
    with pytest.raises(ValueError, match="neither masks nor keypoints"):
        build_model(cfg)
