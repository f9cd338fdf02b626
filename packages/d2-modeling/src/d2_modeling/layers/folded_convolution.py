"""A convolution whose normalisation is multiplied into its weights once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from .convolution import Conv2d, is_affine
from .norm import FrozenBatchNorm2d
from .sync_batch_norm import NaiveSyncBatchNorm

_Versions = tuple[tuple[int, int], ...]

_BATCH_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, NaiveSyncBatchNorm)


class FoldedConv2d(Conv2d):
    """A `Conv2d` that computes with folded weights in evaluation, where no gradient is wanted.

    Its parameters, its norm and their names in state dicts are those of the `Conv2d` that it was:
    it saves, loads, moves and trains alike. What has changed is folded anew before the next use.
    """

    folded_weight: Tensor | None
    folded_bias: Tensor | None
    _folded_of: _Versions

    def forward(self, input: Tensor) -> Tensor:
        """See `Conv2d.forward`."""
        if self.training or (torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(input)
        if not torch.compiler.is_compiling() and self._versions() != self._folded_of:
            self.fold()
        if self.folded_weight is None:
            return super().forward(input)
        x = self._conv_forward(input, self.folded_weight, self.folded_bias)
        return x if self.activation is None else self.activation(x)

    @torch.inference_mode(False)
    @torch.no_grad()
    def fold(self) -> None:
        """Multiply the norm into copies of weight and bias, which keep type and format."""
        scale, shift = _scale_and_shift(self.norm)
        weight = self.weight * scale[:, None, None, None]
        bias = shift if self.bias is None else self.bias * scale + shift
        self.folded_weight, self.folded_bias = (v.to(self.weight.dtype) for v in (weight, bias))
        self._folded_of = self._versions()

    def unfold(self) -> None:
        """Free the folded weights until they are needed again."""
        self.folded_weight = self.folded_bias = None
        self._folded_of = ()

    def train(self, mode: bool = True) -> Self:
        """See ``nn.Module.train``."""
        if mode:
            self.unfold()
        return super().train(mode)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.unfold()
        return super()._apply(fn, recurse)

    def _versions(self) -> _Versions:
        """Which tensors the folded weights come from, and how often each was written to."""
        assert self.norm is not None
        sources = (self.weight, self.bias, *self.norm._parameters.values())
        return tuple(
            (id(t), 0 if t.is_inference() else t._version)
            for t in (*sources, *self.norm._buffers.values())
            if t is not None
        )


def is_foldable(layer: nn.Module) -> bool:
    """Whether a layer is a `Conv2d` as it was built, with a norm that evaluation only scales by.

    Subclasses, hooked norms, norms with an own forward or without statistics, and weights that are
    made anew at each call (parametrised, quantised) are not.
    """
    if type(layer) is not Conv2d or type(layer.weight) is not nn.Parameter:
        return False
    norm: Any = layer.norm
    if is_affine(norm):
        return True
    return (
        type(norm) in _BATCH_NORMS
        and not norm._forward_hooks
        and not norm._forward_pre_hooks
        and isinstance(norm.running_mean, Tensor)
    )


def fold_norms(model: nn.Module) -> int:
    """Make a `FoldedConv2d` of every layer of a model that `is_foldable`, in place.

    Returns:
        How many there are, those that a former call has made included.
    """
    count = 0
    for layer in model.modules():
        if is_foldable(layer):
            layer.__class__ = FoldedConv2d
            for name in ("folded_weight", "folded_bias"):
                layer.register_buffer(name, None, persistent=False)
        if isinstance(layer, FoldedConv2d):
            layer.fold()
            count += 1
    return count


def unfold_norms(model: nn.Module) -> None:
    """Make a plain `Conv2d` again of every `FoldedConv2d` of a model."""
    for layer in model.modules():
        if isinstance(layer, FoldedConv2d):
            for name in ("folded_weight", "folded_bias"):
                delattr(layer, name)
            layer.__class__ = Conv2d  # type: ignore[assignment]  # the class that it was


def _scale_and_shift(norm: Any) -> tuple[Tensor, Tensor]:
    """The (C,) scale and shift that a norm is in evaluation."""
    if isinstance(norm, FrozenBatchNorm2d):
        return norm.scale_and_shift()
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean * scale
    return scale, shift if norm.bias is None else norm.bias + shift
