import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from d2_data.annotations import in_order_of_ids, normalized_coco, read_coco

SQUARE = [4, 5, 24, 5, 24, 15, 4, 15]


def annotation(**changes):
    return {
        "id": 1,
        "image_id": 9,
        "category_id": 7,
        "bbox": [4, 5, 20, 10],
        "area": 200,
        "iscrowd": 0,
        "segmentation": [SQUARE],
        **changes,
    }


def content(*annotations, **changes):
    return {
        "images": [
            {"id": 9, "file_name": "b.png", "height": 30, "width": 40},
            {"id": 2, "file_name": "a.png", "height": 30, "width": 40},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": list(annotations),
        **changes,
    }


def without(entry, *keys):
    return {key: value for key, value in entry.items() if key not in keys}


def normalized(given_content, **kwargs):
    return normalized_coco(given_content, "file 'x.json'", **kwargs)


def test_valid_content_is_unchanged():
    valid = content(annotation(), annotation(id=2, image_id=2))
    before = copy.deepcopy(valid)
    read = normalized(valid)
    assert read.images == before["images"]
    assert read.annotations == before["annotations"]
    assert read.categories == before["categories"]
    assert not read.without_outline


kinds = {
    "valid": {},
    "null": {"iscrowd": None, "keypoints": None, "area": None},
    "nested": {"segmentation": [[[4, 5], [24, 5], [24, 15], [4, 15]]]},
    "flat": {"segmentation": SQUARE},
    "no box": {"bbox": None},
    "text id": {"image_id": "9", "category_id": "7"},
    "two points": {"segmentation": [[1, 2, 3, 4]]},
}


@given(st.lists(st.sampled_from(sorted(kinds)), max_size=8))
def test_order_is_kept_and_a_second_pass_changes_nothing(chosen):
    raw = content(*(annotation(id=i, **kinds[kind]) for i, kind in enumerate(chosen)))
    once = normalized(raw)
    assert [a["id"] for a in once.annotations] == list(range(len(chosen)))
    snapshot = copy.deepcopy(once.annotations)
    twice = normalized({**raw, "annotations": once.annotations})
    assert twice.annotations == snapshot
    assert all(a["bbox"] == [4, 5, 20, 10] for a in snapshot)
    assert once.without_outline == {i for i, k in enumerate(chosen) if k == "two points"}


def test_what_tools_leave_out_is_found_or_absent():
    bare = {"image_id": 9, "category_id": 7, "segmentation": [SQUARE]}
    (read,) = normalized(content(bare)).annotations
    assert read == {**bare, "bbox": [4, 5, 20, 10]}


def test_empty_and_null_segmentations_are_absent():
    read = normalized(content(annotation(segmentation=[]), annotation(segmentation=None)))
    assert [sorted(a) for a in read.annotations] == [
        sorted(without(annotation(), "segmentation"))
    ] * 2


def test_ids_as_text_here_and_as_number_there_are_matched_and_counted(caplog):
    read = normalized(content(annotation(image_id="9"), annotation(category_id="7")))
    assert [(a["image_id"], a["category_id"]) for a in read.annotations] == [(9, 7)] * 2
    assert "file 'x.json': 1 annotations write image_id as str" in caplog.text
    assert "1 annotations write category_id as str" in caplog.text
    by_text = content(
        annotation(image_id=9), images=[{"id": "9", "file_name": "b", "width": 4, "height": 3}]
    )
    assert normalized(by_text).annotations[0]["image_id"] == "9"


def test_text_ids_are_kept():
    images = [{"id": "f-01", "file_name": "b.png", "height": 30, "width": 40}]
    read = normalized(content(annotation(image_id="f-01", id="x1"), images=images))
    assert read.annotations[0]["image_id"] == "f-01"
    assert read.annotations[0]["id"] == "x1"


def test_ids_are_sorted_numbers_before_text():
    entries = [{"id": "b"}, {"id": 10}, {"id": "a"}, {"id": 9}]
    assert [entry["id"] for entry in in_order_of_ids(entries)] == [9, 10, "a", "b"]


def test_boxes_that_were_missing_are_counted(caplog):
    normalized(content(annotation(bbox=[]), without(annotation(), "bbox")))
    assert "2 boxes were taken from the segmentation" in caplog.text


def test_annotation_without_box_and_valid_polygon_is_left_out_and_counted(caplog):
    read = normalized(content(annotation(bbox=None, segmentation=[[1, 2, 3, 4]]), annotation(id=2)))
    assert [a["id"] for a in read.annotations] == [2]
    assert not read.without_outline
    assert "1 annotations without a box or a valid polygon were left out" in caplog.text


def test_polygons_left_out_of_an_outline_are_counted(caplog):
    (read,) = normalized(content(annotation(segmentation=[[1, 2, 3, 4], SQUARE]))).annotations
    assert read["segmentation"] == [SQUARE]
    assert "1 polygons of fewer than 3 points were left out" in caplog.text


def test_annotations_of_unlisted_images_are_left_out_and_counted(caplog):
    assert normalized(content(annotation(image_id=77))).annotations == []
    assert (
        "1 annotations belong to images that the file does not list, e.g. image_id 77"
        in caplog.text
    )


def test_file_without_a_list_of_annotations_says_so():
    assert not normalized(without(content(), "annotations")).has_annotations
    assert not normalized(content(annotations=None)).has_annotations
    assert normalized(content()).has_annotations


def test_without_categories_any_category_is_taken():
    read = normalized(without(content(annotation(category_id=99)), "categories"))
    assert read.annotations[0]["category_id"] == 99


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (annotation(bbox=["4", "5", "20", "10"]), "annotation id 1 of image 9 has 'bbox'"),
        (annotation(bbox=[float("nan"), 1, 2, 3]), "annotation id 1 of image 9 has 'bbox'"),
        (annotation(segmentation=[[1, 2, float("nan"), 3, 4, 5]]), "id 1 of image 9 has 'segmen"),
        (annotation(segmentation={"size": [40, 30], "counts": "0"}), "are exchanged"),
        (annotation(bbox=None, segmentation=None), "id 1 of image 9 has neither a 'bbox' nor"),
        (annotation(area="200"), "id 1 of image 9 has 'area' '200'"),
        (annotation(image_id=None), "'image_id' is missing from"),
        (annotation(image_id=[9]), r"has 'image_id' \[9\]; wanted a number or text"),
        (annotation(category_id=None), "'category_id' is missing from"),
        ([1, 2], r"annotation 0 is \[1, 2\]; wanted an object"),
    ],
)
def test_annotation_that_cannot_be_understood_is_named(bad, message):
    with pytest.raises(ValueError, match=rf"file 'x\.json': .*{message}"):
        normalized(content(bad))


def test_undeclared_category_is_named():
    with pytest.raises(KeyError, match=r"id 1 of image 9 has category_id 5, .* \[3, 7\]"):
        normalized(content(annotation(category_id=5)))


def image(**changes):
    return {"images": [{"id": 1, "file_name": "a", "height": 3, "width": 4, **changes}]}


def categories(*entries):
    return {"categories": list(entries)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {"9": "b.png"}}, "has 'images' of type dict; wanted a list"),
        ({"annotations": "none"}, "has 'annotations' of type str; wanted a list"),
        ({"images": [{"file_name": "a"}]}, "an entry of image kind lacks 'id'"),
        ({"images": ["a.png"]}, "an entry of image kind lacks 'id'"),
        (categories({"id": None, "name": "x"}), "an entry of category kind lacks 'id'"),
        (categories({"id": 1}), "'name' is missing from"),
        (categories({"id": 1, "name": "a"}, {"id": 1.0, "name": "b"}), "category id 1 occurs more"),
        (image(height="30"), "image id 1 has 'height' '30'"),
        (image(height=-3), "image id 1 has 'height' -3"),
        (image(file_name=5), "image id 1 has 'file_name' 5"),
    ],
)
def test_malformed_entries_are_named(changes, message):
    with pytest.raises(ValueError, match=rf"file 'x\.json'.*{message}"):
        normalized(content(**changes))


@pytest.mark.parametrize("missing", [{}, {"height": 0, "width": 0}, {"height": None, "width": 40}])
def test_missing_sizes_are_read_from_the_files(tmp_path, missing):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "turned.jpg", exif=exif)
    images = [{"id": 1, "file_name": "turned.jpg", **missing}]
    (image,) = normalized(content(images=images), image_root=tmp_path).images
    assert (image["height"], image["width"]) == (40, 30)


def test_missing_size_of_an_absent_file_is_an_error(tmp_path):
    images = [{"id": 1, "file_name": "gone.jpg"}]
    with pytest.raises(ValueError, match=r"image id 1 \('gone\.jpg'\) lacks 'height' and 'width'"):
        normalized(content(images=images), image_root=tmp_path)


def test_without_a_folder_sizes_and_names_may_be_missing():
    (image,) = normalized(content(images=[{"id": 1}])).images
    assert image == {"id": 1}


def test_whole_floats_are_sizes_and_ids():
    images = [{"id": 9.0, "file_name": "b", "height": 30.0, "width": 40.0}]
    read = normalized(content(annotation(), images=images))
    assert json.dumps(read.images) == json.dumps(
        [{"id": 9, "file_name": "b", "height": 30, "width": 40}]
    )


def test_backslashes_separate_folders_unless_a_file_is_called_so(tmp_path):
    images = [{"id": 1, "file_name": "train\\a.png", "height": 3, "width": 4}]
    (image,) = normalized(content(images=copy.deepcopy(images)), image_root=tmp_path).images
    assert image["file_name"] == "train/a.png"
    (tmp_path / "train\\a.png").touch()
    (image,) = normalized(content(images=images), image_root=tmp_path).images
    assert image["file_name"] == "train\\a.png"


def test_file_is_read_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "é.json"
    path.write_text(json.dumps(content(annotation())), encoding="utf-8-sig")
    assert read_coco(path).annotations == [annotation()]
