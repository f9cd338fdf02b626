import math

import numpy as np
import pytest

from d2_eval import PanopticQuality

SKY, CAR = 10, 20


def segment(number: int, category: int, **fields) -> dict:
    return {"id": number, "category_id": category, **fields}


def quality_of(truth: list, truth_segments: list, predicted: list, segments: list):
    quality = PanopticQuality([SKY, CAR])
    quality.add(np.array(truth), truth_segments, np.array(predicted), segments, "image 1")
    return quality


def test_a_perfect_prediction_has_quality_one():
    ids, segments = [[1, 1, 2, 2]], [segment(1, SKY), segment(2, CAR)]
    assert quality_of(ids, segments, ids, segments).average() == (1, 1, 1)


def test_a_match_counts_with_its_iou():
    quality = quality_of([[1, 1, 1, 0]], [segment(1, CAR)], [[5, 5, 0, 0]], [segment(5, CAR)])
    assert quality.of_category(CAR) == pytest.approx((2 / 3, 2 / 3, 1))


def test_an_iou_of_a_half_is_no_match():
    quality = quality_of([[1, 1]], [segment(1, CAR)], [[5, 0]], [segment(5, CAR)])
    assert quality.of_category(CAR) == (0, 0, 0)


def test_another_category_is_no_match():
    quality = quality_of([[1, 1]], [segment(1, CAR)], [[1, 1]], [segment(1, SKY)])
    assert quality.average() == (0, 0, 0)


def test_void_pixels_do_not_lower_the_iou():
    quality = quality_of([[1, 1, 0, 0]], [segment(1, CAR)], [[5, 5, 5, 5]], [segment(5, CAR)])
    assert quality.of_category(CAR) == (1, 1, 1)


def test_predictions_mostly_on_void_or_a_crowd_do_not_count():
    truth = [[0, 0, 0, 0], [7, 7, 7, 0]]
    crowd = [segment(7, CAR, iscrowd=1)]
    predicted = [[1, 1, 1, 1], [2, 2, 2, 2]]
    quality = quality_of(truth, crowd, predicted, [segment(1, CAR), segment(2, CAR)])
    assert all(math.isnan(value) for value in quality.of_category(CAR))


def test_the_average_is_over_categories_that_are_there():
    ids, segments = [[1, 1]], [segment(1, CAR)]
    quality = quality_of(ids, segments, ids, segments)
    assert quality.average() == (1, 1, 1)
    assert math.isnan(quality.average([SKY]).pq)


@pytest.mark.parametrize(
    ("predicted", "segments", "message"),
    [
        ([[3, 0]], [], r"image 1: no segment describes the predicted ids \{3\}"),
        ([[0, 0]], [segment(4, CAR)], r"the predicted segments \{4\} have no pixels"),
        ([[3, 3]], [segment(3, 99)], r"unknown categories \{99\}"),
        ([[3], [3]], [segment(3, CAR)], r"annotated are \(1, 2\) pixels, predicted \(2, 1\)"),
    ],
)
def test_inconsistent_predictions_are_named(predicted, segments, message):
    with pytest.raises(ValueError, match=message):
        quality_of([[1, 1]], [segment(1, CAR)], predicted, segments)
