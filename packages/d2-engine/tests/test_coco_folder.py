"""Photographs that were not registered by hand."""

import re

import pytest

from d2_data import DatasetCatalog, MetadataCatalog
from d2_engine.coco_folder import coco_folder


def test_the_name_leads_to_the_samples(shapes):
    name = coco_folder(shapes / "instances.json", shapes / "images")
    assert len(DatasetCatalog.get(name)) == 12
    assert MetadataCatalog.get(name).thing_classes == ["ellipse", "triangle", "rectangle", "star"]


def test_calling_again_gives_the_same_name(shapes):
    arguments = (shapes / "instances.json", shapes / "images")
    assert coco_folder(*arguments) == coco_folder(*arguments)


def test_images_are_beside_the_annotations_by_default(shapes):
    assert coco_folder(shapes / "instances.json").endswith(str(shapes.resolve()))


def test_without_a_file_the_options_to_set_are_named():
    with pytest.raises(ValueError, match=r"set data.train.json=… and data.train.images=…"):
        coco_folder(None, option="data.train")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "no.json"))):
        coco_folder(tmp_path / "no.json", option="data.val")


def test_a_missing_folder_is_named(shapes, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"image folder .*nowhere does not exist"):
        coco_folder(shapes / "instances.json", tmp_path / "nowhere")
