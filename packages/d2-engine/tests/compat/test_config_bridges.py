"""Configs in detectron2's forms, which the compatibility import adds to d2's."""

from dataclasses import dataclass, field

import pytest
from torch import nn

from d2_config import get_cfg
from d2_engine.compat.shims import (
    dataclass_configs,
    default_config,
    script_setup,
    target_names,
)


def test_keys_added_to_the_default_config_are_in_every_new_one():
    default_config._C.MINE = 3
    try:
        cfg = default_config.get_cfg()
        assert cfg.MINE == 3
        cfg.MINE = 4
        assert default_config.get_cfg().MINE == 3
        assert "MINE" not in get_cfg()
    finally:
        del default_config._C.MINE


@dataclass
class Inner:
    size: int = 2


@dataclass
class Outer:
    inner: Inner = field(default_factory=Inner)
    several: list[Inner] = field(default_factory=lambda: [Inner(3)])


def test_dataclasses_are_described_by_their_names():
    described = dataclass_configs.dump_dataclass(Outer())
    assert described["_target_"].endswith("Outer")
    assert described["inner"]["size"] == 2
    assert described["several"][0]["size"] == 3
    with pytest.raises(TypeError, match="object of a dataclass"):
        dataclass_configs.dump_dataclass(Outer)


def test_keys_are_tried_in_order():
    cfg = get_cfg()
    assert script_setup._try_get_key(cfg, "OUTPUT_DIR", "train.output_dir") == cfg.OUTPUT_DIR
    assert script_setup._try_get_key({"train": {"seed": 3}}, "SEED", "train.seed") == 3
    assert script_setup._try_get_key({}, "x.y", default=4) == 4
    assert "mine" in script_setup._highlight("mine: 1", "x.yaml")


def test_objects_are_named_by_the_shortest_name_that_finds_them():
    assert target_names._convert_target_to_string(nn.Conv2d) == "torch.nn.Conv2d"
