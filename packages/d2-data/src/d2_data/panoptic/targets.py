"""What Panoptic-DeepLab learns of an image: class, centre and offset of each pixel."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["PanopticDeepLabTargetGenerator"]


class PanopticDeepLabTargetGenerator:
    """Makes the training targets of Panoptic-DeepLab from a panoptic segmentation.

    Args:
        ignore_label: class of pixels that belong to no segment; at most 255.
        thing_ids: classes (``category_id`` of segments) that are things.
        sigma: of the Gaussian round each centre, in pixels.
        ignore_stuff_in_offset: whether offsets of stuff do not count.
        small_instance_area: things of fewer pixels than this weigh more.
        small_instance_weight: how much more.
        ignore_crowd_in_semantic: whether pixels of crowds have no class.

    Source: Cheng et al., "Panoptic-DeepLab", 2020, section 3.
    """

    def __init__(
        self,
        ignore_label: int,
        thing_ids: Collection[int],
        sigma: int = 8,
        ignore_stuff_in_offset: bool = False,
        small_instance_area: int = 0,
        small_instance_weight: int = 1,
        ignore_crowd_in_semantic: bool = False,
    ) -> None:
        self.ignore_label = ignore_label
        self.thing_ids = frozenset(thing_ids)
        self.ignore_stuff_in_offset = ignore_stuff_in_offset
        self.small_instance_area = small_instance_area
        self.small_instance_weight = small_instance_weight
        self.ignore_crowd_in_semantic = ignore_crowd_in_semantic
        self._radius = 3 * sigma + 1
        square = np.arange(-self._radius, self._radius + 1, dtype=np.float64) ** 2
        self._bump = np.exp(-(square[:, None] + square[None, :]) / (2 * sigma**2))

    def __call__(
        self, panoptic: np.ndarray, segments_info: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The targets of an image.

        Args:
            panoptic: (H, W) number of each pixel's segment.
            segments_info: each with ``id``, ``category_id`` and ``iscrowd``; those that are not in
                the image any more are passed over.

        Returns:
            * ``sem_seg``: (H, W) int64;
            * ``center``: (H, W) float32 heat map, 1 in the pixel of a centre;
            * ``center_points``: (row, column) of each centre, unrounded;
            * ``offset``: (2, H, W) float32 (dy, dx) from a pixel of a thing to its centre;
            * ``sem_seg_weights`` (H, W), ``center_weights`` and ``offset_weights`` (1, H, W):
              float32.
        """
        size = panoptic.shape
        labels = np.full(size, self.ignore_label, dtype=np.int64)
        heat = np.zeros(size, dtype=np.float32)
        offset = np.zeros((2, *size), dtype=np.float32)
        label_weights = np.ones(size, dtype=np.float32)
        center_weights, offset_weights = np.zeros((2, 1, *size), dtype=np.float32)
        centers = []
        for segment in segments_info:
            label, crowd = segment["category_id"], bool(segment["iscrowd"])
            mask = panoptic == segment["id"]
            if not (self.ignore_crowd_in_semantic and crowd):
                labels[mask] = label
            if not crowd:
                center_weights[0, mask] = 1
                if label in self.thing_ids or not self.ignore_stuff_in_offset:
                    offset_weights[0, mask] = 1
            if label not in self.thing_ids:
                continue
            rows, columns = np.nonzero(mask)
            if len(rows) == 0:  # a crop left nothing of it
                continue
            if len(rows) < self.small_instance_area:
                label_weights[mask] = self.small_instance_weight
            center = (float(rows.mean()), float(columns.mean()))
            centers.append(list(center))
            self._put_bump(heat, round(center[0]), round(center[1]))
            offset[0, rows, columns] = center[0] - rows
            offset[1, rows, columns] = center[1] - columns
        return {
            "sem_seg": torch.from_numpy(labels),
            "center": torch.from_numpy(heat),
            "center_points": centers,
            "offset": torch.from_numpy(offset),
            "sem_seg_weights": torch.from_numpy(label_weights),
            "center_weights": torch.from_numpy(center_weights),
            "offset_weights": torch.from_numpy(offset_weights),
        }

    def _put_bump(self, heat: np.ndarray, row: int, column: int) -> None:
        """Raise a heat map to a Gaussian round a pixel, as far as that is in the image."""
        radius = self._radius
        top, left = row - radius, column - radius
        place = heat[max(top, 0) : row + radius + 1, max(left, 0) : column + radius + 1]
        bump = self._bump[max(-top, 0) :, max(-left, 0) :][: place.shape[0], : place.shape[1]]
        np.maximum(place, bump, out=place, casting="same_kind")
