"""The beginning of a training script, and where its metrics go."""

import argparse
import logging
import re

import pytest
import torch
from omegaconf import OmegaConf

from d2_config import CfgNode, LazyConfig
from d2_engine.defaults import (
    create_ddp_model,
    default_argument_parser,
    default_setup,
    default_writers,
)
from d2_engine.events import (
    CommonMetricPrinter,
    EventStorage,
    JSONWriter,
    TensorboardXWriter,
)
from d2_engine.run.settings import settings_of


def lazy(folder, **options):
    return OmegaConf.create({"train": {"output_dir": str(folder), **options}})


def yacs(folder, seed: int) -> CfgNode:
    return CfgNode({"OUTPUT_DIR": str(folder), "SEED": seed, "CUDNN_BENCHMARK": False})


def test_the_arguments_have_the_documented_defaults():
    args = default_argument_parser().parse_args([])
    assert vars(args) == {
        "config_file": "",
        "resume": False,
        "eval_only": False,
        "num_gpus": 1,
        "num_machines": 1,
        "machine_rank": 0,
        "dist_url": "auto",
        "opts": [],
    }


def test_what_is_left_of_the_command_line_changes_the_config():
    parser = default_argument_parser("an epilog")
    args = parser.parse_args(["--config-file", "c.yaml", "SOLVER.BASE_LR", "0.1"])
    assert args.config_file == "c.yaml"
    assert args.opts == ["SOLVER.BASE_LR", "0.1"]
    assert "an epilog" in parser.format_help()


def test_a_lazy_config_and_the_log_are_written(tmp_path):
    default_setup(lazy(tmp_path, seed=3), default_argument_parser().parse_args([]))
    assert LazyConfig.load(tmp_path / "config.yaml").train.seed == 3
    assert "torch" in (tmp_path / "log.txt").read_text()


def test_a_yacs_config_is_written(tmp_path):
    default_setup(yacs(tmp_path, seed=3), None)
    assert "SEED: 3" in (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize("make", [lambda f: lazy(f, seed=7), lambda f: yacs(f, seed=7)])
def test_the_generators_are_seeded(tmp_path, make):
    draws = []
    for _ in range(2):
        default_setup(make(tmp_path), None)
        draws.append(torch.rand(3))
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    "make", [lazy, lambda f: lazy(f, seed=None), lambda f: lazy(f, seed=-1), lambda f: yacs(f, -1)]
)
def test_without_a_seed_one_is_drawn_for_the_whole_script(tmp_path, make):
    cfg = make(tmp_path)
    default_setup(cfg, None)
    seed = settings_of(cfg).get("seed")
    assert seed >= 0
    assert read_seed(tmp_path) == seed
    again = make(tmp_path)
    default_setup(again, argparse.Namespace(resume=True))
    assert settings_of(again).get("seed") == seed


def read_seed(folder) -> int:
    """The seed in a folder's config, of whatever kind."""
    found = re.search(r"(?i)seed: (\d+)", (folder / "config.yaml").read_text())
    return int(found[1])


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.INFO):
        default_setup(lazy("", seed=1), None)
    assert not list(tmp_path.iterdir())


def test_metrics_go_to_the_log_a_file_and_tensorboard(tmp_path):
    writers = default_writers(str(tmp_path / "new"), max_iter=3)
    kinds = [type(writer) for writer in writers]
    assert kinds == [CommonMetricPrinter, JSONWriter, TensorboardXWriter]
    assert not (tmp_path / "new").exists(), "a trainer that does not train leaves nothing behind"
    with EventStorage() as storage:
        storage.put_scalar("total_loss", 2.0)
        writers[1].write()
    assert (tmp_path / "new" / "metrics.json").exists()


def test_one_process_needs_no_wrapper():
    model = torch.nn.Linear(1, 1)
    assert create_ddp_model(model, broadcast_buffers=False) is model
