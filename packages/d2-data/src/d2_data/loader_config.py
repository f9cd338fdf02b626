"""What a yacs-style config says about loaders, as their arguments."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import IterableDataset

from d2_config import CfgNode
from d2_data.dataset_mapper import DatasetMapper
from d2_data.samplers import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from d2_data.shared_reading import shared_detection_dataset


def arguments_for_training(
    cfg: CfgNode, mapper: Any = None, *, dataset: Any = None, sampler: Any = None
) -> dict[str, Any]:
    """Arguments of ``build_detection_train_loader``.

    Args:
        cfg: read are ``DATASETS``, ``DATALOADER``, ``SOLVER.IMS_PER_BATCH`` and ``SEED``, and
            what the model makes use of. ``DATALOADER.RANDOM_SUBSET_RATIO``, where a config has it,
            is the share of the dataset that a RandomSubsetTrainingSampler uses.
        mapper: by default ``DatasetMapper(cfg, is_train=True)``.
        dataset: by default the datasets ``DATASETS.TRAIN``.
        sampler: by default the one that ``DATALOADER.SAMPLER_TRAIN`` names.

    Raises:
        ValueError: if the sampler is unknown or cannot order the dataset, or a dataset is empty.
    """
    if dataset is None:
        keypoints = cfg.MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE
        dataset = shared_detection_dataset(
            cfg.DATASETS.TRAIN,
            filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            min_keypoints=keypoints if cfg.MODEL.KEYPOINT_ON else 0,
            proposal_files=cfg.DATASETS.PROPOSAL_FILES_TRAIN if cfg.MODEL.LOAD_PROPOSALS else None,
        )
    seed = cfg.SEED if cfg.SEED >= 0 else None
    if sampler is None:
        sampler = _train_sampler(cfg, dataset, seed)
    return {
        "dataset": dataset,
        "sampler": sampler,
        "mapper": DatasetMapper(cfg, is_train=True) if mapper is None else mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "aspect_ratio_grouping": cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
        "seed": seed,
    }


def arguments_for_testing(
    cfg: CfgNode, dataset_name: str | Sequence[str], mapper: Any = None
) -> dict[str, Any]:
    """Arguments of ``build_detection_test_loader``.

    Args:
        cfg: read are ``DATALOADER``, and ``DATASETS`` for files of proposals.
        dataset_name: one dataset or several.
        mapper: by default ``DatasetMapper(cfg, is_train=False)``.

    Raises:
        ValueError: if the model needs proposals, and a dataset is none of ``DATASETS.TEST``.
    """
    names = [dataset_name] if isinstance(dataset_name, str) else list(dataset_name)
    return {
        "dataset": shared_detection_dataset(
            names,
            filter_empty=False,
            proposal_files=_test_proposals(cfg, names) if cfg.MODEL.LOAD_PROPOSALS else None,
        ),
        "mapper": DatasetMapper(cfg, is_train=False) if mapper is None else mapper,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


def _train_sampler(cfg: CfgNode, dataset: Any, seed: int | None) -> Any:
    name = cfg.DATALOADER.SAMPLER_TRAIN
    if isinstance(dataset, IterableDataset):
        if name != "TrainingSampler":
            raise ValueError(
                f"DATALOADER.SAMPLER_TRAIN is {name!r}, but an iterable dataset has an order of "
                "its own; leave the sampler at TrainingSampler, or register a list"
            )
        return None
    if name == "TrainingSampler":
        return TrainingSampler(len(dataset), seed=seed)
    if name == "RepeatFactorTrainingSampler":
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dataset, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
        )
        return RepeatFactorTrainingSampler(factors, seed=seed)
    if name == "RandomSubsetTrainingSampler":
        ratio = cfg.DATALOADER.get("RANDOM_SUBSET_RATIO", 1.0)
        return RandomSubsetTrainingSampler(len(dataset), ratio, seed_shuffle=seed, seed_subset=seed)
    raise ValueError(
        f"DATALOADER.SAMPLER_TRAIN is {name!r}; known are TrainingSampler, "
        "RepeatFactorTrainingSampler and RandomSubsetTrainingSampler. Pass another as sampler="
    )


def _test_proposals(cfg: CfgNode, names: Sequence[str]) -> list[str]:
    known = dict(zip(cfg.DATASETS.TEST, cfg.DATASETS.PROPOSAL_FILES_TEST, strict=True))
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"there are no proposals for {', '.join(unknown)}: name it in DATASETS.TEST, and its "
            "file in DATASETS.PROPOSAL_FILES_TEST"
        )
    return [known[name] for name in names]
