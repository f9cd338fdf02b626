"""The few settings that every run has, in configs of both kinds."""

from collections.abc import Sequence
from typing import TypeAlias

from omegaconf import DictConfig

from d2_config import CfgNode, LazyConfig
from d2_config.overrides import override_pairs

Config: TypeAlias = DictConfig | CfgNode
"""A lazy config, or a yacs-style one."""


def apply_overrides(cfg: Config, overrides: Sequence[str]) -> Config:
    """Change a config by texts ``key=value``; for a yacs-style one ``KEY VALUE`` will do, too.

    Returns:
        ``cfg`` itself.

    Raises:
        KeyError: for a key that does not exist; names close matches.
        ValueError, TypeError: for text that is no override, or a value of another type.
    """
    if isinstance(cfg, CfgNode):
        cfg.merge_from_list(override_pairs(overrides))
        return cfg
    return LazyConfig.apply_overrides(cfg, list(overrides))


def weights_of(cfg: Config) -> str:
    """Return the checkpoint that the run begins with; "" for none."""
    return (cfg.MODEL.WEIGHTS if isinstance(cfg, CfgNode) else cfg.train.init_checkpoint) or ""


def set_weights(cfg: Config, path: str) -> None:
    """Choose the checkpoint that the run begins with."""
    if isinstance(cfg, CfgNode):
        cfg.MODEL.WEIGHTS = path
    else:
        cfg.train.init_checkpoint = path


def output_dir_of(cfg: Config) -> str:
    """Return the folder of the run."""
    return str(cfg.OUTPUT_DIR if isinstance(cfg, CfgNode) else cfg.train.output_dir)


def set_output_dir(cfg: Config, folder: str) -> None:
    """Choose the folder of the run."""
    if isinstance(cfg, CfgNode):
        cfg.OUTPUT_DIR = folder
    else:
        cfg.train.output_dir = folder
