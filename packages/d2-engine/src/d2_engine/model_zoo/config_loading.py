"""Packaged configs by name."""

from typing import Any

from omegaconf import OmegaConf

from d2_config import LazyConfig, get_cfg
from d2_engine.model_zoo.config_files import get_config_file
from d2_engine.model_zoo.published_models import get_checkpoint_url


def get_config(config_path: str, trained: bool = False) -> Any:
    """Load a packaged config.

    Args:
        config_path: as for :func:`get_config_file`.
        trained: name the weights that were trained with it (``MODEL.WEIGHTS``, or
            ``train.init_checkpoint`` of a lazy config), instead of those that its training
            starts from, which mostly are an ImageNet backbone.

    Returns:
        A ``CfgNode`` with all keys for a ``.yaml`` config, a ``DictConfig`` for a ``.py`` config.

    Raises:
        FileNotFoundError: if there is no such config; names close matches.
        ValueError: if ``trained`` and no weights were published.
    """
    file = get_config_file(config_path)
    if file.endswith(".py"):
        lazy_cfg = LazyConfig.load(file)
        if trained:
            url = get_checkpoint_url(config_path)
            if OmegaConf.select(lazy_cfg, "train.init_checkpoint") is None:
                raise ValueError(f"{config_path!r} is a part of configs, without weights to train")
            lazy_cfg.train.init_checkpoint = url
        return lazy_cfg
    cfg = get_cfg()
    cfg.merge_from_file(file)
    if trained:
        cfg.MODEL.WEIGHTS = get_checkpoint_url(config_path)
    return cfg
