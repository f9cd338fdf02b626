"""Packaged configs by name."""

from typing import Any

from d2_config import LazyConfig, get_cfg
from d2_engine.model_zoo.config_files import get_config_file, packaged_name
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
        ValueError: if several are meant, or ``trained`` and no weights were published.
    """
    name = packaged_name(config_path)
    cfg = _load(get_config_file(name))
    if not trained:
        return cfg
    from d2_engine.run.settings import settings_of  # with torch, which a list of names is without

    url = get_checkpoint_url(name)
    settings = settings_of(cfg)
    if settings.get("weights") is None:
        raise ValueError(f"{name!r} is a part of configs, without weights to train")
    return settings.with_(weights=url).cfg


def _load(file: str) -> Any:
    if file.endswith(".py"):
        return LazyConfig.load(file)
    cfg = get_cfg()
    cfg.merge_from_file(file)
    return cfg
