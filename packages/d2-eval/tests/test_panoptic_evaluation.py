import json

import numpy as np
import pytest
import torch

from d2_data import Metadata
from d2_data.formats import decode_panoptic_png, encode_panoptic_png
from d2_eval import COCOPanopticEvaluator, evaluate_panoptic_files


@pytest.fixture
def metadata(tmp_path):
    """Two images of 2 × 4 pixels: sky (stuff 40, class 0) above a car (thing 30, class 0)."""
    root = tmp_path / "panoptic"
    root.mkdir()
    annotations = []
    for image_id in (1, 2):
        (root / f"{image_id}.png").write_bytes(encode_panoptic_png(TRUTH))
        segments = [
            {"id": 300, "category_id": 40, "area": 4, "iscrowd": 0},
            {"id": 70000, "category_id": 30, "area": 4, "iscrowd": 0},
        ]
        annotations.append(
            {"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": segments}
        )
    content = {
        "images": [{"id": 1}, {"id": 2}],
        "annotations": annotations,
        "categories": [
            {"id": 30, "name": "car", "isthing": 1},
            {"id": 40, "name": "sky", "isthing": 0},
        ],
    }
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    return Metadata(
        name="two",
        panoptic_json=str(tmp_path / "panoptic.json"),
        panoptic_root=str(root),
        thing_dataset_id_to_contiguous_id={30: 0},
        stuff_dataset_id_to_contiguous_id={40: 1},
        label_divisor=1000,
    )


TRUTH = np.array([[300] * 4, [70000] * 4])
INPUTS = [{"image_id": i, "file_name": f"images/{i}.jpg"} for i in (1, 2)]
SEGMENTS = [
    {"id": 1, "category_id": 1, "isthing": False},
    {"id": 2, "category_id": 0, "isthing": True},
]


def output(rows: list, segments: list | None) -> dict:
    return {"panoptic_seg": (torch.tensor(rows), segments)}


def evaluated(evaluator: COCOPanopticEvaluator, outputs: list) -> dict:
    evaluator.reset()
    evaluator.process(INPUTS[: len(outputs)], outputs)
    return evaluator.evaluate()["panoptic_seg"]


def test_perfect_predictions_reach_100(metadata):
    scores = evaluated(COCOPanopticEvaluator(metadata), [output([[1] * 4, [2] * 4], SEGMENTS)] * 2)
    names = [name + suffix for suffix in ("", "_th", "_st") for name in ("PQ", "SQ", "RQ")]
    assert scores == dict.fromkeys(names, 100)


def test_ids_may_hold_the_class(metadata):
    scores = evaluated(COCOPanopticEvaluator(metadata), [output([[1000] * 4, [3] * 4], None)] * 2)
    assert scores["PQ"] == 100


def test_pixels_without_a_segment_are_void(metadata):
    evaluator = COCOPanopticEvaluator(metadata)
    for rows, segments in [
        ([[9, 9, 9, 9], [2, 2, 2, 2]], SEGMENTS[1:]),
        ([[-1] * 4, [3] * 4], None),
    ]:
        scores = evaluated(evaluator, [output(rows, segments)] * 2)
        assert scores["PQ_th"] == 100
        assert scores["PQ_st"] == 0


def test_predictions_are_written_in_cocos_format(metadata, tmp_path):
    folder = tmp_path / "out"
    evaluated(COCOPanopticEvaluator(metadata, folder), [output([[1] * 4, [2] * 4], SEGMENTS)] * 2)
    content = json.loads((folder / "predictions.json").read_text())
    assert [c["id"] for c in content["categories"]] == [30, 40]
    assert content["images"] == [{"id": 1}, {"id": 2}]
    first = content["annotations"][0]
    assert first["file_name"] == "1.png"
    assert [s["category_id"] for s in first["segments_info"]] == [40, 30]
    assert decode_panoptic_png(folder / "1.png").tolist() == [[1] * 4, [2] * 4]


def test_its_files_score_the_same(metadata, tmp_path):
    folder = tmp_path / "out"
    outputs = [output([[1, 1, 1, 2], [2] * 4], SEGMENTS)] * 2
    scores = evaluated(COCOPanopticEvaluator(metadata, folder), outputs)
    again = evaluate_panoptic_files(
        folder / "predictions.json",
        metadata.panoptic_json,
        ground_truth_folder=metadata.panoptic_root,
    )
    assert 0 < scores["PQ"] < 100
    assert again == {"panoptic_seg": scores}


def test_outputs_that_lack_something_are_named(metadata):
    evaluator = COCOPanopticEvaluator([metadata])
    evaluator.reset()
    with pytest.raises(ValueError, match=r"an output has no 'panoptic_seg'; it has \['sem_seg'\]"):
        evaluator.process(INPUTS[:1], [{"sem_seg": None}])
    with pytest.raises(ValueError, match="an input has no 'file_name'"):
        evaluator.process([{"image_id": 1}], [output([[1] * 4, [2] * 4], SEGMENTS)])


def test_an_image_that_was_not_processed_is_named(metadata):
    with pytest.raises(ValueError, match=r"1 of 2 annotated images .* \[2\]"):
        evaluated(COCOPanopticEvaluator(metadata), [output([[1] * 4, [2] * 4], SEGMENTS)])


def test_bad_input_is_named(metadata):
    evaluator = COCOPanopticEvaluator(metadata)
    with pytest.raises(RuntimeError, match="reset"):
        evaluator.process([], [])
    with pytest.raises(RuntimeError, match="reset"):
        evaluator.evaluate()
    segments = [{"id": 1, "category_id": 5, "isthing": True}]
    with pytest.raises(ValueError, match=r"no thing class 5; it has \[0\]"):
        evaluated(evaluator, [output([[1] * 4] * 2, segments)])
    with pytest.raises(ValueError, match="no 'panoptic_json'"):
        COCOPanopticEvaluator(Metadata(name="bare"))


@pytest.mark.parametrize(
    ("truth", "root", "predictions", "key"),
    [
        (
            "coco_panoptic/annotations/panoptic_val2017.json",
            "coco_panoptic/annotations/panoptic_val2017",
            "coco_panoptic/pred/panoptic_val2017_pred",
            "val24_synthetic",
        ),
        (
            "panoptic_sample/panoptic_examples.json",
            "panoptic_sample/panoptic_examples",
            "panoptic_sample/pred/panoptic_examples_pred",
            "synthetic",
        ),
    ],
)
def test_real_predictions_give_the_official_quality(shared_data, truth, root, predictions, key):
    folder = shared_data / "data"
    reference = json.loads((folder / truth.split("/")[0] / "reference.json").read_text())[key]
    content = json.loads((folder / f"{predictions}.json").read_text())
    isthing = {
        c["id"]: bool(c["isthing"]) for c in json.loads((folder / truth).read_text())["categories"]
    }
    evaluator = COCOPanopticEvaluator(
        Metadata(name="real", panoptic_json=str(folder / truth), panoptic_root=str(folder / root))
    )
    evaluator.reset()
    for annotation in content["annotations"]:
        ids = decode_panoptic_png(folder / predictions / annotation["file_name"])
        segments = [
            {**segment, "isthing": isthing[segment["category_id"]]}
            for segment in annotation["segments_info"]
        ]
        record = {"image_id": annotation["image_id"], "file_name": annotation["file_name"]}
        evaluator.process([record], [{"panoptic_seg": (torch.from_numpy(ids), segments)}])
    scores = evaluator.evaluate()["panoptic_seg"]
    for suffix, group in (("", "All"), ("_th", "Things"), ("_st", "Stuff")):
        for name in ("pq", "sq", "rq"):
            expected = 100 * reference[group][name]
            assert scores[name.upper() + suffix] == pytest.approx(expected, abs=1e-9)
