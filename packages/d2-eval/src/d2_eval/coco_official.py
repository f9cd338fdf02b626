"""COCO's precision and recall from pycocotools itself."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from d2_eval.coco_fast import sorted_ids
from d2_eval.coco_ground_truth import CocoGroundTruth
from d2_ops.host import CocoPrecisionRecall, rle_compress

_logger = logging.getLogger(__name__)


def official_precision_recall(
    truth: CocoGroundTruth, results: Sequence[dict[str, Any]], parameters: Params
) -> CocoPrecisionRecall:
    """Evaluate results; see :func:`~d2_eval.coco_fast.fast_precision_recall`."""
    if any(_mixed(ids) for ids in (parameters.imgIds, truth.coco.imgs, truth.category_ids)):
        return official_precision_recall(*_numbered(truth, results, parameters))
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


def _mixed(ids: Iterable[Any]) -> bool:
    """Whether there is text among numbers, which pycocotools cannot sort."""
    return len({isinstance(identity, str) for identity in ids}) > 1


def _numbered(
    truth: CocoGroundTruth, results: Sequence[dict[str, Any]], parameters: Params
) -> tuple[CocoGroundTruth, list[dict[str, Any]], Params]:
    """The same with numbers in place of the ids of images and categories."""
    images = {image: number for number, image in enumerate(sorted_ids(truth.coco.imgs), 1)}
    categories = {one: number for number, one in enumerate(sorted_ids(truth.coco.cats), 1)}

    def renamed(entry: dict[str, Any]) -> dict[str, Any]:
        places = images[entry["image_id"]], categories[entry["category_id"]]
        return {**entry, "image_id": places[0], "category_id": places[1]}

    coco = COCO()
    coco.dataset = {
        "images": [{**image, "id": images[image["id"]]} for image in truth.coco.imgs.values()],
        "annotations": [renamed(annotation) for annotation in truth.coco.anns.values()],
        "categories": [{**one, "id": categories[one["id"]]} for one in truth.coco.cats.values()],
    }
    with _quietly():
        coco.createIndex()
    category_ids = tuple(categories[one] for one in truth.category_ids)
    parameters = copy.deepcopy(parameters)
    parameters.imgIds = [images[image] for image in parameters.imgIds]
    numbered = attrs.evolve(truth, coco=coco, category_ids=category_ids)
    return numbered, [renamed(result) for result in results], parameters


def _load_results(truth: CocoGroundTruth, results: Sequence[dict[str, Any]], task: str) -> COCO:
    """pycocotools' index of the results; it writes into the entries, so they are copied."""
    entries = [dict(result) for result in results]
    if task == "segm":
        # With a box present pycocotools would take its area for the mask's.
        for entry in entries:
            entry.pop("bbox", None)
            if not isinstance(entry["segmentation"]["counts"], str | bytes):
                entry["segmentation"] = rle_compress(entry["segmentation"])
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
