"""From what is typed on a command line to a plan."""

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from omegaconf import DictConfig

from d2_config import CfgNode, check_targets, get_cfg, is_untrusted, untrusted_modules
from d2_engine.model_zoo.config_files import get_config_file
from d2_engine.model_zoo.config_loading import load_config_file
from d2_engine.model_zoo.published_models import published_models
from d2_engine.run.folder import CONFIG, last_checkpoint, load_metadata
from d2_engine.run.from_lazy import from_lazy
from d2_engine.run.from_yacs import from_yacs
from d2_engine.run.own_data import is_own_data, with_own_data
from d2_engine.run.plan import RunPlan
from d2_engine.run.settings import LazySettings, Settings, YacsSettings, settings_of
from d2_engine.run_options import option_defaults

_logger = logging.getLogger(__name__)

_ADAPTERS: Mapping[type[Settings], Callable[[Any], RunPlan]] = {
    YacsSettings: from_yacs,
    LazySettings: from_lazy,
}


def from_config(cfg: Any) -> RunPlan:
    """Return the plan of a run that a config describes.

    Args:
        cfg: a yacs-style config (``CfgNode``) or a lazy one (``DictConfig``).

    Raises:
        TypeError: if it is neither.
    """
    settings = settings_of(cfg)
    return _ADAPTERS[type(settings)](settings.cfg)


def load_plan(
    config: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    output: str | None = None,
    weights: str | None = None,
    to_use: bool = False,
) -> RunPlan:
    """Load a config, change it, and return the plan of its run.

    Args:
        config: the path of a config, the name of a packaged one, or the folder of a run, which
            begins with its last checkpoint wherever the folder is now.
        overrides: texts ``key=value``; for a yacs-style config ``KEY VALUE`` will do, too. Of both
            kinds, ``data.train.json``, ``data.train.images``, ``data.val.json`` and
            ``data.val.images`` name data of one's own in COCO's format.
        output: the run's folder; by default the config's.
        weights: a checkpoint or its URL; by default the last one of a run, and else what the
            config names.
        to_use: the weights are to be evaluated or predicted with: those of a packaged config are
            by default the published ones.

    Raises:
        FileNotFoundError: if there is no such config; lists close matches.
        UntrustedTargetError: (a ``ValueError``) if a YAML config or that of a run names what is
            not trusted: see :func:`d2_config.trust_targets`.
        KeyError: for an override of a key that does not exist; names close matches.
        ValueError, TypeError: for text that is no override, a value of another type, or if
            ``to_use`` and no weights are named.
    """
    run = Path(config) if Path(config).is_dir() else None
    settings = read_settings(config)
    if is_untrusted(settings.cfg):
        check_targets(settings.cfg)
    settings = _with_overrides(settings, overrides)
    chosen = {}
    if run is not None:
        chosen["output_dir"] = str(run)
        chosen["weights"] = str(last_checkpoint(run))
    elif to_use and not Path(config).exists() and (url := _published_weights(config)):
        chosen["weights"] = url
    if output:
        chosen["output_dir"] = output
    if weights:
        chosen["weights"] = weights
    settings = settings.with_(**chosen)
    if to_use and not settings.get("weights"):
        raise ValueError(f"{config} names no weights: give a checkpoint with --weights FILE")
    settings = _on_a_device_that_is_there(settings, overrides)
    plan = from_config(settings)
    return plan if run is None else attrs.evolve(plan, learned=load_metadata(run))


def import_modules(names: Sequence[str]) -> list[str]:
    """Import Python modules by name, or files by path, for what they register.

    Modules of the current folder are found, too.

    Returns:
        The names of the modules.

    Raises:
        ImportError: if there is no such module, or it fails; names it.
    """
    here = os.getcwd()
    if names and here not in sys.path:
        sys.path.insert(0, here)
    return [
        _import_file(Path(name)) if name.endswith(".py") else importlib.import_module(name).__name__
        for name in names
    ]


def _import_file(path: Path) -> str:
    if not path.is_file():
        raise ImportError(f"--import {path}: there is no such file")
    name = path.resolve().stem
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return name


def modules_to_trust(run: str | os.PathLike[str]) -> list[str]:
    """Return the modules that have to be trusted before a run can be used from its folder."""
    config = Path(run, CONFIG)
    return untrusted_modules(read_settings(config).cfg) if config.is_file() else []


def read_settings(config: str | os.PathLike[str]) -> Settings:
    """Load a config by path, by the name of a packaged one, or from the folder of a run."""
    path = Path(config)
    if path.is_dir():
        last_checkpoint(path)  # is it a run at all?
        path = path / CONFIG
    file = str(path) if path.is_file() else get_config_file(str(config))
    base = get_cfg()
    base.RUN = CfgNode({name.upper(): value for name, value in option_defaults().items()})
    settings = settings_of(load_config_file(file, base))
    return settings if settings.cfg is base else LazySettings(_with_train_options(settings.cfg))


def _with_train_options(cfg: DictConfig) -> DictConfig:
    """Let a config of one's own have the options that it may be started with."""
    from d2_engine.model_zoo.configs.common.train import train as defaults

    if isinstance(cfg.get("train"), DictConfig):
        for name, value in defaults.items():
            cfg.train.setdefault(name, value)
    return cfg


def _with_overrides(settings: Settings, overrides: Sequence[str]) -> Settings:
    own = [text for text in overrides if is_own_data(text, settings)]
    rest = [text for text in overrides if text not in own]
    settings = settings.overridden(rest)
    if not own:
        return settings
    settings = with_own_data(settings, own)
    if not any(text.startswith("data.train.") for text in own):
        return settings
    # Classes follow the data, unless their number was asked for.
    asked_for = set(map(_key_of, rest))
    followed = [
        count.option
        for count in from_config(settings).counts
        if count.field == "thing_classes" and count.option not in asked_for
    ]
    return settings.changed(dict.fromkeys(followed))


def _key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _published_weights(config: str | os.PathLike[str]) -> str:
    """The URL of a packaged config's own weights; "" if none were published."""
    file = Path(get_config_file(str(config))).with_suffix("").as_posix()
    stems = {model.config.rpartition(".")[0]: model.url for model in published_models()}
    return next((url for stem, url in stems.items() if file.endswith(f"/{stem}")), "")


def _on_a_device_that_is_there(settings: Settings, overrides: Sequence[str]) -> Settings:
    """Official configs ask for CUDA; where there is none they run on the CPU, and say so."""
    device = str(settings.get("device", "auto"))
    asked_for = settings.called("device") in map(_key_of, overrides)
    if torch.cuda.is_available() or not device.startswith("cuda") or asked_for:
        return settings
    _logger.warning(
        "No CUDA device is there: running on the CPU (%s=%s)", settings.called("device"), "cpu"
    )
    return settings.with_(device="cpu")
