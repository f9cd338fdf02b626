"""Random choice of training samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .batched_selection import rows_where


def subsample_labels(
    labels: Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> tuple[Tensor, Tensor]:
    """Draw positives and negatives at a bounded ratio.

    Args:
        labels: (N,) integers: -1 for ignored, ``bg_label`` for negative, others positive.
        num_samples: number of labels to draw; fewer if there are not enough.
        positive_fraction: at most ``int(num_samples * positive_fraction)`` positives are
            drawn; the rest is filled with negatives.
        bg_label: label of the negatives.

    Returns:
        int64 indices of the drawn positives and of the drawn negatives.
    """
    return subsample_labels_of_images([labels], num_samples, positive_fraction, bg_label)[0]


def subsample_labels_of_images(
    labels: Sequence[Tensor], num_samples: int, positive_fraction: float, bg_label: int
) -> list[tuple[Tensor, Tensor]]:
    """`subsample_labels` of each image. The host waits for the device once.

    Args:
        labels: (N_i,) of each image.
        num_samples: see there, for each image.
        positive_fraction: see there.
        bg_label: see there.
    """
    masks = [
        mask
        for image in labels
        for mask in ((image != -1) & (image != bg_label), image == bg_label)
    ]
    rows = rows_where(masks)
    drawn = []
    for positive, negative in zip(rows[::2], rows[1::2], strict=True):
        num_positive = min(positive.numel(), int(num_samples * positive_fraction))
        num_negative = min(negative.numel(), num_samples - num_positive)
        chosen_positive = torch.randperm(positive.numel(), device=positive.device)[:num_positive]
        chosen_negative = torch.randperm(negative.numel(), device=negative.device)[:num_negative]
        drawn.append((positive[chosen_positive], negative[chosen_negative]))
    return drawn


def sampled_labels(
    labels: Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> Tensor:
    """Draw as `subsample_labels` does, in every image, without asking how many there are.

    The draw is as uniform, but another one for the same seed.

    Args:
        labels: (N, R) of N images.
        num_samples: see `subsample_labels`, as the other arguments.
        positive_fraction: see there.
        bg_label: see there.

    Returns:
        (N, R) int8: 1 for drawn positives, 0 for drawn negatives, -1 elsewhere.
    """
    background = labels == bg_label
    positive = (labels != -1) & ~background
    drawn = torch.full_like(labels, -1, dtype=torch.int8)
    wanted = torch.full_like(labels[:, :1], int(num_samples * positive_fraction), dtype=torch.int64)
    for mask, value in ((positive, 1), (background, 0)):
        keys = torch.rand(labels.shape, device=labels.device).masked_fill(~mask, -1.0)
        keys, rows = keys.topk(min(num_samples, labels.shape[1]), dim=1)
        taken = (keys >= 0) & (torch.arange(keys.shape[1], device=labels.device) < wanted)
        drawn.scatter_(1, rows, drawn.gather(1, rows).masked_fill(taken, value))
        wanted = num_samples - taken.sum(dim=1, keepdim=True)
    return drawn
