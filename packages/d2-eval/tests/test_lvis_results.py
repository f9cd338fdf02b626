"""LVIS' metrics: values of lvis 0.5.3, an independent loop, the rules one by one."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_eval import CocoGroundTruth, evaluate_lvis_files, evaluate_lvis_results
from d2_eval.lvis import lvis_scores
from d2_eval.lvis import results as results_module


def annotation(number, image_id, category_id, bbox):
    x, y, width, height = bbox
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": bbox,
        "area": width * height,
        "segmentation": [[x, y, x + width, y, x, y + height]],
    }


def result(image_id, category_id, bbox, score):
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}


def content_of(annotations, negative=(), partial=(), images=(1, 2)):
    return {
        "images": [
            {
                "id": image,
                "height": 100,
                "width": 100,
                "neg_category_ids": [c for i, c in negative if i == image],
                "not_exhaustive_category_ids": [c for i, c in partial if i == image],
            }
            for image in images
        ],
        "categories": [
            {"id": 1, "name": "anvil", "frequency": "r"},
            {"id": 2, "name": "buckle", "frequency": "c"},
            {"id": 3, "name": "candle", "frequency": "f"},
        ],
        "annotations": annotations,
    }


@pytest.fixture
def scores(tmp_path):
    def evaluate(content, results, task="bbox", **options):
        path = tmp_path / "lvis.json"
        path.write_text(json.dumps(content))
        truth = CocoGroundTruth.load(path)
        return lvis_scores(truth, evaluate_lvis_results(truth, results, task, **options))

    return evaluate


BOX = [10, 10, 20, 20]
ELSEWHERE = [60, 60, 20, 20]


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_real_annotations_give_the_figures_of_lvis(shared_data, task):
    folder = shared_data / "data" / "lvis"
    expected = json.loads((folder / "reference.json").read_text())[task]
    got = evaluate_lvis_files(folder / "synthetic_results.json", folder / "lvis_val_100.json")
    assert got[task] == pytest.approx({k: 100 * expected[k] for k in got[task]}, abs=1e-12)
    curves = evaluate_lvis_results(
        folder / "lvis_val_100.json", folder / "synthetic_results.json", task
    )
    recalls = {"AR@300": "all", "ARs@300": "small", "ARm@300": "medium", "ARl@300": "large"}
    for name, area in recalls.items():
        assert curves.average_recall(area=area) == pytest.approx(100 * expected[name], abs=1e-12)


def test_detections_of_classes_that_nobody_looked_for_do_not_count(scores):
    truth = [annotation(1, 1, 1, BOX)]
    found = [result(1, 1, BOX, 0.5), result(1, 2, BOX, 0.9), result(2, 1, BOX, 0.9)]
    assert scores(content_of(truth), found)["AP"] == pytest.approx(100)
    assert scores(content_of(truth, negative=[(2, 1)]), found)["AP"] < 51


def test_a_miss_is_no_error_where_a_class_is_not_exhaustive(scores):
    truth = [annotation(1, 1, 1, BOX)]
    found = [result(1, 1, ELSEWHERE, 0.9), result(1, 1, BOX, 0.5)]
    assert scores(content_of(truth), found)["AP"] == pytest.approx(50, abs=1)
    assert scores(content_of(truth, partial=[(1, 1)]), found)["AP"] == pytest.approx(100)


def test_classes_are_averaged_by_their_frequency(scores):
    truth = [annotation(1, 1, 1, BOX), annotation(2, 1, 3, BOX)]
    got = scores(content_of(truth), [result(1, 1, BOX, 0.5)])
    assert (got["APr"], got["APf"], got["AP"]) == pytest.approx((100, 0, 50))
    assert math.isnan(got["APc"])


def test_the_limit_is_of_an_image_and_all_its_classes(scores):
    truth = [annotation(1, 1, 1, BOX), annotation(2, 1, 2, BOX)]
    found = [result(1, 1, BOX, 0.5), result(1, 2, BOX, 0.6)]
    assert scores(content_of(truth), found, max_detections=1)["AP"] == pytest.approx(50)
    assert scores(content_of(truth), found, max_detections=2)["AP"] == pytest.approx(100)


def test_fixed_ap_has_a_limit_for_each_class_only(scores, monkeypatch):
    truth = [annotation(1, 1, 1, BOX), annotation(2, 1, 2, BOX), annotation(3, 2, 1, BOX)]
    found = [result(1, 1, BOX, 0.5), result(1, 2, BOX, 0.6), result(2, 1, BOX, 0.4)]
    assert scores(content_of(truth), found, max_detections=1)["AP"] < 100
    assert scores(content_of(truth), found, max_detections=1, fixed=True)["AP"] == pytest.approx(
        100
    )
    monkeypatch.setattr(results_module, "DETECTIONS_PER_CLASS", 1)
    fixed = scores(content_of(truth), found, fixed=True)
    assert fixed["APc"] == pytest.approx(100)
    assert fixed["APr"] == pytest.approx(100 * 51 / 101)  # the better of two


def test_masks_are_as_large_as_their_boxes_unless_asked_for(scores):
    from d2_ops.host import polygons_to_rle

    big = [10, 10, 40, 40]  # as a box 1600, medium; the triangle in it 800, small
    truth = [{**annotation(1, 1, 1, big), "area": 800}]
    miss = polygons_to_rle([[60, 60, 99, 60, 60, 99]], 100, 100)
    hit = polygons_to_rle(truth[0]["segmentation"], 100, 100)
    found = [
        {**result(1, 1, big, 0.9), "segmentation": miss},
        {**result(1, 1, big, 0.5), "segmentation": hit},
    ]
    assert scores(content_of(truth), found, "segm")["APs"] == pytest.approx(100)
    by_mask = scores(content_of(truth), found, "segm", mask_areas=True)["APs"]
    assert by_mask == pytest.approx(50, abs=1)


def test_without_detections_classes_that_are_there_score_nothing(scores):
    got = scores(content_of([annotation(1, 1, 1, BOX)]), [])
    assert got["AP"] == 0
    assert math.isnan(got["APf"])


def test_annotations_of_another_dataset_are_named(scores):
    content = content_of([annotation(1, 1, 1, BOX)])
    del content["images"][1]["neg_category_ids"]
    with pytest.raises(ValueError, match="image 2 of 'lvis' has no 'neg_category_ids'.*COCO's"):
        scores(content, [])


def test_an_unknown_task_is_named(tmp_path):
    with pytest.raises(ValueError, match="'bbox' and 'segm', got 'keypoints'"):
        evaluate_lvis_results(tmp_path / "any.json", [], "keypoints")


def test_files_name_the_result_that_does_not_fit(tmp_path):
    (tmp_path / "lvis.json").write_text(json.dumps(content_of([annotation(1, 1, 1, BOX)])))
    (tmp_path / "results.json").write_text(json.dumps([result(7, 1, BOX, 0.5)]))
    with pytest.raises(ValueError, match="result 0 has image_id 7") as error:
        evaluate_lvis_files(tmp_path / "results.json", tmp_path / "lvis.json")
    assert "results.json" in error.value.__notes__[0]


def test_a_mask_that_cannot_be_read_is_named(scores):
    broken = {**result(1, 1, BOX, 0.5), "segmentation": {"size": [100, 100], "counts": "zzz"}}
    with pytest.raises(ValueError, match="result 0 has a mask that cannot be read"):
        scores(content_of([annotation(1, 1, 1, BOX)]), [broken], "segm", mask_areas=True)


# Against an independent loop in float64


def overlap(a, b):
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


def reference_ap(content, results, category, limit, threshold):
    """AP of one class by LVIS' rules, in plain Python."""
    kept = []
    for image in content["images"]:
        of_image = [r for r in results if r["image_id"] == image["id"]]
        kept += sorted(of_image, key=lambda r: -r["score"])[:limit]
    marked, objects = [], 0
    for image in content["images"]:
        free = [
            a["bbox"]
            for a in content["annotations"]
            if (a["image_id"], a["category_id"]) == (image["id"], category)
        ]
        objects += len(free)
        if not free and category not in image["neg_category_ids"]:
            continue
        for one in kept:
            if (one["image_id"], one["category_id"]) != (image["id"], category):
                continue
            overlaps = [overlap(one["bbox"], box) for box in free]
            best = max(range(len(free)), key=lambda i: (overlaps[i], i), default=None)
            if best is not None and overlaps[best] >= threshold:
                del free[best]
                marked.append((one["score"], 1))
            elif category not in image["not_exhaustive_category_ids"]:
                marked.append((one["score"], 0))
    if not objects:
        return math.nan
    marked.sort(key=lambda pair: -pair[0])
    true = np.cumsum([right for _, right in marked])
    precision = true / np.arange(1, len(marked) + 1)
    points = []
    for wanted in np.linspace(0, 1, 101):
        reached = [p for p, t in zip(precision, true, strict=True) if t / objects >= wanted]
        first = len(precision) - len(reached)
        points.append(max(precision[first:], default=0.0))
    return 100 * float(np.mean(points))


places = st.tuples(st.integers(1, 2), st.integers(1, 3))
boxes = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(3, 15)] * 2).map(list)


@settings(max_examples=60, deadline=None)
@given(
    truth=st.lists(st.tuples(places, boxes), min_size=1, max_size=6, unique_by=str),
    found=st.lists(st.tuples(places, boxes, st.integers(1, 5)), max_size=9),
    negative=st.sets(places, max_size=3),
    partial=st.sets(places, max_size=3),
    limit=st.integers(1, 6),
)
def test_average_precision_follows_the_rules(
    tmp_path_factory, truth, found, negative, partial, limit
):
    annotations = [annotation(i, *place, box) for i, (place, box) in enumerate(truth, 1)]
    content = content_of(annotations, sorted(negative), sorted(partial))
    results = [result(*place, box, score / 10) for place, box, score in found]
    path = tmp_path_factory.mktemp("rules") / "lvis.json"
    path.write_text(json.dumps(content))
    curves = evaluate_lvis_results(path, results, "bbox", max_detections=limit)
    for index, name in enumerate(curves.class_names):
        for threshold in (0.5, 0.75):
            expected = reference_ap(content, results, index + 1, limit, threshold)
            got = curves.average_precision(iou=threshold, class_name=name)
            assert got == pytest.approx(expected, abs=1e-9, nan_ok=True)
