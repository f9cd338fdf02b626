import json
import os
import pathlib

import numpy as np
import pytest

from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.datasets import load_coco_json, register_coco_instances
from d2_data.detection_utils import create_keypoint_hflip_indices
from d2_structures import BoxMode

SHARED = pathlib.Path(
    os.environ.get("D2_SHARED", pathlib.Path(__file__).resolve().parents[3].parent / "shared")
)

KEYPOINTS = {"keypoints": ["nose", "left_ear", "right_ear"], "skeleton": [[1, 2]]}


def coco(**changes):
    """A file of two images, two categories (ids 7 and 3) and one polygon."""
    content = {
        "images": [
            {"id": 9, "file_name": "b.jpg", "height": 40, "width": 60},
            {"id": 2, "file_name": "a.jpg", "height": 30, "width": 50},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [annotation()],
    }
    content.update(changes)
    return content


def annotation(**changes):
    return {
        "id": 1,
        "image_id": 9,
        "category_id": 7,
        "bbox": [1.0, 2.0, 10.0, 20.0],
        "area": 200,
        "iscrowd": 0,
        "segmentation": [[1, 2, 11, 2, 11, 22]],
        **changes,
    }


@pytest.fixture
def load(tmp_path, request):
    """Writes a file and reads it back; with ``named`` under a dataset's name."""
    name = f"test_{request.node.name}"

    def write_and_load(content, named=True, **kwargs):
        path = tmp_path / "annotations.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return load_coco_json(path, "images", name if named else None, **kwargs)

    write_and_load.name = name
    yield write_and_load
    for catalog in (DatasetCatalog, MetadataCatalog):
        catalog.data.pop(name, None)


def test_images_come_in_the_order_of_their_ids(load):
    dicts = load(coco())
    assert [d["image_id"] for d in dicts] == [2, 9]
    assert dicts[0] == {
        "file_name": os.path.join("images", "a.jpg"),
        "height": 30,
        "width": 50,
        "image_id": 2,
        "annotations": [],
    }


def test_annotation_has_the_standard_fields_only(load):
    (read,) = load(coco())[1]["annotations"]
    assert read == {
        "iscrowd": 0,
        "bbox": [1.0, 2.0, 10.0, 20.0],
        "bbox_mode": BoxMode.XYWH_ABS,
        "category_id": 1,
        "segmentation": [[1, 2, 11, 2, 11, 22]],
    }


def test_category_ids_become_contiguous_in_the_order_of_ids(load):
    load(coco())
    metadata = MetadataCatalog.get(load.name)
    assert metadata.thing_classes == ["cat", "dog"]
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 7: 1}


def test_without_a_name_ids_stay_and_nothing_is_registered(load):
    before = set(MetadataCatalog.list())
    assert load(coco(), named=False)[1]["annotations"][0]["category_id"] == 7
    assert set(MetadataCatalog.list()) == before


def test_extra_keys_are_carried_over_unchanged(load):
    content = coco(annotations=[annotation(score=[1, {"a": 2}])])
    (read,) = load(content, extra_annotation_keys=["score", "absent"])[1]["annotations"]
    assert read["score"] == [1, {"a": 2}]
    assert "absent" not in read


def test_keypoints_become_continuous_coordinates(load):
    content = coco(annotations=[annotation(keypoints=[10, 20, 2, 0, 0, 0])])
    (read,) = load(content)[1]["annotations"]
    assert read["keypoints"] == [10.5, 20.5, 2, 0.5, 0.5, 0]


def test_invalid_polygons_are_dropped_but_valid_ones_of_the_instance_stay(load):
    content = coco(
        annotations=[annotation(segmentation=[[1, 2, 3, 4], [0] * 7, [1, 2, 11, 2, 11, 22]])]
    )
    (read,) = load(content)[1]["annotations"]
    assert read["segmentation"] == [[1, 2, 11, 2, 11, 22]]


def test_instance_without_a_valid_polygon_is_dropped_with_a_warning(load, caplog):
    assert load(coco(annotations=[annotation(segmentation=[[1, 2, 3, 4]])]))[1]["annotations"] == []
    assert "dropped 1 instances" in caplog.text


def test_empty_segmentation_leaves_a_box_only_instance(load):
    (read,) = load(coco(annotations=[annotation(segmentation=[])]))[1]["annotations"]
    assert "segmentation" not in read


def test_uncompressed_crowd_is_compressed(load):
    from d2_ops.host import rle_decode

    mask = np.zeros((40, 60), bool)
    mask[1:3, 2:5] = True
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    rle = {"size": [40, 60], "counts": counts}
    content = coco(annotations=[annotation(segmentation=rle, iscrowd=1)])
    (read,) = load(content)[1]["annotations"]
    assert isinstance(read["segmentation"]["counts"], bytes)
    assert read["iscrowd"] == 1
    np.testing.assert_array_equal(rle_decode(read["segmentation"]), mask)


def test_compressed_run_lengths_stay_as_they_are(load):
    rle = {"size": [40, 60], "counts": "PR2"}
    (read,) = load(coco(annotations=[annotation(segmentation=rle)]))[1]["annotations"]
    assert read["segmentation"] == rle


def test_boxes_of_five_numbers_are_rotated(load):
    (read,) = load(coco(annotations=[annotation(bbox=[5, 6, 4, 2, 30])]))[1]["annotations"]
    assert read["bbox"] == [5, 6, 4, 2, 30]
    assert read["bbox_mode"] is BoxMode.XYWHA_ABS


def test_text_ids_are_kept_and_sorted_behind_numbers(load):
    sizes = {"height": 40, "width": 60}
    images = [{"id": name, "file_name": f"{name}.jpg", **sizes} for name in ("b", 7, "a")]
    dicts = load(coco(images=images, annotations=[annotation(image_id="b", id="x1")]))
    assert [d["image_id"] for d in dicts] == [7, "a", "b"]
    assert [len(d["annotations"]) for d in dicts] == [0, 0, 1]


def test_null_fields_are_absent(load):
    bare = annotation(segmentation=None, keypoints=None, iscrowd=None, area=None, id=None)
    (read,) = load(coco(annotations=[bare]))[1]["annotations"]
    assert sorted(read) == ["bbox", "bbox_mode", "category_id"]


def test_box_of_an_outline_alone_is_that_of_the_outline(load):
    (read,) = load(coco(annotations=[annotation(bbox=None)]))[1]["annotations"]
    assert read["bbox"] == [1, 2, 10, 20]


def test_folders_of_file_names_are_kept(load):
    names = ["train\\straße\\a.jpg", "val/日本/b.jpg"]
    images = [{"id": i, "file_name": name, "height": 4, "width": 6} for i, name in enumerate(names)]
    assert [d["file_name"] for d in load(coco(images=images, annotations=[]))] == [
        os.path.join("images", "train/straße/a.jpg"),
        os.path.join("images", "val/日本/b.jpg"),
    ]


def test_file_without_annotations_gives_images_without_objects(load):
    content = coco()
    del content["annotations"]
    assert [d["annotations"] for d in load(content)] == [[], []]


def test_annotations_of_unlisted_images_are_reported(load, caplog):
    load(coco(annotations=[annotation(image_id=77)]))
    assert "1 annotations belong to images that the file does not list" in caplog.text
    assert "77" in caplog.text


def test_undeclared_category_error_names_file_annotation_and_remedy(load):
    with pytest.raises(KeyError, match=r"annotations\.json.*id 1 of image 9.*5.*\[3, 7\].*correct"):
        load(coco(annotations=[annotation(category_id=5)]))


def test_missing_file_error_names_the_path_and_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json' does not exist; check the path"):
        load_coco_json(tmp_path / "none.json", "images")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [', r"annotations\.json' is not valid JSON \(.*line 1 column"),
        ("[1]", "wanted an object with the keys .*'images'.* got list"),
        ('{"image": []}', r"lacks \['images', 'categories'\]; it has \['image'\]"),
        ('{"images": []}', r"lacks \['categories'\]; it has \['images'\]"),
    ],
)
def test_malformed_file_error_says_what_is_wrong(load, content, message):
    with pytest.raises(ValueError, match=message):
        load(content)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"bbox": [1, 2, 3]}, r"id 1 of image 9 has 'bbox' \[1, 2, 3\]"),
        ({"ignore": 1}, "'ignore': 1"),
        ({"keypoints": [1, 2]}, "2 keypoint values"),
        ({"segmentation": {"size": [2, 2], "counts": [3]}}, "add up to 3 for a mask of 2x2 = 4"),
        ({"segmentation": "abc"}, "'segmentation' of type str"),
    ],
)
def test_malformed_annotation_is_named(load, bad, message):
    with pytest.raises(ValueError, match=message):
        load(coco(annotations=[annotation(**bad)]))


def test_missing_fields_are_named(load):
    without_category = annotation()
    del without_category["category_id"]
    with pytest.raises(ValueError, match="'category_id' is missing from"):
        load(coco(annotations=[without_category]))
    with pytest.raises(ValueError, match=r"image id 1 \('a'\) lacks 'height', .* does not exist"):
        load(coco(images=[{"id": 1, "file_name": "a", "width": 3}], annotations=[]))


def test_ids_of_images_and_categories_must_differ(load):
    with pytest.raises(ValueError, match="image id 9 occurs more than once"):
        load(coco(images=coco()["images"] * 2))
    with pytest.raises(ValueError, match="category id 7 occurs more than once"):
        load(coco(categories=coco()["categories"] * 2))


def test_repeated_annotation_ids_are_read_with_one_warning(load, caplog):
    repeated = [annotation(), annotation(image_id=2), annotation(), annotation(id=5)]
    dicts = load(coco(annotations=repeated))
    assert [len(d["annotations"]) for d in dicts] == [1, 3]
    (record,) = caplog.records
    assert "2 annotations have an id that another one has, e.g. 1" in record.getMessage()


def test_annotations_without_ids_are_no_repetition(load, caplog):
    nameless = annotation()
    del nameless["id"]
    load(coco(annotations=[nameless, dict(nameless)]))
    assert not caplog.records


def test_declared_keypoints_become_metadata(load):
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog", **KEYPOINTS}]
    load(coco(categories=categories, annotations=[]))
    metadata = MetadataCatalog.get(load.name)
    assert metadata.keypoint_names == ["nose", "left_ear", "right_ear"]
    assert metadata.keypoint_flip_map == [("left_ear", "right_ear")]
    assert [rule[:2] for rule in metadata.keypoint_connection_rules] == [("nose", "left_ear")]


def test_keypoint_metadata_of_the_user_stays(load):
    own = {"keypoint_names": ("nose", "left_ear", "right_ear"), "keypoint_flip_map": ()}
    MetadataCatalog.get(load.name).set(**own)
    load(coco(categories=[{"id": 2, "name": "dog", **KEYPOINTS}], annotations=[]))
    metadata = MetadataCatalog.get(load.name)
    assert {key: metadata.get(key) for key in own} == own
    assert len(metadata.keypoint_connection_rules) == 1


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the folder of real data ($D2_SHARED)")
def test_keypoints_of_a_real_file_mirror_and_draw(load):
    folder = SHARED / "data" / "keypoints" / "mmpose_coco"
    load_coco_json(folder / "test_coco.json", folder, load.name)
    metadata = MetadataCatalog.get(load.name)
    builtin = MetadataCatalog.get("keypoints_coco_2017_val")
    assert metadata.keypoint_names == builtin.keypoint_names
    assert metadata.keypoint_flip_map == builtin.keypoint_flip_map
    assert len(metadata.keypoint_connection_rules) == 19
    assert metadata.keypoint_connection_rules[0][:2] == ("left_ankle", "left_knee")
    mirrored = create_keypoint_hflip_indices(load.name)
    assert mirrored == [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


def test_registered_dataset_is_read_when_asked_for(load, tmp_path):
    path = tmp_path / "later.json"
    register_coco_instances(load.name, {"thing_colors": [(0, 0, 0)]}, path, tmp_path / "images")
    metadata = MetadataCatalog.get(load.name)
    assert metadata.json_file == str(path)
    assert metadata.image_root == str(tmp_path / "images")
    assert metadata.evaluator_type == "coco"
    assert metadata.thing_colors == [(0, 0, 0)]
    path.write_text(json.dumps(coco()))
    assert len(DatasetCatalog.get(load.name)) == 2
    assert metadata.thing_classes == ["cat", "dog"]


@pytest.mark.parametrize("arguments", [(3, {}, "a", "b"), ("n", {}, 3, "b"), ("n", {}, "a", None)])
def test_register_refuses_arguments_of_another_type(arguments):
    with pytest.raises(TypeError, match=r"register_coco_instances: .* must be a string"):
        register_coco_instances(*arguments)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the folder of real data ($D2_SHARED)")
def test_real_coco_file_is_read_completely(load):
    folder = SHARED / "data" / "coco54"
    content = json.loads((folder / "instances_coco54.json").read_text())
    dicts = load_coco_json(folder / "instances_coco54.json", folder / "images", load.name)
    assert len(dicts) == len(content["images"]) == 54
    assert all(os.path.isfile(d["file_name"]) for d in dicts)
    annotations = [a for d in dicts for a in d["annotations"]]
    assert len(annotations) == len(content["annotations"])
    assert sum(isinstance(a["segmentation"], dict) for a in annotations) == 5
    assert {a["category_id"] for a in annotations} <= set(range(80))


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the folder of real data ($D2_SHARED)")
def test_uncompressed_crowds_of_real_files_equal_pycocotools(load):
    mask_util = pytest.importorskip("pycocotools.mask", reason="pycocotools is the reference")
    path = SHARED / "data" / "coco54" / "instances_coco54.json"
    original = {a["id"]: a for a in json.loads(path.read_text())["annotations"]}
    dicts = load_coco_json(path, "", extra_annotation_keys=["id"])
    crowds = [a for d in dicts for a in d["annotations"] if isinstance(a["segmentation"], dict)]
    assert crowds
    for crowd in crowds:
        rle = original[crowd["id"]]["segmentation"]
        assert crowd["segmentation"] == mask_util.frPyObjects(rle, *rle["size"])
