"""Pascal VOC's metrics: the original's figures, the formulas, an independent loop."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data import Metadata
from d2_eval import PascalVOCDetectionEvaluator
from d2_eval.pascal_voc import (
    VocBoxes,
    VocObjects,
    area_under_curve,
    eleven_point_average,
    voc_average_precision,
)


@pytest.mark.parametrize("folder", ["VOC2007", "VOC2012"])
@pytest.mark.parametrize("year", [2007, 2012])
def test_golden_predictions_give_the_originals_figures(golden, golden_instances, folder, year):
    expected = golden("pascal_voc", "expected.json")[folder]
    metadata = Metadata(
        name=folder,
        dirname=str(golden("pascal_voc", folder)),
        split=expected["split"],
        thing_classes=expected["thing_classes"],
        year=year,
    )
    evaluator = PascalVOCDetectionEvaluator(metadata)
    evaluator.reset()
    for entry in golden("pascal_voc", folder, "predictions.json.gz"):
        evaluator.process([entry], [{"instances": golden_instances(entry)}])
    figures = expected[f"year={year}"]
    assert evaluator.evaluate()["bbox"] == pytest.approx(figures["bbox"], abs=1e-10)
    for name, by_threshold in figures["ap_per_class"].items():
        for threshold, value in by_threshold.items():
            got = evaluator.ap_per_class[name][float(threshold)]
            assert got == pytest.approx(100 * value, abs=1e-10)


# The formulas


def test_eleven_points_take_the_best_precision_at_each_recall():
    recall, precision = np.array([0.25, 0.5, 0.5, 0.75]), np.array([1, 1, 2 / 3, 3 / 4])
    # recalls 0 … 0.5 are reached with precision 1, 0.6 and 0.7 with 3/4, more never
    assert eleven_point_average(recall, precision) == pytest.approx((6 * 1 + 2 * 0.75) / 11)


def test_the_area_is_below_the_best_precision_at_any_higher_recall():
    recall, precision = np.array([0.25, 0.5, 0.5, 0.75]), np.array([1, 1 / 2, 1 / 3, 3 / 5])
    assert area_under_curve(recall, precision) == pytest.approx(0.25 * 1 + 0.5 * 0.6)


@pytest.mark.parametrize("average", [eleven_point_average, area_under_curve])
def test_averages_without_detections_and_of_perfect_ones(average):
    assert average(np.empty(0), np.empty(0)) == 0
    assert average(np.array([0.5, 1.0]), np.ones(2)) == pytest.approx(1)


# An independent loop


def loop_overlap(box, other):
    width = min(box[2], other[2]) - max(box[0], other[0]) + 1
    height = min(box[3], other[3]) - max(box[1], other[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)]
    return width * height / (sum(areas) - width * height)


def loop_average_precision(objects, detections, threshold, eleven_points):
    found, marks = set(), []
    for image, box, _ in sorted(detections, key=lambda entry: -entry[2]):
        overlaps = {
            number: loop_overlap(box, other)
            for number, (where, other, _) in enumerate(objects)
            if where == image
        }
        best = max(overlaps, key=overlaps.__getitem__, default=None)
        if best is None or overlaps[best] <= threshold:
            marks.append(0)
        elif not objects[best][2]:
            marks.append(0 if best in found else 1)
            found.add(best)
    wanted = sum(not difficult for _, _, difficult in objects)
    points = [(sum(marks[:n]) / wanted, sum(marks[:n]) / n) for n in range(1, len(marks) + 1)]
    if eleven_points:
        levels = [max([p for r, p in points if r >= 0.1 * k], default=0.0) for k in range(11)]
        return sum(levels) / 11
    area, reached = 0.0, 0.0
    for recall, _ in points:
        area += (recall - reached) * max(p for r, p in points if r >= recall)
        reached = recall
    return area


corners = st.tuples(*[st.integers(1, 12)] * 2, *[st.integers(1, 12)] * 2).map(
    lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3])
)


@settings(max_examples=150, deadline=None)
@given(
    objects=st.lists(st.tuples(st.integers(0, 2), corners, st.booleans()), min_size=1, max_size=7),
    found=st.lists(st.tuples(st.integers(0, 3), corners, st.integers(1, 5)), max_size=10),
    eleven_points=st.booleans(),
)
def test_average_precision_equals_a_loop_over_the_rules(objects, found, eleven_points):
    got = voc_average_precision(
        VocObjects(
            np.array([one[0] for one in objects]),
            np.array([one[1] for one in objects], float).reshape(-1, 4),
            np.array([one[2] for one in objects], bool),
        ),
        VocBoxes(
            np.array([one[0] for one in found], int),
            np.array([one[1] for one in found], float).reshape(-1, 4),
            np.array([one[2] for one in found], float),
        ),
        [0.5, 0.75],
        eleven_points=eleven_points,
    )
    if all(difficult for _, _, difficult in objects):
        assert np.isnan(got).all()
        return
    for value, threshold in zip(got, (0.5, 0.75), strict=True):
        expected = loop_average_precision(objects, found, threshold, eleven_points)
        assert value == pytest.approx(expected, abs=1e-12)


# The evaluator


@pytest.fixture
def dataset(tmp_path):
    """Write a dataset of two images in VOC's format; return its metadata."""

    def write(*objects, **metadata):
        (tmp_path / "Annotations").mkdir()
        (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
        (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("one\ntwo\n")
        for image in ("one", "two"):
            entries = "".join(
                f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox>"
                + "".join(
                    f"<{side}>{value}</{side}>"
                    for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
                )
                + "</bndbox></object>"
                for where, name, box, difficult in objects
                if where == image
            )
            (tmp_path / "Annotations" / f"{image}.xml").write_text(
                "<annotation><size><width>100</width><height>80</height></size>"
                f"{entries}</annotation>"
            )
        given_values = {"split": "val", "year": 2012, "thing_classes": ["cat", "dog"], **metadata}
        return Metadata(name="pets", dirname=str(tmp_path), **given_values)

    return write


def run(metadata, detections, outputs):
    evaluator = PascalVOCDetectionEvaluator(metadata)
    evaluator.reset()
    for image, rows in outputs:
        evaluator.process([{"image_id": image}], [{"instances": detections(*rows)}])
    return evaluator, evaluator.evaluate().get("bbox")


def test_a_box_counts_pixels_from_1_and_the_last_one_too(dataset, detections):
    metadata = dataset(("one", "cat", (11, 21, 30, 40), 0))
    _, scores = run(metadata, detections, [("one", [(10, 20, 30, 40, 0.9, 0)])])
    assert scores == pytest.approx({"AP": 100, "AP50": 100, "AP75": 100})


def test_a_second_detection_of_an_object_is_wrong_and_of_a_difficult_one_nothing(
    dataset, detections
):
    metadata = dataset(("one", "cat", (11, 21, 30, 40), 0), ("one", "cat", (51, 21, 70, 40), 1))
    twice = [(10, 20, 30, 40, 0.9, 0), (10, 20, 30, 40, 0.8, 0), (50, 20, 70, 40, 0.95, 0)]
    evaluator, scores = run(metadata, detections, [("one", twice)])
    assert scores["AP50"] == pytest.approx(100)  # the duplicate comes behind full recall
    assert math.isnan(evaluator.ap_per_class["dog"][0.5])


def test_classes_without_objects_do_not_count(dataset, detections):
    metadata = dataset(("one", "cat", (11, 21, 30, 40), 0))
    found = [("one", [(10, 20, 30, 40, 0.9, 0), (10, 20, 30, 40, 0.9, 1)])]
    assert run(metadata, detections, found)[1]["AP"] == pytest.approx(100)


def test_without_any_object_there_is_no_figure(dataset, detections):
    scores = run(dataset(), detections, [("one", [(10, 20, 30, 40, 0.9, 0)])])[1]
    assert math.isnan(scores["AP"])


def test_nothing_predicted_is_zero(dataset, detections):
    metadata = dataset(("one", "cat", (11, 21, 30, 40), 0))
    assert run(metadata, detections, [])[1]["AP"] == 0
    assert run(metadata, detections, [("one", [])])[1]["AP"] == 0


def test_the_year_decides_on_the_average(dataset, detections):
    boxes = [("one", "cat", (11, 21, 30, 40), 0), ("two", "cat", (11, 21, 30, 40), 0)]
    metadata = dataset(*boxes, year="2012")
    found = [("one", [(10, 20, 30, 40, 0.9, 0)])]  # half of the objects
    assert run(metadata, detections, found)[1]["AP"] == pytest.approx(50)
    older = Metadata(**{**metadata.as_dict(), "year": 2007})
    assert run(older, detections, found)[1]["AP"] == pytest.approx(100 * 6 / 11)


def test_an_image_processed_twice_counts_once(dataset, detections):
    metadata = dataset(("one", "cat", (11, 21, 30, 40), 0), ("two", "cat", (11, 21, 30, 40), 0))
    one = ("one", [(10, 20, 30, 40, 0.9, 0)])
    two = ("two", [(10, 20, 30, 40, 0.5, 0)])
    assert run(metadata, detections, [one, one, two])[1]["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 0, 9, 9, math.nan, 0)], "image 'one' have scores that are not finite"),
        ([(0, 0, math.inf, 9, 0.5, 0)], "image 'one' have boxes that are not finite"),
        ([(0, 0, 9, 9, 0.5, 2)], r"image 'one' has class 2, but 'pets' has 2 classes \(0..1\)"),
    ],
)
def test_predictions_that_cannot_be_are_named(dataset, detections, rows, message):
    with pytest.raises(ValueError, match=message):
        run(dataset(), detections, [("one", rows)])


def test_an_image_that_the_split_lacks_is_named(dataset, detections):
    with pytest.raises(ValueError, match=r"image 'three'.*'pets', split 'val'.*\['one', 'two'\]"):
        run(dataset(), detections, [("three", [])])


@pytest.mark.parametrize("key", ["dirname", "split", "year", "thing_classes"])
def test_what_the_metadata_lacks_is_named(dataset, key):
    values = dataset().as_dict()
    del values[key]
    with pytest.raises(ValueError, match=f"'pets' has no '{key}'.*register_pascal_voc"):
        PascalVOCDetectionEvaluator(Metadata(**values))


def test_a_year_that_is_no_number_is_named(dataset):
    with pytest.raises(ValueError, match="year 'latest', wanted a number"):
        PascalVOCDetectionEvaluator(dataset(year="latest"))


def test_process_comes_after_reset(dataset, detections):
    evaluator = PascalVOCDetectionEvaluator(dataset())
    with pytest.raises(RuntimeError, match="reset"):
        evaluator.process([{"image_id": "one"}], [{"instances": detections()}])
