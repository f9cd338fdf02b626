"""Losses of RetinaNet and FCOS, added up anchor by anchor in float64."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.events import EventStorage
from d2_structures import Boxes, Instances

K = 3
KINDS = ["retinanet", "fcos"]
Build = Callable[..., Any]
Row = list[float]


def focal(logit: float, positive: bool, alpha: float, gamma: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    right = p if positive else 1 - p
    return -(alpha if positive else 1 - alpha) * (1 - right) ** gamma * math.log(right)


def smooth_l1(error: float, beta: float) -> float:
    error = abs(error)
    return 0.5 * error**2 / beta if error < beta else error - 0.5 * beta


def giou(a: Row, b: Row) -> float:
    """Rezatofighi et al., "Generalized Intersection over Union", 2019, algorithm 1."""
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (a, b)]
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    union = sum(areas) - shared
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return shared / union - (hull - union) / hull


def encoded(anchor: Row, box: Row) -> Row:
    """Girshick et al., "Rich feature hierarchies", 2014, appendix C."""
    sizes = [(b[2] - b[0], b[3] - b[1]) for b in (anchor, box)]
    middles = [((b[0] + b[2]) / 2, (b[1] + b[3]) / 2) for b in (anchor, box)]
    shifts = [(middles[1][axis] - middles[0][axis]) / sizes[0][axis] for axis in (0, 1)]
    return shifts + [math.log(sizes[1][axis] / sizes[0][axis]) for axis in (0, 1)]


def decoded(anchor: Row, deltas: Row) -> Row:
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    x = (anchor[0] + anchor[2]) / 2 + deltas[0] * width
    y = (anchor[1] + anchor[3]) / 2 + deltas[1] * height
    half = math.exp(deltas[2]) * width / 2, math.exp(deltas[3]) * height / 2
    return [x - half[0], y - half[1], x + half[0], y + half[1]]


def decoded_by_sides(anchor: Row, deltas: Row) -> Row:
    """Tian et al., "FCOS", 2019, equation 1, in units of the stride."""
    x, y = (anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2
    left, top, right, bottom = (delta * (anchor[2] - anchor[0]) for delta in deltas)
    return [x - left, y - top, x + right, y + bottom]


def centreness(anchor: Row, box: Row) -> float:
    """The same paper, equation 3."""
    x, y = (anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2
    across, down = (x - box[0], box[2] - x), (y - box[1], box[3] - y)
    return math.sqrt(min(across) / max(across) * min(down) / max(down))


class Problem:
    """Random predictions and labels for the anchors of two images of 16 by 16 pixels."""

    def __init__(self, model: Any, seed: int, *, ignored: bool) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.anchors = model.anchor_generator([torch.zeros(1, 4, n, n) for n in (4, 2)])
        self.sizes = [len(level) for level in self.anchors]
        count = sum(self.sizes)
        double: dict[str, Any] = {"generator": generator, "dtype": torch.float64}
        self.logits = 3 * torch.randn(2, count, K, **double)
        self.deltas = 0.1 + torch.rand(2, count, 4, **double)
        self.centreness = 2 * torch.randn(2, count, 1, **double)
        lowest = -1 if ignored else 0
        self.labels = torch.randint(lowest, K + 1, (2, count), generator=generator)
        middle = torch.cat([level.get_centers() for level in self.anchors])
        sides = 1 + 9 * torch.rand(2, count, 4, **double)
        self.boxes = torch.cat([middle - sides[..., :2], middle + sides[..., 2:]], dim=2)

    def levels(self, values: Tensor) -> Sequence[Tensor]:
        return values.split(self.sizes, dim=1)

    def losses(self, model: Any, *others: Tensor) -> dict[str, float]:
        found = model.losses(
            self.anchors,
            self.levels(self.logits),
            list(self.labels),
            self.levels(self.deltas),
            list(self.boxes),
            *map(self.levels, others),
        )
        return {name: loss.item() for name, loss in found.items()}

    def foreground(self) -> list[tuple[Row, Row, Row, float]]:
        """Anchor, box, deltas and logit of the centreness of every anchor with an object."""
        anchors = Boxes.cat(self.anchors).tensor.tolist()
        return [
            (
                anchors[row],
                self.boxes[image, row].tolist(),
                self.deltas[image, row].tolist(),
                float(self.centreness[image, row]),
            )
            for image, row in ((self.labels >= 0) & (self.labels < K)).nonzero().tolist()
        ]

    def focal(self, alpha: float, gamma: float) -> float:
        return sum(
            focal(logit, label == kind, alpha, gamma)
            for row, label in zip(
                self.logits.flatten(0, 1).tolist(), self.labels.flatten().tolist(), strict=True
            )
            if label >= 0
            for kind, logit in enumerate(row)
        )


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.1, 1.0]), st.sampled_from([0.25, 0.7]))
def test_retinanet_regresses_encodings_by_smooth_l1(
    build_dense: Build, seed: int, beta: float, alpha: float
) -> None:
    model = build_dense(
        "retinanet", smooth_l1_beta=beta, focal_loss_alpha=alpha, focal_loss_gamma=1.5
    ).double()
    problem = Problem(model, seed, ignored=True)
    foreground = problem.foreground()
    regression = sum(
        smooth_l1(delta - wanted, beta)
        for anchor, box, deltas, _ in foreground
        for delta, wanted in zip(deltas, encoded(anchor, box), strict=True)
    )
    normalizer = 0.9 * 100 + 0.1 * max(len(foreground), 1)
    found = problem.losses(model)
    assert found["loss_cls"] == pytest.approx(problem.focal(alpha, 1.5) / normalizer)
    assert found["loss_box_reg"] == pytest.approx(regression / normalizer)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6))
def test_retinanet_regresses_decoded_boxes_by_their_overlap(build_dense: Build, seed: int) -> None:
    model = build_dense("retinanet", box_reg_loss_type="giou", initial_normalizer=3.0).double()
    problem = Problem(model, seed, ignored=True)
    foreground = problem.foreground()
    wanted = sum(1 - giou(decoded(anchor, deltas), box) for anchor, box, deltas, _ in foreground)
    normalizer = 0.9 * 3 + 0.1 * max(len(foreground), 1)
    assert problem.losses(model)["loss_box_reg"] == pytest.approx(wanted / normalizer, rel=1e-5)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6))
def test_fcos_adds_the_cross_entropy_of_how_central_pixels_are(
    build_dense: Build, seed: int
) -> None:
    model = build_dense("fcos").double()
    problem = Problem(model, seed, ignored=False)
    foreground = problem.foreground()
    boxes = central = 0.0
    for anchor, box, deltas, logit in foreground:
        boxes += 1 - giou(decoded_by_sides(anchor, deltas), box)
        p, target = 1 / (1 + math.exp(-logit)), centreness(anchor, box)
        central -= target * math.log(p) + (1 - target) * math.log(1 - p)
    normalizer = 0.9 * 300 + 0.1 * max(len(foreground), 1)
    found = problem.losses(model, problem.centreness)
    assert found["loss_fcos_cls"] == pytest.approx(problem.focal(0.25, 2.0) / normalizer)
    assert found["loss_fcos_loc"] == pytest.approx(boxes / normalizer, rel=1e-5)
    assert found["loss_fcos_ctr"] == pytest.approx(central / normalizer)


def image_with(*boxes: tuple[float, ...], seed: int = 0) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "image": torch.rand(3, 32, 32, generator=generator, dtype=torch.float64),
        "instances": Instances(
            (32, 32),
            gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4)),
            gt_classes=torch.arange(len(boxes)) % K,
        ),
    }


def summed_losses(model: Any, batch: list[dict[str, Any]]) -> dict[str, float]:
    """Losses before they are divided."""
    losses = model.train()(batch)
    return {name: float(loss.detach() * model.loss_normalizer) for name, loss in losses.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_of_a_batch_are_those_of_its_images(build_dense: Build, kind: str) -> None:
    model = build_dense(kind).double()
    images = [
        image_with((2, 2, 12, 14), (10, 12, 30, 30)),
        image_with(seed=1),
        image_with((1, 3, 9, 10), seed=2),
    ]
    together = summed_losses(model, images)
    alone = [summed_losses(model, [image]) for image in images]
    for name, loss in together.items():
        assert loss == pytest.approx(sum(losses[name] for losses in alone)), name
        assert loss > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_normalizer_is_a_running_mean_over_batches(build_dense: Build, kind: str) -> None:
    model = build_dense(kind, initial_normalizer=20.0).double()
    batches = [
        [image_with((2, 2, 12, 14))],
        [image_with()],
        [image_with((2, 2, 12, 14)), image_with((1, 3, 29, 30), (8, 8, 16, 16))],
    ]
    wanted = 20.0
    for batch in batches:
        anchors = model.anchor_generator([torch.zeros(1, 4, n, n) for n in (8, 4)])
        labels, _ = model.label_anchors(anchors, [entry["instances"] for entry in batch])
        positive = sum(int(((of_image >= 0) & (of_image < K)).sum()) for of_image in labels)
        wanted = 0.9 * wanted + 0.1 * max(positive, 1)
        with EventStorage() as storage:
            model.train()(batch)
        assert float(model.loss_normalizer) == pytest.approx(wanted)
        assert storage.latest()["num_pos_anchors"][0] == pytest.approx(positive / len(batch))


@pytest.mark.parametrize("kind", KINDS)
def test_inference_leaves_the_normalizer_as_it_is(build_dense: Build, kind: str) -> None:
    model = build_dense(kind).double().eval()
    before = model.loss_normalizer.clone()
    with EventStorage() as storage:
        model([{"image": image_with()["image"]}])
    assert torch.equal(model.loss_normalizer, before)
    assert storage.latest() == {}


@pytest.mark.parametrize("kind", KINDS)
def test_training_needs_no_event_storage_and_leaves_inputs_alone(
    build_dense: Build, kind: str
) -> None:
    model = build_dense(kind).double().train()
    batch = [image_with((2, 2, 12, 14))]
    before = copy.deepcopy(batch)
    first = summed_losses(model, batch)
    assert torch.equal(batch[0]["image"], before[0]["image"])
    assert torch.equal(
        batch[0]["instances"].gt_boxes.tensor, before[0]["instances"].gt_boxes.tensor
    )
    assert summed_losses(model, batch) == pytest.approx(first)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_gives_losses_near_those_of_float32(
    build_dense: Build, kind: str, dtype: torch.dtype
) -> None:
    batch = [image_with((2, 2, 12, 14), (10, 12, 30, 30))]
    batch[0]["image"] = batch[0]["image"].float()
    wanted = summed_losses(build_dense(kind), batch)
    with torch.autocast("cpu", dtype=dtype):
        found = summed_losses(build_dense(kind), batch)
    for name, loss in wanted.items():
        assert found[name] == pytest.approx(loss, rel=0.02), name


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss_and_then_finds_the_object(build_dense: Build, kind: str) -> None:
    model = build_dense(kind, test_score_thresh=0.3).train()
    image = torch.zeros(3, 32, 32)
    image[1, 8:20, 4:16] = 4.0
    entry = image_with((4, 8, 16, 20)) | {"image": image}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        loss = sum(model([entry]).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach() * model.loss_normalizer))
    assert losses[-1] < 0.5 * losses[0]
    with torch.no_grad():
        (output,) = model.eval()([{"image": image}])
    best = output["instances"][0]
    assert best.pred_classes.tolist() == [0]
    assert giou(best.pred_boxes.tensor[0].tolist(), [4.0, 8, 16, 20]) > 0.4
