"""Pictures at the end of a run."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from d2_engine.run.report import write_report


@pytest.fixture
def plan(tiny, tmp_path):
    return tiny.plan(tmp_path)


@pytest.fixture
def model(plan):
    torch.manual_seed(0)
    return plan.model()


def test_the_sheet_shows_as_many_images_as_asked_for(plan, model, tmp_path):
    sizes = []
    for number in (1, 2):
        write_report(plan, model, [], num_pictures=3 * number)
        with Image.open(tmp_path / "contact_sheet.png") as sheet:
            sizes.append(sheet.size)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]
    assert model.training


def test_test_data_without_annotations_has_no_sheet(tiny, model, shapes, tmp_path):
    content = json.loads((shapes / "instances.json").read_text())
    content["annotations"] = []
    (tmp_path / "empty.json").write_text(json.dumps(content))
    own = [f"data.val.json={tmp_path / 'empty.json'}", f"data.val.images={shapes / 'images'}"]
    write_report(tiny.plan(tmp_path, *own), model, [])
    assert not (tmp_path / "contact_sheet.png").exists()


def test_losses_are_drawn_from_what_the_run_stored(plan, model, tmp_path):
    rows = [{"iteration": i, "total_loss": 3.0 / (i + 1), "lr": 0.1} for i in range(4)]
    (tmp_path / "metrics.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_report(plan, model, [], num_pictures=1)
    with Image.open(tmp_path / "loss_curves.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def test_without_matplotlib_a_line_says_what_to_install(plan, model, monkeypatch, caplog):
    def absent(*arguments):
        raise ImportError("precision-recall plots need matplotlib: pip install 'd2-eval[plots]'")

    evaluator = SimpleNamespace(curves={"bbox": np.zeros((10, 101, 4))})
    monkeypatch.setattr("d2_engine.run.report.precision_recall_plot", absent)
    with caplog.at_level(logging.WARNING):
        write_report(plan, model, [evaluator], num_pictures=1)
    assert "pip install 'd2-eval[plots]'" in caplog.text
