"""Batch norms and their statistics by functions; d2 has the hook ``PreciseBN``."""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn


def get_bn_modules(model: nn.Module) -> list[nn.Module]:
    """The batch norms of a model that are in training mode."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    return [m for m in model.modules() if m.training and isinstance(m, kinds)]


@torch.no_grad()
def update_bn_stats(
    model: nn.Module, data_loader: Iterable[Any], num_iters: int = 200, progress: str | None = None
) -> None:
    """Replace running means and variances by those over some batches.

    Args:
        model: in training mode; it is run on them.
        data_loader: yields its inputs.
        num_iters: number of batches.
        progress: accepted and not used.
    """
    norms: Any = get_bn_modules(model)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # running statistics are then those of the last batch
    sums: list[tuple[Tensor, Tensor]] = [
        (torch.zeros_like(norm.running_mean), torch.zeros_like(norm.running_var)) for norm in norms
    ]
    count = 0
    for inputs in islice(data_loader, num_iters):
        model(inputs)
        count += 1
        for norm, (mean, square) in zip(norms, sums, strict=True):
            mean += norm.running_mean
            square += norm.running_var + norm.running_mean.square()
    if count != num_iters:
        raise ValueError(f"the data ended after {count} of {num_iters} batches")
    for norm, momentum, (mean, square) in zip(norms, momenta, sums, strict=True):
        norm.running_mean = mean / count
        norm.running_var = square / count - norm.running_mean.square()
        norm.momentum = momentum
