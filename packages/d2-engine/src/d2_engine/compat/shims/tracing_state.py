"""Whether a model is being traced; d2's own code looks at it where it has to."""

import torch
from torch.fx._symbolic_trace import is_fx_tracing

__all__ = ["_is_tracing", "assert_fx_safe", "is_fx_tracing"]


def _is_tracing() -> bool:
    """Whether torch.jit is tracing."""
    return bool(torch.jit.is_tracing())


def assert_fx_safe(condition: bool, message: str) -> None:
    """Assert, unless torch.fx is tracing, which has no values to look at."""
    if not is_fx_tracing():
        assert condition, message
