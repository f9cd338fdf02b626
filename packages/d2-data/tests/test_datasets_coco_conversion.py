import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d2_data import Metadata
from d2_data.datasets import convert_to_coco_dict, convert_to_coco_json, load_coco_json
from d2_data.datasets.coco_conversion import coco_file_of
from d2_ops.host import rle_encode
from d2_structures import BoxMode


def sample(**instance: object) -> list[dict]:
    annotation = {
        "bbox": [10.0, 20.0, 30.0, 60.0],
        "bbox_mode": BoxMode.XYXY_ABS,
        "category_id": 0,
        **instance,
    }
    return [
        {
            "file_name": "a.png",
            "image_id": 9,
            "height": 80,
            "width": 100,
            "annotations": [annotation],
        }
    ]


def converted(register, name: str, samples: list[dict], **metadata: object) -> dict:
    register(name, samples, **{"thing_classes": ["cat", "dog"], **metadata})
    return convert_to_coco_dict(name)


def test_boxes_become_xywh(register):
    content = converted(register, "conversion_boxes", sample())
    (annotation,) = content["annotations"]
    assert annotation["bbox"] == [10, 20, 20, 40]
    assert annotation["area"] == 800
    assert annotation["image_id"] == 9
    assert content["images"] == [{"id": 9, "width": 100, "height": 80, "file_name": "a.png"}]


def test_class_ids_are_mapped_back_to_the_datasets(register):
    content = converted(
        register,
        "conversion_classes",
        sample(category_id=1),
        thing_dataset_id_to_contiguous_id={4: 0, 8: 1},
    )
    assert content["annotations"][0]["category_id"] == 8
    assert content["categories"] == [{"id": 4, "name": "cat"}, {"id": 8, "name": "dog"}]


def test_the_area_is_that_of_the_polygons(register):
    triangle = [10, 20, 30, 20, 10, 60]
    content = converted(register, "conversion_polygons", sample(segmentation=[triangle]))
    (annotation,) = content["annotations"]
    assert annotation["segmentation"] == [triangle]
    assert annotation["area"] == pytest.approx(400, rel=0.05)


def test_run_lengths_become_text(register):
    mask = np.zeros((80, 100), dtype=bool)
    mask[5:15, 10:40] = True
    content = converted(register, "conversion_rle", sample(segmentation=rle_encode(mask)))
    (annotation,) = content["annotations"]
    assert annotation["area"] == 300
    assert isinstance(annotation["segmentation"]["counts"], str)
    json.dumps(content)


def test_keypoints_become_pixel_indices(register):
    keypoints = [10.5, 20.5, 2, 0.0, 0.0, 0]
    content = converted(register, "conversion_keypoints", sample(keypoints=keypoints))
    (annotation,) = content["annotations"]
    assert annotation["keypoints"] == [10, 20, 2, -0.5, -0.5, 0]
    assert annotation["num_keypoints"] == 1


def test_images_without_an_id_are_numbered(register):
    samples = sample()
    del samples[0]["image_id"]
    content = converted(register, "conversion_numbers", samples)
    assert content["annotations"][0]["image_id"] == content["images"][0]["id"] == 0


@pytest.mark.parametrize("kind", [np.int64, torch.tensor])
def test_numbers_of_numpy_and_torch_become_those_of_json(kind):
    (record,) = sample(category_id=kind(1), iscrowd=kind(0))
    record |= {"image_id": kind(7), "height": kind(80), "width": kind(100)}
    metadata = Metadata(name="x", thing_classes=["cat", "dog"])
    content = coco_file_of([record], metadata, "here").content()
    assert json.loads(json.dumps(content))["annotations"][0]["image_id"] == 7


def test_a_class_out_of_range_is_named(register):
    with pytest.raises(ValueError, match=r"image 9, annotation 0: category_id 5"):
        converted(register, "conversion_range", sample(category_id=5))


def test_missing_class_names_are_an_error(register):
    with pytest.raises(ValueError, match="thing_classes"):
        converted(register, "conversion_names", sample(), thing_classes=[])


def test_odd_keypoints_are_an_error(register):
    with pytest.raises(ValueError, match="triples"):
        converted(register, "conversion_odd", sample(keypoints=[1, 2]))


def test_the_file_is_written_once_unless_asked(register, tmp_path):
    register("conversion_file", sample(), thing_classes=["cat", "dog"])
    path = tmp_path / "deep" / "file.json"
    convert_to_coco_json("conversion_file", path)
    assert len(json.loads(path.read_text())["annotations"]) == 1
    path.write_text("{}")
    convert_to_coco_json("conversion_file", path)
    assert path.read_text() == "{}"
    convert_to_coco_json("conversion_file", path, allow_cached=False)
    assert path.read_text() != "{}"


# Rotated boxes, arrays, and what else comes out as it went in


def only_annotation(**instance: object) -> dict:
    metadata = Metadata(name="conversion", thing_classes=["cat", "dog"])
    (annotation,) = coco_file_of(sample(**instance), metadata, "here").content()["annotations"]
    json.dumps(annotation)
    return annotation


@pytest.mark.parametrize("container", [list, tuple, np.array, torch.tensor])
def test_a_rotated_box_stays_rotated(container):
    box = container([40.0, 30.0, 20.0, 10.0, 30.0])
    annotation = only_annotation(bbox=box, bbox_mode=BoxMode.XYWHA_ABS)
    assert annotation["bbox"] == [40, 30, 20, 10, 30]
    assert annotation["area"] == 200


def test_a_rotated_box_comes_back_from_the_file(tmp_path):
    box = [40.0, 30.0, 20.0, 10.0, -75.5]
    metadata = Metadata(name="conversion", thing_classes=["cat"])
    records = sample(bbox=box, bbox_mode=BoxMode.XYWHA_ABS)
    coco_file_of(records, metadata, "here").write(tmp_path / "rotated.json")
    (record,) = load_coco_json(tmp_path / "rotated.json", tmp_path, "conversion_rotated")
    (annotation,) = record["annotations"]
    assert annotation["bbox"] == box
    assert annotation["bbox_mode"] == BoxMode.XYWHA_ABS


def test_boxes_as_fractions_become_pixels():
    annotation = only_annotation(bbox=[0.1, 0.25, 0.3, 0.5], bbox_mode=BoxMode.XYXY_REL)
    assert annotation["bbox"] == [10, 20, 20, 20]


@pytest.mark.parametrize("container", [np.array, torch.tensor, lambda flat: [flat[:3], flat[3:]]])
def test_keypoints_may_be_arrays(container):
    flat = [10.5, 20.5, 2.0, 30.5, 40.5, 1.0]
    keypoints = container(flat)
    annotation = only_annotation(keypoints=keypoints)
    assert annotation["keypoints"] == [10, 20, 2, 30, 40, 1]
    assert annotation["num_keypoints"] == 2
    assert np.asarray(keypoints).reshape(-1).tolist() == flat  # what came in stays as it was


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_a_mask_array_becomes_run_lengths(dtype):
    mask = np.zeros((80, 100), dtype=dtype)
    mask[5:15, 10:40] = 1
    annotation = only_annotation(segmentation=mask)
    assert annotation["segmentation"]["counts"] == rle_encode(mask)["counts"].decode()
    assert annotation["area"] == 300


def test_polygons_may_be_arrays():
    triangle = np.array([10.0, 20.0, 30.0, 20.0, 10.0, 60.0])
    assert only_annotation(segmentation=[triangle])["segmentation"] == [triangle.tolist()]


def test_a_missing_box_is_that_of_the_mask():
    mask = np.zeros((80, 100), dtype=bool)
    mask[5:15, 10:40] = True
    assert only_annotation(bbox=None, segmentation=mask)["bbox"] == [10, 5, 30, 10]


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        ({"bbox": [1, 2, 3]}, r"here, image 9, annotation 0 has 'bbox' \[1, 2, 3\]"),
        ({"bbox": [1, 2, 3, float("nan")]}, "here, image 9, annotation 0 has 'bbox'"),
        ({"bbox": None}, "neither a 'bbox' nor a 'segmentation'"),
        ({"segmentation": {"size": [80, 100]}}, "without 'counts'"),
        ({"segmentation": rle_encode(np.ones((8, 9), bool))}, "mask of 8x9"),
    ],
)
def test_what_cannot_be_written_is_named(instance, message):
    with pytest.raises(ValueError, match=message):
        only_annotation(**instance)


@pytest.mark.parametrize("key", ["file_name", "height", "width"])
def test_a_record_without_name_or_size_is_named(key):
    records = sample()
    del records[0][key]
    with pytest.raises(ValueError, match=f"here: image 9 has no '{key}'"):
        coco_file_of(records, Metadata(name="x", thing_classes=["cat"]), "here")


def test_file_names_may_be_relative_to_a_folder(tmp_path):
    records = sample()
    records[0]["file_name"] = str(tmp_path / "sub" / "a.png")
    metadata = Metadata(name="x", thing_classes=["cat"])
    file = coco_file_of(records, metadata, "here", image_root=tmp_path)
    assert file.images[0]["file_name"] == "sub/a.png"


def test_classes_without_a_dataset_id_are_no_categories():
    """In COCO's panoptic layout objects and materials share one list of classes."""
    metadata = Metadata(
        name="x", thing_classes=["cat", "sky"], thing_dataset_id_to_contiguous_id={17: 0}
    )
    assert coco_file_of(sample(), metadata, "here").categories == [{"id": 17, "name": "cat"}]
    with pytest.raises(ValueError, match="category_id 1 .* has no dataset id for it"):
        coco_file_of(sample(category_id=1), metadata, "here")


def test_keypoint_names_and_bones_come_back_from_the_file(tmp_path, register):
    register(
        "conversion_bones",
        sample(keypoints=[10.5, 20.5, 2, 30.5, 20.5, 2]),
        thing_classes=["cat"],
        keypoint_names=["left_ear", "right_ear"],
        keypoint_connection_rules=[("left_ear", "right_ear", (0, 1, 2))],
    )
    convert_to_coco_json("conversion_bones", tmp_path / "bones.json")
    content = json.loads((tmp_path / "bones.json").read_text())
    assert content["categories"][0]["keypoints"] == ["left_ear", "right_ear"]
    assert content["categories"][0]["skeleton"] == [[1, 2]]
    (record,) = load_coco_json(tmp_path / "bones.json", tmp_path, "conversion_bones_again")
    assert record["annotations"][0]["keypoints"] == [10.5, 20.5, 2, 30.5, 20.5, 2]


coordinates = st.integers(0, 640).map(lambda eighths: eighths / 8)
boxes = st.tuples(coordinates, coordinates, coordinates, coordinates).map(list)
rotated_boxes = st.tuples(*[coordinates] * 4, st.integers(-180, 180).map(float)).map(list)
polygons = st.lists(st.lists(coordinates, min_size=6, max_size=6), min_size=1, max_size=3)
keypoints = st.lists(st.tuples(coordinates, coordinates, st.integers(0, 2)), min_size=1).map(
    lambda points: [number for point in points for number in point]
)


@st.composite
def annotations(draw) -> dict:
    rotated = draw(st.booleans())
    annotation = {
        "bbox": draw(rotated_boxes if rotated else boxes),
        "bbox_mode": BoxMode.XYWHA_ABS if rotated else BoxMode.XYWH_ABS,
        "category_id": draw(st.integers(0, 1)),
        "iscrowd": draw(st.integers(0, 1)),
    }
    if draw(st.booleans()):
        annotation["segmentation"] = draw(polygons)
    if draw(st.booleans()):
        annotation["keypoints"] = draw(keypoints)
    return annotation


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(annotations(), max_size=4))
def test_what_is_written_is_read_again(tmp_path, written):
    record = {"file_name": str(tmp_path / "a.png"), "image_id": 4, "height": 80, "width": 100}
    metadata = Metadata(
        name="x",
        thing_classes=["cat", "dog"],
        thing_dataset_id_to_contiguous_id={4: 0, 8: 1},
    )
    file = coco_file_of([record | {"annotations": written}], metadata, "here", image_root=tmp_path)
    file.write(tmp_path / "round.json")
    (read,) = load_coco_json(tmp_path / "round.json", tmp_path)
    ids = {4: 0, 8: 1}
    read["annotations"] = [a | {"category_id": ids[a["category_id"]]} for a in read["annotations"]]
    assert read == record | {"annotations": written}
