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
    """The definition, one kept box at a time. The IoU has tests of its own."""
    iou = d2_ops.box_iou_rotated(boxes.double(), boxes.double())
    left = scores.sort(descending=True, stable=True).indices
    keep = []
    while len(left):
        best, left = left[0], left[1:]
        keep.append(best)
        drop = iou[best, left] > threshold
        left = left[~drop if idxs is None else ~drop | (idxs[left] != idxs[best])]
    return torch.stack(keep) if keep else torch.zeros(0, dtype=torch.int64)


def random_boxes(
    n: int, seed: int = 0, image: float = 100, side: float = 50
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(n, 2, generator=generator) * image
    sides = torch.rand(n, 2, generator=generator) * side + 1
    degrees = torch.rand(n, 1, generator=generator) * 720 - 360
    return torch.cat([centres, sides, degrees], 1), torch.rand(n, generator=generator)


@settings(max_examples=80, deadline=None)
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
    if grid:  # whole numbers and quarter turns make equal boxes, touching boxes and empty ones
        boxes = (boxes / 10).round()
        boxes[:, 4] = (boxes[:, 4] / 9).round() * 90
    if ties:
        scores = (scores * 4).round()
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    idxs = torch.arange(n) * 7919 % classes - classes // 2
    assert d2_ops.nms_rotated(boxes, scores, threshold).equal(oracle(boxes, scores, threshold))
    kept = d2_ops.batched_nms_rotated(boxes, scores, idxs, threshold)
    assert kept.equal(oracle(boxes, scores, threshold, idxs))
    order, marks = d2_ops.batched_nms_rotated_of_all(boxes, scores, idxs, threshold)
    assert order.equal(scores.sort(descending=True, stable=True).indices)
    assert order[marks].equal(kept)


def test_upright_boxes_are_treated_as_by_nms() -> None:
    boxes, scores = random_boxes(500)
    boxes[:, 4] = 0
    corners = torch.cat([boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2], 1)
    idxs = torch.arange(500) % 3
    for threshold in (0.11, 0.33, 0.77):
        expected = d2_ops.nms(corners, scores, threshold)
        assert d2_ops.nms_rotated(boxes, scores, threshold).equal(expected)
        expected = d2_ops.batched_nms(corners, scores, idxs, threshold)
        assert d2_ops.batched_nms_rotated(boxes, scores, idxs, threshold).equal(expected)


@pytest.mark.parametrize("n", [63, 65, 257, 1025, 2500])
def test_block_and_thread_boundaries_change_nothing(n: int) -> None:
    boxes, scores = random_boxes(n, seed=n, image=700, side=100)
    assert d2_ops.nms_rotated(boxes, scores, 0.4).equal(oracle(boxes, scores, 0.4))
    idxs = torch.zeros(n, dtype=torch.int64)
    kept = d2_ops.batched_nms_rotated(boxes, scores, idxs, 0.4)
    assert kept.equal(d2_ops.nms_rotated(boxes, scores, 0.4))


def test_reference_values(golden: dict[str, Any]) -> None:
    values = golden["nms"]
    boxes, scores, idxs = values["rboxes"], values["scores"], values["idxs"]
    for threshold, expected in values["nms_rotated"].items():
        assert d2_ops.nms_rotated(boxes, scores, float(threshold)).equal(expected)
    for threshold, expected in values["batched_nms_rotated"].items():
        assert d2_ops.batched_nms_rotated(boxes, scores, idxs, float(threshold)).equal(expected)


def test_boxes_half_a_turn_apart_are_the_same_box() -> None:
    boxes = torch.tensor([[5.0, 3, 4, 2, 90], [5, 3, 4, 2, -90], [5, 3, 2, 4, 0], [5, 3, 4, 2, 0]])
    scores = torch.tensor([0.6, 0.9, 0.8, 0.7])
    assert d2_ops.nms_rotated(boxes, scores, 0.9).tolist() == [1, 3]


def test_boxes_that_are_not_finite_neither_drop_nor_are_dropped() -> None:
    boxes = torch.tensor([[0.0, 0, 4, 4, 0]] * 4)
    boxes[0, 4], boxes[2, 0] = math.nan, math.inf
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    assert d2_ops.nms_rotated(boxes, scores, 0.5).tolist() == [0, 1, 2]
    assert d2_ops.nms_rotated(boxes, scores, -1.0).tolist() == [0, 1, 2]


def test_large_coordinates_do_not_mix_classes() -> None:
    boxes = torch.tensor([[6e4, 6e4, 32, 64, 30]]).repeat(2, 1).half()
    scores, idxs = torch.tensor([0.9, 0.8]), torch.tensor([2**62, -(2**62)])
    assert d2_ops.batched_nms_rotated(boxes, scores, idxs, 0.5).tolist() == [0, 1]


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    boxes, scores = random_boxes(3000, image=1500)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = d2_ops.nms_rotated(boxes, scores, 0.5)
        torch.set_num_threads(4)
        assert d2_ops.nms_rotated(boxes, scores, 0.5).equal(alone)
    finally:
        torch.set_num_threads(threads)


BAD_ARGUMENTS: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (TypeError, "boxes must be a floating tensor", {"boxes": torch.zeros(3, 5).long()}),
    (TypeError, "scores must be a floating tensor", {"scores": [0.1, 0.2, 0.3]}),
    (TypeError, "idxs must be an integer tensor", {"idxs": torch.zeros(3)}),
    (ValueError, r"boxes must have shape \(N, 5\), got \(3, 4\)", {"boxes": torch.zeros(3, 4)}),
    (ValueError, r"scores must have shape \(3,\)", {"scores": torch.zeros(2)}),
    (ValueError, r"idxs must have shape \(3,\)", {"idxs": torch.zeros(2).long()}),
    (ValueError, "iou_threshold is NaN", {"iou_threshold": math.nan}),
]


@pytest.mark.parametrize(("error", "message", "change"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named(
    error: type[Exception], message: str, change: dict[str, Any]
) -> None:
    good = {
        "boxes": torch.zeros(3, 5),
        "scores": torch.zeros(3),
        "idxs": torch.zeros(3, dtype=torch.int64),
        "iou_threshold": 0.5,
    }
    with pytest.raises(error, match=message):
        d2_ops.batched_nms_rotated(**{**good, **change})


def test_the_bare_operator_checks_its_arguments_too(bare_error: type[Exception]) -> None:
    d2_ops.load_library()
    with pytest.raises(bare_error, match=r"nms_rotated: boxes must have shape \(N, 5\)"):
        torch.ops.d2_ops.nms_rotated(torch.zeros(3, 4), torch.zeros(3), 0.5)
    with pytest.raises(bare_error, match="idxs must be int64"):
        torch.ops.d2_ops.batched_nms_rotated(torch.zeros(3, 5), torch.zeros(3), torch.zeros(3), 0.5)


def test_opcheck() -> None:
    d2_ops.load_library()
    boxes, scores = random_boxes(20)
    idxs = torch.arange(20) % 3
    torch.library.opcheck(torch.ops.d2_ops.nms_rotated.default, (boxes, scores, 0.5))
    torch.library.opcheck(torch.ops.d2_ops.batched_nms_rotated.default, (boxes, scores, idxs, 0.5))


def test_compiles_in_one_graph_and_exports_with_dynamic_shapes() -> None:
    class Keep(torch.nn.Module):
        def forward(self, boxes: Tensor, scores: Tensor, idxs: Tensor) -> Tensor:
            kept = boxes[d2_ops.batched_nms_rotated(boxes, scores, idxs, 0.5)]
            return d2_ops.box_iou_rotated(kept, boxes)

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
@pytest.mark.parametrize("n", [0, 1, 64, 65, 2000])
@pytest.mark.parametrize("dtype", FLOATS)
def test_cuda_keeps_the_boxes_that_the_cpu_keeps(
    device: torch.device, n: int, dtype: torch.dtype
) -> None:
    boxes, scores = random_boxes(n, image=500)
    boxes, scores = boxes.to(dtype), (scores * 500).round()
    if n > 10:
        boxes[3, 4] = math.nan
        boxes[4, 2] = 0
    for classes in (1, 7):
        idxs = torch.arange(n) * 7919 % classes
        on_device = [t.to(device) for t in (boxes, scores, idxs)]
        kept = d2_ops.batched_nms_rotated(*on_device, 0.4)
        assert kept.cpu().equal(d2_ops.batched_nms_rotated(boxes, scores, idxs, 0.4))
        kept = d2_ops.nms_rotated(*on_device[:2], 0.4)
        assert kept.cpu().equal(d2_ops.nms_rotated(boxes, scores, 0.4))
