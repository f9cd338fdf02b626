import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import d2_ops

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
Overlap = Callable[[Tensor, Tensor], Tensor]
OVERLAPS: list[Overlap] = [d2_ops.pairwise_iou, d2_ops.pairwise_ioa, d2_ops.pairwise_giou]


def oracle(overlap: Overlap, a: list[float], b: list[float]) -> float:
    """The definitions, of one pair."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    area1, area2 = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    shared = width * height
    if overlap is d2_ops.pairwise_ioa:
        return shared / area2 if area2 else 0.0
    union = area1 + area2 - shared
    iou = shared / union if union else 0.0
    if overlap is d2_ops.pairwise_iou:
        return iou
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return iou - ((hull - union) / hull if hull else 0.0)


def plain_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """The formula in torch, step by step as everyone writes it."""
    area1, area2 = (
        (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (boxes1, boxes2)
    )
    low = torch.maximum(boxes1[:, None, :2], boxes2[:, :2])
    high = torch.minimum(boxes1[:, None, 2:], boxes2[:, 2:])
    width, height = (high - low).clamp(min=0).unbind(2)
    inter = width * height
    return inter / (area1[:, None] + area2 - inter)


def random_boxes(n: int, seed: int = 0, image: float = 100, side: float = 60) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(n, 2, generator=generator, dtype=torch.float64) * image
    sides = torch.rand(n, 2, generator=generator, dtype=torch.float64) * side + 1
    return torch.cat([low, low + sides], 1)


coordinate = st.one_of(st.integers(-8, 8).map(float), st.floats(-10, 10, width=32))
length = st.one_of(st.integers(0, 8).map(float), st.floats(0.125, 30, width=32))
box = st.builds(
    lambda x, y, width, height: [x, y, x + width, y + height],
    coordinate,
    coordinate,
    length,
    length,
)


@pytest.mark.parametrize("overlap", OVERLAPS)
@settings(max_examples=60, deadline=None)
@given(st.lists(box, max_size=5), st.lists(box, max_size=5))
def test_every_pair_has_its_definition(
    overlap: Overlap, boxes1: list[list[float]], boxes2: list[list[float]]
) -> None:
    first = torch.tensor(boxes1, dtype=torch.float64).reshape(-1, 4)
    second = torch.tensor(boxes2, dtype=torch.float64).reshape(-1, 4)
    expected = [[oracle(overlap, a, b) for b in boxes2] for a in boxes1]
    expected_values = torch.tensor(expected, dtype=torch.float64).reshape(len(first), len(second))
    torch.testing.assert_close(overlap(first, second), expected_values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize(("n", "m"), [(3, 2500), (150, 1024), (1, 1), (70, 1025)])
def test_blocks_join_without_seams(overlap: Overlap, n: int, m: int) -> None:
    boxes1, boxes2 = random_boxes(n), random_boxes(m, 1)
    values = overlap(boxes1, boxes2)
    alone = torch.cat([overlap(boxes1[i : i + 1], boxes2) for i in range(n)])
    assert values.equal(alone)
    by_column = overlap(boxes1, boxes2[-1:])
    assert values[:, -1:].equal(by_column)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_iou_has_the_bits_of_the_plain_formula(dtype: torch.dtype) -> None:
    boxes1, boxes2 = random_boxes(50).to(dtype), random_boxes(1500, 1).to(dtype)
    assert d2_ops.pairwise_iou(boxes1, boxes2).equal(plain_iou(boxes1, boxes2))


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_single(overlap: Overlap, dtype: torch.dtype) -> None:
    boxes1, boxes2 = random_boxes(7, image=900).to(dtype), random_boxes(9, 1, 900).to(dtype)
    assert overlap(boxes1, boxes2).equal(overlap(boxes1.float(), boxes2.float()).to(dtype))


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_a_box_with_nan_gives_nan_and_others_are_not_touched(overlap: Overlap) -> None:
    boxes = random_boxes(6)
    for column in range(4):
        bad = boxes.clone()
        bad[2, column] = math.nan
        for values in (overlap(bad, boxes), overlap(boxes, bad).T):
            assert values[2].isnan().all()
            assert not values[[0, 1, 3, 4, 5]].isnan().any()


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_boxes_without_area_overlap_nothing_and_have_finite_gradients(overlap: Overlap) -> None:
    boxes = torch.tensor([[1.0, 1, 1, 1], [1, 1, 1, 5], [0, 0, 4, 4]], requires_grad=True)
    values = overlap(boxes, boxes)
    assert values[0, 0] == 0
    assert (values[:2] <= 0).all()
    values.sum().backward()
    assert boxes.grad is not None
    assert boxes.grad.isfinite().all()


def test_ioa_is_the_share_of_the_second_box() -> None:
    large, others = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([[5.0, 5, 15, 15], [1, 1, 2, 2]])
    assert d2_ops.pairwise_ioa(large, others).tolist() == [[0.25, 1.0]]


def test_reference_values(golden: dict[str, dict[str, Tensor]]) -> None:
    values = golden["boxes"]
    torch.testing.assert_close(d2_ops.pairwise_iou(values["b1"], values["b2"]), values["iou"])
    torch.testing.assert_close(d2_ops.pairwise_ioa(values["b1"], values["b2"]), values["ioa"])


def test_torchvision_agrees() -> None:
    ops = pytest.importorskip("torchvision").ops
    boxes1, boxes2 = random_boxes(40), random_boxes(60, 1)
    torch.testing.assert_close(d2_ops.pairwise_iou(boxes1, boxes2), ops.box_iou(boxes1, boxes2))
    expected = ops.generalized_box_iou(boxes1, boxes2)
    torch.testing.assert_close(d2_ops.pairwise_giou(boxes1, boxes2), expected)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_gradients_are_those_of_finite_differences(overlap: Overlap) -> None:
    boxes1 = random_boxes(4, image=60).requires_grad_()
    boxes2 = random_boxes(5, 1, image=60).requires_grad_()
    assert torch.autograd.gradcheck(overlap, (boxes1, boxes2))
    assert torch.autograd.gradgradcheck(overlap, (boxes1, boxes2))


@pytest.mark.parametrize("overlap", [d2_ops.pairwise_iou, d2_ops.pairwise_giou])
def test_equal_sides_share_the_gradient(overlap: Overlap) -> None:
    boxes = random_boxes(3)
    ours = [boxes.clone().requires_grad_(), boxes.clone().requires_grad_()]
    overlap(*ours).diagonal().sum().backward()
    assert ours[0].grad is not None
    assert ours[1].grad is not None
    torch.testing.assert_close(ours[0].grad, -ours[1].grad)


def test_no_boxes_and_inputs_of_any_stride() -> None:
    boxes = random_boxes(7)
    for overlap in OVERLAPS:
        assert overlap(boxes[:0], boxes).shape == (0, 7)
        assert overlap(boxes, boxes[:0]).shape == (7, 0)
        transposed = boxes.t().contiguous().t()
        assert not transposed.is_contiguous()
        assert overlap(transposed, transposed).equal(overlap(boxes, boxes))
        empty = boxes[:0].clone().requires_grad_()
        overlap(empty, boxes).sum().backward()
        assert empty.grad is not None


def test_autocast_changes_nothing() -> None:
    boxes = random_boxes(5).float()
    with torch.autocast("cpu", torch.bfloat16):
        iou = d2_ops.pairwise_iou(boxes, boxes)
    assert iou.equal(d2_ops.pairwise_iou(boxes, boxes))


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize(
    ("error", "message", "boxes2"),
    [
        (TypeError, "boxes2 must be a floating tensor, got .*int64", torch.zeros(3, 4).long()),
        (TypeError, "boxes2 must have the dtype of boxes1", torch.zeros(3, 4).double()),
        (ValueError, r"boxes2 must have shape \(N, 4\), got \(3, 5\)", torch.zeros(3, 5)),
        (ValueError, "boxes2 is on meta but boxes1 on cpu", torch.zeros(3, 4, device="meta")),
    ],
)
def test_a_bad_argument_is_named(
    overlap: Overlap, error: type[Exception], message: str, boxes2: Tensor
) -> None:
    with pytest.raises(error, match=message):
        overlap(torch.zeros(2, 4), boxes2)


def test_the_bare_operators_check_their_arguments_too(bare_error: type[Exception]) -> None:
    d2_ops.load_library()
    for name in ("pairwise_iou", "pairwise_ioa", "pairwise_giou"):
        bare = getattr(torch.ops.d2_ops, name)
        with pytest.raises(bare_error, match=rf"{name}: boxes1 must have shape \(N, 4\)"):
            bare(torch.zeros(3, 5), torch.zeros(3, 4))
        with pytest.raises(bare_error, match="boxes2 must have the dtype of boxes1"):
            bare(torch.zeros(3, 4), torch.zeros(3, 4).half())


# opcheck itself looks at gradients of tensors that are not leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("name", ["pairwise_iou", "pairwise_ioa", "pairwise_giou"])
def test_opcheck(name: str) -> None:
    d2_ops.load_library()
    arguments = random_boxes(4).requires_grad_(), random_boxes(6, 1).requires_grad_()
    torch.library.opcheck(getattr(torch.ops.d2_ops, name).default, arguments)


def test_compiles_in_one_graph_and_exports_with_dynamic_shapes() -> None:
    def overlaps(boxes1: Tensor, boxes2: Tensor) -> Tensor:
        return d2_ops.pairwise_giou(boxes1 * 2, boxes2) + d2_ops.pairwise_iou(boxes1, boxes2)

    compiled = torch.compile(overlaps, fullgraph=True, dynamic=True, backend="aot_eager")
    for n, m in ((4, 6), (5, 3)):
        ours, theirs = (random_boxes(n).requires_grad_() for _ in range(2))
        boxes2 = random_boxes(m, 1)
        compiled(ours, boxes2).sum().backward()
        overlaps(theirs, boxes2).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)

    class Overlaps(torch.nn.Module):
        def forward(self, boxes1: Tensor, boxes2: Tensor) -> Tensor:
            return overlaps(boxes1, boxes2)

    dynamic = ({0: torch.export.Dim("n", min=2)}, {0: torch.export.Dim("m", min=2)})
    arguments = random_boxes(4), random_boxes(6, 1)
    program = torch.export.export(Overlaps(), arguments, dynamic_shapes=dynamic)
    more = random_boxes(9), random_boxes(8, 1)
    assert program.module()(*more).equal(overlaps(*more))


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_scripted_code_may_call_them() -> None:
    def overlaps(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return d2_ops.pairwise_iou(a, b), d2_ops.pairwise_ioa(a, b), d2_ops.pairwise_giou(a, b)

    boxes1, boxes2 = random_boxes(4), random_boxes(6, 1)
    scripted = torch.jit.script(overlaps)(boxes1, boxes2)
    for values, expected in zip(scripted, overlaps(boxes1, boxes2), strict=True):
        assert values.equal(expected)


@pytest.mark.gpu
@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_cuda_equals_the_cpu(device: torch.device, overlap: Overlap, dtype: torch.dtype) -> None:
    boxes1, boxes2 = random_boxes(300).to(dtype), random_boxes(70, 1).to(dtype)
    boxes1[3, 2], boxes2[5, 1] = math.nan, math.nan
    for first, second in ((boxes1, boxes2), (boxes1[:0], boxes2), (boxes2, boxes1)):
        values = overlap(first.to(device), second.to(device)).cpu()
        torch.testing.assert_close(values, overlap(first, second), rtol=0, atol=0, equal_nan=True)
