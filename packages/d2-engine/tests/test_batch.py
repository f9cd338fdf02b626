"""Prediction on Ray Data: every picture once, whatever dies."""

import io
import json
import os
import signal
import tarfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask
from torch import nn

from d2_data import Metadata
from d2_data.transforms import AugmentationList
from d2_engine.batch import Predicted, predict, read_predictions
from d2_engine.cli import main
from d2_engine.defaults import DefaultPredictor
from d2_engine.run import Preprocessing
from d2_structures import Boxes, Instances

ray = pytest.importorskip("ray", reason="Ray is not installed (extra d2-engine[ray])")
pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra d2-engine[ray])")
pq = pytest.importorskip("pyarrow.parquet")


class Brightness(nn.Module):
    """Finds one instance: a box as wide as the picture is bright, a mask, two keypoints.

    Args:
        log: folder where it notes what it has seen.
        kill_at: the brightness at which its process is killed, once.
    """

    def __init__(self, log: Path, kill_at: int | None) -> None:
        super().__init__()
        self.log = log
        self.kill_at = kill_at

    def forward(self, batch: list[dict]) -> list[dict]:
        (record,) = batch
        height, width = record["height"], record["width"]
        brightness = int(record["image"].float().mean().round())
        (self.log / f"{brightness}-{os.urandom(4).hex()}").touch()
        killed = self.log / "killed"
        if brightness == self.kill_at and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        instances = Instances((height, width))
        instances.pred_boxes = Boxes(torch.tensor([[0.0, 0.0, brightness, 2.0]]))
        instances.scores = torch.tensor([0.75])
        instances.pred_classes = torch.tensor([1])
        instances.pred_masks = torch.ones(1, height, width, dtype=torch.bool)
        instances.pred_keypoints = torch.tensor([[[1.5, 2.5, 0.5], [3.0, 4.0, 1.0]]])
        return [{"instances": instances}]


class MakeBrightness:
    """Makes the predictor in a worker."""

    def __init__(self, log: Path, kill_at: int | None = None) -> None:
        self.arguments = (log, kill_at)

    def __call__(self) -> DefaultPredictor:
        model = Brightness(*self.arguments).eval()
        metadata = Metadata(thing_classes=["dark", "bright"])
        preprocessing = Preprocessing(
            augmentations=lambda: AugmentationList([]), image_format="BGR"
        )
        return DefaultPredictor.of(model, preprocessing, metadata)


@pytest.fixture(scope="module", autouse=True)
def _ray():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        yield
        ray.shutdown()


@pytest.fixture
def log(tmp_path):
    folder = tmp_path / "log"
    folder.mkdir()
    return folder


def picture(brightness: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), brightness, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def write_pictures(folder: Path, brightnesses: range) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:03d}.png" for number in brightnesses]
    for path, brightness in zip(paths, brightnesses, strict=True):
        path.write_bytes(picture(brightness))
    return paths


def write_shard(path: Path, brightnesses: range) -> bytes:
    with tarfile.open(path, "w") as archive:
        for brightness in brightnesses:
            for name, content in ((".png", picture(brightness)), (".json", b"{}")):
                member = tarfile.TarInfo(f"{brightness:03d}{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path.read_bytes()


def widths(folder: Path) -> list[int]:
    """The brightness of each picture of the output, by its box."""
    return sorted(int(row["boxes"][0][2]) for row in read_predictions(folder) if not row["error"])


def looked_at(log: Path) -> Counter:
    return Counter(int(p.name.partition("-")[0]) for p in log.iterdir() if p.name != "killed")


def test_folders_lists_and_shards_are_read_and_each_picture_is_written_once(tmp_path, log):
    write_pictures(tmp_path / "in" / "deep", range(1, 6))
    listed = write_pictures(tmp_path / "listed", range(10, 17))
    table = pa.table({"path": [path.name for path in listed], "other": list(range(7))})
    pq.write_table(table, tmp_path / "listed" / "all.parquet", row_group_size=3)
    write_shard(tmp_path / "one.tar", range(20, 24))
    words = [tmp_path / "in", tmp_path / "listed" / "all.parquet", tmp_path / "*.tar"]
    found = predict(
        map(str, words), tmp_path / "out", MakeBrightness(log), workers=2, pictures_per_part=4
    )
    assert found == Predicted(pictures=16, failed=0, parts=5, kept_parts=0)
    assert widths(tmp_path / "out") == [*range(1, 6), *range(10, 17), *range(20, 24)]
    rows = {Path(row["picture"]).name: row for row in read_predictions(tmp_path / "out")}
    row = rows["010.png"]
    assert (row["height"], row["width"], row["error"]) == (6, 8, None)
    assert row["boxes"] == [[0, 0, 10, 2]]
    assert (row["scores"], row["classes"]) == ([0.75], [1])
    assert row["keypoints"] == [[1.5, 2.5, 0.5, 3.0, 4.0, 1.0]]
    assert mask.area(row["masks"][0]) == 6 * 8
    assert rows["020.png"]["picture"] == f"{tmp_path}/one.tar/020.png"


def test_after_a_killed_worker_each_picture_is_there_once(tmp_path, log):
    write_pictures(tmp_path / "in", range(1, 13))
    maker = MakeBrightness(log, kill_at=7)
    found = predict([str(tmp_path / "in")], tmp_path / "out", maker, workers=2, pictures_per_part=3)
    assert (log / "killed").exists()
    assert (found.pictures, found.failed) == (12, 0)
    assert widths(tmp_path / "out") == list(range(1, 13))
    assert looked_at(log)[7] == 2  # it was done again


def test_the_same_command_goes_on_and_does_only_what_is_missing(tmp_path, log):
    write_pictures(tmp_path / "in", range(1, 9))
    arguments = ([str(tmp_path / "in")], tmp_path / "out", MakeBrightness(log))
    predict(*arguments, pictures_per_part=2)
    (tmp_path / "out" / "part-000002.parquet").unlink()
    found = predict(*arguments, pictures_per_part=2)
    assert found == Predicted(pictures=8, failed=0, parts=4, kept_parts=3)
    assert widths(tmp_path / "out") == list(range(1, 9))
    assert looked_at(log) == Counter({**dict.fromkeys(range(1, 9), 1), 5: 2, 6: 2})


def test_what_cannot_be_read_has_a_row_that_says_why(tmp_path, log):
    write_pictures(tmp_path / "in", range(1, 3))
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no picture")
    whole = write_shard(tmp_path / "in" / "cut.tar", range(5, 9))
    (tmp_path / "in" / "cut.tar").write_bytes(whole[: 3 * 1024 + 512])
    pq.write_table(pa.table({"file": [None, "gone.png"]}), tmp_path / "in" / "list.parquet")
    found = predict([str(tmp_path / "in")], tmp_path / "out", MakeBrightness(log))
    errors = {row["picture"]: row["error"] for row in read_predictions(tmp_path / "out")}
    assert found.failed == 4
    assert "bad.jpg' is not an image" in errors[f"{tmp_path}/in/bad.jpg"]
    assert "the shard is damaged or cut short" in errors[f"{tmp_path}/in/cut.tar"]
    assert errors["None"] == "the path of a picture is text, not None"
    assert "gone.png' does not exist" in errors[f"{tmp_path}/in/gone.png"]
    assert widths(tmp_path / "out")[:2] == [1, 2]


def test_predictions_of_other_pictures_or_models_are_not_mixed(tmp_path, log):
    write_pictures(tmp_path / "in", range(1, 3))
    arguments = ([str(tmp_path / "in")], tmp_path / "out", MakeBrightness(log))
    predict(*arguments, model="one")
    with pytest.raises(ValueError, match="begun with other model: repeat that command"):
        predict(*arguments, model="two")
    write_pictures(tmp_path / "in", range(1, 4))
    with pytest.raises(ValueError, match="begun with other parts"):
        predict(*arguments, model="one")


def test_the_command_writes_what_the_plain_one_finds(tiny_run, shapes, tmp_path, capfd):
    words = [str(shapes / "images"), "--run", str(tiny_run), "--confidence", "0"]
    assert main(["predict", *words, "--output", str(tmp_path / "plain")]) == 0
    ray_words = ["--engine", "ray", "--workers", "2", "--part-size", "5"]
    assert main(["predict", *words, "--output", str(tmp_path / "ray"), *ray_words]) == 0
    assert f"12 pictures are in 3 files in {tmp_path / 'ray'}" in capfd.readouterr().out
    rows = {Path(row["picture"]).name: row for row in read_predictions(tmp_path / "ray")}
    plain = json.loads((tmp_path / "plain" / "predictions.json").read_text())
    scores: dict[str, list[float]] = {name: [] for name in rows}
    names = {image["id"]: Path(image["file_name"]).name for image in plain["images"]}
    for annotation in plain["annotations"]:
        scores[names[annotation["image_id"]]].append(annotation["score"])
    assert any(scores.values())
    for name, row in rows.items():
        assert sorted(row["scores"]) == pytest.approx(sorted(scores[name]), abs=1e-4)
