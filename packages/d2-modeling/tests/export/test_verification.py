"""Rounding that turns near ties is no fault of a file; wrong boxes, classes and masks are."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_modeling.batched_selection import suppressed
from d2_modeling.export.detection_pairs import paired
from d2_modeling.export.verification import (
    COARSE,
    EXACT,
    NEAR,
    Tolerances,
    check_artefact,
    example_of,
    pictures_of,
    table_of,
)

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


def check(
    fault: Callable[[Outputs], None] | None = None,
    rounding: float = 0.0,
    tolerances: Tolerances = EXACT,
) -> None:
    graph: Any = Noisy()

    def run(*inputs: Tensor) -> list[Tensor]:
        outputs = graph.found(*inputs, rounding)
        if fault is not None and len(outputs["scores"]):
            fault(outputs)
        return list(outputs.values())

    example = torch.zeros(2, 3, 40, 50), torch.tensor([[40, 50], [30, 40]])
    check_artefact(graph, run, example, what="model.onnx", tolerances=tolerances)


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


def _backwards(outputs: Outputs) -> None:
    for name, value in outputs.items():
        outputs[name] = value.flip(0)


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
        (_backwards, "does not give detections by image and decreasing score"),
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


def _of_another_edge(outputs: Outputs) -> None:
    outputs["mask_probabilities"][:, :, 0] = 1 - outputs["mask_probabilities"][:, :, 0].round()


def _of_the_background(outputs: Outputs) -> None:
    outputs["mask_probabilities"] = 1 - outputs["mask_probabilities"]


def test_of_int8_an_edge_of_masks_may_be_elsewhere_but_not_all_of_them() -> None:
    check(_of_another_edge, tolerances=COARSE)
    with pytest.raises(ValueError, match="mask_probabilities"):
        check(_of_another_edge, tolerances=NEAR)
    with pytest.raises(ValueError, match="mask_probabilities"):
        check(_of_the_background, tolerances=COARSE)


class Segmenter(nn.Module):
    """Gives the images themselves as logits, or found things where pixels are bright."""

    output_names: tuple[str, ...] = ("sem_seg",)

    def forward(self, images: Tensor, *sizes: Tensor) -> tuple[Tensor, ...]:
        return (images.float(),)

    def expected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = self(*inputs)
        return outputs


def example() -> tuple[Tensor, Tensor]:
    images = torch.rand(2, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    images[1, :, 30:] = 0
    images[1, :, :, 40:] = 0
    return images, torch.tensor([[40, 50], [30, 40]])


def checked(run: Callable[..., Sequence[Tensor]], **options: Any) -> Any:
    graph: Any = options.pop("graph", None) or Segmenter()
    return check_artefact(graph, run, example(), what="model.pt2", **options)


def test_a_file_runs_on_other_sizes_numbers_and_on_nothing() -> None:
    asked: list[tuple[Tensor, Tensor]] = []

    def run(images: Tensor, sizes: Tensor) -> list[Tensor]:
        asked.append((images, sizes))
        return [images]

    differences = checked(run)
    assert list(differences) == [
        "the example",
        "higher images",
        "wider images",
        "no detection",
        "one image",
        "more images",
    ]
    assert all(found == {"sem_seg": 0.0} for found in differences.values())
    shapes = {
        case: tuple(images.shape) for case, (images, _) in zip(differences, asked, strict=True)
    }
    assert shapes["higher images"] == (2, 3, 56, 40)
    assert shapes["wider images"] == (2, 3, 28, 65)
    assert shapes["one image"] == (1, 3, 40, 50)
    assert shapes["more images"][0] == 3
    for case, (images, sizes) in zip(differences, asked, strict=True):
        assert len(sizes) == len(images)
        for image, (height, width) in zip(images, sizes.tolist(), strict=True):
            assert not image[:, height:].any()
            assert not image[:, :, width:].any()
            assert image[:, :height, :width].any() == (case != "no detection")


@pytest.mark.parametrize("error", [0.019, 0.021, float("inf"), float("nan")])
def test_a_difference_is_returned_or_named_with_its_case(error: float) -> None:
    def run(images: Tensor, sizes: Tensor) -> list[Tensor]:
        return [images + error if images.shape[2] == 56 else images]

    if error < 0.02:
        assert checked(run)["higher images"]["sem_seg"] == pytest.approx(error, rel=1e-4)
        return
    with pytest.raises(ValueError, match=r"model\.pt2 differs from the model on higher images"):
        checked(run)


def test_outputs_of_another_shape_differ_without_bound() -> None:
    with pytest.raises(ValueError, match="differs from the model on the example: {'sem_seg': inf}"):
        checked(lambda images, sizes: [images[:, :, :-1]])


def test_a_file_that_does_not_run_is_named_with_its_case_and_reason() -> None:
    def run(images: Tensor, sizes: Tensor) -> list[Tensor]:
        if len(images) == 1:
            raise RuntimeError("wants two images")
        return [images]

    with pytest.raises(
        ValueError, match="model.pt2 fails on one image: wants two images"
    ) as caught:
        checked(run)
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("count", [0, 2])
def test_a_file_that_gives_another_number_of_outputs_is_named(count: int) -> None:
    with pytest.raises(ValueError, match=f"model.pt2 on the example gives {count} outputs, not 1"):
        checked(lambda images, sizes: [images] * count)


def test_detections_in_empty_images_are_refused_however_few() -> None:
    graph = Noisy()

    def run(images: Tensor, sizes: Tensor) -> list[Tensor]:
        if sizes.any():
            return list(graph(images, sizes))
        return [each[:1] for each in graph(images, torch.ones_like(sizes))]

    with pytest.raises(ValueError, match="finds 1 things in images without any|no detection"):
        checked(run, graph=graph)


def test_coarse_tolerances_let_through_what_exact_ones_refuse() -> None:
    def run(images: Tensor, sizes: Tensor) -> list[Tensor]:
        return [images + 0.5]

    with pytest.raises(ValueError, match="sem_seg"):
        checked(run)
    with pytest.raises(ValueError, match="sem_seg"):
        checked(run, tolerances=NEAR)
    assert checked(run, tolerances=COARSE)["the example"]["sem_seg"] == pytest.approx(0.5)
    for name in EXACT.outputs:
        assert EXACT.outputs[name] <= NEAR.outputs[name] <= COARSE.outputs[name]


class Pictures(Segmenter):
    """Finds one thing wherever the first pixel is not 128, as a graph of pictures does."""

    output_names = ("boxes", "scores", "classes", "batch_index")

    def forward(self, images: Tensor, *sizes: Tensor) -> tuple[Tensor, ...]:
        index = (images[:, 0, 0, 0] != 128).nonzero()[:, 0]
        boxes = torch.tensor([[1.0, 2, 9, 8]]).expand(len(index), 4)
        return boxes, torch.full((len(index),), 0.5), torch.zeros_like(index), index


def test_pictures_are_checked_as_bytes_and_one_in_which_nothing_is_found() -> None:
    asked: list[Tensor] = []
    graph: Any = Pictures()

    def run(images: Tensor) -> tuple[Tensor, ...]:
        asked.append(images)
        return graph(images)  # type: ignore[no-any-return]  # a module's call

    pictures = torch.randint(0, 120, (2, 3, 40, 50), dtype=torch.uint8)
    differences = check_artefact(graph, run, (pictures,), what="model.onnx")
    assert "small images" in differences
    cases = dict(zip(differences, asked, strict=True))
    assert all(images.dtype == torch.uint8 for images in asked)
    assert cases["small images"].shape == (2, 3, 16, 25)
    assert cases["more images"].shape == (3, 3, 40, 50)
    assert (cases["no detection"] == 128).all()
    assert differences["no detection"]["scores"] == 0.0


class Finder(Pictures):
    """Finds one thing in every picture."""

    def forward(self, images: Tensor, *sizes: Tensor) -> tuple[Tensor, ...]:
        return super().forward(images.new_zeros(images.shape))


def test_a_model_that_finds_things_in_any_blank_picture_is_compared_there_too() -> None:
    graph: Any = Finder()
    pictures = torch.randint(0, 120, (2, 3, 40, 50), dtype=torch.uint8)
    check_artefact(graph, graph, (pictures,), what="model.onnx")

    def half_blind(images: Tensor) -> list[Tensor]:
        is_blank = bool((images == images.flatten()[0]).all())
        return [each[: 0 if is_blank else None] for each in graph(images)]

    with pytest.raises(ValueError, match="model.onnx on no detection differs from the model"):
        check_artefact(graph, half_blind, (pictures,), what="model.onnx")


class Statistics(nn.Module):
    """As much of a model as examples look at."""

    device = torch.device("cpu")
    pixel_mean = torch.zeros(3, 1, 1)


def test_one_example_is_taken_twice_so_that_batches_are_batches() -> None:
    image = torch.randint(0, 255, (3, 6, 8), dtype=torch.uint8)
    images, sizes = example_of(Statistics(), [{"image": image}])
    assert images.shape == (2, 3, 6, 8)
    assert images.dtype == torch.float32
    assert torch.equal(images[0], images[1])
    assert sizes.tolist() == [[6, 8], [6, 8]]
    images, sizes = example_of(Statistics(), [{"image": image}, {"image": image[:, :5, :7]}])
    assert sizes.tolist() == [[6, 8], [5, 7]]
    assert not images[1, :, 5:].any()


def test_an_example_picture_comes_with_its_mirror_image() -> None:
    image = torch.randint(0, 255, (3, 6, 8), dtype=torch.uint8)
    (pictures,) = pictures_of(Statistics(), [{"image": image}, {"image": image}])
    assert pictures.dtype == torch.uint8
    assert torch.equal(pictures[0], image)
    assert torch.equal(pictures[1], image.flip(2))


@pytest.mark.parametrize("make", [example_of, pictures_of])
def test_examples_that_are_none_are_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="needs at least one example image, got none"):
        make(Statistics(), [])
    with pytest.raises(ValueError, match=r"input 0 wants .* got \(1, 6, 8\)"):
        make(Statistics(), [{"image": torch.zeros(1, 6, 8)}])
    with pytest.raises(ValueError, match="input 0 wants a picture|input 0 wants an image of uint8"):
        pictures_of(Statistics(), [{"image": torch.zeros(3, 6, 8)}])


def test_a_table_has_a_line_for_each_case_and_a_column_for_each_output() -> None:
    table = table_of(
        {
            "the example": {"boxes": 0.0123, "scores": 0.0},
            "one image": {"boxes": 2.0, "scores": 3e-7},
        }
    )
    head, *lines = table.splitlines()
    assert head.split() == ["largest", "differences", "boxes", "scores"]
    assert [line.split() for line in lines] == [
        ["the", "example", "0.012", "0"],
        ["one", "image", "2", "3e-07"],
    ]
    assert len({len(line) for line in (head, *lines)}) == 1


def test_a_difference_is_kept_and_logged_where_that_is_asked_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def run(images: Tensor, sizes: Tensor) -> list[Tensor]:
        return [images + (images.shape[2] == 56)]

    with caplog.at_level(logging.WARNING, "d2_modeling.export.verification"):
        differences = checked(run, strict=False)
    assert differences["higher images"]["sem_seg"] == pytest.approx(1.0)
    assert len(differences) == 6
    (record,) = caplog.records
    assert record.getMessage().startswith("model.pt2 differs from the model on higher images: {")
    with pytest.raises(ValueError, match="strict=False .*--keep-different.* keeps it"):
        checked(run)


def test_a_file_that_does_not_run_is_never_kept() -> None:
    with pytest.raises(ValueError, match="gives 0 outputs, not 1"):
        checked(lambda images, sizes: [], strict=False)


def _of_one_other_score(outputs: Outputs) -> None:
    outputs["scores"][0] -= 0.5
    order = outputs["scores"].argsort(descending=True)
    for name, value in outputs.items():
        outputs[name] = value[order]


def test_of_int8_a_score_may_be_another_but_not_all_of_them() -> None:
    check(_of_one_other_score, tolerances=COARSE)
    with pytest.raises(ValueError, match="scores"):
        check(_of_one_other_score, tolerances=NEAR)
    with pytest.raises(ValueError, match="scores"):
        check(lambda outputs: outputs["scores"].sub_(0.5), tolerances=COARSE)
