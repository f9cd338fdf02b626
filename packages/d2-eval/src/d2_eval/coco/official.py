"""COCO's precision and recall from pycocotools itself."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from d2_eval.coco.fast import sorted_ids
from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_eval.coco.result_entries import results_as_entries
from d2_eval.coco.settings import FIELDS, CocoSettings
from d2_eval.coco.targets import completed
from d2_ops.host import CocoPrecisionRecall, CocoResults, boundary_iou

_logger = logging.getLogger(__name__)


def official_precision_recall(
    truth: CocoGroundTruth,
    results: CocoResults,
    settings: CocoSettings,
    image_ids: Sequence[Any],
) -> CocoPrecisionRecall:
    """Evaluate results; see :func:`~d2_eval.coco.fast.fast_precision_recall`.

    Raises:
        ValueError: for turned boxes, which pycocotools does not know.
    """
    if settings.task == "rotated_bbox":
        raise ValueError("pycocotools knows no turned boxes: leave use_fast_impl=True")
    entries = results_as_entries(results)
    if any(_mixed(ids) for ids in (image_ids, truth.coco.imgs, truth.category_ids)):
        return _by_pycocotools(*_numbered(truth, entries, settings, image_ids))
    return _by_pycocotools(truth, entries, settings, image_ids)


def _by_pycocotools(
    truth: CocoGroundTruth,
    results: Sequence[dict[str, Any]],
    settings: CocoSettings,
    image_ids: Sequence[Any],
) -> CocoPrecisionRecall:
    wanted = _with_annotations(
        # pycocotools writes into the entries, so they are copied.
        truth.coco,
        [dict(a) for a in completed(truth, truth.coco.dataset["annotations"], settings)],
    )
    parameters = settings.official(image_ids, truth.category_ids)
    kind = _BoundaryEvaluation if settings.task == "boundary" else COCOeval
    evaluation = kind(wanted, _load_results(wanted, results, settings), parameters.iouType)
    evaluation.params = parameters
    if isinstance(evaluation, _BoundaryEvaluation):
        evaluation.ratio = settings.boundary_ratio
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


class _BoundaryEvaluation(COCOeval):
    """pycocotools' evaluation of masks that also compares their outlines.

    Attributes:
        ratio: width of an outline as a share of the image's diagonal.
    """

    ratio = 0.02

    def computeIoU(self, imgId: Any, catId: Any) -> Any:
        masks = super().computeIoU(imgId, catId)
        if len(masks) == 0:
            return masks
        truths = self._gts[imgId, catId]
        found = sorted(self._dts[imgId, catId], key=lambda entry: -entry["score"])
        outlines = boundary_iou(
            [entry["segmentation"] for entry in found[: self.params.maxDets[-1]]],
            [entry["segmentation"] for entry in truths],
            [bool(entry["iscrowd"]) for entry in truths],
            self.ratio,
        )
        return np.minimum(masks, outlines)


def _with_annotations(coco: COCO, annotations: list[dict[str, Any]]) -> COCO:
    """An index of the same images and categories with other annotations."""
    other = COCO()
    other.dataset = {**coco.dataset, "annotations": annotations}
    with _quietly():
        other.createIndex()
    return other


def _mixed(ids: Iterable[Any]) -> bool:
    """Whether there is text among numbers, which pycocotools cannot sort."""
    return len({isinstance(identity, str) for identity in ids}) > 1


def _numbered(
    truth: CocoGroundTruth,
    results: Sequence[dict[str, Any]],
    settings: CocoSettings,
    image_ids: Sequence[Any],
) -> tuple[CocoGroundTruth, list[dict[str, Any]], CocoSettings, list[Any]]:
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
    numbered = attrs.evolve(truth, coco=coco, category_ids=category_ids)
    known = [images[image] for image in image_ids if image in images]
    return numbered, [renamed(result) for result in results], settings, known


def _load_results(truth: COCO, results: Sequence[dict[str, Any]], settings: CocoSettings) -> COCO:
    """pycocotools' index of the results; it writes into the entries."""
    entries = list(results)
    if FIELDS[settings.task] == "segmentation":
        # With a box present pycocotools would take its area for the mask's.
        for entry in entries:
            entry.pop("bbox", None)
    if not entries:
        return _with_annotations(truth, [])
    with _quietly():
        return truth.loadRes(entries)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Send what pycocotools prints to the log."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        yield
    for line in output.getvalue().splitlines():
        if line.strip():
            _logger.debug("pycocotools: %s", line)
