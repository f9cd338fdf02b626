"""Objects of one picture pasted into another."""

from collections.abc import Callable

import numpy as np
import torch

from d2_data.formats import mask_polygons
from d2_data.mixing.geometry import image_size, joined, left, on_canvas, window
from d2_data.mixing.mix import Mix, Sample
from d2_structures import (
    BitMasks,
    Boxes,
    Instances,
    Keypoints,
    PolygonMasks,
    RotatedBoxes,
    polygons_to_bitmask,
)

__all__ = ["CopyPaste"]


class CopyPaste(Mix):
    """Paste a random subset of another sample's objects into a sample, by their masks.

    What they cover is cut from the masks of the sample's own objects, whose boxes become the tight
    ones of what is left; objects that are hidden are left out, and keypoints that are hidden become
    "labelled but not visible" (1). Upright boxes are fitted anew; rotated ones stay. A mask of
    polygons that is cut becomes the outlines of its pixels. Semantic labels come along.

    Draws a sample, the number of objects and which, then the place of the other picture: where it
    is larger than this one it is cut, where it is smaller it lies somewhere inside.

    Args:
        max_objects: how many to paste at most; all when None.
        min_visible: objects of which a smaller share of the mask is left are left out; 0 leaves
            out only those that are hidden.
        prob: in [0, 1], of mixing at all.
        seg_pad_value: of semantic labels under objects of a picture that has no labels.

    Source: Ghiasi et al., "Simple copy-paste is a strong data augmentation method for instance
    segmentation", 2021, section 3; there both samples go through
    :class:`~d2_data.transforms.LargeScaleJitter` before.
    """

    def __init__(
        self,
        *,
        max_objects: int | None = None,
        min_visible: float = 0.0,
        prob: float = 1.0,
        seg_pad_value: int = 255,
    ) -> None:
        super().__init__(prob)
        if max_objects is not None and max_objects < 1:
            raise ValueError(f"CopyPaste: max_objects must be at least 1, got {max_objects!r}")
        if not 0 <= min_visible <= 1:
            raise ValueError(f"CopyPaste: min_visible must lie in [0, 1], got {min_visible!r}")
        self.max_objects = max_objects
        self.min_visible = min_visible
        self.seg_pad_value = seg_pad_value

    def mix(self, sample: Sample, draw: Callable[[], Sample]) -> Sample:
        """The sample with further objects; itself where the other has none."""
        other = draw()
        _check(sample)
        _check(other)
        count = len(other["instances"])
        if not count:
            return sample
        number = np.random.randint(1, min(count, self.max_objects or count) + 1)
        chosen = np.sort(np.random.choice(count, number, replace=False))
        size = image_size(sample)
        other = {**other, "instances": other["instances"][torch.from_numpy(chosen)]}
        other = _placed(other, size)
        pasted = other["instances"]
        if not len(pasted):
            return sample
        cover = _bitmaps(pasted, size).any(dim=0)
        result = dict(sample)
        result["image"] = torch.where(cover, other["image"], sample["image"])
        if "sem_seg" in sample:
            labels = other.get("sem_seg", torch.full_like(sample["sem_seg"], self.seg_pad_value))
            result["sem_seg"] = torch.where(cover, labels, sample["sem_seg"])
        own = _uncovered(sample["instances"], cover, self.min_visible)
        result["instances"] = joined([own, pasted])
        return result


def _check(sample: Sample) -> None:
    instances = sample.get("instances")
    if not isinstance(instances, Instances) or (len(instances) and not instances.has("gt_masks")):
        has = sorted(instances.get_fields()) if isinstance(instances, Instances) else "none"
        raise ValueError(
            "CopyPaste pastes objects by their masks, and needs samples with 'instances' that have "
            f"'gt_masks'; the instances have {has}. Use DatasetMapper(is_train=True, "
            "use_instance_mask=True) and data with segmentations"
        )


def _placed(sample: Sample, size: tuple[int, int]) -> Sample:
    """A sample on a canvas, cut or moved at random where its image has another size."""
    height, width = image_size(sample)
    kept_h, kept_w = min(height, size[0]), min(width, size[1])
    top, left_edge = (np.random.randint(n + 1) for n in (height - kept_h, width - kept_w))
    cut = window(sample, int(left_edge), int(top), kept_w, kept_h)
    y0, x0 = (np.random.randint(n + 1) for n in (size[0] - kept_h, size[1] - kept_w))
    return on_canvas(cut, size, int(x0), int(y0), 0, 0)


def _bitmaps(instances: Instances, size: tuple[int, int]) -> torch.Tensor:
    """(N, H, W) bool."""
    if not len(instances):
        return torch.zeros((0, *size), dtype=torch.bool)
    masks = instances.gt_masks
    if isinstance(masks, BitMasks):
        return masks.tensor
    return torch.from_numpy(
        np.stack([polygons_to_bitmask(polygons, *size) for polygons in masks.polygons])
    )


def _uncovered(instances: Instances, cover: torch.Tensor, min_visible: float) -> Instances:
    """What is left of objects beside the covered pixels."""
    before = _bitmaps(instances, (cover.shape[0], cover.shape[1]))
    after = before & ~cover
    areas_before, areas = before.flatten(1).sum(dim=1), after.flatten(1).sum(dim=1)
    touched = areas < areas_before
    if not bool(touched.any()):
        return instances
    result = Instances(instances.image_size)
    for name, value in instances.get_fields().items():
        result.set(name, _field_after(value, touched, after, cover))
    keep = ~touched | ((areas > 0) & (areas >= min_visible * areas_before))
    return left(result[keep])


def _field_after(
    value: object, touched: torch.Tensor, after: torch.Tensor, cover: torch.Tensor
) -> object:
    """A field of objects once the masks of some have become smaller."""
    if isinstance(value, BitMasks):
        return BitMasks(after)
    if isinstance(value, PolygonMasks):
        outlines = [
            [np.array(polygon, dtype=np.float64) for polygon in mask_polygons(mask.numpy())]
            if is_touched
            else polygons
            for polygons, mask, is_touched in zip(value.polygons, after, touched, strict=True)
        ]
        return PolygonMasks(outlines)
    if isinstance(value, Boxes) and not isinstance(value, RotatedBoxes):
        boxes = value.tensor.clone()
        boxes[touched] = BitMasks(after[touched]).get_bounding_boxes().tensor.to(boxes.dtype)
        return Boxes(boxes)
    if isinstance(value, Keypoints):
        return Keypoints(_hidden(value.tensor, cover))
    return value


def _hidden(keypoints: torch.Tensor, cover: torch.Tensor) -> torch.Tensor:
    """Keypoints, those that are covered no longer visible."""
    height, width = cover.shape
    columns = keypoints[..., 0].floor().long().clamp(0, width - 1)
    rows = keypoints[..., 1].floor().long().clamp(0, height - 1)
    hidden = cover[rows, columns] & (keypoints[..., 2] > 1)
    result = keypoints.clone()
    result[..., 2] = torch.where(hidden, 1.0, keypoints[..., 2])
    return result
