"""Predicting on pictures, videos and cameras, with a model that finds what it is told to."""

import json
import os
import struct
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from d2_data import Metadata
from d2_data.transforms import AugmentationList
from d2_engine.defaults import DefaultPredictor
from d2_engine.run import Preprocessing
from d2_engine.run.pictures import find_pictures
from d2_engine.run.prediction import (
    BadPicturesError,
    predict_camera,
    predict_pictures,
    predict_video,
)
from d2_structures import Boxes, Instances


class FindsTheMiddle(nn.Module):
    """Finds a cat in the middle of every image, with the score 0.6."""

    def __init__(self, score=0.6):
        super().__init__()
        self.score = score

    def forward(self, batch):
        (record,) = batch
        height, width = record["height"], record["width"]
        found = Instances((height, width))
        found.pred_boxes = Boxes(
            torch.tensor([[width / 4, height / 4, 3 * width / 4, 3 * height / 4]])
        )
        found.scores = torch.tensor([self.score])
        found.pred_classes = torch.tensor([0])
        return [{"instances": found}]


@pytest.fixture
def predictor():
    preprocessing = Preprocessing(augmentations=lambda: AugmentationList([]), image_format="BGR")
    return DefaultPredictor.of(
        FindsTheMiddle(), preprocessing, Metadata(name="pets").set(thing_classes=["cat"])
    )


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30), (128, 128, 128)).save(folder / name)
    return folder


def test_pictures_are_drawn_and_written_down(predictor, photos, tmp_path):
    told = []
    found = predict_pictures(
        predictor, find_pictures([str(photos)]), tmp_path / "out", tell=told.append
    )
    assert found.instances == 2
    assert found.best_score == pytest.approx(0.6)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "a.png",
        "b.png",
        "predictions.json",
    ]
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert np.asarray(picture).std() > 0
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [a["bbox"] for a in content["annotations"]] == [[10, 7.5, 20, 15]] * 2
    assert len(told) == 2
    assert "1 object" in told[0]


def test_what_is_not_sure_enough_is_neither_drawn_nor_written(predictor, photos, tmp_path):
    found = predict_pictures(
        predictor, find_pictures([str(photos)]), tmp_path, confidence=0.7, tell=str
    )
    assert found.instances == 0
    assert found.best_score == pytest.approx(0.6)
    assert json.loads((tmp_path / "predictions.json").read_text())["annotations"] == []


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["bad.jpg"], "the picture could not be read: .*bad.jpg"),
        (["bad.jpg", "worse.jpg"], "nothing could be done with any of the 2 pictures"),
        (["bad.jpg", "a.png"], "nothing could be done with 1 of 2 pictures, the others are in"),
    ],
)
def test_a_bad_picture_is_named_and_does_not_end_the_others(
    predictor, photos, tmp_path, names, sentence
):
    for name in ("bad.jpg", "worse.jpg"):
        (photos / name).write_text("no picture")
    pictures = find_pictures([str(photos / name) for name in names])
    with pytest.raises(BadPicturesError, match=sentence) as raised:
        predict_pictures(predictor, pictures, tmp_path / "out", tell=str)
    assert str(raised.value).count("bad.jpg") == 1
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(content["images"]) == names.count("a.png")


def hostile_pictures(folder):
    """Files that are called pictures, of which none may end, block or start anything."""
    (folder / "postscript.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "lost.png").symlink_to(folder / "nowhere.png")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "endless.png").symlink_to("/dev/zero")
    bomb = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + bomb
    (folder / "bomb.png").write_bytes(head + struct.pack(">I", zlib.crc32(head[12:])))
    whole = (folder / "a.png").read_bytes()
    (folder / "short.png").write_bytes(whole[: len(whole) // 2])
    return ["postscript", "empty", "lost", "folder", "pipe", "endless", "bomb", "short"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_hostile_pictures_are_named_and_do_not_end_a_folder(predictor, photos, tmp_path):
    names = hostile_pictures(photos)
    with pytest.raises(BadPicturesError, match="with 8 of 10 pictures"):
        predict_pictures(predictor, find_pictures([str(photos)]), tmp_path / "out", tell=str)
    told = []
    with pytest.raises(BadPicturesError):
        predict_pictures(
            predictor, find_pictures([str(photos)]), tmp_path / "again", tell=told.append
        )
    for name in names:
        assert sum(f"{name}." in text and "could not be read" in text for text in told) == 1
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(content["images"]) == 2


def test_a_picture_that_the_model_fails_on_does_not_end_the_others(predictor, photos, tmp_path):
    Image.new("RGB", (7, 7)).save(photos / "strange.png")
    plain = predictor.model.forward

    def forward(batch):
        if batch[0]["width"] == 7:
            raise RuntimeError("sizes should be greater than 0")
        return plain(batch)

    predictor.model.forward = forward
    pictures = find_pictures([str(photos / name) for name in ("strange.png", "a.png")])
    with pytest.raises(BadPicturesError, match="the model fails on this picture: .*strange.png"):
        predict_pictures(predictor, pictures, tmp_path / "out", tell=str)
    assert (tmp_path / "out" / "a.png").is_file()


def test_a_picture_that_was_given_is_not_replaced(predictor, photos):
    with pytest.raises(ValueError, match="would replace .*a.png: choose another --output"):
        predict_pictures(predictor, find_pictures([str(photos)]), photos)


def test_ctrl_c_leaves_what_was_found_so_far(predictor, photos, tmp_path):
    def interrupt(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_pictures(predictor, find_pictures([str(photos)]), tmp_path, tell=interrupt)
    assert len(json.loads((tmp_path / "predictions.json").read_text())["images"]) == 1


# ------------------------------------------------------------------------ video


def frames(count=3):
    return [np.full((30, 40, 3), 128, np.uint8) for _ in range(count)]


class Video(list):
    """Frames as OpenCV's VideoCapture gives them; ends as ``interrupt`` says."""

    interrupt = False

    def isOpened(self):
        return True

    def get(self, what):
        return 5.0

    def read(self):
        if self:
            return True, self.pop(0)
        if self.interrupt:
            raise KeyboardInterrupt
        return False, None

    def release(self):
        pass


@pytest.fixture
def opencv(monkeypatch):
    """A module that stands for cv2 and keeps what is written."""
    written = []

    class Writer:
        fourcc = staticmethod(lambda *letters: letters)

        def __init__(self, path, *rest):
            self.file = open(path, "wb")  # noqa: SIM115  closed by release

        def isOpened(self):
            return True

        def write(self, picture):
            written.append(picture)

        def release(self):
            self.file.close()

    def no_window(*arguments):
        raise RuntimeError("no windows")

    module = SimpleNamespace(
        CAP_PROP_FPS=0,
        CAP_PROP_FRAME_COUNT=1,
        VideoWriter=Writer,
        video=Video(frames()),
        imshow=no_window,
        error=RuntimeError,
        written=written,
    )
    module.VideoCapture = lambda source: module.video
    monkeypatch.setitem(sys.modules, "cv2", module)
    return module


def test_a_video_is_drawn_frame_by_frame_and_written_down(predictor, opencv, tmp_path):
    source = tmp_path / "clip.avi"
    source.write_text("")
    path = predict_video(predictor, str(source), tmp_path / "out")
    assert path == tmp_path / "out" / "clip.mp4"
    assert path.is_file()
    assert len(opencv.written) == 3
    assert all(picture.std() > 0 for picture in opencv.written)
    content = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [image["frame"] for image in content["images"]] == [0, 1, 2]
    assert len(content["annotations"]) == 3


def test_the_video_that_is_read_is_not_replaced(predictor, opencv, tmp_path):
    source = tmp_path / "clip.mp4"
    source.write_text("")
    with pytest.raises(ValueError, match="would replace .*clip.mp4"):
        predict_video(predictor, str(source), tmp_path)


def test_ctrl_c_ends_looking_through_a_camera_and_keeps_the_video(predictor, opencv, tmp_path):
    opencv.video.interrupt = True
    path = predict_camera(predictor, 0, tmp_path, clock=lambda: 0.0)
    assert path.is_file()
    assert len(opencv.written) == 3


def test_q_in_the_window_ends_looking_through_a_camera(predictor, opencv, tmp_path):
    opencv.imshow = lambda *arguments: None
    opencv.waitKey = lambda milliseconds: ord("q")
    predict_camera(predictor, 0, tmp_path, clock=lambda: 0.0)
    assert len(opencv.written) == 1
