"""The plan of a run that a yacs-style config describes."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from d2_config import CfgNode
from d2_data import MetadataCatalog, build_detection_test_loader, build_detection_train_loader
from d2_data.detection_utils import build_augmentation, get_fed_loss_cls_weights
from d2_data.transforms import AugmentationList
from d2_engine.run.folder import INFERENCE
from d2_engine.run.plan import Count, Evaluators, Preprocessing, RunPlan, TestSet, TrainData
from d2_engine.run.project_mappers import project_mapper
from d2_engine.run.settings import YacsSettings
from d2_engine.run_options import RunOptions, read_options
from d2_engine.solver import build_lr_scheduler, build_optimizer, layer_decay_factor
from d2_engine.test_time_augmentation import GeneralizedRCNNWithTTA
from d2_eval import standard_evaluators
from d2_modeling import build_model
from d2_modeling.panoptic_deeplab import PanopticDeepLab
from d2_modeling.roi_heads import federated_class_weights

_COUNTS = {
    "GeneralizedRCNN": ("MODEL.ROI_HEADS.NUM_CLASSES",),
    "PanopticFPN": ("MODEL.ROI_HEADS.NUM_CLASSES", "MODEL.SEM_SEG_HEAD.NUM_CLASSES"),
    "RetinaNet": ("MODEL.RETINANET.NUM_CLASSES",),
    "SemanticSegmentor": ("MODEL.SEM_SEG_HEAD.NUM_CLASSES",),
}
"""Meta-architecture -> the numbers of classes that it reads."""

_KEYPOINTS = "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS"


class YacsParts:
    """What parts a yacs-style config stands for; overwrite where a standard part does not fit."""

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Return the model; by default :func:`d2_modeling.build_model`."""
        power = cfg.MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER
        with federated_class_weights(lambda: get_fed_loss_cls_weights(cfg.DATASETS.TRAIN, power)):
            model = build_model(cfg)
        if isinstance(model, PanopticDeepLab):
            _tell_things(model, [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> Optimizer:
        """Return the optimizer; by default :func:`d2_engine.solver.build_optimizer`."""
        options = run_options(cfg)
        factor = layer_decay_factor(model, options.layer_decay) if options.layer_decay < 1 else None
        return build_optimizer(cfg, model, lr_factor_func=factor)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: Optimizer) -> LRScheduler:
        """Return the schedule; by default :func:`d2_engine.solver.build_lr_scheduler`."""
        return build_lr_scheduler(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[Any]:
        """Return the training data; by default :func:`d2_data.build_detection_train_loader`.

        Configs of the documented projects get the mapper that their models are trained with.
        """
        mapper = project_mapper(cfg)
        given = {} if mapper is None else {"mapper": mapper}
        loader: Iterable[Any] = build_detection_train_loader(cfg, **given)
        return loader

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        """Return a test set; by default :func:`d2_data.build_detection_test_loader`."""
        return build_detection_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> Evaluators:
        """Return the evaluators that the metadata of a test set asks for."""
        return standard_evaluators(
            dataset_name,
            f"{cfg.OUTPUT_DIR}/{INFERENCE}",
            kpt_oks_sigmas=cfg.TEST.KEYPOINT_OKS_SIGMAS,
        )


def _tell_things(model: PanopticDeepLab, datasets: Sequence[str]) -> None:
    """Tell a model which classes of its first dataset are things."""
    for name in datasets[:1]:
        metadata = MetadataCatalog.get(name)
        model.thing_ids = set(metadata.thing_dataset_id_to_contiguous_id.values())
        model.label_divisor = metadata.get("label_divisor", model.label_divisor)


def from_yacs(cfg: CfgNode, parts: type[YacsParts] = YacsParts) -> RunPlan:
    """Return the plan of a run that a yacs-style config describes.

    Args:
        cfg: with all keys of ``get_cfg()``, and maybe ``RUN``: see
            :class:`~d2_engine.run_options.RunOptions`.
        parts: makes the parts from the config, e.g. a :class:`~d2_engine.defaults.DefaultTrainer`
            of one's own.

    Raises:
        ValueError: if an option in ``RUN`` is out of range.
    """
    settings = YacsSettings(cfg)
    solver, test = cfg.SOLVER, cfg.TEST
    return RunPlan(
        settings=settings,
        output_dir=cfg.OUTPUT_DIR,
        weights=cfg.MODEL.WEIGHTS or "",
        seed=cfg.SEED if cfg.SEED >= 0 else None,
        device=cfg.MODEL.DEVICE,
        model=partial(parts.build_model, cfg),
        train_data=TrainData(
            datasets=tuple(cfg.DATASETS.TRAIN),
            loader=partial(parts.build_train_loader, cfg),
            batch_size=solver.IMS_PER_BATCH,
        ),
        test_sets=tuple(_test_set(cfg, parts, name) for name in cfg.DATASETS.TEST),
        optimizer=partial(parts.build_optimizer, cfg),
        schedule=partial(parts.build_lr_scheduler, cfg),
        counts=_counts(settings),
        preprocessing=Preprocessing(
            augmentations=lambda: AugmentationList(build_augmentation(cfg, is_train=False)),
            image_format=cfg.INPUT.FORMAT,
        ),
        max_iter=solver.MAX_ITER,
        checkpoint_period=solver.CHECKPOINT_PERIOD,
        eval_period=test.EVAL_PERIOD,
        mixed_precision=solver.AMP.ENABLED,
        ddp={"broadcast_buffers": False},
        precise_bn=test.PRECISE_BN.NUM_ITER if test.PRECISE_BN.ENABLED else 0,
        augmented=partial(GeneralizedRCNNWithTTA, cfg) if test.AUG.ENABLED else None,
        expected_results=tuple(test.EXPECTED_RESULTS),
        options=run_options(cfg),
        adapter=lambda changed: from_yacs(changed.cfg, parts),
    )


def run_options(cfg: CfgNode) -> RunOptions:
    """Return the options in a config's ``RUN``; the defaults where it has none."""
    given = {key.lower(): value for key, value in cfg.get("RUN", {}).items()}
    return read_options(given, "RUN.{}")


def _test_set(cfg: CfgNode, parts: type[YacsParts], name: str) -> TestSet:
    def evaluators(folder: str) -> Evaluators:
        # Parts know the folder as OUTPUT_DIR/inference.
        elsewhere = YacsSettings(cfg).with_(output_dir=folder).cfg
        return parts.build_evaluator(elsewhere, name)

    return TestSet(
        name=name,
        datasets=(name,),
        loader=partial(parts.build_test_loader, cfg, name),
        evaluators=evaluators,
    )


def _counts(settings: YacsSettings) -> tuple[Count, ...]:
    options = _COUNTS.get(settings.cfg.MODEL.META_ARCHITECTURE, ())
    counts = [
        Count(option=option, value=settings.value(option), field=_field(option))
        for option in options
    ]
    if settings.cfg.MODEL.KEYPOINT_ON:
        counts.append(
            Count(option=_KEYPOINTS, value=settings.value(_KEYPOINTS), field="keypoint_names")
        )
    return tuple(counts)


def _field(option: str) -> str:
    return "stuff_classes" if "SEM_SEG" in option else "thing_classes"
