"""Semantic segmentation: the head, the model and the resizing of its results."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from d2_config import CfgNode, get_cfg
from d2_modeling import SemanticSegmentor, ShapeSpec, build_model, build_sem_seg_head
from d2_modeling.meta_arch import SemSegFPNHead

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
