"""One road through all seven wheels: dataset, training, evaluation, prediction, pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from d2_data.datasets.shapes import generate_shapes

ITERATIONS = 60


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A small shapes dataset where the quickstart config looks for it."""
    root = tmp_path_factory.mktemp("datasets")
    generate_shapes(root / "shapes" / "train", 2000, seed=0, image_size=128, num_workers=2)
    generate_shapes(root / "shapes" / "val", 200, seed=1, image_size=128)
    return root


@pytest.fixture(scope="module")
def run(d2, photographs, tmp_path_factory):
    """The folder of a short training run of the quickstart config."""
    folder = tmp_path_factory.mktemp("run")
    done = d2(
        *("train", "quickstart/mask_rcnn_shapes.py", "--output", folder),
        *(f"train.max_iter={ITERATIONS}", "train.log_period=10"),
        datasets=photographs,
    )
    (folder / "stdout.txt").write_text(done.stdout)
    return folder


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def test_the_loss_falls(run):
    losses = [line["total_loss"] for line in metrics(run) if "total_loss" in line]
    assert len(losses) >= 5
    assert losses[-1] < 0.95 * losses[0]


def test_the_run_leaves_its_folder(run):
    names = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "metadata.json",
        "metrics.json",
        "log.txt",
        "model_final.pth",
        "last_checkpoint",
        "contact_sheet.png",
        "precision_recall.png",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    for name in ("contact_sheet.png", "precision_recall.png"):
        with Image.open(run / name) as picture:
            assert np.asarray(picture.convert("RGB")).std() > 10


def test_the_table_and_the_folder_are_printed(run):
    printed = (run / "stdout.txt").read_text()
    assert "| bbox" in printed
    assert "| segm" in printed
    assert f"Everything is in {run}" in printed


def test_the_metrics_hold_the_evaluation(run):
    last = metrics(run)[-1]
    assert 0 <= last["bbox/AP50"] <= 100
    assert 0 <= last["segm/AP50"] <= 100


def test_a_checkpoint_holds_tensors_and_plain_data_only(run):
    checkpoint = torch.load(run / "model_final.pth", weights_only=True)
    assert checkpoint["iteration"] == ITERATIONS - 1
    assert all(isinstance(value, torch.Tensor) for value in checkpoint["model"].values())


def test_evaluating_the_run_again_gives_the_same_numbers(d2, run, photographs, tmp_path):
    printed = d2("eval", run, "--output", tmp_path, datasets=photographs).stdout
    table = [line for line in (run / "stdout.txt").read_text().splitlines() if "| bbox" in line]
    assert table
    assert table[-1] in printed


def test_the_run_folder_is_enough_to_predict(d2, run, photographs, tmp_path):
    folder = photographs / "shapes" / "val" / "images"
    picture = sorted(folder.iterdir())[0]
    d2("predict", picture, "--run", run, "--output", tmp_path, "--threshold", "0.01")
    with Image.open(picture) as original, Image.open(tmp_path / f"{picture.stem}.png") as drawn:
        assert drawn.size == original.size
    coco = COCO(tmp_path / "predictions.json")
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == [
        "ellipse",
        "triangle",
        "rectangle",
        "star",
    ]
    assert all(0 <= annotation["score"] <= 1 for annotation in coco.anns.values())


def test_the_environment_is_shown(d2):
    printed = d2("env").stdout
    for name in ("d2-config", "d2-ops", "d2-engine", "torch", "CUDA"):
        assert name in printed
    assert "not installed" not in printed.split("d2-engine")[0]
