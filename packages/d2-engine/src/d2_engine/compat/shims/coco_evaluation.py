"""COCO's official evaluation of a list of results; d2 evaluates without pycocotools' objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval

_COUNTED = (1, 10, 100)


class COCOeval_opt(COCOeval):
    """The official evaluation by the name of detectron2's faster one; same numbers."""


class COCOevalMaxDets(COCOeval):
    """The official evaluation, whose summary is for other numbers of detections than 100."""

    def summarize(self) -> None:
        """Fill ``stats`` with the precision and recall of the largest number of detections."""
        limits = self.params.maxDets
        if self.params.iouType == "keypoints" or limits[-1] == _COUNTED[-1]:
            super().summarize()
            return
        largest = len(limits) - 1
        precision = [self._mean("precision", threshold=t) for t in (None, 0.5, 0.75)]
        precision += [self._mean("precision", area=a) for a in ("small", "medium", "large")]
        recall = [self._mean("recall", limit=limit) for limit in range(largest + 1)]
        recall += [self._mean("recall", area=a) for a in ("small", "medium", "large")]
        self.stats = np.array(precision + recall)

    def _mean(
        self, of: str, threshold: float | None = None, area: str = "all", limit: int = -1
    ) -> float:
        """The mean of what could be computed; -1 where nothing could."""
        values = self.eval[of][..., self.params.areaRngLbl.index(area), limit]
        if threshold is not None:
            values = values[np.isclose(self.params.iouThrs, threshold)]
        values = values[values > -1]
        return float(values.mean()) if values.size else -1.0


def _evaluate_predictions_on_coco(
    coco_gt: Any,
    coco_results: list[dict[str, Any]],
    iou_type: str,
    kpt_oks_sigmas: Sequence[float] | None = None,
    cocoeval_fn: Any = COCOeval_opt,
    img_ids: Sequence[int] | None = None,
    max_dets_per_image: Sequence[int] | int | None = None,
    use_fast_impl: bool = True,
) -> Any:
    """Evaluate results in COCO's format; return the evaluation with its ``stats``.

    Args:
        coco_gt: pycocotools' index of the annotations.
        coco_results: entries of COCO's result format.
        iou_type: ``"bbox"``, ``"segm"`` or ``"keypoints"``.
        kpt_oks_sigmas: of each keypoint; by default COCO's.
        cocoeval_fn: class of the evaluation; a bool, as ``use_fast_impl`` once was here, is
            accepted.
        img_ids: only these images.
        max_dets_per_image: three numbers, or the largest of them.
        use_fast_impl: accepted; there is one implementation.
    """
    if iou_type == "segm":
        # With its own box a mask would be sorted into sizes by the area of that.
        coco_results = [{k: v for k, v in r.items() if k != "bbox"} for r in coco_results]
    limits = _limits(max_dets_per_image)
    kind = COCOeval_opt if isinstance(cocoeval_fn, bool) else cocoeval_fn
    if limits[-1] != _COUNTED[-1]:
        kind = COCOevalMaxDets
    evaluation = kind(coco_gt, coco_gt.loadRes(coco_results), iou_type)
    if img_ids is not None:
        evaluation.params.imgIds = list(img_ids)
    if iou_type == "keypoints":
        if kpt_oks_sigmas:
            evaluation.params.kpt_oks_sigmas = np.array(kpt_oks_sigmas)
        _check_keypoints(coco_results, evaluation.params.kpt_oks_sigmas)
    else:
        evaluation.params.maxDets = limits
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def _limits(given: Sequence[int] | int | None) -> list[int]:
    if given is None:
        return list(_COUNTED)
    return [*_COUNTED[:2], given] if isinstance(given, int) else list(given)


def _check_keypoints(results: list[dict[str, Any]], sigmas: Any) -> None:
    count = len(results[0]["keypoints"]) // 3
    if count != len(sigmas):
        raise ValueError(
            f"the predictions have {count} keypoints, and there are {len(sigmas)} sigmas; give "
            "one for each in TEST.KEYPOINT_OKS_SIGMAS"
        )
