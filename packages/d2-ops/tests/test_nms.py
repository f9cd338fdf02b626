import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import d2_ops

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def oracle(boxes: Tensor, scores: Tensor, threshold: float, idxs: Tensor | None = None) -> Tensor:
    """The definition, one kept box at a time, in the arithmetic that the kernel promises."""
    boxes = boxes if boxes.dtype == torch.float64 else boxes.float()
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    left = scores.sort(descending=True, stable=True).indices
    keep = []
    while len(left):
        best, left = left[0], left[1:]
        keep.append(best)
        corner1 = torch.maximum(boxes[best, :2], boxes[left, :2])
        corner2 = torch.minimum(boxes[best, 2:], boxes[left, 2:])
        inter = (corner2 - corner1).clamp(min=0).prod(1)
        drop = (inter / (area[best] + area[left] - inter)).double() > threshold
        left = left[~drop if idxs is None else ~drop | (idxs[left] != idxs[best])]
    return torch.stack(keep) if keep else torch.zeros(0, dtype=torch.int64)


def random_boxes(
    n: int, seed: int = 0, image: float = 100, side: float = 50
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(n, 2, generator=generator) * image
    sides = torch.rand(n, 2, generator=generator) * side + 1
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], 1)
    return boxes, torch.rand(n, generator=generator)


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(0, 200),
    seed=st.integers(0, 2**32),
    threshold=st.sampled_from([-0.1, 0.0, 0.3, 0.5, 0.7, 1.0]),
    classes=st.integers(1, 20),
    dtype=st.sampled_from(FLOATS),
    grid=st.booleans(),
    ties=st.booleans(),
)
def test_keeps_what_the_definition_keeps(
    n: int, seed: int, threshold: float, classes: int, dtype: torch.dtype, grid: bool, ties: bool
) -> None:
    boxes, scores = random_boxes(n, seed)
    if grid:  # whole coordinates make equal boxes, touching boxes and thresholds hit exactly
        boxes = (boxes / 10).round()
    if ties:
        scores = (scores * 4).round()
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    idxs = torch.arange(n) * 7919 % classes - classes // 2
    assert d2_ops.nms(boxes, scores, threshold).equal(oracle(boxes, scores, threshold))
    kept = d2_ops.batched_nms(boxes, scores, idxs, threshold)
    assert kept.equal(oracle(boxes, scores, threshold, idxs))
    order, marks = d2_ops.batched_nms_of_all(boxes, scores, idxs, threshold)
    assert order.equal(scores.sort(descending=True, stable=True).indices)
    assert order[marks].equal(kept)


@pytest.mark.parametrize("n", [63, 64, 65, 1023, 1025, 5000])
def test_block_and_thread_boundaries_change_nothing(n: int) -> None:
    boxes, scores = random_boxes(n, seed=n, image=1000, side=100)
    assert d2_ops.nms(boxes, scores, 0.5).equal(oracle(boxes, scores, 0.5))
    idxs = torch.zeros(n, dtype=torch.int64)
    assert d2_ops.batched_nms(boxes, scores, idxs, 0.5).equal(d2_ops.nms(boxes, scores, 0.5))


def test_one_large_class_among_small_ones_equals_each_class_alone() -> None:
    boxes, scores = random_boxes(6000, image=1000, side=80)
    idxs = torch.where(torch.arange(6000) % 6 == 0, torch.arange(6000) % 40, 99)
    kept = d2_ops.batched_nms(boxes, scores, idxs, 0.4)
    alone = []
    for label in idxs.unique():
        members = (idxs == label).nonzero().squeeze(1)
        alone.append(members[d2_ops.nms(boxes[members], scores[members], 0.4)])
    assert kept.sort().values.equal(torch.cat(alone).sort().values)
    assert scores[kept].equal(scores[kept].sort(descending=True).values)


def test_reference_values(golden: dict[str, Any]) -> None:
    values = golden["nms"]
    boxes, scores, idxs = values["boxes"], values["scores"], values["idxs"]
    for threshold, expected in values["nms"].items():
        assert d2_ops.nms(boxes, scores, float(threshold)).equal(expected)
    for threshold, expected in values["batched_nms"].items():
        assert d2_ops.batched_nms(boxes, scores, idxs, float(threshold)).equal(expected)
    many = golden["batched_nms_8000"]
    kept = d2_ops.batched_nms(many["boxes"], many["scores"], many["idxs"], 0.5)
    assert kept.equal(many["keep"])


def test_equals_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision", exc_type=ImportError)
    for n in (1, 100, 3000):
        boxes, scores = random_boxes(n, image=600)
        for threshold in (0.1, 0.3, 0.5, 0.9):
            expected = torchvision.ops.nms(boxes, scores, threshold)
            assert d2_ops.nms(boxes, scores, threshold).equal(expected)


def test_a_box_is_dropped_only_above_the_threshold_not_at_it() -> None:
    boxes = torch.tensor([[0.0, 0, 2, 1], [0, 0, 1, 1]])  # IoU is exactly one half
    scores = torch.tensor([1.0, 0.5])
    assert d2_ops.nms(boxes, scores, 0.5).tolist() == [0, 1]
    assert d2_ops.nms(boxes, scores, math.nextafter(0.5, 0)).tolist() == [0]


def test_boxes_without_an_iou_neither_drop_nor_are_dropped() -> None:
    nan, inf = math.nan, math.inf
    box = [0.0, 0, 10, 10]
    boxes = torch.tensor([box, [nan, 0, 10, 10], [0, 0, nan, 10], [-inf, 0, 10, 10], [5, 5, 5, 5]])
    boxes = torch.cat([boxes, boxes])
    scores = torch.linspace(1, 0, 10)
    kept = d2_ops.nms(boxes, scores, 0.5)
    assert kept.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9]  # only the good box has a twin that goes


def test_nan_scores_come_first_and_infinities_sort() -> None:
    boxes = torch.arange(5.0)[:, None] * 10 + torch.tensor([0.0, 0, 1, 1])
    scores = torch.tensor([0.0, math.inf, math.nan, -math.inf, -0.0])
    assert d2_ops.nms(boxes, scores, 0.5).tolist() == [2, 1, 0, 4, 3]


def test_large_coordinates_do_not_mix_classes() -> None:
    boxes = torch.tensor([[6e4, 6e4, 6.002e4, 6.002e4]]).repeat(2, 1).half()
    scores, idxs = torch.tensor([0.9, 0.8]), torch.tensor([2**62, -(2**62)])
    assert d2_ops.batched_nms(boxes, scores, idxs, 0.5).tolist() == [0, 1]


def test_inputs_of_any_stride_and_mixed_precision() -> None:
    boxes, scores = random_boxes(50)
    expected = d2_ops.nms(boxes, scores, 0.3)
    transposed = boxes.t().contiguous().t()
    spread = torch.stack([scores, -scores], 1)[:, 0]
    assert not transposed.is_contiguous()
    assert not spread.is_contiguous()
    assert d2_ops.nms(transposed, spread.double(), 0.3).equal(expected)


def test_small_integer_classes_are_accepted() -> None:
    boxes, scores = random_boxes(50)
    idxs = torch.arange(50) % 3
    expected = d2_ops.batched_nms(boxes, scores, idxs, 0.3)
    for dtype in (torch.uint8, torch.int32):
        assert d2_ops.batched_nms(boxes, scores, idxs.to(dtype), 0.3).equal(expected)


def test_classes_may_be_any_integers() -> None:
    boxes, scores = random_boxes(300)
    small = torch.arange(300) % 5
    extreme = torch.tensor([-(2**63), -1, 0, 256, 2**63 - 1])[small]
    kept = d2_ops.batched_nms(boxes, scores, extreme, 0.3)
    assert kept.equal(d2_ops.batched_nms(boxes, scores, small, 0.3))


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    boxes, scores = random_boxes(9000, image=2000)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = d2_ops.nms(boxes, scores, 0.5)
        torch.set_num_threads(4)
        assert d2_ops.nms(boxes, scores, 0.5).equal(alone)
    finally:
        torch.set_num_threads(threads)


BAD_ARGUMENTS: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (
        TypeError,
        "boxes must be a floating tensor, got .*int64",
        {"boxes": torch.zeros(3, 4).long()},
    ),
    (TypeError, "boxes must be a floating tensor, got .*list", {"boxes": [[0, 0, 1, 1]]}),
    (TypeError, "scores must be a floating tensor", {"scores": torch.zeros(3).long()}),
    (TypeError, "idxs must be an integer tensor", {"idxs": torch.zeros(3)}),
    (TypeError, "idxs must be an integer tensor, got None", {"idxs": None}),
    (ValueError, r"boxes must have shape \(N, 4\), got \(3, 5\)", {"boxes": torch.zeros(3, 5)}),
    (ValueError, r"scores must have shape \(3,\)", {"scores": torch.zeros(2)}),
    (ValueError, r"idxs must have shape \(3,\)", {"idxs": torch.zeros(3, 1).long()}),
    (ValueError, "scores is on meta", {"scores": torch.zeros(3, device="meta")}),
    (ValueError, "iou_threshold is NaN", {"iou_threshold": math.nan}),
]


@pytest.mark.parametrize(("error", "message", "change"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named(
    error: type[Exception], message: str, change: dict[str, Any]
) -> None:
    good = {
        "boxes": torch.zeros(3, 4),
        "scores": torch.zeros(3),
        "idxs": torch.zeros(3, dtype=torch.int64),
        "iou_threshold": 0.5,
    }
    with pytest.raises(error, match=message):
        d2_ops.batched_nms(**{**good, **change})


def test_the_bare_operator_checks_its_arguments_too(bare_error: type[Exception]) -> None:
    d2_ops.load_library()
    bare = torch.ops.d2_ops
    with pytest.raises(bare_error, match=r"boxes must have shape \(N, 4\)"):
        bare.nms(torch.zeros(3, 5), torch.zeros(3), 0.5)
    with pytest.raises(bare_error, match="scores must have shape"):
        bare.nms(torch.zeros(3, 4), torch.zeros(2), 0.5)
    with pytest.raises(bare_error, match="idxs must be int64"):
        bare.batched_nms(torch.zeros(3, 4), torch.zeros(3), torch.zeros(3), 0.5)


def test_autocast_changes_nothing() -> None:
    boxes, scores = random_boxes(50)
    kept = d2_ops.nms(boxes, scores, 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert d2_ops.nms(boxes, scores, 0.5).equal(kept)


def test_opcheck() -> None:
    boxes, scores = random_boxes(20)
    idxs = torch.arange(20) % 3
    d2_ops.load_library()
    torch.library.opcheck(torch.ops.d2_ops.nms.default, (boxes, scores, 0.5))
    torch.library.opcheck(torch.ops.d2_ops.batched_nms.default, (boxes, scores, idxs, 0.5))
    of_all = torch.ops.d2_ops.batched_nms_of_all.default
    torch.library.opcheck(of_all, (boxes, scores, idxs, 0.5))


def test_compiles_in_one_graph_and_exports_with_dynamic_shapes() -> None:
    class Keep(torch.nn.Module):
        def forward(self, boxes: Tensor, scores: Tensor, idxs: Tensor) -> Tensor:
            return boxes[d2_ops.batched_nms(boxes, scores, idxs, 0.5)]

    def arguments(n: int) -> tuple[Tensor, Tensor, Tensor]:
        return (*random_boxes(n), torch.arange(n) % 2)

    compiled = torch.compile(Keep(), fullgraph=True, dynamic=True, backend="aot_eager")
    for size in (10, 37):
        assert compiled(*arguments(size)).equal(Keep()(*arguments(size)))

    n = torch.export.Dim("n", min=2, max=10_000)
    program = torch.export.export(Keep(), arguments(10), dynamic_shapes=({0: n}, {0: n}, {0: n}))
    for size in (2, 37):
        assert program.module()(*arguments(size)).equal(Keep()(*arguments(size)))


@pytest.mark.gpu
@pytest.mark.parametrize("n", [0, 1, 64, 65, 3000])
@pytest.mark.parametrize("dtype", FLOATS)
def test_cuda_keeps_the_boxes_that_the_cpu_keeps(
    device: torch.device, n: int, dtype: torch.dtype
) -> None:
    boxes, scores = random_boxes(n, image=500)
    boxes, scores = boxes.to(dtype), (scores * 500).round()
    if n > 10:
        boxes[3] = math.nan
        boxes[4, 2] = math.inf
        scores[5] = math.nan
    for classes in (1, 7, 80):
        idxs = torch.arange(n) * 7919 % classes
        on_device = [t.to(device) for t in (boxes, scores, idxs)]
        kept = d2_ops.batched_nms(*on_device, 0.4)
        assert kept.cpu().equal(d2_ops.batched_nms(boxes, scores, idxs, 0.4))
        kept = d2_ops.nms(*on_device[:2], 0.4)
        assert kept.cpu().equal(d2_ops.nms(boxes, scores, 0.4))


@pytest.mark.gpu
@pytest.mark.parametrize("classes", [1, 3])
def test_cuda_compares_more_boxes_than_fit_in_memory_at_once(
    device: torch.device, classes: int
) -> None:
    n = 120_000 if device.type == "cuda" else 3_000
    boxes, scores = random_boxes(n, image=20_000)
    idxs = torch.arange(len(boxes)) % classes
    kept = d2_ops.batched_nms(boxes.to(device), scores.to(device), idxs.to(device), 0.3)
    assert kept.cpu().equal(d2_ops.batched_nms(boxes, scores, idxs, 0.3))


@pytest.mark.gpu
def test_cuda_rejects_tensors_of_two_devices(cuda: torch.device) -> None:
    boxes, scores = random_boxes(3)
    with pytest.raises(ValueError, match="scores is on cpu but boxes on cuda"):
        d2_ops.nms(boxes.to(cuda), scores, 0.5)
