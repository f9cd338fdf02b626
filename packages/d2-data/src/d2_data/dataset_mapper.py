"""From a light dataset dict to what a model takes."""

import copy
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from d2_config import CfgNode, configurable
from d2_data import detection_utils as utils
from d2_data.annotations import (
    annotation_place,
    has_any,
    is_crowd,
    normalized_record,
    with_keypoints,
)
from d2_data.deferred_input import DeferredInput, stand_in
from d2_data.formats import read_label_map
from d2_data.image_reading import ImageSource
from d2_data.instance_annotations import are_left
from d2_data.instance_targets import boxes_in, instance_targets
from d2_data.jpeg_files import simplejpeg
from d2_data.located_errors import locate, located, picture
from d2_data.skipped_records import OnError, SkippedRecords, checked_on_error
from d2_data.transforms import Augmentation, AugmentationList, RandomCrop, Transform
from d2_structures import BitMasks, BoxMode, Instances, PolygonMasks

__all__ = ["DatasetMapper"]

_logger = logging.getLogger(__name__)

_WITHOUT_MASKS = (
    "turn masks off (MODEL.MASK_ON = False, or use_instance_mask=False and a model without mask "
    "head, mask_in_features=None)"
)
_WITHOUT_KEYPOINTS = (
    "turn keypoints off (MODEL.KEYPOINT_ON = False, or use_keypoint=False and a model without "
    "keypoint head, keypoint_in_features=None)"
)


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
        rotated_boxes: whether ``gt_boxes`` are ``RotatedBoxes``, as RRPN wants; otherwise they are
            ``Boxes``, of rotated annotations the upright ones round them.
        reduced_decoding: whether a JPEG that is to be shrunk is decoded at a smaller size, which
            is faster and differs by some grey levels. Otherwise pixels are, to the bit, those that
            detectron2 trains and evaluates on.
        on_error: ``"raise"`` errors, or ``"skip"`` what cannot be mapped: then it is logged and
            listed in ``skipped``, and None comes back, which loaders replace.

    Annotations are brought into one form first, see :mod:`d2_data.annotations`. With
    ``use_instance_mask`` objects without a segmentation are left out, and with ``use_keypoint``
    those without keypoints get unlabelled ones; the first such picture is named in the log. An
    error names the picture and, where it is about one, the annotation.

    Attributes:
        skipped: the records that were left out with ``on_error="skip"``, in all loading processes.

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
        rotated_boxes: bool = False,
        reduced_decoding: bool = False,
        on_error: OnError = "raise",
    ) -> None:
        if recompute_boxes and not use_instance_mask:
            raise ValueError("DatasetMapper: recompute_boxes=True needs use_instance_mask=True")
        if instance_mask_format not in ("polygon", "bitmask"):
            raise ValueError(
                "DatasetMapper: instance_mask_format is 'polygon' or 'bitmask', got "
                f"{instance_mask_format!r}"
            )
        if rotated_boxes and recompute_boxes:
            raise ValueError(
                "DatasetMapper: recompute_boxes=True makes upright boxes of masks, and "
                "rotated_boxes=True wants rotated ones; choose one of them"
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
        self.rotated_boxes = rotated_boxes
        self.reduced_decoding = reduced_decoding
        skips = checked_on_error(on_error, "DatasetMapper") == "skip"
        self.skipped = SkippedRecords() if skips else None
        self._has_named_lacking_masks = False
        mode = "training" if is_train else "inference"
        _logger.info("Augmentations in %s: %s", mode, self.augmentations)
        _logger.info("JPEG is decoded by %s", "Pillow" if simplejpeg() is None else "simplejpeg")

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any] | None:
        """Map one dict.

        Args:
            dataset_dict: in the standard dataset format; stays as it is.

        Returns:
            The fields of ``dataset_dict`` without annotations, and ``image`` (C, H, W);
            in training ``instances`` and ``sem_seg`` (H, W) int64, where annotated;
            ``proposals`` where wanted. None for what is skipped.

        Raises:
            OSError: if a file cannot be read.
            SizeMismatchError: if the image is not of the recorded size.
            ValueError: if an annotation cannot be understood.
        """
        try:
            return self._map(dataset_dict)
        except Exception as error:
            locate(error, picture(dataset_dict))
            if self.skipped is None:
                raise
            self.skipped.add(dataset_dict, error)
            return None

    def suited_to(self, records: Iterable[dict[str, Any]]) -> "DatasetMapper":
        """The mapper for a dataset in which maybe no object has masks, or keypoints, at all.

        Such a dataset trains on its boxes, which a model with a mask or keypoint head refuses. One
        in which some objects lack a mask is trained without these.

        Args:
            records: of the whole dataset, in the standard dataset format.

        Returns:
            The mapper itself, or a copy that does not ask for what is not there; the log says so.
        """
        suited = self
        for setting, field, remedy in (
            ("use_instance_mask", "segmentation", _WITHOUT_MASKS),
            ("use_keypoint", "keypoints", _WITHOUT_KEYPOINTS),
        ):
            if not (self.is_train and getattr(self, setting)) or has_any(records, field):
                continue
            _logger.warning(
                "No object of the training data has a %r: boxes are trained. If the model is to "
                "do without, %s",
                field,
                remedy,
            )
            suited = copy.copy(suited)
            setattr(suited, setting, False)
        suited.recompute_boxes = suited.recompute_boxes and suited.use_instance_mask
        return suited

    def _map(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        dataset_dict = copy.copy(dataset_dict)
        if not self.is_train:
            dataset_dict.pop("annotations", None)
        dataset_dict = {**normalized_record(dataset_dict)}
        annotations = dataset_dict.pop("annotations", None)
        sem_seg_file = dataset_dict.pop("sem_seg_file_name", None)
        source = ImageSource(dataset_dict["file_name"], self.image_format)
        utils.check_image_size(dataset_dict, stand_in(source.shape))
        sem_seg = None
        if sem_seg_file is not None and self.is_train:
            sem_seg = read_label_map(sem_seg_file)

        wanted, places = self._wanted(annotations or [], dataset_dict)
        boxes = None
        if self.augmentations.looks_at("boxes"):
            boxes = boxes_in(BoxMode.XYXY_ABS, wanted).astype(np.float32)
        augmented = DeferredInput(
            source,
            sem_seg=sem_seg,
            boxes=boxes,
            reduced_decoding=self.reduced_decoding,
        )
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
        if annotations is not None:
            dataset_dict["instances"] = self._instances(wanted, places, transforms, image_size)
        return dataset_dict

    def _wanted(
        self, annotations: Sequence[dict[str, Any]], record: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """The annotations that are learned from, and what to call each in messages."""
        objects = [(i, a) for i, a in enumerate(annotations) if not is_crowd(a)]
        if self.use_instance_mask:
            found = len(objects)
            objects = [(i, a) for i, a in objects if "segmentation" in a]
            if len(objects) < found:
                self._name_lacking_masks(record, found - len(objects), found)
        unused = {"segmentation"} if not self.use_instance_mask else set()
        if not self.use_keypoint:
            unused.add("keypoints")
        wanted = [{key: a[key] for key in a if key not in unused} for _, a in objects]
        places = [annotation_place(i, a, len(annotations)) for i, a in objects]
        if self.use_keypoint:
            indices = self.keypoint_hflip_indices
            wanted = with_keypoints(wanted, None if indices is None else len(indices), places)
        return wanted, places

    def _name_lacking_masks(self, record: dict[str, Any], lacking: int, found: int) -> None:
        if self._has_named_lacking_masks:
            return
        self._has_named_lacking_masks = True
        _logger.warning(
            "%s: %d of %d annotations have no segmentation and are left out, as there is no mask "
            "to learn from; so it goes, unsaid, in other images. To train on boxes alone, %s",
            picture(record),
            lacking,
            found,
            _WITHOUT_MASKS,
        )

    def _instances(
        self,
        annotations: Sequence[dict[str, Any]],
        places: Sequence[str],
        transforms: Transform,
        image_size: tuple[int, int],
    ) -> Instances:
        """Targets of the annotations that are left in the image."""
        try:
            instances = self._targets(annotations, transforms, image_size)
        except Exception:
            # Each alone, to name the one that is wrong.
            for annotation, place in zip(annotations, places, strict=True):
                with located(place):
                    self._targets([annotation], transforms, image_size)
            raise
        if self.use_instance_mask and not instances.has("gt_masks"):
            instances.gt_masks = (
                PolygonMasks([])
                if self.instance_mask_format == "polygon"
                else BitMasks(torch.zeros(0, *image_size, dtype=torch.bool))
            )
        # A crop leaves a part of an object: its mask, unlike its box, knows the part's extent.
        if self.recompute_boxes:
            # What an augmentation dropped has a box without extent, and maybe a mask.
            instances = instances[instances.gt_boxes.nonempty()]
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        keep = are_left(instances)
        return instances if keep.all() else instances[keep]

    def _targets(
        self,
        annotations: Sequence[dict[str, Any]],
        transforms: Transform,
        image_size: tuple[int, int],
    ) -> Instances:
        return instance_targets(
            annotations,
            transforms,
            image_size,
            mask_format=self.instance_mask_format,
            rotated_boxes=self.rotated_boxes,
            keypoint_hflip_indices=self.keypoint_hflip_indices,
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Take the arguments from ``INPUT``, ``DATASETS`` and what the model makes use of.

        ``RUN.REDUCED_DECODING``, where a config has it, reduces decoding in training.
        """
        rotated = cfg.MODEL.ANCHOR_GENERATOR.NAME == "RotatedAnchorGenerator"
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
            "recompute_boxes": crop and cfg.MODEL.MASK_ON and not rotated,
            "rotated_boxes": rotated,
            "reduced_decoding": is_train and cfg.get("RUN", {}).get("REDUCED_DECODING", False),
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
