"""Any metric from files: what they are is told by the annotations."""

import json

import numpy as np
import pytest
from PIL import Image

from d2_eval import (
    evaluate_coco_files,
    evaluate_files,
    evaluate_lvis_files,
    evaluate_panoptic_files,
    evaluate_semantic_files,
)
from d2_eval.files import kind_of_annotations


def test_each_kind_is_told_by_its_annotations_and_gives_its_own_figures(shared_data):
    data = shared_data / "data"
    cases = {
        "coco": (
            data / "coco54" / "fakebbox_coco54_results.json",
            data / "coco54" / "instances_coco54.json",
            evaluate_coco_files,
        ),
        "lvis": (
            data / "lvis" / "synthetic_results.json",
            data / "lvis" / "lvis_val_100.json",
            evaluate_lvis_files,
        ),
        "panoptic": (
            data / "panoptic_sample" / "pred" / "panoptic_examples_pred.json",
            data / "panoptic_sample" / "panoptic_examples.json",
            evaluate_panoptic_files,
        ),
        "semantic": (
            data / "ade20k" / "pred_synthetic",
            data / "ade20k" / "annotations",
            evaluate_semantic_files,
        ),
    }
    for kind, (predictions, truth, function) in cases.items():
        assert kind_of_annotations(truth) == kind
        by_kind = evaluate_files(predictions, truth)
        np.testing.assert_equal(by_kind, function(predictions, truth))
        np.testing.assert_equal(evaluate_files(predictions, truth, kind), by_kind)


def test_an_option_of_another_kind_is_named(tmp_path):
    (tmp_path / "truth.json").write_text('{"images": [], "categories": []}')
    with pytest.raises(ValueError, match="fixed_ap is an option for lvis annotations, but .*coco"):
        evaluate_files(tmp_path / "results.json", tmp_path / "truth.json", fixed_ap=True)
    with pytest.raises(ValueError, match="kind is one of .*'voc'"):
        evaluate_files(tmp_path / "results.json", tmp_path / "truth.json", "voc")


def test_annotations_that_are_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no annotation file '.*nowhere.json'"):
        evaluate_files(tmp_path / "results.json", tmp_path / "nowhere.json")


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "empty.json").touch()
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(ValueError, match="empty.json"):
        evaluate_files(tmp_path / "results.json", tmp_path / "empty.json")


# Panoptic


@pytest.mark.parametrize(
    ("predictions", "truth", "key"),
    [
        ("coco_panoptic/pred/panoptic_val2017_pred", "annotations/panoptic_val2017", "val24_synth"),
        ("panoptic_sample/pred/panoptic_examples_pred", "panoptic_examples", "synthetic"),
    ],
)
def test_panoptic_files_give_the_official_quality(shared_data, predictions, truth, key):
    folder = shared_data / "data" / predictions.split("/")[0]
    content = json.loads((folder / "reference.json").read_text())
    reference = next(value for name, value in content.items() if name.startswith(key))
    scores = evaluate_panoptic_files(
        shared_data / "data" / f"{predictions}.json", folder / f"{truth}.json"
    )["panoptic_seg"]
    assert scores["PQ"] == pytest.approx(100 * reference["All"]["pq"])
    assert scores["RQ"] == pytest.approx(100 * reference["All"]["rq"])


@pytest.fixture
def panoptic(shared_data, tmp_path):
    """Copy the sample's predictions to be changed; return them and how to evaluate."""
    folder = shared_data / "data" / "panoptic_sample"
    content = json.loads((folder / "pred" / "panoptic_examples_pred.json").read_text())

    def evaluate():
        (tmp_path / "predictions.json").write_text(json.dumps(content))
        return evaluate_panoptic_files(
            tmp_path / "predictions.json",
            folder / "panoptic_examples.json",
            predictions_folder=folder / "pred" / "panoptic_examples_pred",
        )

    return content, evaluate


def test_panoptic_predictions_that_do_not_fit_are_named(panoptic):
    content, evaluate = panoptic
    segments = content["annotations"][0].pop("segments_info")
    with pytest.raises(ValueError, match=r"predictions.json': annotation 0 has no 'segments_info'"):
        evaluate()
    content["annotations"][0]["segments_info"] = segments
    content["annotations"].append(content["annotations"][0])
    with pytest.raises(ValueError, match="annotation 2 is a second one of image"):
        evaluate()
    del content["annotations"][1:]
    with pytest.raises(ValueError, match="1 of 2 annotated images have no prediction"):
        evaluate()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 5}, "annotation 0 is of image 5, which .*examples.json' does not annotate"),
        ({"image_id": [5]}, r"annotation 0 has the image_id \[5\] and the file_name"),
        ({"segments_info": {}}, r"annotation 0, of image \d+, has the segments_info {}; wanted"),
        ({"segments_info": [{"id": 1}]}, r"has the segment {'id': 1}; wanted .* category_id"),
        ({"segments_info": [{"id": 1, "category_id": 1}] * 2}, "two segments of the id 1"),
    ],
)
def test_panoptic_entries_that_are_wrong_are_named(panoptic, change, message):
    content, evaluate = panoptic
    content["annotations"][0] |= change
    with pytest.raises(ValueError, match=f"predictions.json'.*{message}"):
        evaluate()


def test_panoptic_segments_that_are_wrong_are_named_with_their_file(panoptic):
    content, evaluate = panoptic
    content["annotations"][0]["segments_info"][0]["category_id"] = 999
    with pytest.raises(ValueError, match=r"unknown categories \{999\}") as error:
        evaluate()
    assert "predictions.json" in error.value.__notes__[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["categories"][0].pop("isthing"), "category 0 has no 'isthing'"),
        (
            lambda c: c["annotations"][0]["segments_info"][0].update(category_id=999),
            r"annotation 0, of image \d+, has a segment \d+ of the category 999, which",
        ),
    ],
)
def test_panoptic_annotations_that_are_wrong_are_named(shared_data, tmp_path, change, message):
    folder = shared_data / "data" / "panoptic_sample"
    content = json.loads((folder / "panoptic_examples.json").read_text())
    change(content)
    (tmp_path / "truth.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"truth.json': {message}"):
        evaluate_panoptic_files(
            folder / "pred" / "panoptic_examples_pred.json", tmp_path / "truth.json"
        )


@pytest.mark.parametrize("entries", [5, [5], {}])
def test_annotations_that_are_no_entries_are_named(panoptic, entries):
    content, evaluate = panoptic
    content["annotations"] = entries
    with pytest.raises(ValueError, match=r"predictions.json'.* wanted COCO's panoptic format"):
        evaluate()


@pytest.mark.parametrize("kind", ["coco", "lvis"])
def test_results_that_were_cut_short_are_named(kind, tmp_path, coco_content):
    for image in coco_content["images"]:
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    (tmp_path / "truth.json").write_text(json.dumps(coco_content))
    (tmp_path / "results.json").write_text('[{"image_id": 1, "category')
    with pytest.raises(ValueError, match=r"results.json' is not valid JSON .*cut short"):
        evaluate_files(tmp_path / "results.json", tmp_path / "truth.json", kind)


def test_a_folder_in_place_of_results_is_named(tmp_path, coco_content):
    (tmp_path / "truth.json").write_text(json.dumps(coco_content))
    with pytest.raises(ValueError, match="is a folder; wanted a file of predictions"):
        evaluate_files(tmp_path, tmp_path / "truth.json")


def test_errors_about_results_name_both_files(tmp_path, coco_content):
    (tmp_path / "truth.json").write_text(json.dumps(coco_content))
    entry = {"image_id": 99, "category_id": 3, "bbox": [1, 1, 2, 2], "score": 0.5}
    (tmp_path / "results.json").write_text(json.dumps([entry]))
    with pytest.raises(ValueError, match="result 0 has image_id 99") as error:
        evaluate_files(tmp_path / "results.json", tmp_path / "truth.json")
    (note,) = error.value.__notes__
    assert "results.json" in note
    assert "truth.json" in note


def test_pngs_that_are_missing_are_named(panoptic):
    content, evaluate = panoptic
    content["annotations"][0]["file_name"] = "nowhere.png"
    message = r"predictions.json': annotation 0, of image \d+, .*nowhere.png', which is not there"
    with pytest.raises(FileNotFoundError, match=message):
        evaluate()


# Semantic


def test_folders_of_labels_give_the_reference_values(shared_data):
    folder = shared_data / "data" / "ade20k"
    reference = json.loads((folder / "reference.json").read_text())
    scores = evaluate_semantic_files(
        folder / "pred_synthetic", folder / "annotations", ignore_label=0
    )["sem_seg"]
    assert scores["mIoU"] == pytest.approx(100 * reference["mIoU_gt_classes"])
    assert scores["pACC"] == pytest.approx(100 * reference["pACC"])


@pytest.fixture
def labels(tmp_path):
    def write(name, rows):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.array(rows, np.uint8)).save(path)

    return write


def test_labels_are_found_by_their_names_below_the_folders(labels, tmp_path):
    labels("gt/a/one.png", [[0, 1, 255]])
    labels("gt/b/one.png", [[1, 1, 2]])
    labels("found/a/one.png", [[0, 1, 1]])
    labels("found/b/one.bmp", [[1, 1, 1]])
    scores = evaluate_semantic_files(tmp_path / "found", tmp_path / "gt")["sem_seg"]
    assert scores["IoU-1"] == pytest.approx(75)
    assert scores["IoU-2"] == 0
    named = evaluate_semantic_files(
        tmp_path / "found", tmp_path / "gt", class_names=["sky", "road", "tree"]
    )["sem_seg"]
    assert named["IoU-road"] == scores["IoU-1"]


def test_a_semantic_json_file_is_the_same_as_label_images(labels, tmp_path):
    from d2_ops.host import rle_encode

    predicted = np.array([[0, 1, 1], [2, 2, 0]])
    labels("gt/one.png", [[0, 1, 2], [2, 2, 255]])
    labels("found/one.png", predicted)
    entries = []
    for label, number in ((0, 10), (1, 20), (2, 30)):
        rle = rle_encode(predicted == label)
        counts = {"size": rle["size"], "counts": rle["counts"].decode()}
        entries.append(
            {"file_name": "images/one.jpg", "category_id": number, "segmentation": counts}
        )
    (tmp_path / "found.json").write_text(json.dumps(entries))
    ids = {10: 0, 20: 1, 30: 2}
    from_json = evaluate_semantic_files(tmp_path / "found.json", tmp_path / "gt", dataset_ids=ids)
    assert from_json == evaluate_semantic_files(tmp_path / "found", tmp_path / "gt")
    with pytest.raises(ValueError, match="entry 1 of .*found.json' has category_id 20"):
        evaluate_semantic_files(tmp_path / "found.json", tmp_path / "gt", dataset_ids={10: 0})


def test_labels_that_do_not_fit_are_named(labels, tmp_path):
    labels("gt/one.png", [[0, 1]])
    labels("gt/two.png", [[0, 1]])
    labels("found/one.png", [[0, 1]])
    with pytest.raises(FileNotFoundError, match=r"1 of 2 label images .*\['two'\]"):
        evaluate_semantic_files(tmp_path / "found", tmp_path / "gt")
    labels("found/two.png", [[0, 7]])
    with pytest.raises(ValueError, match="gt/two.png' does not fit its prediction .* 2 classes"):
        evaluate_semantic_files(tmp_path / "found", tmp_path / "gt")
    labels("found/two.png", [[0, 0, 1]])
    with pytest.raises(ValueError, match="gt/two.png' does not fit"):
        evaluate_semantic_files(tmp_path / "found", tmp_path / "gt")
    with pytest.raises(FileNotFoundError, match=r"no folder of annotations '.*nowhere'"):
        evaluate_semantic_files(tmp_path / "found", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="annotations '.*empty' has no label image"):
        evaluate_semantic_files(tmp_path / "found", tmp_path / "empty")


@pytest.mark.parametrize("content", ['{"a": 1}', '[{"file_name": "one.jpg"}]'])
def test_json_that_holds_no_segments_is_named(labels, tmp_path, content):
    labels("gt/one.png", [[0, 1]])
    (tmp_path / "found.json").write_text(content)
    with pytest.raises(ValueError, match="found.json' .* with file_name, category_id and segm"):
        evaluate_semantic_files(tmp_path / "found.json", tmp_path / "gt")
