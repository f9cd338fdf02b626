"""What a run needs, whatever kind of config it was described in."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from d2_data import Metadata, MetadataCatalog
from d2_data.transforms import AugmentationList
from d2_engine.run.settings import Settings
from d2_engine.run_options import RunOptions
from d2_engine.solver import ParamScheduler
from d2_engine.train_loop import HookBase, TrainerBase
from d2_eval import DatasetEvaluator

Evaluators = DatasetEvaluator | list[DatasetEvaluator] | None


@attrs.frozen(kw_only=True)
class TrainData:
    """The training data.

    Attributes:
        datasets: names in the catalogs; empty if the data comes from elsewhere.
        loader: makes the endless loader of batches.
        batch_size: images in a batch over all processes; None if it is not known.
    """

    datasets: tuple[str, ...]
    loader: Callable[[], Iterable[Any]]
    batch_size: int | None

    @property
    def metadata(self) -> Metadata:
        """Of the first dataset; it may know its classes only once the loader was made."""
        return metadata_of(self.datasets)


@attrs.frozen(kw_only=True)
class TestSet:
    """Data to evaluate on.

    Attributes:
        name: how results are labelled where there are several sets.
        datasets: names in the catalogs; empty if the data comes from elsewhere.
        loader: makes the loader, which gives each sample once.
        evaluators: makes the evaluators, which write into the folder that they are given.
    """

    __test__ = False  # not a test, whatever pytest makes of the name

    name: str
    datasets: tuple[str, ...]
    loader: Callable[[], Any]
    evaluators: Callable[[str], Evaluators]

    @property
    def metadata(self) -> Metadata:
        """Of the first dataset; it may know its classes only once the loader was made."""
        return metadata_of(self.datasets)


@attrs.frozen(kw_only=True)
class Count:
    """A size of the model that data decides.

    Attributes:
        option: what the config calls it, e.g. ``MODEL.ROI_HEADS.NUM_CLASSES``.
        value: the size; None takes it from the training data.
        field: the metadata that is counted, e.g. ``thing_classes``.
    """

    option: str
    value: int | None
    field: str


@attrs.frozen(kw_only=True)
class Preprocessing:
    """How a picture becomes what the model takes.

    Attributes:
        augmentations: makes the steps from picture to input, resizing in the first place.
        image_format: the order of the model's channels, ``"BGR"`` or ``"RGB"``.
    """

    augmentations: Callable[[], AugmentationList]
    image_format: str


@attrs.frozen(kw_only=True)
class RunPlan:
    """Everything that training, evaluation and prediction need to know.

    A config, yacs-style or lazy, is one way to make one (:func:`~d2_engine.run.from_config`); in
    Python one can be put together by hand or changed with ``attrs.evolve``. Parts are made when
    they are needed, by functions without arguments, so that a plan costs nothing.

    Attributes:
        settings: the config behind the plan, which is written to the run's folder.
        output_dir: the run's folder.
        weights: the checkpoint that the run begins with; "" for none.
        seed: of the run; None draws one.
        device: as in :func:`~d2_engine.devices.choose_device`.
        model: makes the model, on whatever device.
        train_data: None for a plan that only evaluates or predicts.
        test_sets: what to evaluate on; may be empty.
        optimizer: makes the optimizer of a model.
        schedule: makes the schedule of an optimizer's learning rates.
        trainer: makes the trainer from model, loader and optimizer, if not one of the usual.
        counts: sizes of the model that must fit the data.
        preprocessing: None if the model does not take single pictures.
        max_iter, checkpoint_period, eval_period, log_period: in iterations; ``eval_period`` 0
            evaluates at the end only.
        max_to_keep: number of periodic checkpoints to keep; None keeps all.
        mixed_precision: True, False, or ``"auto"`` for where it is faster.
        ddp: arguments of :func:`~d2_engine.defaults.create_ddp_model`.
        precise_bn: number of batches for precise statistics of batch norms; 0 for none.
        augmented: makes of a model one that detects in several versions of an image.
        expected_results: ``[task, metric, value, tolerance]`` that the evaluation has to meet.
        hooks: make further hooks, from the trainer.
        options: what both kinds of config have beyond the documented settings.
        learned: metadata of the training data, where a run's folder has kept it.
        adapter: makes the plan of other settings, where this one was made from a config.
    """

    settings: Settings
    output_dir: str
    weights: str = ""
    seed: int | None = None
    device: str = "auto"
    model: Callable[[], nn.Module]
    train_data: TrainData | None = None
    test_sets: tuple[TestSet, ...] = ()
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    schedule: Callable[[torch.optim.Optimizer], LRScheduler | ParamScheduler]
    trainer: Callable[..., TrainerBase] | None = None
    counts: tuple[Count, ...] = ()
    preprocessing: Preprocessing | None = None
    max_iter: int
    checkpoint_period: int = 5000
    max_to_keep: int | None = None
    eval_period: int = 0
    log_period: int = 20
    mixed_precision: bool | str = False
    ddp: Mapping[str, Any] = attrs.field(factory=dict)
    precise_bn: int = 0
    augmented: Callable[[nn.Module], nn.Module] | None = None
    expected_results: tuple[Any, ...] = ()
    hooks: tuple[Callable[[TrainerBase], HookBase], ...] = ()
    options: RunOptions = attrs.field(factory=RunOptions)
    learned: Metadata | None = None
    adapter: Callable[[Settings], "RunPlan"] | None = None

    def of(self, settings: Settings) -> "RunPlan":
        """Return the plan of changed settings.

        A plan that was made from a config is made anew, which undoes ``attrs.evolve``; one that was
        put together by hand takes the seed.
        """
        if settings is self.settings:
            return self
        if self.adapter is None:
            return attrs.evolve(self, settings=settings, seed=settings.get("seed"))
        return attrs.evolve(self.adapter(settings), learned=self.learned)

    @property
    def metadata(self) -> Metadata:
        """Of the data that the model is for: the training data's, else the first test set's."""
        if self.learned is not None:
            return self.learned
        if self.train_data is not None and self.train_data.datasets:
            return self.train_data.metadata
        return self.test_sets[0].metadata if self.test_sets else Metadata()


def metadata_of(datasets: tuple[str, ...]) -> Metadata:
    """Return the metadata of the first of some datasets; empty if there is none."""
    return MetadataCatalog.get(datasets[0]) if datasets else Metadata()
