"""PointRend apart from its reference models."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from d2_config import CfgNode, get_cfg
from d2_modeling import ROI_MASK_HEAD_REGISTRY, ShapeSpec
from d2_modeling.events import EventStorage
from d2_modeling.point_rend import (
    ImplicitPointHead,
    StandardPointHead,
    add_pointrend_config,
    generate_regular_grid_point_coords,
    get_point_coords_wrt_image,
    get_uncertain_point_coords_on_grid,
    get_uncertain_point_coords_with_randomness,
    point_sample,
    point_sample_fine_grained_features,
    roi_mask_point_loss,
    sample_point_labels,
)
from d2_modeling.point_rend.mask_head import mask_uncertainty
from d2_modeling.point_rend.point_features import point_sample_of_rois
from d2_modeling.point_rend.semantic import class_uncertainty
from d2_structures import BitMasks, Boxes, Instances, PolygonMasks

SHAPES = {"p2": ShapeSpec(channels=4, stride=4)}


def ramp(height: int = 6, width: int = 8) -> torch.Tensor:
    """A map whose value is 10 · row + column."""
    rows, columns = torch.arange(height), torch.arange(width)
    return (10.0 * rows[:, None] + columns)[None, None]


@given(x=st.floats(0.5, 7.5), y=st.floats(0.5, 5.5))
def test_a_linear_map_is_read_exactly_between_its_pixels(x: float, y: float) -> None:
    points = torch.tensor([[[x / 8, y / 6]]])
    (value,) = point_sample(ramp(), points).flatten().tolist()
    assert value == pytest.approx(10 * (y - 0.5) + (x - 0.5), abs=1e-4)


def test_points_in_a_grid_keep_its_shape_and_those_outside_are_zero() -> None:
    points = torch.tensor([[[[0.5 / 8, 0.5 / 6], [3.0, 0.5]]]])
    torch.testing.assert_close(
        point_sample(ramp(), points), torch.zeros(1, 1, 1, 2), atol=1e-5, rtol=0
    )
    nearest = point_sample(ramp(), torch.tensor([[[0.99, 0.01]]]), mode="nearest")
    assert nearest.item() == 7


def test_a_regular_grid_is_the_centres_of_pixels() -> None:
    grid = generate_regular_grid_point_coords(2, 4, "cpu")
    assert grid.shape == (2, 16, 2)
    assert grid[1, 1].tolist() == [0.375, 0.125]
    maps = torch.rand(2, 3, 4, 4)
    torch.testing.assert_close(point_sample(maps, grid).view(2, 3, 4, 4), maps)


def test_the_most_uncertain_pixels_are_found() -> None:
    uncertainty = torch.full((1, 1, 3, 4), -9.0)
    uncertainty[0, 0, 1, 2] = 0.0
    uncertainty[0, 0, 2, 0] = -1.0
    indices, points = get_uncertain_point_coords_on_grid(uncertainty, 2)
    assert indices.tolist() == [[6, 8]]
    torch.testing.assert_close(points[0], torch.tensor([[2.5 / 4, 1.5 / 3], [0.5 / 4, 2.5 / 3]]))
    assert get_uncertain_point_coords_on_grid(uncertainty, 100)[0].shape == (1, 12)


def test_most_drawn_points_lie_where_a_prediction_is_uncertain() -> None:
    torch.manual_seed(0)
    # Certain on the left, near zero on the right.
    logits = torch.cat([torch.full((2, 1, 8, 4), 9.0), torch.zeros(2, 1, 8, 4)], dim=3)
    points = get_uncertain_point_coords_with_randomness(logits, lambda x: -x.abs(), 40, 3, 0.75)
    assert points.shape == (2, 40, 2)
    assert (points[:, :30, 0] > 0.45).all()
    assert (points[:, 30:, 0] < 0.45).any()
    all_uncertain = get_uncertain_point_coords_with_randomness(logits, lambda x: -x.abs(), 8, 1, 1)
    assert all_uncertain.shape == (2, 8, 2)
    for ratios in ((0.5, 0.5), (3, 1.5)):
        with pytest.raises(ValueError, match="oversample_ratio has to be at least 1"):
            get_uncertain_point_coords_with_randomness(logits, lambda x: x, 8, *ratios)


def test_points_of_boxes_are_read_from_the_maps_of_their_images() -> None:
    boxes = torch.tensor([[4.0, 8, 12, 24], [0, 0, 8, 8], [2, 2, 6, 10]])
    points = torch.tensor([[[0.5, 0.25]], [[1.0, 1.0]], [[0.0, 1.0]]])
    in_image = get_point_coords_wrt_image(boxes, points)
    assert in_image[:, 0].tolist() == [[8, 12], [8, 8], [2, 10]]
    maps = torch.cat([ramp(8, 8), 1000 + ramp(8, 8)])
    features, where = point_sample_fine_grained_features(
        [maps, 2 * maps], [0.25, 0.25], [Boxes(boxes[:2]), Boxes(boxes[2:])], points
    )
    assert torch.equal(where, in_image)
    wanted = torch.tensor([10 * 2.5 + 1.5, 10 * 1.5 + 1.5, 1000 + 10 * 2 + 0])
    torch.testing.assert_close(features[:, 0, 0], wanted)
    torch.testing.assert_close(features[:, 1, 0], 2 * wanted)


def test_points_of_a_batch_of_boxes_are_those_of_each_image() -> None:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.rand(3, 4, *size, generator=generator) for size in ((8, 10), (4, 5))]
    corners = torch.tensor([[0.0, 0, 40, 32], [3, 5, 30, 20], [0, 0, 0, 0], [39, 31, 40, 32]])
    points = torch.cat([torch.tensor([[0.0, 0], [1, 1]]), torch.rand(5, 2, generator=generator)])
    points = points.expand(4, -1, -1)
    boxes = [Boxes(corners[:2]), Boxes(corners[2:2]), Boxes(corners[2:])]
    rois = torch.cat([torch.tensor([[0.0], [0], [2], [2]]), corners], dim=1)
    wanted, where = point_sample_fine_grained_features(maps, [0.25, 0.125], boxes, points)
    found, in_image = point_sample_of_rois(maps, [0.25, 0.125], rois, points)
    assert torch.equal(in_image, where)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_labels_say_whether_points_lie_on_masks() -> None:
    masks = torch.zeros(1, 4, 6, dtype=torch.bool)
    masks[0, 1:3, 2:4] = True
    with_mask = Instances((4, 6), gt_masks=BitMasks(masks))
    none = Instances((4, 6), gt_masks=BitMasks(masks[:0]))
    points = torch.tensor([[[2.5, 1.5], [0.5, 0.5], [2.0, 1.5]]])
    assert sample_point_labels([with_mask, none], points).tolist() == [[1.0, 0.0, 0.5]]
    assert sample_point_labels([none], points[:0]).shape == (0, 3)
    polygons = Instances((4, 6), gt_masks=PolygonMasks([[[0.0, 0, 3, 0, 3, 3]]]))
    with pytest.raises(TypeError, match="MASK_FORMAT to 'bitmask'"):
        sample_point_labels([polygons], points)


def test_the_loss_counts_the_own_class_and_not_the_ignored_points() -> None:
    logits = torch.randn(2, 3, 4, requires_grad=True)
    instances = [
        Instances((4, 4), gt_classes=torch.tensor([2])),
        Instances((4, 4), gt_classes=torch.tensor([], dtype=torch.int64)),
        Instances((4, 4), gt_classes=torch.tensor([0])),
    ]
    labels = torch.tensor([[1.0, 0, 1, -1], [0, 0, 1, 1]])
    with EventStorage() as storage:
        loss = roi_mask_point_loss(logits, instances, labels)
    own = torch.stack([logits[0, 2], logits[1, 0]])
    each = F.binary_cross_entropy_with_logits(own, labels.clamp(min=0), reduction="none")
    torch.testing.assert_close(loss, (each * (labels >= 0)).sum() / 8)
    assert 0 <= storage.latest()["point/accuracy"][0] <= 1
    agnostic = roi_mask_point_loss(logits[:, :1], instances, labels)
    assert agnostic != loss
    assert roi_mask_point_loss(logits[:0], [], labels[:0]) == 0


def test_a_point_head_is_one_perceptron_for_every_point() -> None:
    head = StandardPointHead(ShapeSpec(channels=5), num_classes=3, fc_dim=4, num_fc=2)
    fine, coarse = torch.randn(2, 5, 7), torch.randn(2, 3, 7)
    together = head(fine, coarse)
    assert together.shape == (2, 3, 7)
    torch.testing.assert_close(together[:, :, 3:4], head(fine[:, :, 3:4], coarse[:, :, 3:4]))
    first_only = StandardPointHead(
        ShapeSpec(channels=5),
        num_classes=3,
        fc_dim=4,
        num_fc=2,
        coarse_pred_each_layer=False,
        cls_agnostic_mask=True,
    )
    assert first_only(fine, coarse).shape == (2, 1, 7)


@pytest.mark.parametrize(("image", "place"), [(True, True), (True, False), (False, True)])
def test_an_implicit_head_is_the_network_that_its_parameters_say(image: bool, place: bool) -> None:
    head = ImplicitPointHead(
        ShapeSpec(channels=3),
        num_classes=2,
        channels=4,
        num_layers=3,
        image_feature_enabled=image,
        positional_encoding_enabled=place,
    )
    inputs = 3 * image + 256 * place
    sizes = [4 * inputs, 16, 8, 4, 4, 2]
    assert head.num_params == sum(sizes)
    parameters = torch.randn(2, head.num_params)
    fine, points = torch.randn(2, 3, 5), torch.rand(2, 5, 2)
    w1, w2, w3, b1, b2, b3 = parameters[1].split(sizes)
    x = torch.cat(([head._encoded(points)[1]] if place else []) + [fine[1]] * image)
    x = F.relu(w1.view(4, inputs) @ x + b1[:, None])
    x = F.relu(w2.view(4, 4) @ x + b2[:, None])
    wanted = w3.view(2, 4) @ x + b3[:, None]
    torch.testing.assert_close(head(fine, points, parameters)[1], wanted, rtol=1e-4, atol=1e-4)


def test_an_implicit_head_needs_some_input() -> None:
    with pytest.raises(ValueError, match="wants image features, places, or both"):
        ImplicitPointHead(
            ShapeSpec(channels=3),
            num_classes=2,
            channels=4,
            num_layers=3,
            image_feature_enabled=False,
            positional_encoding_enabled=False,
        )


def test_uncertainty_is_the_nearness_of_a_decision() -> None:
    logits = torch.tensor([[[3.0, -1.0], [0.5, 2.0]]])
    assert mask_uncertainty(logits, torch.tensor([1])).tolist() == [[[-0.5, -2.0]]]
    assert mask_uncertainty(logits[:, :1], torch.tensor([1])).tolist() == [[[-3.0, -1.0]]]
    assert class_uncertainty(logits).tolist() == [[[-2.5, -3.0]]]


def pointrend_cfg(name: str) -> CfgNode:
    cfg = get_cfg()
    add_pointrend_config(cfg)
    cfg.MODEL.ROI_MASK_HEAD.NAME = name
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = cfg.MODEL.POINT_HEAD.NUM_CLASSES = 2
    cfg.MODEL.ROI_MASK_HEAD.FC_DIM, cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 8, 4
    cfg.MODEL.POINT_HEAD.FC_DIM = 4
    cfg.MODEL.POINT_HEAD.NAME = "ImplicitPointHead" if "Implicit" in name else "StandardPointHead"
    return cfg


def head_of(name: str, **options: Any) -> Any:
    cfg = pointrend_cfg(name)
    cfg.MODEL.ROI_MASK_HEAD.POINT_HEAD_ON = True
    cfg.MODEL.POINT_HEAD.update(options)
    return ROI_MASK_HEAD_REGISTRY.get(name)(cfg, SHAPES)


HEADS = ["PointRendMaskHead", "ImplicitPointRendMaskHead"]


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("count", [0, 2])
def test_masks_of_any_number_of_regions(name: str, count: int) -> None:
    torch.manual_seed(0)
    head = head_of(name, SUBDIVISION_STEPS=2, SUBDIVISION_NUM_POINTS=196)
    features = {"p2": torch.randn(1, 4, 16, 16)}
    boxes = Boxes(torch.tensor([[0.0, 0, 30, 40], [10, 10, 20, 60]])[:count])
    classes = torch.tensor([1, 0])[:count]
    training = Instances(
        (64, 64),
        proposal_boxes=boxes,
        gt_classes=classes,
        gt_boxes=boxes,
        gt_masks=BitMasks(torch.ones(count, 64, 64, dtype=torch.bool)),
    )
    losses = head(features, [training])
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert (sum(losses.values()) == 0) == (count == 0)
    found = Instances((64, 64), pred_boxes=boxes, pred_classes=classes)
    (result,) = head.eval()(features, [found])
    side = {"PointRendMaskHead": 28, "ImplicitPointRendMaskHead": 56}[name]
    assert result.pred_masks.shape == (count, 1, side, side)


def test_without_a_point_head_the_coarse_masks_are_the_result() -> None:
    cfg = pointrend_cfg("PointRendMaskHead")
    head = ROI_MASK_HEAD_REGISTRY.get("PointRendMaskHead")(cfg, SHAPES)
    assert head.point_head is None
    found = Instances(
        (64, 64),
        pred_boxes=Boxes(torch.tensor([[0.0, 0, 30, 40]])),
        pred_classes=torch.tensor([1]),
    )
    (result,) = head.eval()({"p2": torch.randn(1, 4, 16, 16)}, [found])
    assert result.pred_masks.shape == (1, 1, 7, 7)


def test_the_coarse_head_reduces_channels_and_adds_none() -> None:
    cfg = pointrend_cfg("PointRendMaskHead")
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 8
    with pytest.raises(ValueError, match="conv_dim 8 is more than the 4 channels of the features"):
        ROI_MASK_HEAD_REGISTRY.get("PointRendMaskHead")(cfg, SHAPES)


def test_both_heads_need_the_same_classes() -> None:
    cfg = pointrend_cfg("PointRendMaskHead")
    cfg.MODEL.ROI_MASK_HEAD.POINT_HEAD_ON = True
    cfg.MODEL.POINT_HEAD.NUM_CLASSES = 5
    with pytest.raises(ValueError, match=r"POINT_HEAD\.NUM_CLASSES 5 has to be"):
        ROI_MASK_HEAD_REGISTRY.get("PointRendMaskHead")(cfg, SHAPES)
