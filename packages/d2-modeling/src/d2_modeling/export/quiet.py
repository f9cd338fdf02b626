"""Silence of what exporting is built on, where what it says is not for our caller."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import torch

__all__ = ["quiet_archive", "quiet_export", "quiet_log", "quiet_torchscript"]


@contextmanager
def quiet_torchscript() -> Iterator[None]:
    """Silence that TorchScript is deprecated, and what a trace says of Python values.

    Such values are meant to be constant: numbers of channels and levels, checks of types.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.")  # of a category that torch changes
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield


@contextmanager
def quiet_export() -> Iterator[None]:
    """Silence `torch.export`, which prints a graph that it cannot finish, as far as it got."""
    shapes = "torch.fx.experimental.symbolic_shapes"
    with quiet_log(shapes), warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@contextmanager
def quiet_archive() -> Iterator[None]:
    """Silence what reads and writes the files of `torch.export` and AOTInductor.

    It warns of every name that does not end in .pt2, and by torch 2.10 of weights that lie in
    memory which is only read.
    """
    with quiet_log("torch.export.pt2_archive._package"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given buffer is not writable")
        yield


@contextmanager
def quiet_log(name: str | None) -> Iterator[None]:
    """Let a logger, the root for None, say nothing but errors."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
