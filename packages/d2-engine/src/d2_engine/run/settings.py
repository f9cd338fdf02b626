"""The values of a config by what they mean, whatever the config calls them."""

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from omegaconf import DictConfig, OmegaConf

from d2_config import CfgNode, LazyCall, LazyConfig, override_pairs
from d2_config.files import write_atomically
from d2_engine.run_options import option_defaults
from d2_eval import standard_evaluators


class Settings(ABC):
    """A config with the names of what every run has.

    Attributes:
        cfg: the config; it is never changed, :meth:`changed` makes another.
    """

    NAMES: ClassVar[Mapping[str, str]]
    """Meaning -> key of the config."""

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg

    def get(self, meaning: str, default: Any = None) -> Any:
        """Return the value of what ``NAMES`` lists, ``default`` where the config has it not."""
        return self.value(self.NAMES[meaning], default)

    def called(self, meaning: str) -> str:
        """Return what the config calls something."""
        return self.NAMES[meaning]

    def with_(self, **values: Any) -> Self:
        """Return settings with other values, by their meaning."""
        return self.changed({self.NAMES[meaning]: value for meaning, value in values.items()})

    @abstractmethod
    def value(self, key: str, default: Any = None) -> Any:
        """Return the value of a key of the config, ``default`` where there is none."""

    @abstractmethod
    def changed(self, values: Mapping[str, Any]) -> Self:
        """Return settings with other values of the config's keys, which are made if need be."""

    @abstractmethod
    def assign(self, meaning: str, value: Any) -> None:
        """Set a value in the config itself, frozen or not."""

    @abstractmethod
    def overridden(self, overrides: Sequence[str]) -> Self:
        """Return settings changed by texts ``key=value``.

        Raises:
            KeyError: for a key that does not exist; names close matches.
            ValueError, TypeError: for text that is no override, or a value of another type.
        """

    @abstractmethod
    def with_data(self, train: str | None, test: str | None) -> Self:
        """Return settings that train and test on other datasets with COCO's annotations.

        Args:
            train: the training data's name in the catalogs; None leaves both as they are.
            test: the test data's; None, with other training data, tests on nothing.

        Raises:
            ValueError: if the config does not say where datasets have their names.
        """

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the config as YAML, all of it or nothing."""


class YacsSettings(Settings):
    """Of a yacs-style config."""

    NAMES: ClassVar[Mapping[str, str]] = {
        "output_dir": "OUTPUT_DIR",
        "weights": "MODEL.WEIGHTS",
        "seed": "SEED",
        "device": "MODEL.DEVICE",
        "max_iter": "SOLVER.MAX_ITER",
        "batch_size": "SOLVER.IMS_PER_BATCH",
        "base_lr": "SOLVER.BASE_LR",
        "steps": "SOLVER.STEPS",
        "warmup_iters": "SOLVER.WARMUP_ITERS",
        "checkpoint_period": "SOLVER.CHECKPOINT_PERIOD",
        "eval_period": "TEST.EVAL_PERIOD",
        "reference_world_size": "SOLVER.REFERENCE_WORLD_SIZE",
        "float32_precision": "FLOAT32_PRECISION",
        "cudnn_benchmark": "CUDNN_BENCHMARK",
        "train_names": "DATASETS.TRAIN",
        "test_names": "DATASETS.TEST",
    }

    def value(self, key: str, default: Any = None) -> Any:
        """Return the value of a key such as ``"SOLVER.BASE_LR"``."""
        node: Any = self.cfg
        for part in key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                return default
            node = node[part]
        return node

    def changed(self, values: Mapping[str, Any]) -> Self:
        """Return settings of a changed copy, frozen if the config is."""
        cfg = self.cfg.clone()
        for key, value in values.items():
            _assign_yacs(cfg, key, value)
        return type(self)(cfg)

    def assign(self, meaning: str, value: Any) -> None:
        """Set a value in the config itself."""
        _assign_yacs(self.cfg, self.NAMES[meaning], value)

    def overridden(self, overrides: Sequence[str]) -> Self:
        """Return settings changed by texts ``KEY=VALUE``, or by keys and values in turn."""
        cfg = self.cfg.clone()
        cfg.merge_from_list(override_pairs(overrides))
        return type(self)(cfg)

    def with_data(self, train: str | None, test: str | None) -> Self:
        """Return settings with other ``DATASETS``."""
        names: dict[str, Any] = {}
        if train is not None:
            names["train_names"] = (train,)
        if train is not None or test is not None:
            names["test_names"] = () if test is None else (test,)
        return self.with_(**names)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the config as YAML; of ``RUN`` what differs from the defaults."""
        cfg = self.cfg.clone()
        cfg.defrost()
        run = cfg.pop("RUN", {})
        chosen = {k: v for k, v in run.items() if option_defaults().get(k.lower()) != v}
        if chosen:
            cfg.RUN = CfgNode(chosen)
        write_atomically(Path(path), cfg.dump())


class LazySettings(Settings):
    """Of a lazy config."""

    NAMES: ClassVar[Mapping[str, str]] = {
        "output_dir": "train.output_dir",
        "weights": "train.init_checkpoint",
        "seed": "train.seed",
        "device": "train.device",
        "max_iter": "train.max_iter",
        "batch_size": "dataloader.train.total_batch_size",
        "base_lr": "optimizer.lr",
        "checkpoint_period": "train.checkpointer.period",
        "eval_period": "train.eval_period",
        "reference_world_size": "train.reference_world_size",
        "float32_precision": "train.float32_precision",
        "cudnn_benchmark": "train.cudnn_benchmark",
        "train_names": "dataloader.train.dataset.names",
        "test_names": "dataloader.test.dataset.names",
    }

    def value(self, key: str, default: Any = None) -> Any:
        """Return the value of a key such as ``"train.max_iter"``."""
        return OmegaConf.select(self.cfg, key, default=default)

    def changed(self, values: Mapping[str, Any]) -> Self:
        """Return settings of a changed copy."""
        cfg = copy.deepcopy(self.cfg)
        for key, value in values.items():
            OmegaConf.update(cfg, key, value, merge=False, force_add=True)
        return type(self)(cfg)

    def assign(self, meaning: str, value: Any) -> None:
        """Set a value in the config itself."""
        OmegaConf.update(self.cfg, self.NAMES[meaning], value, force_add=True)

    def overridden(self, overrides: Sequence[str]) -> Self:
        """Return settings changed by texts in Hydra's grammar."""
        return type(self)(LazyConfig.apply_overrides(copy.deepcopy(self.cfg), list(overrides)))

    def with_data(self, train: str | None, test: str | None) -> Self:
        """Return settings with other names in ``dataloader``, and their metrics."""
        values: dict[str, Any] = {}
        if train is not None:
            self._check_has_names("dataloader.train")
            values[self.NAMES["train_names"]] = train
        if test is not None:
            self._check_has_names("dataloader.test")
            values[self.NAMES["test_names"]] = test
            values["dataloader.evaluator"] = LazyCall(standard_evaluators)(
                dataset_name="${..test.dataset.names}"
            )
        elif train is not None:
            values |= {"dataloader.test": None, "dataloader.evaluator": None}
        return self.changed(values)

    def _check_has_names(self, loader: str) -> None:
        if not isinstance(self.value(f"{loader}.dataset"), DictConfig):
            raise ValueError(
                f"the config has no {loader}.dataset.names: it does not say where its data comes "
                "from, so data cannot be named on the command line; change the config"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the config as YAML; see :meth:`d2_config.LazyConfig.save`."""
        LazyConfig.save(self.cfg, path)


def _assign_yacs(cfg: CfgNode, key: str, value: Any) -> None:
    frozen = cfg.is_frozen()
    cfg.defrost()
    *sections, name = key.split(".")
    node: Any = cfg
    for section in sections:
        node = node.setdefault(section, CfgNode())
    node[name] = value
    if frozen:
        cfg.freeze()


def settings_of(cfg: Any) -> Settings:
    """Return the settings of a config: the one place that tells the two kinds apart.

    Raises:
        TypeError: if it is neither a yacs-style nor a lazy config.
    """
    if isinstance(cfg, Settings):
        return cfg
    if isinstance(cfg, CfgNode):
        return YacsSettings(cfg)
    if isinstance(cfg, DictConfig):
        return LazySettings(cfg)
    raise TypeError(
        "a run is described by a yacs-style config (CfgNode) or a lazy one (DictConfig), got "
        f"{type(cfg).__name__}"
    )
