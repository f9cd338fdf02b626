"""Random choice of training samples."""

from __future__ import annotations

import torch
from torch import Tensor


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
    positive = ((labels != -1) & (labels != bg_label)).nonzero().squeeze(1)
    negative = (labels == bg_label).nonzero().squeeze(1)
    num_positive = min(positive.numel(), int(num_samples * positive_fraction))
    num_negative = min(negative.numel(), num_samples - num_positive)
    chosen_positive = torch.randperm(positive.numel(), device=positive.device)[:num_positive]
    chosen_negative = torch.randperm(negative.numel(), device=negative.device)[:num_negative]
    return positive[chosen_positive], negative[chosen_negative]
