import json

import numpy as np
import pytest

from d2_data.formats import CocoFile


def test_images_and_annotations_are_numbered_from_1():
    file = CocoFile([{"id": 5, "name": "cat"}])
    ids = [file.add_image(name, (4, 6)) for name in ("a.png", "b.png")]
    numbers = [file.add_annotation(image_id, 5, {"bbox": [0, 0, 1, 1]}) for image_id in ids]
    assert ids == numbers == [1, 2]
    assert file.annotations[1] == {
        "id": 2,
        "image_id": 2,
        "category_id": 5,
        "bbox": [0, 0, 1, 1],
    }


def test_an_image_keeps_the_id_and_the_entries_that_it_is_given():
    file = CocoFile([])
    assert file.add_image("a.png", (4, 6), "uuid", license=3) == "uuid"
    assert file.images == [
        {"id": "uuid", "file_name": "a.png", "height": 4, "width": 6, "license": 3}
    ]


def test_segments_of_a_panoptic_file_are_one_annotation_of_an_image():
    file = CocoFile([{"id": 5, "name": "cat", "isthing": 1}])
    segment = {"id": 9, "category_id": 5, "area": 4, "bbox": [0, 0, 2, 2], "iscrowd": 0}
    file.add_segments(7, "a.png", [segment])
    assert file.annotations == [{"image_id": 7, "file_name": "a.png", "segments_info": [segment]}]


def test_what_was_given_is_not_changed_by_the_file():
    categories, info = [{"id": 1, "name": "cat"}], {"description": "pets"}
    file = CocoFile(categories, info)
    file.categories[0]["name"] = "dog"
    file.info["version"] = "2"
    assert categories == [{"id": 1, "name": "cat"}]
    assert info == {"description": "pets"}


def test_the_written_file_has_the_parts_of_coco_s_format(tmp_path):
    file = CocoFile([{"id": np.int64(1), "name": "猫"}], {"description": "pets"})
    file.add_image("ü/a.png", (np.int64(4), 6), np.int64(3))
    file.add_annotation(3, 1, {"bbox": np.array([0.0, 0.5, 1.0, 1.0])})
    file.write(tmp_path / "new" / "folder" / "pets.json")
    content = json.loads((tmp_path / "new" / "folder" / "pets.json").read_bytes())
    assert content == {
        "info": {"description": "pets"},
        "licenses": [],
        "images": [{"id": 3, "file_name": "ü/a.png", "height": 4, "width": 6}],
        "annotations": [{"id": 1, "image_id": 3, "category_id": 1, "bbox": [0.0, 0.5, 1.0, 1.0]}],
        "categories": [{"id": 1, "name": "猫"}],
    }


def test_a_value_that_json_does_not_have_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "pets.json"
    path.write_text("earlier")
    file = CocoFile([])
    file.add_image("a.png", (4, 6), object())
    with pytest.raises(TypeError, match="of type object cannot be written as JSON"):
        file.write(path)
    assert path.read_text() == "earlier"
