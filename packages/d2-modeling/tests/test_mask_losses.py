"""Losses and probabilities of masks by their definitions, in float64."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from d2_config import CfgNode, get_cfg
from d2_modeling import ShapeSpec
from d2_modeling.batched_selection import Detections
from d2_modeling.events import EventStorage
from d2_modeling.roi_heads import (
    ROI_MASK_HEAD_REGISTRY,
    BaseMaskRCNNHead,
    MaskRCNNConvUpsampleHead,
    build_mask_head,
    mask_rcnn_inference,
    mask_rcnn_loss,
)
from d2_structures import BitMasks, Boxes, Instances, PolygonMasks

SIDE = 4
"""Of the masks here; regions are twice as large, so that each of their pixels covers four."""
IMAGE = (48, 48)


def random_regions(
    counts: list[int], seed: int, *, kind: str = "bits", classes: int = 3
) -> tuple[list[Instances], Tensor]:
    """Regions of 8×8 pixels at whole places, and their masks of whole cells in float64."""
    generator = torch.Generator().manual_seed(seed)
    images, targets = [], []
    for count in counts:
        cells = torch.rand(count, SIDE, SIDE, generator=generator) > 0.5
        places = torch.randint(0, 40, (count, 2), generator=generator)
        bitmaps = torch.zeros(count, *IMAGE, dtype=torch.bool)
        for bitmap, own, (x, y) in zip(bitmaps, cells, places.tolist(), strict=True):
            bitmap[y : y + 8, x : x + 8] = own.repeat_interleave(2, 0).repeat_interleave(2, 1)
        masks: Any = BitMasks(bitmaps)
        if kind == "polygons":
            masks = PolygonMasks(
                [
                    [square(x + 2 * column, y + 2 * row) for row, column in own.nonzero().tolist()]
                    or [square(x - 30.0, y - 30.0)]
                    for own, (x, y) in zip(cells, places.tolist(), strict=True)
                ]
            )
        boxes = torch.cat([places, places + 8], dim=1).float()
        images.append(
            Instances(
                IMAGE,
                proposal_boxes=Boxes(boxes),
                gt_classes=torch.randint(classes, (count,), generator=generator),
                gt_masks=masks,
            )
        )
        targets.append(cells.double())
    return images, torch.cat(targets)


def square(x: float, y: float) -> np.ndarray:
    """Two pixels wide and high."""
    return np.array([x, y, x + 2, y, x + 2, y + 2, x, y + 2], dtype=np.float64)


def logits_of(count: int, channels: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, SIDE, SIDE, generator=generator).double() * 3


def mean_by_hand(logits: Tensor, targets: Tensor) -> float:
    pairs = zip(logits.flatten().tolist(), targets.flatten().tolist(), strict=True)
    losses = [math.log1p(math.exp(-x if t else x)) for x, t in pairs]
    return sum(losses) / len(losses)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=3).filter(lambda counts: sum(counts) > 0),
    st.integers(0, 10**6),
    st.booleans(),
    st.sampled_from(["bits", "polygons"]),
)
@settings(max_examples=25, deadline=None)
def test_the_loss_is_the_mean_over_all_pixels_of_all_regions(
    counts: list[int], seed: int, agnostic: bool, kind: str
) -> None:
    images, targets = random_regions(counts, seed, kind=kind)
    logits = logits_of(len(targets), 1 if agnostic else 3, seed)
    classes = torch.cat([image.gt_classes for image in images]).tolist()
    own = torch.stack([row[0 if agnostic else k] for row, k in zip(logits, classes, strict=True)])
    assert mask_rcnn_loss(logits, images).item() == pytest.approx(mean_by_hand(own, targets))


@pytest.mark.parametrize("channels", [1, 3])
def test_only_the_channel_of_the_class_is_trained(channels: int) -> None:
    images, targets = random_regions([2, 3], 4)
    logits = logits_of(5, channels).requires_grad_()
    mask_rcnn_loss(logits, images).backward()
    assert logits.grad is not None
    wanted = torch.zeros_like(logits)
    classes = torch.cat([image.gt_classes for image in images]).tolist()
    for row, kind in enumerate(classes):
        at = 0 if channels == 1 else kind
        slope = logits.detach()[row, at].sigmoid() - targets[row]
        wanted[row, at] = slope / targets.numel()
    torch.testing.assert_close(logits.grad, wanted)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_logits_far_from_zero_have_a_finite_loss(sign: float) -> None:
    images, targets = random_regions([3], 1, classes=1)
    logits = torch.full((3, 1, SIDE, SIDE), sign * 1e4, requires_grad=True)
    loss = mask_rcnn_loss(logits, images)
    loss.backward()
    wrong = (targets == (0 if sign > 0 else 1)).double().mean().item()
    assert loss.item() == pytest.approx(1e4 * wrong)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_regions_in_another_order_have_the_same_loss() -> None:
    images, targets = random_regions([4, 2], 2)
    logits, order = logits_of(6, 3), torch.tensor([3, 1, 0, 2])
    turned = [images[1], images[0][order]]
    rows = torch.cat([torch.tensor([4, 5]), order])
    wanted = mask_rcnn_loss(logits, images)
    torch.testing.assert_close(mask_rcnn_loss(logits[rows], turned), wanted)
    assert len(targets) == 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_loss_has_the_precision_of_the_logits(dtype: torch.dtype) -> None:
    images, _ = random_regions([4], 3)
    logits = logits_of(4, 3)
    loss = mask_rcnn_loss(logits.to(dtype), images)
    assert loss.dtype == dtype
    wanted = mask_rcnn_loss(logits, images).item()
    assert loss.item() == pytest.approx(wanted, rel=2e-2)


def test_images_without_regions_need_no_masks() -> None:
    images, _ = random_regions([2], 5)
    empty = Instances(IMAGE, proposal_boxes=Boxes(torch.zeros(0, 4)))
    logits = logits_of(2, 3)
    wanted = mask_rcnn_loss(logits, images)
    assert mask_rcnn_loss(logits, [empty, *images, empty]).equal(wanted)


def test_without_regions_the_loss_is_a_zero_that_can_be_backpropagated() -> None:
    logits = torch.zeros(0, 3, SIDE, SIDE, requires_grad=True)
    for images in ([], [Instances(IMAGE, proposal_boxes=Boxes(torch.zeros(0, 4)))]):
        loss = mask_rcnn_loss(logits, images)
        loss.backward()
        assert loss == 0


def test_wrong_masks_are_refused_with_what_to_do() -> None:
    images, _ = random_regions([2], 5)
    with pytest.raises(ValueError, match="have to be square, got 4 x 5"):
        mask_rcnn_loss(torch.zeros(2, 3, 4, 5), images)
    images[0].remove("gt_masks")
    with pytest.raises(ValueError, match=r"needs 'gt_masks'.*use_instance_mask.*mask_in_features="):
        mask_rcnn_loss(logits_of(2, 3), images)


def test_reports_count_pixels() -> None:
    images, targets = random_regions([3], 6, classes=1)
    logits = logits_of(3, 1, 6)
    with EventStorage() as storage:
        mask_rcnn_loss(logits, images)
    predicted, wanted = logits[:, 0] > 0, targets > 0.5
    latest = {name: value for name, (value, _) in storage.latest().items()}
    total, positive = wanted.numel(), wanted.sum().item()
    assert latest == {
        "mask_rcnn/accuracy": pytest.approx((predicted == wanted).sum().item() / total),
        "mask_rcnn/false_positive": pytest.approx(
            (predicted & ~wanted).sum().item() / (total - positive)
        ),
        "mask_rcnn/false_negative": pytest.approx((~predicted & wanted).sum().item() / positive),
    }
    assert storage.images == ()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=3), st.integers(0, 10**6), st.booleans())
@settings(max_examples=20, deadline=None)
def test_probabilities_of_the_predicted_class_are_split_by_image(
    counts: list[int], seed: int, agnostic: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = logits_of(sum(counts), 1 if agnostic else 3, seed)
    images = [
        Instances(IMAGE, pred_classes=torch.randint(3, (count,), generator=generator))
        for count in counts
    ]
    mask_rcnn_inference(logits, images)
    row = 0
    for image, count in zip(images, counts, strict=True):
        assert image.pred_masks.shape == (count, 1, SIDE, SIDE)
        for mask, kind in zip(image.pred_masks, image.pred_classes.tolist(), strict=True):
            wanted = 1 / (1 + (-logits[row, 0 if agnostic else kind]).exp())
            torch.testing.assert_close(mask[0], wanted)
            row += 1


def test_no_images_get_no_masks() -> None:
    images: list[Instances] = []
    mask_rcnn_inference(torch.zeros(0, 3, SIDE, SIDE), images)
    assert images == []


SHAPE = ShapeSpec(channels=4, height=SIDE, width=SIDE)


def head(**options: Any) -> MaskRCNNConvUpsampleHead:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"num_classes": 3, "conv_dims": [6, 5]}
    return MaskRCNNConvUpsampleHead(SHAPE, **{**settings, **options})


def test_a_head_gives_the_weighted_loss_of_its_layers() -> None:
    images, _ = random_regions([2, 1], 7)
    x = torch.randn(3, 4, SIDE, SIDE)
    module = head(loss_weight=3.0).train()
    losses = module(x, images)
    assert set(losses) == {"loss_mask"}
    wanted = 3 * mask_rcnn_loss(module.layers(x), images)
    torch.testing.assert_close(losses["loss_mask"], wanted)


@pytest.mark.parametrize("conv_norm", ["", "GN", "BN"])
def test_maps_with_channels_last_give_the_same_logits(conv_norm: str) -> None:
    module = head(conv_dims=[32, 5], conv_norm=conv_norm).eval()
    x = torch.randn(3, 4, SIDE, SIDE)
    wanted = module.layers(x)
    got = module.layers(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_each_region_is_predicted_on_its_own() -> None:
    module = head().eval()
    x = torch.randn(5, 4, SIDE, SIDE)
    order = torch.tensor([4, 2, 0, 1, 3])
    wanted = module.layers(x)
    torch.testing.assert_close(module.layers(x[order]), wanted[order])
    torch.testing.assert_close(module.layers(x[2:3]), wanted[2:3])
    assert module.layers(x[:0]).shape == (0, 3, 2 * SIDE, 2 * SIDE)


def test_layers_of_half_precision_stay_in_it() -> None:
    module, x = head().eval(), torch.randn(3, 4, SIDE, SIDE)
    wanted = module.layers(x)
    got = module.bfloat16().layers(x.bfloat16())
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), wanted, rtol=0.1, atol=1e-3)


def test_a_normalised_convolution_has_no_bias_and_others_begin_without() -> None:
    plain, normed = head(), head(conv_norm="BN")
    assert not plain.mask_fcn1.bias.any()
    assert normed.mask_fcn1.bias is None
    assert plain.predictor.weight.std().item() == pytest.approx(0.001, rel=0.5)
    assert not plain.predictor.bias.any()


def test_as_a_function_of_tensors_a_head_predicts_the_same() -> None:
    module, x = head().eval(), torch.randn(3, 4, SIDE, SIDE)
    images = [Instances(IMAGE, pred_classes=torch.tensor(kinds)) for kinds in ([2, 0], [1])]
    module(x, images)
    rows = torch.arange(3)
    found = Detections(torch.ones(3, 4), torch.ones(3), torch.tensor([2, 0, 1]), rows * 0, rows)
    wanted = torch.cat([image.pred_masks for image in images])
    torch.testing.assert_close(module.predict_tensors(x, found), wanted)


@pytest.mark.parametrize("shape", [ShapeSpec(height=4, width=4), {"p2": SHAPE}])
def test_a_head_without_channels_is_refused(shape: Any) -> None:
    with pytest.raises(ValueError, match="the mask head wants the number of channels, got"):
        MaskRCNNConvUpsampleHead(shape, num_classes=3, conv_dims=[4])


def config(**options: Any) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.NUM_CLASSES, cfg.VIS_PERIOD = 7, 11
    for key, value in options.items():
        setattr(cfg.MODEL.ROI_MASK_HEAD, key, value)
    return cfg


@pytest.mark.parametrize(("agnostic", "channels"), [(False, 7), (True, 1)])
def test_a_config_sets_every_option(agnostic: bool, channels: int) -> None:
    cfg = config(CLS_AGNOSTIC_MASK=agnostic, NUM_CONV=3, CONV_DIM=32, NORM="GN")
    module: Any = build_mask_head(cfg, SHAPE)
    assert isinstance(module, MaskRCNNConvUpsampleHead)
    assert module.predictor.out_channels == channels
    assert module.vis_period == 11
    assert [n for n, _ in module.named_children()] == [
        *(f"mask_fcn{number}" for number in (1, 2, 3)),
        *("deconv", "predictor"),
    ]
    assert module.deconv.out_channels == module.mask_fcn3.out_channels == 32
    assert isinstance(module.mask_fcn1.norm, nn.GroupNorm)


def test_a_head_of_ones_own_is_found_by_its_name() -> None:
    @ROI_MASK_HEAD_REGISTRY.register()
    class MaskHeadOfMine(BaseMaskRCNNHead):
        def __init__(self, cfg: CfgNode, input_shape: ShapeSpec) -> None:
            super().__init__(vis_period=cfg.VIS_PERIOD)
            self.channels = input_shape.channels

        def layers(self, x: Tensor) -> Tensor:
            return x

    module: Any = build_mask_head(config(NAME="MaskHeadOfMine"), SHAPE)
    assert (module.channels, module.vis_period, module.loss_weight) == (4, 11, 1.0)
    with pytest.raises(KeyError, match="NoMaskHead"):
        build_mask_head(config(NAME="NoMaskHead"), SHAPE)


def test_a_head_without_layers_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract"):
        BaseMaskRCNNHead()
