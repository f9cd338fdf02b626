"""Surviving a full GPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

_logger = logging.getLogger(__name__)


def retry_if_cuda_oom(func: Callable[P, R]) -> Callable[P, R]:
    """Make a function try again when CUDA runs out of memory.

    The second try comes after emptying torch's memory cache; the third with every argument that
    has ``.device`` and ``.to`` moved to the CPU, so its results may be CPU tensors. Arguments are
    looked at one by one, not inside containers. Other errors pass through.

    Args:
        func: may be called up to three times with the same arguments, so it must be stateless.

    Returns:
        The function, retrying.

    Example:
        ``output = retry_if_cuda_oom(some_torch_function)(input1, input2)``
    """

    @wraps(func)
    def retrying(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return func(*args, **kwargs)
        except torch.OutOfMemoryError:
            pass  # leave the handler first: the traceback keeps tensors of the failed call alive
        torch.cuda.empty_cache()
        try:
            return func(*args, **kwargs)
        except torch.OutOfMemoryError:
            pass
        _logger.info("CUDA is out of memory: running %r with its arguments on the CPU", func)
        on_cpu = [_to_cpu(argument) for argument in args]
        named_on_cpu = {name: _to_cpu(argument) for name, argument in kwargs.items()}
        return func(*on_cpu, **named_on_cpu)  # type: ignore[arg-type]  # same signature, moved values

    return retrying


def _to_cpu(argument: object) -> object:
    device, to = getattr(argument, "device", None), getattr(argument, "to", None)
    on_cuda = isinstance(device, torch.device) and device.type == "cuda"
    return to("cpu") if on_cuda and callable(to) else argument
