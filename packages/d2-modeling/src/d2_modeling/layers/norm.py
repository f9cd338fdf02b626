"""Normalisation layers and the names they go by."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .sync_batch_norm import NaiveSyncBatchNorm

_GROUPS = 32
_HALF = (torch.float16, torch.bfloat16)


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and affine parameters never change.

    ``weight``, ``bias``, ``running_mean`` and ``running_var`` are buffers; they start as
    the identity. A checkpoint that holds only ``weight`` and ``bias`` (already combined
    with the statistics) loads too: the missing two stay the identity. A layer converted
    from a trained one keeps its ``num_batches_tracked``, so that names in state dicts stay.

    In a model of half precision the buffers stay float32: variances above 65504 are usual, and
    float16 does not hold them.

    Args:
        num_features: number of channels C of the (N, C, H, W) input.
        eps: added to the variance.
    """

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor | None

    def __init__(self, num_features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.register_buffer("weight", torch.ones(num_features))
        self.register_buffer("bias", torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features) - eps)
        self.register_buffer("num_batches_tracked", None)

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """The layer as one affine map per channel: (C,) scale and (C,) shift."""
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        return scale, self.bias - self.running_mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W); differentiable in ``x``."""
        if x.dtype in _HALF:
            scale, shift = (v.to(x.dtype)[:, None, None] for v in self.scale_and_shift())
            return torch.addcmul(shift, x, scale)
        return F.batch_norm(
            x,
            self.running_mean.to(x.dtype),
            self.running_var.to(x.dtype),
            self.weight.to(x.dtype),
            self.bias.to(x.dtype),
            training=False,
            eps=self.eps,
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the layer; what would be half precision keeps its type."""
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, value in self._buffers.items():
            old = before[name]
            if value is not None and old is not None and value.dtype in _HALF:
                self._buffers[name] = old.to(value.device)
        return self

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """Replace every batch norm in ``module`` by a frozen one with the same values.

        Args:
            module: changed in place, unless it is itself a batch norm.

        Returns:
            A new frozen layer if ``module`` is a batch norm, else ``module``.
        """
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            frozen = cls(module.num_features, module.eps)
            if module.affine:
                frozen.weight = module.weight.detach().clone()
                frozen.bias = module.bias.detach().clone()
            if module.running_mean is not None and module.running_var is not None:
                frozen.running_mean = module.running_mean.detach().clone()
                frozen.running_var = module.running_var.detach().clone()
            frozen.num_batches_tracked = module.num_batches_tracked
            return frozen
        for name, child in module.named_children():
            converted = cls.convert_frozen_batchnorm(child)
            if converted is not child:
                module.add_module(name, converted)
        return module

    def extra_repr(self) -> str:
        return f"num_features={self.num_features}, eps={self.eps}"

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Accept checkpoints without statistics, and with or without a batch counter."""
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            own = getattr(self, name)
            if own is None:
                state_dict.pop(prefix + name, None)
            else:
                state_dict.setdefault(prefix + name, own)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class ChannelLayerNorm(nn.Module):
    """Layer normalisation over the channels of each pixel.

    Args:
        num_channels: number of channels C of the (N, C, H, W) input.
        eps: added to the variance.

    Source: Ba et al., "Layer Normalization", 2016; on feature maps Liu et al., "A ConvNet for
    the 2020s", 2022.
    """

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))
        self.normalized_shape = (num_channels,)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W)."""
        channels_last = x.permute(0, 2, 3, 1)
        normalized = F.layer_norm(
            channels_last, self.normalized_shape, self.weight, self.bias, self.eps
        )
        return normalized.permute(0, 3, 1, 2)


def _group_norm(channels: int) -> nn.GroupNorm:
    """32 groups; where the channels do not divide into them, fewer of at least two."""
    groups = _GROUPS
    while channels % groups or (channels % _GROUPS and groups > 1 and channels // groups < 2):
        groups //= 2
    return nn.GroupNorm(groups, channels)


def _naive_sync_batch_norm_by_size(channels: int) -> NaiveSyncBatchNorm:
    return NaiveSyncBatchNorm(channels, stats_mode="N")


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "FrozenBN": FrozenBatchNorm2d,
    "GN": _group_norm,
    "nnSyncBN": nn.SyncBatchNorm,
    "naiveSyncBN": NaiveSyncBatchNorm,
    "naiveSyncBN_N": _naive_sync_batch_norm_by_size,
    "LN": ChannelLayerNorm,
}


def get_norm(norm: str | Callable[[int], nn.Module] | None, out_channels: int) -> nn.Module | None:
    """Build a normalisation layer by name.

    Args:
        norm: ``"BN"``, ``"SyncBN"``, ``"FrozenBN"``, ``"GN"`` (32 groups, fewer where the
            channels do not divide), ``"nnSyncBN"``, ``"naiveSyncBN"``, ``"naiveSyncBN_N"``,
            ``"LN"`` (over the channels of each pixel),
            or a callable from a channel count to a layer. ``""`` and None mean none.
        out_channels: number of channels to normalise.

    Returns:
        The layer, or None.

    Raises:
        ValueError: if the name is unknown.
    """
    if norm is None or norm == "":
        return None
    if isinstance(norm, str):
        if norm not in _NORMS:
            close = difflib.get_close_matches(norm, _NORMS, n=1, cutoff=0.4)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown norm {norm!r}{hint} Known are {sorted(_NORMS)} and ''")
        return _NORMS[norm](out_channels)
    return norm(out_channels)
