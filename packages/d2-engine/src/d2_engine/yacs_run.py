"""Train and evaluate the detector that a yacs-style config describes."""

import argparse
from typing import Any

from d2_config import CfgNode
from d2_data import MetadataCatalog
from d2_engine.checkpoint import DetectionCheckpointer
from d2_engine.defaults import DefaultTrainer, default_setup
from d2_engine.interruption import Interruption, StopOnInterruption, TrainingInterrupted
from d2_engine.run_folder import refuse_used_folder, save_metadata
from d2_eval import (
    COCOEvaluator,
    COCOPanopticEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    SemSegEvaluator,
)
from d2_structures import comm

Results = dict[str, Any]


class DetectionTrainer(DefaultTrainer):
    """:class:`DefaultTrainer` with the metrics that the metadata of a dataset asks for."""

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator | None:
        """Return the evaluators of the dataset's ``evaluator_type``, by default COCO's.

        Raises:
            NotImplementedError: for a type that is not known.
        """
        folder = f"{cfg.OUTPUT_DIR}/inference"
        kind = MetadataCatalog.get(dataset_name).get("evaluator_type", "coco")
        evaluators: list[DatasetEvaluator] = []
        if kind in ("coco", "coco_panoptic_seg"):
            sigmas = cfg.TEST.KEYPOINT_OKS_SIGMAS
            evaluators.append(COCOEvaluator(dataset_name, output_dir=folder, kpt_oks_sigmas=sigmas))
        if kind in ("sem_seg", "coco_panoptic_seg"):
            evaluators.append(SemSegEvaluator(dataset_name, output_dir=folder))
        if kind == "coco_panoptic_seg":
            evaluators.append(COCOPanopticEvaluator(dataset_name, folder))
        if not evaluators:
            return super().build_evaluator(cfg, dataset_name)
        return DatasetEvaluators(evaluators) if len(evaluators) > 1 else evaluators[0]


def train_yacs_detector(cfg: CfgNode, *, resume: bool = False) -> Results:
    """Train, evaluate, and leave the run's folder (see ``run_folder``) behind.

    On SIGINT or SIGTERM the iteration in progress is completed and a checkpoint saved.

    Args:
        cfg: the config; its folder is ``OUTPUT_DIR``.
        resume: continue from the folder's last checkpoint, if it has one.

    Returns:
        The results of the evaluation on the main process, else an empty dict.

    Raises:
        TrainingInterrupted: on a signal, after the checkpoint was saved.
        FileExistsError: if the folder holds another run and ``resume`` is false.
    """
    if not resume:
        refuse_used_folder(cfg.OUTPUT_DIR)
    with Interruption() as interruption:
        default_setup(cfg, argparse.Namespace(resume=resume))
        trainer = DetectionTrainer(cfg)
        if comm.is_main_process():
            save_metadata(cfg.OUTPUT_DIR, MetadataCatalog.get(cfg.DATASETS.TRAIN[0]))
        trainer.register_hooks([StopOnInterruption(interruption)])
        trainer.resume_or_load(resume=resume)
        try:
            return trainer.train() or {}
        except TrainingInterrupted:
            if trainer.iter < trainer.max_iter:
                trainer.checkpointer.save(f"model_{trainer.iter:07d}", iteration=trainer.iter)
            comm.synchronize()  # a process that ends ends the others: not while one is saving
            raise


def evaluate_yacs_detector(cfg: CfgNode) -> Results:
    """Evaluate the weights ``MODEL.WEIGHTS`` on the datasets ``DATASETS.TEST``.

    Returns:
        The results on the main process, else an empty dict.

    Raises:
        ValueError: if the weights are not those of the whole model.
    """
    model = DetectionTrainer.build_model(cfg)
    DetectionCheckpointer(model).load(cfg.MODEL.WEIGHTS, strict=True)
    return DetectionTrainer.test(cfg, model)
