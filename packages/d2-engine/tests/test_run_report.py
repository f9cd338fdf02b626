"""Pictures at the end of a run."""

import json
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from d2_config import instantiate
from d2_engine.run_folder import load_config
from d2_engine.run_report import write_report


@pytest.fixture
def cfg(tiny_config, tmp_path):
    cfg = load_config(tiny_config)
    cfg.train.output_dir = str(tmp_path)
    return cfg


@pytest.fixture
def model(cfg):
    torch.manual_seed(0)
    return instantiate(cfg.model)


def test_the_sheet_shows_as_many_images_as_asked_for(cfg, model, tmp_path):
    sizes = []
    for number in (1, 2):
        write_report(cfg, model, evaluator=None, num_pictures=3 * number)
        with Image.open(tmp_path / "contact_sheet.png") as sheet:
            sizes.append(sheet.size)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]
    assert model.training


def test_test_data_without_annotations_has_no_sheet(cfg, model, shapes, tmp_path):
    content = json.loads((shapes / "instances.json").read_text())
    content["annotations"] = []
    (tmp_path / "empty.json").write_text(json.dumps(content))
    cfg.data.val.json = str(tmp_path / "empty.json")
    write_report(cfg, model, evaluator=None)
    assert not (tmp_path / "contact_sheet.png").exists()


def test_without_matplotlib_a_line_says_what_to_install(cfg, model, monkeypatch, caplog):
    def absent(*arguments):
        raise ImportError("precision-recall plots need matplotlib: pip install 'd2-eval[plots]'")

    evaluator = SimpleNamespace(curves={"bbox": np.zeros((10, 101, 4))})
    monkeypatch.setattr("d2_engine.run_report.precision_recall_plot", absent)
    with caplog.at_level(logging.WARNING):
        write_report(cfg, model, evaluator, num_pictures=1)
    assert "pip install 'd2-eval[plots]'" in caplog.text
