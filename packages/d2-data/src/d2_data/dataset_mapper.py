"""From a light dataset dict to what a model takes."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from d2_config import CfgNode, configurable
from d2_data import detection_utils as utils
from d2_data.formats import read_label_map
from d2_data.transforms import (
    AugInput,
    Augmentation,
    AugmentationList,
    RandomCrop,
    Transform,
)

__all__ = ["DatasetMapper"]

_logger = logging.getLogger(__name__)


class DatasetMapper:
    """Turns a dict in the standard dataset format into a model's input.

    It reads the image, augments it and its annotations alike, and makes tensors and
    ``Instances`` of them.

    Args:
        is_train: whether the result is for training; otherwise annotations are left out.
        augmentations: policies or transforms, in the order of application.
        image_format: a format of :func:`~d2_data.detection_utils.read_image`.
        use_instance_mask: whether to process segmentations of instances, where present.
        use_keypoint: whether to process keypoints, where present.
        instance_mask_format: "polygon" or "bitmask".
        keypoint_hflip_indices: see
            :func:`~d2_data.detection_utils.create_keypoint_hflip_indices`.
        precomputed_proposal_topk: when given, precomputed proposals are loaded and this
            many kept for each image.
        recompute_boxes: whether boxes become the tight boxes of the masks; needs
            ``use_instance_mask``.

    It can also be called with a yacs-style config, ``DatasetMapper(cfg, is_train=True)``, and
    arguments beside it win: see :meth:`from_config`.

    Example:
        >>> mapper = DatasetMapper(
        ...     is_train=True,
        ...     augmentations=[ResizeShortestEdge(800, 1333), RandomFlip()],
        ...     image_format="BGR",
        ... )
        >>> mapper(DatasetCatalog.get("shapes_train")[0])["image"].shape
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[Augmentation | Transform],
        image_format: str,
        use_instance_mask: bool = False,
        use_keypoint: bool = False,
        instance_mask_format: str = "polygon",
        keypoint_hflip_indices: np.ndarray | Sequence[int] | None = None,
        precomputed_proposal_topk: int | None = None,
        recompute_boxes: bool = False,
    ) -> None:
        if recompute_boxes and not use_instance_mask:
            raise ValueError("DatasetMapper: recompute_boxes=True needs use_instance_mask=True")
        if instance_mask_format not in ("polygon", "bitmask"):
            raise ValueError(
                "DatasetMapper: instance_mask_format is 'polygon' or 'bitmask', got "
                f"{instance_mask_format!r}"
            )
        self.is_train = is_train
        self.augmentations = AugmentationList(augmentations)
        self.image_format = image_format
        self.use_instance_mask = use_instance_mask
        self.use_keypoint = use_keypoint
        self.instance_mask_format = instance_mask_format
        self.keypoint_hflip_indices = keypoint_hflip_indices
        self.proposal_topk = precomputed_proposal_topk
        self.recompute_boxes = recompute_boxes
        mode = "training" if is_train else "inference"
        _logger.info("Augmentations in %s: %s", mode, self.augmentations)

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Map one dict.

        Args:
            dataset_dict: in the standard dataset format; stays as it is.

        Returns:
            The fields of ``dataset_dict`` without annotations, and ``image`` (C, H, W);
            in training ``instances`` and ``sem_seg`` (H, W) int64, where annotated;
            ``proposals`` where wanted.

        Raises:
            OSError: if a file cannot be read.
            SizeMismatchError: if the image is not of the recorded size.
        """
        dataset_dict = copy.copy(dataset_dict)
        annotations = dataset_dict.pop("annotations", None)
        sem_seg_file = dataset_dict.pop("sem_seg_file_name", None)
        image = utils.read_image(dataset_dict["file_name"], format=self.image_format)
        utils.check_image_size(dataset_dict, image)
        sem_seg = None
        if sem_seg_file is not None and self.is_train:
            sem_seg = read_label_map(sem_seg_file)

        augmented = AugInput(image, sem_seg=sem_seg)
        transforms = self.augmentations(augmented)
        image_size = augmented.image.shape[:2]
        dataset_dict["image"] = utils.image_to_tensor(augmented.image)
        if augmented.sem_seg is not None:
            labels = utils.image_to_tensor(augmented.sem_seg)[0]
            dataset_dict["sem_seg"] = labels.to(torch.int64)
        if self.proposal_topk is not None:
            utils.transform_proposals(
                dataset_dict, image_size, transforms, proposal_topk=self.proposal_topk
            )
        if self.is_train and annotations is not None:
            dataset_dict["instances"] = self._instances(annotations, transforms, image_size)
        return dataset_dict

    def _instances(
        self,
        annotations: Sequence[dict[str, Any]],
        transforms: Transform,
        image_size: tuple[int, int],
    ) -> Any:
        """Targets of the annotations that are not crowds and are left in the image."""
        unused = {"segmentation"} if not self.use_instance_mask else set()
        if not self.use_keypoint:
            unused.add("keypoints")
        moved = [
            utils.transform_instance_annotations(
                {key: value for key, value in annotation.items() if key not in unused},
                transforms,
                image_size,
                keypoint_hflip_indices=self.keypoint_hflip_indices,
            )
            for annotation in annotations
            if annotation.get("iscrowd", 0) == 0
        ]
        instances = utils.annotations_to_instances(
            moved, image_size, mask_format=self.instance_mask_format
        )
        # A crop leaves a part of an object: its mask, unlike its box, knows the part's extent.
        if self.recompute_boxes and instances.has("gt_masks"):
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        return utils.filter_empty_instances(instances)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Take the arguments from ``INPUT``, ``DATASETS`` and what the model makes use of."""
        augmentations = utils.build_augmentation(cfg, is_train)
        crop = cfg.INPUT.CROP.ENABLED and is_train
        if crop:
            augmentations.insert(0, RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        arguments: dict[str, Any] = {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "use_instance_mask": cfg.MODEL.MASK_ON,
            "instance_mask_format": cfg.INPUT.MASK_FORMAT,
            "use_keypoint": cfg.MODEL.KEYPOINT_ON,
            "recompute_boxes": crop and cfg.MODEL.MASK_ON,
        }
        if cfg.MODEL.KEYPOINT_ON and is_train:
            arguments["keypoint_hflip_indices"] = utils.create_keypoint_hflip_indices(
                cfg.DATASETS.TRAIN
            )
        if cfg.MODEL.LOAD_PROPOSALS:
            split = "TRAIN" if is_train else "TEST"
            arguments["precomputed_proposal_topk"] = cfg.DATASETS[
                f"PRECOMPUTED_PROPOSAL_TOPK_{split}"
            ]
        return arguments
