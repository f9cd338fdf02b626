"""Train and evaluate the detector that a lazy config describes.

The config has ``model``, ``dataloader`` (``train``, ``test``, ``evaluator``), ``optimizer``,
``lr_multiplier`` and ``train``; ``model_zoo/configs/common/train.py`` lists the options.
"""

import argparse
import logging
import os
import weakref
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from d2_config import LazyConfig, instantiate
from d2_engine import hooks
from d2_engine.checkpoint import DetectionCheckpointer
from d2_engine.data_position import starting_at
from d2_engine.dataset_classes import check_same_classes, metadata_of, settle_num_classes
from d2_engine.defaults import create_ddp_model, default_setup, default_writers
from d2_engine.defaults.setup import run_seed
from d2_engine.devices import choose_device, use_mixed_precision
from d2_engine.interruption import Interruption, StopOnInterruption, TrainingInterrupted
from d2_engine.run_folder import CONFIG, refuse_used_folder, save_metadata
from d2_engine.run_report import write_report
from d2_engine.trainers import AMPTrainer, SimpleTrainer
from d2_eval import inference_on_dataset, print_csv_format
from d2_structures import comm

logger = logging.getLogger(__name__)

Results = dict[str, Any]


def train_detector(cfg: DictConfig, *, resume: bool = False) -> Results:
    """Train, evaluate, and leave the run's folder (see ``run_folder``) behind.

    On SIGINT or SIGTERM the iteration in progress is completed and a checkpoint saved.

    Args:
        cfg: the config; its folder is ``train.output_dir``.
        resume: continue from the folder's last checkpoint, if it has one.

    Returns:
        The evaluator's results on the main process, else an empty dict.

    Raises:
        TrainingInterrupted: on a signal, after the checkpoint was saved.
        FileExistsError: if the folder holds another run and ``resume`` is false.
        FloatingPointError: if a loss is not finite.
        ValueError: if classes of model, training and test data, or model and checkpoint do
            not fit each other.
    """
    if not resume:
        refuse_used_folder(cfg.train.output_dir)
    with Interruption() as interruption:
        seed = cfg.train.seed = _settle_seed(cfg, resume=resume)
        default_setup(cfg, argparse.Namespace(resume=resume))
        loader, test_loader = _load_data(cfg, seed)
        model = build_detector(cfg)
        cfg.optimizer.params.model = model
        optimizer = instantiate(cfg.optimizer)
        device = choose_device(cfg.train.device)
        amp = use_mixed_precision(cfg.train.amp.enabled, device)
        trainer_class = AMPTrainer if amp else SimpleTrainer
        trainer = trainer_class(create_ddp_model(model, **cfg.train.ddp), loader, optimizer)
        # The trainer holds the checkpointer: a proxy the other way, so that both, and the
        # loading processes, end with this function.
        checkpointer = DetectionCheckpointer(
            model, cfg.train.output_dir, trainer=weakref.proxy(trainer)
        )
        checkpointer.resume_or_load(cfg.train.init_checkpoint, resume=resume)
        start_iter = trainer.iter + 1 if resume and checkpointer.has_checkpoint() else 0
        trainer.data_loader = starting_at(loader, start_iter)

        results: Results = {}

        def evaluate() -> Results:
            with interruption.immediate():
                report = trainer.iter >= trainer.max_iter
                results.clear()
                results.update(evaluate_detector(cfg, model, loader=test_loader, report=report))
            return results

        writers = default_writers(cfg.train.output_dir, cfg.train.max_iter)
        trainer.register_hooks(
            [
                hooks.IterationSeed(seed),
                hooks.IterationTimer(),
                hooks.LRScheduler(scheduler=instantiate(cfg.lr_multiplier)),
                hooks.PeriodicCheckpointer(checkpointer, **cfg.train.checkpointer),
                hooks.EvalHook(cfg.train.eval_period, evaluate),
                hooks.PeriodicWriter(writers, cfg.train.log_period)
                if comm.is_main_process()
                else None,
                StopOnInterruption(interruption),
            ]
        )
        try:
            trainer.train(start_iter, cfg.train.max_iter)
        except TrainingInterrupted:
            if trainer.iter < trainer.max_iter:
                checkpointer.save(f"model_{trainer.iter:07d}", iteration=trainer.iter)
            comm.synchronize()  # a process that ends ends the others: not while one is saving
            raise
    return results


def _load_data(cfg: DictConfig, seed: int) -> tuple[Any, Any]:
    """Build both loaders, settle the classes, and write them and the config to the folder."""
    loader = instantiate(OmegaConf.merge(cfg.dataloader.train, {"seed": seed}))
    # Not needed before the first evaluation, but what is wrong with it is to be known now.
    test_loader = instantiate(cfg.dataloader.test)
    metadata = metadata_of(cfg.dataloader.train)
    check_same_classes(metadata, metadata_of(cfg.dataloader.test))
    settle_num_classes(cfg, metadata)
    if comm.is_main_process():
        LazyConfig.save(cfg, os.path.join(cfg.train.output_dir, CONFIG))
        save_metadata(cfg.train.output_dir, metadata)
    return loader, test_loader


def build_detector(cfg: DictConfig) -> nn.Module:
    """Build the model on its device, in the memory format that its convolutions like best."""
    model: nn.Module = instantiate(cfg.model).to(choose_device(cfg.train.device))
    if cfg.train.get("channels_last", False):
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs want a dtype as well
    total = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    logger.info(
        "%s: %s parameters, %s trainable", type(model).__name__, f"{total:,}", f"{trainable:,}"
    )
    return model


def evaluate_detector(
    cfg: DictConfig, model: nn.Module, *, loader: Any = None, report: bool = False
) -> Results:
    """Evaluate a model on ``dataloader.test``.

    Args:
        cfg: the config; files go to the folder ``inference`` in ``train.output_dir``.
        model: the model; its mode is kept.
        loader: what ``dataloader.test`` describes, if it has been built already.
        report: also write pictures of the result into ``train.output_dir``.

    Returns:
        The evaluator's results on the main process, else an empty dict.
    """
    if loader is None:
        loader = instantiate(cfg.dataloader.test)
    evaluator = instantiate(
        OmegaConf.merge(
            cfg.dataloader.evaluator,
            {"output_dir": os.path.join(cfg.train.output_dir, "inference")},
        )
    )
    results: Results = inference_on_dataset(model, loader, evaluator)
    if not comm.is_main_process():
        return {}
    print_csv_format(results)
    if report:
        write_report(cfg, model, evaluator)
    return results


def _settle_seed(cfg: DictConfig, *, resume: bool) -> int:
    """Return the one seed of the run; without one in the config, a resumed run keeps its own."""
    began_with = None
    saved = Path(cfg.train.output_dir, CONFIG)
    if resume and cfg.train.get("seed") is None and saved.is_file():
        began_with = OmegaConf.select(LazyConfig.load(saved), "train.seed")
    # Other machines may not see the folder of the main process.
    began_with = comm.all_gather(began_with)[0]
    return run_seed(cfg) if began_with is None else int(began_with)
