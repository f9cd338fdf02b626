"""Detection, segmentation and keypoint metrics, and their reports."""

from d2_data.datasets import convert_to_coco_dict, convert_to_coco_json
from d2_eval.cityscapes import CityscapesInstanceEvaluator, CityscapesSemSegEvaluator
from d2_eval.coco import (
    CocoCurves,
    COCOEvaluator,
    CocoGroundTruth,
    CocoMetric,
    CocoSettings,
    RotatedCOCOEvaluator,
    evaluate_coco_files,
    evaluate_coco_results,
    instances_to_coco_json,
    results_as_entries,
)
from d2_eval.evaluator import DatasetEvaluator, DatasetEvaluators
from d2_eval.files import evaluate_files
from d2_eval.inference import inference_context, inference_on_dataset
from d2_eval.live import progress
from d2_eval.lvis import LVISEvaluator, evaluate_lvis_files, evaluate_lvis_results
from d2_eval.panoptic_evaluation import COCOPanopticEvaluator
from d2_eval.panoptic_files import evaluate_panoptic_files
from d2_eval.panoptic_quality import PanopticQuality
from d2_eval.pascal_voc import PascalVOCDetectionEvaluator
from d2_eval.results import flatten_results_dict, print_csv_format, verify_results
from d2_eval.semantic_evaluation import SemSegEvaluator
from d2_eval.semantic_files import evaluate_semantic_files
from d2_eval.standard_evaluators import standard_evaluators

__all__ = [
    "COCOEvaluator",
    "COCOPanopticEvaluator",
    "CityscapesInstanceEvaluator",
    "CityscapesSemSegEvaluator",
    "CocoCurves",
    "CocoGroundTruth",
    "CocoMetric",
    "CocoSettings",
    "DatasetEvaluator",
    "DatasetEvaluators",
    "LVISEvaluator",
    "PanopticQuality",
    "PascalVOCDetectionEvaluator",
    "RotatedCOCOEvaluator",
    "SemSegEvaluator",
    "convert_to_coco_dict",
    "convert_to_coco_json",
    "evaluate_coco_files",
    "evaluate_coco_results",
    "evaluate_files",
    "evaluate_lvis_files",
    "evaluate_lvis_results",
    "evaluate_panoptic_files",
    "evaluate_semantic_files",
    "flatten_results_dict",
    "inference_context",
    "inference_on_dataset",
    "instances_to_coco_json",
    "print_csv_format",
    "progress",
    "results_as_entries",
    "standard_evaluators",
    "verify_results",
]
