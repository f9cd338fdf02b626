"""Seeds, processes, times and stand-ins in detectron2's forms."""

import copy
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from d2_engine.compat.shims import (
    collectives,
    dummies,
    process_environment,
    serialize,
    testing,
    timing,
)
from d2_structures import Boxes, Instances


def test_the_same_seed_draws_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    drawn = []
    for _ in range(2):
        process_environment.seed_all_rng(5)
        drawn.append((np.random.rand(), torch.rand(1).item()))  # noqa: NPY002  # the global one
    assert drawn[0] == drawn[1]
    module = tmp_path / "environment.py"
    module.write_text("import os\ndef setup_environment():\n    os.environ['D2_SET'] = '1'\n")
    monkeypatch.setenv("D2_SET", "0")
    monkeypatch.setenv("DETECTRON2_ENV_MODULE", str(module))
    process_environment.setup_environment()
    assert os.environ["D2_SET"] == "1"
    assert process_environment.TORCH_VERSION >= (2, 10)


def test_one_process_has_all_there_is():
    tensor = torch.ones(2, requires_grad=True)
    assert collectives.differentiable_all_reduce(tensor) is tensor
    assert collectives.differentiable_all_gather(tensor) == [tensor]
    assert collectives.to_float_tensor(np.zeros((4, 5, 3), np.uint8)).shape == (1, 3, 4, 5)
    assert collectives.to_float_tensor(np.zeros((4, 5))).shape == (1, 1, 4, 5)


def test_functions_without_names_are_pickled():
    wrapped = serialize.PicklableWrapper(lambda x: x + 1)
    again = pickle.loads(pickle.dumps(serialize.PicklableWrapper(wrapped)))
    assert again(2) == 3
    assert copy.deepcopy(again)(3) == 4


def test_a_timer_counts_without_its_pauses():
    timer = timing.Timer()
    timer.pause()
    assert timer.is_paused()
    assert timer.seconds() == timer.seconds()
    with pytest.raises(ValueError, match="paused already"):
        timer.pause()
    timer.resume()
    with pytest.raises(ValueError, match="not paused"):
        timer.resume()
    assert timer.avg_seconds() <= timer.seconds()


def test_a_function_is_called_as_often_as_asked_for(capsys: pytest.CaptureFixture[str]):
    calls: list[int] = []
    timing.benchmark(
        lambda size: lambda: calls.append(size), "list", [{"size": 3}], num_iters=4, warmup_iters=2
    )
    assert calls == [3] * 6
    assert "4 calls" in capsys.readouterr().out


def test_stand_ins_name_what_is_missing():
    dummy = dummies.create_dummy_class("Thing", "package", "Install it.")
    with pytest.raises(ImportError, match=r"Thing needs package.*Install it"):
        dummy()
    with pytest.raises(ImportError, match="Thing needs package"):
        dummy.attribute  # noqa: B018  # looked up for its error
    with pytest.raises(ImportError, match="function needs package"):
        dummies.create_dummy_func("function", "package")()


def test_small_things_for_tests():
    boxes = testing.random_boxes(5, 10)
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert testing.get_sample_coco_image().shape == (3, 480, 640)
    one = Instances((4, 5), pred_boxes=Boxes(boxes), scores=torch.ones(5))
    testing.assert_instances_allclose(one, one)
    other = Instances((4, 5), pred_boxes=Boxes(boxes), scores=torch.zeros(5))
    with pytest.raises(AssertionError, match="scores differs"):
        testing.assert_instances_allclose(one, other)
