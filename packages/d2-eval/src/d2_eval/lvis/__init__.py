"""LVIS' metrics: of an evaluator, and of result files."""

from d2_eval.lvis.evaluation import LVISEvaluator
from d2_eval.lvis.files import evaluate_lvis_files
from d2_eval.lvis.results import evaluate_lvis_results, lvis_scores

__all__ = ["LVISEvaluator", "evaluate_lvis_files", "evaluate_lvis_results", "lvis_scores"]
