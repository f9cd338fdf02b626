"""COCO's official evaluation of a list of results; d2 evaluates without pycocotools' objects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.cocoeval import COCOeval


class COCOeval_opt(COCOeval):
    """The official evaluation by the name of detectron2's faster one; same numbers."""


def _evaluate_predictions_on_coco(
    coco_gt: Any,
    coco_results: list[dict[str, Any]],
    iou_type: str,
    kpt_oks_sigmas: Sequence[float] | None = None,
    cocoeval_fn: type[Any] = COCOeval_opt,
    img_ids: Sequence[int] | None = None,
    max_dets_per_image: Sequence[int] | None = None,
) -> Any:
    """Evaluate results in COCO's format; return the evaluation with its ``stats``."""
    if iou_type == "segm":
        # With its own box a mask would be sorted into sizes by the area of that.
        coco_results = [{k: v for k, v in r.items() if k != "bbox"} for r in coco_results]
    evaluation = cocoeval_fn(coco_gt, coco_gt.loadRes(coco_results), iou_type)
    if max_dets_per_image is not None:
        evaluation.params.maxDets = list(max_dets_per_image)
    if img_ids is not None:
        evaluation.params.imgIds = list(img_ids)
    if iou_type == "keypoints":
        if kpt_oks_sigmas:
            evaluation.params.kpt_oks_sigmas = np.array(kpt_oks_sigmas)
        _check_keypoints(coco_results, evaluation.params.kpt_oks_sigmas)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


def _check_keypoints(results: list[dict[str, Any]], sigmas: Any) -> None:
    count = len(results[0]["keypoints"]) // 3
    if count != len(sigmas):
        raise ValueError(
            f"the predictions have {count} keypoints, and there are {len(sigmas)} sigmas; give "
            "one for each in TEST.KEYPOINT_OKS_SIGMAS"
        )
