"""Heads of RetinaNet and FCOS, layer by layer."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_config import get_cfg
from d2_modeling import ShapeSpec
from d2_modeling.meta_arch import FCOSHead, RetinaNetHead

C = 4
SIZES = [(6, 8), (3, 4), (1, 1)]


def shapes(levels: int = len(SIZES), channels: int = C) -> list[ShapeSpec]:
    return [ShapeSpec(channels=channels, stride=8 * 2**level) for level in range(levels)]


def retinanet_head(**options: Any) -> RetinaNetHead:
    torch.manual_seed(0)
    given = {"num_classes": 3, "num_anchors": 2, "conv_dims": [5, 6]}
    return RetinaNetHead(input_shape=shapes(), **{**given, **options})


def fcos_head(**options: Any) -> FCOSHead:
    torch.manual_seed(0)
    given = {"num_classes": 3, "conv_dims": [5, 6]}
    return FCOSHead(input_shape=shapes(), **{**given, **options})


def features(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, C, *size, generator=generator) for size in SIZES]


def through(tower: Any, x: Tensor) -> Tensor:
    """The convolutions of a tower without norms, each with ReLU."""
    for layer in tower:
        if isinstance(layer, nn.Conv2d):
            x = F.conv2d(x, layer.weight, layer.bias, padding=1).clamp(min=0)
    return x


def test_every_level_passes_the_same_towers_and_predictors() -> None:
    head = retinanet_head()
    logits, deltas = head(features())
    for x, of_level, boxes in zip(features(), logits, deltas, strict=True):
        score, regress = head.cls_score, head.bbox_pred
        wanted = F.conv2d(through(head.cls_subnet, x), score.weight, score.bias, padding=1)
        torch.testing.assert_close(of_level, wanted)
        wanted = F.conv2d(through(head.bbox_subnet, x), regress.weight, regress.bias, padding=1)
        torch.testing.assert_close(boxes, wanted)
        assert of_level.shape == (2, 2 * 3, *x.shape[2:])
        assert boxes.shape == (2, 2 * 4, *x.shape[2:])


def test_centreness_is_predicted_behind_the_tower_of_the_boxes() -> None:
    head = fcos_head()
    logits, deltas, centreness = head(features())
    for x, *outputs in zip(features(), logits, deltas, centreness, strict=True):
        assert [out.shape[1] for out in outputs] == [3, 4, 1]
        wanted = F.conv2d(
            through(head.bbox_subnet, x), head.ctrness.weight, head.ctrness.bias, padding=1
        )
        torch.testing.assert_close(outputs[2], wanted)


def test_what_the_heads_share_they_predict_alike() -> None:
    fcos, retinanet = fcos_head(), retinanet_head(num_anchors=1)
    state = {k: v for k, v in fcos.state_dict().items() if not k.startswith("ctrness")}
    assert state.keys() == retinanet.state_dict().keys()
    retinanet.load_state_dict(state)
    for one, other in zip(fcos(features())[:2], retinanet(features()), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_convolutions_start_near_zero_and_biases_at_zero() -> None:
    head = fcos_head(conv_dims=[64, 64])
    for name, layer in head.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        assert layer.weight.mean().abs() < 0.002, name
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.2), name
        assert layer.bias is not None
        wanted = -math.log(99.0) if name == "cls_score" else 0.0
        torch.testing.assert_close(layer.bias.detach(), torch.full_like(layer.bias, wanted))


@pytest.mark.parametrize("prior", [0.01, 0.3, 0.5])
def test_untrained_pixels_of_fcos_are_foreground_with_the_prior_probability(prior: float) -> None:
    logits, _, _ = fcos_head(prior_prob=prior)([torch.zeros(1, C, *size) for size in SIZES])
    for level in logits:
        torch.testing.assert_close(level.sigmoid(), torch.full_like(level, prior))


@pytest.mark.parametrize("head", [retinanet_head, fcos_head])
def test_another_number_of_levels_is_refused(head: Any) -> None:
    for levels in (features()[:2], [*features(), features()[0]]):
        with pytest.raises(ValueError, match=f"has 3 levels, got {len(levels)} features"):
            head()(levels)


def test_maps_of_different_or_unknown_width_are_refused() -> None:
    for wrong in (shapes()[:1] + shapes(1, C + 1), [ShapeSpec(stride=8)]):
        with pytest.raises(ValueError, match="the head .*one known width"):
            FCOSHead(input_shape=wrong, num_classes=3, conv_dims=[4])


def test_no_convolutions_leave_the_predictors_on_the_features() -> None:
    head = retinanet_head(conv_dims=[])
    assert len(head.cls_subnet) == len(head.bbox_subnet) == 0
    logits, _ = head(features())
    wanted = F.conv2d(features()[0], head.cls_score.weight, head.cls_score.bias, padding=1)
    torch.testing.assert_close(logits[0], wanted)


@pytest.mark.parametrize("norm", ["GN", "LN"])
def test_norms_without_statistics_are_shared_by_the_levels(norm: str) -> None:
    options = {"conv_dims": [32], "norm": norm}
    head = retinanet_head(**options)
    convolution, normalize, _ = head.cls_subnet
    x = features()[1]
    hidden = normalize(convolution(x)).relu()
    wanted = F.conv2d(hidden, head.cls_score.weight, head.cls_score.bias, padding=1)
    torch.testing.assert_close(head(features())[0][1], wanted)


def test_batch_norm_normalises_each_level_by_its_own_statistics_with_one_scale() -> None:
    head = retinanet_head(conv_dims=[5], norm="BN").double().train()
    convolution, norms, _ = head.cls_subnet
    nn.init.uniform_(norms.weight, 0.5, 2.0)
    nn.init.uniform_(norms.bias, -1.0, 1.0)
    inputs = [level.double() for level in features()]
    logits, _ = head(inputs)
    for x, level in zip(inputs, logits, strict=True):
        y = convolution(x)
        mean = y.mean(dim=(0, 2, 3), keepdim=True)
        deviation = (y.var(dim=(0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
        y = (y - mean) / deviation * norms.weight[:, None, None] + norms.bias[:, None, None]
        wanted = F.conv2d(y.relu(), head.cls_score.weight, head.cls_score.bias, padding=1)
        torch.testing.assert_close(level, wanted)


def test_evaluation_uses_the_statistics_of_its_level() -> None:
    head = retinanet_head(conv_dims=[5], norm="BN")
    for _ in range(3):
        head.train()([level * scale for level, scale in zip(features(), (1, 9, 81), strict=True)])
    norms = head.cls_subnet[1]
    assert [int(each.num_batches_tracked) for each in norms] == [3, 3, 3]
    head.eval()
    before = {name: value.clone() for name, value in head.state_dict().items()}
    logits, _ = head(features())
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())
    y = head.cls_subnet[0](features()[1])
    y = F.batch_norm(
        y, norms[1].running_mean, norms[1].running_var, norms.weight, norms.bias
    ).relu()
    wanted = F.conv2d(y, head.cls_score.weight, head.cls_score.bias, padding=1)
    torch.testing.assert_close(logits[1], wanted)


def test_a_config_chooses_towers_anchors_and_prior() -> None:
    cfg = get_cfg()
    options = cfg.MODEL.RETINANET
    options.NUM_CLASSES, options.NUM_CONVS, options.PRIOR_PROB, options.NORM = 7, 3, 0.25, "GN"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16, 20], [32, 40]]
    cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS = [[0.5, 1.0, 2.0]]
    head = RetinaNetHead(cfg, shapes(2, 32))
    assert head.cls_score.out_channels == 2 * 3 * 7
    assert head.bbox_pred.out_channels == 2 * 3 * 4
    assert [type(layer).__name__ for layer in head.cls_subnet].count("Conv2d") == 3
    assert [type(layer).__name__ for layer in head.bbox_subnet].count("GroupNorm") == 3
    torch.testing.assert_close(head.cls_score.bias[0].sigmoid().item(), 0.25)


def test_no_images_give_maps_of_none() -> None:
    logits, deltas, centreness = fcos_head()([level[:0] for level in features()])
    assert logits[0].shape == (0, 3, 6, 8)
    assert deltas[1].shape == (0, 4, 3, 4)
    assert centreness[2].shape == (0, 1, 1, 1)
