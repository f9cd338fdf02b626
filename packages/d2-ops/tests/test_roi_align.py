import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import d2_ops


def axis_weights(
    low: float, high: float, bins: int, extent: int, ratio: int, aligned: bool
) -> Tensor:
    """(bins, extent): how much each pixel of one axis counts in each bin."""
    size = high - low if aligned else max(high - low, 1.0)
    grid = ratio if ratio > 0 else max(math.ceil(size / bins), 0)
    weights = torch.zeros(bins, extent, dtype=torch.float64)
    for b in range(bins):
        for i in range(grid):
            at = low + (b + (i + 0.5) / grid) * size / bins
            if not -1 <= at <= extent:
                continue
            at = min(max(at, 0.0), extent - 1.0)
            pixel, rest = int(at), at - int(at)
            weights[b, pixel] += (1 - rest) / grid
            weights[b, min(pixel + 1, extent - 1)] += rest / grid
    return weights


def oracle(
    input: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Tensor:
    """Weights of rows times pixels times weights of columns, in float64."""
    pooled = []
    for image, *corners in rois.double().tolist():
        x1, y1, x2, y2 = (c * scale - (0.5 if aligned else 0.0) for c in corners)
        rows = axis_weights(y1, y2, size[0], input.shape[2], ratio, aligned)
        columns = axis_weights(x1, x2, size[1], input.shape[3], ratio, aligned)
        pooled.append(torch.einsum("ph,chw,qw->cpq", rows, input[int(image)].double(), columns))
    return torch.stack(pooled) if pooled else input.new_zeros((0, input.shape[1], *size)).double()


def random_case(
    seed: int, rois: int = 6, image: float = 60, side: float = 60
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 3, 13, 17, dtype=torch.float64, generator=generator)
    index = torch.randint(0, 2, (rois, 1), generator=generator)
    centres = torch.rand(rois, 2, generator=generator) * image
    sides = torch.rand(rois, 2, generator=generator) * side
    boxes = torch.cat([index, centres - sides / 2, centres + sides / 2], 1)
    return features, boxes.double()


SETTINGS = st.tuples(
    st.sampled_from([(1, 1), (7, 7), (2, 3)]),
    st.sampled_from([1.0, 0.25, 0.3]),
    st.sampled_from([-1, 0, 1, 2, 3]),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), chosen=SETTINGS, rois=st.integers(0, 8))
def test_forward_and_backward_equal_the_float64_definition(
    seed: int, chosen: tuple[tuple[int, int], float, int, bool], rois: int
) -> None:
    features, boxes = random_case(seed, rois)
    ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
    pooled, expected = d2_ops.roi_align(ours, boxes, *chosen), oracle(theirs, boxes, *chosen)
    torch.testing.assert_close(pooled, expected, atol=1e-9, rtol=1e-9)
    weights = torch.randn(expected.shape, dtype=torch.float64)
    (pooled * weights).sum().backward()
    if rois:
        (expected * weights).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-9, rtol=1e-9)
    else:
        assert not ours.grad.any()


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)],
)
def test_smaller_floats_are_as_good_as_their_precision(
    dtype: torch.dtype, tolerance: float
) -> None:
    features, boxes = random_case(0)
    ours = features.to(dtype).requires_grad_()
    pooled = d2_ops.roi_align(ours, boxes.float(), (7, 7), 0.25, 0, True)
    assert pooled.dtype == dtype
    expected = oracle(ours.detach(), boxes.float(), (7, 7), 0.25, 0, True)
    torch.testing.assert_close(pooled.double(), expected, atol=tolerance, rtol=tolerance)
    pooled.sum().backward()
    assert ours.grad.dtype == dtype
    exact = features.clone().requires_grad_()
    d2_ops.roi_align(exact, boxes, (7, 7), 0.25, 0, True).sum().backward()
    scale = float(exact.grad.abs().max())
    torch.testing.assert_close(
        ours.grad.double(), exact.grad, atol=tolerance * scale, rtol=tolerance
    )


def test_half_precision_features_keep_exact_boxes() -> None:
    features = torch.arange(4096.0).repeat(1, 1, 4, 1)
    box = torch.tensor([[0, 2048.3, 0, 2050.3, 4]])  # float16 has steps of 2 here
    exact = d2_ops.roi_align(features, box, 1, aligned=True)
    half = d2_ops.roi_align(features.half(), box, 1, aligned=True)
    assert half.equal(exact.half())


def test_gradients_of_both_orders() -> None:
    features, boxes = random_case(3, rois=3)
    features = features[:, :1, :6, :7].clone().requires_grad_()
    for ratio in (0, 2):

        def pool(x: Tensor, ratio: int = ratio) -> Tensor:
            return d2_ops.roi_align(x, boxes, (2, 3), 0.2, ratio, True)

        assert torch.autograd.gradcheck(pool, features)
        assert torch.autograd.gradgradcheck(pool, features)


def test_reference_values(golden: dict[str, Any]) -> None:
    values = golden["roi_align"]
    for case in values["cases"]:
        features = values["x"].clone().requires_grad_()
        pooled = d2_ops.roi_align(
            features,
            values["rois"],
            tuple(case["output_size"]),
            case["spatial_scale"],
            case["sampling_ratio"],
            case["aligned"],
        )
        torch.testing.assert_close(pooled, case["out"], atol=2e-6, rtol=1e-5)
        generator = torch.Generator().manual_seed(case["grad_out_seed"])
        pooled.backward(torch.randn(pooled.shape, generator=generator))
        torch.testing.assert_close(features.grad, case["grad_in"], atol=1e-4, rtol=1e-4)


def test_equals_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision", exc_type=ImportError)
    features, boxes = random_case(1, rois=40)
    for ratio in (0, 2):
        for aligned in (True, False):
            arguments = (boxes, (7, 5), 0.25, ratio, aligned)
            ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
            pooled = d2_ops.roi_align(ours, *arguments)
            expected = torchvision.ops.roi_align(theirs, *arguments)
            torch.testing.assert_close(pooled, expected, atol=1e-9, rtol=1e-9)
            pooled.square().sum().backward()
            expected.square().sum().backward()
            torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-8, rtol=1e-8)


def test_a_list_of_boxes_per_image_is_the_same_as_rows_with_an_index() -> None:
    features, boxes = random_case(5)
    boxes = boxes[boxes[:, 0].sort(stable=True).indices]
    per_image = [boxes[boxes[:, 0] == i, 1:] for i in range(2)]
    expected = d2_ops.roi_align(features, boxes, 3, 0.25)
    assert d2_ops.roi_align(features, per_image, 3, 0.25).equal(expected)
    assert d2_ops.roi_align(features, [], 3).shape == (0, 3, 3, 3)


def test_module_is_aligned_by_default_and_shows_its_settings() -> None:
    features, boxes = random_case(5)
    module = d2_ops.ROIAlign((7, 5), 0.25, 0)
    assert module(features, boxes).equal(d2_ops.roi_align(features, boxes, (7, 5), 0.25, 0, True))
    expected = "ROIAlign(output_size=(7, 5), spatial_scale=0.25, sampling_ratio=0, aligned=True)"
    assert repr(module) == expected


def test_pixel_centres_are_sampled_where_they_are() -> None:
    features = torch.arange(20.0).reshape(1, 1, 4, 5)
    boxes = torch.tensor([[0.0, 1, 1, 4, 3]])  # bins of exactly one pixel
    pooled = d2_ops.roi_align(features, boxes, (2, 3), 1.0, 1, aligned=True)
    assert pooled[0, 0].equal(features[0, 0, 1:3, 1:4])


def test_strides_do_not_matter() -> None:
    features, boxes = random_case(7)
    expected = d2_ops.roi_align(features, boxes, 7, 0.25)
    last = features.contiguous(memory_format=torch.channels_last)
    assert d2_ops.roi_align(last, boxes.t().contiguous().t(), 7, 0.25).equal(expected)
    expanded = features[:1, :1].expand(2, 3, -1, -1).requires_grad_()
    d2_ops.roi_align(expanded, boxes, 7, 0.25).sum().backward()  # and so do expanded gradients
    assert expanded.grad.shape == expanded.shape


def test_empty_inputs_give_empty_outputs() -> None:
    boxes = torch.zeros(0, 5)
    assert d2_ops.roi_align(torch.zeros(0, 3, 4, 5), boxes, 7).shape == (0, 3, 7, 7)
    one = torch.tensor([[0.0, 0, 0, 4, 4]])
    assert d2_ops.roi_align(torch.zeros(1, 0, 4, 5), one, 7).shape == (1, 0, 7, 7)
    assert not d2_ops.roi_align(torch.zeros(1, 2, 0, 0), one, 2).any()


@pytest.mark.parametrize("ratio", [0, 2])
def test_regions_that_are_not_finite_give_nan_and_no_gradient(ratio: int) -> None:
    features, boxes = random_case(9, rois=4)
    boxes[1, 2] = math.nan
    boxes[2, 3] = math.inf
    features.requires_grad_()
    pooled = d2_ops.roi_align(features, boxes, 2, 0.25, ratio)
    assert pooled[1:3].isnan().all()
    assert not pooled[[0, 3]].isnan().any()
    pooled.sum().backward()
    assert features.grad.isfinite().all()


def test_regions_far_larger_than_the_map_are_pooled_in_no_time() -> None:
    features = torch.ones(1, 1, 8, 8, dtype=torch.float64)
    boxes = torch.tensor([[0.0, -1e8, -1e8, 1e8, 1e8]], dtype=torch.float64)
    pooled = d2_ops.roi_align(features, boxes, 2, aligned=True)
    assert 0 < float(pooled.sum()) < 1e-12


def test_aligned_regions_turned_inside_out_are_empty() -> None:
    features, _ = random_case(0)
    boxes = torch.tensor([[0, 30.0, 30, 10, 10]], dtype=torch.float64)
    assert not d2_ops.roi_align(features, boxes, 2, 0.25, 0, aligned=True).any()


def test_more_regions_than_are_prepared_at_once() -> None:
    features, boxes = random_case(11, rois=1200)
    pooled = d2_ops.roi_align(features, boxes, 2, 0.25)
    for part in (slice(0, 3), slice(510, 515), slice(1197, 1200)):
        assert pooled[part].equal(d2_ops.roi_align(features, boxes[part], 2, 0.25))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_planes_pooled_at_once_are_pooled_as_each_alone(dtype: torch.dtype) -> None:
    _, boxes = random_case(17, rois=60)
    boxes[7, 1] = math.nan
    features = torch.randn(2, 19, 13, 17, dtype=dtype, generator=torch.Generator().manual_seed(17))
    features[1, 3, 5, 6], features[0, 18, 2, 2] = math.nan, math.inf
    together = d2_ops.roi_align(features, boxes, (7, 3), 0.25, 0, True)
    planes = features.split(1, dim=1)
    alone = [d2_ops.roi_align(plane, boxes, (7, 3), 0.25, 0, True) for plane in planes]
    torch.testing.assert_close(together, torch.cat(alone, 1), rtol=0, atol=0, equal_nan=True)


def test_gradient_does_not_depend_on_the_number_of_threads() -> None:
    features, boxes = random_case(13, rois=300)
    threads = torch.get_num_threads()
    gradients = []
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            x = features.clone().requires_grad_()
            d2_ops.roi_align(x, boxes, 7, 0.25).square().sum().backward()
            gradients.append(x.grad)
    finally:
        torch.set_num_threads(threads)
    assert gradients[0].equal(gradients[1])


BAD_ARGUMENTS: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (TypeError, "input must be a floating tensor", {"input": torch.zeros(1, 2, 4, 5).int()}),
    (TypeError, "boxes must be a floating tensor", {"boxes": torch.zeros(3, 5).long()}),
    (
        ValueError,
        r"input must have shape \(B, C, H, W\), got \(2, 4, 5\)",
        {"input": torch.zeros(2, 4, 5)},
    ),
    (ValueError, r"boxes must have shape \(N, 5\), got \(3, 4\)", {"boxes": torch.zeros(3, 4)}),
    (ValueError, r"boxes\[1\] must have shape", {"boxes": [torch.zeros(1, 4), torch.zeros(1, 5)]}),
    (TypeError, "boxes must be a floating tensor or several, got None", {"boxes": None}),
    (TypeError, r"boxes\[0\] must be a floating tensor, got .*list", {"boxes": [[0, 0, 1, 1]]}),
    (ValueError, "boxes is on meta but input on cpu", {"boxes": torch.zeros(3, 5, device="meta")}),
    (ValueError, "output_size must be positive, got 0 x 7", {"output_size": (0, 7)}),
    (ValueError, "sampling_ratio must be at most 65536, got", {"sampling_ratio": 2**31}),
    (ValueError, r"output_size must be a number or a pair, got \(7,\)", {"output_size": (7,)}),
    (TypeError, "output_size must be a number or a pair, got 7.0", {"output_size": 7.0}),
    (ValueError, r"boxes\[0, 0\] is 1", {"boxes": torch.ones(1, 5)}),
    (ValueError, r"boxes\[1, 0\] is -1", {"boxes": torch.tensor([[0.0] * 5, [-1.0] * 5])}),
    (ValueError, r"boxes\[0, 0\] is nan", {"boxes": torch.full((1, 5), math.nan)}),
]


@pytest.mark.parametrize(("error", "message", "change"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named(
    error: type[Exception], message: str, change: dict[str, Any]
) -> None:
    good = {"input": torch.zeros(1, 2, 4, 5), "boxes": torch.zeros(3, 5), "output_size": 7}
    with pytest.raises(error, match=message):
        d2_ops.roi_align(**{**good, **change})


def test_autocast_changes_nothing() -> None:
    features, boxes = random_case(0)
    features, boxes = features.float(), boxes.float()
    expected = d2_ops.roi_align(features, boxes, 7, 0.25)
    with torch.autocast("cpu", torch.bfloat16):
        assert d2_ops.roi_align(features, boxes, 7, 0.25).equal(expected)


# opcheck itself looks at gradients of tensors that are not leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_opcheck() -> None:
    d2_ops.load_library()
    features, boxes = random_case(0)
    arguments = (boxes, 0.25, 7, 5, 0, True)
    bare = torch.ops.d2_ops
    torch.library.opcheck(bare.roi_align.default, (features.clone().requires_grad_(), *arguments))
    torch.library.opcheck(bare.roi_align_forward.default, (features, *arguments))
    gradient = torch.randn(len(boxes), 3, 7, 5, dtype=torch.float64)
    arguments = (*arguments, list(features.shape))
    torch.library.opcheck(bare.roi_align_backward.default, (gradient, *arguments))


def test_compiles_in_one_graph_with_dynamic_shapes() -> None:
    def detect(features: Tensor, boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        kept = d2_ops.nms(boxes[:, 1:], scores, 0.5)
        pooled = d2_ops.roi_align(features * 2, boxes, 4, 0.25, 0, True)
        masks = d2_ops.paste_masks_in_image(pooled[:, 0].sigmoid(), boxes[:, 1:], (30, 40))
        return pooled[kept], masks

    compiled = torch.compile(detect, fullgraph=True, dynamic=True, backend="aot_eager")
    for rois in (6, 9):
        features, boxes = random_case(rois, rois)
        scores = torch.linspace(1, 0, rois)
        ours, theirs = features.clone().requires_grad_(), features.clone().requires_grad_()
        pooled, masks = compiled(ours, boxes, scores)
        expected, expected_masks = detect(theirs, boxes, scores)
        assert pooled.equal(expected)
        assert masks.equal(expected_masks)
        pooled.sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_exports_with_dynamic_shapes() -> None:
    module = d2_ops.ROIAlign((3, 2), 0.25, 0)
    features, boxes = random_case(0)
    rois, batch = torch.export.Dim("rois", min=2), torch.export.Dim("batch", min=2)
    program = torch.export.export(module, (features, boxes), dynamic_shapes=({0: batch}, {0: rois}))
    more, more_boxes = torch.cat([features, features]), torch.cat([boxes, boxes])
    assert program.module()(more, more_boxes).equal(module(more, more_boxes))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_cuda_equals_the_cpu(
    device: torch.device, dtype: torch.dtype, ratio: int, aligned: bool
) -> None:
    features, boxes = random_case(0, rois=50)
    boxes[3, 1] = math.nan
    host = features.to(dtype).requires_grad_()
    there = features.to(device, dtype).requires_grad_()
    expected = d2_ops.roi_align(host, boxes, (7, 5), 0.25, ratio, aligned)
    pooled = d2_ops.roi_align(there, boxes.to(device), (7, 5), 0.25, ratio, aligned)
    torch.testing.assert_close(pooled.cpu(), expected, equal_nan=True)
    gradient = torch.randn(expected.shape).to(dtype)
    expected.backward(gradient)
    pooled.backward(gradient.to(device))
    tolerance = (
        {"atol": 0.05, "rtol": 0.02} if dtype.itemsize == 2 else {"atol": 1e-4, "rtol": 1e-4}
    )
    torch.testing.assert_close(there.grad.cpu(), host.grad, **tolerance)


@pytest.mark.gpu
def test_cuda_gives_nan_for_an_image_that_does_not_exist(cuda: torch.device) -> None:
    boxes = torch.tensor([[7.0, 0, 0, 4, 4], [0, 0, 0, 4, 4]], device=cuda)
    pooled = d2_ops.roi_align(torch.ones(1, 2, 8, 8, device=cuda), boxes, 2)
    assert pooled[0].isnan().all()
    assert (pooled[1] == 1).all()


@pytest.mark.gpu
def test_cuda_backward_refuses_to_be_deterministic(cuda: torch.device) -> None:
    features = torch.ones(1, 2, 8, 8, device=cuda, requires_grad=True)
    pooled = d2_ops.roi_align(features, torch.tensor([[0.0, 0, 0, 4, 4]], device=cuda), 2)
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="deterministic"):
            pooled.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
