"""No annotation file has images read that lie outside of the folder that the caller names."""

import json
import os
import unicodedata

import numpy as np
import pytest
from PIL import Image

from d2_data import DatasetCatalog, Metadata, MetadataCatalog
from d2_data.checking import check_dataset
from d2_data.datasets import (
    coco_folder,
    load_coco_json,
    load_coco_panoptic_json,
    load_lvis_json,
    load_voc_instances,
    register_coco_instances,
)
from d2_data.image_root import ImageRoot, check_name_below
from d2_data.preparation import prepare_panoptic_fpn_semantics


@pytest.fixture
def folder(tmp_path):
    """An image root and, beside it, what nobody should read."""
    for name in ("root/a.png", "root/sub/b.png", "secret/c.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(path)
    return tmp_path


def annotated(folder, name, **further):
    """A COCO file of one image, without its size."""
    file = folder / "annotations.json"
    content = {"images": [{"id": 3, "file_name": name, **further}], "annotations": []}
    file.write_text(json.dumps({**content, "categories": []}))
    return file


def outside(folder):
    return ["../secret/c.png", "sub/../../secret/c.png", "..", str(folder / "secret" / "c.png")]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("mode", ["refuse", "links"])
def test_names_that_leave_the_folder_are_refused_before_anything_is_read(
    folder, monkeypatch, number, mode
):
    monkeypatch.setattr("d2_data.image_reading.read_image_size", lambda _: pytest.fail("read"))
    name = outside(folder)[number]
    file = annotated(folder, name)
    said = r"image id 3 has 'file_name' .* leaves the image root .*outside_root='allow'"
    with pytest.raises(ValueError, match=said):
        load_coco_json(file, folder / "root", outside_root=mode)


def test_backslashes_lead_out_no_more_than_slashes(folder):
    with pytest.raises(ValueError, match="leaves the image root"):
        load_coco_json(annotated(folder, "..\\secret\\c.png"), folder / "root")


@pytest.mark.parametrize("name", ["a.png", "sub/b.png", "sub/../a.png", "./a.png", "..a.png"])
def test_names_within_the_folder_are_read(folder, name):
    (folder / "root" / "..a.png").write_bytes((folder / "root" / "a.png").read_bytes())
    (record,) = load_coco_json(annotated(folder, name), folder / "root")
    assert record["file_name"] == os.path.join(folder, "root", name)
    assert (record["height"], record["width"]) == (4, 5)


def test_an_absolute_name_within_the_folder_is_read(folder):
    name = str(folder / "root" / "a.png")
    assert load_coco_json(annotated(folder, name), folder / "root")[0]["file_name"] == name
    (folder / "alias").symlink_to(folder / "root")
    assert load_coco_json(annotated(folder, name), folder / "alias")[0]["file_name"] == name


@pytest.mark.parametrize("place", ["link.png", "sub/link.png", "linked/c.png"])
def test_symbolic_links_that_lead_out_are_followed_only_if_allowed(folder, place):
    if place.startswith("linked"):
        (folder / "root" / "linked").symlink_to(folder / "secret")
    else:
        (folder / "root" / place).symlink_to(folder / "secret" / "c.png")
    file = annotated(folder, place)
    with pytest.raises(ValueError, match=r"symbolic link leads .*c.*outside_root='links'"):
        load_coco_json(file, folder / "root")
    for mode in ("links", "allow"):
        assert len(load_coco_json(file, folder / "root", outside_root=mode)) == 1


def test_links_within_the_folder_and_a_folder_that_is_a_link_are_followed(folder):
    (folder / "root" / "link.png").symlink_to(folder / "root" / "sub" / "b.png")
    (folder / "alias").symlink_to(folder / "root")
    file = annotated(folder, "link.png")
    for root in (folder / "root", folder / "alias"):
        assert len(load_coco_json(file, root)) == 1


def test_a_link_is_found_under_either_spelling_of_accents(folder):
    composed = "\u00e9.png"
    decomposed = unicodedata.normalize("NFD", composed)
    (folder / "root" / decomposed).symlink_to(folder / "secret" / "c.png")
    with pytest.raises(ValueError, match="symbolic link"):
        load_coco_json(annotated(folder, composed, height=4, width=5), folder / "root")


def test_without_an_image_root_names_are_whole_paths(folder, monkeypatch):
    name = str(folder / "secret" / "c.png")
    assert load_coco_json(annotated(folder, name), "")[0]["file_name"] == name
    monkeypatch.chdir(folder / "root")
    assert load_coco_json(annotated(folder, "../secret/c.png"), "")[0]["height"] == 4


def test_anything_is_read_where_the_caller_allows_it(folder):
    for name in (outside(folder)[0], outside(folder)[3]):
        assert load_coco_json(annotated(folder, name), folder / "root", outside_root="allow")


def test_an_unknown_word_is_refused():
    with pytest.raises(ValueError, match=r"outside_root is one of .*got 'yes'"):
        ImageRoot("a", "yes")


def test_each_folder_is_listed_once(folder, monkeypatch):
    listed = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    root = ImageRoot(folder / "root")
    for number in range(100):
        root.path(f"{number}.png")
        root.path(f"sub/{number}.png")
    assert len(listed) == 2


def test_a_folder_that_is_absent_has_no_links(tmp_path):
    assert ImageRoot(tmp_path / "none").path("a.png") == str(tmp_path / "none" / "a.png")


def test_registered_datasets_and_names_of_folders_keep_what_is_allowed(folder):
    name = str(folder / "secret" / "c.png")
    file = annotated(folder, name)
    register_coco_instances("trusted", {}, file, folder / "root", outside_root="allow")
    try:
        assert DatasetCatalog.get("trusted")[0]["file_name"] == name
        assert check_dataset("trusted").findings[0].kind == "image-empty"
    finally:
        DatasetCatalog.remove("trusted")
        MetadataCatalog.remove("trusted")
    allowed = coco_folder(file, folder / "root", outside_root="allow")
    assert allowed.endswith("&outside=allow")
    assert DatasetCatalog.get(allowed)[0]["file_name"] == name
    with pytest.raises(ValueError, match="leaves the image root"):
        DatasetCatalog.get(coco_folder(file, folder / "root"))


def test_the_check_of_a_dataset_reports_such_names_and_reads_none(folder, monkeypatch):
    file = annotated(folder, "../secret/c.png")
    report = check_dataset(file, folder / "root")
    assert [(one.kind, "leaves the image root" in one.message) for one in report.findings] == [
        ("malformed", True)
    ]
    allowed = check_dataset(file, folder / "root", outside_root="allow")
    assert {one.kind for one in allowed.findings} == {"image-empty"}


def test_lvis_urls_and_names_stay_in_the_folder(folder):
    url = annotated(folder, "x", height=4, width=5, coco_url="http://images/../c.png")
    with pytest.raises(ValueError, match="image id 3 has 'file_name' .*leaves the image root"):
        load_lvis_json(url, folder / "root")
    (folder / "root" / "val2017").symlink_to(folder / "secret")
    linked = annotated(folder, "val2017/c.png", height=4, width=5)
    with pytest.raises(ValueError, match="symbolic link"):
        load_lvis_json(linked, folder / "root")
    assert load_lvis_json(linked, folder / "root", outside_root="links")


def panoptic(folder, image, png):
    file = folder / "panoptic.json"
    segments = [{"id": 1, "category_id": 1}]
    content = {
        "images": [{"id": 3, "file_name": image, "height": 4, "width": 5}],
        "annotations": [{"image_id": 3, "file_name": png, "segments_info": segments}],
        "categories": [{"id": 1, "name": "sky", "isthing": 0}],
    }
    file.write_text(json.dumps(content))
    return file


def test_panoptic_photographs_stay_in_the_folder(folder):
    roots = (folder / "root", folder / "root", Metadata(name="m"))
    with pytest.raises(ValueError, match="image 3 has 'file_name' .*leaves the image root"):
        load_coco_panoptic_json(panoptic(folder, "../secret/c.png", "a.png"), *roots)
    file = panoptic(folder, "../secret/c.png", "a.png")
    roots = (folder / "root", folder / "root", Metadata(name="n"))
    assert load_coco_panoptic_json(file, *roots, outside_root="allow")


@pytest.mark.parametrize("png", ["../stolen.png", "/stolen.png", "a/../../stolen.png"])
def test_names_of_panoptic_pngs_neither_read_nor_write_elsewhere(folder, png):
    file = panoptic(folder, "a.png", png)
    with pytest.raises(ValueError, match="image 3 has 'file_name' .*below the folder"):
        load_coco_panoptic_json(file, folder / "root", folder / "root", Metadata(name="m"))
    with pytest.raises(ValueError, match="below the folder"):
        prepare_panoptic_fpn_semantics(file, folder / "root", folder / "out")
    assert not (folder / "stolen.png").exists()


def test_lists_of_voc_stay_in_their_folder(folder):
    lists = folder / "root" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("../../secret/c\n")
    with pytest.raises(ValueError, match=r"has the image '\.\./\.\./secret/c'; wanted a path"):
        load_voc_instances(folder / "root", "train", ["a"])


@pytest.mark.parametrize("name", ["a.png", "a/b.png", "a..b.png", "..."])
def test_names_below_a_folder_pass(name):
    check_name_below(name)
