import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import d2_ops


def bin_weights(
    roi: list[float], size: tuple[int, int], scale: float, ratio: int, extent: tuple[int, int]
) -> Tensor:
    """(bins, H, W): how much each pixel counts in each bin, one sample at a time."""
    x, y, width, height = (number * scale for number in roi[:4])
    cos, sin = math.cos(math.radians(roi[4])), math.sin(math.radians(roi[4]))
    weights = torch.zeros(*size, *extent, dtype=torch.float64)
    rows = ratio if ratio > 0 else math.ceil(height / size[0])
    columns = ratio if ratio > 0 else math.ceil(width / size[1])
    for p in range(size[0]):
        for q in range(size[1]):
            for i in range(rows):
                for j in range(columns):
                    v = (p + (i + 0.5) / rows) * height / size[0] - height / 2
                    u = (q + (j + 0.5) / columns) * width / size[1] - width / 2
                    at = v * cos - u * sin + y - 0.5, v * sin + u * cos + x - 0.5
                    add_sample(weights[p, q], at, 1 / (rows * columns))
    return weights.flatten(0, 1)


def add_sample(weights: Tensor, at: tuple[float, float], share: float) -> None:
    pixels = []
    for position, extent in zip(at, weights.shape, strict=True):
        if not -1 <= position <= extent:
            return
        position = min(max(position, 0.0), extent - 1.0)
        low, rest = int(position), position - int(position)
        pixels.append([(low, 1 - rest), (min(low + 1, extent - 1), rest)])
    for row, row_weight in pixels[0]:
        for column, column_weight in pixels[1]:
            weights[row, column] += row_weight * column_weight * share


def oracle(input: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int) -> Tensor:
    """Weights of pixels times pixels, in float64."""
    extent = (input.shape[2], input.shape[3])
    pooled = []
    for image, *roi in rois.double().tolist():
        weights = bin_weights(roi, size, scale, ratio, extent)
        bins = torch.einsum("bhw,chw->cb", weights, input[int(image)].double())
        pooled.append(bins.unflatten(1, size))
    return torch.stack(pooled) if pooled else input.new_zeros((0, input.shape[1], *size)).double()


def random_case(seed: int, rois: int = 6, channels: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, channels, 9, 12, dtype=torch.float64, generator=generator)
    index = torch.randint(0, 2, (rois, 1), generator=generator)
    centres = torch.rand(rois, 2, generator=generator) * 50
    sides = torch.rand(rois, 2, generator=generator) * 40
    degrees = torch.rand(rois, 1, generator=generator) * 720 - 360
    return features, torch.cat([index, centres, sides, degrees], 1).double()


SETTINGS = st.tuples(
    st.sampled_from([(1, 1), (3, 3), (2, 3)]),
    st.sampled_from([0.25, 0.3]),
    st.sampled_from([-1, 0, 1, 2, 3]),
)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), chosen=SETTINGS, rois=st.integers(0, 4))
def test_forward_and_backward_equal_the_float64_definition(
    seed: int, chosen: tuple[tuple[int, int], float, int], rois: int
) -> None:
    features, boxes = random_case(seed, rois, channels=1 + seed % 6)
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    pooled = d2_ops.roi_align_rotated(ours, boxes, *chosen)
    expected = oracle(theirs, boxes, *chosen)
    torch.testing.assert_close(pooled, expected, atol=1e-9, rtol=1e-9)
    weights = torch.randn(expected.shape, dtype=torch.float64)
    (pooled * weights).sum().backward()
    if rois:
        (expected * weights).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-9, rtol=1e-9)
    else:
        assert not ours.grad.any()


def test_reference_values(golden: dict[str, Any]) -> None:
    values = golden["roi_align_rotated"]
    for case in values["cases"]:
        features = values["x"].clone().requires_grad_()
        pooled = d2_ops.roi_align_rotated(
            features,
            values["rois"],
            tuple(case["output_size"]),
            case["spatial_scale"],
            case["sampling_ratio"],
        )
        torch.testing.assert_close(pooled, case["out"], atol=5e-5, rtol=1e-4)
        generator = torch.Generator().manual_seed(7)  # as for the upright regions of this file
        pooled.backward(torch.randn(pooled.shape, generator=generator))
        torch.testing.assert_close(features.grad, case["grad_in"], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("ratio", [0, 2])
def test_upright_regions_are_pooled_as_by_roi_align(ratio: int) -> None:
    features, boxes = random_case(1, rois=30)
    boxes[:, 5] = 0
    centres, half = boxes[:, 1:3], boxes[:, 3:5] / 2
    corners = torch.cat([boxes[:, :1], centres - half, centres + half], 1)
    expected = d2_ops.roi_align(features, corners, (3, 4), 0.25, ratio, aligned=True)
    pooled = d2_ops.roi_align_rotated(features, boxes, (3, 4), 0.25, ratio)
    torch.testing.assert_close(pooled, expected, atol=1e-9, rtol=1e-9)


def test_a_quarter_turn_of_the_box_turns_what_is_read() -> None:
    features = torch.arange(9.0).reshape(1, 1, 3, 3)
    for quarters in range(-4, 5):
        box = torch.tensor([[0, 1.5, 1.5, 3, 3, 90.0 * quarters]])
        pooled = d2_ops.roi_align_rotated(features, box, 3, 1.0, 1)
        # Turning the box counter-clockwise turns what it reads clockwise.
        assert pooled.equal(features.rot90(-quarters, (2, 3)))


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)],
)
def test_smaller_floats_are_as_good_as_their_precision(
    dtype: torch.dtype, tolerance: float
) -> None:
    features, boxes = random_case(0)
    ours = features.to(dtype).requires_grad_()
    pooled = d2_ops.roi_align_rotated(ours, boxes.float(), (3, 4), 0.25, 2)
    assert pooled.dtype == dtype
    expected = oracle(ours.detach(), boxes.float(), (3, 4), 0.25, 2)
    torch.testing.assert_close(pooled.double(), expected, atol=tolerance, rtol=tolerance)
    pooled.sum().backward()
    assert ours.grad.dtype == dtype
    exact = features.clone().requires_grad_()
    d2_ops.roi_align_rotated(exact, boxes, (3, 4), 0.25, 2).sum().backward()
    scale = float(exact.grad.abs().max())
    torch.testing.assert_close(
        ours.grad.double(), exact.grad, atol=tolerance * scale, rtol=tolerance
    )


def test_gradients_of_both_orders() -> None:
    features, boxes = random_case(3, rois=3)
    features = features[:, :1, :6, :7].clone().requires_grad_()
    for ratio in (0, 2):

        def pool(x: Tensor, ratio: int = ratio) -> Tensor:
            return d2_ops.roi_align_rotated(x, boxes, (2, 3), 0.2, ratio)

        assert torch.autograd.gradcheck(pool, features)
        assert torch.autograd.gradgradcheck(pool, features)


def test_module_pools_with_its_settings_and_shows_them() -> None:
    features, boxes = random_case(5)
    module = d2_ops.ROIAlignRotated((3, 5), 0.25, 0)
    expected = d2_ops.roi_align_rotated(features, boxes, (3, 5), 0.25, 0)
    assert module(features, boxes).equal(expected)
    shown = "ROIAlignRotated(output_size=(3, 5), spatial_scale=0.25, sampling_ratio=0)"
    assert repr(module) == shown


def test_strides_do_not_matter() -> None:
    features, boxes = random_case(7)
    expected = d2_ops.roi_align_rotated(features, boxes, 3, 0.25)
    last = features.contiguous(memory_format=torch.channels_last)
    transposed = boxes.t().contiguous().t()
    assert d2_ops.roi_align_rotated(last, transposed, 3, 0.25).equal(expected)
    expanded = features[:1, :1].expand(2, 3, -1, -1).requires_grad_()
    d2_ops.roi_align_rotated(expanded, boxes, 3, 0.25).sum().backward()
    assert expanded.grad.shape == expanded.shape


def test_empty_inputs_give_empty_outputs() -> None:
    boxes = torch.zeros(0, 6)
    assert d2_ops.roi_align_rotated(torch.zeros(0, 3, 4, 5), boxes, 7).shape == (0, 3, 7, 7)
    one = torch.tensor([[0.0, 2, 2, 4, 4, 30]])
    assert d2_ops.roi_align_rotated(torch.zeros(1, 0, 4, 5), one, 7).shape == (1, 0, 7, 7)
    assert not d2_ops.roi_align_rotated(torch.zeros(1, 2, 0, 0), one, 2).any()
    nothing = torch.tensor([[0.0, 2, 2, 0, 0, 30]])
    assert not d2_ops.roi_align_rotated(torch.ones(1, 2, 4, 4), nothing, 2).any()


@pytest.mark.parametrize("column", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_regions_that_are_not_finite_give_nan_and_no_gradient(column: int, value: float) -> None:
    features, boxes = random_case(9, rois=3)
    boxes[1, column] = value
    features.requires_grad_()
    pooled = d2_ops.roi_align_rotated(features, boxes, 2, 0.25, 2)
    assert pooled[1].isnan().all()
    assert not pooled[[0, 2]].isnan().any()
    pooled.sum().backward()
    assert features.grad.isfinite().all()


def test_regions_far_larger_than_the_map_are_pooled_in_no_time() -> None:
    features = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    boxes = torch.tensor([[0.0, 3, -5, 1e8, 2e8, angle] for angle in (0, 17, 45, 90, 200)])
    pooled = d2_ops.roi_align_rotated(features, boxes.double(), 2)
    assert ((pooled.sum((1, 2, 3)) > 0) & (pooled.sum((1, 2, 3)) < 1e-12)).all()


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_skipping_what_lies_outside_of_the_map_changes_nothing(angle: float) -> None:
    features = random_case(2)[0]
    boxes = torch.tensor([[0.0, 8.3, 3.1, 70, 45, angle], [1, -20.2, 5.6, 60, 80, angle]]).double()
    pooled = d2_ops.roi_align_rotated(features, boxes, (2, 1), 1.0)  # 45 samples and more a bin
    torch.testing.assert_close(pooled, oracle(features, boxes, (2, 1), 1.0, 0))


def test_more_regions_than_are_prepared_at_once() -> None:
    features, boxes = random_case(11, rois=300)
    pooled = d2_ops.roi_align_rotated(features, boxes, 2, 0.25)
    for part in (slice(0, 3), slice(126, 131), slice(297, 300)):
        assert pooled[part].equal(d2_ops.roi_align_rotated(features, boxes[part], 2, 0.25))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_planes_pooled_at_once_are_pooled_as_each_alone(dtype: torch.dtype) -> None:
    features, boxes = random_case(17, rois=60, channels=19)
    features, boxes[7, 1] = features.to(dtype), math.nan
    together = d2_ops.roi_align_rotated(features, boxes, (3, 2), 0.25)
    planes = features.split(1, dim=1)
    alone = [d2_ops.roi_align_rotated(plane, boxes, (3, 2), 0.25) for plane in planes]
    torch.testing.assert_close(together, torch.cat(alone, 1), rtol=0, atol=0, equal_nan=True)


def test_gradient_does_not_depend_on_the_number_of_threads() -> None:
    features, boxes = random_case(13, rois=200)
    threads = torch.get_num_threads()
    gradients = []
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            x = features.clone().requires_grad_()
            d2_ops.roi_align_rotated(x, boxes, 3, 0.25).square().sum().backward()
            gradients.append(x.grad)
    finally:
        torch.set_num_threads(threads)
    assert gradients[0].equal(gradients[1])


BAD_ARGUMENTS: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (TypeError, "input must be a floating tensor", {"input": torch.zeros(1, 2, 4, 5).int()}),
    (TypeError, "boxes must be a floating tensor", {"boxes": torch.zeros(3, 6).long()}),
    (ValueError, r"input must have shape \(B, C, H, W\)", {"input": torch.zeros(2, 4, 5)}),
    (ValueError, r"boxes must have shape \(N, 6\), got \(3, 5\)", {"boxes": torch.zeros(3, 5)}),
    (ValueError, "boxes is on meta but input on cpu", {"boxes": torch.zeros(3, 6, device="meta")}),
    (ValueError, "output_size must be positive, got 7 x 0", {"output_size": (7, 0)}),
    (ValueError, r"boxes\[0, 0\] is 1, not the index of one", {"boxes": torch.ones(1, 6)}),
    (ValueError, r"boxes\[0, 0\] is nan", {"boxes": torch.full((1, 6), math.nan)}),
]


@pytest.mark.parametrize(("error", "message", "change"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named(
    error: type[Exception], message: str, change: dict[str, Any]
) -> None:
    good = {"input": torch.zeros(1, 2, 4, 5), "boxes": torch.zeros(3, 6), "output_size": 7}
    with pytest.raises(error, match=message):
        d2_ops.roi_align_rotated(**{**good, **change})


def test_the_bare_operator_checks_its_arguments_too(bare_error: type[Exception]) -> None:
    d2_ops.load_library()
    bare = torch.ops.d2_ops
    with pytest.raises(bare_error, match=r"roi_align_rotated: boxes must have shape \(N, 6\)"):
        bare.roi_align_rotated_forward(torch.zeros(1, 2, 4, 5), torch.zeros(3, 5), 1.0, 2, 2, 0)
    gradient, boxes = torch.zeros(3, 2, 2, 2), torch.zeros(3, 6)
    with pytest.raises(bare_error, match="roi_align_rotated_backward: grad does not have"):
        bare.roi_align_rotated_backward(gradient, boxes, 1.0, 2, 2, 0, [1, 9, 4, 5])


def test_autocast_changes_nothing() -> None:
    features, boxes = random_case(0)
    features, boxes = features.float(), boxes.float()
    expected = d2_ops.roi_align_rotated(features, boxes, 3, 0.25)
    with torch.autocast("cpu", torch.bfloat16):
        assert d2_ops.roi_align_rotated(features, boxes, 3, 0.25).equal(expected)


# opcheck itself looks at gradients of tensors that are not leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_opcheck() -> None:
    d2_ops.load_library()
    features, boxes = random_case(0)
    bare = torch.ops.d2_ops
    arguments = (boxes, 0.25, 3, 2, 0)
    tracked = features.clone().requires_grad_()
    torch.library.opcheck(bare.roi_align_rotated.default, (tracked, *arguments))
    torch.library.opcheck(bare.roi_align_rotated_forward.default, (features, *arguments))
    gradient = torch.randn(len(boxes), 3, 3, 2, dtype=torch.float64)
    arguments = (*arguments, list(features.shape))
    torch.library.opcheck(bare.roi_align_rotated_backward.default, (gradient, *arguments))


def test_compiles_in_one_graph_and_exports_with_dynamic_shapes() -> None:
    module = d2_ops.ROIAlignRotated((3, 2), 0.25, 0)
    features, boxes = random_case(0)
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    ours, theirs = (features.clone().requires_grad_() for _ in range(2))
    compiled(ours, boxes).sum().backward()
    module(theirs, boxes).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)

    rois, batch = torch.export.Dim("rois", min=2), torch.export.Dim("batch", min=2)
    program = torch.export.export(module, (features, boxes), dynamic_shapes=({0: batch}, {0: rois}))
    more, more_boxes = torch.cat([features, features]), torch.cat([boxes, boxes])
    assert program.module()(more, more_boxes).equal(module(more, more_boxes))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("ratio", [0, 2])
def test_cuda_equals_the_cpu(device: torch.device, dtype: torch.dtype, ratio: int) -> None:
    features, boxes = random_case(0, rois=50)
    boxes[3, 5] = math.nan
    host = features.to(dtype).requires_grad_()
    there = features.to(device, dtype).requires_grad_()
    expected = d2_ops.roi_align_rotated(host, boxes, (7, 5), 0.25, ratio)
    pooled = d2_ops.roi_align_rotated(there, boxes.to(device), (7, 5), 0.25, ratio)
    torch.testing.assert_close(pooled.cpu(), expected, equal_nan=True)
    gradient = torch.randn(expected.shape).to(dtype)
    expected.backward(gradient)
    pooled.backward(gradient.to(device))
    tolerance = (
        {"atol": 0.05, "rtol": 0.02} if dtype.itemsize == 2 else {"atol": 1e-4, "rtol": 1e-4}
    )
    torch.testing.assert_close(there.grad.cpu(), host.grad, **tolerance)


@pytest.mark.gpu
def test_cuda_backward_refuses_to_be_deterministic(cuda: torch.device) -> None:
    features = torch.ones(1, 2, 8, 8, device=cuda, requires_grad=True)
    box = torch.tensor([[0.0, 2, 2, 4, 4, 30]], device=cuda)
    pooled = d2_ops.roi_align_rotated(features, box, 2)
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="roi_align_rotated .*deterministic"):
            pooled.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
