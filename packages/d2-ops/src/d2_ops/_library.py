"""Loads the compiled operator libraries: CPU always, CUDA where torch has it."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

from . import _preconditions
from ._build import CUDA_ARCHITECTURES, CUDA_VERSION, NAMESPACE
from ._compiled import path_of

torch = _preconditions.import_torch()


class LoadedLibraries(NamedTuple):
    """What was found and loaded."""

    cpu: str  # path of the library
    cuda: str | None
    cuda_missing_because: str | None  # None when loaded


@cache
def load() -> LoadedLibraries:
    """Load the libraries, once: schemas and kernels. The modules of the operators add the rest."""
    cpu = path_of("_cpu_ops")
    if cpu is None:
        raise _preconditions.no_library("_cpu_ops")
    _preconditions.require_free_namespace(NAMESPACE, "nms")
    try:
        torch.ops.load_library(cpu)
    except OSError as error:
        raise _preconditions.unloadable("_cpu_ops", error) from error
    cuda, missing_because = _load_cuda()
    if missing_because is not None:
        _preconditions.warn_of_missing_cuda(missing_because)
    return LoadedLibraries(cpu, cuda, missing_because)


def _load_cuda() -> tuple[str | None, str | None]:
    """The path of the CUDA library, or why it is not loaded."""
    cuda = path_of("_cuda_ops")
    if cuda is None:
        return None, "this wheel was built without a CUDA compiler"
    if torch.version.cuda is None:
        return None, f"torch {torch.__version__} is built without CUDA"
    if reason := _preconditions.driver_too_old(CUDA_VERSION):
        return None, reason
    try:
        torch.ops.load_library(cuda)
    except OSError as error:
        return None, f"those built with CUDA {CUDA_VERSION} do not load beside it: {error}"
    _preconditions.watch_devices(CUDA_ARCHITECTURES)
    return cuda, None


def operators() -> Any:
    """The loaded operators, ``torch.ops.<namespace>``."""
    load()
    return getattr(torch.ops, NAMESPACE)


def call(name: str, operator: Any, *arguments: object) -> Any:
    """Call an operator whose kernel looks at the values of its arguments.

    What a kernel finds wrong with them is a ValueError in torch up to 2.14, and a RuntimeError from
    2.15 on: here it is a ValueError with any.

    Args:
        name: that such an error's text begins with.
        operator: of :func:`operators`.
        arguments: of the operator.
    """
    try:
        return operator(*arguments)
    except RuntimeError as error:
        if str(error).startswith(f"{name}: "):
            raise ValueError(str(error)) from None
        raise


def qualified(name: str) -> str:
    """An operator's name as ``torch.library`` takes it."""
    return f"{NAMESPACE}::{name}"
