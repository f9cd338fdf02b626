import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data.datasets import load_sem_seg
from d2_data.formats import read_label_map


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_files_are_matched_by_their_path_without_extension(tmp_path):
    labels = fill(tmp_path / "labels", "b.png", "city/a.png")
    images = fill(tmp_path / "images", "b.jpg", "city/a.jpg")
    assert load_sem_seg(str(labels), str(images)) == [
        {"file_name": f"{images}/b.jpg", "sem_seg_file_name": f"{labels}/b.png"},
        {"file_name": f"{images}/city/a.jpg", "sem_seg_file_name": f"{labels}/city/a.png"},
    ]


def test_extensions_may_be_others_and_files_of_none_of_them_do_not_matter(tmp_path):
    labels = fill(tmp_path / "labels", "a.TIF", "a.png", "readme.txt")
    images = fill(tmp_path / "images", "a.jpeg", "thumbs.db")
    (record,) = load_sem_seg(labels, images, gt_ext=".tif", image_ext="jpeg")
    assert record["sem_seg_file_name"] == f"{labels}/a.TIF"


def test_a_name_with_dots_keeps_them(tmp_path):
    labels = fill(tmp_path / "labels", "a.v1.png", "a.v2.png")
    images = fill(tmp_path / "images", "a.v1.jpg", "a.v2.jpg")
    assert len(load_sem_seg(labels, images)) == 2


names = st.text("abcxyz", min_size=1, max_size=3)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


@settings(deadline=None, max_examples=40)
@given(shared=st.sets(paths, min_size=1), alone=st.sets(paths))
def test_the_pairs_are_those_that_both_folders_have_in_their_order(tmp_path_factory, shared, alone):
    root = tmp_path_factory.mktemp("folders")
    fill(root / "labels", *(f"{path}.png" for path in shared))
    fill(root / "images", *(f"{path}.jpg" for path in shared | alone))
    records = load_sem_seg(root / "labels", root / "images")
    assert [r["file_name"] for r in records] == [f"{root}/images/{p}.jpg" for p in sorted(shared)]


def test_what_lacks_a_counterpart_is_counted_and_named(tmp_path, caplog):
    labels = fill(tmp_path / "labels", "a.png", "b.png", "c.png")
    images = fill(tmp_path / "images", "b.jpg", "d.jpg")
    with caplog.at_level(logging.WARNING):
        (record,) = load_sem_seg(labels, images)
    assert record["file_name"].endswith("b.jpg")
    first, second = (entry.getMessage() for entry in caplog.records)
    assert first.startswith("2 of 3 files")
    assert first.endswith("labels/a.png")
    assert second.startswith("1 of 2 files")
    assert second.endswith("images/d.jpg")


def test_bad_folders_are_named(tmp_path):
    labels = fill(tmp_path / "labels", "a.png")
    images = fill(tmp_path / "images", "b.jpg")
    with pytest.raises(ValueError, match=r"'a' and 'b' are the first of each"):
        load_sem_seg(labels, images)
    with pytest.raises(FileNotFoundError, match=r"photographs .*none' does not exist"):
        load_sem_seg(labels, tmp_path / "none")
    with pytest.raises(
        FileNotFoundError, match=r"label images .*no file \*\.bmp.*pass it as gt_ext"
    ):
        load_sem_seg(labels, images, gt_ext="bmp")


def test_real_labels_of_ade20k_and_coco_are_matched_with_their_photographs(shared_data):
    ade = load_sem_seg(shared_data / "ade20k/annotations", shared_data / "ade20k/images")
    assert len(ade) == 3
    assert max(read_label_map(r["sem_seg_file_name"]).max() for r in ade) <= 150
    for split, count in (("train2017", 25), ("val2017", 24)):
        root = shared_data / "coco_panoptic"
        coco = load_sem_seg(root / "semantic_masks" / split, root / split)
        assert len(coco) == count
        assert all(read_label_map(r["sem_seg_file_name"]).dtype == np.uint8 for r in coco)
