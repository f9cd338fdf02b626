"""Packaged configs by name."""

from typing import Any

from d2_config import CfgNode, LazyConfig, get_cfg, is_yacs_file
from d2_engine.model_zoo.config_files import get_config_file, packaged_name
from d2_engine.model_zoo.project_options import add_project_options
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
    cfg = load_config_file(get_config_file(name))
    if not trained:
        return cfg
    from d2_engine.run.settings import settings_of  # with torch, which a list of names is without

    url = get_checkpoint_url(name)
    settings = settings_of(cfg)
    if settings.get("weights") is None:
        raise ValueError(f"{name!r} is a part of configs, without weights to train")
    return settings.with_(weights=url).cfg


def load_config_file(file: str, base: CfgNode | None = None) -> Any:
    """Load a config of either kind.

    Args:
        file: the path.
        base: what a yacs-style config changes; by default ``get_cfg()``. It is changed itself.
            Options of the documented projects are added where the file has such.

    Returns:
        A ``CfgNode`` for a yacs-style config, a ``DictConfig`` for a lazy one.
    """
    if not is_yacs_file(file):
        return LazyConfig.load(file)
    cfg = get_cfg() if base is None else base
    add_project_options(cfg, CfgNode.load_yaml_with_base(file))
    cfg.merge_from_file(file)
    return cfg
