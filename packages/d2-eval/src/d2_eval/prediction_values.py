"""Classes and scores of predictions that are no classes or no probabilities."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["check_classes", "report_unusual_scores", "scores_of"]

_logger = logging.getLogger(__name__)


def check_classes(classes: Tensor, image_id: int | str) -> None:
    """Refuse classes that are no whole numbers, which would be cut to some.

    Args:
        classes: of the predictions of an image.
        image_id: names the image in errors.

    Raises:
        ValueError: if one is NaN, infinite or a fraction, or all are truth values.
    """
    if classes.dtype == torch.bool or classes.is_complex():
        wrong = f"of {classes.dtype}"
    elif classes.is_floating_point():
        fractions = classes[classes != classes.floor()]  # NaN differs from itself
        fractions = torch.cat([fractions, classes[classes.isinf()]])
        if fractions.numel() == 0:
            return
        wrong = f"such as {fractions[0].item():g}"
    else:
        return
    raise ValueError(
        f"predictions of image {image_id!r} have pred_classes {wrong}; wanted whole numbers from "
        "0, in a tensor of int64"
    )


def report_unusual_scores(scores: Sequence[float] | np.ndarray, source: str) -> None:
    """Warn of scores outside of 0 … 1: they are ranked as they are, but seldom meant so.

    Args:
        scores: of all predictions.
        source: whose they are.
    """
    values = np.asarray(scores, np.float64)
    wrong = values[~((values >= 0) & (values <= 1))]
    if wrong.size:
        _logger.warning(
            "%s: %d of %d scores lie outside of 0 … 1, e.g. %g. Predictions are ranked by them as "
            "they are; if they are logits or percent by mistake, turn them into probabilities",
            source,
            len(wrong),
            len(values),
            wrong[0],
        )


def scores_of(results: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return the scores of entries in COCO's result format, but what is no number."""
    scores = [result.get("score") for result in results]
    return [score for score in scores if isinstance(score, int | float)]
