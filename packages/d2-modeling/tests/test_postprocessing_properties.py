"""Detections and logits at other resolutions: what is scaled, what is left, what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling import detector_postprocess, sem_seg_postprocess
from d2_modeling.export.quiet import quiet_torchscript
from d2_modeling.host_waits import remember
from d2_modeling.postprocessing import postprocess_images
from d2_structures import Boxes, Instances, ROIMasks, RotatedBoxes

Draw = Callable[..., Tensor]

SIZE = (40, 60)


def detections(boxes: Tensor, **fields: Any) -> Instances:
    return Instances(SIZE, pred_boxes=Boxes(boxes), scores=torch.arange(len(boxes)), **fields)


@given(
    st.integers(0, 8), st.integers(0, 10**6), st.tuples(st.integers(1, 200), st.integers(1, 200))
)
@settings(max_examples=30, deadline=None)
def test_boxes_and_keypoints_are_scaled_one_by_one(
    random_boxes: Draw, count: int, seed: int, wanted: tuple[int, int]
) -> None:
    boxes = random_boxes(count, seed, 70.0) - 10
    points = torch.rand(count, 3, 3, generator=torch.Generator().manual_seed(seed)) * 50
    output = detector_postprocess(detections(boxes, pred_keypoints=points), *wanted)
    x_factor, y_factor = wanted[1] / SIZE[1], wanted[0] / SIZE[0]
    kept, scaled = [], []
    for row, (x1, y1, x2, y2) in enumerate(boxes.double().tolist()):
        box = [
            min(max(value * factor, 0.0), limit)
            for value, factor, limit in zip(
                (x1, y1, x2, y2), (x_factor, y_factor) * 2, wanted[::-1] * 2, strict=True
            )
        ]
        if box[2] > box[0] and box[3] > box[1]:
            kept.append(row)
            scaled.append(box)
    assert output.image_size == wanted
    assert output.scores.tolist() == kept
    expected = torch.tensor(scaled, dtype=torch.float64).view(-1, 4)
    torch.testing.assert_close(output.pred_boxes.tensor.double(), expected, rtol=1e-5, atol=1e-4)
    factors = torch.tensor([x_factor, y_factor, 1.0])
    torch.testing.assert_close(output.pred_keypoints, points[kept] * factors)


def test_at_the_same_size_inner_boxes_stay_as_they_are(random_boxes: Draw) -> None:
    boxes = random_boxes(9, 0, 20.0)
    output = detector_postprocess(detections(boxes), *SIZE)
    assert output.pred_boxes.tensor.equal(boxes)


def test_there_and_back_again_is_where_one_was(random_boxes: Draw) -> None:
    boxes = random_boxes(9, 0, 20.0)
    there = detector_postprocess(detections(boxes), 400, 90)
    back = detector_postprocess(there, *SIZE)
    torch.testing.assert_close(back.pred_boxes.tensor, boxes)
    assert back.image_size == SIZE


@pytest.mark.parametrize("lasting", [False, True])
def test_images_are_processed_as_alone(lasting: bool, random_boxes: Draw) -> None:
    images, sizes = [], [(80, 90), (20, 33), (41, 61)]
    for index, count in enumerate((3, 0, 5)):
        boxes = Boxes(random_boxes(count, index, 20.0))
        masks = torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(index))
        images.append(Instances(SIZE, pred_boxes=boxes, pred_masks=masks))
        if lasting:  # then nothing is asked of the device
            remember(boxes.tensor, True)
    together = postprocess_images(images, sizes)
    for image, size, got in zip(images, sizes, together, strict=True):
        wanted = detector_postprocess(image, *size)
        assert got.image_size == size
        assert got.pred_boxes.tensor.equal(wanted.pred_boxes.tensor)
        assert got.pred_masks.equal(wanted.pred_masks)
        assert got.pred_masks.shape == (len(image), *size)


def test_no_images_are_none() -> None:
    assert postprocess_images([], []) == []


def test_each_image_needs_a_size() -> None:
    with pytest.raises(ValueError):
        postprocess_images([detections(torch.ones(1, 4))], [])


@pytest.mark.parametrize("size", [(0, 0), (0, 30), (30, 0)])
def test_an_output_without_pixels_has_no_detections(size: tuple[int, int]) -> None:
    boxes = torch.tensor([[2.0, 2, 30, 30]])
    masks = torch.ones(1, 1, 4, 4)
    for lasting in (False, True):
        given_boxes = detections(boxes.clone(), pred_masks=masks)
        if lasting:
            remember(given_boxes.pred_boxes.tensor, True)
        output = detector_postprocess(given_boxes, *size)
        assert len(output) == 0
        assert output.pred_masks.shape == (0, *size)


def test_rotated_boxes_are_scaled_clipped_and_dropped_as_such() -> None:
    boxes = RotatedBoxes([[30.0, 20, 10, 8, 90], [30, 20, 10, 8, 0], [90, 20, 10, 8, 0]])
    results = Instances(SIZE, pred_boxes=boxes, scores=torch.arange(3))
    output = detector_postprocess(results, 80, 60)
    assert isinstance(output.pred_boxes, RotatedBoxes)
    assert output.scores.tolist() == [0, 1]  # the last lies outside
    wanted = torch.tensor([[30.0, 40, 20, 8, 90], [30, 40, 10, 16, 0]])
    torch.testing.assert_close(output.pred_boxes.tensor, wanted, rtol=1e-5, atol=1e-4)
    assert boxes.tensor[0].tolist() == [30, 20, 10, 8, 90]


def test_other_fields_come_along_unchanged() -> None:
    boxes = torch.tensor([[2.0, 2, 30, 30], [70, 2, 90, 30], [1, 1, 9, 9]])
    extra = torch.randn(3, 2)
    names = ["a", "b", "c"]
    output = detector_postprocess(detections(boxes, extra=extra, names=names), 80, 120)
    assert output.extra.equal(extra[[0, 2]])
    assert list(output.names) == ["a", "c"]
    assert output.scores.tolist() == [0, 2]


def test_proposals_are_processed_like_detections_and_come_second(random_boxes: Draw) -> None:
    boxes = random_boxes(4, 0, 20.0)
    proposals = Instances(SIZE, proposal_boxes=Boxes(boxes))
    output = detector_postprocess(proposals, 80, 120)
    torch.testing.assert_close(output.proposal_boxes.tensor, boxes * 2)
    both = Instances(SIZE, proposal_boxes=Boxes(boxes), pred_boxes=Boxes(boxes))
    output = detector_postprocess(both, 80, 120)
    torch.testing.assert_close(output.pred_boxes.tensor, boxes * 2)
    assert output.proposal_boxes.tensor.equal(boxes)


@pytest.mark.parametrize("as_roi_masks", [False, True])
def test_a_pixel_belongs_to_a_mask_from_the_threshold_on(as_roi_masks: bool) -> None:
    values = torch.full((1, 4, 4), 0.625)
    masks: Any = ROIMasks(values) if as_roi_masks else values[:, None]
    results = detections(torch.tensor([[10.0, 10, 30, 30]]), pred_masks=masks)
    inner = slice(15, 25)
    for threshold, wanted in ((0.5, True), (0.625, True), (0.626, False), (0.9, False)):
        output = detector_postprocess(results, *SIZE, mask_threshold=threshold)
        assert output.pred_masks.dtype == torch.bool
        assert bool(output.pred_masks[0, inner, inner].all()) == wanted
        assert not output.pred_masks[0, :8].any()


def test_masks_are_pasted_into_scaled_and_clipped_boxes() -> None:
    """A box that leaves the image has its mask squeezed into what is left."""
    results = detections(torch.tensor([[40.0, 10, 80, 30]]), pred_masks=torch.ones(1, 1, 4, 4))
    output = detector_postprocess(results, 80, 120)
    assert output.pred_boxes.tensor.tolist() == [[80, 20, 120, 60]]
    assert output.pred_masks[0, 25:55, 90:115].all()
    assert not output.pred_masks[0, :, :75].any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_boxes_that_are_not_finite_are_refused(value: float) -> None:
    boxes = torch.tensor([[2.0, 2, 30, 30], [2, value, 30, 30]])
    good = detections(torch.tensor([[2.0, 2, 30, 30]]))
    with pytest.raises(ValueError, match="Boxes"):
        detector_postprocess(detections(boxes), *SIZE)
    with pytest.raises(ValueError, match="Boxes"):
        postprocess_images([good, detections(boxes)], [SIZE, SIZE])


def test_a_negative_output_size_is_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        detector_postprocess(detections(torch.ones(1, 4)), -1, 20)


def test_detections_without_boxes_are_named_by_their_fields() -> None:
    with pytest.raises(ValueError, match=r"need pred_boxes or proposal_boxes, got the fields \['m"):
        detector_postprocess(Instances(SIZE, mine=torch.zeros(1)), 20, 20)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_masks_of_half_precision_are_pasted(dtype: torch.dtype) -> None:
    boxes, masks = torch.tensor([[5.0, 5, 35, 35]]), torch.rand(1, 1, 7, 7).round()
    half = detector_postprocess(detections(boxes, pred_masks=masks.to(dtype)), 80, 120)
    full = detector_postprocess(detections(boxes, pred_masks=masks), 80, 120)
    assert half.pred_masks.equal(full.pred_masks)


def test_a_trace_holds_for_other_sizes() -> None:
    def process(boxes: Tensor, scores: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
        results = Instances((40, 60), pred_boxes=Boxes(boxes), scores=scores)
        output = detector_postprocess(results, size[0], size[1])  # type: ignore[arg-type]  # traced
        return output.pred_boxes.tensor, output.scores

    boxes = torch.tensor([[2.0, 2, 30, 30], [70, 2, 90, 30]])
    scores = torch.tensor([0.9, 0.8])
    arguments = (boxes, scores, torch.tensor([80, 120]))
    with quiet_torchscript():
        traced = torch.jit.trace(process, arguments, check_trace=False)
    for size in (torch.tensor([80, 120]), torch.tensor([20, 30])):
        got, got_scores = traced(boxes, scores, size)
        wanted = detector_postprocess(
            Instances((40, 60), pred_boxes=Boxes(boxes), scores=scores), *size.tolist()
        )
        torch.testing.assert_close(got, wanted.pred_boxes.tensor)
        assert got_scores.equal(wanted.scores)


def resized_by_hand(rows: list[list[float]], size: tuple[int, int]) -> list[list[float]]:
    """Bilinear samples at the centres of the wanted pixels."""

    def sample(length: int, wanted: int, index: int) -> tuple[int, int, float]:
        place = max((index + 0.5) * length / wanted - 0.5, 0.0)
        low = min(int(place), length - 1)
        return low, min(low + 1, length - 1), place - low

    result = []
    for y in range(size[0]):
        top, bottom, v = sample(len(rows), size[0], y)
        line = []
        for x in range(size[1]):
            left, right, u = sample(len(rows[0]), size[1], x)
            upper = rows[top][left] * (1 - u) + rows[top][right] * u
            lower = rows[bottom][left] * (1 - u) + rows[bottom][right] * u
            line.append(upper * (1 - v) + lower * v)
        result.append(line)
    return result


@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(0, 10**6),
)
@settings(max_examples=25, deadline=None)
def test_logits_are_resized_without_their_padding(
    image: tuple[int, int], wanted: tuple[int, int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    padded = torch.randn(2, 8, 8, generator=generator, dtype=torch.float64)
    got = sem_seg_postprocess(padded, image, *wanted)
    assert got.shape == (2, *wanted)
    for channel, result in zip(padded, got, strict=True):
        rows = channel[: image[0], : image[1]].tolist()
        expected = torch.tensor(resized_by_hand(rows, wanted), dtype=torch.float64)
        torch.testing.assert_close(result, expected)


def test_logits_of_an_unpadded_image_stay_as_they_are() -> None:
    logits = torch.randn(3, 5, 7)
    torch.testing.assert_close(sem_seg_postprocess(logits, (5, 7), 5, 7), logits)
