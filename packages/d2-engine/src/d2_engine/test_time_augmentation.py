"""Detect in several versions of an image, and merge what was found."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_data.detection_utils import image_to_tensor, read_image
from d2_data.transforms import (
    AugInput,
    Augmentation,
    AugmentationList,
    HFlipTransform,
    NoOpTransform,
    RandomFlip,
    ResizeShortestEdge,
    ResizeTransform,
    Transform,
    TransformList,
    VFlipTransform,
)
from d2_modeling import GeneralizedRCNN
from d2_modeling.postprocessing import detector_postprocess
from d2_modeling.roi_heads import fast_rcnn_inference
from d2_structures import Boxes, Instances

__all__ = ["DatasetMapperTTA", "GeneralizedRCNNWithTTA"]

DatasetDict = dict[str, Any]

# What each version found was above the model's threshold already.
_MIN_SCORE = 1e-8


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


class GeneralizedRCNNWithTTA(nn.Module):
    """A :class:`GeneralizedRCNN` that looks at several versions of each image.

    Boxes found in all versions are brought back to the original image and suppressed among each
    other. Masks are predicted for the boxes that are left, in each version, and averaged.

    Args:
        cfg: read are ``TEST.AUG`` and ``TEST.DETECTIONS_PER_IMAGE``, ``MODEL.MASK_ON``,
            ``MODEL.ROI_HEADS.NUM_CLASSES`` and ``NMS_THRESH_TEST``.
        model: in evaluation mode when it is used, maybe in DistributedDataParallel.
        tta_mapper: takes a model's input for one image, returns inputs for its versions, each
            with ``transforms``, which must have inverses; by default ``DatasetMapperTTA(cfg)``.
        batch_size: how many versions go through the model together.

    Raises:
        TypeError: if the model is not a :class:`GeneralizedRCNN`.
        ValueError: if the model finds keypoints, or takes precomputed proposals.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        tta_mapper: Callable[[DatasetDict], list[DatasetDict]] | None = None,
        batch_size: int = 3,
    ) -> None:
        super().__init__()
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        if not isinstance(model, GeneralizedRCNN):
            raise TypeError(
                "test-time augmentation is for GeneralizedRCNN, got a model of class "
                f"{type(model).__name__}"
            )
        for key in ("KEYPOINT_ON", "LOAD_PROPOSALS"):
            if cfg.MODEL[key]:
                raise ValueError(f"test-time augmentation does not work with MODEL.{key}=True")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.model: Any = model
        self.tta_mapper = DatasetMapperTTA(cfg) if tta_mapper is None else tta_mapper
        self.batch_size = batch_size
        self._mask_on = cfg.MODEL.MASK_ON
        self._num_classes = cfg.MODEL.ROI_HEADS.NUM_CLASSES
        self._nms_thresh = cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST
        self._topk = cfg.TEST.DETECTIONS_PER_IMAGE

    @torch.no_grad()
    def forward(self, batched_inputs: Sequence[DatasetDict]) -> list[dict[str, Instances]]:
        """Detect.

        Args:
            batched_inputs: as for :meth:`GeneralizedRCNN.forward`; an input without ``image`` is
                read from its ``file_name``.

        Returns:
            For each image ``{"instances": ...}`` in the original size.

        Raises:
            ValueError: in training mode.
        """
        return [
            {"instances": self._detect(_with_image(entry, self.model))} for entry in batched_inputs
        ]

    def _detect(self, entry: DatasetDict) -> Instances:
        size = (entry["height"], entry["width"])
        versions = [dict(version) for version in self.tta_mapper(entry)]
        transforms: list[Transform] = [version.pop("transforms") for version in versions]
        with self._boxes_only():
            found = self._run(versions)
        merged = self._merge(found, transforms, size)
        if self._mask_on:
            if len(merged):
                merged.pred_masks = self._masks(versions, transforms, merged)
            else:
                merged.pred_masks = merged.scores.new_zeros(0, 1, 1, 1)
        return detector_postprocess(merged, *size)

    @contextmanager
    def _boxes_only(self) -> Iterator[None]:
        """Leave the mask head out: masks of boxes that are suppressed would be of no use."""
        heads = self.model.roi_heads
        mask_on = getattr(heads, "mask_on", False)
        heads.mask_on = False
        try:
            yield
        finally:
            heads.mask_on = mask_on

    def _run(
        self, versions: Sequence[DatasetDict], known: Sequence[Instances] | None = None
    ) -> list[Instances]:
        results: list[Instances] = []
        for start in range(0, len(versions), self.batch_size):
            part = slice(start, start + self.batch_size)
            detected = None if known is None else known[part]
            results += self.model.inference(versions[part], detected, do_postprocess=False)
        return results

    def _merge(
        self, found: Sequence[Instances], transforms: Sequence[Transform], size: tuple[int, int]
    ) -> Instances:
        """Detections of all versions in the original image, without those found twice."""
        boxes = torch.cat(
            [
                _transformed(version.pred_boxes.tensor, transform.inverse())
                for version, transform in zip(found, transforms, strict=True)
            ]
        )
        classes = torch.cat([version.pred_classes for version in found])
        scores = torch.cat([version.scores for version in found])
        by_class = scores.new_zeros(len(scores), self._num_classes + 1)
        by_class[torch.arange(len(scores), device=scores.device), classes] = scores
        results, _ = fast_rcnn_inference(
            [boxes], [by_class], [size], _MIN_SCORE, self._nms_thresh, self._topk
        )
        return results[0]

    def _masks(
        self,
        versions: Sequence[DatasetDict],
        transforms: Sequence[Transform],
        merged: Instances,
    ) -> Tensor:
        """(N, 1, S, S) probabilities, averaged over the versions."""
        known = [
            Instances(
                tuple(version["image"].shape[1:]),
                pred_boxes=Boxes(_transformed(merged.pred_boxes.tensor, transform)),
                pred_classes=merged.pred_classes,
                scores=merged.scores,
            )
            for version, transform in zip(versions, transforms, strict=True)
        ]
        masks = [
            _mirrored_back(result.pred_masks, transform)
            for result, transform in zip(self._run(versions, known), transforms, strict=True)
        ]
        return torch.stack(masks).mean(dim=0)


def _with_image(entry: DatasetDict, model: Any) -> DatasetDict:
    """An input that has its image and the original's size."""
    entry = dict(entry)
    if "image" not in entry:
        entry["image"] = image_to_tensor(read_image(entry["file_name"], model.input_format))
    height, width = entry["image"].shape[1:]
    entry.setdefault("height", height)
    entry.setdefault("width", width)
    return entry


def _transformed(boxes: Tensor, transform: Transform) -> Tensor:
    moved = transform.apply_box(boxes.cpu().numpy())
    return torch.as_tensor(moved, dtype=boxes.dtype, device=boxes.device).reshape(-1, 4)


def _mirrored_back(masks: Tensor, transform: Transform) -> Tensor:
    """Masks within boxes move with them; only mirroring changes what is inside."""
    for step in getattr(transform, "transforms", [transform]):
        if isinstance(step, HFlipTransform):
            masks = masks.flip(dims=[3])
        elif isinstance(step, VFlipTransform):
            masks = masks.flip(dims=[2])
    return masks
