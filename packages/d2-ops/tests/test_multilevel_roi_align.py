import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import d2_ops

SCALES = [1 / 4, 1 / 8, 1 / 16]


def pyramid(seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sides = ((24, 32), (12, 16), (6, 8))
    return [torch.randn(2, 3, *side, generator=generator).to(dtype) for side in sides]


def random_boxes(seed: int, count: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(0, 2, (count, 1), generator=generator)
    centres = torch.rand(count, 2, generator=generator) * 100
    sides = torch.rand(count, 2, generator=generator) * 120
    levels = torch.randint(0, 3, (count,), generator=generator)
    return torch.cat([index, centres - sides / 2, centres + sides / 2], 1).double(), levels


def rotated(boxes: Tensor) -> Tensor:
    centres, sides = (boxes[:, 1:3] + boxes[:, 3:]) / 2, boxes[:, 3:] - boxes[:, 1:3]
    angles = torch.linspace(-180, 180, len(boxes), dtype=boxes.dtype)[:, None]
    return torch.cat([boxes[:, :1], centres, sides, angles], 1)


def one_by_one(features: list[Tensor], boxes: Tensor, levels: Tensor, *rest: Any) -> Tensor:
    """The definition: every box by itself, on its map."""
    pool = d2_ops.roi_align if boxes.shape[1] == 5 else d2_ops.roi_align_rotated
    size, *sampling = rest
    rows = [
        pool(features[level], box[None], size, SCALES[level], *sampling)
        for box, level in zip(boxes, levels.tolist(), strict=True)
    ]
    return torch.cat(rows) if rows else features[0].new_zeros((0, 3, *size))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 9),
    ratio=st.sampled_from([0, 2]),
    aligned=st.booleans(),
)
def test_every_box_is_pooled_from_its_level_forward_and_backward(
    seed: int, count: int, ratio: int, aligned: bool
) -> None:
    boxes, levels = random_boxes(seed, count)
    ours, theirs = ([f.requires_grad_() for f in pyramid(seed)] for _ in range(2))
    pooled = d2_ops.multilevel_roi_align(ours, boxes, (2, 3), SCALES, ratio, aligned, levels=levels)
    expected = one_by_one(theirs, boxes, levels, (2, 3), ratio, aligned)
    assert pooled.equal(expected)
    weights = torch.randn(expected.shape, dtype=torch.float64)
    grads = torch.autograd.grad((pooled * weights).sum(), ours)
    if count == 0:
        assert not any(grad.any() for grad in grads)
        return
    (expected * weights).sum().backward()
    for grad, feature_map in zip(grads, theirs, strict=True):
        wanted = torch.zeros_like(grad) if feature_map.grad is None else feature_map.grad
        torch.testing.assert_close(grad, wanted, atol=1e-12, rtol=1e-12)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), ratio=st.sampled_from([0, 2]))
def test_rotated_boxes_too(seed: int, ratio: int) -> None:
    boxes, levels = random_boxes(seed)
    boxes = rotated(boxes)
    ours, theirs = ([f.requires_grad_() for f in pyramid(seed)] for _ in range(2))
    pooled = d2_ops.multilevel_roi_align_rotated(ours, boxes, 2, SCALES, ratio, levels=levels)
    expected = one_by_one(theirs, boxes, levels, 2, ratio)
    assert pooled.equal(expected)
    grads = torch.autograd.grad(pooled.square().sum(), ours)
    wanted = torch.autograd.grad(
        expected.square().sum(), theirs, allow_unused=True, materialize_grads=True
    )
    torch.testing.assert_close(grads, wanted, atol=1e-12, rtol=1e-12)


def test_levels_are_chosen_by_size_where_none_are_given() -> None:
    sides = torch.tensor([10.0, 55.9, 56, 111.9, 112, 5000, math.nan, -3])
    zero = torch.zeros(8)
    boxes = torch.stack([zero, zero, zero, sides, sides.abs()], 1)
    expected = torch.tensor([0, 0, 1, 1, 2, 2, 0, 0])
    chosen = d2_ops.assign_to_pyramid(sides * sides.abs(), (2, 4), 56, 3)
    assert chosen.equal(expected)
    features = pyramid(dtype=torch.float32)
    settings = {"canonical_box_size": 56, "canonical_level": 3}
    pooled = d2_ops.multilevel_roi_align(features, boxes, 2, SCALES, 0, True, **settings)
    named = d2_ops.multilevel_roi_align(features, boxes, 2, SCALES, 0, True, levels=expected)
    torch.testing.assert_close(pooled, named, equal_nan=True, rtol=0, atol=0)
    turned = torch.cat([boxes, zero[:, None]], 1)
    pooled = d2_ops.multilevel_roi_align_rotated(features, turned, 2, SCALES, **settings)
    named = d2_ops.multilevel_roi_align_rotated(features, turned, 2, SCALES, levels=expected)
    torch.testing.assert_close(pooled, named, equal_nan=True, rtol=0, atol=0)


def test_areas_of_half_precision_boxes_do_not_overflow() -> None:
    features = pyramid(dtype=torch.float16)
    boxes = torch.tensor([[0.0, 0, 0, 400, 400]], dtype=torch.float16)
    pooled = d2_ops.multilevel_roi_align(features, boxes, 2, SCALES)
    expected = d2_ops.roi_align(features[2], boxes, 2, SCALES[2])
    assert pooled.dtype == torch.float16
    assert pooled.equal(expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_areas_of_any_type_belong_to_the_level_that_float64_says(dtype: torch.dtype) -> None:
    numbers = [0.0, 6e-8, 1.0, 112.0**2, 112.0**2 - 8, 224.0**2, 65504.0, -65504.0, -0.0]
    areas = torch.tensor(numbers).to(dtype)
    expected = d2_ops.assign_to_pyramid(areas.double(), (2, 6))
    assert d2_ops.assign_to_pyramid(areas, (2, 6)).equal(expected)
    extremes = torch.tensor([torch.inf, -torch.inf, torch.nan], dtype=dtype)
    assert d2_ops.assign_to_pyramid(extremes, (2, 6)).tolist() == [4, 0, 0]
    tiny = torch.tensor([torch.finfo(dtype).tiny, torch.finfo(dtype).max], dtype=dtype)
    highest = d2_ops.assign_to_pyramid(tiny.double(), (2, 6)).tolist()
    assert d2_ops.assign_to_pyramid(tiny, (2, 6)).tolist() == highest


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gradients_have_the_type_of_the_features(dtype: torch.dtype) -> None:
    boxes, levels = random_boxes(0)
    features = [f.requires_grad_() for f in pyramid(dtype=dtype)]
    pooled = d2_ops.multilevel_roi_align(features, boxes, 2, SCALES, levels=levels.int())
    assert pooled.dtype == dtype
    pooled.float().sum().backward()
    assert [f.grad.dtype for f in features] == [dtype] * 3


def test_gradients_of_both_orders() -> None:
    boxes, levels = random_boxes(1, count=4)
    features = [f[:, :1].clone().requires_grad_() for f in pyramid()[1:]]

    def pool(*maps: Tensor) -> Tensor:
        return d2_ops.multilevel_roi_align(maps, boxes, 2, [0.1, 0.05], levels=levels % 2)

    assert torch.autograd.gradcheck(pool, features, fast_mode=True)
    assert torch.autograd.gradgradcheck(pool, features, fast_mode=True)


def test_only_some_levels_may_want_a_gradient() -> None:
    boxes, levels = random_boxes(2)
    features = pyramid()
    features[1].requires_grad_()
    d2_ops.multilevel_roi_align(features, boxes, 2, SCALES, levels=levels).sum().backward()
    assert features[1].grad.any()
    assert features[0].grad is None


def test_a_list_of_boxes_per_image_is_the_same_as_rows_with_an_index() -> None:
    boxes, _ = random_boxes(3)
    boxes = boxes[boxes[:, 0].sort(stable=True).indices]
    per_image = [boxes[boxes[:, 0] == i, 1:] for i in range(2)]
    expected = d2_ops.multilevel_roi_align(pyramid(), boxes, 2, SCALES)
    assert d2_ops.multilevel_roi_align(pyramid(), per_image, 2, SCALES).equal(expected)


def test_empty_inputs_give_empty_outputs() -> None:
    none = torch.zeros(0, 5)
    assert d2_ops.multilevel_roi_align([torch.zeros(0, 3, 4, 5)], none, 7, [1.0]).shape[0] == 0
    maps = [torch.zeros(1, 2, 0, 5), torch.zeros(1, 2, 3, 0), torch.zeros(1, 2, 2, 2)]
    boxes = torch.tensor([[0, -0.5, -0.5, 0.5, 0.5]]).repeat(3, 1)
    pooled = d2_ops.multilevel_roi_align(maps, boxes, 2, SCALES, levels=torch.arange(3))
    assert not pooled.any()


def test_more_boxes_than_are_prepared_at_once_and_any_number_of_threads() -> None:
    boxes, levels = random_boxes(4, count=1300)
    features = pyramid(dtype=torch.float32)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            tracked = [f.clone().requires_grad_() for f in features]
            pooled = d2_ops.multilevel_roi_align(tracked, boxes, 2, SCALES, levels=levels)
            results.append([pooled, *torch.autograd.grad(pooled.square().sum(), tracked)])
    finally:
        torch.set_num_threads(threads)
    assert all(a.equal(b) for a, b in zip(*results, strict=True))
    some = slice(500, 530)
    assert results[0][0][some].equal(
        d2_ops.multilevel_roi_align(features, boxes[some], 2, SCALES, levels=levels[some])
    )


BAD_ARGUMENTS: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (TypeError, r"features\[1\] must be a floating", {"features": [torch.zeros(1, 2, 4, 5), None]}),
    (ValueError, "1 to 16 maps, got 0", {"features": []}),
    (ValueError, "1 to 16 maps, got 17", {"features": [torch.zeros(1, 2, 4, 5)] * 17}),
    (ValueError, "2 maps need as many spatial_scales, got 1", {"spatial_scales": [1.0]}),
    (
        ValueError,
        r"features\[1\] must have the images, channels and dtype",
        {"features": [torch.zeros(1, 2, 4, 5), torch.zeros(1, 3, 4, 5)]},
    ),
    (
        ValueError,
        r"features\[1\] must have the images, channels and dtype",
        {"features": [torch.zeros(1, 2, 4, 5), torch.zeros(1, 2, 4, 5).half()]},
    ),
    (
        ValueError,
        r"features\[0\] must have shape \(B, C, H, W\)",
        {"features": [torch.zeros(1, 2, 4)] * 2},
    ),
    (
        ValueError,
        r"features\[1\] must have shape",
        {"features": [torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4)]},
    ),
    (ValueError, r"boxes must have shape \(N, 5\)", {"boxes": torch.zeros(3, 6)}),
    (ValueError, "output_size must be positive", {"output_size": (2, -1)}),
    (TypeError, "levels must be an integer tensor", {"levels": torch.zeros(3)}),
    (ValueError, r"levels must have shape \(3,\)", {"levels": torch.zeros(2).long()}),
    (ValueError, r"levels\[1\] is 2", {"levels": torch.tensor([0, 2, 1])}),
    (ValueError, r"levels\[2\] is -1", {"levels": torch.tensor([0, 1, -1])}),
    (ValueError, "half of the one before", {"spatial_scales": [1 / 4, 1 / 16]}),
    (ValueError, "powers of two", {"spatial_scales": [1 / 3, 1 / 6]}),
    (ValueError, "powers of two", {"spatial_scales": [0.0, -1.0]}),
    (ValueError, r"boxes\[0, 0\] is 1", {"boxes": torch.ones(3, 5)}),
]


@pytest.mark.parametrize(("error", "message", "change"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named(
    error: type[Exception], message: str, change: dict[str, Any]
) -> None:
    good = {
        "features": [torch.zeros(1, 2, 4, 5), torch.zeros(1, 2, 2, 3)],
        "boxes": torch.zeros(3, 5),
        "output_size": 2,
        "spatial_scales": [1 / 4, 1 / 8],
    }
    with pytest.raises(error, match=message):
        d2_ops.multilevel_roi_align(**{**good, **change})


def test_the_bare_operator_checks_its_arguments_too(bare_error: type[Exception]) -> None:
    d2_ops.load_library()
    bare = torch.ops.d2_ops
    features, boxes, levels = pyramid(), torch.zeros(1, 5), torch.zeros(1).long()
    settings = (2, 2, 0, True)
    with pytest.raises(bare_error, match="3 feature maps but 2 scales"):
        bare.multilevel_roi_align_forward(features, boxes, levels, SCALES[:2], *settings)
    with pytest.raises(bare_error, match="levels must be int64"):
        bare.multilevel_roi_align_forward(features, boxes, levels.int(), SCALES, *settings)
    with pytest.raises(bare_error, match="feature maps differ"):
        bare.multilevel_roi_align_forward(
            [features[0], features[1].float(), features[2]], boxes, levels, SCALES, *settings
        )
    gradient = torch.zeros(1, 3, 2, 2)
    with pytest.raises(bare_error, match="3 heights and widths, got 4 numbers"):
        bare.multilevel_roi_align_backward(gradient, boxes, levels, SCALES, *settings, [1, 3, 4, 4])
    with pytest.raises(bare_error, match="2\\^31 pixels"):
        bare.multilevel_roi_align_backward(
            gradient, boxes, levels, SCALES, *settings, [1, 3, 4, 4, 2**31, 1, 2, 2]
        )


def test_autocast_changes_nothing() -> None:
    boxes, levels = random_boxes(0)
    features = pyramid(dtype=torch.float32)
    expected = d2_ops.multilevel_roi_align(features, boxes, 2, SCALES, levels=levels)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = d2_ops.multilevel_roi_align(features, boxes, 2, SCALES, levels=levels)
    assert pooled.equal(expected)


# opcheck itself looks at gradients of tensors that are not leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_opcheck() -> None:
    d2_ops.load_library()
    bare = torch.ops.d2_ops
    boxes, levels = random_boxes(0)
    features = pyramid()
    sizes = [*features[0].shape[:2], *(side for f in features for side in f.shape[2:])]
    gradient = torch.randn(len(boxes), 3, 2, 3, dtype=torch.float64)
    tracked = [f.clone().requires_grad_() for f in features]
    for name, rois, sampling in (
        ("multilevel_roi_align", boxes, (0, True)),
        ("multilevel_roi_align_rotated", rotated(boxes), (0,)),
    ):
        arguments = (rois, levels, SCALES, 2, 3, *sampling)
        torch.library.opcheck(getattr(bare, name).default, (tracked, *arguments))
        torch.library.opcheck(getattr(bare, f"{name}_forward").default, (features, *arguments))
        torch.library.opcheck(
            getattr(bare, f"{name}_backward").default, (gradient, *arguments, sizes)
        )


class Pool(torch.nn.Module):
    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        doubled = [2 * feature_map for feature_map in features]
        return d2_ops.multilevel_roi_align(
            doubled, boxes, 2, SCALES, canonical_box_size=56, canonical_level=3
        )


def test_compiles_in_one_graph_with_dynamic_shapes() -> None:
    pool = Pool()
    compiled = torch.compile(pool, fullgraph=True, dynamic=True, backend="aot_eager")
    for count in (5, 8):
        boxes, _ = random_boxes(count, count)
        ours, theirs = ([f.requires_grad_() for f in pyramid()] for _ in range(2))
        pooled, expected = compiled(ours, boxes), pool(theirs, boxes)
        assert pooled.equal(expected)
        pooled.sum().backward()
        expected.sum().backward()
        for a, b in zip(ours, theirs, strict=True):
            assert a.grad.equal(b.grad)


def test_exports_with_dynamic_shapes() -> None:
    boxes, _ = random_boxes(0)
    rois, batch = torch.export.Dim("rois", min=2), torch.export.Dim("batch", min=2)
    dynamic = ([{0: batch}] * 3, {0: rois})
    program = torch.export.export(Pool(), (pyramid(), boxes), dynamic_shapes=dynamic)
    more, more_boxes = [torch.cat([f, f]) for f in pyramid()], torch.cat([boxes, boxes])
    assert program.module()(more, more_boxes).equal(Pool()(more, more_boxes))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_cuda_equals_the_cpu(device: torch.device, dtype: torch.dtype) -> None:
    boxes, levels = random_boxes(0, count=50)
    host = [f.requires_grad_() for f in pyramid(dtype=dtype)]
    there = [f.to(device).requires_grad_() for f in pyramid(dtype=dtype)]
    expected = d2_ops.multilevel_roi_align(host, boxes, 7, SCALES, 0, True, levels=levels)
    pooled = d2_ops.multilevel_roi_align(
        there, boxes.to(device), 7, SCALES, 0, True, levels=levels.to(device)
    )
    torch.testing.assert_close(pooled.cpu(), expected)
    gradient = torch.randn(expected.shape).to(dtype)
    expected.backward(gradient)
    pooled.backward(gradient.to(device))
    tolerance = 0.05 if dtype.itemsize == 2 else 1e-4
    for ours, theirs in zip(there, host, strict=True):
        torch.testing.assert_close(ours.grad.cpu(), theirs.grad, atol=tolerance, rtol=tolerance)


@pytest.mark.gpu
def test_cuda_gives_nan_for_a_level_that_does_not_exist(cuda: torch.device) -> None:
    boxes = torch.tensor([[0.0, 0, 0, 4, 4]], device=cuda).repeat(3, 1)
    levels = torch.tensor([-1, 0, 1], device=cuda)
    features = [torch.ones(1, 2, 8, 8, device=cuda)]
    pooled = d2_ops.multilevel_roi_align(features, boxes, 2, [1.0], levels=levels)
    assert pooled[[0, 2]].isnan().all()
    assert (pooled[1] == 1).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 9),
    channels=st.sampled_from([2, 8, 31, 32, 33, 70]),
    ratio=st.sampled_from([0, 2]),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]),
    last=st.lists(st.booleans(), min_size=3, max_size=3),
)
def test_the_memory_format_of_maps_changes_no_bit(
    seed: int, count: int, channels: int, ratio: int, dtype: torch.dtype, last: list[bool]
) -> None:
    boxes, levels = random_boxes(seed, count)
    generator = torch.Generator().manual_seed(seed)
    sides = ((24, 32), (12, 16), (6, 8))
    maps = [torch.randn(2, channels, *side, generator=generator).to(dtype) for side in sides]
    formats = [torch.channels_last if each else torch.contiguous_format for each in last]
    ours = [
        each.contiguous(memory_format=chosen).requires_grad_()
        for each, chosen in zip(maps, formats, strict=True)
    ]
    theirs = [each.clone().requires_grad_() for each in maps]
    pooled, expected = (
        d2_ops.multilevel_roi_align(each, boxes, (2, 3), SCALES, ratio, True, levels=levels)
        for each in (ours, theirs)
    )
    assert pooled.equal(expected)
    assert pooled.is_contiguous()
    weights = torch.randn(pooled.shape, generator=generator).to(dtype)
    grads, wanted = (
        torch.autograd.grad(output, each, weights)
        for output, each in ((pooled, ours), (expected, theirs))
    )
    for grad, other in zip(grads, wanted, strict=True):
        assert grad.equal(other)
        if all(last):
            assert grad.is_contiguous(memory_format=torch.channels_last)


def test_maps_in_channels_last_are_differentiable_twice_and_boxes_may_be_anything() -> None:
    boxes, levels = random_boxes(3, 4)
    boxes = torch.cat([boxes, torch.tensor([[0, math.nan, 0, 5, 5], [1, -90.0, -90, -80, -80]])])
    levels = torch.cat([levels, torch.tensor([0, 1])])
    plain = pyramid()
    last = [each.contiguous(memory_format=torch.channels_last) for each in plain]
    results = [
        d2_ops.multilevel_roi_align(maps, boxes, 2, SCALES, 2, levels=levels)
        for maps in (plain, last)
    ]
    torch.testing.assert_close(*results, equal_nan=True, rtol=0, atol=0)
    inputs = tuple(each[:, :1, :6, :8].repeat(1, 2, 1, 1) for each in last)
    inputs = tuple(
        each.contiguous(memory_format=torch.channels_last).requires_grad_() for each in inputs
    )

    def pooled(*maps: Tensor) -> Tensor:
        return d2_ops.multilevel_roi_align(maps, boxes[:2], 2, SCALES, 2, levels=levels[:2])

    assert torch.autograd.gradcheck(pooled, inputs)
    assert torch.autograd.gradgradcheck(pooled, inputs)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_opcheck_in_channels_last() -> None:
    boxes, levels = random_boxes(1, 3)
    maps = [
        each.contiguous(memory_format=torch.channels_last).requires_grad_() for each in pyramid()
    ]
    arguments = (maps, boxes, levels, SCALES, 2, 2, 2, True)
    torch.library.opcheck(torch.ops.d2_ops.multilevel_roi_align.default, arguments)
    grad = torch.randn(3, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    sizes = [2, 3, 24, 32, 12, 16, 6, 8]
    backward = torch.ops.d2_ops.multilevel_roi_align_backward_channels_last.default
    torch.library.opcheck(backward, (grad, *arguments[1:], sizes))
