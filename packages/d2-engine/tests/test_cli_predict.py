"""``d2 predict``: what it takes, prints, writes and refuses."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from d2_engine.cli import main

PANOPTIC = [
    "MODEL.META_ARCHITECTURE=PanopticFPN",
    "MODEL.SEM_SEG_HEAD.NAME=SemSegFPNHead",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES=['p3','p4','p5']",
    "MODEL.SEM_SEG_HEAD.CONVS_DIM=32",
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES=54",
    "MODEL.ROI_HEADS.NUM_CLASSES=80",
    "DATASETS.TEST=['coco_2017_val_panoptic_separated']",
    "MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH=0.0",
    "MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT=1",
]


@pytest.fixture
def run(tiny_run):
    return ["--run", str(tiny_run), "--confidence", "0"]


@pytest.fixture
def picture(shapes):
    return sorted((shapes / "images").iterdir())[0]


def predict(*arguments: object) -> int:
    return main(["predict", *map(str, arguments)])


def weights_of(plan, path: Path) -> Path:
    torch.manual_seed(0)
    torch.save({"model": plan.model().state_dict()}, path)
    return path


def test_prediction_needs_nothing_but_the_run_folder(tiny, tiny_run, shapes, tmp_path, capfd):
    moved = tmp_path / "moved"
    shutil.copytree(tiny_run, moved)
    text = (moved / "config.yaml").read_text()
    assert str(shapes) in text
    (moved / "config.yaml").write_text(text.replace(str(shapes), "/the/data/is/gone"))
    pictures = sorted((shapes / "images").iterdir())[:2]
    output = tmp_path / "seen"
    arguments = ["--run", moved, "--output", output, "--threshold", "0", "--scale", "2"]
    assert predict(*pictures, *arguments) == 0
    for picture in pictures:
        with Image.open(output / f"{picture.stem}.png") as drawn:
            assert drawn.size == (128, 128)
    coco = COCO(output / "predictions.json")
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())][3] == "star"
    assert coco.anns
    assert {a["image_id"] for a in coco.anns.values()} <= {1, 2}
    assert f"Everything is in {output}" in capfd.readouterr().out


def test_pictures_go_to_a_folder_of_their_own_by_default(run, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert predict(picture, *run) == 0
    assert (tmp_path / "output" / "predictions" / f"{picture.stem}.png").is_file()


def test_pictures_options_and_overrides_may_stand_in_any_order(tiny, run, picture, tmp_path, capfd):
    limit = {
        ".yaml": "MODEL.ROI_HEADS.SCORE_THRESH_TEST=0.99",
        ".py": "model.roi_heads.box_predictor.test_score_thresh=0.99",
    }[tiny.config.suffix]
    assert predict(limit, "--output", tmp_path, picture, *run) == 0
    assert "0 objects" in capfd.readouterr().out


def test_the_documented_form_is_taken(tiny_yacs, picture, tmp_path):
    weights = weights_of(tiny_yacs.plan(tmp_path), tmp_path / "model.pth")
    arguments = ["--config-file", tiny_yacs.config, "--input", picture, "--output", tmp_path]
    options = ["--opts", "MODEL.WEIGHTS", weights, "MODEL.DEVICE", "cpu"]
    assert predict(*arguments, "--confidence-threshold", "0", *options) == 0
    assert (tmp_path / f"{picture.stem}.png").is_file()


def test_a_model_of_a_built_in_dataset_has_its_names_and_category_ids(tiny_yacs, picture, tmp_path):
    coco = ["DATASETS.TEST=['coco_2017_val']", "MODEL.ROI_HEADS.NUM_CLASSES=80"]
    sure = ["MODEL.ROI_HEADS.SCORE_THRESH_TEST=0.0"]
    weights = weights_of(tiny_yacs.plan(tmp_path, *coco), tmp_path / "model.pth")
    model = ["--config", tiny_yacs.config, "--weights", weights, *coco, *sure]
    assert predict(picture, *model, "--confidence", "0", "--output", tmp_path) == 0
    found = COCO(tmp_path / "predictions.json")
    assert found.cats[90]["name"] == "toothbrush"
    assert len(found.cats) == 80
    assert found.anns
    assert {a["category_id"] for a in found.anns.values()} <= found.cats.keys()


def test_a_panoptic_model_is_drawn_and_written_in_the_panoptic_format(
    tiny_yacs, picture, tmp_path, capfd
):
    weights = weights_of(tiny_yacs.plan(tmp_path, *PANOPTIC), tmp_path / "model.pth")
    model = ["--config", tiny_yacs.config, "--weights", weights, *PANOPTIC]
    assert predict(picture, *model, "--output", tmp_path) == 0
    content = json.loads((tmp_path / "panoptic.json").read_text())
    (annotation,) = content["annotations"]
    names = {category["id"]: category["name"] for category in content["categories"]}
    assert len(names) == 80 + 54
    assert annotation["segments_info"]
    assert all(segment["category_id"] in names for segment in annotation["segments_info"])
    assert (tmp_path / "panoptic" / annotation["file_name"]).is_file()
    with Image.open(tmp_path / f"{picture.stem}.png") as drawn, Image.open(picture) as plain:
        assert (np.asarray(drawn) != np.asarray(plain.convert("RGB"))).any()
    assert "segment" in capfd.readouterr().out


def test_nothing_sure_enough_is_told_with_the_best_score(run, picture, tmp_path, capfd):
    assert predict(picture, *run[:2], "--confidence", "1", "--output", tmp_path) == 0
    assert "Nothing is drawn: the highest score is 0." in capfd.readouterr().out


def test_a_video_is_looked_at_instead(run, picture, tmp_path):
    cv2 = pytest.importorskip("cv2")
    source = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 64))
    for _ in range(2):
        writer.write(cv2.imread(str(picture)))
    writer.release()
    assert predict("--video", source, *run, "--output", tmp_path / "out") == 0
    assert (tmp_path / "out" / "clip.mp4").is_file()
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(content["images"]) == 2


# ------------------------------------------------------------------------ bad input


def test_without_opencv_a_video_names_the_extra(run, tmp_path, fails, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    for option in (["--video", tmp_path / "a.mp4"], ["--webcam"]):
        assert "pip install 'd2-engine[video]'" in fails("predict", *option, *run)


def test_the_only_picture_cannot_be_read(run, tmp_path, fails):
    (tmp_path / "bad.jpg").write_text("no picture")
    message = fails("predict", tmp_path / "bad.jpg", *run, "--output", tmp_path / "out")
    assert "error: the picture could not be read: " in message
    assert "bad.jpg" in message


def test_a_truncated_picture_is_named_after_the_others_were_predicted(
    run, picture, tmp_path, fails
):
    with Image.open(picture) as image:
        image.convert("RGB").save(tmp_path / "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    message = fails("predict", tmp_path / "cut.jpg", picture, *run, "--output", tmp_path / "out")
    assert "nothing could be done with 1 of 2 pictures, the others are in" in message
    assert "cut.jpg' cannot be decoded" in message
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [entry["file_name"] for entry in predictions["images"]] == [str(picture)]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nowhere.jpg", "there is no picture nowhere.jpg"),
        ("https://example.com/a.jpg", "https://example.com/a.jpg is a URL"),
    ],
)
def test_what_is_no_picture_is_named(run, fails, word, message):
    assert message in fails("predict", word, *run)


def test_a_folder_that_is_no_run_is_named(picture, tmp_path, fails):
    message = fails("predict", picture, "--run", tmp_path / "nowhere")
    assert "nowhere is not the folder of a training run: there is no such folder" in message


def test_weights_of_another_architecture_are_refused(run, picture, tmp_path, fails):
    torch.save({"model": torch.nn.Linear(3, 4).state_dict()}, tmp_path / "other.pth")
    message = fails("predict", picture, *run, "--weights", tmp_path / "other.pth")
    assert "other.pth' does not fit the model" in message


def test_a_number_of_classes_has_to_be_known(tiny, tiny_run, picture, fails):
    arguments = ["--config", tiny.config, "--weights", tiny_run / "model_final.pth"]
    message = fails("predict", picture, *arguments, *tiny.set(num_classes="null"))
    assert "is None, which means: as many as the training data has" in message
    assert "the folder of a training run" in message
