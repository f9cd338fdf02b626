"""What operators do under ``torch.use_deterministic_algorithms``."""

from __future__ import annotations

import warnings

import torch


def warn_or_raise_if_deterministic(operator: str) -> None:
    """Say that an operator's CUDA backward is not deterministic where that was asked for.

    torch's own alert is not part of the stable ABI.

    Raises:
        RuntimeError: under ``torch.use_deterministic_algorithms(True)`` without ``warn_only``.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return
    message = (
        f"the CUDA backward of {operator} adds gradients in varying order and has no deterministic "
        "implementation, but torch.use_deterministic_algorithms(True) is set"
    )
    if not torch.is_deterministic_algorithms_warn_only_enabled():
        raise RuntimeError(message)
    warnings.warn(message, stacklevel=3)
