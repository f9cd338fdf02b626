"""``d2 data``: what its commands write, print and return."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from d2_data import DatasetCatalog, MetadataCatalog, conversion, preparation
from d2_engine.cli import data_convert, data_prepare, main


def save(path, size=(6, 4), value=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size[::-1], value, np.uint8)).save(path)
    return path


def run(capfd, *arguments):
    """What a command prints that succeeds."""
    assert main([str(argument) for argument in arguments]) == 0
    return capfd.readouterr().out


def fails(capfd, *arguments):
    """The message of a command that fails."""
    assert main([str(argument) for argument in arguments]) == 1
    error = capfd.readouterr().err
    assert "Traceback" not in error
    return error


def wrong(capfd, *arguments):
    """The message of a wrong command line."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert stopped.value.code == 2
    return capfd.readouterr().err


# Command lines


def test_the_choices_are_those_of_the_data_package():
    assert set(data_prepare.WHAT) == set(preparation.PREPARATIONS)
    assert set(data_convert.FROM) == set(conversion.SOURCE_FORMATS)
    assert set(data_convert.TO) == set(conversion.TARGET_FORMATS)
    assert set(data_convert.TASKS) == set(conversion.YOLO_TASKS)
    assert set(data_convert.PLACEMENTS) == set(conversion.PLACEMENTS)


@pytest.mark.parametrize("command", ["prepare", "convert"])
def test_help_needs_neither_torch_nor_numpy(command):
    script = (
        "import sys\n"
        "from d2_engine.cli import main\n"
        f"try: main(['data', {command!r}, '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'numpy', 'd2_data', 'yaml'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: d2 data {command}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data"], "the following arguments are required: COMMAND"),
        (["data", "prepair"], "invalid choice: 'prepair'"),
        (["data", "prepare"], "the following arguments are required: WHAT"),
        (["data", "prepare", "imagenet"], "invalid choice: 'imagenet'"),
        (["data", "prepare", "ade20k", "--no"], "unrecognized arguments: --no"),
        (["data", "convert", "a", "b"], "required: --from, --to"),
        (["data", "convert", "a", "b", "--from", "coco", "--to", "dataset"], "invalid choice"),
    ],
)
def test_a_wrong_command_line_is_told_and_exits_with_2(capfd, arguments, message):
    error = wrong(capfd, *arguments)
    assert message in error
    assert error.startswith("usage: d2 data")


# Preparing


@pytest.fixture
def ade20k(tmp_path):
    """A folder of datasets with two label images of ADE20K."""
    for split in ("training", "validation"):
        save(tmp_path / "ADEChallengeData2016" / "annotations" / split / "a.png", value=3)
    return tmp_path


def test_ade20k_is_prepared_below_the_folder_of_datasets(capfd, monkeypatch, ade20k):
    monkeypatch.setenv("D2_DATASETS", str(ade20k))
    assert "ade20k: 2 files written\n" in run(capfd, "data", "prepare", "ade20k")
    made = ade20k / "ADEChallengeData2016" / "annotations_detectron2" / "training" / "a.png"
    assert np.asarray(Image.open(made)).max() == 2
    again = run(capfd, "data", "prepare", "ade20k")
    assert "ade20k: 0 files written, 2 were there already\n" in again
    assert "2 files written\n" in run(capfd, "data", "prepare", "ade20k", "--overwrite")


def test_a_split_and_a_folder_may_be_chosen(capfd, monkeypatch, ade20k):
    monkeypatch.setenv("D2_DATASETS", "elsewhere")
    options = ("--root", ade20k, "--split", "validation", "--workers", 1)
    assert "1 files written" in run(capfd, "data", "prepare", "ade20k", *options)


def test_semantics_of_panoptic_annotations_are_prepared_for_every_split(capfd, tmp_path):
    coco = tmp_path / "coco"
    for split in ("train2017", "val2017_100"):
        save(coco / f"panoptic_{split}" / "a.png", value=7)
        segment = {"id": 7 * (1 + 256 + 65536), "category_id": 184}
        annotation = {"image_id": 1, "file_name": "a.png", "segments_info": [segment]}
        categories = [{"id": 184, "name": "tree", "isthing": 0}]
        (coco / "annotations").mkdir(exist_ok=True)
        (coco / "annotations" / f"panoptic_{split}.json").write_text(
            json.dumps({"annotations": [annotation], "categories": categories})
        )
    printed = run(capfd, "data", "prepare", "panoptic-fpn-semantics", "--root", tmp_path)
    assert "2 files written" in printed
    for split in ("train2017", "val2017_100"):
        assert np.unique(Image.open(coco / f"panoptic_stuff_{split}" / "a.png")).tolist() == [1]


def test_lvis_with_the_categories_of_coco_is_prepared_beside_it(capfd, tmp_path):
    content = {
        "images": [{"id": 1, "neg_category_ids": [], "not_exhaustive_category_ids": []}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [0, 0, 1, 1]}],
        "categories": [{"id": 5, "name": "cat", "synset": "cat.n.01"}],
    }
    (tmp_path / "lvis").mkdir()
    (tmp_path / "lvis" / "lvis_v0.5_val.json").write_text(json.dumps(content))
    arguments = ("data", "prepare", "cocofied-lvis", "--root", tmp_path)
    assert "1 files written" in run(capfd, *arguments)
    made = json.loads((tmp_path / "lvis" / "lvis_v0.5_val_cocofied.json").read_text())
    assert made["annotations"][0]["category_id"] == 17
    assert "0 files written, 1 were there already" in run(capfd, *arguments)


def test_cityscapes_is_prepared(capfd, tmp_path):
    root = tmp_path / "cityscapes"
    save(root / "leftImg8bit" / "val" / "ulm" / "ulm_0_0_leftImg8bit.png")
    save(root / "gtFine" / "val" / "ulm" / "ulm_0_0_gtFine_instanceIds.png", value=23)
    sky = {"label": "sky", "polygon": [[0, 0], [5, 0], [5, 3], [0, 3]]}
    (root / "gtFine" / "val" / "ulm" / "ulm_0_0_gtFine_polygons.json").write_text(
        json.dumps({"imgHeight": 4, "imgWidth": 6, "objects": [sky]})
    )
    printed = run(capfd, "data", "prepare", "cityscapes", "--root", tmp_path)
    assert "cityscapes: 2 files written" in printed
    assert (root / "gtFine" / "cityscapes_panoptic_val.json").is_file()


@pytest.mark.parametrize("what", data_prepare.WHAT)
def test_absent_downloads_are_named_with_the_folder(capfd, tmp_path, what):
    error = fails(capfd, "data", "prepare", what, "--root", tmp_path)
    assert error.startswith("d2 data: error: ")
    assert f"built-in datasets are expected in '{tmp_path}'" in error


# Converting


@pytest.fixture
def coco(tmp_path):
    """An annotation file, and its image in another folder."""
    save(tmp_path / "photos" / "a.png", size=(100, 80))
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40], "area": 1}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 80, "width": 100}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [entry | {"iscrowd": 0}, entry | {"id": 2, "iscrowd": 1}],
    }
    (tmp_path / "val.json").write_text(json.dumps(content))
    return tmp_path


def test_a_coco_file_becomes_yolo_and_what_is_lost_is_told(capfd, coco):
    arguments = ("data", "convert", coco / "val.json", coco / "out", "--from", "coco")
    printed = run(capfd, *arguments, "--to", "yolo", "--images", coco / "photos")
    assert printed == (
        f"val: 1 images, 2 objects\n  1 crowds left out\nwritten to {coco / 'out'}\n"
    )
    assert (coco / "out/labels/val/a.txt").read_text() == "0 0.25 0.5 0.3 0.5\n"
    assert (coco / "out/images/val/a.png").samefile(coco / "photos" / "a.png")


def test_options_reach_the_conversion(capfd, coco):
    arguments = ["data", "convert", coco / "val.json", coco / "one", "--from", "coco"]
    arguments += ["--to", "yolo", "--images", coco / "photos", "--split", "train"]
    run(capfd, *arguments, "--task", "obb", "--place", "copy")
    image = coco / "one" / "images" / "train" / "a.png"
    assert image.is_file()
    assert not image.samefile(coco / "photos" / "a.png")
    line = (coco / "one/labels/train/a.txt").read_text().split()
    assert len(line) == 9
    back = ("data", "convert", coco / "one", coco / "two", "--from", "yolo", "--to", "coco")
    run(capfd, *back, "--rotated", "--place", "none")
    content = json.loads((coco / "two/annotations/instances_train.json").read_text())
    assert content["annotations"][0]["bbox"] == pytest.approx([25, 40, 30, 40, 0], abs=1e-3)
    assert not (coco / "two" / "train").exists()


@pytest.fixture
def pets():
    """The name of a dataset that is forgotten after the test."""
    yield "cli_pets"
    for catalog in (DatasetCatalog, MetadataCatalog):
        catalog.data.pop("cli_pets", None)


def test_a_dataset_that_a_module_registers_can_be_converted(capfd, coco, pets):
    module = coco / "my_datasets.py"
    module.write_text(
        "from d2_data.datasets import register_coco_instances\n"
        f"register_coco_instances({pets!r}, {{}}, {str(coco / 'val.json')!r}, "
        f"{str(coco / 'photos')!r})\n"
    )
    arguments = ("data", "convert", pets, coco / "out", "--from", "dataset", "--to", "voc")
    assert "train: 1 images" in run(capfd, *arguments, "--import", module)
    assert "<xmin>11</xmin>" in (coco / "out/Annotations/a.xml").read_text()


def test_a_failure_is_one_message_and_debug_shows_where(capfd, coco):
    arguments = ("data", "convert", "no_dataset", coco / "out", "--from", "dataset", "--to", "voc")
    assert "dataset 'no_dataset' is not registered" in fails(capfd, *arguments)
    with pytest.raises(KeyError, match="no_dataset"):
        main([str(argument) for argument in (*arguments, "--debug")])
    with pytest.raises(KeyError, match="no_dataset"):
        main(["data", "--debug", *map(str, arguments[1:])])
