"""Cross entropy over the hardest pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..pixel_losses import mean_cross_entropy


class DeepLabCE(nn.Module):
    """Cross entropy, averaged over the share of pixels in which it is largest.

    Args:
        ignore_label: label of pixels without loss. They count as pixels nevertheless.
        top_k_percent_pixels: share of the pixels that are averaged, in (0, 1]; one at least.
        weight: (K,) factor of each class.

    Raises:
        ValueError: if the share is out of range.

    Source: Yang et al., "DeeperLab", 2019, equation 1.
    """

    def __init__(
        self,
        ignore_label: int = -1,
        top_k_percent_pixels: float = 1.0,
        weight: Tensor | None = None,
    ) -> None:
        super().__init__()
        if not 0.0 < top_k_percent_pixels <= 1.0:
            raise ValueError(
                f"top_k_percent_pixels has to be in (0, 1], got {top_k_percent_pixels}"
            )
        self.ignore_label = ignore_label
        self.top_k_percent_pixels = top_k_percent_pixels
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of (N, K, H, W) logits and (N, H, W) int64 labels.

        Args:
            logits: of the classes.
            labels: class of each pixel.
            weights: (N, H, W) factor of each pixel.
        """
        weight: Tensor | None = self.weight  # type: ignore[assignment]  # a buffer, or None
        losses = F.cross_entropy(
            logits, labels, weight=weight, ignore_index=self.ignore_label, reduction="none"
        )
        if weights is not None:
            losses = losses * weights
        losses = losses.flatten()
        if self.top_k_percent_pixels == 1.0:
            return losses.mean()
        count = max(int(self.top_k_percent_pixels * losses.numel()), 1)
        hardest, _ = torch.topk(losses, count)
        return hardest.mean()


class PixelCrossEntropy(nn.Module):
    """Cross entropy, averaged over the pixels that count; 0 if there is none.

    Args:
        ignore_label: label of pixels that do not count.
    """

    def __init__(self, ignore_label: int = -1) -> None:
        super().__init__()
        self.ignore_label = ignore_label

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """The loss of (N, K, H, W) logits and (N, H, W) int64 labels.

        Raises:
            ValueError: if there are weights of pixels, which only `DeepLabCE` knows.
        """
        if weights is not None:
            raise ValueError(
                "the loss type 'cross_entropy' knows no weights of pixels (sem_seg_weights): "
                "choose 'hard_pixel_mining' (of all pixels with LOSS_TOP_K 1.0)"
            )
        return mean_cross_entropy(logits, labels, self.ignore_label)


def pixel_loss(loss_type: str, ignore_value: int, top_k: float = 0.2) -> Callable[..., Tensor]:
    """The loss that a config's ``LOSS_TYPE`` names.

    Raises:
        ValueError: if there is none of that name.
    """
    if loss_type == "cross_entropy":
        return PixelCrossEntropy(ignore_value)
    if loss_type == "hard_pixel_mining":
        return DeepLabCE(ignore_value, top_k)
    known: Sequence[str] = ("cross_entropy", "hard_pixel_mining")
    raise ValueError(f"the loss type {loss_type!r} is not one of {list(known)}")
