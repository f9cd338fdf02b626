import json

import pytest

from d2_data import DatasetCatalog, Metadata
from d2_eval import CocoGroundTruth, evaluate_coco_results
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


@pytest.fixture
def load(tmp_path, coco_content):
    """Changes annotations, by their place, and reads the file."""

    def write_and_load(changes=None, **content):
        for place, fields in (changes or {}).items():
            coco_content["annotations"][place] |= fields
        path = tmp_path / "changed.json"
        path.write_text(json.dumps({**coco_content, **content}))
        return CocoGroundTruth.load(path)

    return write_and_load


def test_an_annotation_whose_id_is_0_is_numbered_anew_with_a_warning(load, caplog):
    assert sorted(load({1: {"id": 0}}).coco.anns) == [1, 2, 3]
    assert "changed.json has an annotation with the id 0" in caplog.text


def test_annotations_with_the_same_id_are_all_kept_with_a_warning(load, caplog):
    truth = load({1: {"id": 3}})
    assert [a["category_id"] for a in truth.coco.anns.values()] == [3, 7, 3]
    assert "changed.json has annotations with the same id" in caplog.text


@pytest.mark.parametrize("ids", [("a", "b", "c"), (None, None, None), (1, "1", 2), (1.5, 2, 3)])
def test_ids_that_are_no_numbers_are_replaced_in_silence(load, caplog, ids):
    truth = load({place: {"id": identity} for place, identity in enumerate(ids)})
    assert sorted(truth.coco.anns) == [1, 2, 3]
    assert not caplog.records


def test_ids_that_serve_stay(load):
    assert sorted(load({1: {"id": 77}}).coco.anns) == [1, 3, 77]


def test_missing_area_is_that_of_the_mask(load):
    triangle = [10, 10, 30, 10, 30, 30]
    truth = load({0: {"area": None, "segmentation": [triangle]}})
    assert truth.coco.anns[1]["area"] == pytest.approx(200, abs=20)
    assert truth.coco.anns[1]["bbox"] == [10, 10, 20, 20]


def test_missing_area_without_a_mask_is_that_of_the_box(load):
    truth = load({0: {"area": None, "segmentation": None}, 1: {"area": None, "segmentation": []}})
    assert [truth.coco.anns[i]["area"] for i in (1, 2)] == [400, 1600]


def test_missing_boxes_are_those_of_the_outlines(load):
    assert load({0: {"bbox": None}}).coco.anns[1]["bbox"] == [10, 10, 20, 20]


def test_null_crowd_flags_are_0(load):
    assert load({0: {"iscrowd": None}}).coco.anns[1]["iscrowd"] == 0


def test_categories_that_share_a_name_are_told_apart(load):
    categories = [{"id": 0, "name": "cat"}, {"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    assert load(categories=categories).class_names == ("cat (id 0)", "cat (id 3)", "dog")


def test_an_annotation_that_cannot_be_understood_is_named(load):
    with pytest.raises(ValueError, match=r"changed\.json.*: annotation id 2 of image 1 has 'bbox'"):
        load({1: {"bbox": ["1", "2", "3", "4"]}})


@pytest.mark.parametrize("kind", ["text", "mixed"])
@pytest.mark.parametrize("fast", [True, False])
def test_ids_of_any_kind_evaluate_alike(tmp_path, coco_content, kind, fast):
    names = {"text": {1: "one", 2: "two"}, "mixed": {1: "one", 2: 2}}[kind]
    categories = {"text": {3: "c", 7: "d"}, "mixed": {3: "c", 7: 7}}[kind]
    for image in coco_content["images"]:
        image["id"] = names[image["id"]]
    for category in coco_content["categories"]:
        category["id"] = categories[category["id"]]
    for annotation in coco_content["annotations"]:
        annotation["image_id"] = names[annotation["image_id"]]
        annotation["category_id"] = categories[annotation["category_id"]]
        annotation["id"] = f"annotation {annotation['id']}"
    path = tmp_path / "text.json"
    path.write_text(json.dumps(coco_content))
    kept = ("image_id", "category_id", "bbox")
    found = [
        {"score": 0.5, **{key: annotation[key] for key in kept}}
        for annotation in coco_content["annotations"][:2]
    ]
    curves = evaluate_coco_results(path, found, "bbox", use_fast_impl=fast)
    assert {name: round(ap) for name, ap in curves.per_class().items()} == {"cat": 50, "dog": 100}
    one = evaluate_coco_results(path, found, "bbox", use_fast_impl=fast, image_ids=[names[1]])
    assert one.metrics()["AP"] == pytest.approx(100)


# Several datasets as one


@pytest.fixture
def two_files(tmp_path, coco_content):
    second = json.loads(json.dumps(coco_content))
    for image in second["images"]:
        image["id"] += 10
    for annotation in second["annotations"]:
        annotation["image_id"] += 10
    paths = [tmp_path / "first.json", tmp_path / "second.json"]
    for path, content in zip(paths, (coco_content, second), strict=True):
        path.write_text(json.dumps(content))
    return paths


def test_several_datasets_are_evaluated_as_one(two_files):
    joined = CocoGroundTruth.load(two_files)
    assert joined.name == "first+second"
    assert sorted(joined.coco.imgs) == [1, 2, 11, 12]
    assert sorted(joined.coco.anns) == [1, 2, 3, 4, 5, 6]
    results = [
        {key: a[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5}
        for a in CocoGroundTruth.load(two_files[1]).coco.dataset["annotations"]
    ]
    curves = evaluate_coco_results(joined, results, "bbox")
    assert curves.average_recall() == pytest.approx(50)


def test_a_list_of_one_dataset_is_that_dataset(two_files):
    assert CocoGroundTruth.load(two_files[:1]).name == "first"


def test_datasets_that_share_image_ids_cannot_be_one(two_files):
    with pytest.raises(ValueError, match="'first' and 'first' both have an image id 1"):
        CocoGroundTruth.load([two_files[0], two_files[0]])


def test_datasets_of_different_classes_cannot_be_one(two_files):
    content = json.loads(two_files[1].read_text())
    content["categories"][0]["name"] = "fox"
    two_files[1].write_text(json.dumps(content))
    with pytest.raises(ValueError, match="'first' and 'second' have different classes"):
        CocoGroundTruth.load(two_files)


def test_no_dataset_at_all_is_an_error():
    with pytest.raises(ValueError, match="the list of names is empty"):
        CocoGroundTruth.load([])


def test_objects_come_first_where_objects_and_materials_share_one_list(tmp_path, coco_content):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(coco_content))
    metadata = Metadata(
        name="joint",
        json_file=str(path),
        thing_classes=["cat", "dog", "grass"],
        stuff_classes=["cat", "dog", "grass"],
        thing_dataset_id_to_contiguous_id={3: 0, 7: 1},
    )
    assert CocoGroundTruth.load(metadata).class_names == ("cat", "dog")
    with pytest.raises(ValueError, match="3 thing_classes but .* 2 categories"):
        CocoGroundTruth.load(Metadata(**{**metadata.as_dict(), "stuff_classes": ["grass"]}))
