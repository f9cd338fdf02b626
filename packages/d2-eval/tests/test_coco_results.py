import gzip
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data import Metadata
from d2_eval import CocoGroundTruth, CocoSettings, evaluate_coco_results
from d2_ops.host import polygons_to_rle


@pytest.fixture
def json_file(tmp_path, coco_content):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(coco_content))
    return path


def box_result(image_id: int, category_id: int, bbox: list[float], score: float) -> dict:
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}


PERFECT = [
    box_result(1, 3, [10, 10, 20, 20], 0.9),
    box_result(1, 7, [50, 20, 40, 40], 0.8),
    box_result(2, 3, [30, 30, 40, 40], 0.7),
]


# Against values of the official tools


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_coco_sample_results_give_the_official_numbers(shared_data, task):
    folder = shared_data / "data" / "coco54"
    reference = json.loads((folder / "reference.json").read_text())[f"fake{task}_100"]
    curves = evaluate_coco_results(
        folder / "instances_val2014_100.json",
        folder / f"instances_val2014_fake{task}100_results.json",
        task,
    )
    for name, value in curves.metrics().items():
        assert value == pytest.approx(100 * reference[name], abs=1e-9)
    for limit in (1, 10, 100):
        recall = curves.average_recall(max_detections=limit)
        assert recall == pytest.approx(100 * reference[f"AR{limit}"], abs=1e-9)
    for suffix, area in {"s": "small", "m": "medium", "l": "large"}.items():
        recall = curves.average_recall(area=area)
        assert recall == pytest.approx(100 * reference[f"AR{suffix}"], abs=1e-9)


@pytest.mark.parametrize(
    ("name", "truth", "results"),
    [
        (
            "faster_coco_eval",
            "faster_coco_eval/gt_dataset.json",
            "faster_coco_eval/dt_dataset.json",
        ),
        ("mmpose_coco_jitter", "mmpose_coco/test_coco.json", "mmpose_coco/jitter_results.json"),
    ],
)
def test_keypoint_results_give_the_official_numbers(shared_data, name, truth, results):
    folder = shared_data / "data" / "keypoints"
    reference = json.loads((folder / "reference.json").read_text())[name]
    curves = evaluate_coco_results(folder / truth, folder / results, "keypoints")
    assert list(curves.metrics()) == ["AP", "AP50", "AP75", "APm", "APl"]
    for metric, value in curves.metrics().items():
        assert value == pytest.approx(100 * reference[metric], abs=1e-9)
    assert curves.average_recall() == pytest.approx(100 * reference["AR"], abs=1e-9)
    assert curves.average_recall(iou=0.5) == pytest.approx(100 * reference["AR50"], abs=1e-9)


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_precision_and_recall_equal_the_golden_arrays(shared_data, tmp_path, task):
    with gzip.open(shared_data / "golden" / "coco_eval_inputs.json.gz") as stream:
        inputs = json.load(stream)
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(inputs["gt"]))
    curves = evaluate_coco_results(truth, inputs["dt"], task)
    with np.load(shared_data / "golden" / "coco_eval.npz") as golden:
        stats = golden[f"{task}/pycocotools/stats"]
        np.testing.assert_allclose(curves.precision, golden[f"{task}/precision"], atol=1e-7)
        np.testing.assert_allclose(curves.recall, golden[f"{task}/pycocotools/recall"], atol=1e-7)
    np.testing.assert_allclose(list(curves.metrics().values()), 100 * stats[:6], atol=1e-5)


# Against the definition


def average_precision(truth: list, found: list, threshold: float) -> float:
    """AP of one class in one image by its definition: greedy matching, 101 recall points."""
    found = sorted(found, key=lambda entry: -entry[1])
    free, hits = list(truth), []
    for box, _ in found:
        overlaps = [intersection_over_union(box, other) for other in free]
        best = max(range(len(free)), key=lambda i: (overlaps[i], i), default=None)
        hit = best is not None and overlaps[best] >= threshold - 1e-10
        hits.append(hit)
        if hit:
            del free[best]
    true = np.cumsum(hits)
    recall = true / len(truth)
    precision = true / np.arange(1, len(hits) + 1)
    best_after = [precision[i:].max() for i in range(len(hits))]
    points = []
    for wanted in np.linspace(0, 1, 101):
        reached = np.flatnonzero(recall >= wanted)
        points.append(best_after[reached[0]] if len(reached) else 0.0)
    return float(np.mean(points))


def intersection_over_union(a: tuple, b: tuple) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    return common / (a[2] * a[3] + b[2] * b[3] - common)


boxes_xywh = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(2, 12)] * 2)


@settings(max_examples=40, deadline=None)
@given(
    truth=st.lists(boxes_xywh, min_size=1, max_size=5, unique=True),
    found=st.lists(boxes_xywh, min_size=1, max_size=8),
)
def test_average_precision_follows_its_definition(tmp_path_factory, truth, found):
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 30, "width": 30}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": list(box), "iscrowd": 0}
            for i, box in enumerate(truth)
        ],
    }
    path = tmp_path_factory.mktemp("definition") / "truth.json"
    path.write_text(json.dumps(content))
    scored = [(box, 1 - 0.1 * i) for i, box in enumerate(found)]
    results = [box_result(1, 1, list(box), score) for box, score in scored]
    curves = evaluate_coco_results(path, results, "bbox")
    for iou in (0.5, 0.75):
        expected = 100 * average_precision(truth, scored, iou)
        assert curves.average_precision(iou=iou) == pytest.approx(expected, abs=1e-6)


# The two implementations


def assert_same_numbers(truth, results, task: str, **options) -> None:
    official = evaluate_coco_results(truth, results, task, use_fast_impl=False, **options)
    fast = evaluate_coco_results(truth, results, task, use_fast_impl=True, **options)
    for name in ("precision", "recall", "scores", "iou_thresholds", "recall_thresholds"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(official, name), err_msg=name)
    for name in ("task", "class_names", "areas", "max_detections"):
        assert getattr(fast, name) == getattr(official, name)


@pytest.fixture
def scene(tmp_path):
    """Build a dataset with crowds, and results near its objects with many equal scores."""

    def build(seed: int, keypoints: int = 0) -> tuple[CocoGroundTruth, list[dict]]:
        rng = np.random.default_rng(seed)
        annotations, results = [], []
        for number in range(60):
            x, y, w, h = (int(v) for v in rng.integers(1, 60, 4))
            place = {
                "image_id": int(rng.integers(5)),
                "category_id": int(rng.choice([2, 5, 9])),
            }
            triangle = [x, y, x + w, y, x + w, y + h]
            annotation = {**place, "id": number, "bbox": [x, y, w, h], "area": w * h / 2}
            annotation["segmentation"] = [triangle]
            annotation["iscrowd"] = int(rng.random() < 0.1)
            points = np.c_[rng.uniform(0, 100, (keypoints, 2)), rng.integers(0, 3, keypoints)]
            annotation["keypoints"] = (points * [1, 1, rng.random() < 0.8]).ravel().tolist()
            annotation["num_keypoints"] = sum(v > 0 for v in annotation["keypoints"][2::3])
            annotations.append(annotation)
            for _ in range(rng.integers(0, 5)):
                box = np.maximum(rng.normal([x, y, w, h], 3), 1)
                corners = (np.array(triangle) + rng.integers(-3, 4, 6)).tolist()
                rle = polygons_to_rle([corners], 128, 128)
                results.append(
                    {
                        **place,
                        "bbox": box.tolist(),
                        "segmentation": {**rle, "counts": rle["counts"].decode()},
                        "keypoints": (points + rng.normal(0, 2, points.shape)).ravel().tolist(),
                        "score": float(rng.integers(1, 9)) / 10,
                    }
                )
        content = {
            "images": [{"id": i, "height": 128, "width": 128} for i in (4, 2, 0, 1, 3)],
            "categories": [{"id": i, "name": f"class {i}"} for i in (9, 2, 5)],
            "annotations": annotations,
        }
        path = tmp_path / "scene.json"
        path.write_text(json.dumps(content))
        metadata = Metadata(
            name="scene",
            json_file=str(path),
            thing_classes=["nine", "two"],  # category 5 is not evaluated
            thing_dataset_id_to_contiguous_id={9: 0, 2: 1},
        )
        return CocoGroundTruth.load(metadata), results

    return build


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("task", ["bbox", "segm", "boundary"])
def test_both_implementations_give_the_same_numbers(scene, task, seed):
    truth, results = scene(seed)
    assert_same_numbers(truth, results, task)
    assert_same_numbers(truth, results, task, max_detections=2, image_ids=[3, 1, 77])
    assert_same_numbers(truth, [], task)


def test_agreement_of_outlines_is_never_above_that_of_masks(scene):
    truth, results = scene(1)
    masks, outlines = (evaluate_coco_results(truth, results, task) for task in ("segm", "boundary"))
    assert 0 < outlines.average_precision() < masks.average_precision()
    assert (outlines.recall <= masks.recall).all()


def test_outlines_that_cover_whole_masks_score_as_masks_do(scene):
    truth, results = scene(0)
    masks = evaluate_coco_results(truth, results, "segm")
    wide = evaluate_coco_results(truth, results, CocoSettings("boundary", boundary_ratio=1.0))
    np.testing.assert_array_equal(wide.precision, masks.precision)
    np.testing.assert_array_equal(wide.scores, masks.scores)


@pytest.mark.parametrize("left_out", [[], ["bbox"], ["bbox", "segmentation"]])
@pytest.mark.parametrize("count", [3, 17])
def test_both_implementations_give_the_same_numbers_for_keypoints(scene, count, left_out):
    truth, results = scene(0, count)
    del truth.coco.anns[1]["keypoints"], truth.coco.anns[1]["num_keypoints"]
    for result in results:  # what is there decides about the detection's area
        for field in left_out:
            del result[field]
    sigmas = np.linspace(0.02, 0.1, count)
    assert_same_numbers(truth, results, "keypoints", kpt_oks_sigmas=sigmas)
    assert_same_numbers(truth, [], "keypoints", kpt_oks_sigmas=sigmas, max_detections=1)


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_both_implementations_agree_on_real_annotations(shared_data, task):
    folder = shared_data / "data" / "coco54"
    truth = folder / "instances_coco54.json"
    assert_same_numbers(truth, folder / f"fake{task}_coco54_results.json", task)


def test_both_implementations_agree_on_real_keypoints(shared_data):
    folder = shared_data / "data" / "keypoints" / "mmpose_coco"
    assert_same_numbers(folder / "test_coco.json", folder / "jitter_results.json", "keypoints")


# Properties


def test_perfect_boxes_reach_100(json_file):
    metrics = evaluate_coco_results(json_file, PERFECT, "bbox").metrics()
    assert metrics["AP"] == pytest.approx(100)
    assert math.isnan(metrics["APl"])


def test_the_results_are_left_as_they_are(json_file):
    results = [dict(result) for result in PERFECT]
    evaluate_coco_results(json_file, results, "bbox")
    assert results == PERFECT


def test_evaluating_twice_gives_the_same(json_file):
    truth = CocoGroundTruth.load(json_file)
    first = evaluate_coco_results(truth, PERFECT, "bbox")
    second = evaluate_coco_results(truth, PERFECT, "bbox")
    np.testing.assert_array_equal(first.precision, second.precision)


def test_nothing_is_printed(json_file, capsys):
    evaluate_coco_results(json_file, PERFECT, "bbox")
    assert capsys.readouterr().out == ""


def test_no_results_at_all_give_zero_where_objects_are(json_file):
    curves = evaluate_coco_results(json_file, [], "bbox")
    assert curves.metrics()["AP"] == 0
    assert math.isnan(curves.metrics()["APl"])


def test_a_class_without_objects_has_no_ap(tmp_path, coco_content):
    coco_content["categories"].append({"id": 9, "name": "fox"})
    path = tmp_path / "fox.json"
    path.write_text(json.dumps(coco_content))
    curves = evaluate_coco_results(path, PERFECT, "bbox")
    assert curves.per_class() == pytest.approx(
        {"cat": 100.0, "dog": 100.0, "fox": math.nan}, nan_ok=True
    )
    assert curves.average_precision() == pytest.approx(100)
    assert np.isnan(curves.curve(class_name="fox")).all()


def test_classes_are_in_the_models_order(tmp_path, coco_content):
    path = tmp_path / "order.json"
    path.write_text(json.dumps(coco_content))
    metadata = Metadata(
        name="order",
        json_file=str(path),
        thing_classes=["dog", "cat"],
        thing_dataset_id_to_contiguous_id={7: 0, 3: 1},
    )
    curves = evaluate_coco_results(CocoGroundTruth.load(metadata), PERFECT[1:2], "bbox")
    assert curves.per_class() == pytest.approx({"dog": 100.0, "cat": 0.0})


@pytest.mark.parametrize("ids", [[1], np.array([1])])
def test_only_the_images_asked_for_count(json_file, ids):
    results = PERFECT[:2]
    assert evaluate_coco_results(json_file, results, "bbox").metrics()["AP"] < 99
    chosen = evaluate_coco_results(json_file, results, "bbox", image_ids=ids)
    assert chosen.metrics()["AP"] == pytest.approx(100)


def test_detections_beyond_the_limit_do_not_count(json_file):
    noise = [box_result(2, 3, [0, 0, 5, 5], 0.95 + 0.001 * i) for i in range(3)]  # all ahead
    few = evaluate_coco_results(json_file, PERFECT + noise, "bbox", max_detections=3)
    many = evaluate_coco_results(json_file, PERFECT + noise, "bbox", max_detections=4)
    assert few.average_recall() < many.average_recall() == pytest.approx(100)
    assert few.max_detections == (1, 3)


def test_the_curve_averages_to_the_ap(json_file):
    curves = evaluate_coco_results(json_file, PERFECT[:2], "bbox")
    assert 100 * curves.curve(0.5).mean() == pytest.approx(curves.average_precision(iou=0.5))


# Bad input


def test_an_unknown_image_is_named(json_file):
    with pytest.raises(ValueError, match="image_id 77"):
        evaluate_coco_results(json_file, [box_result(77, 3, [0, 0, 1, 1], 0.5)], "bbox")


def test_an_unknown_category_is_named(json_file):
    with pytest.raises(ValueError, match="category_id 5"):
        evaluate_coco_results(json_file, [box_result(1, 5, [0, 0, 1, 1], 0.5)], "bbox")


def test_a_missing_field_is_named(json_file):
    with pytest.raises(ValueError, match="'segmentation'"):
        evaluate_coco_results(json_file, PERFECT, "segm")


def test_a_score_that_is_not_finite_is_named(json_file):
    with pytest.raises(ValueError, match="result 3 has the score nan"):
        evaluate_coco_results(json_file, [*PERFECT, {**PERFECT[0], "score": math.nan}], "bbox")


@pytest.mark.parametrize("use_fast_impl", [True, False])
def test_a_mask_of_another_size_than_its_image_is_named(json_file, use_fast_impl):
    mask = polygons_to_rle([[0, 0, 9, 0, 9, 9]], 100, 80)
    for segmentation, message in [(mask, "100 x 80 .* 80 x 100"), ([[0, 0, 9, 0, 9, 9]], "list")]:
        results = [{**PERFECT[0], "segmentation": segmentation}]
        with pytest.raises(ValueError, match=message):
            evaluate_coco_results(json_file, results, "segm", use_fast_impl=use_fast_impl)


def test_an_unknown_task_is_named(json_file):
    with pytest.raises(ValueError, match="'boxes'"):
        evaluate_coco_results(json_file, PERFECT, "boxes")


def test_keypoints_without_annotations_are_an_error(json_file):
    results = [{**PERFECT[0], "keypoints": [1, 1, 1] * 17}]
    with pytest.raises(ValueError, match="no keypoint annotations"):
        evaluate_coco_results(json_file, results, "keypoints")


@pytest.mark.parametrize(("predicted", "sigmas"), [(4, (0.1,) * 5), (5, (0.1,) * 4), (5, ())])
def test_numbers_of_keypoints_that_differ_are_an_error(tmp_path, coco_content, predicted, sigmas):
    for annotation in coco_content["annotations"]:
        annotation |= {"keypoints": [20, 20, 2] * 5, "num_keypoints": 5}
    path = tmp_path / "keypoints.json"
    path.write_text(json.dumps(coco_content))
    results = [{**PERFECT[0], "keypoints": [20, 20, 1] * predicted}]
    with pytest.raises(ValueError, match="5 keypoints per object"):
        evaluate_coco_results(path, results, "keypoints", kpt_oks_sigmas=sigmas)


def test_own_sigmas_allow_any_number_of_keypoints(tmp_path, coco_content):
    for annotation in coco_content["annotations"]:
        annotation |= {"keypoints": [20, 20, 2] * 5, "num_keypoints": 5}
    path = tmp_path / "keypoints.json"
    path.write_text(json.dumps(coco_content))
    results = [{**result, "keypoints": [20, 20, 1] * 5} for result in PERFECT]
    curves = evaluate_coco_results(path, results, "keypoints", kpt_oks_sigmas=(0.1,) * 5)
    assert curves.metrics()["AP"] == pytest.approx(100)


@pytest.mark.parametrize("arguments", [{"iou": 0.52}, {"area": "huge"}, {"class_name": "wolf"}])
def test_what_was_not_evaluated_cannot_be_asked_for(json_file, arguments):
    curves = evaluate_coco_results(json_file, PERFECT, "bbox")
    with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
        curves.average_precision(**arguments)


def test_an_unknown_limit_is_an_error(json_file):
    with pytest.raises(ValueError, match="max_detections 5"):
        evaluate_coco_results(json_file, PERFECT, "bbox").average_recall(max_detections=5)
