"""What is installed, what was loaded, and what was not and why."""

from __future__ import annotations

import importlib.metadata
import platform

from ._build import (
    COMPILER,
    CUDA_ARCHITECTURES,
    CUDA_VERSION,
    NAMESPACE,
    TORCH_HEADERS,
    VERSION,
)
from ._compiled import path_of


def build_info() -> dict[str, object]:
    """Describe this build and what it found at run time.

    Returns:
        Plain values under ``version``, ``namespace``, ``compiler``, ``torch_headers`` (the torch
        that the wheel was compiled against; it runs on any from 2.10), ``cuda_toolkit`` and
        ``cuda_architectures`` (None for a CPU wheel), ``wheel_tag`` (of the installed wheel; None
        where nothing says), ``kernels`` (the version chosen on this processor), ``platform``,
        ``python``, ``onnx_library``, ``torch``, ``torch_cuda``, ``cpu_library``, ``cuda_library``
        and ``cuda_missing_because``; where the operators cannot be loaded,
        ``operators_missing_because`` instead of those three. Where torch cannot be imported, it is
        None and ``torch_missing_because`` is the last.
    """
    info: dict[str, object] = {
        "version": VERSION,
        "namespace": NAMESPACE,
        "compiler": COMPILER,
        "torch_headers": TORCH_HEADERS,
        "cuda_toolkit": CUDA_VERSION or None,
        "cuda_architectures": CUDA_ARCHITECTURES or None,
        "wheel_tag": _wheel_tag(),
        "kernels": _chosen_kernels(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "onnx_library": path_of("_onnx_ops"),
    }
    try:
        import torch
    except (ImportError, OSError) as error:
        return info | {"torch": None, "torch_missing_because": str(error)}
    info |= {"torch": torch.__version__, "torch_cuda": torch.version.cuda}
    try:
        from ._library import load

        loaded = load()
    except ImportError as error:
        return info | {"operators_missing_because": str(error)}
    return info | {
        "cpu_library": loaded.cpu,
        "cuda_library": loaded.cuda,
        "cuda_missing_because": loaded.cuda_missing_because,
    }


def _wheel_tag() -> str | None:
    """The tags of the wheel that pip installed, as the file said."""
    try:
        distribution = importlib.metadata.distribution((__package__ or "").replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return None
    lines = (distribution.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ") for line in lines if line.startswith("Tag: ")]
    return ", ".join(tags) or None


def _chosen_kernels() -> str | None:
    try:
        from ._host import chosen_kernels
    except ImportError:
        return None
    return chosen_kernels()
