"""What is installed, what was loaded, and what was not and why."""

from __future__ import annotations

import platform

from . import _build


def build_info() -> dict[str, object]:
    """Describe this build and what it found at run time.

    Returns:
        Plain values under ``version``, ``namespace``, ``compiler``, ``torch_headers`` (the torch
        that the wheel was compiled against; it runs on any from 2.10), ``cuda_toolkit`` and
        ``cuda_architectures`` (None for a CPU wheel), ``python``, ``torch`` (None where it cannot
        be imported), ``torch_cuda``, ``cpu_library``, ``cuda_library`` and
        ``cuda_missing_because``.
    """
    info: dict[str, object] = {
        "version": _build.VERSION,
        "namespace": _build.NAMESPACE,
        "compiler": _build.COMPILER,
        "torch_headers": _build.TORCH_HEADERS,
        "cuda_toolkit": _build.CUDA_VERSION or None,
        "cuda_architectures": _build.CUDA_ARCHITECTURES or None,
        "python": platform.python_version(),
    }
    try:
        import torch
    except ImportError as error:
        return info | {"torch": None, "torch_missing_because": str(error)}
    from ._library import load

    loaded = load()
    return info | {
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "cpu_library": loaded.cpu,
        "cuda_library": loaded.cuda,
        "cuda_missing_because": loaded.cuda_missing_because,
    }
