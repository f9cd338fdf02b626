"""Signals and several processes, for both kinds of config."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

_D2 = [sys.executable, "-c", "from d2_engine.cli import main; raise SystemExit(main())"]

_STOP_IN_EVALUATION = """
import importlib, os, signal
evaluate = importlib.import_module("d2_engine.run.evaluate")
plain = evaluate.inference_on_dataset
def interrupted(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    return plain(*arguments)
evaluate.inference_on_dataset = interrupted
"""


def d2(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*_D2, *map(str, arguments)], capture_output=True, text=True, check=False)


def iterations(folder: Path) -> list[int]:
    lines = map(json.loads, (folder / "metrics.json").read_text().splitlines())
    return [line["iteration"] for line in lines if "total_loss" in line]


@pytest.mark.parametrize(
    ("tiny", "signum"), [("yacs", signal.SIGINT), ("lazy", signal.SIGTERM)], indirect=["tiny"]
)
def test_a_signal_leaves_a_checkpoint_from_which_training_goes_on(signum, tiny, tmp_path):
    command = [*_D2, "train", str(tiny.config), "--output", str(tmp_path)]
    process = subprocess.Popen(
        [*command, *tiny.set(max_iter=100000)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    # A checkpoint after three iterations shows that it is training.
    while process.poll() is None and not (tmp_path / "last_checkpoint").exists():
        time.sleep(0.05)
    process.send_signal(signum)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signum, error
    assert f"training interrupted by {signum.name}" in error
    assert "--resume" in error
    assert "Traceback" not in error

    name = (tmp_path / "last_checkpoint").read_text()
    done = torch.load(tmp_path / name, weights_only=True)["iteration"]
    again = d2(*command[len(_D2) :], "--resume", *tiny.set(max_iter=done + 2))
    assert again.returncode == 0, again.stderr
    assert iterations(tmp_path)[-1] == done + 1


def test_a_signal_in_the_final_evaluation_is_not_swallowed(tiny_lazy, tmp_path):
    (tmp_path / "stop.py").write_text(_STOP_IN_EVALUATION)
    arguments = [tiny_lazy.config, "--output", tmp_path / "run", "--import", tmp_path / "stop.py"]
    done = d2("train", *arguments, *tiny_lazy.set(max_iter=1))
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "training interrupted by SIGTERM" in done.stderr
    assert (tmp_path / "run" / "model_final.pth").is_file()


def test_two_processes_train_one_model_and_evaluate_all_images(tiny_yacs, tmp_path):
    options = tiny_yacs.set(max_iter=2)
    arguments = [tiny_yacs.config, "--output", tmp_path, "--num-gpus", 2, *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*_D2, "train", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert iterations(tmp_path) == [0, 1] or iterations(tmp_path) == [1]
    alone = d2("eval", tmp_path, "--output", tmp_path / "alone", "--json")
    assert alone.returncode == 0, alone.stderr
    found = json.loads(alone.stdout)["bbox"]["AP50"]
    last = json.loads((tmp_path / "metrics.json").read_text().splitlines()[-1])
    assert found == pytest.approx(last["bbox/AP50"], abs=1e-6)
    together, apart = (
        json.loads((folder / "inference" / "coco_instances_results.json").read_text())
        for folder in (tmp_path, tmp_path / "alone")
    )
    assert together
    # Two processes and one with two threads add in another order.
    for one, other in zip(_where_and_how_sure(together), _where_and_how_sure(apart), strict=True):
        assert one == pytest.approx(other, abs=1e-3)


def _where_and_how_sure(results: list[dict]) -> list[tuple]:
    """Image, class and score of each result."""
    return sorted((r["image_id"], r["category_id"], r["score"]) for r in results)
