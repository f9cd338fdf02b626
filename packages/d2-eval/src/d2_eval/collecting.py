"""What evaluators share that keep their predictions until the end."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from d2_eval.evaluator import DatasetEvaluator
from d2_structures import comm

_logger = logging.getLogger(__name__)


class CollectingEvaluator(DatasetEvaluator):
    """Base of evaluators that keep something of each prediction and look at all in the end.

    Subclasses call :meth:`keep` in ``process`` and :meth:`collected` in ``evaluate``. Ranks send
    what they kept in pieces, so that the main one holds the predictions once and never all of
    them in pickled form beside that.

    Args:
        distributed: collect what all ranks have kept on the main one; otherwise each rank
            evaluates its own.
    """

    def __init__(self, *, distributed: bool = True) -> None:
        super().__init__()
        self._distributed = distributed
        self._kept: list[dict[str, Any]] | None = None

    def reset(self) -> None:
        """Forget what was kept."""
        self._kept = []

    def check_was_reset(self, before: str) -> None:
        """Refuse what comes before the first :meth:`reset`.

        Args:
            before: the method that was called.

        Raises:
            RuntimeError: if nothing was reset yet.
        """
        if self._kept is None:
            raise RuntimeError(
                f"call reset() before {before}()"
                if before == "process"
                else f"call reset() and process() before {before}()"
            )

    def keep(self, prediction: dict[str, Any]) -> None:
        """Keep something for the end: plain data on the CPU.

        Raises:
            RuntimeError: before :meth:`reset`.
        """
        self.check_was_reset("process")
        assert self._kept is not None
        self._kept.append(prediction)

    def collected(self) -> list[dict[str, Any]] | None:
        """Return what was kept, on all ranks, in their order.

        All ranks must call it. It may be called again.

        Returns:
            None on ranks that are not to evaluate.

        Raises:
            RuntimeError: before :meth:`reset`.
        """
        self.check_was_reset("evaluate")
        assert self._kept is not None
        if not self._distributed or comm.get_world_size() == 1:
            return list(self._kept)
        predictions = list(comm.gather_items(self._kept))
        return predictions if comm.is_main_process() else None

    def summed(self, counts: np.ndarray) -> np.ndarray:
        """Return the sum of an array over all ranks.

        All ranks must call it, with arrays of the same shape. On ranks that are not to evaluate
        the result means nothing.

        Args:
            counts: of this rank.

        Raises:
            RuntimeError: before :meth:`reset`.
        """
        self.check_was_reset("evaluate")
        if not self._distributed:
            return counts
        parts = comm.gather(counts)
        total: np.ndarray = np.sum(parts, axis=0) if parts else counts
        return total


def one_per_image(predictions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first prediction of each image.

    Samplers that fill up the last batch repeat images; each must count once.

    Args:
        predictions: with ``image_id``.
    """
    unique: dict[Any, dict[str, Any]] = {}
    for prediction in predictions:
        unique.setdefault(prediction["image_id"], prediction)
    repeated = len(predictions) - len(unique)
    if repeated:
        _logger.warning(
            "%d predictions belong to images that were processed before; the first ones count",
            repeated,
        )
    return list(unique.values())
