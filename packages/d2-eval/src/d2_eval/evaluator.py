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
        evaluators: the evaluators; none at all is allowed.
    """

    def __init__(self, evaluators: Sequence[DatasetEvaluator]) -> None:
        super().__init__()
        self._evaluators = list(evaluators)

    def reset(self) -> None:
        for evaluator in self._evaluators:
            evaluator.reset()

    def process(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        for evaluator in self._evaluators:
            evaluator.process(inputs, outputs)

    def evaluate(self) -> dict[str, Any]:
        """Merge the results of all evaluators.

        Returns:
            All tasks in one dict; empty on ranks other than the main one.

        Raises:
            ValueError: if two evaluators report the same task.
        """
        merged: dict[str, Any] = {}
        for evaluator in self._evaluators:
            results = evaluator.evaluate()
            if not is_main_process() or results is None:
                continue
            for task, scores in results.items():
                if task in merged:
                    raise ValueError(
                        f"two evaluators report the task {task!r}, the second one is a "
                        f"{type(evaluator).__name__}; evaluate them apart or rename one's task"
                    )
                merged[task] = scores
        return merged
