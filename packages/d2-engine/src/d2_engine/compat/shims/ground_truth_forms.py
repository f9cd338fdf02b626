"""Annotations drawn by functions; in d2 they are methods of masks and keypoints."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2_modeling.proposal_generator import add_ground_truth_to_proposals
from d2_structures import Instances, Keypoints, PolygonMasks


def rasterize_polygons_within_box(polygons: list[Any], box: Any, mask_size: int) -> Tensor:
    """(M, M) bool: one mask within its box."""
    boxes = torch.as_tensor(np.asarray(box), dtype=torch.float32)[None]
    drawn: Tensor = PolygonMasks([polygons]).crop_and_resize(boxes, mask_size)[0]
    return drawn


def _keypoints_to_heatmap(
    keypoints: Tensor, rois: Tensor, heatmap_size: int
) -> tuple[Tensor, Tensor]:
    """Cell and validity of each keypoint; see `Keypoints.to_heatmap`."""
    return Keypoints(keypoints).to_heatmap(rois, heatmap_size)


def add_ground_truth_to_proposals_single_image(gt: Any, proposals: Instances) -> Instances:
    """One image of `add_ground_truth_to_proposals`."""
    return add_ground_truth_to_proposals([gt], [proposals])[0]


def load_image_into_numpy_array(filename: str, copy: bool = False, dtype: Any = None) -> np.ndarray:
    """A map of labels as an array."""
    from d2_data.formats import read_label_map

    return np.array(read_label_map(filename), copy=None if not copy else True, dtype=dtype)
