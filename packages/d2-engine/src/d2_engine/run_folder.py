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

import torch

from d2_config import LazyConfig, get_cfg
from d2_config.atomic_file import write_atomically
from d2_config.cfg_text import is_yacs_file
from d2_data import Metadata
from d2_engine.checkpoint.checkpointer import LAST_CHECKPOINT
from d2_engine.model_zoo import get_config_file, published_models
from d2_engine.run_settings import Config, set_output_dir, set_weights, weights_of

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


def load_config(config: str | os.PathLike[str]) -> Any:
    """Load a config by path, by the name of a packaged one, or from the folder of a run.

    Returns:
        A ``CfgNode`` for a yacs-style config, on the CPU where there is no CUDA device; else a
        ``DictConfig``.

    Raises:
        FileNotFoundError: if it is none of these; lists close matches.
    """
    path = Path(config)
    if path.is_dir():
        return load_config_of_run(path)
    return _load(str(path) if path.is_file() else get_config_file(str(config)))


def load_config_to_use(config: str | os.PathLike[str], weights: str | None) -> Any:
    """Load a config as :func:`load_config` does, with weights to evaluate or predict with.

    Args:
        config: as for :func:`load_config`.
        weights: a checkpoint or its URL; by default the last one of a run, the published one of
            a packaged config, and else what the config names.

    Raises:
        FileNotFoundError: if there is no such config; lists close matches.
        ValueError: if no weights are named.
    """
    cfg = load_config(config)
    published = {model.config: model.url for model in published_models()}
    if weights:
        set_weights(cfg, weights)
    elif not Path(config).exists() and str(config) in published:
        set_weights(cfg, published[str(config)])
    if not weights_of(cfg):
        raise ValueError(f"{config} names no weights: give a checkpoint with --weights FILE")
    return cfg


def load_config_of_run(folder: str | os.PathLike[str]) -> Any:
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
    cfg = _load(str(folder / CONFIG))
    tag = folder / LAST_CHECKPOINT
    if not tag.is_file():
        raise FileNotFoundError(f"{folder} has no checkpoint yet: there is no {LAST_CHECKPOINT}")
    set_output_dir(cfg, str(folder))
    set_weights(cfg, str(folder / tag.read_text(encoding="utf-8").strip()))
    return cfg


def _load(file: str) -> Config:
    if not is_yacs_file(file):
        return LazyConfig.load(file)
    cfg = get_cfg()
    cfg.merge_from_file(file)
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
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
