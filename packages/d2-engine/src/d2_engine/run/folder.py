"""What a run leaves behind.

==================  =====================================================
``config.yaml``     the resolved config
``metadata.json``   the classes, so that the run can predict without its data
``model_*.pth``     checkpoints; ``last_checkpoint`` names the newest
``metrics.json``    one JSON object a line; TensorBoard events beside it
``log.txt``         what was logged
``inference/``      what the evaluators wrote
==================  =====================================================
"""

import json
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from d2_config.files import write_atomically
from d2_data import Metadata
from d2_engine.checkpoint.files import LAST_CHECKPOINT, CheckpointFiles

if TYPE_CHECKING:
    from d2_engine.run.plan import RunPlan, TestSet

_logger = logging.getLogger(__name__)

CONFIG = "config.yaml"
METADATA = "metadata.json"
METRICS = "metrics.json"
INFERENCE = "inference"

_ID_MAPS = ("thing_dataset_id_to_contiguous_id", "stuff_dataset_id_to_contiguous_id")
_SAVED_METADATA = (
    "thing_classes",
    "thing_colors",
    "stuff_classes",
    "stuff_colors",
    *_ID_MAPS,
    "keypoint_names",
    "keypoint_flip_map",
    "keypoint_connection_rules",
)


def folder_of_test_set(plan: "RunPlan", test: "TestSet") -> str:
    """Return the folder of the run; below it one for each of several test sets."""
    if len(plan.test_sets) == 1:
        return plan.output_dir
    number = plan.test_sets.index(test)
    label = re.sub(r"[^\w.-]+", "_", Path(test.name).name)[-60:]
    return str(Path(plan.output_dir, f"{number}_{label}"))


def refuse_used_folder(folder: str | os.PathLike[str]) -> None:
    """Raise FileExistsError if a run has written to the folder: a new one would mix with it.

    Raises NotADirectoryError if it is a file.
    """
    if Path(folder).is_file():
        raise NotADirectoryError(f"{folder} is a file: choose another --output")
    for name in (LAST_CHECKPOINT, METRICS):
        if Path(folder, name).exists():
            raise FileExistsError(
                f"{folder} already holds a training run ({name}): continue it with --resume, "
                "choose another --output, or remove the folder"
            )


def last_checkpoint(folder: str | os.PathLike[str]) -> Path:
    """Return the path of a run's newest checkpoint.

    It is the one that is named so, and if that is missing the newest of the others, with a warning.
    If there is no other either, it is the missing one: who reads it says so.

    Raises:
        FileNotFoundError: if the folder is not a run's, or has no checkpoint yet.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        reason = f"it has no {CONFIG}" if folder.is_dir() else "there is no such folder"
        raise FileNotFoundError(
            f"{folder} is not the folder of a training run: {reason}; "
            "give the folder that d2 train wrote to"
        )
    files = CheckpointFiles(str(folder))
    last = files.last()
    found = next((path for path in files.to_resume_from() if path.is_file()), last)
    if found is None:
        raise FileNotFoundError(f"{folder} has no checkpoint yet: there is no {LAST_CHECKPOINT}")
    if found != last:
        _logger.warning("The last checkpoint of %s is missing: taking %s", folder, found.name)
    return found


def save_metadata(folder: str | os.PathLike[str], metadata: Metadata) -> None:
    """Write what pictures and results need to know about the classes."""
    known: dict[str, Any] = {
        key: value for key in _SAVED_METADATA if (value := metadata.get(key)) is not None
    }
    for key in known.keys() & _ID_MAPS:  # JSON has no integer keys
        known[key] = list(known[key].items())
    write_atomically(Path(folder, METADATA), json.dumps(known, indent=1) + "\n")


def load_metadata(folder: str | os.PathLike[str]) -> Metadata:
    """Read what :func:`save_metadata` wrote; empty metadata if there is no such file."""
    path = Path(folder, METADATA)
    metadata = Metadata(name=str(folder))
    if not path.is_file():
        return metadata
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        for key in known.keys() & _ID_MAPS:
            known[key] = {int(dataset_id): int(label) for dataset_id, label in known[key]}
        return metadata.set(**known)
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): restore it, or remove it to go on without names of "
            "classes"
        ) from error
