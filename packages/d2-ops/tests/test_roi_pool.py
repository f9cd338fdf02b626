import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import d2_ops


def nearest(position: float) -> int:
    """Halves are rounded away from zero."""
    return int(math.copysign(math.floor(abs(position) + 0.5), position))


def bin_ranges(low: float, high: float, bins: int, extent: int) -> list[tuple[int, int]]:
    start = nearest(low)
    length = max(nearest(high) - start + 1, 1) / bins
    edges = [
        (start + math.floor(b * length), start + math.ceil((b + 1) * length)) for b in range(bins)
    ]
    return [(min(max(a, 0), extent), min(max(b, 0), extent)) for a, b in edges]


def oracle(input: Tensor, rois: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    """The largest pixel of every bin, by the definition."""
    pooled = input.new_zeros((len(rois), input.shape[1], *size))
    for k, (image, *corners) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (corner * scale for corner in corners)
        for p, (top, bottom) in enumerate(bin_ranges(y1, y2, size[0], input.shape[2])):
            for q, (left, right) in enumerate(bin_ranges(x1, x2, size[1], input.shape[3])):
                cut = input[int(image), :, top:bottom, left:right]
                if cut.numel() > 0:
                    pooled[k, :, p, q] = cut.amax(dim=(1, 2))
    return pooled


def random_case(seed: int, rois: int = 6, side: float = 60) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, 13, 17, dtype=torch.float64, generator=generator)
    index = torch.randint(0, 2, (rois, 1), generator=generator)
    centres = torch.rand(rois, 2, generator=generator) * 60
    sides = (torch.rand(rois, 2, generator=generator) - 0.1) * side
    boxes = torch.cat([index, centres - sides / 2, centres + sides / 2], 1)
    return features, boxes.double()


SETTINGS = st.tuples(st.sampled_from([(1, 1), (4, 4), (2, 3)]), st.sampled_from([1.0, 0.25, 0.3]))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), chosen=SETTINGS, rois=st.integers(0, 8))
def test_forward_and_backward_equal_the_definition(
    seed: int, chosen: tuple[tuple[int, int], float], rois: int
) -> None:
    features, boxes = random_case(seed, rois)
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    pooled, expected = d2_ops.roi_pool(ours, boxes, *chosen), oracle(theirs, boxes, *chosen)
    assert pooled.equal(expected)
    weights = torch.randn(expected.shape, dtype=torch.float64)
    (pooled * weights).sum().backward()
    if rois and expected.requires_grad:
        (expected * weights).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-12, rtol=1e-12)
    else:
        assert not ours.grad.any()


def test_equals_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision", exc_type=ImportError)
    features, boxes = random_case(1, rois=200)
    features, boxes = features.float(), boxes.float()
    for size in (7, (3, 2)):
        for scale in (1.0, 0.25, 1 / 3):
            ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
            pooled = d2_ops.roi_pool(ours, boxes, size, scale)
            expected = torchvision.ops.roi_pool(theirs, boxes, size, scale)
            assert pooled.equal(expected)
            pooled.square().sum().backward()
            expected.square().sum().backward()
            torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_smaller_floats_lose_nothing(dtype: torch.dtype) -> None:
    features, boxes = random_case(2)
    small = features.to(dtype).requires_grad_()
    pooled = d2_ops.roi_pool(small, boxes.float(), 3, 0.25)
    assert pooled.dtype == dtype
    assert pooled.equal(oracle(small.detach(), boxes.float(), (3, 3), 0.25))
    pooled.sum().backward()
    assert small.grad.dtype == dtype


def test_gradients_of_both_orders() -> None:
    features, boxes = random_case(3, rois=3)
    features = features[:, :2].clone().requires_grad_()
    outside = torch.tensor([[1, 200.0, 200, 210, 210]], dtype=torch.float64)

    def pool(x: Tensor) -> Tensor:
        return d2_ops.roi_pool(x, torch.cat([boxes, outside]), (2, 3), 0.2)

    assert torch.autograd.gradcheck(pool, features, fast_mode=True)
    assert torch.autograd.gradgradcheck(pool, features, fast_mode=True)


def test_the_first_of_equal_values_has_the_gradient() -> None:
    features = torch.zeros(1, 1, 4, 4, requires_grad=True)
    d2_ops.roi_pool(features, torch.tensor([[0.0, 1, 1, 3, 3]]), 1).sum().backward()
    expected = torch.zeros(1, 1, 4, 4)
    expected[0, 0, 1, 1] = 1
    assert features.grad.equal(expected)


def test_halves_are_rounded_away_from_zero_and_sides_are_inclusive() -> None:
    features = torch.arange(8.0).reshape(1, 1, 1, 8)
    boxes = torch.tensor([[0, 0.5, 0, 1.5, 0], [0, 2.5, 0, 2.5, 0], [0, -1.5, 0, -0.5, 0]])
    assert d2_ops.roi_pool(features, boxes, 1).flatten().tolist() == [2, 3, 0]


def test_values_that_are_not_finite_are_compared_too() -> None:
    features = torch.full((1, 1, 4, 4), -math.inf)
    box = torch.tensor([[0.0, 0, 0, 3, 3]])
    assert d2_ops.roi_pool(features, box, 1).item() == -math.inf
    for position in ((0, 0), (1, 2), (3, 3)):
        features = torch.zeros(1, 1, 4, 4)
        features[(0, 0, *position)] = math.nan
        assert d2_ops.roi_pool(features, box, 1).isnan().all()


def test_regions_that_are_not_finite_give_nan_and_no_gradient() -> None:
    features, boxes = random_case(9, rois=4)
    boxes[1, 2], boxes[2, 3], boxes[3, 1] = math.nan, math.inf, -1e30
    features.requires_grad_()
    pooled = d2_ops.roi_pool(features, boxes, 2, 0.25)
    assert pooled[1:].isnan().all()
    assert not pooled[0].isnan().any()
    pooled.sum().backward()
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_planes_pooled_at_once_are_pooled_as_each_alone(dtype: torch.dtype) -> None:
    _, boxes = random_case(17, rois=60)
    boxes[7, 1] = math.nan
    generator = torch.Generator().manual_seed(17)
    features = torch.randint(0, 5, (2, 19, 13, 17), generator=generator).to(dtype)  # ties
    features[1, 3, 5, 6], features[0, 18, 2, 2] = math.nan, -math.inf
    d2_ops.load_library()
    pool = torch.ops.d2_ops.roi_pool
    together = pool(features, boxes, 0.25, 4, 3)
    alone = [pool(plane, boxes, 0.25, 4, 3) for plane in features.split(1, dim=1)]
    for i in (0, 1):
        joined = torch.cat([result[i] for result in alone], dim=1)
        torch.testing.assert_close(together[i], joined, rtol=0, atol=0, equal_nan=True)


def test_strides_do_not_matter() -> None:
    features, boxes = random_case(7)
    expected = d2_ops.roi_pool(features, boxes, 3, 0.25)
    last = features.contiguous(memory_format=torch.channels_last)
    assert d2_ops.roi_pool(last, boxes.t().contiguous().t(), 3, 0.25).equal(expected)


def test_empty_inputs_give_empty_outputs() -> None:
    boxes = torch.zeros(0, 5)
    assert d2_ops.roi_pool(torch.zeros(0, 3, 4, 5), boxes, 7).shape == (0, 3, 7, 7)
    assert d2_ops.roi_pool(torch.zeros(1, 3, 4, 5), [], 7).shape == (0, 3, 7, 7)
    one = torch.tensor([[0.0, 0, 0, 4, 4]])
    assert d2_ops.roi_pool(torch.zeros(1, 0, 4, 5), one, 7).shape == (1, 0, 7, 7)
    features = torch.zeros(1, 2, 0, 0, requires_grad=True)
    pooled = d2_ops.roi_pool(features, one, 2)
    assert not pooled.any()
    (gradient,) = torch.autograd.grad(pooled.sum(), features, create_graph=True)
    assert gradient.shape == features.shape


def test_the_gradient_does_not_depend_on_the_number_of_threads() -> None:
    features, boxes = random_case(13, rois=700)
    threads = torch.get_num_threads()
    gradients = []
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            x = features.clone().requires_grad_()
            d2_ops.roi_pool(x, boxes, 7, 0.25).square().sum().backward()
            gradients.append(x.grad)
    finally:
        torch.set_num_threads(threads)
    assert gradients[0].equal(gradients[1])


def test_the_module_shows_its_settings() -> None:
    features, boxes = random_case(5)
    module = d2_ops.ROIPool((3, 2), 0.25)
    assert module(features, boxes).equal(d2_ops.roi_pool(features, boxes, (3, 2), 0.25))
    assert repr(module) == "ROIPool(output_size=(3, 2), spatial_scale=0.25)"


BAD_ARGUMENTS: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (TypeError, "input must be a floating tensor", {"input": torch.zeros(1, 2, 4, 5).int()}),
    (TypeError, "boxes must be a floating tensor", {"boxes": torch.zeros(3, 5).long()}),
    (ValueError, r"input must have shape \(B, C, H, W\)", {"input": torch.zeros(2, 4, 5)}),
    (ValueError, r"boxes must have shape \(N, 5\), got \(3, 4\)", {"boxes": torch.zeros(3, 4)}),
    (ValueError, "boxes is on meta but input on cpu", {"boxes": torch.zeros(3, 5, device="meta")}),
    (ValueError, "output_size must be positive, got 0 x 7", {"output_size": (0, 7)}),
    (ValueError, r"boxes\[0, 0\] is 1", {"boxes": torch.ones(1, 5)}),
]


@pytest.mark.parametrize(("error", "message", "change"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named(
    error: type[Exception], message: str, change: dict[str, Any]
) -> None:
    good = {"input": torch.zeros(1, 2, 4, 5), "boxes": torch.zeros(3, 5), "output_size": 7}
    with pytest.raises(error, match=message):
        d2_ops.roi_pool(**{**good, **change})


def test_the_bare_backward_checks_its_arguments_and_leaves_out_offsets_out_of_range(
    bare_error: type[Exception],
) -> None:
    d2_ops.load_library()
    backward = torch.ops.d2_ops.roi_pool_backward
    gradient, boxes = torch.ones(1, 1, 1, 1), torch.zeros(1, 5)
    for offset in (-7, 4, 2**31 - 1):
        argmax = torch.full((1, 1, 1, 1), offset, dtype=torch.int32)
        assert not backward(gradient, argmax, boxes, [1, 1, 2, 2]).any()
    with pytest.raises(bare_error, match="argmax must be int32"):
        backward(gradient, argmax.long(), boxes, [1, 1, 2, 2])
    with pytest.raises(bare_error, match="shape of grad"):
        backward(gradient, argmax.repeat(2, 1, 1, 1), boxes, [1, 1, 2, 2])


def test_autocast_changes_nothing() -> None:
    features, boxes = random_case(0)
    features, boxes = features.float(), boxes.float()
    expected = d2_ops.roi_pool(features, boxes, 7, 0.25)
    with torch.autocast("cpu", torch.bfloat16):
        assert d2_ops.roi_pool(features, boxes, 7, 0.25).equal(expected)


# opcheck itself looks at gradients of tensors that are not leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_opcheck() -> None:
    d2_ops.load_library()
    features, boxes = random_case(0)
    bare = torch.ops.d2_ops
    arguments = (features.clone().requires_grad_(), boxes, 0.25, 3, 2)
    torch.library.opcheck(bare.roi_pool.default, arguments)
    pooled, argmax = bare.roi_pool(*arguments)
    gradient = torch.randn_like(pooled).detach()
    arguments = (gradient, argmax, boxes, list(features.shape))
    torch.library.opcheck(bare.roi_pool_backward.default, arguments)


def test_compiles_in_one_graph_with_dynamic_shapes() -> None:
    def pool(features: Tensor, boxes: Tensor) -> Tensor:
        return d2_ops.roi_pool(features * 2, boxes, 4, 0.25)

    compiled = torch.compile(pool, fullgraph=True, dynamic=True, backend="aot_eager")
    for rois in (6, 9):
        features, boxes = random_case(rois, rois)
        ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
        pooled, expected = compiled(ours, boxes), pool(theirs, boxes)
        assert pooled.equal(expected)
        pooled.sum().backward()
        expected.sum().backward()
        assert ours.grad.equal(theirs.grad)


def test_exports_with_dynamic_shapes() -> None:
    module = d2_ops.ROIPool((3, 2), 0.25)
    features, boxes = random_case(0)
    rois, batch = torch.export.Dim("rois", min=2), torch.export.Dim("batch", min=2)
    program = torch.export.export(module, (features, boxes), dynamic_shapes=({0: batch}, {0: rois}))
    more, more_boxes = torch.cat([features, features]), torch.cat([boxes, boxes])
    assert program.module()(more, more_boxes).equal(module(more, more_boxes))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_cuda_equals_the_cpu(device: torch.device, dtype: torch.dtype) -> None:
    features, boxes = random_case(0, rois=50)
    boxes[3, 1] = math.nan
    host = features.to(dtype).requires_grad_()
    there = features.to(device, dtype).requires_grad_()
    expected = d2_ops.roi_pool(host, boxes, (7, 5), 0.25)
    pooled = d2_ops.roi_pool(there, boxes.to(device), (7, 5), 0.25)
    torch.testing.assert_close(pooled.cpu(), expected, rtol=0, atol=0, equal_nan=True)
    gradient = torch.randn(expected.shape).to(dtype)
    expected.backward(gradient)
    pooled.backward(gradient.to(device))
    tolerance = 0.05 if dtype.itemsize == 2 else 1e-4
    torch.testing.assert_close(there.grad.cpu(), host.grad, atol=tolerance, rtol=tolerance)
