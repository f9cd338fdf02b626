"""The metrics that the metadata of a dataset asks for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from d2_eval.cityscapes import CityscapesInstanceEvaluator, CityscapesSemSegEvaluator
from d2_eval.coco import COCOEvaluator, RotatedCOCOEvaluator
from d2_eval.dataset_metadata import metadata_of
from d2_eval.evaluator import DatasetEvaluator
from d2_eval.lvis import LVISEvaluator
from d2_eval.panoptic_evaluation import COCOPanopticEvaluator
from d2_eval.pascal_voc import PascalVOCDetectionEvaluator
from d2_eval.semantic_evaluation import SemSegEvaluator

Make = Callable[..., DatasetEvaluator]

EVALUATORS: Mapping[str, tuple[Make, ...]] = MappingProxyType(
    {
        "ade20k_panoptic_seg": (SemSegEvaluator, COCOPanopticEvaluator),
        "cityscapes_instance": (CityscapesInstanceEvaluator,),
        "cityscapes_panoptic_seg": (
            CityscapesSemSegEvaluator,
            CityscapesInstanceEvaluator,
            COCOPanopticEvaluator,
        ),
        "cityscapes_sem_seg": (CityscapesSemSegEvaluator,),
        "coco": (COCOEvaluator,),
        "coco_panoptic_seg": (COCOEvaluator, SemSegEvaluator, COCOPanopticEvaluator),
        "lvis": (LVISEvaluator,),
        "pascal_voc": (PascalVOCDetectionEvaluator,),
        "rotated_coco": (RotatedCOCOEvaluator,),
        "sem_seg": (SemSegEvaluator,),
    }
)
"""What each ``evaluator_type`` of a dataset's metadata asks for."""

_WITHOUT_FILES = (
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
    PascalVOCDetectionEvaluator,
)


def standard_evaluators(
    dataset_name: str | Sequence[str],
    output_dir: str | os.PathLike[str] | None = None,
    *,
    kpt_oks_sigmas: Sequence[float] = (),
) -> list[DatasetEvaluator]:
    """Return the evaluators for a dataset's ``evaluator_type``, by default COCO's.

    Args:
        dataset_name: its name in the catalogs, or a list of names; most metrics are of one.
        output_dir: where those that write files do so; None writes none.
        kpt_oks_sigmas: one for each keypoint; by default those of COCO's persons.

    Raises:
        KeyError: if a dataset is not registered.
        ValueError: if a type is not known, or several datasets have different ones.
    """
    names = [dataset_name] if isinstance(dataset_name, str) else list(dataset_name)
    kinds = {name: _kind(name) for name in names}
    if len(set(kinds.values())) != 1:
        raise ValueError(
            "the evaluators of several datasets follow from one 'evaluator_type' of their "
            f"metadata, got {kinds or 'no dataset'}; name an evaluator for each"
        )
    kind = kinds[names[0]]
    if kind not in EVALUATORS:
        raise ValueError(
            f"there are no standard metrics for the evaluator_type {kind!r} of the dataset "
            f"{names[0]!r}; there are for {list(EVALUATORS)}. Overwrite "
            "build_evaluator(cfg, dataset_name), or name an evaluator in dataloader.evaluator"
        )
    evaluators = []
    for make in EVALUATORS[kind]:
        options: dict[str, Any] = {} if make in _WITHOUT_FILES else {"output_dir": output_dir}
        if make is COCOEvaluator:
            options["kpt_oks_sigmas"] = tuple(kpt_oks_sigmas)
        evaluators.append(make(names[0] if len(names) == 1 else names, **options))
    return evaluators


def _kind(name: str) -> str:
    kind: str = metadata_of(name).get("evaluator_type") or "coco"
    return kind
