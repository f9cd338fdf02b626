"""The mapper of Panoptic-DeepLab."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from d2_config import CfgNode, configurable
from d2_data import detection_utils as utils
from d2_data.catalog import MetadataCatalog
from d2_data.formats import decode_panoptic_png
from d2_data.panoptic.targets import PanopticDeepLabTargetGenerator
from d2_data.transforms import (
    AugInput,
    Augmentation,
    AugmentationList,
    RandomCrop,
    ResizeShortestEdge,
    Transform,
)

__all__ = ["PanopticDeeplabDatasetMapper"]


class PanopticDeeplabDatasetMapper:
    """Reads an image and its panoptic segmentation, augments both, and makes targets.

    Args:
        augmentations: applied to the image and to the map of its segments.
        image_format: order of the channels, ``"RGB"`` or ``"BGR"``.
        panoptic_target_generator: makes targets, see
            :class:`~d2_data.panoptic.targets.PanopticDeepLabTargetGenerator`.
    """

    @configurable
    def __init__(
        self,
        *,
        augmentations: Sequence[Augmentation | Transform],
        image_format: str,
        panoptic_target_generator: Callable[[np.ndarray, Any], dict[str, Any]],
    ) -> None:
        self.augmentations = AugmentationList(augmentations)
        self.image_format = image_format
        self.panoptic_target_generator = panoptic_target_generator

    def __call__(self, dataset_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Map a record to what the model trains on.

        Args:
            dataset_dict: with ``file_name``, ``pan_seg_file_name`` and ``segments_info``; it is
                not changed.

        Returns:
            The record with ``image`` (C, H, W) uint8 and the targets, without
            ``pan_seg_file_name``.
        """
        mapped = dict(dataset_dict)
        image = utils.read_image(mapped["file_name"], format=self.image_format)
        utils.check_image_size(mapped, image)
        segments = decode_panoptic_png(mapped.pop("pan_seg_file_name"))
        aug_input = AugInput(image, sem_seg=segments.astype(np.int32))
        self.augmentations(aug_input)
        assert aug_input.sem_seg is not None
        mapped["image"] = utils.image_to_tensor(aug_input.image)
        mapped.update(self.panoptic_target_generator(aug_input.sem_seg, mapped["segments_info"]))
        return mapped

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments out of a config with the options of Panoptic-DeepLab."""
        options = cfg.INPUT
        resize, *flips = utils.build_augmentation(cfg, is_train=True)
        assert isinstance(resize, ResizeShortestEdge)
        crops = [RandomCrop(options.CROP.TYPE, options.CROP.SIZE)] if options.CROP.ENABLED else []
        metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
        generator = PanopticDeepLabTargetGenerator(
            ignore_label=metadata.ignore_label,
            thing_ids=list(metadata.thing_dataset_id_to_contiguous_id.values()),
            sigma=options.GAUSSIAN_SIGMA,
            ignore_stuff_in_offset=options.IGNORE_STUFF_IN_OFFSET,
            small_instance_area=options.SMALL_INSTANCE_AREA,
            small_instance_weight=options.SMALL_INSTANCE_WEIGHT,
            ignore_crowd_in_semantic=options.IGNORE_CROWD_IN_SEMANTIC,
        )
        return {
            "augmentations": [resize, *crops, *flips],
            "image_format": options.FORMAT,
            "panoptic_target_generator": generator,
        }
