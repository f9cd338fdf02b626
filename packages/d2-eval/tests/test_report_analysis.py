"""What the report counts, against tidecv, COCO's own numbers and sums done by hand."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from d2_eval import CocoGroundTruth, evaluate_coco_results
from d2_eval.report.analysis import label_errors
from d2_eval.report.analysis.compared import compared, with_box
from d2_eval.report.analysis.curves import parts_by_aspect, parts_by_count, parts_by_size
from d2_eval.report.analysis.errors import CORRECT, KINDS, find_errors
from d2_eval.report.analysis.operating_point import (
    best_confidence,
    calibration,
    confusion_counts,
    outcome,
)
from d2_eval.report.analysis.overlaps import overlapping_pairs
from d2_eval.report.analysis.resampling import average_precisions, draw_images, interval, matched

# Written by tidecv 1.0.1: AP50, then what each kind of error costs, then how many there are.
TIDE_BOXES = (
    64.20498881733425,
    (22.2460397441685, 0.22789102370710168, 0, 0.018972971237033676, 0, 8.523573787723365),
    (83, 1, 0, 1, 0, 97),
    (6.821587524510463, 17.684978535217184),
)
TIDE_MASKS = (
    51.80081155512982,
    (16.186000852974, 11.600722789459, 1.012850952151, 0, 0.268110748831, 7.778639338018),
    (76, 82, 7, 0, 4, 109),
    (8.660366141587232, 23.74583810883663),
)
_SHORT_NAMES = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")


def read(shared_data, kind):
    folder = shared_data / "data" / "coco54"
    results = json.loads((folder / f"instances_val2014_fake{kind}100_results.json").read_text())
    return CocoGroundTruth.load(folder / "instances_val2014_100.json"), results


def errors_of(truth, results, task):
    both = compared(truth, results, task)
    pairs = overlapping_pairs(both, 0.1)
    return both, pairs, find_errors(both, pairs)


def random_files(folder, seed):
    """Few images, scores and places, so that ties are frequent; some classes stay empty."""
    draw = np.random.default_rng(seed)
    images = [
        {"id": int(i), "file_name": f"{i}.png", "height": 60, "width": 60}
        for i in draw.permutation(4)
    ]
    categories = [{"id": i, "name": f"c{i}"} for i in range(1, 5)]

    def box():
        x, y = draw.integers(0, 6, 2) * 4
        return [float(x), float(y), *(float(v) for v in draw.integers(2, 6, 2) * 4)]

    def place():
        return {
            "image_id": int(draw.integers(4)),
            "category_id": int(draw.integers(1, 4)),
            "bbox": box(),
        }

    annotations = []
    for number in range(1, int(draw.integers(2, 15))):
        one = place() | {"id": number, "iscrowd": int(draw.random() < 0.15)}
        x, y, w, h = one["bbox"]
        one |= {"area": w * h, "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
        annotations.append(one)
    results = [
        (
            place()
            if draw.random() < 0.4
            else dict(annotations[int(draw.integers(len(annotations)))])
        )
        | {"score": int(draw.integers(0, 6)) / 5}
        for _ in range(int(draw.integers(1, 25)))
    ]
    results = [{k: r[k] for k in ("image_id", "category_id", "bbox", "score")} for r in results]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "results.json").write_text(json.dumps(results))
    return folder / "truth.json", folder / "results.json", results


# ------------------------------------------------------------------ kinds of errors


@pytest.mark.parametrize(
    ("kind", "task", "expected"), [("bbox", "bbox", TIDE_BOXES), ("segm", "segm", TIDE_MASKS)]
)
def test_errors_cost_what_tidecv_says(shared_data, kind, task, expected):
    errors = errors_of(*read(shared_data, kind), task)[2]
    ap, costs, counts, special = expected
    assert errors.average_precision == pytest.approx(ap, abs=1e-9)
    assert list(errors.costs) == list(KINDS)
    assert list(errors.costs.values()) == pytest.approx(costs, abs=1e-9)
    assert tuple(errors.counts.values()) == counts
    false = errors.cost_of_false_positives, errors.cost_of_false_negatives
    assert false == pytest.approx(special, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_errors_are_tidecvs_with_ties_crowds_and_empty_classes(tmp_path_factory, seed):
    tidecv = pytest.importorskip("tidecv", reason="compares with tidecv, which is not installed")
    truth_file, results_file, results = random_files(tmp_path_factory.mktemp("tide"), seed)
    errors = errors_of(CocoGroundTruth.load(truth_file), results, "bbox")[2]
    files = tidecv.datasets.COCO(str(truth_file)), tidecv.datasets.COCOResult(str(results_file))
    try:
        run = tidecv.TIDE().evaluate(*files, mode=tidecv.TIDE.BOX)
        named = {kind.short_name: cost for kind, cost in run.fix_main_errors().items()}
        special = {kind.short_name: cost for kind, cost in run.fix_special_errors().items()}
    except ZeroDivisionError:  # nothing counts, or nothing but what is mended
        reject()
    numbers = {kind.short_name: number for kind, number in run.count_errors().items()}
    assert errors.average_precision == pytest.approx(run.ap, abs=1e-9)
    assert list(errors.costs.values()) == pytest.approx([named[s] for s in _SHORT_NAMES], abs=1e-9)
    assert list(errors.counts.values()) == [numbers[short] for short in _SHORT_NAMES]
    assert errors.cost_of_false_positives == pytest.approx(special["FalsePos"], abs=1e-9)
    assert errors.cost_of_false_negatives == pytest.approx(special["FalseNeg"], abs=1e-9)


def test_each_kind_of_error_is_told(coco_content, tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps(coco_content))

    def result(image_id, category_id, *box, score):
        return {"image_id": image_id, "category_id": category_id, "bbox": box, "score": score}

    results = [
        result(1, 3, 10, 10, 20, 20, score=0.9),  # right
        result(1, 3, 11, 10, 20, 20, score=0.8),  # the same again
        result(1, 3, 50, 20, 40, 40, score=0.7),  # a dog taken for a cat
        result(1, 3, 70, 40, 40, 40, score=0.6),  # beside the dog, and taken for a cat
        result(1, 7, 0, 60, 20, 20, score=0.5),  # nothing is there
        result(2, 3, 50, 30, 40, 40, score=0.4),  # a cat, but beside it
    ]
    errors = errors_of(CocoGroundTruth.load(tmp_path / "truth.json"), results, "bbox")[2]
    kinds = ["correct" if kind == CORRECT else KINDS[kind] for kind in errors.kinds]
    expected = ["correct", "duplicate", "classification", "both", "background", "localisation"]
    assert kinds == expected
    assert errors.partners.tolist() == [0, 0, 1, -1, -1, 2]
    assert not errors.missed.any()


# ---------------------------------------------------------------- parts and resampling


@pytest.mark.parametrize(("kind", "task"), [("bbox", "bbox"), ("segm", "segm")])
def test_every_image_once_gives_cocos_average_precision(shared_data, kind, task):
    truth, results = read(shared_data, kind)
    curves = evaluate_coco_results(truth, results, task)
    both, pairs, _ = errors_of(truth, results, task)
    once = average_precisions(matched(both, pairs), np.ones((1, len(both.images)), int))[0]
    for label, name in enumerate(curves.class_names):
        expected = [
            curves.average_precision(iou=iou, class_name=name) for iou in curves.iou_thresholds
        ]
        np.testing.assert_allclose(once[label], expected, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_images_drawn_twice_count_as_two_images(tmp_path_factory, seed):
    folder = tmp_path_factory.mktemp("twice")
    truth_file, _, results = random_files(folder, seed)
    # Of equal scores that of the earlier image counts as the higher, and copies have others.
    results = [result | {"score": 1 / (2 + number)} for number, result in enumerate(results)]
    truth = CocoGroundTruth.load(truth_file)
    both, pairs, _ = errors_of(truth, results, "bbox")
    draws = np.random.default_rng(seed).integers(0, 3, (1, len(both.images)))
    content = json.loads(truth_file.read_text())
    copies = {"images": [], "categories": content["categories"], "annotations": []}
    copied_results = []
    for image, times in zip(both.images, draws[0].tolist(), strict=True):
        for copy in range(times):
            name = image["id"] * 10 + copy
            copies["images"].append(image | {"id": name})
            for annotation in content["annotations"]:
                if annotation["image_id"] == image["id"]:
                    number = len(copies["annotations"]) + 1
                    copies["annotations"].append(annotation | {"id": number, "image_id": name})
            copied_results += [
                r | {"image_id": name} for r in results if r["image_id"] == image["id"]
            ]
    (folder / "copies.json").write_text(json.dumps(copies))
    curves = evaluate_coco_results(
        CocoGroundTruth.load(folder / "copies.json"), copied_results, "bbox"
    )
    got = average_precisions(matched(both, pairs), draws)[0]
    for label, name in enumerate(curves.class_names):
        expected = curves.average_precision(class_name=name)
        np.testing.assert_allclose(got[label].mean(), expected, atol=1e-9)


def test_draws_keep_the_number_of_images_and_repeat_with_their_seed():
    draws = draw_images(7, 20, seed=3)
    assert draws.shape == (20, 7)
    assert (draws.sum(axis=1) == 7).all()
    assert (draws == draw_images(7, 20, seed=3)).all()
    assert (draws != draw_images(7, 20, seed=4)).any()


def test_an_interval_holds_95_percent_of_what_is_known():
    values = np.r_[np.arange(1001.0), np.nan]
    assert interval(values) == (25.0, 975.0)
    assert np.isnan(interval(np.array([np.nan]))).all()


@pytest.mark.parametrize(("kind", "task"), [("bbox", "bbox"), ("segm", "segm")])
def test_sizes_are_cocos_small_medium_and_large(shared_data, kind, task):
    truth, results = read(shared_data, kind)
    metrics = evaluate_coco_results(truth, results, task).metrics()
    parts = parts_by_size(compared(truth, results, task))
    assert [part.name for part in parts] == ["small", "medium", "large"]
    expected = [metrics["APs"], metrics["APm"], metrics["APl"]]
    assert [part.ap for part in parts] == pytest.approx(expected, abs=1e-9)


def test_each_object_has_one_aspect_and_one_number_of_objects_beside_it(shared_data):
    truth, results = read(shared_data, "bbox")
    both = compared(truth, results, "bbox")
    total = int((~both.truths.crowd).sum())
    for parts in (parts_by_aspect(both), parts_by_count(both)):
        assert sum(part.objects for part in parts) == total
        assert all(0 <= part.ap <= part.ap50 <= 100 for part in parts if part.objects)


# --------------------------------------------------------------- what a user sees


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_confusions_count_every_object_and_every_shown_prediction_once(tmp_path_factory, seed):
    truth_file, _, results = random_files(tmp_path_factory.mktemp("confusions"), seed)
    both, pairs, errors = errors_of(CocoGroundTruth.load(truth_file), results, "bbox")
    confidence = best_confidence(both, errors)
    counts = confusion_counts(outcome(both, pairs, errors, confidence), len(both.class_names))
    objects = np.bincount(both.truths.classes[~both.truths.crowd], minlength=4)
    shown = (both.detections.scores >= confidence) & ~errors.excused
    found = np.bincount(both.detections.classes[shown], minlength=4)
    assert counts[:-1].sum(axis=1).tolist() == objects.tolist()
    assert counts[:, :-1].sum(axis=0).tolist() == found.tolist()
    assert counts[-1, -1] == 0
    right = (errors.kinds == CORRECT) & shown
    assert counts[:-1, :-1].trace() == right.sum()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_no_confidence_has_a_better_f1_than_the_best(tmp_path_factory, seed):
    truth_file, _, results = random_files(tmp_path_factory.mktemp("f1"), seed)
    both, _, errors = errors_of(CocoGroundTruth.load(truth_file), results, "bbox")
    total = int((~both.truths.crowd).sum())
    counted = ~errors.excused

    def f1(confidence):
        shown = counted & (both.detections.scores >= confidence)
        right = (shown & (errors.kinds == CORRECT)).sum()
        return 2 * right / max(shown.sum() + total, 1)

    best = f1(best_confidence(both, errors))
    assert best == max([f1(score) for score in both.detections.scores])


def test_calibration_compares_confidence_with_the_share_that_is_right(coco_content, tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps(coco_content))
    box = {"image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 20]}
    results = [box | {"score": 0.95}, box | {"score": 0.92, "image_id": 2}, box | {"score": 0.2}]
    both, _, errors = errors_of(CocoGroundTruth.load(tmp_path / "truth.json"), results, "bbox")
    bins, error = calibration(both, errors)
    assert [b.number for b in bins] == [0, 0, 1, 0, 0, 0, 0, 0, 0, 2]
    assert bins[9].precision == 0.5
    assert bins[9].confidence == pytest.approx(0.935)
    assert error == pytest.approx(100 * (2 * 0.435 + 0.2) / 3)


def test_annotations_are_suspected_for_three_reasons(coco_content, tmp_path):
    (tmp_path / "truth.json").write_text(json.dumps(coco_content))
    results = [
        {"image_id": 1, "category_id": 3, "bbox": [50, 20, 40, 40], "score": 0.9},
        {"image_id": 1, "category_id": 7, "bbox": [0, 60, 20, 20], "score": 0.8},
        {"image_id": 2, "category_id": 7, "bbox": [0, 0, 20, 20], "score": 0.1},
        {"image_id": 1, "category_id": 3, "bbox": [10, 10, 20, 20], "score": 0.9},
    ]
    both, pairs, errors = errors_of(CocoGroundTruth.load(tmp_path / "truth.json"), results, "bbox")
    found = label_errors.suspicions(both, pairs, errors, 0.5)
    assert Counter(one.kind for one in found) == {
        label_errors.UNLABELLED: 1,
        label_errors.OTHER_CLASS: 1,
        label_errors.UNFOUND: 1,
    }
    other = next(one for one in found if one.kind == label_errors.OTHER_CLASS)
    assert both.truths.ids[other.truth] == 2
    unfound = next(one for one in found if one.kind == label_errors.UNFOUND)
    assert both.truths.ids[unfound.truth] == 3


def test_results_without_boxes_get_those_around_keypoints_and_masks():
    keypoints = {"keypoints": [4.0, 5.0, 1.0, 10.0, 9.0, 0.5]}
    assert with_box(keypoints)["bbox"] == [4.0, 5.0, 6.0, 4.0]
    mask = {"segmentation": {"size": [4, 5], "counts": [5, 2, 2, 2, 9]}}
    assert with_box(mask)["bbox"] == [1, 1, 2, 2]
    assert with_box({"bbox": [1, 2, 3, 4]}) == {"bbox": [1, 2, 3, 4]}
