"""Processes of a run that are killed or stopped are named; the others end or complete their work.

What happens is arranged in a module that the run imports, at a fixed iteration or image.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

_D2 = [sys.executable, "-c", "from d2_engine.cli import main; raise SystemExit(main())"]

_AT_ITERATION_2 = """
import os, signal, subprocess, sys
from d2_engine.trainers import SimpleTrainer
from d2_structures import comm
plain = SimpleTrainer.run_step
def run_step(self):
    if self.trainer_iteration == 2:
        {action}
    self.trainer_iteration += 1
    plain(self)
SimpleTrainer.trainer_iteration = 0
SimpleTrainer.run_step = run_step
"""

# `timeout` signals its child and then the group, in which the child is again. Not by the command
# `kill`, some versions of which take the number of a group for "all processes".
_AS_TIMEOUT_DOES = (
    "subprocess.run([sys.executable, '-c', 'import os, signal; '"
    " f'os.kill({os.getpid()}, signal.SIGTERM); os.killpg({os.getpgid(0)}, signal.SIGTERM)'])"
)
_IN_EVALUATION = """
import importlib, os, signal
from d2_structures import comm
evaluate = importlib.import_module("d2_engine.run.evaluate")
plain = evaluate.inference_on_dataset
def interrupted(*arguments):
    if comm.get_rank() == comm.get_world_size() - 1:
        os.kill(os.getpid(), signal.{signal})
    return plain(*arguments)
evaluate.inference_on_dataset = interrupted
"""

_SPOILT_MAPPER = """
import os
from d2_data import DatasetMapper
class SpoiltMapper(DatasetMapper):
    def __call__(self, record):
        if record["image_id"] == 5:
            {action}
        return super().__call__(record)
"""

_OF_RANK_1 = "comm.get_rank() == 1 and os.kill(os.getpid(), signal.{signal})"


def start(tiny, tmp_path: Path, module: str, *more: str, **values) -> subprocess.Popen[str]:
    """Train in a process group of its own, with a module that is imported before."""
    (tmp_path / "fault.py").write_text(module)
    folder = tmp_path / "run"
    arguments = ["train", tiny.config, "--output", folder, "--import", tmp_path / "fault.py", *more]
    return subprocess.Popen(
        [*_D2, *map(str, arguments), *tiny.set(**{"max_iter": 1000, **values})],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def run(
    tiny, tmp_path: Path, module: str, *more: str, **values
) -> subprocess.CompletedProcess[str]:
    process = start(tiny, tmp_path, module, *more, **values)
    error = process.communicate()[1]
    return subprocess.CompletedProcess(process.args, process.returncode, "", error)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.splitlines()[-1]


def iterations_saved(folder: Path) -> int:
    name = (folder / "last_checkpoint").read_text()
    return torch.load(folder / name, weights_only=True)["iteration"] + 1


def test_sigterm_to_the_group_with_loading_processes_leaves_a_checkpoint(tiny_lazy, tmp_path):
    done = run(tiny_lazy, tmp_path, _AT_ITERATION_2.format(action=_AS_TIMEOUT_DOES), workers=2)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "training interrupted by SIGTERM" in last_line(done)
    assert "Traceback" not in done.stderr
    assert iterations_saved(tmp_path / "run") == 3


def test_sigterm_to_one_of_two_processes_stops_both_with_a_checkpoint(tiny_lazy, tmp_path):
    module = _AT_ITERATION_2.format(action=_OF_RANK_1.format(signal="SIGTERM"))
    done = run(tiny_lazy, tmp_path, module, "--num-gpus", "2", workers=1)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "training interrupted by SIGTERM" in done.stderr
    assert iterations_saved(tmp_path / "run") == 3


def test_a_second_sigterm_ends_at_once(tiny_lazy, tmp_path):
    action = (
        "os.kill(os.getpid(), signal.SIGTERM); from d2_engine.interruption import Interruption; "
        "Interruption.SAME_SIGNAL_S = -1; os.kill(os.getpid(), signal.SIGTERM)"
    )
    done = run(tiny_lazy, tmp_path, _AT_ITERATION_2.format(action=action), workers=1)
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert last_line(done) == "d2 train: stopped at once by SIGTERM"
    assert not (tmp_path / "run" / "last_checkpoint").exists()


def test_a_second_sigterm_to_one_of_two_processes_ends_both_at_once(tiny_lazy, tmp_path):
    action = (
        "from d2_engine.interruption import Interruption; Interruption.SAME_SIGNAL_S = -1; "
        "comm.get_rank() == 1 and [os.kill(os.getpid(), signal.SIGTERM) for _ in range(2)]"
    )
    done = run(tiny_lazy, tmp_path, _AT_ITERATION_2.format(action=action), "--num-gpus", "2")
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert last_line(done) == "d2 train: stopped at once by SIGTERM"
    assert not (tmp_path / "run" / "last_checkpoint").exists()


@pytest.mark.parametrize(("signum", "processes"), [(signal.SIGINT, "1"), (signal.SIGTERM, "2")])
def test_a_signal_while_a_run_evaluates_is_told_and_its_checkpoint_is_there(
    signum, processes, tiny_lazy, tmp_path
):
    module = _IN_EVALUATION.format(signal=signum.name)
    done = run(tiny_lazy, tmp_path, module, "--num-gpus", processes, max_iter=1)
    assert done.returncode == 128 + signum, done.stderr
    assert f"training interrupted by {signum.name}" in last_line(done)
    assert "Traceback" not in done.stderr
    assert iterations_saved(tmp_path / "run") == 1
    # One process stops at once. Several complete the evaluation, which they do together.
    evaluated = '"bbox/AP"' in (tmp_path / "run" / "metrics.json").read_text()
    assert evaluated == (processes == "2")


def test_a_killed_process_of_two_is_named_with_its_signal(tiny_lazy, tmp_path):
    module = _AT_ITERATION_2.format(action=_OF_RANK_1.format(signal="SIGKILL"))
    done = run(tiny_lazy, tmp_path, module, "--num-gpus", "2")
    assert done.returncode == 1
    assert "error: process 1 of 2 (pid " in last_line(done), done.stderr
    assert "was ended by SIGKILL; memory probably ran out" in last_line(done)


def test_a_stopped_process_of_two_is_named_with_its_signal(tiny_lazy, tmp_path):
    module = _AT_ITERATION_2.format(action=_OF_RANK_1.format(signal="SIGSTOP"))
    done = run(tiny_lazy, tmp_path, module, "--num-gpus", "2", "--stall-timeout", "1")
    assert done.returncode == 1
    assert "error: process 1 of 2 (pid " in last_line(done), done.stderr
    assert "was stopped by SIGSTOP and not continued" in last_line(done)


def test_all_processes_end_with_the_one_that_started_them(tiny_lazy, tmp_path):
    action = "comm.get_rank() == 1 and os.kill(os.getppid(), signal.SIGKILL)"
    process = start(tiny_lazy, tmp_path, _AT_ITERATION_2.format(action=action), "--num-gpus", "2")
    process.wait()
    assert process.returncode == -signal.SIGKILL
    # All hold the writing end of this pipe: it can be read to its end when they have ended.
    process.communicate(timeout=15)


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_while_modules_are_imported_is_told_in_one_line(processes, tiny_lazy, tmp_path):
    which = "getpid" if processes == 1 else "getppid"
    module = f"import os, signal\nos.kill(os.{which}(), signal.SIGINT)\nsignal.pause()"
    done = run(tiny_lazy, tmp_path, module, "--num-gpus", str(processes))
    assert done.returncode == 128 + signal.SIGINT
    assert done.stderr.splitlines() == ["d2 train: interrupted"]


def spoil_image_5(action: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A mapper that does something where it loads one image: what a config calls it.

    It is of a module, since loading processes that are no forks import it.
    """
    (folder / "spoilt_mapper.py").write_text(_SPOILT_MAPPER.format(action=action))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "spoilt_mapper", raising=False)
    return "dataloader.train.mapper._target_=spoilt_mapper.SpoiltMapper"


@pytest.mark.parametrize(
    ("signum", "limit", "said"),
    [
        (signal.SIGKILL, 300, r"was ended by a signal \(Killed\)"),
        # Longer than a process needs that imports everything anew.
        (signal.SIGSTOP, 15, r"gave nothing for 15 s: \d+ \(stopped by SIGSTOP\)"),
    ],
)
def test_a_killed_or_stopped_loading_process_is_named_with_what_it_held(
    signum, limit, said, tiny_lazy, tmp_path, monkeypatch, fails
):
    mapper = spoil_image_5(f"os.kill(os.getpid(), {signum})", tmp_path, monkeypatch)
    options = ["--output", tmp_path / "run", "--stall-timeout", limit]
    message = fails("train", tiny_lazy.config, *options, mapper, *tiny_lazy.set(workers=2))
    held = r" while it loaded image '[^']+' \(image_id 5\), element \d+; "
    assert re.search(said + held, message), message


def test_an_error_in_a_loading_process_names_dataset_picture_and_annotation(
    tiny_lazy, tmp_path, monkeypatch, fails
):
    action = "record['annotations'][0]['bbox'] = [1, 2, 3]"
    mapper = spoil_image_5(action, tmp_path, monkeypatch)
    options = ["--output", tmp_path / "run", mapper, *tiny_lazy.set(workers=2)]
    message = fails("train", tiny_lazy.config, *options)
    named = re.compile(r"error: dataset '[^']+': image '[^']+' \(image_id 5\): annotation 0")
    assert named.search(message), message
