"""The one training of a run."""

import logging
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from d2_config.logger import FILE_ONLY
from d2_data import STALL_TIMEOUT
from d2_engine import hooks
from d2_engine.defaults.writers import default_writers
from d2_engine.interruption import Interruption, StopOnInterruption, TrainingInterrupted
from d2_engine.run.classes import check_same_classes, missing_counts
from d2_engine.run.evaluate import Evaluated, Loaders, Results, evaluate_model, guard_loaders
from d2_engine.run.folder import CONFIG, refuse_used_folder, save_metadata
from d2_engine.run.model import build_model
from d2_engine.run.plan import RunPlan
from d2_engine.run.report import write_report
from d2_engine.run.start import seed_process, settle_seed, start_logging, tune_convolutions
from d2_engine.run.steps import (
    build_checkpointer,
    build_scheduler,
    build_trainer,
    images_per_iteration,
    prepared,
    resume_or_load,
    usual_hooks,
)
from d2_engine.run.worker_scaling import scale_to_workers
from d2_engine.sharding import whole_weights
from d2_eval import verify_results
from d2_eval.report import results_table
from d2_structures import comm

_logger = logging.getLogger(__name__)


def train(plan: RunPlan, *, resume: bool = False, stall_timeout: float = STALL_TIMEOUT) -> Results:
    """Train, evaluate, and leave the run's folder (see ``run.folder``) behind.

    On SIGINT or SIGTERM the iteration in progress is completed and a checkpoint saved, also if the
    processes that load data got the signal. An evaluation is left at once, by several processes
    when it is done. A second signal stops at once.

    Args:
        plan: of the run.
        resume: continue from the folder's last checkpoint, if it has one.
        stall_timeout: seconds that loading processes may deliver nothing; 0 waits for ever.

    Returns:
        The results of the last evaluation on the main process, as
        :func:`~d2_engine.run.evaluate` gives them; else an empty dict.

    Raises:
        TrainingInterrupted: on a signal, after the checkpoint was saved.
        StoppedAtOnceError: on a second signal.
        ChildProcessError: if a process that loads data is killed, stopped or delivers nothing.
        FileExistsError: if the folder holds another run and ``resume`` is false.
        FloatingPointError: if a loss is not finite.
        ValueError: if classes of model, training and test data, or model and checkpoint do not
            fit each other; after training, if expected results are not met.
    """
    if not resume:
        refuse_used_folder(plan.output_dir)
    with Interruption() as interruption:
        start_logging(plan.output_dir)
        settings = scale_to_workers(plan.settings, comm.get_world_size())
        seed = settle_seed(settings, resume=resume)
        settings = settings.with_(seed=seed)
        seed_process(settings, seed)
        tune_convolutions(settings)
        plan, loader, test_loaders = _with_data(plan.of(settings))
        guard_loaders([loader, *test_loaders.values()], stall_timeout)
        run = _Training(plan, loader, test_loaders, interruption)
        results = run.go(resume=resume)
        interruption.raise_if_received()
    if plan.expected_results and results:
        verify_results(plan.expected_results, results)
    return results


def _with_data(plan: RunPlan) -> tuple[RunPlan, Any, Loaders]:
    """Build the loaders, let the classes follow the data, and write what the run is to its folder.

    The test data is not needed before the first evaluation, but what is wrong with it is to be
    known now.
    """
    if plan.train_data is None:
        raise ValueError("there is nothing to train on: the config has no training data")
    loader = plan.train_data.loader()
    test_loaders = {test.name: test.loader() for test in plan.test_sets}
    metadata = plan.train_data.metadata
    for test in plan.test_sets:
        check_same_classes(metadata, test.metadata)
    open_counts = missing_counts(plan, metadata)
    if open_counts:
        plan = plan.of(plan.settings.changed(open_counts))
    if comm.is_main_process():
        plan.settings.save(Path(plan.output_dir, CONFIG))
        save_metadata(plan.output_dir, metadata)
    return plan, loader, test_loaders


class _Training:
    """What exists while a run trains."""

    def __init__(
        self, plan: RunPlan, loader: Any, test_loaders: Loaders, interruption: Interruption
    ) -> None:
        self._plan = plan
        self._test_loaders = test_loaders
        self._interruption = interruption
        self._model = prepared(plan, build_model(plan))
        optimizer = plan.optimizer(self._model)
        self._trainer = build_trainer(plan, self._model, loader, optimizer)
        self._checkpointer = build_checkpointer(plan, self._model, self._trainer)
        decay = plan.options.ema_decay
        self._ema = hooks.EMA(self._model, decay) if decay else None
        self._results: Results = {}
        self._trainer.register_hooks(
            usual_hooks(
                plan,
                self._trainer,
                seed=plan.seed,
                scheduler=build_scheduler(plan, optimizer),
                checkpointer=self._checkpointer,
                ema=self._ema,
                evaluate=self._evaluate,
                writers=default_writers(
                    plan.output_dir, plan.max_iter, images_per_batch=images_per_iteration(plan)
                ),
            )
        )
        self._trainer.register_hooks([make(self._trainer) for make in plan.hooks])
        self._trainer.register_hooks([StopOnInterruption(interruption)])

    def go(self, *, resume: bool) -> Results:
        """Train to the end; returns the results of the last evaluation."""
        trainer, plan = self._trainer, self._plan
        start = resume_or_load(self._checkpointer, trainer, plan.weights, resume=resume)
        try:
            trainer.train(start, plan.max_iter)
        except TrainingInterrupted:
            if trainer.iter < trainer.max_iter:
                self._checkpointer.save(f"model_{trainer.iter:07d}", iteration=trainer.iter)
            comm.synchronize()  # a process that ends ends the others: not while one is saving
            raise
        return self._results

    def _evaluate(self) -> Results:
        final = self._trainer.iter >= self._trainer.max_iter
        averaged = nullcontext() if self._ema is None else self._ema.applied()
        with averaged, whole_weights(self._model), self._interruption.immediate():
            evaluated = evaluate_model(
                self._plan, self._trainer.model, self._test_loaders, augmented=final
            )
            self._results = evaluated.results
            if comm.is_main_process() and self._plan.test_sets:
                self._tell(evaluated, final=final)
        return self._results

    def _tell(self, evaluated: Evaluated, *, final: bool) -> None:
        """Log the results, and of the last ones write pictures; who called train prints those."""
        _logger.info(
            "Evaluation after %d iterations:\n%s",
            self._trainer.iter if final else self._trainer.iter + 1,
            results_table(evaluated.results),
            extra=FILE_ONLY if final else None,
        )
        if final:
            write_report(self._plan, self._model, evaluated.evaluators)
