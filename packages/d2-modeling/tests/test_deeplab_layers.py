"""DeepLab's heads and losses, taken apart."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_config import CfgNode, get_cfg
from d2_modeling import SEM_SEG_HEADS_REGISTRY, ShapeSpec
from d2_modeling.deeplab import DeepLabCE, DeepLabV3Head, DeepLabV3PlusHead, add_deeplab_config
from d2_modeling.deeplab.losses import pixel_loss

SHAPES = {
    "res5": ShapeSpec(channels=8, stride=16),
    "res2": ShapeSpec(channels=4, stride=4),
    "res3": ShapeSpec(channels=6, stride=8),
}
SEEDS = st.integers(0, 10**6)


def features(images: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = {"res2": (16, 24), "res3": (8, 12), "res5": (4, 6)}
    return {
        name: torch.randn(images, SHAPES[name].channels or 0, *size, generator=generator)
        for name, size in sizes.items()
    }


def v3(**options: Any) -> DeepLabV3Head:
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "num_classes": 3,
        "aspp_channels": 5,
        "aspp_dilations": [1, 2, 3],
        "aspp_dropout": 0.0,
        "common_stride": 16,
    }
    return DeepLabV3Head({"res5": SHAPES["res5"]}, **{**given, **options})


def v3_plus(**options: Any) -> DeepLabV3PlusHead:
    torch.manual_seed(0)
    given: dict[str, Any] = {
        "num_classes": 3,
        "project_channels": [2, 3],
        "decoder_channels": [5, 6, 7],
        "aspp_dilations": [1, 2, 3],
        "aspp_dropout": 0.0,
        "common_stride": 4,
        "norm": "",
    }
    return DeepLabV3PlusHead(SHAPES, **{**given, **options})


def convolved(layer: Any, x: Tensor, padding: int = 0, dilation: int = 1) -> Tensor:
    y = F.conv2d(x, layer.weight, layer.bias, padding=padding, dilation=dilation)
    return y.clamp(min=0)


def pooled_pyramid(aspp: Any, x: Tensor) -> Tensor:
    """Chen et al., "Rethinking Atrous Convolution", 2017, figure 5."""
    one, *dilated, pooling = aspp.convs
    parts = [convolved(one, x)]
    parts += [convolved(layer, x, d, d) for layer, d in zip(dilated, (1, 2, 3), strict=True)]
    mean = convolved(pooling[1], x.mean(dim=(2, 3), keepdim=True))
    parts.append(mean.expand(-1, -1, *x.shape[2:]))
    return convolved(aspp.project, torch.cat(parts, dim=1))


def test_v3_is_a_pyramid_of_dilations_and_a_predictor() -> None:
    head = v3()
    merged = pooled_pyramid(head.aspp, features()["res5"])
    wanted = F.conv2d(merged, head.predictor.weight, head.predictor.bias)
    logits = head.layers(features())
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-6)
    enlarged, losses = head.eval()(features())
    torch.testing.assert_close(
        enlarged, F.interpolate(logits, scale_factor=16, mode="bilinear", align_corners=False)
    )
    assert losses == {}


def test_v3_plus_merges_finer_maps_into_the_pyramid_of_the_coarsest() -> None:
    head, maps = v3_plus(), features()
    assert head.in_features == ["res2", "res3", "res5"]
    merged = pooled_pyramid(head.decoder["res5"]["project_conv"], maps["res5"])  # type: ignore[index]  # modules by name
    for name in ("res3", "res2"):
        stage: Any = head.decoder[name]
        projected = convolved(stage["project_conv"], maps[name])
        size = maps[name].shape[2:]
        merged = F.interpolate(merged, size=size, mode="bilinear", align_corners=False)
        merged = torch.cat([projected, merged], dim=1)
        for layer in stage["fuse_conv"]:
            merged = convolved(layer, merged, padding=1)
    assert head.predictor is not None
    wanted = F.conv2d(merged, head.predictor.weight, head.predictor.bias)  # type: ignore[arg-type]  # of a convolution
    torch.testing.assert_close(head.layers(maps), wanted, rtol=1e-4, atol=1e-6)


def test_channels_are_those_asked_for() -> None:
    head = v3_plus()
    state = head.state_dict()
    assert state["decoder.res2.project_conv.weight"].shape == (2, 4, 1, 1)
    assert state["decoder.res3.project_conv.weight"].shape == (3, 6, 1, 1)
    assert state["decoder.res3.fuse_conv.0.weight"].shape == (6, 3 + 7, 3, 3)
    assert state["decoder.res2.fuse_conv.0.weight"].shape == (5, 2 + 6, 3, 3)
    assert state["decoder.res2.fuse_conv.1.weight"].shape == (5, 5, 3, 3)
    assert state["decoder.res5.project_conv.project.weight"].shape == (7, 5 * 7, 1, 1)


def test_separable_convolutions_are_one_of_five_pixels_instead_of_two_of_three() -> None:
    state = v3_plus(use_depthwise_separable_conv=True).state_dict()
    assert state["decoder.res2.fuse_conv.depthwise.weight"].shape == (8, 1, 5, 5)
    assert state["decoder.res2.fuse_conv.pointwise.weight"].shape == (5, 8, 1, 1)
    assert "decoder.res2.fuse_conv.0.weight" not in state
    separable = v3(use_depthwise_separable_conv=True).state_dict()
    assert separable["aspp.convs.1.depthwise.weight"].shape == (8, 1, 3, 3)


@pytest.mark.parametrize("head", [v3, v3_plus])
def test_features_are_dropped_in_training_only(head: Any) -> None:
    module = head(aspp_dropout=0.5)
    torch.manual_seed(1)
    one, other = module.layers(features()), module.layers(features())
    assert not torch.equal(one, other)
    module.eval()
    assert torch.equal(module.layers(features()), module.layers(features()))


@pytest.mark.parametrize("head", [v3, v3_plus])
def test_the_pooling_covers_a_training_image_of_larger_ones(head: Any) -> None:
    """Images as large as those of training are pooled as a whole either way."""
    whole, windowed = head(), head(train_size=(64, 96))
    windowed.load_state_dict(whole.state_dict())
    torch.testing.assert_close(windowed.layers(features()), whole.layers(features()))
    larger = {name: torch.cat([x, -x], dim=3) for name, x in features().items()}
    assert not torch.allclose(windowed.layers(larger), whole.layers(larger))


def test_the_loss_is_weighted_and_taken_at_the_size_of_the_image() -> None:
    logits, targets = torch.randn(1, 3, 4, 6), torch.randint(0, 3, (1, 64, 96))
    targets[0, :9] = 7
    head = v3(loss_weight=0.3, ignore_value=7)
    enlarged = F.interpolate(logits, scale_factor=16, mode="bilinear", align_corners=False)
    chosen = enlarged.log_softmax(dim=1).gather(1, targets.clamp(max=2)[:, None])[:, 0]
    wanted = -0.3 * chosen[targets != 7].mean()
    torch.testing.assert_close(head.losses(logits, targets)["loss_sem_seg"], wanted)


def test_hard_pixels_are_a_fifth_of_all() -> None:
    logits, targets = torch.randn(2, 3, 4, 6), torch.randint(0, 3, (2, 64, 96))
    head = v3(loss_type="hard_pixel_mining")
    enlarged = F.interpolate(logits, scale_factor=16, mode="bilinear", align_corners=False)
    each = F.cross_entropy(enlarged, targets, reduction="none").flatten().sort(descending=True)
    wanted = each.values[: int(0.2 * 2 * 64 * 96)].mean()
    torch.testing.assert_close(head.losses(logits, targets)["loss_sem_seg"], wanted)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.sampled_from([0.1, 0.3, 1.0]), st.booleans(), st.booleans())
def test_weights_count_before_the_hardest_are_chosen(
    seed: int, share: float, of_pixels: bool, of_classes: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    double: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
    logits = torch.randn(2, 3, 4, 5, **double)
    labels = torch.randint(-1, 3, (2, 4, 5), generator=generator)
    pixel_weights = torch.rand(2, 4, 5, **double)
    class_weights = torch.rand(3, **double)
    losses = []
    for image, row, column in torch.ones(2, 4, 5).nonzero().tolist():
        label = int(labels[image, row, column])
        pixel = [math.exp(x) for x in logits[image, :, row, column].tolist()]
        loss = 0.0 if label < 0 else -math.log(pixel[label] / sum(pixel))
        if label >= 0 and of_classes:
            loss *= float(class_weights[label])
        losses.append(loss * float(pixel_weights[image, row, column]) if of_pixels else loss)
    count = round(share * 40)
    criterion = DeepLabCE(-1, share, class_weights if of_classes else None)
    got = criterion(logits, labels, pixel_weights if of_pixels else None)
    assert float(got) == pytest.approx(sum(sorted(losses)[-count:]) / count)


def test_only_the_hardest_pixels_learn() -> None:
    logits = torch.zeros(1, 2, 1, 4)
    logits[0, 0] = torch.tensor([3.0, -1.0, 2.0, -4.0])
    logits.requires_grad_()
    labels = torch.zeros(1, 1, 4, dtype=torch.int64)
    DeepLabCE(top_k_percent_pixels=0.5)(logits, labels).backward()
    assert logits.grad is not None
    assert (logits.grad[0, 0, 0] != 0).tolist() == [False, True, False, True]


@pytest.mark.parametrize("pixels", [1, 3, 4])
def test_of_few_pixels_one_is_the_hardest(pixels: int) -> None:
    """A fifth of fewer than five pixels is none."""
    logits = torch.randn(1, 3, 1, pixels)
    labels = torch.randint(0, 3, (1, 1, pixels))
    each = F.cross_entropy(logits, labels, reduction="none")
    loss = DeepLabCE(top_k_percent_pixels=0.2)(logits, labels)
    torch.testing.assert_close(loss, each.max())


@pytest.mark.parametrize("loss_type", ["cross_entropy", "hard_pixel_mining"])
def test_a_batch_of_ignored_pixels_has_no_loss_but_gradients(loss_type: str) -> None:
    head = v3(loss_type=loss_type, ignore_value=255)
    _, losses = head(features(), torch.full((2, 64, 96), 255))
    assert losses["loss_sem_seg"] == 0
    losses["loss_sem_seg"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_cross_entropy_is_the_mean_over_pixels_that_count() -> None:
    logits, labels = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    labels[0] = -1
    loss = pixel_loss("cross_entropy", -1)(logits, labels)
    torch.testing.assert_close(loss, F.cross_entropy(logits[1:], labels[1:]))


def test_weights_of_pixels_want_the_loss_that_knows_them() -> None:
    head = v3()
    targets = torch.zeros(2, 64, 96, dtype=torch.int64)
    with pytest.raises(ValueError, match="weights .*'hard_pixel_mining'"):
        head.losses(torch.randn(2, 3, 4, 6), targets, torch.ones(2, 64, 96))


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_share_out_of_range_is_named(share: float) -> None:
    with pytest.raises(ValueError, match=rf"top_k_percent_pixels .* got {share}"):
        DeepLabCE(top_k_percent_pixels=share)


def test_weights_of_classes_move_with_the_loss_and_are_not_saved() -> None:
    criterion = DeepLabCE(weight=torch.ones(3))
    assert criterion.state_dict() == {}
    assert criterion.double().weight.dtype == torch.float64


def deeplab_cfg(name: str, *names: str) -> CfgNode:
    cfg = get_cfg()
    add_deeplab_config(cfg)
    options = cfg.MODEL.SEM_SEG_HEAD
    options.NAME, options.IN_FEATURES = name, list(names)
    options.NUM_CLASSES, options.ASPP_CHANNELS, options.CONVS_DIM = 4, 5, 6
    options.NORM, options.IGNORE_VALUE, options.LOSS_WEIGHT = "", 77, 0.5
    options.ASPP_DILATIONS, options.PROJECT_CHANNELS = [1, 2, 4], [3] * (len(names) - 1)
    return cfg


def test_a_config_describes_v3() -> None:
    cfg = deeplab_cfg("DeepLabV3Head", "res5")
    cfg.MODEL.SEM_SEG_HEAD.COMMON_STRIDE = 16
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", [64, 96]
    head = SEM_SEG_HEADS_REGISTRY.get("DeepLabV3Head")(cfg, SHAPES)
    assert head.aspp.pool_kernel_size == (4, 6)
    assert [branch.dilation for branch in head.aspp.convs[1:4]] == [(1, 1), (2, 2), (4, 4)]
    assert head.predictor.out_channels == 4
    assert isinstance(head.loss, DeepLabCE)
    assert (head.loss.ignore_label, head.loss.top_k_percent_pixels) == (77, 0.2)
    assert (head.ignore_value, head.loss_weight) == (77, 0.5)


def test_a_config_describes_v3_plus() -> None:
    cfg = deeplab_cfg("DeepLabV3PlusHead", "res2", "res3", "res5")
    cfg.MODEL.SEM_SEG_HEAD.LOSS_TYPE = "cross_entropy"
    head = SEM_SEG_HEADS_REGISTRY.get("DeepLabV3PlusHead")(cfg, SHAPES)
    state = head.state_dict()
    assert state["decoder.res3.fuse_conv.0.weight"].shape == (6, 3 + 5, 3, 3)
    assert state["decoder.res2.fuse_conv.0.weight"].shape == (6, 3 + 6, 3, 3)
    assert state["predictor.weight"].shape == (4, 6, 1, 1)
    assert not isinstance(head.loss, DeepLabCE)


def test_a_map_that_the_backbone_lacks_is_named_with_its_key() -> None:
    cfg = deeplab_cfg("DeepLabV3PlusHead", "res2", "res4")
    with pytest.raises(ValueError, match=r"MODEL\.SEM_SEG_HEAD\.IN_FEATURES.*res4"):
        SEM_SEG_HEADS_REGISTRY.get("DeepLabV3PlusHead")(cfg, SHAPES)
