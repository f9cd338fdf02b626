"""COCO's metrics: of an evaluator, of result files, with curves."""

from d2_eval.coco.curves import CocoCurves
from d2_eval.coco.evaluation import COCOEvaluator, RotatedCOCOEvaluator
from d2_eval.coco.files import evaluate_coco_files
from d2_eval.coco.ground_truth import CocoGroundTruth
from d2_eval.coco.metric import CocoMetric
from d2_eval.coco.predictions import instances_to_coco_json
from d2_eval.coco.result_entries import results_as_entries
from d2_eval.coco.results import evaluate_coco_results
from d2_eval.coco.settings import CocoSettings

__all__ = [
    "COCOEvaluator",
    "CocoCurves",
    "CocoGroundTruth",
    "CocoMetric",
    "CocoSettings",
    "RotatedCOCOEvaluator",
    "evaluate_coco_files",
    "evaluate_coco_results",
    "instances_to_coco_json",
    "results_as_entries",
]
