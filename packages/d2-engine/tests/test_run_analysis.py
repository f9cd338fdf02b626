"""A model is counted and shown: ``d2 analyze`` and what is behind it."""

import re

import pytest
import torch
from torch import nn

from d2_engine.cli import main
from d2_engine.run.analysis import TASKS, analyze, drawn_image


class Sums(nn.Module):
    """Takes what our models take; 12 parameters, 9 multiply-adds a position."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 1)

    def forward(self, batched_inputs):
        assert not self.training
        return [self.layer(entry["image"][None].float()) for entry in batched_inputs]


def test_figures_of_a_small_model_are_those_that_can_be_counted_by_hand():
    model = Sums().train()
    images = [drawn_image(10, 20), drawn_image(10, 40)]
    flops, activations = analyze(model, ["flop", "activation"], images)
    assert model.training
    # 9 × 200 and 9 × 400 multiply-adds: mean 2700, deviation 900
    assert re.search(r"total +2\.7e-06 ± 9e-07", flops)
    assert re.search(r"total +0\.0009 ± 0\.0003", activations)
    (parameters,) = analyze(model, ["parameter"], [])
    assert "| 12" in parameters


def test_the_structure_is_that_of_torch():
    model = Sums()
    assert list(analyze(model, ["structure"], [])) == [str(model)]


def test_an_unknown_task_and_counting_without_images_are_named():
    with pytest.raises(ValueError, match="'flops'; there are parameter"):
        list(analyze(Sums(), ["flops"], []))
    with pytest.raises(ValueError, match="there are none"):
        list(analyze(Sums(), ["flop"], []))


def test_noise_is_the_same_each_time():
    assert torch.equal(drawn_image(4, 5), drawn_image(4, 5))


def test_the_command_knows_the_tasks(tiny_config, capsys):
    assert main(["analyze", str(tiny_config), "--task", *TASKS, "--size", "64", "64"]) == 0
    printed = capsys.readouterr().out
    assert "| backbone" in printed.replace("|  backbone", "| backbone")
    assert "(roi_heads)" in printed
    assert "multiply-adds, in billions, of 1 image\n" in printed
    assert "activations, in millions" in printed


def test_a_run_is_counted_in_its_test_images(tiny_run, capsys):
    assert main(["analyze", str(tiny_run), "--task", "activation", "--images", "2"]) == 0
    printed = capsys.readouterr().out
    assert "of 2 images" in printed
    assert "±" in printed


def test_numbers_below_one_are_refused(tiny_config, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["analyze", str(tiny_config), "--size", "0", "5"])
    assert ended.value.code == 2
    assert "at least 1" in capsys.readouterr().err
