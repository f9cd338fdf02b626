"""Detect in the versions of an image, and merge what was found."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from d2_config import CfgNode
from d2_data.detection_utils import (
    create_keypoint_hflip_indices,
    image_to_tensor,
    read_image,
)
from d2_data.transforms import Transform
from d2_engine.test_time_augmentation.mapper import DatasetDict, DatasetMapperTTA
from d2_engine.test_time_augmentation.mirroring import Mirroring
from d2_engine.test_time_augmentation.model_support import (
    NO_FLIP_INDICES,
    PRECOMPUTED_PROPOSALS,
    Mapper,
    Selection,
    check_flip_indices,
    mirrors_keypoints,
    supported_model,
)
from d2_modeling import GeneralizedRCNN
from d2_modeling.postprocessing import detector_postprocess
from d2_modeling.roi_heads import fast_rcnn_inference, keypoint_rcnn_inference
from d2_structures import Boxes, Instances

# What each version found was above the model's threshold already.
_MIN_SCORE = 1e-8

_SWITCHES = ("mask_on", "keypoint_on")
_MASKS, _HEATMAPS = "pred_masks", "pred_keypoint_heatmaps"


class GeneralizedRCNNWithTTA(nn.Module):
    """A :class:`GeneralizedRCNN` that looks at several versions of each image.

    Boxes found in all versions are brought back to the original image and suppressed among each
    other. For those that are left, masks and heatmaps of keypoints are predicted in each version
    and averaged. How many classes there are, how boxes are suppressed and how many detections are
    kept is the model's to say. :meth:`of` needs no config.

    Args:
        cfg: read are ``TEST.AUG``, ``MODEL.LOAD_PROPOSALS`` and, for keypoints, ``DATASETS``.
        model: in evaluation mode when it is used, maybe in DistributedDataParallel.
        tta_mapper: takes a model's input for one image, returns inputs for its versions, each
            with ``transforms``, which must have inverses and may not turn the image; by default
            ``DatasetMapperTTA(cfg)``.
        batch_size: how many versions go through the model together.
        keypoint_flip_indices: for each keypoint the index of the one that takes its place in a
            mirrored image; by default from the metadata of ``DATASETS.TRAIN``, or of
            ``DATASETS.TEST`` where that is empty.

    Raises:
        TypeError: if the model is not a :class:`GeneralizedRCNN`, is a panoptic one, or its boxes
            are rotated.
        ValueError: if the model takes precomputed proposals, or the indices are missing or do not
            fit.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        tta_mapper: Mapper | None = None,
        batch_size: int = 3,
        *,
        keypoint_flip_indices: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if cfg.MODEL.LOAD_PROPOSALS:
            raise ValueError(f"{PRECOMPUTED_PROPOSALS}; set MODEL.LOAD_PROPOSALS=False")
        model = supported_model(model)
        mapper = DatasetMapperTTA(cfg) if tta_mapper is None else tta_mapper
        datasets = tuple(cfg.DATASETS.TRAIN) or tuple(cfg.DATASETS.TEST)
        if keypoint_flip_indices is None and datasets and mirrors_keypoints(model, mapper):
            keypoint_flip_indices = create_keypoint_hflip_indices(datasets)
        self._set_up(model, mapper, batch_size, keypoint_flip_indices)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        tta_mapper: Mapper,
        batch_size: int = 3,
        *,
        keypoint_flip_indices: Sequence[int] | None = None,
    ) -> "GeneralizedRCNNWithTTA":
        """Make one without a config.

        Args:
            model: see the class.
            tta_mapper: see the class, e.g. a :class:`DatasetMapperTTA`.
            batch_size: see the class.
            keypoint_flip_indices: see the class; needed where the model finds keypoints and
                versions are mirrored. ``d2_data.detection_utils.create_keypoint_hflip_indices``
                makes them for datasets.

        Raises:
            TypeError: see the class.
            ValueError: see the class.
        """
        detector = cls.__new__(cls)
        nn.Module.__init__(detector)
        detector._set_up(supported_model(model), tta_mapper, batch_size, keypoint_flip_indices)
        return detector

    def _set_up(
        self,
        model: GeneralizedRCNN,
        tta_mapper: Mapper,
        batch_size: int,
        keypoint_flip_indices: Sequence[int] | None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if keypoint_flip_indices is not None:
            check_flip_indices(keypoint_flip_indices, model)
        elif getattr(tta_mapper, "flip", False) and mirrors_keypoints(model, tta_mapper):
            raise ValueError(NO_FLIP_INDICES)
        self.model: Any = model
        self.tta_mapper = tta_mapper
        self.batch_size = batch_size
        self._flip_indices = keypoint_flip_indices

    @torch.no_grad()
    def forward(self, batched_inputs: Sequence[DatasetDict]) -> list[dict[str, Instances]]:
        """Detect.

        Args:
            batched_inputs: as for :meth:`GeneralizedRCNN.forward`; an input without ``image`` is
                read from its ``file_name``.

        Returns:
            For each image ``{"instances": ...}`` in the original size, with the fields that the
            model gives.

        Raises:
            ValueError: in training mode, or if masks or keypoints cannot be brought back from a
                version.
        """
        return [
            {"instances": self._detect(_with_image(entry, self.model))} for entry in batched_inputs
        ]

    def _detect(self, entry: DatasetDict) -> Instances:
        size = (entry["height"], entry["width"])
        versions = [dict(version) for version in self.tta_mapper(entry)]
        transforms: list[Transform] = [version.pop("transforms") for version in versions]
        with self._boxes_only():
            found = list(self._run(versions))
        merged = self._merge(found, transforms, size)
        if any(getattr(self.model.roi_heads, switch, False) for switch in _SWITCHES):
            self._add_masks_and_keypoints(merged, versions, transforms)
        return detector_postprocess(merged, *size)

    @contextmanager
    def _boxes_only(self) -> Iterator[None]:
        """Leave the other heads out: masks of boxes that are suppressed would be of no use."""
        heads = self.model.roi_heads
        before = {name: getattr(heads, name) for name in _SWITCHES if hasattr(heads, name)}
        for name in before:
            setattr(heads, name, False)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(heads, name, value)

    def _run(
        self, versions: Sequence[DatasetDict], known: Sequence[Instances] | None = None
    ) -> Iterator[Instances]:
        for start in range(0, len(versions), self.batch_size):
            part = slice(start, start + self.batch_size)
            detected = None if known is None else known[part]
            yield from self.model.inference(versions[part], detected, do_postprocess=False)

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
        selection = Selection.of(self.model.roi_heads)
        by_class = scores.new_zeros(len(scores), selection.num_classes + 1)
        by_class[torch.arange(len(scores), device=scores.device), classes] = scores
        results, _ = fast_rcnn_inference(
            [boxes], [by_class], [size], _MIN_SCORE, selection.nms_thresh, selection.topk
        )
        return results[0]

    def _add_masks_and_keypoints(
        self,
        merged: Instances,
        versions: Sequence[DatasetDict],
        transforms: Sequence[Transform],
    ) -> None:
        """Give merged boxes what the heads see in them, averaged over the versions."""
        if len(merged) == 0:  # one version is enough for empty fields of the right shapes
            versions, transforms = versions[:1], transforms[:1]
        known = [
            Instances(
                tuple(version["image"].shape[1:]),
                pred_boxes=Boxes(_transformed(merged.pred_boxes.tensor, transform)),
                pred_classes=merged.pred_classes,
                scores=merged.scores,
            )
            for version, transform in zip(versions, transforms, strict=True)
        ]
        sums: dict[str, Tensor] = {}
        for result, transform in zip(self._run(versions, known), transforms, strict=True):
            for name, part in self._brought_back(result, transform).items():
                sums[name] = sums[name] + part if name in sums else part
        if _MASKS in sums:
            merged.pred_masks = sums[_MASKS] / len(versions)
        if _HEATMAPS in sums:
            keypoint_rcnn_inference(sums[_HEATMAPS] / len(versions), [merged])

    def _brought_back(self, result: Instances, transform: Transform) -> dict[str, Tensor]:
        """Masks and heatmaps as they would be in the original image.

        Both lie in their boxes and move with them; only mirroring changes what is inside.
        """
        mirroring = Mirroring.of(transform)
        back = {
            name: mirroring.undone(result.get(name))
            for name in (_MASKS, _HEATMAPS)
            if result.has(name)
        }
        if result.has("pred_keypoints") and _HEATMAPS not in back:
            raise TypeError(
                f"keypoints are merged by their {_HEATMAPS}, which the keypoint head of class "
                f"{type(self.model.roi_heads.keypoint_head).__name__} does not give"
            )
        if mirroring.horizontal and _HEATMAPS in back:
            if self._flip_indices is None:
                raise ValueError(NO_FLIP_INDICES)
            # What looks like a left eye in a mirrored image is a right one.
            back[_HEATMAPS] = back[_HEATMAPS][:, list(self._flip_indices)]
        return back


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
