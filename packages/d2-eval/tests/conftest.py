"""Builders of small datasets and predictions that several test modules share."""

import gzip
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from d2_data import DatasetCatalog, MetadataCatalog
from d2_ops.host import rle_decode
from d2_structures import Boxes, Instances

_REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real annotations and reference values, which is not part of the repository."""
    folder = Path(os.environ.get("D2_SHARED", _REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("reference data not found; point D2_SHARED at its folder")
    return folder


@pytest.fixture
def golden(shared_data):
    """Read from the folder of an evaluator's inputs and the original's figures."""

    def read(*parts: str) -> Any:
        path = shared_data / "golden" / "evaluators" / Path(*parts)
        if path.suffix == ".gz":
            with gzip.open(path) as stream:
                return json.load(stream)
        return json.loads(path.read_text()) if path.suffix == ".json" else path

    return read


@pytest.fixture
def golden_instances():
    """Build the instances of one entry of a file of golden predictions."""
    return _golden_instances


def _golden_instances(entry: dict, *, masks: bool = True) -> Instances:
    size = (entry["height"], entry["width"])
    instances = Instances(size, scores=torch.tensor(entry["scores"]))
    instances.pred_classes = torch.tensor(entry["pred_classes"], dtype=torch.int64)
    if "pred_boxes" in entry:
        instances.pred_boxes = Boxes(torch.tensor(entry["pred_boxes"]).reshape(-1, 4))
    if masks and "pred_masks" in entry:
        decoded = [torch.from_numpy(rle_decode(rle)) for rle in entry["pred_masks"]]
        empty = torch.zeros(0, *size, dtype=torch.bool)
        instances.pred_masks = torch.stack(decoded).bool() if decoded else empty
    return instances


@pytest.fixture
def coco_content():
    """Two images, 100 × 80; categories 3 'cat' and 7 'dog'."""

    def square(number: int, image_id: int, category_id: int, x: int, y: int, side: int) -> dict:
        corners = [x, y, x + side, y, x + side, y + side, x, y + side]
        return {
            "id": number,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": [x, y, side, side],
            "area": side * side,
            "segmentation": [corners],
            "iscrowd": 0,
        }

    return {
        "images": [
            {"id": 1, "file_name": "one.png", "height": 80, "width": 100},
            {"id": 2, "file_name": "two.png", "height": 80, "width": 100},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            square(1, 1, 3, 10, 10, 20),
            square(2, 1, 7, 50, 20, 40),
            square(3, 2, 3, 30, 30, 40),
        ],
    }


@pytest.fixture
def register():
    """Register datasets under names that are forgotten after the test."""
    names = []

    def register_dataset(name: str, samples: list | None = None, **metadata: object) -> None:
        if samples is not None:
            DatasetCatalog.register(name, lambda: samples)
        MetadataCatalog.get(name).set(**metadata)
        names.append(name)

    yield register_dataset
    for name in names:
        if name in DatasetCatalog:
            DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.fixture
def detections():
    """Build ``Instances`` of an image of 100 × 80 from rows (x1, y1, x2, y2, score, class)."""

    def build(*rows: tuple[float, ...], masks: bool = False) -> Instances:
        table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
        instances = Instances((80, 100))
        instances.pred_boxes = Boxes(table[:, :4])
        instances.scores = table[:, 4]
        instances.pred_classes = table[:, 5].long()
        if masks:
            filled = torch.zeros(len(table), 80, 100, dtype=torch.bool)
            for mask, (x1, y1, x2, y2) in zip(filled, table[:, :4].int().tolist(), strict=True):
                mask[y1:y2, x1:x2] = True
            instances.pred_masks = filled
        return instances

    return build


class Terminal(io.StringIO):
    """A terminal of 100 columns that understands what live lines need."""

    def isatty(self) -> bool:
        return True

    def screen(self) -> list[str]:
        """The lines that a reader sees, blank ones at the end left out."""
        rows, row = [""], 0
        for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", self.getvalue()):
            if part == "\n":
                row += 1
                rows += [""] * (row + 1 - len(rows))
            elif part.endswith("A") and part.startswith("\x1b"):
                row -= int(part[2:-1] or 1)
            elif part == "\x1b[2K":
                rows[row] = ""
            elif not part.startswith("\x1b") and part != "\r":
                rows[row] += part  # lines are erased before they are written again
        while rows and not rows[-1].strip():
            rows.pop()
        return [line.rstrip() for line in rows]


@pytest.fixture
def open_terminal(monkeypatch):
    """Make standard output and error one terminal; to be called in the test itself."""

    def build() -> Terminal:
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        terminal = Terminal()
        monkeypatch.setattr("sys.stdout", terminal)
        monkeypatch.setattr("sys.stderr", terminal)
        return terminal

    return build


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()
