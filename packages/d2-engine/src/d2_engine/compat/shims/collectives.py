"""Collectives that gradients pass through, as in fvcore."""

import torch
import torch.distributed as dist
from torch import Tensor

from d2_structures import comm


def differentiable_all_reduce(input: Tensor) -> Tensor:
    """The sum over all processes; gradients are summed, too."""
    if comm.get_world_size() == 1:
        return input
    from torch.distributed.nn.functional import all_reduce

    reduced: Tensor = all_reduce(input, op=dist.ReduceOp.SUM)
    return reduced


def differentiable_all_gather(input: Tensor) -> list[Tensor]:
    """The tensors of all processes."""
    if comm.get_world_size() == 1:
        return [input]
    from torch.distributed.nn.functional import all_gather

    return list(all_gather(input))


def to_float_tensor(numpy_array: object) -> Tensor:
    """An array (H, W[, C]) or (N, H, W, C) as a float32 tensor (N, C, H, W)."""
    tensor = torch.as_tensor(numpy_array)
    if tensor.dim() == 2:
        tensor = tensor[None, :, :, None]
    elif tensor.dim() == 3:
        tensor = tensor[None]
    return tensor.permute(0, 3, 1, 2).float()
