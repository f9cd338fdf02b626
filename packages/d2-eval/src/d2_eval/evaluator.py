"""What an evaluator is, and several of them as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from d2_structures.comm import is_main_process


class DatasetEvaluator:
    """Base class of the evaluators of a dataset.

    :func:`~d2_eval.inference_on_dataset` runs a model over all inputs of a dataset and hands
    inputs and outputs to an evaluator. It accumulates what it needs in :meth:`process` and gives
    the results in :meth:`evaluate`.
    """

    def reset(self) -> None:
        """Prepare for a new round of evaluation; called before each round."""

    def process(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Take in one batch.

        Args:
            inputs: what the model was given, one entry per image.
            outputs: what the model returned, in the same order. The pairs can be taken one by
                one with ``zip(inputs, outputs)``.
        """

    def evaluate(self) -> Mapping[str, Any] | None:
        """Summarise all batches since :meth:`reset`.

        Returns:
            In any format that the caller can read; the training loop expects
            ``{task: {metric: score}}``, e.g. ``{"bbox": {"AP50": 80.0}}``. None or an empty
            mapping where there is nothing to report, as on ranks other than the main one.
        """
        return None


class DatasetEvaluators(DatasetEvaluator):
    """Several evaluators that see the same batches; each call goes to all of them in order.

    Args:
        evaluators: the evaluators: a list, or a mapping whose keys name them in errors. One may
            be a list or a mapping itself. None at all is allowed.

    Raises:
        TypeError: if one is no evaluator.
    """

    def __init__(self, evaluators: Evaluators) -> None:
        super().__init__()
        self._evaluators: dict[str, DatasetEvaluator] = {}
        named = (
            [(f"{key!r}", value) for key, value in evaluators.items()]
            if isinstance(evaluators, Mapping)
            else [(f"number {place}", value) for place, value in enumerate(evaluators)]
        )
        for label, value in named:
            evaluator = as_evaluator(value, f"evaluator {label}")
            self._evaluators[f"{label}, a {type(evaluator).__name__}"] = evaluator

    def reset(self) -> None:
        for evaluator in self._evaluators.values():
            evaluator.reset()

    def process(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        for evaluator in self._evaluators.values():
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict[str, Any]:
        """Merge the results of all evaluators.

        Returns:
            All tasks in one dict; empty on ranks other than the main one.

        Raises:
            ValueError: if two evaluators report the same task.
        """
        merged: dict[str, Any] = {}
        reported: dict[str, str] = {}
        for label, evaluator in self._evaluators.items():
            results = evaluator.evaluate()
            if not is_main_process() or results is None:
                continue
            for task, scores in results.items():
                if task in merged:
                    raise ValueError(
                        f"two evaluators report the task {task!r}: {reported[task]}, and {label}; "
                        "evaluate them apart or rename one's task"
                    )
                merged[task] = scores
                reported[task] = label
        return merged


Evaluators = Sequence[Any] | Mapping[str, Any]
"""Several evaluators, each one a :class:`DatasetEvaluator` or several again."""


def as_evaluator(value: DatasetEvaluator | Evaluators, what: str = "evaluator") -> DatasetEvaluator:
    """Return one evaluator that stands for one, several or none.

    Args:
        value: an evaluator; or a list or a mapping of evaluators.
        what: names it in errors.

    Raises:
        TypeError: if it is none of these.
    """
    if isinstance(value, DatasetEvaluator):
        return value
    if isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, str)):
        return DatasetEvaluators(value)
    raise TypeError(
        f"{what} is a {type(value).__name__}: {value!r:.100}; wanted a DatasetEvaluator, or a list "
        "or a mapping of them"
    )
