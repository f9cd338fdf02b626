import json

import numpy as np
import pytest

from d2_eval import convert_to_coco_dict, convert_to_coco_json
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


def test_a_class_out_of_range_is_named(register):
    with pytest.raises(ValueError, match=r"image 9: category_id 5"):
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
