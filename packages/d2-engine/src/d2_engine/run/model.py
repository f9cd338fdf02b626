"""The model of a plan, as the plan wants to run it."""

import logging

import torch
from torch import nn

from d2_engine.activation_checkpointing import checkpoint_activations
from d2_engine.devices import choose_device
from d2_engine.run.plan import RunPlan

_logger = logging.getLogger(__name__)


def build_model(plan: RunPlan) -> nn.Module:
    """Build a plan's model on its device, with what its options say of memory and compiling.

    Raises:
        ValueError: if the device is not there, or an option asks for a backbone of a model that
            has none.
    """
    try:
        device = choose_device(plan.device)
    except ValueError as error:
        raise ValueError(f"{plan.settings.called('device')}: {error}") from error
    model = plan.model().to(device)
    options = plan.options
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs want a dtype as well
    if options.activation_checkpointing:
        count = checkpoint_activations(_backbone(model, "activation_checkpointing"))
        _logger.info("Activations of %d blocks are computed twice instead of kept", count)
    if options.compile:
        # Images differ in size; without this each size would be compiled anew.
        _backbone(model, "compile").compile(dynamic=True)
    total = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    _logger.info(
        "%s: %s parameters, %s trainable", type(model).__name__, f"{total:,}", f"{trainable:,}"
    )
    return model


def _backbone(model: nn.Module, option: str) -> nn.Module:
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise ValueError(
            f"{option} is for the backbone of a model, and {type(model).__name__} has no module "
            "'backbone': turn the option off"
        )
    return backbone
