"""The one evaluation of a run."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

from torch import nn
from torch.utils.data import DataLoader

from d2_data import STALL_TIMEOUT, guard_workers
from d2_engine.checkpoint import DetectionCheckpointer
from d2_engine.run.classes import check_same_classes, missing_counts
from d2_engine.run.folder import folder_of_test_set
from d2_engine.run.model import build_model
from d2_engine.run.plan import Evaluators, RunPlan, TestSet
from d2_engine.run.report import write_pages, write_report
from d2_engine.sharding import is_sharded
from d2_eval import DatasetEvaluator, DatasetEvaluators, inference_on_dataset
from d2_modeling import optimized_for_inference
from d2_structures import comm

_logger = logging.getLogger(__name__)

Results = dict[str, Any]
Loaders = Mapping[str, Any]


class Evaluated(NamedTuple):
    """What came out of an evaluation.

    Attributes:
        results: ``{task: {metric: score}}``; with several test sets, those by the set's name. Empty
            on other than the main process.
        evaluators: of each test set.
    """

    results: Results
    evaluators: list[DatasetEvaluator]


def evaluate(
    plan: RunPlan,
    *,
    report: bool = False,
    pages: str | os.PathLike[str] | None = None,
    compare_with: str | os.PathLike[str] | None = None,
    stall_timeout: float = STALL_TIMEOUT,
) -> Results:
    """Build the model, load the plan's weights, and evaluate them on its test sets.

    Args:
        plan: with weights of the whole model.
        report: also write pictures of the results into the run's folder.
        pages: a folder for :func:`d2_eval.report.write` to write a page into that shows what the
            predictions get wrong; with several test sets, one folder below it for each.
        compare_with: a file of another run's predictions, in COCO's result format, that the page
            compares these with.
        stall_timeout: seconds that loading processes may deliver nothing; 0 waits for ever.

    Returns:
        ``{task: {metric: score}}``; with several test sets, those by the set's name. With
        test-time augmentation every task occurs a second time, with ``_TTA`` behind its name.
        Empty on other than the main process.

    Raises:
        ValueError: if there are no test sets or no weights, the weights are not those of the whole
            model, or classes of model and test data do not fit each other.
    """
    loaders = loaders_of(plan, stall_timeout)
    plan = with_counts(plan)
    model = build_model(plan)
    DetectionCheckpointer(model).load(plan.weights, strict=True, prefer_ema=True)
    evaluated = evaluate_model(plan, model, loaders, augmented=plan.augmented is not None)
    if report and comm.is_main_process():
        write_report(plan, model, evaluated.evaluators)
    if pages is not None and comm.is_main_process():
        write_pages(plan, pages, compare_with)
    return evaluated.results


def loaders_of(plan: RunPlan, stall_timeout: float) -> dict[str, Any]:
    """Return the guarded loader of each test set, by its name.

    Raises:
        ValueError: if there are no test sets.
    """
    if not plan.test_sets:
        raise ValueError(
            f"there is nothing to evaluate on: {plan.settings.called('test_names')} names no data"
        )
    loaders = {test.name: test.loader() for test in plan.test_sets}
    guard_loaders(loaders.values(), stall_timeout)
    return loaders


def guard_loaders(loaders: Iterable[Any], stall_timeout: float) -> None:
    """Guard the loading processes of those that have any: see :func:`~d2_data.guard_workers`."""
    for loader in loaders:
        if isinstance(loader, DataLoader):
            guard_workers(loader, stall_timeout)


def with_counts(plan: RunPlan) -> RunPlan:
    """Return the plan with sizes of the model taken from test data where they are open.

    To be called when the test data has been loaded, from which it may have learned its classes.
    """
    for test in plan.test_sets:
        if plan.learned is not None:
            check_same_classes(plan.learned, test.metadata)
        open_counts = missing_counts(plan, test.metadata)
        if open_counts:
            plan = plan.of(plan.settings.changed(open_counts))
    return plan


def evaluate_model(
    plan: RunPlan, model: nn.Module, loaders: Loaders, *, augmented: bool = False
) -> Evaluated:
    """Evaluate a model on the test sets of a plan.

    Args:
        plan: names the test sets and their evaluators.
        model: the model; its mode is kept. Unless it is divided, it is made fast meanwhile, so that
            a run's last figures are those of its final weights evaluated again.
        loaders: of each test set, by its name.
        augmented: also with test-time augmentation.
    """
    versions = [("", model)]
    if augmented and plan.augmented is not None:
        versions.append(("_TTA", plan.augmented(_inner(model))))
    # Statistics of batch norms differ between processes; those of the main one are saved.
    comm.broadcast_tensors(model.buffers())
    with nullcontext() if is_sharded(_inner(model)) else optimized_for_inference(model):
        return _evaluate_versions(plan, versions, loaders)


def _evaluate_versions(
    plan: RunPlan, versions: Sequence[tuple[str, nn.Module]], loaders: Loaders
) -> Evaluated:
    by_set: Results = {}
    used: list[DatasetEvaluator] = []
    for test in plan.test_sets:
        results: Results = {}
        for suffix, version in versions:
            evaluator = _evaluator(test, folder_of_test_set(plan, test) + suffix)
            found = inference_on_dataset(version, loaders[test.name], evaluator)
            results |= {f"{task}{suffix}": scores for task, scores in found.items()}
            used += [] if suffix else [evaluator]
        by_set[test.name] = results
    if not comm.is_main_process():
        return Evaluated({}, used)
    return Evaluated(next(iter(by_set.values())) if len(by_set) == 1 else by_set, used)


def _evaluator(test: TestSet, folder: str) -> DatasetEvaluator:
    evaluators: Evaluators = test.evaluators(folder)
    if evaluators is None:
        _logger.warning("%s has no evaluator: the model only runs over it", test.name)
        evaluators = []
    if isinstance(evaluators, Sequence):
        return evaluators[0] if len(evaluators) == 1 else DatasetEvaluators(evaluators)
    return evaluators


def _inner(model: nn.Module) -> nn.Module:
    """The module within DistributedDataParallel."""
    inner = getattr(model, "module", model)
    return inner if isinstance(inner, nn.Module) else model
