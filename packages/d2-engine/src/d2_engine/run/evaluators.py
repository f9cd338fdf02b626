"""The metrics that the metadata of a dataset asks for."""

from collections.abc import Sequence

from d2_data import MetadataCatalog
from d2_eval import COCOEvaluator, COCOPanopticEvaluator, DatasetEvaluator, SemSegEvaluator


def standard_evaluators(
    dataset_name: str, folder: str, *, keypoint_oks_sigmas: Sequence[float] = ()
) -> list[DatasetEvaluator]:
    """Return the evaluators for a dataset's ``evaluator_type``, by default COCO's.

    Args:
        dataset_name: its name in the catalogs.
        folder: where they write.
        keypoint_oks_sigmas: one for each keypoint; by default those of COCO's persons.

    Raises:
        NotImplementedError: for a type that is not known; names it.
    """
    kind = MetadataCatalog.get(dataset_name).get("evaluator_type", "coco")
    evaluators: list[DatasetEvaluator] = []
    if kind in ("coco", "coco_panoptic_seg"):
        evaluators.append(
            COCOEvaluator(dataset_name, output_dir=folder, kpt_oks_sigmas=keypoint_oks_sigmas)
        )
    if kind in ("sem_seg", "coco_panoptic_seg", "ade20k_panoptic_seg"):
        evaluators.append(SemSegEvaluator(dataset_name, output_dir=folder))
    if kind in ("coco_panoptic_seg", "ade20k_panoptic_seg"):
        evaluators.append(COCOPanopticEvaluator(dataset_name, folder))
    if not evaluators:
        raise NotImplementedError(
            f"there are no standard metrics for the evaluator_type {kind!r} of the dataset "
            f"{dataset_name!r}: overwrite build_evaluator(cfg, dataset_name), or name an evaluator "
            "in dataloader.evaluator"
        )
    return evaluators
