"""Batch normalisation over all processes, correct for unequal batch sizes."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce by sum, whose gradient is again an all-reduce by sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        total = grad_outputs[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def _sum_over_processes(x: Tensor) -> Tensor:
    result: Tensor = _SumOverProcesses.apply(x)
    return result


class NaiveSyncBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics are averaged over all processes.

    ``stats_mode=""`` gives every process the same weight; the result is the statistics of
    the whole batch only if all have the same (N, H, W), and empty inputs are refused.
    ``stats_mode="N"`` weighs each process by its batch size N, so N may differ and be 0.

    In evaluation, and with one process, it is ``nn.BatchNorm2d``.

    Args:
        *args: as in ``nn.BatchNorm2d``.
        stats_mode: ``""`` or ``"N"``.
        **kwargs: as in ``nn.BatchNorm2d``.

    Raises:
        ValueError: if ``stats_mode`` is something else.
    """

    def __init__(self, *args: Any, stats_mode: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if stats_mode not in ("", "N"):
            raise ValueError(f"stats_mode has to be '' or 'N', got {stats_mode!r}")
        self._stats_mode = stats_mode

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(input)
        half = input.dtype in (torch.float16, torch.bfloat16)
        x = input.float() if half else input
        if self._stats_mode == "":
            mean, square_mean, momentum = self._equal_weight_statistics(x)
        else:
            mean, square_mean, momentum = self._size_weighted_statistics(x)
        variance = square_mean - mean * mean
        self._update_running(mean, variance, momentum)
        scale = (variance + self.eps).rsqrt()
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale
        if self.affine:
            shift = shift + self.bias
        result = x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)
        return result.to(input.dtype)

    def _equal_weight_statistics(self, x: Tensor) -> tuple[Tensor, Tensor, float | Tensor]:
        if x.shape[0] == 0:
            raise ValueError(
                "NaiveSyncBatchNorm with stats_mode='' got an empty batch; use stats_mode='N'"
            )
        own = torch.cat([x.mean(dim=(0, 2, 3)), x.square().mean(dim=(0, 2, 3))])
        mean, square_mean = (_sum_over_processes(own) / dist.get_world_size()).chunk(2)
        return mean, square_mean, self.momentum or 0.0

    def _size_weighted_statistics(self, x: Tensor) -> tuple[Tensor, Tensor, float | Tensor]:
        if x.shape[0] == 0:
            own = (x.sum() * 0).expand(2 * x.shape[1] + 1)
        else:
            size = x.new_full((1,), x.shape[0])
            means = torch.cat([x.mean(dim=(0, 2, 3)), x.square().mean(dim=(0, 2, 3))])
            own = torch.cat([means * x.shape[0], size])
        total = _sum_over_processes(own.contiguous())
        size = total[-1].detach()
        mean, square_mean = (total[:-1] / size.clamp(min=1)).chunk(2)
        # With nothing anywhere the running statistics stay as they are.
        momentum = size.clamp(max=1) * (self.momentum or 0.0)
        return mean, square_mean, momentum

    @torch.no_grad()
    def _update_running(self, mean: Tensor, variance: Tensor, momentum: float | Tensor) -> None:
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        self.running_mean += momentum * (mean - self.running_mean)
        self.running_var += momentum * (variance - self.running_var)
