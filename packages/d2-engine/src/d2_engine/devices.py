"""Where a model runs, and in which precision."""

import logging
from typing import Any

import torch

_logger = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """Return the device of a name: ``"auto"`` is CUDA where there is a device, else the CPU.

    Args:
        name: ``auto``, or what :class:`torch.device` takes.

    Raises:
        ValueError: if the name is no device, or asks for CUDA where there is none.
    """
    available = torch.cuda.is_available()
    if name == "auto":
        return torch.device("cuda" if available else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"{name!r} names no device: use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not available:
        raise ValueError(
            f"the device {name!r} was asked for, but torch finds no CUDA device: use cpu or auto"
        )
    return device


def use_mixed_precision(enabled: bool | str, device: torch.device) -> bool:
    """Return whether to train in mixed precision; ``"auto"`` does where it is faster.

    That is on CUDA, and on CPUs that multiply bfloat16 (as far as torch can tell); the log says
    which of the two a CPU is.

    Args:
        enabled: True, False or ``"auto"``.
        device: where the model trains.

    Raises:
        ValueError: if ``enabled`` is neither a boolean nor ``"auto"``.
    """
    if not isinstance(enabled, bool) and enabled != "auto":
        raise ValueError(f"mixed precision is true, false or auto, got {enabled!r}")
    if device.type != "cpu":
        return device.type == "cuda" if enabled == "auto" else bool(enabled)
    native = _multiplies_bfloat16()
    if enabled == "auto":
        reason = "multiplies bfloat16" if native else "is not known to multiply bfloat16"
        _logger.info(
            "Training in %s: this processor %s", "bfloat16" if native else "float32", reason
        )
        return native
    if enabled and not native:
        _logger.warning(
            "Mixed precision was asked for on a processor that is not known to multiply bfloat16, "
            "which may take ten times as long as float32; auto would train in float32"
        )
    return bool(enabled)


def _multiplies_bfloat16() -> bool:
    tell: Any = getattr(torch.cpu, "get_capabilities", dict)  # torch 2.13 and later
    capabilities = tell()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
