"""Make the versions of an image."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from d2_config import CfgNode, configurable
from d2_data.detection_utils import image_to_tensor
from d2_data.transforms import (
    AugInput,
    Augmentation,
    AugmentationList,
    NoOpTransform,
    RandomFlip,
    ResizeShortestEdge,
    ResizeTransform,
    Transform,
    TransformList,
)

DatasetDict = dict[str, Any]


class DatasetMapperTTA:
    """Make versions of an image: in several sizes, each also mirrored.

    It can also be called with a yacs-style config, whose ``TEST.AUG`` has the arguments.

    Args:
        min_sizes: lengths of the shorter edge, in pixels.
        max_size: longest length of the longer edge.
        flip: whether to mirror, left to right.
    """

    @configurable
    def __init__(self, min_sizes: Sequence[int], max_size: int, flip: bool) -> None:
        if not min_sizes:
            raise ValueError("DatasetMapperTTA wants at least one size, got none")
        self.min_sizes = tuple(min_sizes)
        self.max_size = max_size
        self.flip = flip

    def __call__(self, dataset_dict: DatasetDict) -> list[DatasetDict]:
        """Make the versions of one image.

        Args:
            dataset_dict: a model's input: ``image``, (C, H, W) uint8, and, if that has been
                resized, ``height`` and ``width`` of the original.

        Returns:
            ``len(min_sizes) * (2 if flip else 1)`` inputs: copies of ``dataset_dict`` with
            another ``image``, and with ``transforms``, a ``TransformList`` that leads from the
            original image to it.
        """
        image = dataset_dict["image"].permute(1, 2, 0).numpy()
        original = self._from_original(dataset_dict, image.shape[:2])
        return [
            self._version(dataset_dict, image, original, augmentations)
            for augmentations in self._augmentations()
        ]

    def _augmentations(self) -> Iterator[list[Augmentation]]:
        for min_size, mirrored in itertools.product(self.min_sizes, (False, True)):
            resize = ResizeShortestEdge(min_size, self.max_size)
            if not mirrored:
                yield [resize]
            elif self.flip:
                yield [resize, RandomFlip(prob=1.0)]

    @staticmethod
    def _from_original(dataset_dict: DatasetDict, shape: tuple[int, int]) -> Transform:
        height, width = dataset_dict.get("height", shape[0]), dataset_dict.get("width", shape[1])
        if (height, width) == shape:
            return NoOpTransform()
        return ResizeTransform(height, width, *shape)

    @staticmethod
    def _version(
        dataset_dict: DatasetDict,
        image: np.ndarray,
        original: Transform,
        augmentations: list[Augmentation],
    ) -> DatasetDict:
        augmented = AugInput(np.copy(image))
        transforms = AugmentationList(augmentations)(augmented)
        return {
            **dataset_dict,
            "image": image_to_tensor(augmented.image),
            "transforms": TransformList([original, transforms]),
        }

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments out of a config."""
        augmentation = cfg.TEST.AUG
        return {
            "min_sizes": augmentation.MIN_SIZES,
            "max_size": augmentation.MAX_SIZE,
            "flip": augmentation.FLIP,
        }
