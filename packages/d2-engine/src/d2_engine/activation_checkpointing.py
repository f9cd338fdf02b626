"""Less memory in training: blocks are computed again in the backward pass."""

import contextlib
import functools
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from d2_engine.bottom_up import find_bottom_up
from d2_modeling.backbone import ViT


def checkpoint_activations(module: nn.Module) -> int:
    """Let the blocks of a backbone keep their inputs only, and compute the rest again.

    The blocks are the members of the network's lists and sequences of modules of one class:
    those of the stages of a ResNet or RegNet, of a ViT or a Swin transformer. Losses, gradients,
    names of parameters and running statistics stay what they are; a step takes about a third
    longer. Frozen blocks are left alone, and so is evaluation.

    Args:
        module: a detector with a ``backbone``, or a backbone.

    Returns:
        The number of blocks.

    Raises:
        ValueError: if there is no block to be trained.

    Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
    """
    _, network = find_bottom_up(module)
    blocks = [b for b in repeated_blocks(network) if any(p.requires_grad for p in b.parameters())]
    if not blocks:
        raise ValueError(
            f"activation checkpointing wants a backbone of repeated blocks that are trained; "
            f"{type(network).__name__} has none"
        )
    if isinstance(network, ViT):
        network.use_act_checkpoint = False  # its own switch would do the same once more
    for block in blocks:
        _recompute(block)
    return len(blocks)


def repeated_blocks(module: nn.Module) -> Iterator[nn.Module]:
    """Find the outermost repeated modules that hold no list of such modules themselves."""
    for child in module.children():
        if _is_repeated(child):
            for member in child.children():
                inner = list(repeated_blocks(member))
                yield from inner or [member]
        else:
            yield from repeated_blocks(child)


def _is_repeated(module: nn.Module) -> bool:
    """Whether a module is a list or a sequence of composite modules of one class."""
    if not isinstance(module, (nn.ModuleList, nn.Sequential)) or len(module) == 0:
        return False
    first = module[0]
    return not isinstance(first, (nn.ModuleList, nn.Sequential)) and all(
        type(member) is type(first) and next(member.children(), None) is not None
        for member in module
    )


class _Recomputed(nn.Module):
    """First base of the class that a block gets."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(*args, **kwargs)
        if torch.compiler.is_compiling():  # a compiled graph changes statistics once
            return checkpoint(super().forward, *args, use_reentrant=False, **kwargs)
        return checkpoint(
            super().forward, *args, use_reentrant=False, context_fn=self._contexts, **kwargs
        )

    def _contexts(
        self,
    ) -> tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]:
        return contextlib.nullcontext(), _statistics_kept(self)


def _recompute(block: nn.Module) -> None:
    """Change how a block runs by its class: names, copies and isinstance stay as they were."""
    if not isinstance(block, _Recomputed):
        block.__class__ = _recomputed_kind(type(block))  # type: ignore[arg-type]  # classes hash


@functools.cache
def _recomputed_kind(kind: type[nn.Module]) -> type[nn.Module]:
    return types.new_class(f"Recomputed{kind.__name__}", (_Recomputed, kind))


@contextlib.contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Keep running statistics from taking in the same batch a second time.

    They still take part, because autograd wants to meet the same tensors again.
    """
    layers = [m for m in block.modules() if isinstance(m, _BatchNorm)]
    kept = [(layer.momentum, layer.num_batches_tracked) for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
        if layer.num_batches_tracked is not None:
            layer.num_batches_tracked = layer.num_batches_tracked.clone()
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(layers, kept, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, count
