import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from d2_data import Metadata
from d2_eval import SemSegEvaluator
from d2_ops.host import rle_decode


def scores_of(labels: np.ndarray, classes: int) -> dict:
    """A model's output that prefers these labels."""
    index = torch.tensor(labels, dtype=torch.int64)[None]
    scores = torch.zeros((classes, *labels.shape), dtype=torch.uint8)
    return {"sem_seg": scores.scatter_(0, index, 1)}


@pytest.fixture
def truth_file(tmp_path):
    def write(labels: list, name: str = "truth.png") -> str:
        Image.fromarray(np.array(labels, np.uint8)).save(tmp_path / name)
        return str(tmp_path / name)

    return write


METADATA = Metadata(
    name="three",
    stuff_classes=["sky", "road", "tree"],
    ignore_label=255,
    stuff_dataset_id_to_contiguous_id={10: 0, 20: 1, 30: 2},
)


def evaluated(evaluator: SemSegEvaluator, truth: str, predicted: list) -> dict:
    evaluator.reset()
    record = {"file_name": "a.jpg", "sem_seg_file_name": truth}
    evaluator.process([record], [scores_of(np.array(predicted), 3)])
    return evaluator.evaluate()["sem_seg"]


def test_scores_follow_their_definition(truth_file):
    truth = truth_file([[0, 0, 0, 1], [255, 1, 1, 1]])
    scores = evaluated(SemSegEvaluator(METADATA), truth, [[0, 0, 1, 1], [2, 1, 1, 0]])
    assert scores["IoU-sky"] == pytest.approx(100 * 2 / 4)
    assert scores["IoU-road"] == pytest.approx(100 * 3 / 5)
    assert math.isnan(scores["IoU-tree"])  # predicted, though not where it counts
    assert scores["mIoU"] == pytest.approx(100 * (2 / 4 + 3 / 5) / 2)
    assert scores["fwIoU"] == pytest.approx(100 * (3 * 2 / 4 + 4 * 3 / 5) / 7)
    assert scores["ACC-sky"] == pytest.approx(100 * 2 / 3)
    assert scores["mACC"] == pytest.approx(100 * (2 / 3 + 3 / 4) / 2)
    assert scores["pACC"] == pytest.approx(100 * 5 / 7)


def test_images_are_summed_up(truth_file):
    evaluator = SemSegEvaluator(METADATA)
    evaluator.reset()
    for name, label in (("a.png", 0), ("b.png", 1)):
        record = {"file_name": name, "sem_seg_file_name": truth_file([[label] * 4], name)}
        evaluator.process([record], [scores_of(np.zeros((1, 4), int), 3)])
    assert evaluator.evaluate()["sem_seg"]["pACC"] == pytest.approx(50)


def test_nothing_annotated_gives_nan(truth_file):
    scores = evaluated(SemSegEvaluator(METADATA), truth_file([[255, 255]]), [[0, 1]])
    assert all(math.isnan(value) for value in scores.values())


def test_the_datasets_records_name_the_annotations(register, truth_file):
    record = {"file_name": "a.jpg", "sem_seg_file_name": truth_file([[0, 1]])}
    register("roads", [record], stuff_classes=["sky", "road"])
    evaluator = SemSegEvaluator("roads")
    evaluator.reset()
    evaluator.process([{"file_name": "a.jpg"}], [scores_of(np.array([[0, 1]]), 2)])
    assert evaluator.evaluate()["sem_seg"]["mIoU"] == 100
    with pytest.raises(ValueError, match=r"'sem_seg_file_name' for b\.jpg"):
        evaluator.process([{"file_name": "b.jpg"}], [scores_of(np.array([[0, 1]]), 2)])


def test_labels_of_a_palette_image_are_its_indices(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 255, 255, 10, 10, 10])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "palette.png")
    scores = evaluated(SemSegEvaluator(METADATA), str(tmp_path / "palette.png"), [[0, 1]])
    assert scores["pACC"] == 100


def test_predictions_and_results_are_written(truth_file, tmp_path):
    evaluator = SemSegEvaluator(METADATA, output_dir=tmp_path / "out")
    scores = evaluated(evaluator, truth_file([[0, 1]]), [[0, 2]])
    entries = json.loads((tmp_path / "out" / "sem_seg_predictions.json").read_text())
    assert [entry["category_id"] for entry in entries] == [10, 30]
    assert rle_decode(entries[1]["segmentation"]).tolist() == [[False, True]]
    kept = torch.load(tmp_path / "out" / "sem_seg_evaluation.pth", weights_only=True)
    np.testing.assert_equal(kept, scores)


def test_bad_input_is_named(truth_file):
    evaluator = SemSegEvaluator(METADATA)
    with pytest.raises(RuntimeError, match="reset"):
        evaluator.process([], [])
    with pytest.raises(RuntimeError, match="reset"):
        evaluator.evaluate()
    with pytest.raises(ValueError, match=r"truth\.png does not fit .* label 0 .* and 7 in"):
        evaluated(evaluator, truth_file([[7, 0]]), [[0, 0]])
    with pytest.raises(ValueError, match=r"does not fit .* \(1, 2\) but .* \(1, 3\)"):
        evaluated(evaluator, truth_file([[0, 0, 0]]), [[0, 0]])
    with pytest.raises(ValueError, match="has 3 'stuff_classes', not 4"):
        SemSegEvaluator(METADATA, num_classes=4)
    with pytest.raises(ValueError, match="has 0 'stuff_classes'"):
        SemSegEvaluator(Metadata(name="bare"))


@pytest.mark.parametrize("wrapped", [True, False])
def test_classes_say_the_same_as_scores(truth_file, wrapped):
    truth = truth_file([[0, 0, 0, 1], [255, 1, 1, 1]])
    predicted = [[0, 0, 1, 1], [2, 1, 1, 0]]
    expected = evaluated(SemSegEvaluator(METADATA), truth, predicted)
    for dtype in (torch.int64, torch.uint8):
        evaluator = SemSegEvaluator(METADATA)
        evaluator.reset()
        labels = torch.tensor(predicted, dtype=dtype)
        record = {"file_name": "a.jpg", "sem_seg_file_name": truth}
        evaluator.process([record], [{"sem_seg": labels} if wrapped else labels])
        np.testing.assert_equal(evaluator.evaluate()["sem_seg"], expected)


def test_the_overlap_of_outlines_follows_its_definition(truth_file):
    # 40 x 30 pixels: outlines are 1 pixel wide, and the border counts as one
    truth, predicted = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    truth[5:15, 5:15] = 1
    predicted[5:15, 6:16] = 1
    scores = evaluated(
        SemSegEvaluator(METADATA, boundary_iou=True), truth_file(truth), predicted.tolist()
    )
    # rings of 36 pixels, one beside the other: 2 × 9 in common above and below
    assert scores["BoundaryIoU-road"] == pytest.approx(100 * 18 / (36 + 36 - 18))
    assert scores["IoU-road"] == pytest.approx(100 * 90 / 110)
    assert scores["min(IoU, B-Iou)-road"] == scores["BoundaryIoU-road"]
    assert math.isnan(scores["BoundaryIoU-tree"])
    both = [scores["BoundaryIoU-sky"], scores["BoundaryIoU-road"]]
    assert scores["mBoundaryIoU"] == pytest.approx(np.mean(both))


def test_outlines_of_perfect_predictions_agree_and_what_is_ignored_does_not_count(truth_file):
    truth = np.zeros((30, 40), np.uint8)
    truth[5:15, 5:15] = 1
    truth[20:, :] = 255
    predicted = np.where(truth == 255, 2, truth)
    evaluator = SemSegEvaluator(METADATA, boundary_iou=True)
    scores = evaluated(evaluator, truth_file(truth), predicted.tolist())
    assert scores["mBoundaryIoU"] == pytest.approx(100)
    assert "BoundaryIoU-road" not in evaluated(
        SemSegEvaluator(METADATA), truth_file(truth), predicted.tolist()
    )


def test_a_list_of_one_dataset_is_that_dataset(truth_file):
    scores = evaluated(SemSegEvaluator([METADATA]), truth_file([[0, 1]]), [[0, 1]])
    assert scores["mIoU"] == 100
    with pytest.raises(ValueError, match="of one dataset, got 2"):
        SemSegEvaluator([METADATA, METADATA])


def test_an_unknown_dataset_is_named():
    with pytest.raises(KeyError, match="'ade20k_sem_seg_vall' is not registered; did you mean"):
        SemSegEvaluator("ade20k_sem_seg_vall")


def test_real_annotations_give_the_reference_values(shared_data):
    folder = shared_data / "data" / "ade20k"
    reference = json.loads((folder / "reference.json").read_text())
    names = [str(i) for i in range(151)]
    evaluator = SemSegEvaluator(Metadata(name="ade", stuff_classes=names, ignore_label=0))
    evaluator.reset()
    for file in sorted((folder / "annotations").glob("*.png")):
        predicted = np.asarray(Image.open(folder / "pred_synthetic" / file.name))
        record = {"file_name": file.name, "sem_seg_file_name": str(file)}
        evaluator.process([record], [scores_of(predicted, 151)])
    scores = evaluator.evaluate()["sem_seg"]
    assert scores["mIoU"] == pytest.approx(100 * reference["mIoU_gt_classes"])
    for name in ("fwIoU", "mACC", "pACC"):
        assert scores[name] == pytest.approx(100 * reference[name])
    for label, value in reference["per_class_iou"].items():
        assert scores[f"IoU-{label}"] == pytest.approx(100 * value)
