"""A focal loss that is only in fvcore."""

import torch.nn.functional as F
from torch import Tensor


def sigmoid_focal_loss_star(
    inputs: Tensor,
    targets: Tensor,
    alpha: float = -1,
    gamma: float = 1,
    reduction: str = "none",
) -> Tensor:
    """FL* of a binary classifier.

    Args:
        inputs: logits.
        targets: 0 or 1, of the same shape.
        alpha: weight of the ones, negative for none.
        gamma: slope.
        reduction: ``"none"``, ``"mean"`` or ``"sum"``.

    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017, appendix A.
    """
    shifted = gamma * (inputs * (2 * targets - 1))
    loss = -F.logsigmoid(shifted) / gamma
    if alpha >= 0:
        loss = (alpha * targets + (1 - alpha) * (1 - targets)) * loss
    if reduction == "mean":
        return loss.mean()
    return loss.sum() if reduction == "sum" else loss


sigmoid_focal_loss_star_jit = sigmoid_focal_loss_star
