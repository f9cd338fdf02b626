"""Features and labels at points, and which points to take.

Points are (x, y) in [0, 1] of a box or an image where nothing else is said: 0 is the left (top)
border of the first pixel, 1 the right (bottom) border of the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from d2_structures import Boxes, Instances

from ..batched_selection import at_most
from ..host_waits import numbers_on


def point_sample(
    input: Tensor, point_coords: Tensor, mode: str = "bilinear", align_corners: bool = False
) -> Tensor:
    """Read maps at points.

    Args:
        input: (N, C, H, W).
        point_coords: (N, P, 2) or (N, Hgrid, Wgrid, 2) points of the maps.
        mode: ``"bilinear"`` or ``"nearest"``.
        align_corners: 0 and 1 are the centres of the outer pixels, not their borders.

    Returns:
        (N, C, P) or (N, C, Hgrid, Wgrid); outside of a map are zeros.
    """
    grid = point_coords if point_coords.dim() == 4 else point_coords[:, :, None]
    values = F.grid_sample(input, 2.0 * grid - 1.0, mode=mode, align_corners=align_corners)
    return values if point_coords.dim() == 4 else values[..., 0]


def generate_regular_grid_point_coords(
    R: int, side_size: int, device: torch.device | str
) -> Tensor:
    """The centres of a square grid, row by row: (R, side_size², 2), the same for each region."""
    centres = (torch.arange(side_size, dtype=torch.float32, device=device) + 0.5) / side_size
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y], dim=-1).view(1, -1, 2).expand(R, -1, -1)


def get_uncertain_point_coords_with_randomness(
    coarse_logits: Tensor,
    uncertainty_func: Callable[[Tensor], Tensor],
    num_points: int,
    oversample_ratio: float,
    importance_sample_ratio: float,
) -> Tensor:
    """Draw points, most of them where a prediction is uncertain.

    Args:
        coarse_logits: (N, C, H, W) predictions.
        uncertainty_func: maps (N, C, P) predictions to (N, 1, P) uncertainties.
        num_points: number P of points.
        oversample_ratio: so many times more are drawn at first, at least 1.
        importance_sample_ratio: share of the points that are the most uncertain ones of these;
            the others are drawn anew. In [0, 1].

    Returns:
        (N, P, 2).

    Raises:
        ValueError: if a ratio is out of range.
    """
    if oversample_ratio < 1 or not 0 <= importance_sample_ratio <= 1:
        raise ValueError(
            "oversample_ratio has to be at least 1 and importance_sample_ratio in [0, 1], got "
            f"{oversample_ratio} and {importance_sample_ratio}"
        )
    count, device = len(coarse_logits), coarse_logits.device
    drawn = torch.rand(count, int(num_points * oversample_ratio), 2, device=device)
    uncertainty = uncertainty_func(point_sample(coarse_logits, drawn))[:, 0]
    num_uncertain = int(importance_sample_ratio * num_points)
    taken = uncertainty.topk(num_uncertain, dim=1).indices
    points = drawn.gather(1, taken[:, :, None].expand(-1, -1, 2))
    if num_uncertain < num_points:
        others = torch.rand(count, num_points - num_uncertain, 2, device=device)
        points = torch.cat([points, others], dim=1)
    return points


def get_uncertain_point_coords_on_grid(
    uncertainty_map: Tensor, num_points: int
) -> tuple[Tensor, Tensor]:
    """The most uncertain pixels of maps.

    Args:
        uncertainty_map: (N, 1, H, W).
        num_points: at most so many.

    Returns:
        (N, P) int64, row * W + column of each; and (N, P, 2), their centres.
    """
    height, width = uncertainty_map.shape[2:]
    count = at_most(height * width, num_points)
    indices = uncertainty_map.flatten(1).topk(count, dim=1).indices
    rows = indices // width
    x = (indices - rows * width + 0.5) / width
    y = (rows + 0.5) / height
    return indices, torch.stack([x, y], dim=2).to(torch.float32)


def get_point_coords_wrt_image(boxes_coords: Tensor, point_coords: Tensor) -> Tensor:
    """Points of boxes as pixels of the image.

    Args:
        boxes_coords: (R, 4) x1, y1, x2, y2.
        point_coords: (R, P, 2) points of the boxes.

    Returns:
        (R, P, 2) absolute.
    """
    sizes = boxes_coords[:, None, 2:] - boxes_coords[:, None, :2]
    return point_coords * sizes + boxes_coords[:, None, :2]


def point_sample_fine_grained_features(
    features_list: Sequence[Tensor],
    feature_scales: Sequence[float],
    boxes: Sequence[Boxes],
    point_coords: Tensor,
) -> tuple[Tensor, Tensor]:
    """Read feature maps at points of boxes.

    Args:
        features_list: feature maps (N, C_f, H_f, W_f) of the images.
        feature_scales: size of each feature map over that of the images.
        boxes: of each image.
        point_coords: (R, P, 2) points of all boxes.

    Returns:
        (R, ΣC_f, P) features, and (R, P, 2) the points as pixels of their images.
    """
    in_image = get_point_coords_wrt_image(Boxes.cat(list(boxes)).tensor, point_coords)
    by_image = in_image.split([len(image_boxes) for image_boxes in boxes])
    by_map = []
    for feature, scale in zip(features_list, feature_scales, strict=True):
        sides = feature.shape[3] / scale, feature.shape[2] / scale
        size = numbers_on(feature.device, sides, feature.dtype)
        read = [
            point_sample(feature[index : index + 1], (points / size)[None])[0].transpose(0, 1)
            for index, points in enumerate(by_image)
        ]
        by_map.append(torch.cat(read))
    return torch.cat(by_map, dim=1), in_image


def point_sample_of_rois(
    features_list: Sequence[Tensor],
    feature_scales: Sequence[float],
    rois: Tensor,
    point_coords: Tensor,
) -> tuple[Tensor, Tensor]:
    """`point_sample_fine_grained_features` of the boxes of all images, as a function of tensors.

    Args:
        features_list: see there.
        feature_scales: see there.
        rois: (R, 5) boxes within their images, the image's index first.
        point_coords: see there.

    Returns:
        See there.
    """
    in_image = get_point_coords_wrt_image(rois[:, 1:], point_coords)
    by_map = []
    for feature, scale in zip(features_list, feature_scales, strict=True):
        # The maps of all images below each other, a row of zeros around each.
        apart = F.pad(feature, (0, 0, 1, 1))
        below_each_other = apart.transpose(0, 1).flatten(1, 2)[None]
        rows = apart.shape[2]
        y = in_image[:, :, 1] * scale + (rois[:, :1] * rows + 1)
        x = in_image[:, :, 0] * scale
        places = torch.stack([x / feature.shape[3], y / (rows * feature.shape[0])], dim=2)
        by_map.append(point_sample(below_each_other, places[None])[0].transpose(0, 1))
    return torch.cat(by_map, dim=1), in_image


def sample_point_labels(instances: Sequence[Instances], point_coords: Tensor) -> Tensor:
    """Whether points lie on the masks of their instances.

    Args:
        instances: of each image, with ``gt_masks`` as `BitMasks`.
        point_coords: (R, P, 2) pixels, for the instances of all images.

    Returns:
        (R, P) in [0, 1], bilinearly interpolated.

    Raises:
        TypeError: if the masks are polygons.
    """
    labels = []
    for image, points in zip(
        instances, point_coords.split([len(image) for image in instances]), strict=True
    ):
        if len(image) == 0:
            continue
        masks = getattr(image.gt_masks, "tensor", None)
        if masks is None:
            raise TypeError(
                f"points are labelled by BitMasks, got {type(image.gt_masks).__name__}: set "
                "INPUT.MASK_FORMAT to 'bitmask' (DatasetMapper's instance_mask_format)"
            )
        size = numbers_on(points.device, (masks.shape[2], masks.shape[1]), points.dtype)
        labels.append(point_sample(masks.to(torch.float32)[:, None], points / size)[:, 0])
    return torch.cat(labels) if labels else point_coords.new_zeros(point_coords.shape[:2])


def features_at(
    features: Mapping[str, Tensor], names: Sequence[str], point_coords: Tensor
) -> Tensor:
    """Several feature maps at points (N, P, 2) of the images: (N, ΣC, P)."""
    return torch.cat([point_sample(features[name], point_coords) for name in names], dim=1)


def with_points(maps: Tensor, indices: Tensor, values: Tensor) -> Tensor:
    """Maps with other values at some pixels.

    Args:
        maps: (N, C, H, W).
        indices: (N, P) int64, row * W + column.
        values: (N, C, P).
    """
    places = indices[:, None].expand(-1, maps.shape[1], -1)
    return maps.flatten(2).scatter(2, places, values).view(maps.shape)
