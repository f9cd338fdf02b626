"""Pictures of a run: what the model sees, and how well, and how it learned."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from d2_data import get_detection_dataset_dicts
from d2_data.detection_utils import read_image
from d2_engine.defaults.predictor import DefaultPredictor
from d2_engine.run.folder import INFERENCE, METRICS, folder_of_test_set
from d2_engine.run.plan import RunPlan, TestSet
from d2_eval import COCOEvaluator, DatasetEvaluator
from d2_eval.report import contact_sheet, loss_curves, precision_recall_plot
from d2_eval.report import write as write_page

_logger = logging.getLogger(__name__)

CONTACT_SHEET = "contact_sheet.png"
PRECISION_RECALL = "precision_recall.png"
LOSS_CURVES = "loss_curves.png"


def write_report(
    plan: RunPlan,
    model: nn.Module,
    evaluators: Sequence[DatasetEvaluator],
    *,
    num_pictures: int = 18,
) -> None:
    """Write ``contact_sheet.png`` and the plots that can be drawn into the run's folder.

    The sheet shows images of the first test set, evenly spread over it, annotations beside
    predictions. Precision–recall and loss curves need matplotlib; without it a line in the log
    says so.

    Args:
        plan: of the run.
        model: the trained model.
        evaluators: of the test sets; those that have ``curves`` are plotted.
        num_pictures: number of test images on the sheet.
    """
    folder = Path(plan.output_dir)
    if plan.test_sets and plan.preprocessing is not None:
        _write_contact_sheet(plan, model, plan.test_sets[0], num_pictures)
    curves: Any = next((c for e in evaluators if (c := getattr(e, "curves", None))), None)
    try:
        if curves:
            _logger.info("Wrote %s", precision_recall_plot(curves, folder / PRECISION_RECALL))
        if (folder / METRICS).is_file():
            _logger.info("Wrote %s", loss_curves(folder / METRICS, folder / LOSS_CURVES))
    except ImportError as error:
        _logger.warning("No plots: %s", error)


def write_pages(
    plan: RunPlan,
    folder: str | os.PathLike[str],
    compare_with: str | os.PathLike[str] | None = None,
) -> list[Path]:
    """Write a page for each test set whose predictions were evaluated as COCO's are.

    Args:
        plan: of the run, which has been evaluated.
        folder: where the page goes; with several test sets, into a folder below for each.
        compare_with: a file of other predictions for the same test set.

    Returns:
        The pages. A line in the log names the test sets without one.
    """
    pages = []
    for test in plan.test_sets:
        of_test = folder_of_test_set(plan, test)
        results = Path(of_test, INFERENCE, COCOEvaluator.RESULTS_FILE)
        if not results.is_file() or len(test.datasets) != 1:
            _logger.warning("No report of %s: it has no results in COCO's format", test.name)
            continue
        below = os.path.relpath(of_test, plan.output_dir)
        pages.append(
            write_page(
                Path(folder, below),
                test.datasets[0],
                results,
                compare_with=compare_with,
                title=test.name,
            )
        )
        _logger.info("Wrote %s", pages[-1])
    return pages


def _write_contact_sheet(plan: RunPlan, model: nn.Module, test: TestSet, number: int) -> None:
    if not test.datasets:
        return
    assert plan.preprocessing is not None
    records = get_detection_dataset_dicts(test.datasets, filter_empty=False)
    records = [record for record in records if record.get("annotations")]
    step = max(1, len(records) // number)
    records = records[::step][:number]
    predictor = DefaultPredictor.of(model, plan.preprocessing, test.metadata)
    outputs = [predictor(read_image(record["file_name"], format="BGR")) for record in records]
    if not outputs or "instances" not in outputs[0]:
        return
    predictions = [output["instances"].to("cpu") for output in outputs]
    path = contact_sheet(Path(plan.output_dir, CONTACT_SHEET), records, predictions, test.metadata)
    _logger.info("Wrote %s", path)
