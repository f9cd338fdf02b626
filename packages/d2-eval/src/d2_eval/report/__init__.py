"""Results as tables, pictures and a page."""

from d2_eval.report.annotation_page import annotation_page
from d2_eval.report.annotation_sheet import annotation_sheet
from d2_eval.report.contact_sheet import contact_sheet
from d2_eval.report.loss_curves import loss_curves
from d2_eval.report.precision_recall import precision_recall_plot
from d2_eval.report.run_report import write
from d2_eval.report.tables import class_table, format_table, results_table

__all__ = [
    "annotation_page",
    "annotation_sheet",
    "class_table",
    "contact_sheet",
    "format_table",
    "loss_curves",
    "precision_recall_plot",
    "results_table",
    "write",
]
