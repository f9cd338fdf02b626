"""Getting a model ready to predict fast."""

from __future__ import annotations

import copy
import logging
from typing import TypeVar

import torch
from torch import nn

from .layers.folded_convolution import fold_norms

_logger = logging.getLogger(__name__)

Model = TypeVar("Model", bound=nn.Module)


def optimize_for_inference(
    model: Model,
    *,
    memory_format: torch.memory_format | None = None,
    compile: bool = False,
    inplace: bool = False,
) -> Model:
    """Return a model that predicts the same, faster.

    Frozen and evaluated batch norms are multiplied into convolutions once instead of at every
    call, and weights of convolutions take the memory format that suits the device. What was done
    is logged. Outputs differ by rounding: by less than 1e-4 of their largest magnitude in float32.

    Names of modules and of what a state dict holds stay; weights may be loaded, and the model may
    be moved, hooked, saved and trained further. Layers that are not plain convolutions (wrapped by
    LoRA, quantised, parametrised, with hooked norms or norms with an own forward) are left alone.
    Call it again after writing to the ``data`` of weights, which goes unseen.

    Args:
        model: any model; what of it is a `d2_modeling.layers.Conv2d` with a norm gets faster.
        memory_format: of the convolutions' weights, which the maps between them follow. None
            chooses by rule: ``torch.channels_last`` on CPUs where torch has oneDNN, whose kernels
            compute in that order and would else bring maps into it and back, and for half
            precision on CUDA, whose tensor cores want it; elsewhere the order that is there.
        compile: also compile ``model.backbone`` for images of any size. Additions and ReLUs are
            then computed within the convolutions and weights packed for the processor. The first
            image takes minutes longer, and a C++ compiler has to be there.
        inplace: change and return ``model`` itself instead of a copy. A copy shares no weights
            with the model, but has the same hooks.

    Returns:
        The model, in evaluation mode.

    Raises:
        ValueError: if ``compile`` is on for a model without a module ``backbone``.
    """
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
    folded = fold_norms(model)
    if compile:
        model.backbone.compile(dynamic=True, options={"freezing": True})  # type: ignore[union-attr]  # checked above
    _logger.info(
        "Optimised %s for inference: %d norms folded into convolutions; memory format %s (%s)%s",
        type(model).__name__,
        folded,
        "kept" if chosen is None else str(chosen).removeprefix("torch."),
        reason,
        "; the backbone is compiled at the first image" if compile else "",
    )
    return model


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


def _set_format(model: nn.Module, memory_format: torch.memory_format) -> None:
    """Bring the weights of plain convolutions into a memory format."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            weight = layer._parameters.get("weight")
            if type(weight) is nn.Parameter:
                weight.data = weight.data.contiguous(memory_format=memory_format)
