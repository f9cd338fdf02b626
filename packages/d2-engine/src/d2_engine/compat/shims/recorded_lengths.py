"""``len`` of tensors in traces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from torch import Tensor


@contextmanager
def patch_builtin_len(modules: Sequence[str] = ()) -> Iterator[None]:
    """Let ``len`` of a tensor be recorded by `torch.jit.trace` in the code of some modules.

    The code of d2 needs it nowhere.

    Args:
        modules: their names.
    """
    patched = [import_module(name) for name in modules]
    before = [vars(module).get("len") for module in patched]
    for module in patched:
        vars(module)["len"] = _recorded_length
    try:
        yield
    finally:
        for module, length in zip(patched, before, strict=True):
            if length is None:
                del vars(module)["len"]
            else:
                vars(module)["len"] = length


def _recorded_length(value: Any) -> Any:
    return value.shape[0] if isinstance(value, Tensor) else len(value)
