"""The plan of a run that a lazy config describes."""

import copy
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from d2_config import UntrustedTargetError, instantiate, locate_for, target_of
from d2_data import get_detection_dataset_dicts
from d2_data.transforms import AugmentationList
from d2_engine.run.folder import INFERENCE
from d2_engine.run.plan import Count, Evaluators, Preprocessing, RunPlan, TestSet, TrainData
from d2_engine.run.settings import LazySettings
from d2_engine.run_options import read_options
from d2_engine.solver import add_gradient_clipping, layer_decay_factor
from d2_engine.test_time_augmentation import DatasetMapperTTA, GeneralizedRCNNWithTTA
from d2_eval import DatasetEvaluator

_TARGET = "_target_"
_SHARED = "d2_data.shared_detection_dataset"

_COUNTS = {
    "model.roi_heads.num_classes": "thing_classes",
    "model.num_classes": "thing_classes",
    "model.sem_seg_head.num_classes": "stuff_classes",
    "model.roi_heads.keypoint_head.num_keypoints": "keypoint_names",
}
"""Where models have sizes that data decides -> the metadata that is counted."""


def from_lazy(cfg: DictConfig) -> RunPlan:
    """Return the plan of a run that a lazy config describes.

    Only ``model`` has to be there; what else a plan needs is looked for in ``dataloader``
    (``train``; ``test`` and ``evaluator``, each one, a list or a dictionary), ``optimizer``,
    ``lr_multiplier`` and ``train``: ``model_zoo/configs/common/train.py`` lists the options.
    Calls get no arguments beyond those that the config has, but for a ``seed`` and an
    ``output_dir`` where the callable has a parameter of that name and the config leaves it open.

    Args:
        cfg: the config.

    Raises:
        ValueError: if there is no ``model``, or ``test`` and ``evaluator`` do not fit each other.
    """
    if "model" not in cfg:
        raise ValueError(f"the config has no 'model', only {', '.join(map(str, cfg))}")
    settings = LazySettings(cfg)
    value = settings.value
    seed = value("train.seed")
    seed = None if seed is None or seed < 0 else int(seed)
    tta = value("train.tta", {})
    precise_bn = value("train.precise_bn", {})
    return RunPlan(
        settings=settings,
        output_dir=value("train.output_dir", "./output"),
        weights=settings.get("weights") or "",
        seed=seed,
        device=settings.get("device", "auto"),
        model=lambda: instantiate(cfg.model),
        train_data=_train_data(settings, seed),
        test_sets=_test_sets(settings),
        optimizer=partial(_optimizer, settings),
        schedule=lambda optimizer: instantiate(cfg.lr_multiplier),
        trainer=partial(_own_trainer, cfg) if value("train.trainer") is not None else None,
        counts=_counts(settings),
        preprocessing=_preprocessing(settings),
        max_iter=settings.get("max_iter", 0),
        checkpoint_period=settings.get("checkpoint_period", 5000),
        max_to_keep=value("train.checkpointer.max_to_keep"),
        eval_period=settings.get("eval_period", 0),
        log_period=value("train.log_period", 20),
        mixed_precision=value("train.amp.enabled", False),
        ddp=dict(value("train.ddp", {})),
        precise_bn=precise_bn.num_iter if precise_bn.get("enabled") else 0,
        augmented=partial(_augmented, settings) if tta.get("enabled") else None,
        expected_results=tuple(value("train.expected_results", ())),
        hooks=_hooks(value("train.hooks", ())),
        options=read_options(value("train", {}), "train.{}"),
        adapter=lambda changed: from_lazy(changed.cfg),
    )


def _train_data(settings: LazySettings, seed: int | None) -> TrainData | None:
    node = settings.value("dataloader.train")
    if node is None:
        return None
    return TrainData(
        datasets=_names(node),
        loader=lambda: instantiate(
            _with_open(_with_reduced_decoding(_read_once(node, "train"), settings), "seed", seed)
        ),
        batch_size=node.get("total_batch_size"),
    )


def _names(loader: Any) -> tuple[str, ...]:
    """The names of a loader's datasets, as far as the config tells them."""
    dataset = loader.get("dataset")
    names: Any = dataset.get("names") if isinstance(dataset, DictConfig) else None
    if isinstance(names, DictConfig):
        names = instantiate(names)
    return (names,) if isinstance(names, str) else tuple(names or ())


def _named(loader: Any, split: str) -> Any:
    """The loader itself, unless its dataset waits for a name."""
    dataset = loader.get("dataset")
    if isinstance(dataset, DictConfig) and dataset.get("names", "") is None:
        raise ValueError(
            f"the config leaves it open what to {'train' if split == 'train' else 'evaluate'} on: "
            f"set data.{split}.json=… and data.{split}.images=…"
        )
    return loader


def _read_once(loader: Any, split: str) -> Any:
    """The loader, the records of its named datasets read by one process of each machine."""
    loader = _named(loader, split)
    dataset = loader.get("dataset")
    known = isinstance(dataset, DictConfig) and _TARGET in dataset
    if not known or target_of(dataset) is not get_detection_dataset_dicts:
        return loader
    return OmegaConf.merge(loader, {"dataset": {_TARGET: _SHARED}})


def _with_open(call: Any, parameter: str, value: Any) -> Any:
    """A call with an argument that its callable takes and the config leaves open."""
    if value is None or call.get(parameter) is not None or not _takes(call, parameter):
        return call
    return OmegaConf.merge(call, {parameter: value})


def _with_reduced_decoding(loader: Any, settings: LazySettings) -> Any:
    """A training loader whose mapper reduces decoding where ``train.reduced_decoding`` asks."""
    if not settings.value("train.reduced_decoding"):
        return loader
    mapper = loader.get("mapper")
    if not _is_call(mapper) or not _takes(mapper, "reduced_decoding"):
        raise ValueError(
            "train.reduced_decoding=true, but dataloader.train.mapper is no DatasetMapper and has "
            "no such argument; set it where the config makes the mapper"
        )
    return OmegaConf.merge(loader, {"mapper": {"reduced_decoding": True}})


def _takes(call: Any, parameter: str) -> bool:
    try:
        return parameter in inspect.signature(target_of(call)).parameters
    except UntrustedTargetError:
        raise
    except (ImportError, TypeError, ValueError, KeyError):  # instantiating says what is wrong
        return False


# ------------------------------------------------------------------------ test sets


def _test_sets(settings: LazySettings) -> tuple[TestSet, ...]:
    tests = settings.value("dataloader.test")
    if tests is None:
        return ()
    evaluators = settings.value("dataloader.evaluator")
    if _is_call(tests):
        return (_test_set("test", tests, evaluators),)
    loaders = _labelled(tests)
    return tuple(
        _test_set(label, loader, _evaluator_of(label, loaders, evaluators))
        for label, loader in loaders.items()
    )


def _evaluator_of(label: str, loaders: Mapping[str, Any], evaluators: Any) -> Any:
    """The part of ``dataloader.evaluator`` that belongs to one of several test sets."""
    if evaluators is None:
        return None
    each = {} if _is_call(evaluators) else _labelled(evaluators)
    if each.keys() != loaders.keys():
        got = "one" if _is_call(evaluators) else ", ".join(each)
        raise ValueError(
            f"dataloader.test has {', '.join(loaders)}, so dataloader.evaluator needs the same, "
            f"one for each; got {got}"
        )
    return each[label]


def _labelled(nodes: Any) -> dict[str, Any]:
    """The members of a list or a dictionary by number or key."""
    items = enumerate(nodes) if isinstance(nodes, (ListConfig, list)) else nodes.items()
    return {str(label): node for label, node in items}


def _is_call(node: Any) -> bool:
    return isinstance(node, DictConfig) and _TARGET in node


def _test_set(label: str, loader: Any, evaluator: Any) -> TestSet:
    names = _names(loader)
    return TestSet(
        name=names[0] if len(names) == 1 else label,
        datasets=names,
        loader=lambda: instantiate(_read_once(loader, "val")),
        evaluators=partial(_evaluators, evaluator),
    )


def _evaluators(nodes: Any, folder: str) -> Evaluators:
    if nodes is None:
        return None
    if _is_call(nodes):
        evaluator: Evaluators = instantiate(
            _with_open(nodes, "output_dir", f"{folder}/{INFERENCE}")
        )
        return evaluator
    several: list[DatasetEvaluator] = []
    for node in _labelled(nodes).values():
        made = _evaluators(node, folder)
        if made is not None:
            several += made if isinstance(made, list) else [made]
    return several


# ------------------------------------------------------------------- other parts


def _optimizer(settings: LazySettings, model: nn.Module) -> Any:
    cfg = copy.deepcopy(settings.cfg)
    cfg._set_flag("allow_objects", True)
    holder = cfg.optimizer
    if _is_call(holder.get("params")):
        holder = holder.params
    if _takes(holder, "model"):
        holder.model = model
    elif "params" not in holder and _takes(holder, "params"):
        holder.params = [p for p in model.parameters() if p.requires_grad]
    decay = float(settings.value("train.layer_decay", 1.0))
    if decay < 1:
        if not _takes(holder, "lr_factor_func"):
            raise ValueError(
                f"train.layer_decay={decay} needs get_default_optimizer_params in optimizer.params"
            )
        holder.update(base_lr=cfg.optimizer.lr, lr_factor_func=layer_decay_factor(model, decay))
    optimizer = instantiate(cfg.optimizer)
    clipping = settings.value("train.clip_gradients", {})
    if clipping.get("enabled"):
        add_gradient_clipping(
            optimizer, clipping.clip_type, clipping.clip_value, clipping.get("norm_type", 2.0)
        )
    return optimizer


def _own_trainer(cfg: DictConfig, model: nn.Module, loader: Any, optimizer: Any) -> Any:
    """The config's trainer, a call or the name of one, which gets the three by position."""
    node = cfg.train.trainer
    if not _is_call(node):
        own = locate_for(cfg.train, node) if isinstance(node, str) else node
        return own(model, loader, optimizer)
    arguments = {key: instantiate(node[key]) for key in node if key != _TARGET}
    return target_of(node)(model, loader, optimizer, **arguments)


def _hooks(nodes: Any) -> tuple[Any, ...]:
    return tuple(partial(_hook, node) for node in nodes or ())


def _hook(node: Any, trainer: Any) -> Any:
    del trainer  # it finds its trainer when it is registered
    return instantiate(node)


def _counts(settings: LazySettings) -> tuple[Count, ...]:
    counts: list[Count] = []
    for option, field in _COUNTS.items():
        section, _, key = option.rpartition(".")
        node = settings.value(section)
        if any(count.field == field for count in counts) or not isinstance(node, DictConfig):
            continue
        if key in node and isinstance(node[key], int | None):
            counts.append(Count(option=option, value=node[key], field=field))
    return tuple(counts)


def _preprocessing(settings: LazySettings) -> Preprocessing | None:
    tests = settings.value("dataloader.test")
    if tests is not None and not _is_call(tests) and len(tests):
        tests = next(iter(_labelled(tests).values()))
    mapper = tests.get("mapper") if isinstance(tests, DictConfig) else None
    if not isinstance(mapper, DictConfig) or mapper.get("image_format") is None:
        return None
    return Preprocessing(
        augmentations=lambda: AugmentationList(instantiate(mapper.augmentations)),
        image_format=mapper.image_format,
    )


def _augmented(settings: LazySettings, model: nn.Module) -> nn.Module:
    tta = settings.value("train.tta")
    mapper = DatasetMapperTTA(
        min_sizes=list(tta.min_sizes), max_size=tta.max_size, flip=tta.get("flip", True)
    )
    # The pairs of mirrored keypoints, as the training data is flipped with them.
    pairs = settings.value("dataloader.train.mapper.keypoint_hflip_indices")
    return GeneralizedRCNNWithTTA.of(
        model, mapper, keypoint_flip_indices=None if pairs is None else list(pairs)
    )
