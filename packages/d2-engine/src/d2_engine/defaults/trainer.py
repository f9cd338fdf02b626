"""Training as a yacs-style config describes it."""

import logging
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import nn

from d2_config import CfgNode
from d2_config.logger import FILE_ONLY, setup_logger
from d2_engine import hooks
from d2_engine.defaults.writers import default_writers
from d2_engine.events import EventWriter
from d2_engine.run.classes import check_enough_classes, check_same_classes
from d2_engine.run.from_yacs import YacsParts, from_yacs
from d2_engine.run.plan import RunPlan, metadata_of
from d2_engine.run.settings import YacsSettings
from d2_engine.run.start import settle_seed
from d2_engine.run.steps import (
    build_checkpointer,
    build_trainer,
    images_per_iteration,
    prepared,
    resume_or_load,
    usual_hooks,
)
from d2_engine.run.worker_scaling import scale_to_workers
from d2_engine.sharding import whole_weights
from d2_engine.train_loop import HookBase, TrainerBase
from d2_eval import (
    DatasetEvaluator,
    inference_on_dataset,
    print_csv_format,
    verify_results,
)
from d2_eval.report import results_table
from d2_structures import comm

logger = logging.getLogger(__name__)


class DefaultTrainer(YacsParts, TrainerBase):
    """The usual training of a standard model.

    It builds model, optimizer, data loader and schedule from the config, trains with a
    :class:`SimpleTrainer` (with ``SOLVER.AMP.ENABLED`` an :class:`AMPTrainer`), and has the usual
    hooks around it. Overwrite the ``build_*`` methods where a standard part does not fit; for
    training that differs in more than parts, use :class:`SimpleTrainer` with hooks of your own,
    or write a loop.

    Args:
        cfg: a yacs-style config with all keys of ``get_cfg()``. It is not changed.

    Attributes:
        cfg (CfgNode): the config, scaled to the number of processes where it asks for that.
        scheduler: the learning-rate schedule.
        checkpointer (DetectionCheckpointer): saves model and trainer in ``OUTPUT_DIR``.

    Example:
        >>> trainer = DefaultTrainer(cfg)
        >>> trainer.resume_or_load()  # the last checkpoint, or MODEL.WEIGHTS
        >>> trainer.train()
    """

    # Subclasses with a constructor of their own need not know what these are for.
    _ema: hooks.EMA | None = None
    _last_eval_results: dict[str, Any] | None = None

    def __init__(self, cfg: CfgNode) -> None:
        if not isinstance(cfg, CfgNode):
            raise TypeError(
                f"DefaultTrainer wants a yacs-style config (CfgNode), got {type(cfg).__name__}; "
                "d2_engine.run.train(from_config(cfg)) trains what a lazy config describes"
            )
        super().__init__()
        if not logging.getLogger("d2").handlers:
            setup_logger()
        cfg = type(self).auto_scale_workers(cfg, comm.get_world_size())
        settings = YacsSettings(cfg)
        if cfg.SEED < 0:
            settings = settings.with_(seed=settle_seed(settings, resume=False))
        self.cfg = cfg = settings.cfg
        model = prepared(self._plan, self.build_model(cfg))
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        check_enough_classes(self._plan)
        self._trainer = build_trainer(self._plan, model, data_loader, optimizer)
        self._trainer.register_hooks([_AfterBackwardOf(self)])
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = build_checkpointer(self._plan, model, self)
        decay = self._plan.options.ema_decay
        self._ema = hooks.EMA(model, decay) if decay else None
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    @cached_property
    def _plan(self) -> RunPlan:
        return from_yacs(self.cfg, type(self))

    @property
    def model(self) -> nn.Module:
        """The model, in DistributedDataParallel if there are several processes."""
        return self._trainer.model

    @model.setter
    def model(self, model: nn.Module) -> None:
        self._trainer.model = model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer."""
        return self._trainer.optimizer

    @property
    def data_loader(self) -> Iterable[Any]:
        """The training data."""
        return self._trainer.data_loader

    def resume_or_load(self, resume: bool = True) -> None:
        """Continue from the last checkpoint in ``OUTPUT_DIR``, or begin with ``MODEL.WEIGHTS``.

        Args:
            resume: load everything from the last checkpoint, if there is one, and go on behind
                its iteration. Otherwise only weights are loaded, and iteration 0 is the first.
        """
        self.start_iter = resume_or_load(
            self.checkpointer, self, self.cfg.MODEL.WEIGHTS, resume=resume
        )

    def train(  # type: ignore[override]  # the config says from where to where
        self,
    ) -> dict[str, Any] | None:
        """Train from the iteration that :meth:`resume_or_load` found to ``SOLVER.MAX_ITER``.

        Returns:
            The results of the last evaluation on the main process; None without evaluation.

        Raises:
            ValueError: if ``TEST.EXPECTED_RESULTS`` are not reached.
        """
        super().train(self.start_iter, self.max_iter)
        results = self._last_eval_results
        if self.cfg.TEST.EXPECTED_RESULTS and results and comm.is_main_process():
            verify_results(self.cfg, results)
        return results

    def run_step(self) -> None:
        """Do one iteration."""
        self._trainer.iter = self.iter
        self._trainer.storage = self.storage
        self._trainer.run_step()

    def state_dict(self) -> dict[str, Any]:
        """Return iteration, hooks, and the state of the inner trainer with its optimizer."""
        inner = self._trainer.state_dict()
        inner.pop("events", None)  # the same as those of this one
        return {**super().state_dict(), "_trainer": inner}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        super().load_state_dict(state_dict)
        self._trainer.load_state_dict(state_dict["_trainer"])

    def build_hooks(self) -> list[HookBase | None]:
        """Return the usual hooks: timing, schedule, precise statistics, checkpoints, evaluation.

        Writers come last, so that they write what the other hooks put into the storage.
        """
        return usual_hooks(
            self._plan,
            self._trainer,
            seed=self.cfg.SEED,
            scheduler=self.scheduler,
            checkpointer=self.checkpointer,
            ema=self._ema,
            evaluate=self._test,
            writers=self.build_writers(),
        )

    def build_writers(self) -> list[EventWriter]:
        """Return where metrics go; by default :func:`default_writers` in ``OUTPUT_DIR``."""
        return default_writers(
            self.cfg.OUTPUT_DIR, self.max_iter, images_per_batch=images_per_iteration(self._plan)
        )

    def _test(self) -> dict[str, Any]:
        averaged = nullcontext() if self._ema is None else self._ema.applied()
        with averaged, whole_weights(self.model):
            self._last_eval_results = self.test(self.cfg, self.model)
        return self._last_eval_results

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Return the model; by default :func:`d2_modeling.build_model`."""
        model = super().build_model(cfg)
        logger.info("Model:\n%s", model, extra=FILE_ONLY)
        return model

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator | None:
        """Return the evaluator of a test set; there is none by default.

        Raises:
            NotImplementedError: always; :meth:`test` then goes without evaluation.
        """
        raise NotImplementedError(
            "training goes without evaluation: overwrite build_evaluator(cfg, dataset_name), for "
            "COCO's metrics with COCOEvaluator(dataset_name, output_dir=cfg.OUTPUT_DIR)"
        )

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: DatasetEvaluator | Sequence[DatasetEvaluator] | None = None,
    ) -> dict[str, Any]:
        """Evaluate a model on the datasets ``DATASETS.TEST``.

        Args:
            cfg: the config.
            model: the model; its mode is kept.
            evaluators: one for each dataset; by default those of :meth:`build_evaluator`.

        Returns:
            Metrics by dataset, or those of the only dataset; empty on other than the main
            process.

        Raises:
            ValueError: if there are more or fewer evaluators than datasets.
        """
        names = cfg.DATASETS.TEST
        if isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        if evaluators is not None and len(evaluators) != len(names):
            raise ValueError(
                f"there are {len(evaluators)} evaluators for {len(names)} datasets "
                f"({', '.join(names)}); give one each"
            )
        results: dict[str, Any] = OrderedDict()
        for index, name in enumerate(names):
            loader = cls.build_test_loader(cfg, name)
            check_same_classes(metadata_of(tuple(cfg.DATASETS.TRAIN)), metadata_of((name,)))
            if evaluators is not None:
                evaluator: DatasetEvaluator | None = evaluators[index]
            else:
                try:
                    evaluator = cls.build_evaluator(cfg, name)
                except NotImplementedError as reason:
                    logger.warning("Dataset %s is not evaluated: %s", name, reason)
                    results[name] = {}
                    continue
            results[name] = inference_on_dataset(model, loader, evaluator)
            if comm.is_main_process() and results[name]:
                logger.info("Results on %s:\n%s", name, results_table(results[name]))
                print_csv_format(results[name])
        return next(iter(results.values())) if len(results) == 1 else results

    @staticmethod
    def auto_scale_workers(cfg: CfgNode, num_workers: int) -> CfgNode:
        """Return the config for another number of processes than it was written for.

        See :func:`~d2_engine.run.worker_scaling.scale_to_workers`.
        """
        scaled: CfgNode = scale_to_workers(YacsSettings(cfg), num_workers).cfg
        return scaled


class _AfterBackwardOf(HookBase):
    """Let the hooks of the outer trainer know when the inner one has its gradients."""

    def __init__(self, outer: TrainerBase) -> None:
        self._outer = weakref.proxy(outer)

    def after_backward(self) -> None:
        self._outer.after_backward()
