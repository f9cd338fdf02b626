"""COCO 2017 with instance masks of things and semantic masks of stuff."""

from d2_config import LazyCall as L

from .coco import dataloader

dataloader.train.dataset.update(names="coco_2017_train_panoptic_separated", filter_empty=False)
dataloader.test.dataset.names = "coco_2017_val_panoptic_separated"
# Named, not imported: the rest of the config is of use without them.
dataloader.evaluator = [
    L(f"d2_eval.{evaluator}")(dataset_name="${...test.dataset.names}")
    for evaluator in ("COCOEvaluator", "SemSegEvaluator", "COCOPanopticEvaluator")
]
