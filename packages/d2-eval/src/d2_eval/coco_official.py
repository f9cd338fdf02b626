"""COCO's precision and recall from pycocotools itself."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from d2_eval.coco_ground_truth import CocoGroundTruth
from d2_ops.host import CocoPrecisionRecall

_logger = logging.getLogger(__name__)


def official_precision_recall(
    truth: CocoGroundTruth, results: Sequence[dict[str, Any]], parameters: Params
) -> CocoPrecisionRecall:
    """Evaluate results; see :func:`~d2_eval.coco_fast.fast_precision_recall`."""
    evaluation = COCOeval(
        truth.coco, _load_results(truth, results, parameters.iouType), iouType=parameters.iouType
    )
    evaluation.params = copy.deepcopy(parameters)
    evaluation.params.catIds = list(truth.category_ids)
    with _quietly():
        evaluation.evaluate()
        evaluation.accumulate()
    # evaluate() has sorted the categories; go back to the model's order.
    order = [evaluation.params.catIds.index(number) for number in truth.category_ids]
    return CocoPrecisionRecall(
        evaluation.eval["precision"][:, :, order],
        evaluation.eval["recall"][:, order],
        evaluation.eval["scores"][:, :, order],
    )


def _load_results(truth: CocoGroundTruth, results: Sequence[dict[str, Any]], task: str) -> COCO:
    """pycocotools' index of the results; it writes into the entries, so they are copied."""
    entries = [dict(result) for result in results]
    if task == "segm":
        # With a box present pycocotools would take its area for the mask's.
        for entry in entries:
            entry.pop("bbox", None)
    with _quietly():
        if entries:
            return truth.coco.loadRes(entries)
        empty = copy.copy(truth.coco)
        empty.dataset = {**truth.coco.dataset, "annotations": []}
        empty.createIndex()
        return empty


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Send what pycocotools prints to the log."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        yield
    for line in output.getvalue().splitlines():
        if line.strip():
            _logger.debug("pycocotools: %s", line)
