"""Read many mutants, in a process of their own: ``python -m fuzz.batch``.

What came of them is printed as JSON. The mutant that is being read lies in the batch's folder, and
what the process was doing when it died or hung goes to its standard error.
"""

import argparse
import faulthandler
import json
import logging
import random
import re
import resource
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from d2_data import load_proposals_into_dataset
from d2_engine.checkpoint import DetectionCheckpointer
from fuzz.mutation import mutated, operations_of
from fuzz.valid_files import ValidFile, valid_files

_SECONDS_A_MUTANT = 10
_MEBIBYTES_A_MUTANT = 256
_REMEDY = re.compile(
    "fetch|save |wanted|must |known |made for another|load it yourself|remove|no file of weights"
)


def main() -> None:
    """Read the mutants that the arguments ask for."""
    parser = argparse.ArgumentParser(prog="fuzz.batch")
    parser.add_argument("folder", type=Path)
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    faulthandler.enable()
    torch.set_num_threads(1)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    print(json.dumps(read_mutants(args.folder, args.first, args.count, args.seed)))


def read_mutants(folder: Path, first: int, count: int, seed: int) -> dict[str, Any]:
    """Count what comes of mutants, and describe those that break a promise."""
    files = valid_files()
    valid = [operations_of(file.content) for file in files]
    outcomes: Counter[str] = Counter()
    broken: list[str] = []
    for number in range(first, first + count):
        choose = random.Random(f"{seed} {number}")
        which = choose.randrange(len(files))
        path = folder / f"mutant_{number}.pkl"
        path.write_bytes(mutated(valid, which, choose))
        faulthandler.dump_traceback_later(_SECONDS_A_MUTANT, exit=True)
        peak = _peak_mebibytes()
        outcome, problem = read_file(files[which], path)
        faulthandler.cancel_dump_traceback_later()
        if _peak_mebibytes() - peak > _MEBIBYTES_A_MUTANT:
            problem = f"takes {_peak_mebibytes() - peak} MiB"
        outcomes[outcome] += 1
        if problem:
            broken.append(f"mutant {number} of seed {seed}: {problem}")
        path.unlink()
    return {"outcomes": outcomes, "broken": broken}


def read_file(origin: ValidFile, path: Path) -> tuple[str, str | None]:
    """What comes of a file, and which promise its reader breaks, if any."""
    try:
        if origin.shapes is not None:
            DetectionCheckpointer(_Model(origin.shapes)).load(str(path))
        else:
            records: list[dict[str, Any]] = [{"image_id": 7}, {"image_id": "a"}]
            _check_proposals(load_proposals_into_dataset(records, path))
    except (ValueError, OSError) as error:
        text = str(error)
        if path.name not in text:
            return "refused", f"{type(error).__name__} does not name the file: {text[:300]}"
        if not _REMEDY.search(text):
            return "refused", f"{type(error).__name__} names no remedy: {text[:300]}"
        if len(text) > 4000:
            return "refused", f"a message of {len(text)} characters: {text[:300]}"
        return "refused", None
    except Exception as error:  # what is looked for
        return "unnamed error", f"{type(error).__name__}: {str(error)[:300]}"
    return "read", None


class _Model(nn.Module):
    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))


def _check_proposals(records: list[dict[str, Any]]) -> None:
    for record in records:
        boxes, logits = record["proposal_boxes"], record["proposal_objectness_logits"]
        if boxes.shape != (len(logits), 4) or not np.isfinite(boxes.sum() + logits.sum()):
            raise AssertionError(f"proposals {boxes!r} of logits {logits!r} were let through")


def _peak_mebibytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
