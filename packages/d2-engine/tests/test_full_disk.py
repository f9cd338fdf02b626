"""A full disk is one error that names the file; what was there before stays as it was.

A limit on the size of files stands in for it: what is written beyond it is refused by the system.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from d2_config.files import DiskFullError
from d2_data import Metadata
from d2_data.transforms import AugmentationList
from d2_engine import TrainerBase, hooks
from d2_engine.checkpoint import Checkpointer
from d2_engine.defaults import DefaultPredictor
from d2_engine.events import EventStorage, JSONWriter, TensorboardXWriter
from d2_engine.run import Preprocessing
from d2_engine.run.pictures import find_pictures
from d2_engine.run.prediction import predict_pictures
from d2_engine.run.prediction_files import PredictionFiles
from d2_engine.run.videos import VideoFile
from d2_structures import Boxes, Instances

resource = pytest.importorskip("resource")  # not on Windows


@contextmanager
def limit(size: int) -> Iterator[None]:
    """Let no file grow beyond a number of bytes.

    Around what is tested only: a report of tests that goes to a file may be longer than that.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def record(writer: JSONWriter | TensorboardXWriter, iterations: range) -> None:
    with EventStorage() as storage:
        for storage.iter in iterations:
            storage.put_scalars(total_loss=1.0)
            writer.write()


@pytest.mark.parametrize("size", [10, 50, 51, 100, 137])
def test_metrics_end_with_a_whole_line_and_go_on_when_there_is_room(tmp_path, size):
    path = tmp_path / "metrics.json"
    writer = JSONWriter(path)
    with limit(size), pytest.raises(DiskFullError, match=r"no space left .*metrics\.json' was not"):
        record(writer, range(9))
    lines = path.read_text().splitlines() if path.exists() else []
    assert [json.loads(line)["iteration"] for line in lines] == list(range(len(lines)))
    record(writer, range(len(lines), 9))
    assert len(path.read_text().splitlines()) == 9


def test_event_files_are_named_and_no_thread_prints_a_traceback(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back at the end
    writer = TensorboardXWriter(str(tmp_path))
    with limit(200), pytest.raises(DiskFullError, match=r"no space left .*events\.out\.tfevents"):
        record(writer, range(20))
    assert "Traceback" not in capfd.readouterr().err


def test_errors_of_other_threads_are_still_told_while_events_are_written(tmp_path, monkeypatch):
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda failure: told.append(failure.exc_value))
    writer = TensorboardXWriter(str(tmp_path))
    record(writer, range(1))
    error = OSError("of another thread")

    def fail() -> None:
        raise error

    other = threading.Thread(target=fail)
    other.start()
    other.join()
    before = threading.excepthook
    writer.close()
    assert told == [error]
    assert threading.excepthook != before


def test_a_checkpoint_for_which_there_is_no_room_leaves_the_earlier_ones(tmp_path):
    checkpointer = Checkpointer(nn.Linear(100, 100), tmp_path)
    checkpointer.save("model_0000001")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("model_0000001", "model_0000003"):
        said = rf"no space left .*{name}\.pth' was not written.*MiB are free"
        with limit(5000), pytest.raises(DiskFullError, match=said):
            checkpointer.save(name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_could_not_be_written_first_is_what_a_training_ends_with(tmp_path, caplog):
    class Steps(TrainerBase):
        def run_step(self) -> None:
            self.storage.put_scalars(total_loss=1.0)

    trainer = Steps()
    checkpointer = Checkpointer(nn.Linear(100, 100), tmp_path, trainer=trainer)
    trainer.register_hooks(
        [
            hooks.PeriodicCheckpointer(checkpointer, 2),
            hooks.PeriodicWriter([JSONWriter(tmp_path / "metrics.json")], 1),
        ]
    )
    with limit(20), pytest.raises(DiskFullError, match=r"model_0000001\.pth|metrics\.json"):
        trainer.train(0, 4)
    assert not list(tmp_path.glob("*.pth"))


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8)


def write_picture(folder: Path) -> str:
    class FindsNothing(nn.Module):
        def forward(self, batch: list[dict[str, int]]) -> list[dict[str, Instances]]:
            found = Instances((batch[0]["height"], batch[0]["width"]))
            found.pred_boxes = Boxes(torch.zeros(0, 4))
            found.scores, found.pred_classes = torch.zeros(0), torch.zeros(0, dtype=torch.int64)
            return [{"instances": found}]

    preprocessing = Preprocessing(augmentations=lambda: AugmentationList([]), image_format="BGR")
    metadata = Metadata(name="m", thing_classes=["thing"])
    predictor = DefaultPredictor.of(FindsNothing(), preprocessing, metadata)
    predict_pictures(predictor, find_pictures([str(folder.parent / "photo.png")]), folder)
    return "photo.png"


def write_video(folder: Path) -> str:
    pytest.importorskip("cv2")
    with VideoFile(folder / "drawn.mp4", 10) as video:
        for frame in noise():
            video.write(frame)
    return "drawn.mp4"


def write_predictions(folder: Path) -> str:
    found = Instances((50, 50))
    found.pred_boxes = Boxes(torch.rand(90, 4).sort().values * 50)
    found.scores, found.pred_classes = torch.rand(90), torch.zeros(90, dtype=torch.int64)
    files = PredictionFiles(folder, Metadata(name="m", thing_classes=["thing"]))
    files.add("a.jpg", "a", (50, 50), {"instances": found})
    files.write()
    return "predictions.json"


@pytest.mark.parametrize("write", [write_picture, write_video, write_predictions])
def test_other_files_of_a_run_are_whole_or_named_in_an_error(
    tmp_path, write: Callable[[Path], str]
):
    folder = tmp_path / "run"
    folder.mkdir()
    Image.fromarray(noise()[0]).save(tmp_path / "photo.png")
    with limit(1000), pytest.raises(DiskFullError, match=r"no space left") as caught:
        write(folder)
    assert list(folder.iterdir()) == []
    name = write(folder)
    assert name in str(caught.value)
    assert (folder / name).stat().st_size > 1000
