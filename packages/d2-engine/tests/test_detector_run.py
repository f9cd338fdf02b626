"""Training and evaluating what a config describes."""

import pytest
import torch

from d2_engine.detector_run import build_detector, evaluate_detector, train_detector
from d2_engine.run_folder import load_config


@pytest.fixture
def cfg(tiny_config, tmp_path):
    cfg = load_config(tiny_config)
    cfg.train.output_dir = str(tmp_path / "run")
    cfg.train.max_iter = 1
    return cfg


def test_training_returns_the_results_and_stores_them(cfg, tmp_path):
    results = train_detector(cfg)
    assert {"bbox", "segm"} <= set(results)
    assert "bbox/AP50" in (tmp_path / "run" / "metrics.json").read_text()


def test_a_periodic_evaluation_does_not_change_the_training(cfg, tmp_path):
    finals = []
    for number, period in enumerate((0, 1)):
        changed = cfg.copy()
        changed.train.update(max_iter=3, eval_period=period, output_dir=str(tmp_path / str(number)))
        train_detector(changed)
        path = tmp_path / str(number) / "model_final.pth"
        finals.append(torch.load(path, weights_only=True)["model"])
    assert all(torch.equal(value, finals[1][name]) for name, value in finals[0].items())


def test_mixed_precision_is_an_option(cfg):
    cfg.train.amp.enabled = True
    assert train_detector(cfg).keys() == {"bbox", "segm"}


def test_resuming_what_never_began_begins_it(cfg, tmp_path):
    train_detector(cfg, resume=True)
    assert (tmp_path / "run" / "model_final.pth").is_file()


def test_evaluation_keeps_the_mode_of_the_model(cfg):
    model = build_detector(cfg).train()
    evaluate_detector(cfg, model)
    assert model.training


def test_the_memory_format_is_that_of_the_config(cfg):
    for channels_last in (True, False):
        cfg.train.channels_last = channels_last
        weight = build_detector(cfg).backbone.bottom_up.stem.conv1.weight
        assert weight.is_contiguous(memory_format=torch.channels_last) is channels_last
