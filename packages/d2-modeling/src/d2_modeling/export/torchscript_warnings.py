"""What `torch.jit` warns of where TorchScript is what was asked for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["quiet_torchscript"]


@contextmanager
def quiet_torchscript() -> Iterator[None]:
    """Silence that TorchScript is deprecated, and what a trace says of Python values.

    Such values are meant to be constant: numbers of channels and levels, checks of types.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield
