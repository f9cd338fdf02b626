"""Pictures at the end of a run: what the model sees, and how well."""

import logging
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from d2_config import instantiate
from d2_data import MetadataCatalog
from d2_eval import inference_context
from d2_eval.report import contact_sheet, precision_recall_plot

logger = logging.getLogger(__name__)

CONTACT_SHEET = "contact_sheet.png"
PRECISION_RECALL = "precision_recall.png"


def write_report(
    cfg: DictConfig, model: nn.Module, evaluator: Any, *, num_pictures: int = 18
) -> None:
    """Write ``contact_sheet.png`` and ``precision_recall.png`` into ``train.output_dir``.

    The sheet shows test images evenly spread over the dataset, annotations beside
    predictions. The plot needs matplotlib; without it a line in the log says so.

    Args:
        cfg: the config of the run.
        model: the trained model.
        evaluator: has evaluated it; its ``curves`` are plotted if it has some.
        num_pictures: number of test images on the sheet.
    """
    folder = Path(cfg.train.output_dir)
    dataset = cfg.dataloader.test.dataset
    records = [r for r in instantiate(dataset) if r.get("annotations")]
    step = max(1, len(records) // num_pictures)
    records = records[::step][:num_pictures]
    if records:
        mapper = instantiate(cfg.dataloader.test.mapper)
        with inference_context(model), torch.inference_mode():
            predictions = [model([mapper(record)])[0]["instances"].to("cpu") for record in records]
        names = instantiate(dataset.names)
        metadata = MetadataCatalog.get(names if isinstance(names, str) else names[0])
        logger.info(
            "Wrote %s", contact_sheet(folder / CONTACT_SHEET, records, predictions, metadata)
        )
    curves = getattr(evaluator, "curves", None)
    if not curves:
        return
    try:
        logger.info("Wrote %s", precision_recall_plot(curves, folder / PRECISION_RECALL))
    except ImportError as error:
        logger.warning("No precision-recall plot: %s", error)
