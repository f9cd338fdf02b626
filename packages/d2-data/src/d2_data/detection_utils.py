"""What mappers are made of: reading images, moving annotations, making targets."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from d2_data.catalog import MetadataCatalog
from d2_data.image_reading import (
    convert_image_to_rgb,
    convert_PIL_to_numpy,
    image_to_tensor,
    read_image,
)
from d2_data.instance_annotations import (
    annotations_to_instances,
    annotations_to_instances_rotated,
    filter_empty_instances,
    transform_instance_annotations,
    transform_keypoint_annotations,
)
from d2_data.transforms import (
    Augmentation,
    CropTransform,
    RandomFlip,
    ResizeShortestEdge,
    Transform,
)
from d2_structures import Boxes, BoxMode, Instances

__all__ = [
    "SizeMismatchError",
    "annotations_to_instances",
    "annotations_to_instances_rotated",
    "build_augmentation",
    "check_image_size",
    "check_metadata_consistency",
    "convert_PIL_to_numpy",
    "convert_image_to_rgb",
    "create_keypoint_hflip_indices",
    "filter_empty_instances",
    "gen_crop_transform_with_instance",
    "get_fed_loss_cls_weights",
    "image_to_tensor",
    "read_image",
    "transform_instance_annotations",
    "transform_keypoint_annotations",
    "transform_proposals",
]


class SizeMismatchError(ValueError):
    """An image file has another width or height than its record says."""


def check_image_size(dataset_dict: dict[str, Any], image: np.ndarray) -> None:
    """Compare an image with the size in its record; fill the size in where missing.

    Args:
        dataset_dict: the record; ``width`` and ``height`` are added if it has none.
        image: (H, W, ...) as read.

    Raises:
        SizeMismatchError: if they disagree.
    """
    height, width = image.shape[:2]
    recorded = dataset_dict.setdefault("width", width), dataset_dict.setdefault("height", height)
    if recorded != (width, height):
        name = dataset_dict.get("file_name", dataset_dict.get("image_id"))
        hint = (
            "; the image may have been turned by its EXIF orientation after it was annotated"
            if recorded == (height, width)
            else ""
        )
        raise SizeMismatchError(
            f"image {name!r} is {width}x{height} (width x height), its record says "
            f"{recorded[0]}x{recorded[1]}{hint}; correct 'width' and 'height' in the annotation "
            "file or restore the original image"
        )


def transform_proposals(
    dataset_dict: dict[str, Any],
    image_shape: tuple[int, int],
    transforms: Transform,
    *,
    proposal_topk: int,
    min_box_size: float = 0,
) -> None:
    """Move precomputed proposals with the image, in place.

    ``proposal_boxes``, ``proposal_objectness_logits`` and ``proposal_bbox_mode`` are
    replaced by ``proposals``: ``Instances`` with ``proposal_boxes`` and
    ``objectness_logits``. A record without proposals stays as it is.

    Args:
        dataset_dict: the record; its proposals are sorted by decreasing objectness.
        image_shape: (height, width) of the transformed image.
        transforms: what was applied to the image.
        proposal_topk: how many proposals to keep.
        min_box_size: proposals with a side of at most this many pixels, after clipping,
            are dropped.
    """
    if "proposal_boxes" not in dataset_dict:
        return
    mode = BoxMode(dataset_dict.pop("proposal_bbox_mode", BoxMode.XYXY_ABS))
    given = np.asarray(dataset_dict.pop("proposal_boxes"), dtype=np.float32).reshape(-1, 4)
    boxes = Boxes(transforms.apply_box(BoxMode.convert(given, mode, BoxMode.XYXY_ABS)))
    logits = torch.as_tensor(
        np.asarray(dataset_dict.pop("proposal_objectness_logits")).astype(np.float32)
    )
    boxes.clip(image_shape)
    keep = boxes.nonempty(threshold=min_box_size)
    proposals = Instances(image_shape)
    proposals.proposal_boxes = boxes[keep][:proposal_topk]
    proposals.objectness_logits = logits[keep][:proposal_topk]
    dataset_dict["proposals"] = proposals


def gen_crop_transform_with_instance(
    crop_size: tuple[int, int], image_size: tuple[int, int], instance: dict[str, Any]
) -> CropTransform:
    """A random window that contains the centre of an instance.

    Draws the window's top, then its left.

    Args:
        crop_size: (height, width) of the window in pixels.
        image_size: (height, width) of the image.
        instance: an annotation; its ``bbox`` decides.

    Raises:
        ValueError: if the window is larger than the image, or the centre outside it.
    """
    box = BoxMode.convert(instance["bbox"], instance["bbox_mode"], BoxMode.XYXY_ABS)
    centre = ((box[1] + box[3]) * 0.5, (box[0] + box[2]) * 0.5)
    starts = []
    for size, image_side, middle in zip(crop_size, image_size, centre, strict=True):
        if size > image_side:
            raise ValueError(f"a window of {crop_size} does not fit into an image of {image_size}")
        if not 0 <= middle <= image_side:
            raise ValueError(f"the centre of box {list(box)} is outside the image of {image_size}")
        first = max(math.floor(middle) - size, 0)
        last = min(math.ceil(middle), image_side - size)
        starts.append(int(np.random.randint(first, last + 1)))
    height, width = image_size
    return CropTransform(
        starts[1], starts[0], crop_size[1], crop_size[0], orig_w=width, orig_h=height
    )


def check_metadata_consistency(key: str, dataset_names: Sequence[str]) -> None:
    """Require that several datasets have the same value of a metadata attribute.

    Raises:
        ValueError: if they differ.
    """
    if not dataset_names:
        raise ValueError("check_metadata_consistency wants at least one dataset name")
    first, *others = dataset_names
    wanted = getattr(MetadataCatalog.get(first), key)
    for name in others:
        value = getattr(MetadataCatalog.get(name), key)
        if value != wanted:
            raise ValueError(
                f"datasets used together must agree in {key!r}: {first!r} has {wanted!r}, "
                f"{name!r} has {value!r}"
            )


def get_fed_loss_cls_weights(
    dataset_names: str | Sequence[str], freq_weight_power: float = 1.0
) -> torch.Tensor:
    """Return how much each class counts when the federated loss draws classes.

    Args:
        dataset_names: datasets with the same ``class_image_count`` in their metadata, as those of
            LVIS have.
        freq_weight_power: exponent of the number of images that show a class.

    Returns:
        (K,) float32, in the order of the classes' ids.

    Raises:
        ValueError: if a dataset does not know how many images show each class.

    Source: Zhou et al., "Probabilistic two-stage detection", 2021, appendix.
    """
    names = [dataset_names] if isinstance(dataset_names, str) else list(dataset_names)
    for name in names:
        if not MetadataCatalog.get(name).get("class_image_count"):
            raise ValueError(
                f"the dataset {name!r} has no 'class_image_count' in its metadata, which the "
                "federated loss needs: set it to a list of {'id': …, 'image_count': …}, or turn "
                "the federated loss off"
            )
    check_metadata_consistency("class_image_count", names)
    counts = sorted(MetadataCatalog.get(names[0]).class_image_count, key=lambda entry: entry["id"])
    images = torch.tensor([entry["image_count"] for entry in counts], dtype=torch.float32)
    return images**freq_weight_power


def create_keypoint_hflip_indices(dataset_names: str | Sequence[str]) -> list[int]:
    """For each keypoint the index of the one that takes its place in a mirrored image.

    Args:
        dataset_names: datasets whose metadata agree in ``keypoint_names`` and
            ``keypoint_flip_map`` (pairs of names).

    Raises:
        ValueError: if the datasets disagree, or the map names unknown keypoints.
    """
    if isinstance(dataset_names, str):
        dataset_names = [dataset_names]
    check_metadata_consistency("keypoint_names", dataset_names)
    check_metadata_consistency("keypoint_flip_map", dataset_names)
    metadata = MetadataCatalog.get(dataset_names[0])
    names = list(metadata.keypoint_names)
    partner = {}
    for left, right in metadata.keypoint_flip_map:
        for name in (left, right):
            if name not in names:
                raise ValueError(
                    f"'keypoint_flip_map' of dataset {metadata.name!r} names {name!r}, which is "
                    f"not among its 'keypoint_names' {names}"
                )
        partner[left], partner[right] = right, left
    return [names.index(partner.get(name, name)) for name in names]


def build_augmentation(cfg: Any, is_train: bool) -> list[Augmentation]:
    """The default augmentations that a config describes: resizing and, in training, flipping.

    Args:
        cfg: read are ``INPUT.MIN_SIZE_TRAIN``, ``MAX_SIZE_TRAIN``, ``MIN_SIZE_TRAIN_SAMPLING``
            and ``RANDOM_FLIP`` in training, ``MIN_SIZE_TEST`` and ``MAX_SIZE_TEST`` otherwise.
        is_train: which of the two.
    """
    if not is_train:
        resize = ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST, "choice")
        return [resize]
    augmentations: list[Augmentation] = [
        ResizeShortestEdge(
            cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING
        )
    ]
    if cfg.INPUT.RANDOM_FLIP != "none":
        augmentations.append(
            RandomFlip(
                horizontal=cfg.INPUT.RANDOM_FLIP == "horizontal",
                vertical=cfg.INPUT.RANDOM_FLIP == "vertical",
            )
        )
    return augmentations
