"""A training that takes seconds, in each kind of config."""

import json
import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from d2_data.datasets import coco_folder
from d2_data.datasets.shapes import generate_shapes

KINDS = ("yaml", "lazy")
ITERATIONS = 16

_COMMAND = [sys.executable, "-c", "from d2_engine.cli import main; raise SystemExit(main())"]
_OF_A_CLOCK = re.compile(r"time|eta|seconds|memory|images_per|_mem")

_CONFIGS = Path(__file__).parents[2] / "packages" / "d2-engine" / "tests" / "configs"
_FILES = {"yaml": "tiny.yaml", "lazy": "tiny.py"}
_END = {"yaml": "SOLVER.MAX_ITER", "lazy": "train.max_iter"}
_SETTINGS = {
    # Statistics of batch norms are those of a process, and of the first one after a resume.
    "yaml": {
        "MODEL.RESNETS.NORM": "FrozenBN",
        "DATALOADER.NUM_WORKERS": "{workers}",
        "SOLVER.CHECKPOINT_PERIOD": "4",
        "TEST.EVAL_PERIOD": "8",
    },
    "lazy": {
        "train.seed": "1",
        "dataloader.train.num_workers": "{workers}",
        "train.checkpointer.period": "4",
        "train.eval_period": "8",
        "train.log_period": "5",
    },
}


class Training:
    """One kind of training in a folder of its own.

    Args:
        folder: for the data, the config and the runs.
        kind: of config, one of ``KINDS``.
        processes: that train together.
        workers: that load data, of each.
        iterations: to the end.
    """

    def __init__(
        self,
        folder: Path,
        kind: str,
        processes: int = 1,
        workers: int = 0,
        iterations: int = ITERATIONS,
    ) -> None:
        self.folder = folder
        self._kind = kind
        self._processes = processes
        data = folder / "data"
        if not data.is_dir():
            generate_shapes(data, 12, image_size=64, seed=3)
        name = coco_folder(data / "instances.json", data / "images")
        self.config = folder / _FILES[kind]
        text = (_CONFIGS / _FILES[kind]).read_text()
        self.config.write_text(text.replace('"DATA"', repr(name)))
        self._settings = [
            f"{key}={value.format(workers=workers)}" for key, value in _SETTINGS[kind].items()
        ]
        self._settings += self.ending_at(iterations)

    def arguments(self, run: Path, *more: str) -> list[str]:
        """What to give to ``d2``."""
        processes = ["--num-gpus", str(self._processes)]
        output = ["--output", str(run)]
        return ["train", str(self.config), *self._settings, *output, *processes, *more]

    def ending_at(self, iterations: int) -> list[str]:
        """A setting that lets training end earlier."""
        return [f"{_END[self._kind]}={iterations}"]

    def start(self, run: Path, *more: str, **how: Any) -> subprocess.Popen[str]:
        """Start it; its messages can be read from ``stderr``."""
        return subprocess.Popen(
            [*_COMMAND, *self.arguments(run, *more)],
            **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, **how},
        )

    def finish(self, run: Path, *more: str, **how: Any) -> tuple[int, str]:
        """Let it run to its end; returns the exit code and the last line."""
        process = self.start(run, *more, **how)
        lines = process.communicate()[1].splitlines()
        return process.returncode, lines[-1] if lines else ""


def differences(run: Path, uninterrupted: Path) -> list[str]:
    """Return which of weights, optimizer and metrics differ between two finished runs."""
    ours, theirs = (
        torch.load(folder / "model_final.pth", weights_only=True) for folder in (run, uninterrupted)
    )
    found = []
    for part in ("model", "optimizer"):
        known = _find(theirs, part)
        if known is None:
            raise RuntimeError(f"{uninterrupted} has no {part} in its final checkpoint")
        if not _equal(_find(ours, part), known):
            found.append(part)
    if (line := _different_line(_metrics(run), _metrics(uninterrupted))) is not None:
        found.append(f"metrics ({line})")
    return found


def _different_line(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> str | None:
    """Describe the first line that is another one."""
    for one, other in zip_longest(ours, theirs, fillvalue={}):
        names = [name for name in {**other, **one} if one.get(name) != other.get(name)]
        if names:
            where = one.get("iteration", other.get("iteration"))
            name = names[0]
            return f"line of iteration {where}: {name} is {one.get(name)}, not {other.get(name)}"
    return None


def _find(checkpoint: Any, part: str) -> Any:
    if isinstance(checkpoint, dict):
        if part in checkpoint:
            return checkpoint[part]
        for value in checkpoint.values():
            if (inner := _find(value, part)) is not None:
                return inner
    return None


def _equal(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, torch.Tensor):
        return torch.equal(ours, theirs)
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(_equal(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(theirs) and all(map(_equal, ours, theirs))
    return bool(ours == theirs)


def _metrics(run: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (run / "metrics.json").read_text().splitlines())
    return [{k: v for k, v in line.items() if not _OF_A_CLOCK.search(k)} for line in lines]
