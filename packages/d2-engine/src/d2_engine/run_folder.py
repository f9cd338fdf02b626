"""What a training run leaves behind, and how it is used again.

==================  =====================================================
``config.yaml``     the resolved config
``metadata.json``   the classes, so that the run can predict without its data
``model_*.pth``     checkpoints; ``last_checkpoint`` names the newest
``metrics.json``    one JSON object a line; TensorBoard events beside it
``log.txt``         what was logged
==================  =====================================================
"""

import json
import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from d2_config import LazyConfig
from d2_config.atomic_file import write_atomically
from d2_data import Metadata
from d2_engine.checkpoint.checkpointer import LAST_CHECKPOINT
from d2_engine.model_zoo import get_config_file

CONFIG = "config.yaml"
METADATA = "metadata.json"
METRICS = "metrics.json"

_SAVED_METADATA = (
    "thing_classes",
    "thing_colors",
    "thing_dataset_id_to_contiguous_id",
    "keypoint_names",
    "keypoint_flip_map",
    "keypoint_connection_rules",
)


def load_config(config: str | os.PathLike[str]) -> DictConfig:
    """Load a config by path, by the name of a packaged one, or from the folder of a run.

    Raises:
        FileNotFoundError: if it is none of these; lists close matches.
    """
    path = Path(config)
    if path.is_dir():
        return load_config_of_run(path)
    return LazyConfig.load(str(path) if path.is_file() else get_config_file(str(config)))


def load_config_of_run(folder: str | os.PathLike[str]) -> DictConfig:
    """Load the config of a run, wherever its folder is now, beginning with its last checkpoint.

    Raises:
        FileNotFoundError: if the folder does not exist or holds no config or no checkpoint.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        reason = f"it has no {CONFIG}" if folder.is_dir() else "there is no such folder"
        raise FileNotFoundError(
            f"{folder} is not the folder of a training run: {reason}; "
            "give the folder that d2 train wrote to"
        )
    cfg = LazyConfig.load(str(folder / CONFIG))
    tag = folder / LAST_CHECKPOINT
    if not tag.is_file():
        raise FileNotFoundError(f"{folder} has no checkpoint yet: there is no {LAST_CHECKPOINT}")
    cfg.train.output_dir = str(folder)
    cfg.train.init_checkpoint = str(folder / tag.read_text(encoding="utf-8").strip())
    return cfg


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


def save_metadata(folder: str | os.PathLike[str], metadata: Metadata) -> None:
    """Write what pictures and results need to know about the classes."""
    known: dict[str, Any] = {
        key: value for key in _SAVED_METADATA if (value := metadata.get(key)) is not None
    }
    id_map = known.get("thing_dataset_id_to_contiguous_id")
    if id_map is not None:  # JSON has no integer keys
        known["thing_dataset_id_to_contiguous_id"] = list(id_map.items())
    write_atomically(Path(folder, METADATA), json.dumps(known, indent=1) + "\n")


def load_metadata(folder: str | os.PathLike[str]) -> Metadata:
    """Read what :func:`save_metadata` wrote; empty metadata if there is no such file."""
    path = Path(folder, METADATA)
    metadata = Metadata(name=str(folder))
    if not path.is_file():
        return metadata
    known = json.loads(path.read_text(encoding="utf-8"))
    id_map = known.get("thing_dataset_id_to_contiguous_id")
    if id_map is not None:
        known["thing_dataset_id_to_contiguous_id"] = {int(k): int(v) for k, v in id_map}
    return metadata.set(**known)
