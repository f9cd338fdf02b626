"""The figures of boxes, masks and keypoints are pycocotools', to the last bit, on any data."""

import contextlib
import copy
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2_eval import CocoGroundTruth, evaluate_coco_results
from d2_ops.host import polygons_to_rle

SIDE = 128
SIGMAS = (0.05, 0.1, 0.02)
FEW = st.integers(0, 8)

images = st.sampled_from([41, 7, 1000])
categories = st.sampled_from([9, 2])
lengths = st.integers(1, 110)
# Few values, so that boxes coincide and scores tie.
boxes = st.tuples(st.sampled_from([0, 3, 10]), st.sampled_from([0, 5]), lengths, lengths)
areas = st.sampled_from([None, 32**2, 32**2 - 1, 32**2 + 0.5, 96**2, 96**2 - 0.25, 0, 1])
points = st.lists(
    st.tuples(st.integers(0, 100), st.integers(0, 100), st.sampled_from([0, 0, 1, 2])),
    min_size=len(SIGMAS),
    max_size=len(SIGMAS),
)


def triangle(box):
    x, y, width, height = box
    return [x, y, x + width, y, x, y + height]


@st.composite
def annotations(draw):
    box = draw(boxes)
    crowd = draw(st.booleans()) and draw(st.booleans())
    area = draw(areas)
    keypoints = [float(value) for point in draw(points) for value in point]
    rle = polygons_to_rle([triangle(box)], SIDE, SIDE)
    return {
        "image_id": draw(images),
        "category_id": draw(categories),
        "bbox": list(box),
        "area": box[2] * box[3] if area is None else area,
        "iscrowd": int(crowd),
        "segmentation": ({**rle, "counts": rle["counts"].decode()} if crowd else [triangle(box)]),
        "keypoints": keypoints,
        "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
    }


@st.composite
def scenes(draw):
    """Annotations in any order of ids, and results, many of them near an object."""
    truth = draw(st.lists(annotations(), max_size=6))
    numbers = draw(st.permutations(range(1, len(truth) + 1)))
    for one, number in zip(truth, numbers, strict=True):
        one["id"] = number
    results = []
    for _ in range(draw(st.integers(0, 9))):
        near = draw(st.sampled_from(truth)) if truth and draw(st.booleans()) else None
        box = draw(boxes) if near is None else near["bbox"]
        box = [box[0], box[1], max(box[2] + draw(st.integers(-2, 2)), 1), box[3]]
        keypoints = [float(v) for p in draw(points) for v in p] if near is None else None
        shift = draw(st.integers(-4, 4))
        # An outline beyond the image makes an empty mask.
        outline = triangle(box) if draw(st.integers(0, 6)) else [500, 0, 510, 0, 500, 9]
        rle = polygons_to_rle([outline], SIDE, SIDE)
        results.append(
            {
                "image_id": draw(images) if near is None else near["image_id"],
                "category_id": draw(categories) if near is None else near["category_id"],
                "score": draw(st.sampled_from([0.1, 0.5, 0.5000001, 0.9])),
                "bbox": box,
                "segmentation": {**rle, "counts": rle["counts"].decode()},
                "keypoints": keypoints
                or [v + shift * (i % 3 == 0) for i, v in enumerate(near["keypoints"])],
            }
        )
    content = {
        "images": [{"id": i, "height": SIDE, "width": SIDE} for i in (41, 7, 1000)],
        "categories": [{"id": i, "name": f"class {i}"} for i in (9, 2)],
        "annotations": truth,
    }
    return content, results


def official(content, results, task, max_detections):
    """precision, recall and scores of pycocotools."""
    content, results = copy.deepcopy(content), copy.deepcopy(results)
    if task == "segm":
        for result in results:
            del result["bbox"]  # its area would be taken for the mask's
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = content
        truth.createIndex()
        found = COCO()
        found.dataset = {**content, "annotations": []}
        found.createIndex()
        if results:
            found = truth.loadRes(results)
        evaluation = COCOeval(truth, found, task)
        if task == "keypoints":
            evaluation.params.kpt_oks_sigmas = np.array(SIGMAS)
        evaluation.params.maxDets = (
            [max_detections]
            if task == "keypoints"
            else sorted({min(limit, max_detections) for limit in (1, 10, max_detections)})
        )
        evaluation.evaluate()
        evaluation.accumulate()
    return [evaluation.eval[name] for name in ("precision", "recall", "scores")]


@pytest.fixture(scope="module")
def truth_file(tmp_path_factory):
    return tmp_path_factory.mktemp("coco") / "truth.json"


@pytest.mark.parametrize("task", ["bbox", "segm", "keypoints"])
@settings(max_examples=60, deadline=None)
@given(scene=scenes(), max_detections=st.sampled_from([1, 2, 3, 100]))
def test_precision_recall_and_scores_equal_pycocotools(truth_file, task, scene, max_detections):
    content, results = scene
    if task == "keypoints" and not content["annotations"]:
        return  # there are no keypoints to compare with: an error, see below
    truth_file.write_text(json.dumps(content))
    truth = CocoGroundTruth.load(truth_file)
    before = copy.deepcopy((truth.coco.dataset, results))
    curves = evaluate_coco_results(
        truth,
        results,
        task,
        max_detections=max_detections,
        kpt_oks_sigmas=SIGMAS if task == "keypoints" else (),
    )
    expected = official(content, results, task, max_detections)
    for name, values in zip(("precision", "recall", "scores"), expected, strict=True):
        np.testing.assert_array_equal(getattr(curves, name), values, err_msg=name)
    assert (truth.coco.dataset, results) == before


@settings(max_examples=30, deadline=None)
@given(scene=scenes(), task=st.sampled_from(["bbox", "segm"]), seed=FEW)
def test_the_order_of_annotations_matters_to_neither_images_nor_scores(
    truth_file, scene, task, seed
):
    content, results = scene
    for place, result in enumerate(results):
        result["score"] = (place * 7 + seed) % 11 / 11  # all different
    truth_file.write_text(json.dumps(content))
    first = evaluate_coco_results(truth_file, results, task)
    content["images"].reverse()
    content["categories"].reverse()
    truth_file.write_text(json.dumps(content))
    again = evaluate_coco_results(truth_file, results[::-1], task)
    np.testing.assert_array_equal(first.precision, again.precision)
    np.testing.assert_array_equal(first.scores, again.scores)


@pytest.mark.parametrize("task", ["bbox", "segm", "keypoints"])
@settings(max_examples=20, deadline=None)
@given(scene=scenes(), score=st.sampled_from([math.nan, math.inf, -math.inf, None, "0.5"]))
def test_a_score_that_is_no_finite_number_is_refused_wherever_it_stands(
    truth_file, task, scene, score
):
    content, results = scene
    if not results or not content["annotations"]:
        return
    place = len(results) // 2
    results[place]["score"] = score
    truth_file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"result {place} has the score"):
        evaluate_coco_results(truth_file, results, task, kpt_oks_sigmas=SIGMAS)
