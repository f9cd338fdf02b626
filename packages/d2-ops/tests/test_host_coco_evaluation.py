"""COCO evaluation from arrays against pycocotools, with ==."""

from __future__ import annotations

import contextlib
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_ops import host

coco_masks = pytest.importorskip("pycocotools.mask")
COCO = pytest.importorskip("pycocotools.coco").COCO
COCOeval = pytest.importorskip("pycocotools.cocoeval").COCOeval

CATEGORIES = 3
SHAPES = {
    "bbox": {"boxes": "bbox"},
    "segm": {"masks": "segmentation"},
    "keypoints": {"keypoints": "keypoints"},
}


# The same objects as pycocotools and as we take them


def official(truth: dict[str, Any], results: list[dict], task: str, **parameters: Any) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):
        annotated = COCO()
        annotated.dataset = json.loads(json.dumps(truth))
        annotated.createIndex()
        if results:
            found = annotated.loadRes(json.loads(json.dumps(results)))
        else:
            found = COCO()
            found.dataset = {**annotated.dataset, "annotations": []}
            found.createIndex()
        evaluation = COCOeval(annotated, found, task)
        for name, value in parameters.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def arrays(
    truth: dict[str, Any], results: list[dict], task: str
) -> tuple[host.CocoGroundTruths, host.CocoDetections]:
    category = {
        c["id"]: i for i, c in enumerate(sorted(truth["categories"], key=lambda c: c["id"]))
    }
    annotations = truth["annotations"]

    def column(entries: list[dict], key: str) -> list:
        return [entry[key] for entry in entries]

    def shapes(entries: list[dict], fields: dict[str, str]) -> dict[str, Any]:
        return {ours: column(entries, theirs) for ours, theirs in fields.items()}

    field = SHAPES[task]
    return (
        host.CocoGroundTruths(
            images=column(annotations, "image_id"),
            categories=[category[a["category_id"]] for a in annotations],
            areas=column(annotations, "area"),
            crowd=column(annotations, "iscrowd"),
            ids=column(annotations, "id"),
            **shapes(annotations, {"boxes": "bbox", **field}),
        ),
        host.CocoDetections(
            images=column(results, "image_id"),
            categories=[category[r["category_id"]] for r in results],
            scores=column(results, "score"),
            **shapes(results, field),
        ),
    )


def assert_same(truth: dict[str, Any], results: list[dict], task: str, **options: Any) -> None:
    names = {
        "iou_thresholds": "iouThrs",
        "recall_thresholds": "recThrs",
        "area_ranges": "areaRng",
        "max_detections": "maxDets",
        "use_categories": "useCats",
        "keypoint_sigmas": "kpt_oks_sigmas",
    }
    parameters = {names[option]: value for option, value in options.items()}
    expected = official(truth, results, task, **parameters).eval
    for threads in (1, 3):
        got = host.coco_evaluate(
            *arrays(truth, results, task),
            task,  # type: ignore[arg-type]  # one of the three
            num_categories=len(truth["categories"]),
            num_threads=threads,
            **options,
        )
        for name, value in got._asdict().items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


# Small scenes with many ties: few positions, few scores, areas at the limits of the ranges


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.random.Generator, dict[str, Any], list[dict]]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images = draw(st.integers(1, 4))
    first_id = draw(st.sampled_from([0, 1]))  # 0 is special to pycocotools
    truth = {
        "images": [{"id": 10 * i + 3, "height": 40, "width": 40} for i in range(images)],
        "categories": [{"id": 2 * k + 1, "name": str(k)} for k in range(CATEGORIES)],
        "annotations": [
            {**place(rng, images), "id": first_id + i, "iscrowd": int(rng.random() < 0.2)}
            for i in range(draw(st.integers(0, 12)))
        ],
    }
    results = [
        {**place(rng, images), "score": float(rng.choice([0.1, 0.5, 0.5, 0.9, rng.random()]))}
        for _ in range(draw(st.integers(0, 30)))
    ]
    return rng, truth, results


def place(rng: np.random.Generator, images: int) -> dict[str, int]:
    return {
        "image_id": int(10 * rng.integers(images) + 3),
        "category_id": int(2 * rng.integers(CATEGORIES) + 1),
    }


def with_boxes(rng: np.random.Generator, truth: dict[str, Any], results: list[dict]) -> None:
    for annotation in truth["annotations"]:
        x, y, w, h = (int(v) for v in rng.integers(0, 6, 4))
        annotation["bbox"] = [x, y, w, h] if rng.random() < 0.8 else [x + 0.1, y, w * 1.3, h / 3]
        annotation["area"] = float(rng.choice([w * h, 4.0, 9.0, 9.0 + 1e-12]))
    for result in results:
        result["bbox"] = rng.integers(0, 6, 4).tolist()
        if rng.random() < 0.3:
            result["bbox"] = (np.array(result["bbox"]) + rng.random(4)).tolist()


RANGES = [[0, 1e10], [0, 4], [4, 9], [9, 1e10]]


@settings(max_examples=120, deadline=None)
@given(scenes(), st.booleans())
def test_boxes_equal_pycocotools(scene: Any, use_categories: bool) -> None:
    rng, truth, results = scene
    with_boxes(rng, truth, results)
    assert_same(
        truth,
        results,
        "bbox",
        area_ranges=RANGES,
        max_detections=[1, 2, 5],
        use_categories=use_categories,
    )
    assert_same(truth, results, "bbox")


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_masks_equal_pycocotools(scene: Any) -> None:
    rng, truth, results = scene
    for entry in [*truth["annotations"], *results]:
        mask = np.zeros((40, 40), np.uint8)
        y, x, h, w = rng.integers(0, 8, 4)
        mask[y : y + h, x : x + w] = rng.random((h, w))[: 40 - y, : 40 - x] < rng.choice([0.6, 1])
        rle = coco_masks.encode(np.asfortranarray(mask))
        entry["segmentation"] = {**rle, "counts": rle["counts"].decode()}
        if "score" not in entry:
            entry["area"] = float(mask.sum())
    for annotation in truth["annotations"]:
        annotation["bbox"] = [0, 0, 1, 1]
    assert_same(truth, results, "segm", area_ranges=RANGES, max_detections=[1, 2, 5])


@settings(max_examples=60, deadline=None)
@given(scenes(), st.sampled_from([1, 5, 17, 20]))
def test_keypoints_equal_pycocotools(scene: Any, count: int) -> None:
    rng, truth, results = scene
    with_boxes(rng, truth, [])
    for annotation in truth["annotations"]:
        points = np.concatenate([rng.integers(0, 9, (count, 2)), rng.integers(0, 3, (count, 1))], 1)
        points[:, 2] *= rng.random() < 0.8
        annotation["keypoints"] = points.ravel().tolist()
        annotation["num_keypoints"] = int((points[:, 2] > 0).sum())
    for result in results:
        same = [a for a in truth["annotations"] if a["image_id"] == result["image_id"]]
        points = rng.random((count, 3)) * 9
        if same and rng.random() < 0.7:
            points = np.array(same[0]["keypoints"]).reshape(-1, 3) + rng.normal(0, 0.4, (count, 3))
        result["keypoints"] = points.ravel().tolist()
    sigmas = rng.uniform(0.02, 0.2, count)
    assert_same(truth, results, "keypoints", keypoint_sigmas=sigmas)


def test_many_categories_and_detections_equal_pycocotools() -> None:
    rng = np.random.default_rng(0)
    truth, results = crowded_scene(rng, images=30, categories=7, objects=200, detections=2000)
    assert_same(truth, results, "bbox")
    assert_same(truth, results, "bbox", use_categories=False, max_detections=[1, 10, 30])


def crowded_scene(
    rng: np.random.Generator, images: int, categories: int, objects: int, detections: int
) -> tuple[dict[str, Any], list[dict]]:
    """Detections near objects, scores of two digits."""

    def at(i: int) -> dict[str, int]:
        return {"image_id": int(image[i]), "category_id": int(category[i])}

    image, category = rng.integers(images, size=objects), rng.integers(categories, size=objects)
    boxes = np.concatenate(
        [rng.uniform(0, 300, (objects, 2)), rng.uniform(5, 150, (objects, 2))], 1
    )
    truth = {
        "images": [{"id": i, "height": 450, "width": 450} for i in range(images)],
        "categories": [{"id": k, "name": str(k)} for k in range(categories)],
        "annotations": [
            {
                **at(i),
                "id": i + 1,
                "bbox": boxes[i].tolist(),
                "area": float(boxes[i, 2] * boxes[i, 3] * 0.7),
                "iscrowd": int(i % 17 == 0),
            }
            for i in range(objects)
        ],
    }
    results = [
        {
            **at(i),
            "bbox": (boxes[i] * rng.normal(1, 0.1, 4)).tolist(),
            "score": round(float(rng.random()), 2),
        }
        for i in rng.integers(objects, size=detections)
    ]
    return truth, results


# Details that random scenes may miss


SQUARE = [0.0, 0, 10, 10]


def one_object(**given: Any) -> host.CocoGroundTruths:
    return host.CocoGroundTruths(
        **{"images": [1], "categories": [0], "areas": [100], "boxes": [SQUARE], **given}
    )


def some_detections(*scores: float, **given: Any) -> host.CocoDetections:
    count = len(scores)
    places = {"images": [1] * count, "categories": [0] * count}
    return host.CocoDetections(**{**places, "scores": scores, "boxes": [SQUARE] * count, **given})


def evaluate_one(
    truth: host.CocoGroundTruths, found: host.CocoDetections, **options: Any
) -> host.CocoPrecisionRecall:
    return host.coco_evaluate(truth, found, "bbox", **{"num_categories": 1, **options})


def test_a_perfect_detection_reaches_full_precision_at_every_recall() -> None:
    result = evaluate_one(one_object(), some_detections(0.5))
    assert (result.precision[:, :, 0, 0] > 1 - 1e-15).all()
    assert (result.recall[:, 0, 0] == 1).all()
    assert (result.scores[:, :, 0, 0] == 0.5).all()


def test_without_detections_all_is_0_and_without_ground_truth_all_is_minus_1() -> None:
    nothing = evaluate_one(one_object(), some_detections())
    assert (nothing.precision[:, :, 0, 0] == 0).all()
    assert (nothing.recall[:, 0, 0] == 0).all()
    no_object = host.CocoGroundTruths(images=[], categories=[], areas=[], boxes=[])
    for found in (some_detections(), some_detections(0.5)):
        for values in evaluate_one(no_object, found):
            assert (values == -1).all()


def test_more_than_32_thresholds_and_unsorted_ones_equal_pycocotools() -> None:
    rng = np.random.default_rng(1)
    truth, results = crowded_scene(rng, images=6, categories=2, objects=40, detections=300)
    thresholds = rng.permutation(np.linspace(0.01, 1.0, 70))
    recalls = rng.permutation(np.linspace(0, 1, 12))
    assert_same(truth, results, "bbox", iou_thresholds=thresholds, recall_thresholds=recalls)


def test_a_threshold_of_0_matches_objects_that_do_not_touch() -> None:
    rng = np.random.default_rng(2)
    truth, results = crowded_scene(rng, images=4, categories=2, objects=20, detections=100)
    assert_same(truth, results, "bbox", iou_thresholds=np.array([0.0, 0.5]))


def test_image_numbers_may_be_any_integers() -> None:
    rng = np.random.default_rng(3)
    truth, results = crowded_scene(rng, images=8, categories=2, objects=60, detections=400)
    wanted, found = arrays(truth, results, "bbox")
    expected = host.coco_evaluate(wanted, found, "bbox", num_categories=2)
    for numbers in (np.arange(8) - 5, np.arange(8) * 10**17 - 3 * 10**17):
        moved = host.coco_evaluate(
            replace(wanted, images=numbers[np.array(wanted.images)]),
            replace(found, images=numbers[np.array(found.images)]),
            "bbox",
            num_categories=2,
        )
        for one, other in zip(expected, moved, strict=True):
            np.testing.assert_array_equal(one, other)


def test_packed_masks_and_dicts_are_the_same() -> None:
    masks = np.random.default_rng(0).random((5, 9, 7)) < 0.5
    rles = host.rle_encode(masks)
    packed = host.pack_rles(rles)
    assert np.array_equal(host.packed_rle_areas(packed), masks.sum((1, 2)))
    assert host.packed_rle_areas(host.pack_rles([])).shape == (0,)
    places = {"images": [0] * 5, "categories": [0] * 5}
    results = [
        host.coco_evaluate(
            host.CocoGroundTruths(**places, areas=host.rle_area(rles), masks=given),
            host.CocoDetections(**places, scores=[0.1, 0.2, 0.3, 0.4, 0.5], masks=given),
            "segm",
            num_categories=1,
        )
        for given in (rles, packed)
    ]
    assert np.array_equal(results[0].precision, results[1].precision)
    assert (results[0].recall[:, 0, 0, -1] == 1).all()


def test_arrays_that_cannot_be_written_are_read() -> None:
    frozen = np.array([100.0])
    frozen.setflags(write=False)
    truth = one_object(areas=frozen)
    for areas, expected in [(frozen, 1), (np.array([2000.0]), 1)]:
        found = some_detections(0.5, areas=np.broadcast_to(areas, 1))
        assert (evaluate_one(truth, found).recall[:, 0, 0] == expected).all()
    assert frozen.tolist() == [100]


def test_areas_that_are_given_replace_those_of_the_shapes() -> None:
    truth, found = one_object(areas=[2000]), some_detections(0.9, 0.8, areas=[5, 50])
    medium = evaluate_one(truth, found, area_ranges=[[1000, 9000]], iou_thresholds=[0.5])
    assert (medium.precision > 1 - 1e-15).all()  # the second one is too small to be a mistake


def test_counts_of_all_kinds_are_packed() -> None:
    rle = host.rle_encode(np.random.default_rng(0).random((9, 7)) < 0.5)
    text = {**rle, "counts": rle["counts"].decode()}
    for rles in ([rle, rle], [text, text], [rle, text], [rle, RLE_2X2]):
        areas = host.packed_rle_areas(host.pack_rles(rles))
        assert areas.tolist() == [host.rle_area(one) for one in rles]
    with pytest.raises(ValueError, match=r"rles\[1\].* is \[-1, 4\]"):
        host.pack_rles([rle, {"size": [-1, 4], "counts": b""}])


RLE_2X2 = {"size": [2, 2], "counts": [1, 3]}


# Bad input


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        ({"boxes": [[0, 0, np.nan, 1]]}, {}, r"ground_truths\.boxes\[0, 2\] is nan"),
        ({"boxes": None}, {}, r"ground_truths\.boxes is needed"),
        ({"areas": [np.inf]}, {}, r"ground_truths\.areas\[0\] is inf"),
        ({"areas": [1, 2]}, {}, r"ground_truths\.areas must have shape \(1,\), got \(2,\)"),
        ({"categories": [1]}, {}, r"ground_truths\.categories\[0\] is 1, outside 0 … 0"),
        ({"categories": [0, 0]}, {}, r"ground_truths\.categories must have shape \(1,\)"),
        ({"crowd": [0, 0]}, {}, r"ground_truths\.crowd must have shape \(1,\), got \(2,\)"),
        ({"ignored": []}, {}, r"ground_truths\.ignored must have shape"),
        ({}, {"scores": [np.nan]}, r"detections\.scores\[0\] is nan"),
        ({}, {"scores": [0.5, 0.5]}, r"detections\.scores must have shape"),
        ({}, {"boxes": [[0, 0, 1]]}, r"detections\.boxes must have shape \(1, 4\), got \(1, 3\)"),
        ({}, {"areas": [np.nan]}, r"detections\.areas\[0\] is nan"),
        ({}, {"categories": [-1]}, r"detections\.categories\[0\] is -1"),
    ],
)
def test_a_bad_array_is_named(truth: dict, found: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_one(one_object(**truth), some_detections(0.5, **found))


def test_indices_must_be_integers() -> None:
    with pytest.raises(TypeError, match=r"detections\.images must be integers, got float64"):
        evaluate_one(one_object(), some_detections(0.5, images=[1.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iou_thresholds": [np.nan]}, r"iou_thresholds\[0\] is nan"),
        ({"recall_thresholds": [[0.5]]}, r"recall_thresholds must have shape"),
        (
            {"area_ranges": [[0, np.nan]]},
            r"area_ranges must be pairs of numbers, got \[\[0\.0, nan",
        ),
        ({"area_ranges": [0, 1]}, r"area_ranges must be pairs of numbers, got \[0\.0, 1"),
        ({"max_detections": [10, 1]}, r"max_detections must ascend from at least 1, got \[10, 1\]"),
        ({"max_detections": []}, r"max_detections must ascend"),
        ({"num_categories": -1}, r"num_categories must not be negative, got -1"),
    ],
)
def test_a_bad_setting_is_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate_one(one_object(), some_detections(0.5), **options)


def test_an_unknown_task_is_named() -> None:
    with pytest.raises(ValueError, match="task must be 'bbox', 'segm' or 'keypoints', got 'box'"):
        host.coco_evaluate(one_object(), some_detections(), "box", num_categories=1)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    ("wanted", "found", "message"),
    [
        (RLE_2X2, {"size": [2, 2], "counts": b"19"}, r"masks\[0\]: run lengths do not add up"),
        (RLE_2X2, {"size": [2, 2], "counts": b"o"}, r"masks\[0\]: counts ends in the middle"),
        ({"size": [2, 2], "counts": b"!"}, RLE_2X2, r"ground_truths\.masks\[0\]: .* character"),
        (RLE_2X2, {"size": [4, 1], "counts": [1, 3]}, r"\[0\] is 4 x 1 but ground_.* image 2 x 2"),
        ({"size": [2**17, 2**17], "counts": b""}, RLE_2X2, r"below 2\*\*32 pixels"),
    ],
)
def test_a_bad_mask_is_named(wanted: dict, found: dict, message: str) -> None:
    truth = host.CocoGroundTruths(images=[0], categories=[0], areas=[3], masks=[wanted])
    detections = host.CocoDetections(images=[0], categories=[0], scores=[1], masks=[found])
    with pytest.raises(ValueError, match=message):
        host.coco_evaluate(truth, detections, "segm", num_categories=1)


def test_packed_masks_that_reach_beyond_their_text_are_an_error() -> None:
    packed = host.pack_rles([RLE_2X2])
    truth = host.CocoGroundTruths(images=[0], categories=[0], areas=[3], masks=[RLE_2X2])
    for broken, message in [
        (packed._replace(ends=np.array([99])), "must ascend from 0 to at most"),
        (packed._replace(ends=np.array([-1])), "must ascend from 0"),
        (packed._replace(sizes=np.array([2, 2])), "sizes must have shape"),
    ]:
        found = host.CocoDetections(images=[0], categories=[0], scores=[1], masks=broken)
        with pytest.raises(ValueError, match=message):
            host.coco_evaluate(truth, found, "segm", num_categories=1)
        with pytest.raises(ValueError, match=message):
            host.packed_rle_areas(broken)


# Other comparisons


def test_objects_may_be_compared_by_any_function() -> None:
    boxes = np.array([[0, 0, 10, 10], [30, 0, 10, 10], [0, 0, 9, 10], [60, 0, 10, 12]], float)
    places = {"images": [0, 0, 0, 1], "categories": [0, 1, 0, 0]}
    truth = host.CocoGroundTruths(**places, areas=[100] * 4, boxes=boxes, crowd=[0, 0, 1, 0])
    found = host.CocoDetections(
        **places, scores=[0.9, 0.8, 0.7, 0.6], areas=boxes[:, 2] * boxes[:, 3], boxes=boxes + 1
    )
    expected = host.coco_evaluate(truth, found, "bbox", num_categories=2)

    def overlaps(detections: np.ndarray, truths: np.ndarray) -> np.ndarray:
        crowd = np.array([0, 0, 1, 0])
        all_pairs = host.box_iou(boxes + 1, boxes, crowd)
        return all_pairs[detections, truths]

    got = host.coco_evaluate(truth, found, "bbox", num_categories=2, overlaps=overlaps)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_comparisons_need_areas_and_one_number_for_each_pair() -> None:
    place = {"images": [0], "categories": [0]}
    truth = host.CocoGroundTruths(**place, areas=[1])
    found = host.CocoDetections(**place, scores=[1], areas=[1])
    bare = host.CocoDetections(**place, scores=[1])
    with pytest.raises(ValueError, match=r"detections\.areas is needed with overlaps"):
        host.coco_evaluate(truth, bare, "bbox", num_categories=1, overlaps=lambda d, g: d * 1.0)
    with pytest.raises(ValueError, match=r"overlaps\(\.\.\.\) must have shape \(1,\), got \(2,\)"):
        host.coco_evaluate(truth, found, "bbox", num_categories=1, overlaps=lambda d, g: [0, 0])


# Real annotations


def shared_folder() -> Path:
    folder = Path(os.environ.get("D2_SHARED", Path(__file__).resolve().parents[4] / "shared"))
    if not folder.is_dir():
        pytest.skip("reference data not found; point D2_SHARED at its folder")
    return folder / "data"


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_official_sample_results_equal_pycocotools(task: str) -> None:
    folder = shared_folder() / "coco54"
    truth = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / f"instances_val2014_fake{task}100_results.json").read_text())
    for annotation in truth["annotations"]:
        height, width = next(
            (i["height"], i["width"]) for i in truth["images"] if i["id"] == annotation["image_id"]
        )
        if isinstance(annotation["segmentation"], list):
            rle = host.polygons_to_rle(annotation["segmentation"], height, width)
            annotation["segmentation"] = {**rle, "counts": rle["counts"].decode()}
    assert_same(truth, results, task)


def test_official_keypoint_results_equal_pycocotools() -> None:
    folder = shared_folder() / "keypoints" / "mmpose_coco"
    truth = json.loads((folder / "test_coco.json").read_text())
    results = json.loads((folder / "jitter_results.json").read_text())
    sigmas = COCOeval(iouType="keypoints").params.kpt_oks_sigmas
    assert_same(truth, results, "keypoints", keypoint_sigmas=sigmas)
