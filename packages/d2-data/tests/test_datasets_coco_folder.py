import json
import pickle
import subprocess
import sys

import pytest

from d2_config import locate
from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.datasets import coco_folder

CONTENT = {
    "images": [{"id": 1, "file_name": "a.jpg", "height": 4, "width": 6}],
    "categories": [{"id": 5, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [0, 0, 2, 2]}],
}


@pytest.fixture
def folder(tmp_path):
    """A folder with ``my train.json`` and ``photos``; its datasets are forgotten afterwards."""
    (tmp_path / "my train.json").write_text(json.dumps(CONTENT))
    (tmp_path / "photos").mkdir()
    yield tmp_path
    for catalog in (DatasetCatalog, MetadataCatalog):
        for name in [name for name in catalog.data if name.startswith("coco:")]:
            catalog.remove(name)


def test_the_name_holds_both_paths(folder):
    name = coco_folder(folder / "my train.json", folder / "photos")
    assert name == f"coco:{folder}/my%20train.json?images={folder}/photos"


def test_the_name_leads_to_samples_and_metadata(folder):
    name = coco_folder(folder / "my train.json", folder / "photos")
    (sample,) = DatasetCatalog.get(name)
    assert sample["file_name"] == str(folder / "photos" / "a.jpg")
    assert sample["annotations"][0]["category_id"] == 0
    metadata = MetadataCatalog.get(name)
    assert metadata.name == name
    assert metadata.thing_classes == ["cat"]
    assert metadata.json_file == str(folder / "my train.json")
    assert metadata.image_root == str(folder / "photos")
    assert metadata.evaluator_type == "coco"


def test_metadata_may_be_asked_for_first(folder):
    name = coco_folder(folder / "my train.json", folder / "photos")
    assert MetadataCatalog[name].json_file == str(folder / "my train.json")


def test_the_name_is_understood_but_listed_only_once_used(folder):
    name = coco_folder(folder / "my train.json", folder / "photos")
    for catalog in (DatasetCatalog, MetadataCatalog):
        assert name in catalog
        assert name not in catalog.list()
    MetadataCatalog.get(name)
    for catalog in (DatasetCatalog, MetadataCatalog):
        assert catalog.list().count(name) == 1


def test_another_process_understands_the_name(folder):
    name = coco_folder(folder / "my train.json", folder / "photos")
    program = (
        "import sys, d2_data\n"
        "name = sys.argv[1]\n"
        "print(d2_data.MetadataCatalog.get(name).evaluator_type)\n"
        "print(len(d2_data.DatasetCatalog.get(name)))\n"
        "print(d2_data.MetadataCatalog.get(name).thing_classes)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, name], check=True, capture_output=True, text=True, cwd="/"
    )
    assert run.stdout.split("\n")[:3] == ["coco", "1", "['cat']"]


def test_images_are_beside_the_annotations_by_default(folder, monkeypatch):
    assert coco_folder(folder / "my train.json").endswith(f"?images={folder}")
    monkeypatch.chdir(folder)
    assert coco_folder("my train.json") == coco_folder(folder / "my train.json")


def test_a_forgotten_name_is_understood_again(folder):
    name = coco_folder(folder / "my train.json", folder / "photos")
    for catalog in (DatasetCatalog, MetadataCatalog):
        MetadataCatalog.get(name)
        catalog.remove(name)
    assert MetadataCatalog.get(name).get("json_file") is None  # only the dataset came back
    DatasetCatalog.remove(name)
    assert MetadataCatalog.get(name).json_file == str(folder / "my train.json")


def test_the_loading_function_can_be_sent_to_another_process(folder):
    name = coco_folder(folder / "my train.json", folder / "photos")
    assert len(pickle.loads(pickle.dumps(DatasetCatalog[name]))()) == 1


def test_a_config_finds_the_function_by_its_public_name():
    assert locate("d2_data.datasets.coco_folder") is coco_folder


def test_a_missing_annotation_file_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"annotation file '.*no\.json' does not exist"):
        coco_folder(folder / "no.json", folder / "photos")


def test_a_missing_image_folder_is_named(folder):
    with pytest.raises(FileNotFoundError, match=r"image folder '.*nowhere' does not exist"):
        coco_folder(folder / "my train.json", folder / "nowhere")


@pytest.mark.parametrize(
    ("gone", "message"),
    [("my train.json", r"annotation file '.*my train\.json'"), ("photos", r"folder '.*photos'")],
)
def test_what_is_gone_since_is_named_when_the_samples_are_read(folder, gone, message):
    name = coco_folder(folder / "my train.json", folder / "photos")
    (folder / gone).rename(folder / "elsewhere")
    MetadataCatalog.get(name)
    with pytest.raises(FileNotFoundError, match=message):
        DatasetCatalog.get(name)


@pytest.mark.parametrize("arguments", [(None,), (3,), ("a.json", 3)])
def test_arguments_that_are_no_paths_are_refused(arguments):
    with pytest.raises(TypeError, match=r"coco_folder: .* must be a string or path, got"):
        coco_folder(*arguments)


@pytest.mark.parametrize("ask", [DatasetCatalog.get, MetadataCatalog.get])
def test_a_wrong_name_says_the_expected_form(ask):
    with pytest.raises(ValueError, match=r"coco:/path/of/annotations.json\?images=/path/of/images"):
        ask("coco:train.json")
    assert "coco:train.json" not in DatasetCatalog
    assert "coco:train.json" not in MetadataCatalog


def test_a_name_that_describes_itself_cannot_be_taken():
    with pytest.raises(ValueError, match="is known without registration"):
        DatasetCatalog.register("coco:/a.json?images=/b", list)
