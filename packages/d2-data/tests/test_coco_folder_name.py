import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from d2_data.coco_folder_name import (
    coco_folder_name,
    is_coco_folder_name,
    parse_coco_folder_name,
)

FILE_NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1
).filter(lambda name: name not in (".", ".."))


@given(FILE_NAMES, FILE_NAMES)
def test_every_pair_of_paths_comes_back(json_file, image_root):
    paths = (f"/data/{json_file}", f"/data/{image_root}")
    assert parse_coco_folder_name(coco_folder_name(*paths)) == (*paths, "refuse")


def test_names_that_are_no_text_come_back():
    paths = (os.fsdecode(b"/data/\xff.json"), "/data")
    assert parse_coco_folder_name(coco_folder_name(*paths)) == (*paths, "refuse")


def test_a_plain_path_stays_readable():
    name = coco_folder_name("/data/train.json", "/data/photos")
    assert name == "coco:/data/train.json?images=/data/photos"


@given(FILE_NAMES)
def test_a_name_is_ascii_without_spaces(image_root):
    name = coco_folder_name("/a.json", f"/{image_root}")
    assert name.isascii()
    assert name.isprintable()
    assert " " not in name


def test_relative_paths_are_made_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    absolute = coco_folder_name(tmp_path / "a.json", tmp_path / "b")
    assert coco_folder_name("x/../a.json", "b/") == absolute


@pytest.mark.parametrize(
    "wrong",
    [
        "coco:",
        "coco:/data/train.json",
        "coco:train.json?images=/photos",
        "coco:/data/train.json?images=photos",
        "coco:/data/train.json?images=",
        "coco:/data/train.json?image=/photos",
        "coco:/data/train.json?images=/a?images=/b",
        "/data/train.json?images=/photos",
    ],
)
def test_another_form_is_refused_with_the_expected_one(wrong):
    assert not is_coco_folder_name(wrong)
    with pytest.raises(ValueError, match=r"coco:/path/of/annotations.json\?images=/path") as caught:
        parse_coco_folder_name(wrong)
    assert repr(wrong) in str(caught.value)
    assert "coco_folder(json_file, image_root)" in str(caught.value)


def test_what_may_lie_outside_of_the_folder_is_part_of_the_name():
    name = coco_folder_name("/a.json", "/photos", "links")
    assert name == "coco:/a.json?images=/photos&outside=links"
    assert parse_coco_folder_name(name).outside_root == "links"
    with pytest.raises(ValueError, match=r"ends in &outside=yes, known are refuse, links, allow"):
        parse_coco_folder_name("coco:/a.json?images=/photos&outside=yes")
