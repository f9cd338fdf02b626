"""Heads of PointRend: what they compute, and how masks are refined, against slow versions."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_config import get_cfg
from d2_modeling import ROI_MASK_HEAD_REGISTRY, ShapeSpec, build_sem_seg_head
from d2_modeling.batched_selection import Detections
from d2_modeling.meta_arch import SemSegFPNHead
from d2_modeling.point_rend import (
    CoarseMaskHead,
    ImplicitPointHead,
    ImplicitPointRendMaskHead,
    PointRendMaskHead,
    PointRendSemSegHead,
    StandardPointHead,
    add_pointrend_config,
    build_point_head,
    generate_regular_grid_point_coords,
    point_sample,
    point_sample_fine_grained_features,
)
from d2_structures import BitMasks, Boxes, Instances, PolygonMasks

SHAPES = {"p2": ShapeSpec(channels=4, stride=4), "p3": ShapeSpec(channels=4, stride=8)}
CLASSES = 2
BOXES = torch.tensor([[0.0, 0, 30, 40], [10, 10, 20, 60], [5, 3, 60, 33]])
LABELS = torch.tensor([1, 0, 1])


def features(images: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "p2": torch.randn(images, 4, 16, 16, generator=generator),
        "p3": torch.randn(images, 4, 8, 8, generator=generator),
    }


def coarse_head(*, height: int = 6, channels: int = 4, **options: Any) -> CoarseMaskHead:
    torch.manual_seed(0)
    given = {"conv_dim": 4, "fc_dim": 8, "num_fc": 2, "output_shape": (CLASSES, 3, 3)}
    shape = ShapeSpec(channels=channels, height=height, width=6)
    return CoarseMaskHead(shape, **{**given, **options})


def common_options(**options: Any) -> dict[str, Any]:
    return {
        "feature_scales": {"p2": 1 / 4, "p3": 1 / 8},
        "in_features": ["p3"],
        "pooler_size": 6,
        "point_in_features": ["p2", "p3"],
        "train_num_points": 9,
        "subdivision_steps": 2,
        "subdivision_num_points": 20,
        "init_resolution": 5,
        **options,
    }


def mask_head(**options: Any) -> PointRendMaskHead:
    coarse = coarse_head()
    nn.init.normal_(coarse.prediction.weight)
    point = StandardPointHead(ShapeSpec(channels=8), num_classes=CLASSES, fc_dim=6, num_fc=2)
    nn.init.normal_(point.predictor.weight)
    given = {
        "coarse_head": coarse,
        "point_head": point,
        "oversample_ratio": 3.0,
        "importance_sample_ratio": 0.75,
    }
    return PointRendMaskHead(**{**given, **common_options(**options)})


def implicit_head(**options: Any) -> ImplicitPointRendMaskHead:
    torch.manual_seed(0)
    point = ImplicitPointHead(ShapeSpec(channels=8), num_classes=CLASSES, channels=4, num_layers=2)
    parameters = coarse_head(output_shape=(point.num_params,))
    nn.init.normal_(parameters.prediction.weight, std=0.1)
    given = {"parameter_head": parameters, "point_head": point, "regularizer": 0.5}
    return ImplicitPointRendMaskHead(**{**given, **common_options(**options)})


def found(boxes: Tensor = BOXES, classes: Tensor = LABELS) -> Instances:
    return Instances((64, 64), pred_boxes=Boxes(boxes), pred_classes=classes)


def regions(boxes: Tensor = BOXES, classes: Tensor = LABELS) -> Instances:
    masks = torch.zeros(len(boxes), 64, 64, dtype=torch.bool)
    masks[:, :, :32] = True
    return Instances(
        (64, 64),
        proposal_boxes=Boxes(boxes),
        gt_boxes=Boxes(boxes),
        gt_classes=classes,
        gt_masks=BitMasks(masks),
    )


def test_the_coarse_head_is_its_layers_one_after_the_other() -> None:
    head = coarse_head(channels=7)
    x = torch.randn(3, 7, 6, 6)
    reduce, halve = head.reduce_channel_dim_conv, head.reduce_spatial_dim_conv
    assert reduce is not None
    y = F.conv2d(x, reduce.weight, reduce.bias).clamp(min=0)
    y = F.conv2d(y, halve.weight, halve.bias, stride=2).clamp(min=0).flatten(1)
    assert y.shape == (3, 4 * 3 * 3)
    for layer in (head.fc1, head.fc2):
        y = (y @ layer.weight.T + layer.bias).clamp(min=0)
    y = y @ head.prediction.weight.T + head.prediction.bias
    torch.testing.assert_close(head(x), y.view(3, CLASSES, 3, 3))


def test_features_of_the_wanted_width_are_not_reduced_and_odd_sides_are_halved_down() -> None:
    head = coarse_head(height=7)
    assert head.reduce_channel_dim_conv is None
    assert not any("reduce_channel" in name for name in head.state_dict())
    assert head(torch.randn(2, 4, 7, 6)).shape == (2, CLASSES, 3, 3)
    assert head(torch.randn(0, 4, 7, 6)).shape == (0, CLASSES, 3, 3)


def test_the_point_head_sees_the_coarse_prediction_again_in_each_layer() -> None:
    fine, coarse = torch.randn(2, 5, 7), torch.randn(2, 3, 7)
    for again in (True, False):
        head = StandardPointHead(
            ShapeSpec(channels=5),
            num_classes=3,
            fc_dim=4,
            num_fc=2,
            coarse_pred_each_layer=again,
        )
        nn.init.normal_(head.predictor.weight)
        x = torch.cat([fine, coarse], dim=1)
        for layer in (head.fc1, head.fc2):
            x = (layer.weight[:, :, 0] @ x + layer.bias[:, None]).clamp(min=0)
            x = torch.cat([x, coarse], dim=1) if again else x
        wanted = head.predictor.weight[:, :, 0] @ x + head.predictor.bias[:, None]
        torch.testing.assert_close(head(fine, coarse), wanted)


def test_without_hidden_layers_the_point_head_is_linear() -> None:
    head = StandardPointHead(ShapeSpec(channels=5), num_classes=3, fc_dim=4, num_fc=0)
    assert sorted(head.state_dict()) == ["predictor.bias", "predictor.weight"]
    assert head(torch.randn(2, 5, 7), torch.randn(2, 3, 7)).shape == (2, 3, 7)


def test_places_are_encoded_by_sines_and_cosines_of_fixed_projections() -> None:
    head = ImplicitPointHead(ShapeSpec(channels=3), num_classes=1, channels=4, num_layers=1)
    assert list(head.state_dict()) == ["positional_encoding_gaussian_matrix"]
    assert head.num_params == (256 + 3) + 1
    points = torch.rand(1, 5, 2)
    matrix = head.positional_encoding_gaussian_matrix
    angles = 2 * torch.pi * (2 * points[0] - 1) @ matrix
    fine = torch.randn(1, 3, 5)
    parameters = torch.randn(1, head.num_params)
    x = torch.cat([angles.sin().T, angles.cos().T, fine[0]])
    wanted = parameters[0, :-1] @ x + parameters[0, -1]
    torch.testing.assert_close(head(fine, points, parameters)[0, 0], wanted, rtol=1e-3, atol=1e-3)


def fine_at(head: Any, maps: dict[str, Tensor], boxes: Tensor, points: Tensor) -> Tensor:
    names = head.point_in_features
    scales = [1 / (SHAPES[name].stride or 1) for name in names]
    chosen = [maps[name] for name in names]
    return point_sample_fine_grained_features(chosen, scales, [Boxes(boxes)], points)[0]


def slowly_subdivided(head: Any, maps: dict[str, Tensor], boxes: Tensor, classes: Tensor) -> Tensor:
    """Double the masks; look anew at the pixels that are nearest to a decision, one by one."""
    grid = generate_regular_grid_point_coords(len(boxes), head.pooler_size, "cpu")
    pooled = point_sample_fine_grained_features([maps["p3"]], [1 / 8], [Boxes(boxes)], grid)[0]
    pooled = pooled.unflatten(2, (head.pooler_size, head.pooler_size))
    is_implicit = isinstance(head, ImplicitPointRendMaskHead)
    coarse = head.parameter_head(pooled) if is_implicit else head.coarse_head(pooled)

    def classified(region: int, x: float, y: float) -> Tensor:
        point = torch.tensor([[[x, y]]])
        one = slice(region, region + 1)
        fine = fine_at(head, maps, boxes[one], point)
        if is_implicit:
            return head.point_head(fine, point, coarse[one])[0, :, 0]
        return head.point_head(fine, point_sample(coarse[one], point))[0, :, 0]

    side = head.init_resolution
    masks = torch.zeros(len(boxes), CLASSES, side, side)
    for region in range(len(boxes)):
        for row in range(side):
            for column in range(side):
                x, y = (column + 0.5) / side, (row + 0.5) / side
                masks[region, :, row, column] = classified(region, x, y)
    for _ in range(head.subdivision_steps):
        masks = F.interpolate(masks, scale_factor=2, mode="bilinear", align_corners=False)
        side *= 2
        for region, label in enumerate(classes.tolist()):
            sure = masks[region, label].abs().flatten().tolist()
            order = sorted(range(len(sure)), key=lambda i: sure[i])
            for index in order[: head.subdivision_num_points]:
                row, column = divmod(index, side)
                x, y = (column + 0.5) / side, (row + 0.5) / side
                masks[region, :, row, column] = classified(region, x, y)
    return masks


@torch.no_grad()
@pytest.mark.parametrize("build", [mask_head, implicit_head])
def test_masks_are_refined_where_they_are_uncertain(build: Any) -> None:
    head, maps = build().eval(), features()
    (result,) = head(maps, [found()])
    masks = slowly_subdivided(head, maps, BOXES, LABELS)
    wanted = masks[torch.arange(3), LABELS][:, None].sigmoid()
    assert wanted.shape == (3, 1, 20, 20)
    torch.testing.assert_close(result.pred_masks, wanted, rtol=1e-3, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("build", [mask_head, implicit_head])
def test_tensors_of_detections_get_the_same_masks(build: Any) -> None:
    head, maps = build().eval(), features(2)
    first, second = found(BOXES[:1], LABELS[:1]), found(BOXES[1:], LABELS[1:])
    wanted = torch.cat([each.pred_masks for each in head(maps, [first, second])])
    index = torch.tensor([0, 1, 1])
    got = head.predict_tensors(maps, Detections(BOXES, torch.ones(3), LABELS, index, index))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("points", "steps", "side"), [(20, 2, 5), (100, 1, 10), (400, 0, 20), (10_000, 0, 20)]
)
def test_steps_that_would_look_at_all_pixels_are_left_out(
    points: int, steps: int, side: int
) -> None:
    head = mask_head(subdivision_num_points=points)
    assert (head.subdivision_steps, head.init_resolution) == (steps, side)
    with torch.no_grad():
        (result,) = head.eval()(features(), [found()])
    assert result.pred_masks.shape == (3, 1, 20, 20)


@torch.no_grad()
def test_without_subdivision_every_pixel_is_classified_once() -> None:
    head, maps = mask_head(subdivision_steps=0).eval(), features()
    (result,) = head(maps, [found()])
    wanted = slowly_subdivided(head, maps, BOXES, LABELS)[torch.arange(3), LABELS]
    torch.testing.assert_close(result.pred_masks[:, 0], wanted.sigmoid(), rtol=1e-3, atol=1e-4)


def test_training_gives_the_losses_of_masks_and_of_points() -> None:
    torch.manual_seed(0)
    head = mask_head()
    losses = head(features(2), [regions(BOXES[:1], LABELS[:1]), regions(BOXES[1:], LABELS[1:])])
    assert sorted(losses) == ["loss_mask", "loss_mask_point"]
    sum(losses.values()).backward()
    assert [name for name, p in head.named_parameters() if p.grad is None] == []
    head = mask_head(point_head=None)
    assert sorted(head(features(), [regions()])) == ["loss_mask"]


def test_points_are_labelled_by_the_masks_in_the_image() -> None:
    """A point head that knows the answer has no loss, one that says the contrary a large one."""

    class LeftHalf(nn.Module):
        """Sure of what lies left of pixel 32, as the first feature map says."""

        def __init__(self, sign: float) -> None:
            super().__init__()
            self.sign = sign

        def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
            return self.sign * 1e3 * (32.0 - fine[:, :1]).expand(-1, CLASSES, -1)

    columns = (4.0 * torch.arange(16) + 2).expand(1, 4, 16, 16)
    given = regions(torch.tensor([[4.0, 4, 50, 40], [10, 10, 60, 60]]), LABELS[:2])
    for sign, least, most in ((1.0, 0.0, 20.0), (-1.0, 1e3, float("inf"))):
        torch.manual_seed(0)
        head = mask_head(point_head=LeftHalf(sign), point_in_features=["p2"], train_num_points=400)
        losses = head({"p2": columns, "p3": features()["p3"]}, [given])
        assert least <= losses["loss_mask_point"] <= most


def test_implicit_parameters_are_regularised_by_their_mean_square() -> None:
    torch.manual_seed(0)
    head, maps = implicit_head(), features()
    losses = head(maps, [regions()])
    assert sorted(losses) == ["loss_l2", "loss_mask_point"]
    grid = generate_regular_grid_point_coords(3, 6, "cpu")
    pooled = point_sample_fine_grained_features([maps["p3"]], [1 / 8], [Boxes(BOXES)], grid)[0]
    parameters = head.parameter_head(pooled.unflatten(2, (6, 6)))
    assert losses["loss_l2"].item() == pytest.approx(0.5 * parameters.square().mean().item())
    sum(losses.values()).backward()
    assert [name for name, p in head.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("build", [mask_head, implicit_head])
def test_masks_have_to_be_bitmaps(build: Any) -> None:
    given = regions()
    given.gt_masks = PolygonMasks([[[0.0, 0, 30, 0, 30, 30]]] * 3)
    with pytest.raises(TypeError, match="got PolygonMasks: set INPUT.MASK_FORMAT to 'bitmask'"):
        build()(features(), [given])


def test_a_config_describes_every_part() -> None:
    cfg = get_cfg()
    add_pointrend_config(cfg)
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = cfg.MODEL.POINT_HEAD.NUM_CLASSES = 3
    options, points = cfg.MODEL.ROI_MASK_HEAD, cfg.MODEL.POINT_HEAD
    options.IN_FEATURES, options.FC_DIM, options.CONV_DIM = ["p2", "p3"], 8, 4
    options.POINT_HEAD_ON, points.FC_DIM, points.IN_FEATURES = True, 6, ["p3"]
    points.CLS_AGNOSTIC_MASK = True
    head = ROI_MASK_HEAD_REGISTRY.get("PointRendMaskHead")(cfg, SHAPES)
    assert head.coarse_head.output_shape == (3, 7, 7)
    assert head.coarse_head.reduce_channel_dim_conv.in_channels == 8
    assert head.point_head.predictor.out_channels == 1
    assert head.point_head.fc1.in_channels == 4 + 3
    assert (head.subdivision_steps, head.init_resolution) == (3, 28)
    assert head.train_num_points == 196
    assert (head.oversample_ratio, head.importance_sample_ratio) == (3, 0.75)


def test_an_unknown_point_head_is_named() -> None:
    cfg = get_cfg()
    add_pointrend_config(cfg)
    cfg.MODEL.POINT_HEAD.NAME = "PointyHead"
    with pytest.raises(KeyError, match="PointyHead"):
        build_point_head(cfg, ShapeSpec(channels=4))


def sem_seg_head(**options: Any) -> PointRendSemSegHead:
    torch.manual_seed(0)
    coarse = SemSegFPNHead(
        SHAPES, num_classes=3, conv_dims=8, common_stride=4, norm="", ignore_value=255
    )
    point = StandardPointHead(ShapeSpec(channels=4), num_classes=3, fc_dim=6, num_fc=1)
    nn.init.normal_(point.predictor.weight)
    given = {
        "coarse_sem_seg_head": coarse,
        "point_head": point,
        "in_features": ["p3"],
        "train_num_points": 30,
        "oversample_ratio": 3.0,
        "importance_sample_ratio": 0.75,
        "subdivision_steps": 2,
        "subdivision_num_points": 40,
    }
    return PointRendSemSegHead(**{**given, **options})


@torch.no_grad()
def test_semantic_logits_are_refined_where_two_classes_are_near() -> None:
    head, maps = sem_seg_head().eval(), features(2)
    logits, losses = head(maps)
    assert losses == {}
    coarse = head.coarse_sem_seg_head.layers(maps)
    wanted = coarse
    for _ in range(2):
        wanted = F.interpolate(wanted, scale_factor=2, mode="bilinear", align_corners=False)
        height, width = wanted.shape[2:]
        for image in range(2):
            pixels = wanted[image].flatten(1).T.tolist()
            gaps = [sorted(pixel)[-1] - sorted(pixel)[-2] for pixel in pixels]
            for index in sorted(range(len(gaps)), key=lambda i: gaps[i])[:40]:
                row, column = divmod(index, width)
                point = torch.tensor([[[(column + 0.5) / width, (row + 0.5) / height]]])
                one = slice(image, image + 1)
                fine = point_sample(maps["p3"][one], point)
                value = head.point_head(fine, point_sample(coarse[one], point))[0, :, 0]
                wanted[image, :, row, column] = value
    torch.testing.assert_close(logits, wanted, rtol=1e-3, atol=1e-4)


def test_semantic_training_adds_the_loss_of_points_to_the_coarse_one() -> None:
    head, maps = sem_seg_head(), features(2)
    targets = torch.randint(0, 3, (2, 64, 64))
    torch.manual_seed(0)
    result, losses = head(maps, targets)
    assert result is None
    coarse = head.coarse_sem_seg_head
    wanted = coarse.losses(coarse.layers(maps), targets)["loss_sem_seg"]
    torch.testing.assert_close(losses["loss_sem_seg"], wanted)
    assert losses["loss_sem_seg_point"] > 0
    sum(losses.values()).backward()
    assert [name for name, p in head.named_parameters() if p.grad is None] == []
    with pytest.raises(ValueError, match="wants targets while training, got None"):
        head(maps)


def test_semantic_points_have_the_label_of_their_pixel() -> None:
    """A point head that reads the label off the features has no loss."""

    class Reader(nn.Module):
        def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
            return 1e3 * fine[:, :3]

    labels = torch.zeros(1, 64, 64, dtype=torch.int64)
    labels[:, :, 32:] = 1
    labels[:, 32:] = 2
    maps = features()
    # Only points near a border of the labels are read from two of these pixels.
    maps["p3"] = F.one_hot(labels[:, ::8, ::8], 4).permute(0, 3, 1, 2).float()
    head = sem_seg_head(point_head=Reader(), train_num_points=500, importance_sample_ratio=0.0)
    torch.manual_seed(0)
    right = head(maps, labels)[1]["loss_sem_seg_point"]
    wrong = head(maps, (labels + 1) % 3)[1]["loss_sem_seg_point"]
    assert right < 0.1 * wrong


def test_images_without_labelled_pixels_have_no_loss_of_points() -> None:
    head = sem_seg_head()
    _, losses = head(features(), torch.full((1, 64, 64), 255))
    assert losses["loss_sem_seg"] == 0
    assert losses["loss_sem_seg_point"] == 0
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_a_semantic_head_is_built_from_a_config() -> None:
    cfg = get_cfg()
    add_pointrend_config(cfg)
    cfg.MODEL.SEM_SEG_HEAD.NAME = "PointRendSemSegHead"
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["p2", "p3"]
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM, cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 32, 77
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = cfg.MODEL.POINT_HEAD.NUM_CLASSES = 5
    cfg.MODEL.POINT_HEAD.SUBDIVISION_STEPS = 1
    head: Any = build_sem_seg_head(cfg, SHAPES)
    assert isinstance(head, PointRendSemSegHead)
    assert isinstance(head.coarse_sem_seg_head, SemSegFPNHead)
    assert head.ignore_value == 77
    with torch.no_grad():
        logits, _ = head.eval()(features())
    assert logits.shape == (1, 5, 32, 32)
