"""``detectron2.evaluation``."""

from d2_engine.compat.module_map import each, home

_FACE = "d2_eval"
_OFFICIAL = each(".shims.coco_evaluation", "COCOeval_opt", "COCOevalMaxDets")
_OWN = each(".shims.evaluators", "COCOEvaluator", "LVISEvaluator", "SemSegEvaluator")

MODULES = {
    "detectron2.evaluation": home(_FACE, names=_OWN),
    "detectron2.evaluation.cityscapes_evaluation": home(_FACE),
    "detectron2.evaluation.coco_evaluation": home(
        _FACE,
        names=_OWN | _OFFICIAL | each(".shims.coco_evaluation", "_evaluate_predictions_on_coco"),
    ),
    "detectron2.evaluation.evaluator": home(_FACE),
    "detectron2.evaluation.fast_eval_api": home(names=_OFFICIAL),
    "detectron2.evaluation.lvis_evaluation": home(_FACE, names=_OWN),
    "detectron2.evaluation.panoptic_evaluation": home(_FACE),
    "detectron2.evaluation.pascal_voc_evaluation": home(_FACE),
    "detectron2.evaluation.rotated_coco_evaluation": home(_FACE),
    "detectron2.evaluation.sem_seg_evaluation": home(
        _FACE, names=_OWN | each(".shims.ground_truth_forms", "load_image_into_numpy_array")
    ),
    "detectron2.evaluation.testing": home(_FACE),
}
