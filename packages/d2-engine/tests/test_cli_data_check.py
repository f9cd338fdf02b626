"""``d2 data check`` and ``d2 data show``: what they write, print and return."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from d2_data import DatasetCatalog, MetadataCatalog
from d2_engine.cli import main

CORNERS = [10, 10, 30, 10, 30, 30, 10, 30]


@pytest.fixture
def annotations(tmp_path):
    """Ten images with a cup in each and a plate in the last; returns the file."""
    folder = tmp_path / "data"
    folder.mkdir()
    images, objects = [], []
    for number in range(10):
        pixels = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 80, "height": 60})
        entry = {"image_id": number, "bbox": [10, 10, 20, 20], "area": 400, "iscrowd": 0}
        outline = {"segmentation": [CORNERS]}
        objects.append({"id": number + 1, "category_id": 1, **entry, **outline})
    objects.append({**objects[-1], "id": 11, "category_id": 2})
    path = folder / "annotations.json"
    categories = [{"id": 1, "name": "cup"}, {"id": 2, "name": "plate"}]
    content = {"images": images, "annotations": objects, "categories": categories}
    path.write_text(json.dumps(content))
    return path


def change(path, **fields):
    """Change the first annotation of a file."""
    content = json.loads(path.read_text())
    content["annotations"][0] |= fields
    path.write_text(json.dumps(content))


def run(capfd, *arguments):
    """The exit code of a command, and what it prints."""
    code = main(["data", *map(str, arguments)])
    return code, capfd.readouterr().out


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


@pytest.mark.parametrize("command", ["check", "show"])
def test_help_needs_neither_torch_nor_numpy(command):
    script = (
        "import sys\n"
        "from d2_engine.cli import main\n"
        f"try: main(['data', {command!r}, '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'numpy', 'd2_data'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE)


def test_good_data_return_0_and_histograms(annotations, capfd):
    code, printed = run(capfd, "check", annotations)
    assert code == 0
    assert "10 images, 11 objects of 2 classes" in printed
    assert "nothing wrong was found" in printed
    assert re.search(r"cup +10  █", printed)


def test_errors_return_1_and_are_named_with_the_remedy(annotations, capfd):
    change(annotations, bbox=["10", "10", "20", "20"])
    (annotations.parent / "3.png").unlink()
    code, printed = run(capfd, "check", annotations)
    assert code == 1
    assert "object 1 of image '0.png' (id 0) has 'bbox'" in printed
    assert "image '3.png' (id 3) has no file" in printed
    assert "2 errors" in printed


def test_images_of_another_folder_are_found(annotations, tmp_path, capfd):
    moved = annotations.rename(tmp_path / "annotations.json")
    assert run(capfd, "check", moved)[0] == 1
    assert run(capfd, "check", moved, "--images", tmp_path / "data")[0] == 0


def test_reports_are_written_as_page_and_json(annotations, tmp_path, capfd):
    change(annotations, bbox=[70, 10, 20, 20])
    page, report = tmp_path / "out" / "report.html", tmp_path / "out" / "report.json"
    code, printed = run(capfd, "check", annotations, "--html", page, "--json", report)
    assert code == 0
    assert f"wrote {page}" in printed
    assert "boxes that reach out of the image" in page.read_text()
    assert json.loads(report.read_text())["counts"]["box-outside"] == 1


def test_json_alone_is_printed(annotations, tmp_path, capfd):
    mended = tmp_path / "mended.json"
    _, printed = run(capfd, "check", annotations, "--json", "-", "--fix", mended)
    assert json.loads(printed)["statistics"]["images"] == 10
    assert mended.exists()


def test_what_can_be_mended_is_written_and_listed(annotations, capfd):
    change(annotations, bbox=[70, 10, 20, 20], segmentation=[], iscrowd=None)
    mended = annotations.with_name("mended.json")
    _, printed = run(capfd, "check", annotations, "--fix", mended)
    assert "its box [70, 10, 20, 20] cut to [70, 10, 10, 20]" in printed
    assert f"wrote {mended}, mended in 2 places" in printed
    first = json.loads(mended.read_text())["annotations"][0]
    assert first["bbox"] == [70, 10, 10, 20]
    assert first["iscrowd"] == 0
    code, printed = run(capfd, "check", mended)
    assert code == 0
    assert "reach out of" not in printed


def test_damage_in_the_middle_is_found_by_decoding(annotations, capfd):
    path = annotations.parent / "0.png"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + content[-12:])  # both ends are there
    assert run(capfd, "check", annotations)[0] == 0
    code, printed = run(capfd, "check", annotations, "--decode")
    assert code == 1
    assert "image files that cannot be read" in printed


@pytest.fixture
def module(annotations, tmp_path):
    """A module that registers the data under the name ``cups``."""
    path = tmp_path / "registers_cups.py"
    folder = str(annotations.parent)
    path.write_text(
        "from d2_data.datasets import register_coco_instances\n"
        f"register_coco_instances('cups', {{}}, {str(annotations)!r}, {folder!r})\n"
    )
    yield path
    DatasetCatalog.remove("cups")
    MetadataCatalog.remove("cups")


def test_registered_data_are_checked_and_shown_by_name(module, tmp_path, capfd):
    code, printed = run(capfd, "check", "cups", "--import", module)
    assert code == 0
    assert printed.startswith("cups: 10 images")
    sheet = tmp_path / "sheet.png"
    assert run(capfd, "show", "cups", "--output", sheet, "--number", 2, "--tile-size", 64)[0] == 0
    assert sheet.exists()


def test_unknown_data_are_an_error(tmp_path, capfd):
    assert main(["data", "check", "no_such_dataset"]) == 1
    assert "no_such_dataset" in capfd.readouterr().err
    assert main(["data", "show", str(tmp_path / "none.json")]) == 1
    assert "none.json" in capfd.readouterr().err


def test_sheet_is_written(annotations, tmp_path, capfd):
    sheet = tmp_path / "sheet.png"
    code, printed = run(capfd, "show", annotations, "--output", sheet, "--tile-size", 64)
    assert code == 0
    assert f"wrote {sheet}: 10 of 10 images" in printed
    assert size_of(sheet)[0] == 2 * 20 + 4 * 64 + 3 * 14


def test_page_is_written(annotations, tmp_path, capfd):
    page = tmp_path / "page.html"
    _, printed = run(capfd, "show", annotations, "--output", page, "--number", 3)
    assert "3 of 10 images" in printed
    shown = [f"{n}.png" for n in range(10) if f"{n}.png<br>" in page.read_text()]
    assert shown == ["0.png", "3.png", "6.png"]


def test_images_by_lot_are_those_of_the_seed(annotations, tmp_path, capfd):
    pages = []
    for seed in (1, 1, 2):
        page = tmp_path / "page.html"
        run(capfd, "show", annotations, "--output", page, "--number", 3, "--seed", seed)
        pages.append([n for n in range(10) if f"{n}.png<br>" in page.read_text()])
    assert pages[0] == pages[1] != pages[2]


def test_only_images_with_a_class_are_shown(annotations, tmp_path, capfd):
    page = tmp_path / "page.html"
    _, printed = run(capfd, "show", annotations, "--output", page, "--class", "plate")
    assert "1 of 1 images" in printed
    assert "9.png" in page.read_text()
    assert main(["data", "show", str(annotations), "--class", "fork"]) == 1
    assert "no class 'fork'; there are cup, plate" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "sheet.pdf"], "--output ends in .png or .html, got 'sheet.pdf'"),
        (["--number", "0"], "--number is at least 1"),
    ],
)
def test_wrong_options_of_show_are_named(annotations, arguments, message, capfd):
    with pytest.raises(SystemExit) as stopped:
        main(["data", "show", str(annotations), *arguments])
    assert stopped.value.code == 2
    assert message in capfd.readouterr().err
