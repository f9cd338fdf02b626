"""The few settings that every run has, in configs of both kinds."""

import pytest
from omegaconf import OmegaConf

from d2_config import get_cfg
from d2_engine.run_settings import (
    apply_overrides,
    output_dir_of,
    set_output_dir,
    set_weights,
    weights_of,
)


def lazy():
    return OmegaConf.create({"train": {"output_dir": "out", "init_checkpoint": None, "lr": 1.0}})


@pytest.mark.parametrize("make", [lazy, get_cfg])
def test_weights_and_folder_are_set_and_read(make):
    cfg = make()
    assert weights_of(cfg) == ""
    set_weights(cfg, "w.pth")
    set_output_dir(cfg, "there")
    assert (weights_of(cfg), output_dir_of(cfg)) == ("w.pth", "there")


def test_overrides_are_those_of_the_kind_of_config():
    assert apply_overrides(lazy(), ["train.lr=0.5"]).train.lr == 0.5
    assert apply_overrides(get_cfg(), ["SOLVER.BASE_LR=0.5"]).SOLVER.BASE_LR == 0.5
    pairs = ["SOLVER.BASE_LR", "0.5", "MODEL.WEIGHTS", "https://a.org/w.pth?b=c"]
    cfg = apply_overrides(get_cfg(), pairs)
    assert (cfg.SOLVER.BASE_LR, cfg.MODEL.WEIGHTS) == (0.5, "https://a.org/w.pth?b=c")


@pytest.mark.parametrize("overrides", [["SOLVER.BASE_LR"], ["=3"], ["SEED=3", "SEED"]])
def test_what_is_no_override_is_refused(overrides):
    with pytest.raises(ValueError, match="write KEY=VALUE"):
        apply_overrides(get_cfg(), overrides)
