"""The mask head."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from d2_modeling.events import EventStorage
from d2_modeling.layers import ShapeSpec
from d2_modeling.roi_heads import MaskRCNNConvUpsampleHead, mask_rcnn_inference, mask_rcnn_loss
from d2_structures import Boxes, Instances, PolygonMasks

SHAPE = ShapeSpec(channels=4, height=7, width=7)


def rectangle(x1: float, y1: float, x2: float, y2: float) -> list[np.ndarray]:
    return [np.array([x1, y1, x2, y1, x2, y2, x1, y2])]


def regions() -> list[Instances]:
    """Two regions in the first image, whose objects fill the left and upper half; none else."""
    first = Instances(
        (40, 40),
        proposal_boxes=Boxes(torch.tensor([[0.0, 0, 20, 20], [10, 10, 30, 30]])),
        gt_classes=torch.tensor([1, 0]),
        gt_masks=PolygonMasks([rectangle(0, 0, 10, 20), rectangle(10, 10, 30, 20)]),
    )
    return [first, Instances((40, 40), proposal_boxes=Boxes(torch.zeros(0, 4)))]


def expected_masks(size: int) -> torch.Tensor:
    masks = torch.zeros(2, size, size)
    masks[0, :, : size // 2] = 1
    masks[1, : size // 2] = 1
    return masks


def test_the_loss_is_the_cross_entropy_of_the_own_class() -> None:
    logits = torch.randn(2, 3, 8, 8)
    wanted = F.binary_cross_entropy_with_logits(
        torch.stack([logits[0, 1], logits[1, 0]]), expected_masks(8)
    )
    torch.testing.assert_close(mask_rcnn_loss(logits, regions()), wanted)


def test_class_agnostic_masks_have_one_channel() -> None:
    logits = torch.randn(2, 1, 8, 8)
    wanted = F.binary_cross_entropy_with_logits(logits[:, 0], expected_masks(8))
    torch.testing.assert_close(mask_rcnn_loss(logits, regions()), wanted)


def test_no_region_gives_a_differentiable_zero() -> None:
    logits = torch.zeros(0, 3, 8, 8, requires_grad=True)
    loss = mask_rcnn_loss(logits, regions()[1:])
    loss.backward()
    assert loss == 0


def test_masks_have_to_be_square() -> None:
    with pytest.raises(ValueError, match="8 x 9"):
        mask_rcnn_loss(torch.zeros(2, 3, 8, 9), regions())


def test_annotations_without_masks_are_an_error_that_names_the_setting() -> None:
    image = regions()[0]
    image.remove("gt_masks")
    with pytest.raises(ValueError, match="annotations of an image give no masks.*MODEL.MASK_ON"):
        mask_rcnn_loss(torch.zeros(2, 3, 8, 8), [image])


def test_accuracies_and_pictures_reach_the_storage() -> None:
    logits = torch.full((2, 1, 8, 8), -1.0)
    logits[0, 0, :, :4] = 1.0
    with EventStorage(start_iter=10) as storage:
        mask_rcnn_loss(logits, regions(), vis_period=5)
        mask_rcnn_loss(logits, regions(), vis_period=7)
    latest = {name: value for name, (value, _) in storage.latest().items()}
    assert latest == {
        "mask_rcnn/accuracy": 0.75,
        "mask_rcnn/false_positive": 0.0,
        "mask_rcnn/false_negative": 0.5,
    }
    assert len(storage.images) == 2
    name, picture, iteration = storage.images[0]
    assert "mask prediction" in name
    assert (picture.shape, iteration) == ((3, 8, 16), 10)


def test_inference_keeps_the_probability_of_the_predicted_class() -> None:
    logits = torch.randn(3, 4, 8, 8)
    images = [
        Instances((40, 40), pred_classes=torch.tensor([2, 0])),
        Instances((40, 40), pred_classes=torch.tensor([3])),
    ]
    mask_rcnn_inference(logits, images)
    torch.testing.assert_close(images[0].pred_masks[0, 0], logits[0, 2].sigmoid())
    torch.testing.assert_close(images[1].pred_masks[0, 0], logits[2, 3].sigmoid())
    assert images[0].pred_masks.shape == (2, 1, 8, 8)


@pytest.mark.parametrize("norm", ["", "GN", "BN"])
def test_the_head_doubles_the_size(norm: str) -> None:
    head = MaskRCNNConvUpsampleHead(SHAPE, num_classes=3, conv_dims=[8, 8, 16], conv_norm=norm)
    assert head.layers(torch.randn(2, 4, 7, 7)).shape == (2, 3, 14, 14)
    names = {name.split(".")[0] for name in head.state_dict()}
    assert names == {"mask_fcn1", "mask_fcn2", "deconv", "predictor"}


def test_doubling_and_prediction_are_those_of_the_convolutions() -> None:
    head = MaskRCNNConvUpsampleHead(SHAPE, num_classes=3, conv_dims=[8, 5]).double()
    torch.nn.init.normal_(head.deconv.bias)
    x = torch.randn(4, 4, 7, 7, dtype=torch.float64)
    plain = head.predictor(F.relu(head.deconv(head.mask_fcn1(x))))
    torch.testing.assert_close(head.layers(x), plain)
    parameters = list(head.parameters())
    weights = torch.randn_like(plain)
    got = torch.autograd.grad((head.layers(x) * weights).sum(), parameters)
    wanted = torch.autograd.grad((plain * weights).sum(), parameters)
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_gradients_have_the_strides_of_their_weights(memory_format: torch.memory_format) -> None:
    head = MaskRCNNConvUpsampleHead(SHAPE, num_classes=3, conv_dims=[8, 5])
    head = head.to(memory_format=memory_format)  # type: ignore[call-overload]  # torch's stubs
    head.layers(torch.randn(2, 4, 7, 7)).sum().backward()
    for parameter in head.parameters():
        assert parameter.grad is not None
        assert parameter.grad.stride() == parameter.stride()


def of_own_class(head: MaskRCNNConvUpsampleHead, x: Any, classes: torch.Tensor) -> torch.Tensor:
    rows = torch.arange(len(classes))
    return head.layers(x)[rows, classes].sigmoid()[:, None]


@pytest.mark.parametrize("classes", [[2, 0, 2, 1], []])
def test_only_masks_of_the_predicted_classes_are_computed(classes: list[int]) -> None:
    head = MaskRCNNConvUpsampleHead(SHAPE, num_classes=3, conv_dims=[8, 5]).double()
    torch.nn.init.normal_(head.predictor.bias)
    x = torch.randn(len(classes), 4, 6, 7, dtype=torch.float64)
    chosen = torch.tensor(classes, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        got = head.probabilities(x, chosen)
    torch.testing.assert_close(got, of_own_class(head, x, chosen))
    counts = counter.get_flop_counts()["Global"]
    assert counts.get(torch.ops.aten.baddbmm, 0) == 2 * 5 * 4 * 6 * 7 * len(classes)


def test_layers_that_a_subclass_overwrites_give_the_probabilities() -> None:
    class Inverted(MaskRCNNConvUpsampleHead):
        def layers(self, x: torch.Tensor) -> torch.Tensor:
            return -super().layers(x)

    head = Inverted(SHAPE, num_classes=3, conv_dims=[8, 5])
    x, classes = torch.randn(2, 4, 7, 7), torch.tensor([2, 0])
    torch.testing.assert_close(head.probabilities(x, classes), of_own_class(head, x, classes))
    plain = MaskRCNNConvUpsampleHead(SHAPE, num_classes=3, conv_dims=[8, 5])
    before = plain.layers(x)
    plain.layers = lambda x: -before  # type: ignore[method-assign]  # what is called in its place
    torch.testing.assert_close(plain.probabilities(x, classes), of_own_class(plain, x, classes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_probabilities_are_those_of_all_masks_in_any_type_and_format(
    dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    head = MaskRCNNConvUpsampleHead(SHAPE, num_classes=3, conv_dims=[8, 5])
    head.to(dtype=dtype, memory_format=memory_format)  # type: ignore[call-overload]  # of modules
    x = torch.randn(2, 4, 7, 7).to(dtype=dtype, memory_format=memory_format)
    classes = torch.tensor([2, 0])
    wanted = of_own_class(head, x, classes)
    torch.testing.assert_close(head.probabilities(x, classes), wanted)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.float32):
        torch.testing.assert_close(
            head.probabilities(x, classes).to(dtype), wanted, atol=1e-2, rtol=0
        )


class LowRank(torch.nn.Module):
    """A layer with something small added to it, as low-rank adapters do."""

    def __init__(self, layer: torch.nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer
        self.added = torch.nn.Conv2d(layer.in_channels, layer.out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + self.added(x)


def test_parts_of_the_head_may_be_replaced_wrapped_and_hooked() -> None:
    head = MaskRCNNConvUpsampleHead(SHAPE, num_classes=3, conv_dims=[8, 5])
    x = torch.randn(2, 4, 7, 7)
    features = head.mask_fcn1(x)
    head.predictor = LowRank(head.predictor)
    torch.testing.assert_close(head.layers(x), head.predictor(F.relu(head.deconv(features))))
    classes = torch.tensor([2] * len(x))
    torch.testing.assert_close(head.probabilities(x, classes), of_own_class(head, x, classes))
    head.deconv = torch.nn.Sequential(
        torch.nn.Upsample(scale_factor=2), torch.nn.Conv2d(8, 5, 3, padding=1)
    )
    torch.testing.assert_close(head.layers(x), head.predictor(F.relu(head.deconv(features))))
    plain = MaskRCNNConvUpsampleHead(SHAPE, num_classes=3, conv_dims=[8, 5])
    before = plain.layers(x)
    plain.predictor.register_forward_hook(lambda module, args, output: output + 1)
    torch.testing.assert_close(plain.layers(x), before + 1)
    torch.testing.assert_close(plain.probabilities(x, classes), of_own_class(plain, x, classes))
    torch.nn.utils.parametrizations.weight_norm(plain.deconv)
    torch.testing.assert_close(plain.layers(x), before + 1)
    other = MaskRCNNConvUpsampleHead(SHAPE, num_classes=3, conv_dims=[8, 5])
    before, forward = other.layers(x), other.predictor.forward
    other.predictor.forward = lambda x: forward(x) + 1  # as libraries wrap layers
    torch.testing.assert_close(other.layers(x), before + 1)
    other.predictor = torch.nn.Conv2d(5, 3, 1, padding=1)
    assert other.layers(x).shape == (2, 3, 16, 16)


def test_a_head_of_the_deconvolution_alone_is_possible_and_of_nothing_is_not() -> None:
    head = MaskRCNNConvUpsampleHead(SHAPE, num_classes=1, conv_dims=[6])
    assert head.layers(torch.randn(2, 4, 7, 7)).shape == (2, 1, 14, 14)
    with pytest.raises(ValueError, match="conv_dims"):
        MaskRCNNConvUpsampleHead(SHAPE, num_classes=1, conv_dims=[])


@pytest.mark.parametrize("count", [0, 2])
def test_training_returns_the_weighted_loss_and_inference_the_instances(count: int) -> None:
    head = MaskRCNNConvUpsampleHead(SHAPE, num_classes=3, conv_dims=[8], loss_weight=2.0)
    image: Any = regions()[0][torch.arange(count)]
    x = torch.randn(count, 4, 7, 7)
    losses = head.train()(x, [image])
    torch.testing.assert_close(losses["loss_mask"], 2 * mask_rcnn_loss(head.layers(x), [image]))
    losses["loss_mask"].backward()
    assert head.predictor.weight.grad is not None
    image.pred_classes = image.gt_classes
    (result,) = head.eval()(x, [image])
    assert result.pred_masks.shape == (count, 1, 14, 14)
