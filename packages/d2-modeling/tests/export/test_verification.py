"""Rounding that turns near ties is no fault of a file; wrong boxes, classes and masks are."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_modeling.batched_selection import suppressed
from d2_modeling.export.detection_pairs import paired
from d2_modeling.export.verification import EXACT, NEAR, check_artefact

Outputs = dict[str, Tensor]
_DETECTIONS = 60


class Noisy(nn.Module):
    """A detector of noise: clusters of boxes whose scores are nearly the same."""

    output_names = ("boxes", "scores", "classes", "batch_index", "mask_probabilities")

    def forward(self, images: Tensor, image_sizes: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.found(images, image_sizes, 0.0).values())

    def expected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = self(*inputs)
        return outputs

    def found(self, images: Tensor, image_sizes: Tensor, rounding: float) -> Outputs:
        count = _DETECTIONS * int(image_sizes.any())
        random = torch.Generator().manual_seed(images.shape[2])
        corner = torch.rand(count, 1, 2, generator=random) * 1500
        moved = corner + torch.rand(count, 3, 2, generator=random) * 6
        boxes = torch.cat([moved, moved + 60], dim=2).flatten(0, 1)
        scores = torch.rand(count, 1, generator=random).expand(-1, 3).reshape(-1)
        # One cluster of twenty is a near tie.
        apart = torch.arange(3) * 1e-2 * (torch.arange(count)[:, None] % 20 > 0)
        scores = scores + apart.flatten() + rounding * torch.rand(3 * count, generator=random)
        classes = torch.arange(3 * count) // 3 % 3
        index = torch.zeros(3 * count, dtype=torch.int64)
        kept = suppressed(
            *(boxes, scores, classes, index),
            num_images=1,
            num_categories=3,
            nms_thresh=0.5,
            limit=100,
        )
        rows = (
            kept.rows
            if kept.counts is None
            else kept.rows[: int(torch.as_tensor(kept.counts).sum())]
        )
        masks = torch.rand(3 * count, 1, 4, 4, generator=random)
        parts = boxes, scores, classes, index, masks
        return dict(zip(self.output_names, (part[rows] for part in parts), strict=True))


def check(fault: Callable[[Outputs], None] | None = None, rounding: float = 0.0) -> None:
    graph: Any = Noisy()

    def run(*inputs: Tensor) -> list[Tensor]:
        outputs = graph.found(*inputs, rounding)
        if fault is not None and len(outputs["scores"]):
            fault(outputs)
        return list(outputs.values())

    example = torch.zeros(2, 3, 40, 50), torch.tensor([[40, 50], [30, 40]])
    check_artefact(graph, run, example, what="model.onnx")


def test_boxes_that_rounding_chose_among_near_ties_are_no_fault() -> None:
    graph = Noisy()
    inputs = torch.zeros(1, 3, 40, 50), torch.tensor([[40, 50]])
    exact, rounded = graph.found(*inputs, 0.0), graph.found(*inputs, 1e-5)
    pairs = paired(exact, rounded, within=0.1, score_margin=1e-3)
    assert pairs.alone > 0  # otherwise nothing is shown here
    assert pairs.unexplained == 0
    check(rounding=1e-5)


def _shifted(outputs: Outputs) -> None:
    outputs["boxes"] += 1.5


def _swapped_within_a_class(outputs: Outputs) -> None:
    (rows,) = (outputs["classes"] == 0).nonzero(as_tuple=True)
    outputs["boxes"][rows[[0, -1]]] = outputs["boxes"][rows[[-1, 0]]]


def _swapped_among_classes(outputs: Outputs) -> None:
    rows = [int((outputs["classes"] == each).nonzero()[0, 0]) for each in (0, 1)]
    outputs["boxes"][rows] = outputs["boxes"][rows[::-1]]


def _of_another_class(outputs: Outputs) -> None:
    outputs["classes"] = (outputs["classes"] + 1) % 3


def _of_the_next_mask(outputs: Outputs) -> None:
    outputs["mask_probabilities"] = outputs["mask_probabilities"].roll(1, dims=0)


def _of_half_score(outputs: Outputs) -> None:
    outputs["scores"] *= 0.5


def _twice(outputs: Outputs) -> None:
    for name, value in outputs.items():
        outputs[name] = torch.cat([value, value])


def _invented(outputs: Outputs) -> None:
    outputs["boxes"][3:5] = torch.tensor([[3000.0, 900.0, 3050.0, 960.0]])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_shifted, "detections have no partner within 0.1 pixels"),
        (_swapped_within_a_class, "differs from the model"),
        (_swapped_among_classes, "detections have no partner, nor a rival"),
        (_of_another_class, "no partner"),
        (_of_the_next_mask, "mask_probabilities"),
        (_of_half_score, "scores"),
        (_twice, "no partner"),
        (_invented, "nor a rival"),
    ],
)
def test_a_fault_is_refused(fault: Callable[[Outputs], None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check(fault)
    with pytest.raises(ValueError, match=message):
        check(fault, rounding=1e-5)


def test_a_file_without_a_fault_is_kept() -> None:
    check()


def _one(box: list[float], score: float = 0.9) -> Outputs:
    zero = torch.zeros(1, dtype=torch.int64)
    parts = torch.tensor([box]), torch.tensor([score]), zero, zero
    return dict(zip(Noisy.output_names, parts, strict=False))


@pytest.mark.parametrize(
    ("moved", "is_same"), [(0.09, True), (0.3, False)], ids=["a little", "too far"]
)
def test_how_far_a_box_may_move_grows_with_its_size(moved: float, is_same: bool) -> None:
    small, large = [0.0, 0.0, 200.0, 100.0], [0.0, 0.0, 2048.0, 100.0]
    for box in (small, large):
        other = [box[0] + moved, *box[1:]]
        pairs = paired(_one(box), _one(other), within=0.1, score_margin=1e-3)
        assert (len(pairs.rows) == 1) == (is_same or box is large)


def test_a_detection_at_the_threshold_may_be_missing() -> None:
    kept, last = _one([0.0, 0.0, 9.0, 9.0], 0.9), _one([50.0, 50.0, 90.0, 90.0], 0.3)
    both = {name: torch.cat([kept[name], last[name]]) for name in kept}
    low = _one([0.0, 0.0, 9.0, 9.0], 0.2999)
    low = {name: torch.cat([kept[name], low[name]]) for name in kept}
    limits = {"within": 0.1, "score_margin": EXACT.outputs["scores"]}
    assert paired(both, low, **limits)[2:] == (2, 0)
    assert paired(both, kept, **limits)[2:] == (1, 0)
    high = {name: value.flip(0) for name, value in both.items()}
    high["scores"] = torch.tensor([0.95, 0.9])
    assert paired(high, kept, **limits)[2:] == (1, 1)


def test_rounding_of_fewer_bits_is_allowed_more() -> None:
    assert NEAR.unmatched > EXACT.unmatched
    assert NEAR.outputs["boxes"] > EXACT.outputs["boxes"]
