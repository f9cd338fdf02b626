"""Models whose parameters are divided among the processes: PyTorch's FSDP2.

Each process keeps a share of every parameter, of its gradient and of the optimizer's state, and has
whole parameters only of the block that is at work. In checkpoints everything is whole: they do not
show how a run was divided.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn

from d2_engine.activation_checkpointing import repeated_blocks
from d2_engine.bottom_up import find_bottom_up
from d2_structures import comm

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

# FSDP is imported where a model is divided: it takes half as long as torch itself, in every
# process. Where nobody has imported it, nothing is divided.


def shard(model: nn.Module) -> nn.Module:
    """Divide the parameters of a model among all processes; in one process nothing happens.

    To be called before the optimizer is made: parameters are replaced. The repeated blocks of the
    backbone (those of a ViT, of the stages of a ResNet) are units that are gathered one at a time;
    all the rest is one more.

    Args:
        model: on its device; all processes get the weights of the main one.

    Returns:
        The same model.
    """
    if comm.get_world_size() == 1:
        return model
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # Every process has drawn initial weights of its own.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.data = parameter.data.contiguous()  # FSDP knows no channels-last weights
        comm.broadcast_tensors([*model.parameters(), *model.buffers()])
    device = next(model.parameters()).device.type
    mesh = init_device_mesh(device, (comm.get_world_size(),))
    _, network = find_bottom_up(model)
    for block in repeated_blocks(network):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def is_sharded(model: nn.Module) -> "TypeGuard[FSDPModule]":
    """Return whether a model's parameters are divided."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and isinstance(model, fsdp.FSDPModule)


def _is_divided(value: object) -> "TypeGuard[DTensor]":
    """Return whether a value is a tensor of which this process has a share."""
    tensors = sys.modules.get("torch.distributed.tensor")
    return tensors is not None and isinstance(value, tensors.DTensor)


@contextmanager
def whole_weights(model: nn.Module) -> Iterator[None]:
    """Let every process have the whole model in the block.

    The processes may then call it as often as each wants, as they do in evaluation, where their
    shares of the images differ. All processes must come here; nothing happens to models that are
    not divided.
    """
    units: list[Any] = [module for module in model.modules() if is_sharded(module)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.set_reshard_after_forward(unit is not model, recurse=False)
            unit.reshard()


@contextmanager
def without_exchange(model: nn.Module) -> Iterator[None]:
    """Keep processes from adding up their gradients in the block, however they are divided."""
    if is_sharded(model):
        model.set_requires_gradient_sync(False)
        try:
            yield
        finally:
            model.set_requires_gradient_sync(True)
    else:
        no_sync = getattr(model, "no_sync", nullcontext)
        with no_sync():
            yield


def whole(state: Any) -> Any:
    """Return a state with whole tensors in place of divided ones.

    All processes must call it, with tensors in the same order.

    Args:
        state: tensors in dicts, lists and tuples; what else there is stays as it is.
    """
    if _is_divided(state):
        full: Tensor = state.full_tensor()
        return full
    if isinstance(state, dict):
        return {key: whole(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)) and not hasattr(state, "_fields"):
        return type(state)(whole(value) for value in state)
    return state


def divided_like(value: Any, own: Any) -> Any:
    """Return a whole tensor divided as another one is; anything else stays as it is.

    Args:
        value: the same in every process.
        own: a tensor of this process, divided or not.
    """
    if not _is_divided(own) or not isinstance(value, Tensor) or _is_divided(value):
        return value
    if value.shape != own.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    with torch.no_grad():
        # Every process has read the same file: each takes its share and nothing is sent.
        value = value.to(own.device)
        return distribute_tensor(value, own.device_mesh, own.placements, src_data_rank=None)


def all_divided_like(values: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return :func:`divided_like` of each value, by name."""
    return {name: divided_like(value, own.get(name)) for name, value in values.items()}
