"""Getting a model ready to predict fast."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from .layers.folded_convolution import FoldedConv2d, fold_norms, unfold_norms
from .layers.fused_linear import FusedLinear, fuse_linears, unfuse_linears
from .layers.reduced_precision import reduce_precision, restore_precision

_logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=nn.Module)


def optimize_for_inference(
    model: Model,
    *,
    memory_format: torch.memory_format | None = None,
    dtype: torch.dtype | None = None,
    compile: bool = False,
    inplace: bool = False,
) -> Model:
    """Return a model that predicts the same, faster.

    Frozen and evaluated batch norms are multiplied into convolutions once instead of at every
    call, weights of convolutions take the memory format that suits the device, and linear layers
    are computed with their bias, in transformers with their GELU, by oneDNN. What was done is
    logged. Outputs differ by rounding: by less than 1e-4 of their largest magnitude in float32.

    Names of modules and of what a state dict holds stay; weights may be loaded, and the model may
    be moved, hooked, saved and trained further. Layers that are not plain convolutions (wrapped by
    LoRA, quantised, parametrised, with hooked norms or norms with an own forward) are left alone.
    Call it again after writing to the ``data`` of weights, which goes unseen.

    Args:
        model: any model; what of it is a `d2_modeling.layers.Conv2d` with a norm, or an
            ``nn.Linear``, gets faster.
        memory_format: of the convolutions' weights, which the maps between them follow. None
            chooses by rule: ``torch.channels_last`` on CPUs where torch has oneDNN, whose kernels
            compute in that order and would else bring maps into it and back, and for half
            precision on CUDA, whose tensor cores want it; elsewhere the order that is there.
        dtype: what the backbone and the hidden convolutions of heads compute in. None leaves that
            as it is. ``torch.bfloat16`` is for processors that multiply in it (AVX512-BF16 or
            AMX, or CUDA): elsewhere it takes many times as long, so that float32 stays and the log
            says so. Weights, state dicts, and what scores and boxes are read from stay float32;
            feature maps differ by up to 3 % of their largest magnitude, and detections near the
            thresholds come and go. ``torch.float32`` undoes it.
        compile: also compile ``model.backbone`` for images of any size. Additions and ReLUs are
            then computed within the convolutions and weights packed for the processor. The first
            image takes minutes longer, and a C++ compiler has to be there.
        inplace: change and return ``model`` itself instead of a copy. A copy shares no weights
            with the model, but has the same hooks.

    Returns:
        The model, in evaluation mode.

    Raises:
        ValueError: if ``compile`` is on for a model without a module ``backbone`` or together with
            ``dtype``, or ``dtype`` is another.
    """
    _check_dtype(dtype, compile)
    backbone = getattr(model, "backbone", None)
    if compile and not isinstance(backbone, nn.Module):
        raise ValueError(
            f"compile is for the backbone of a model, and {type(model).__name__} has no module "
            "'backbone': leave it off"
        )
    model = (model if inplace else _copy_with_hooks(model)).eval()
    chosen, reason = (memory_format, "as asked for") if memory_format else _format_for(model)
    if chosen is not None:
        _set_format(model, chosen)
    folded, fused = fold_norms(model), fuse_linears(model)
    precision = "" if dtype is None else f"; {_set_precision(model, dtype)}"
    if compile:
        model.backbone.compile(dynamic=True, options={"freezing": True})  # type: ignore[union-attr]  # checked above
    _logger.info(
        "Optimised %s for inference: %d norms folded into convolutions; %d linear layers by "
        "oneDNN; memory format %s (%s)%s%s",
        type(model).__name__,
        folded,
        fused,
        "kept" if chosen is None else str(chosen).removeprefix("torch."),
        reason,
        precision,
        "; the backbone is compiled at the first image" if compile else "",
    )
    return model


@contextmanager
def optimized_for_inference(model: nn.Module) -> Iterator[None]:
    """Let a model predict in the block as `optimize_for_inference` would have it.

    For a model in training, which is evaluated between its iterations: behind the block it is as
    it was, and so is its mode all the time.

    Args:
        model: any model; one that is optimised already stays so. Its weights are not to be written
            in the block.
    """
    if any(isinstance(layer, FoldedConv2d | FusedLinear) for layer in model.modules()):
        yield
        return
    weights = _weights_of_convolutions(model)
    before = [weight.data for weight in weights]
    chosen, _ = _format_for(model)
    if chosen is not None:
        _set_format(model, chosen)
    fold_norms(model)
    fuse_linears(model)
    try:
        yield
    finally:
        unfold_norms(model)
        unfuse_linears(model)
        for weight, data in zip(weights, before, strict=True):
            weight.data = data


def _check_dtype(dtype: torch.dtype | None, compile: bool) -> None:
    if dtype not in (None, torch.float32, torch.bfloat16):
        raise ValueError(f"dtype can be torch.bfloat16 or torch.float32, got {dtype}")
    if compile and dtype is torch.bfloat16:
        raise ValueError("compile and dtype=torch.bfloat16 do not go together: choose one")


def _set_precision(model: nn.Module, dtype: torch.dtype) -> str:
    """Let a model compute in a type where that pays, and say what was done."""
    if dtype is torch.float32:
        restore_precision(model)
        return "float32 as asked for"
    reason = _why_not_bfloat16(model)
    if reason is not None:
        return f"float32 instead of bfloat16: {reason}"
    return f"{reduce_precision(model, dtype)} modules compute in bfloat16"


def _why_not_bfloat16(model: nn.Module) -> str | None:
    device = next((p.device.type for p in model.parameters()), "cpu")
    if device == "cuda":
        return None if torch.cuda.is_bf16_supported() else "the GPU has no bfloat16"
    if device != "cpu":
        return f"nothing is known of it on {device}"
    known = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # since torch 2.6
    if torch.backends.mkldnn.is_available() and any(
        getattr(torch.cpu, name, lambda: False)() for name in known
    ):
        return None
    return "this processor has neither AVX512-BF16 nor AMX, and would take many times as long"


def _copy_with_hooks(model: Model) -> Model:
    """A copy whose hooks are the same functions: they belong to whoever registered them."""
    hooks = {
        id(hook): hook
        for module in model.modules()
        for registered in (module._forward_hooks, module._forward_pre_hooks)
        for hook in registered.values()
    }
    copied: Model = copy.deepcopy(model, dict(hooks))
    return copied


def _format_for(model: nn.Module) -> tuple[torch.memory_format | None, str]:
    """The memory format for where a model lies, None for leaving it, and why."""
    first = next((p for p in model.parameters() if p.dim() == 4), None)
    if first is None:
        return None, "no convolutions"
    device = first.device.type
    if device == "cpu" and torch.backends.mkldnn.is_available():
        return torch.channels_last, "the order that oneDNN computes in"
    if device == "cuda" and first.dtype in (torch.float16, torch.bfloat16):
        return torch.channels_last, "the order of tensor cores"
    return None, f"no other is known to be faster in {first.dtype} on {device}"


def _weights_of_convolutions(model: nn.Module) -> list[nn.Parameter]:
    """The weights of plain convolutions, neither parametrised nor quantised."""
    layers = (m for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))
    weights = (layer._parameters.get("weight") for layer in layers)
    return [weight for weight in weights if type(weight) is nn.Parameter]


def _set_format(model: nn.Module, memory_format: torch.memory_format) -> None:
    for weight in _weights_of_convolutions(model):
        weight.data = weight.data.contiguous(memory_format=memory_format)
