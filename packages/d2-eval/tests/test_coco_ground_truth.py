import json

import pytest

from d2_data import DatasetCatalog, Metadata
from d2_eval import CocoGroundTruth
from d2_structures import BoxMode


@pytest.fixture
def json_file(tmp_path, coco_content):
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(coco_content))
    return path


SAMPLES = [
    {
        "file_name": "one.png",
        "image_id": 5,
        "height": 80,
        "width": 100,
        "annotations": [
            {"bbox": [10, 10, 30, 30], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 1}
        ],
    }
]


def test_a_file_is_read_by_its_path(json_file):
    for dataset in (json_file, str(json_file)):
        truth = CocoGroundTruth.load(dataset)
        assert truth.category_ids == (3, 7)
        assert truth.class_names == ("cat", "dog")
        assert len(truth.coco.anns) == 3


def test_reading_prints_nothing(json_file, capsys):
    CocoGroundTruth.load(json_file)
    assert capsys.readouterr().out == ""


def test_a_catalog_name_leads_to_its_file(json_file, register):
    register("truth_named", json_file=str(json_file))
    truth = CocoGroundTruth.load("truth_named")
    assert truth.name == "truth_named"
    assert truth.category_ids == (3, 7)


def test_the_mapping_of_the_metadata_gives_the_order(json_file):
    metadata = Metadata(
        name="reversed",
        json_file=str(json_file),
        thing_classes=["dog", "cat"],
        thing_dataset_id_to_contiguous_id={3: 1, 7: 0},
    )
    truth = CocoGroundTruth.load(metadata)
    assert truth.category_ids == (7, 3)
    assert truth.class_names == ("dog", "cat")


def test_an_unknown_name_lists_close_ones(json_file, register):
    register("truth_similar", json_file=str(json_file))
    with pytest.raises(KeyError, match="truth_similar"):
        CocoGroundTruth.load("truth_similr")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        CocoGroundTruth.load(tmp_path / "absent.json")


def test_a_truncated_file_is_named(json_file):
    json_file.write_text(json_file.read_text()[:100])
    with pytest.raises(ValueError, match=r"annotations\.json"):
        CocoGroundTruth.load(json_file)


def test_a_mapped_category_that_the_file_lacks_is_named(json_file):
    metadata = Metadata(
        name="other",
        json_file=str(json_file),
        thing_dataset_id_to_contiguous_id={3: 0, 9: 1},
    )
    with pytest.raises(ValueError, match=r"\[9\]"):
        CocoGroundTruth.load(metadata)


def test_a_mapping_with_gaps_is_an_error(json_file):
    metadata = Metadata(
        name="gaps",
        json_file=str(json_file),
        thing_dataset_id_to_contiguous_id={3: 0, 7: 2},
    )
    with pytest.raises(ValueError, match=r"0\.\.1"):
        CocoGroundTruth.load(metadata)


def test_class_names_of_another_count_are_an_error(json_file):
    metadata = Metadata(name="names", json_file=str(json_file), thing_classes=["cat"])
    with pytest.raises(ValueError, match="1 thing_classes"):
        CocoGroundTruth.load(metadata)


def test_a_file_without_annotations_says_so(tmp_path, coco_content):
    del coco_content["annotations"]
    path = tmp_path / "test.json"
    path.write_text(json.dumps(coco_content))
    assert not CocoGroundTruth.load(path).has_annotations


def test_missing_areas_are_those_of_the_boxes(tmp_path, coco_content):
    del coco_content["annotations"][0]["area"]
    del coco_content["annotations"][0]["iscrowd"]
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(coco_content))
    assert CocoGroundTruth.load(path).coco.anns[1]["area"] == 400


def test_a_dataset_without_a_file_is_converted(register):
    register("truth_standard", SAMPLES, thing_classes=["cat", "dog"])
    truth = CocoGroundTruth.load("truth_standard")
    assert truth.coco.anns[1]["bbox"] == [10, 10, 20, 20]
    assert truth.coco.anns[1]["category_id"] == 1


def test_a_conversion_is_kept_and_used_again(register, tmp_path):
    samples = [dict(SAMPLES[0])]
    register("truth_cached", samples, thing_classes=["cat", "dog"])
    CocoGroundTruth.load("truth_cached", cache_dir=tmp_path)
    assert (tmp_path / "truth_cached_coco_format.json").exists()
    samples[0]["annotations"] = []
    kept = CocoGroundTruth.load("truth_cached", cache_dir=tmp_path)
    assert len(kept.coco.anns) == 1
    fresh = CocoGroundTruth.load("truth_cached", cache_dir=tmp_path, allow_cached=False)
    assert len(fresh.coco.anns) == 0


def test_metadata_that_leads_nowhere_is_an_error():
    with pytest.raises(ValueError, match="'json_file'"):
        CocoGroundTruth.load(Metadata(name="nowhere"))


def test_a_dataset_that_is_generated_when_read_is_found(tmp_path, coco_content, register):
    path = tmp_path / "late.json"

    def generate():
        path.write_text(json.dumps(coco_content))
        return []

    DatasetCatalog.register("truth_late", generate)
    register("truth_late", json_file=str(path))
    assert len(CocoGroundTruth.load("truth_late").coco.anns) == 3


def test_an_annotation_whose_id_is_0_is_warned_about(tmp_path, coco_content, caplog):
    coco_content["annotations"][1]["id"] = 0
    path = tmp_path / "zero.json"
    path.write_text(json.dumps(coco_content))
    CocoGroundTruth.load(path)
    assert "zero.json has an annotation with the id 0" in caplog.text
