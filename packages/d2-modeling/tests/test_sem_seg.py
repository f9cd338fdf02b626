"""Semantic segmentation: the head, the model and the resizing of its results."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from d2_config import CfgNode, get_cfg
from d2_modeling import SemanticSegmentor, ShapeSpec, build_model, build_sem_seg_head
from d2_modeling.meta_arch import SemSegFPNHead
from d2_modeling.meta_arch.sem_seg_head import SemSegHead

SHAPES = {
    "p5": ShapeSpec(channels=4, stride=32),
    "p2": ShapeSpec(channels=4, stride=4),
    "p3": ShapeSpec(channels=4, stride=8),
}


def head(**options: Any) -> SemSegFPNHead:
    torch.manual_seed(0)
    return SemSegFPNHead(SHAPES, num_classes=3, conv_dims=8, common_stride=4, norm="GN", **options)


def features() -> dict[str, torch.Tensor]:
    return {
        name: torch.randn(2, 4, 128 // (spec.stride or 1), 64 // (spec.stride or 1))
        for name, spec in SHAPES.items()
    }


def small_cfg() -> CfgNode:
    cfg = get_cfg()
    model = cfg.MODEL
    model.META_ARCHITECTURE, model.DEVICE = "SemanticSegmentor", "cpu"
    model.BACKBONE.NAME, model.BACKBONE.FREEZE_AT = "build_resnet_fpn_backbone", 0
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    model.RESNETS.RES2_OUT_CHANNELS = 8
    model.RESNETS.STEM_OUT_CHANNELS = model.RESNETS.WIDTH_PER_GROUP = 4
    model.RESNETS.NORM = "GN"
    model.FPN.OUT_CHANNELS = 8
    model.SEM_SEG_HEAD.CONVS_DIM, model.SEM_SEG_HEAD.NUM_CLASSES = 8, 5
    return cfg


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return build_model(small_cfg())


def test_each_level_is_doubled_until_the_common_stride() -> None:
    module = head()
    assert module.in_features == ["p2", "p3", "p5"]
    assert [len(module.get_submodule(name)) for name in module.in_features] == [1, 2, 6]  # type: ignore[arg-type]  # they are sequences
    logits, losses = module.eval()(features())
    assert logits.shape == (2, 3, 128, 64)
    assert losses == {}


def test_the_loss_is_the_mean_over_pixels_that_count() -> None:
    module = head(loss_weight=0.5, ignore_value=255).train()
    inputs, targets = features(), torch.randint(0, 3, (2, 128, 64))
    targets[:, :100] = 255
    result, losses = module(inputs, targets)
    assert result is None
    logits = module.layers(inputs).double()
    full = F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
    chosen = full[:, :, 100:].log_softmax(dim=1).gather(1, targets[:, None, 100:])
    torch.testing.assert_close(losses["loss_sem_seg"].double(), -0.5 * chosen.mean())


def test_a_batch_of_ignored_pixels_has_no_loss_but_gradients() -> None:
    module = head().train()
    _, losses = module(features(), torch.full((2, 128, 64), -1))
    assert losses["loss_sem_seg"] == 0
    losses["loss_sem_seg"].backward()
    assert all(p.grad is not None and not p.grad.any() for p in module.parameters())


def test_the_common_stride_has_to_fit() -> None:
    for stride in (8, 3):
        with pytest.raises(ValueError, match="common_stride"):
            SemSegFPNHead(SHAPES, num_classes=3, conv_dims=8, common_stride=stride)
    with pytest.raises(ValueError, match="at least one feature map"):
        SemSegFPNHead({}, num_classes=3, conv_dims=8, common_stride=4)
    with pytest.raises(ValueError, match="targets"):
        head().train()(features())
    cfg = small_cfg()
    with pytest.raises(ValueError, match="MODEL.SEM_SEG_HEAD.IN_FEATURES"):
        build_sem_seg_head(cfg, SHAPES)


def test_the_model_trains_on_images_of_different_sizes(model: SemanticSegmentor) -> None:
    inputs = [
        {"image": torch.rand(3, 60, 72), "sem_seg": torch.randint(0, 5, (60, 72))},
        {"image": torch.rand(3, 40, 50), "sem_seg": torch.randint(0, 5, (40, 50)).int()},
    ]
    losses = model.train()(inputs)
    assert set(losses) == {"loss_sem_seg"}
    losses["loss_sem_seg"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_logits_come_in_the_size_asked_for(model: SemanticSegmentor) -> None:
    inputs: list[dict[str, Any]] = [
        {"image": torch.rand(3, 60, 72)},
        {"image": torch.rand(3, 40, 50), "height": 80, "width": 100},
    ]
    with torch.no_grad():
        first, second = model.eval()(inputs)
    assert first["sem_seg"].shape == (5, 60, 72)
    assert second["sem_seg"].shape == (5, 80, 100)


def test_ground_truth_of_another_size_is_refused(model: SemanticSegmentor) -> None:
    image = torch.rand(3, 60, 72)
    with pytest.raises(ValueError, match=r"input 0 wants a tensor sem_seg .* got NoneType"):
        model.train()([{"image": image}])
    with pytest.raises(ValueError, match=r"\(60, 72\), got \(60, 71\)"):
        model([{"image": image, "sem_seg": torch.zeros(60, 71, dtype=torch.int64)}])


def test_the_model_moves_as_a_whole(model: SemanticSegmentor) -> None:
    assert model.to("meta").device.type == "meta"


def plain_head(**options: Any) -> SemSegFPNHead:
    """Without norms, in float64."""
    torch.manual_seed(0)
    given = {"num_classes": 3, "conv_dims": 8, "common_stride": 4, "norm": ""}
    return SemSegFPNHead(SHAPES, **{**given, **options}).double()


def doubled(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def test_the_levels_are_convolved_doubled_and_added() -> None:
    module, inputs = plain_head(), {name: x.double() for name, x in features().items()}
    total = torch.zeros(2, 8, 32, 16, dtype=torch.float64)
    for name, doublings in (("p2", 0), ("p3", 1), ("p5", 3)):
        x = inputs[name]
        layers = [layer for layer in module.get_submodule(name).modules() if hasattr(layer, "bias")]
        assert len(layers) == max(doublings, 1)
        for index, layer in enumerate(layers):
            x = F.conv2d(x, layer.weight, layer.bias, padding=1).clamp(min=0)  # type: ignore[arg-type]  # parameters
            if index < doublings:
                x = doubled(x)
        total += x
    logits = module.layers(inputs)
    torch.testing.assert_close(
        logits, F.conv2d(total, module.predictor.weight, module.predictor.bias)
    )
    enlarged, _ = module.eval()(inputs)
    torch.testing.assert_close(
        enlarged, F.interpolate(logits, scale_factor=4, mode="bilinear", align_corners=False)
    )


def test_a_coarser_common_stride_leaves_maps_of_that_stride() -> None:
    shapes = {name: SHAPES[name] for name in ("p3", "p5")}
    module = SemSegFPNHead(shapes, num_classes=3, conv_dims=8, common_stride=8, norm="")
    assert module.layers(features()).shape == (2, 3, 16, 8)
    assert module.eval()(features())[0].shape == (2, 3, 128, 64)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_loss_of_half_precision_logits_is_that_of_float32(dtype: torch.dtype) -> None:
    module = head()
    logits = torch.randn(2, 3, 8, 8).to(dtype)
    targets = torch.randint(-1, 3, (2, 32, 32))
    (loss,) = module.losses(logits, targets).values()
    assert loss.dtype == torch.float32
    assert loss == module.losses(logits.float(), targets)["loss_sem_seg"]


def test_gradients_come_from_counted_pixels_only() -> None:
    module = head(ignore_value=9)
    logits = torch.randn(1, 3, 8, 8, requires_grad=True)
    targets = torch.full((1, 32, 32), 9)
    targets[:, :8] = 1
    module.losses(logits, targets)["loss_sem_seg"].backward()
    assert logits.grad is not None
    assert logits.grad[:, :, :2].any()
    assert not logits.grad[:, :, 4:].any()


def test_a_label_that_is_no_class_stops_the_loss() -> None:
    for wrong in (3, 200, -2):
        targets = torch.full((1, 32, 32), wrong)
        with pytest.raises(IndexError, match=f"{wrong} is out of bounds"):
            head().losses(torch.randn(1, 3, 8, 8), targets)


def test_what_a_head_of_ones_own_has_to_have_is_named() -> None:
    class Half(SemSegHead):
        """Without losses."""

        def layers(self, features: Any) -> torch.Tensor:
            return features["p2"][:, :3]

    module = Half(4, 1.0, -1)
    with pytest.raises(NotImplementedError, match=r"Half must implement losses\(\)"):
        module.train()(features(), torch.zeros(2, 128, 64, dtype=torch.int64))
    logits, losses = module.eval()(features())
    assert logits is not None
    assert logits.shape == (2, 3, 128, 64)
    assert losses == {}
    with pytest.raises(NotImplementedError, match=r"SemSegHead must implement layers\(\)"):
        SemSegHead(4, 1.0, -1)(features())


def test_an_unknown_head_is_named() -> None:
    cfg = small_cfg()
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegFPNHeads"
    with pytest.raises(KeyError, match="SemSegFPNHeads"):
        build_sem_seg_head(cfg, SHAPES)


def test_values_of_the_config_reach_the_head() -> None:
    cfg = small_cfg()
    options = cfg.MODEL.SEM_SEG_HEAD
    options.IN_FEATURES, options.COMMON_STRIDE = ["p3", "p5"], 8
    options.LOSS_WEIGHT, options.IGNORE_VALUE, options.NORM = 0.25, 77, ""
    module: Any = build_sem_seg_head(cfg, SHAPES)
    assert module.in_features == ["p3", "p5"]
    assert (module.loss_weight, module.ignore_value, module.common_stride) == (0.25, 77, 8)
    assert module.predictor.out_channels == 5
    (convolution,) = (x for x in module.get_submodule("p3").modules() if hasattr(x, "out_channels"))
    assert convolution.norm is None
    assert convolution.out_channels == 8


def test_padding_does_not_count_in_the_loss(model: SemanticSegmentor) -> None:
    """An image of 40 by 50 pixels is padded to 64 by 64, or to 96 by 96 beside a larger one."""
    image = torch.rand(3, 40, 50) * 255
    labels = torch.randint(0, 5, (40, 50))
    seen = []

    def record(module: Any, inputs: Any) -> None:
        seen.append(inputs[1])

    model.sem_seg_head.register_forward_pre_hook(record)
    other = {"image": torch.zeros(3, 90, 70), "sem_seg": torch.zeros(90, 70, dtype=torch.uint8)}
    model.train()([{"image": image, "sem_seg": labels}, other])
    (targets,) = seen
    assert targets.shape == (2, 96, 96)
    assert targets.dtype == torch.int64
    assert torch.equal(targets[0, :40, :50], labels)
    assert (targets[0] == model.sem_seg_head.ignore_value).sum() == 96 * 96 - 40 * 50
    assert (targets[1] == 0).sum() == 90 * 70


def test_tensors_are_the_logits_of_the_padded_images(model: SemanticSegmentor) -> None:
    images = [torch.rand(3, 64, 96) * 255, torch.rand(3, 40, 50) * 255]
    padded = torch.full((2, 3, 64, 96), 7.0)  # what stands in the padding is no matter
    for row, image in zip(padded, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]] = image
    with torch.no_grad():
        outputs = model.eval()([{"image": image} for image in images])
        tensors = model.predict_tensors(padded, torch.tensor([[64, 96], [40, 50]]))
    assert list(tensors) == ["sem_seg"]
    assert tensors["sem_seg"].shape == (2, 5, 64, 96)
    for logits, output, image in zip(tensors["sem_seg"], outputs, images, strict=True):
        cropped = logits[:, : image.shape[1], : image.shape[2]]
        torch.testing.assert_close(cropped, output["sem_seg"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 5)])
def test_images_of_any_size_are_labelled(size: tuple[int, int]) -> None:
    cfg = small_cfg()
    cfg.MODEL.RESNETS.NORM, cfg.MODEL.SEM_SEG_HEAD.NORM = "FrozenBN", ""
    model = build_model(cfg)
    with torch.no_grad():
        (output,) = model.eval()([{"image": torch.rand(3, *size), "height": 3, "width": 2}])
        (own,) = model([{"image": torch.rand(3, *size)}])
    assert output["sem_seg"].shape == (5, 3, 2)
    assert own["sem_seg"].shape == (5, *size)
    assert own["sem_seg"].isfinite().all()


@pytest.mark.parametrize("label", [5, 255])
def test_a_label_that_the_head_does_not_know_is_named_before_anything_is_computed(
    model: SemanticSegmentor, label: int
) -> None:
    model.sem_seg_head.layers = None  # would fail
    model.sem_seg_head.ignore_value = 77
    good = {"image": torch.rand(3, 40, 50), "sem_seg": torch.full((40, 50), 77)}
    bad = {"image": torch.rand(3, 40, 50), "sem_seg": torch.full((40, 50), label)}
    with pytest.raises(ValueError, match=f"input 1 has pixels of label {label} in 'sem_seg'"):
        model.train()([good, bad])
