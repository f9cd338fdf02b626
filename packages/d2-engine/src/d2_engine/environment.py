"""What a run was made with: versions, kernels, devices."""

import importlib.metadata
import os
import platform
import sys
from typing import Any

PACKAGES = (
    "d2-config",
    "d2-ops",
    "d2-structures",
    "d2-data",
    "d2-modeling",
    "d2-eval",
    "d2-engine",
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "pycocotools",
    "omegaconf",
    "hydra-core",
    "tensorboard",
)


def collect_environment() -> dict[str, str]:
    """Return what matters for reproducing a run or reporting a bug, one value a line."""
    info = {
        "platform": platform.platform(),
        "python": sys.version.split()[0],
        **{name: _version(name) for name in PACKAGES},
        **_devices(),
        **_kernels(),
    }
    for variable in ("D2_DATASETS", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        if variable in os.environ:
            info[f"${variable}"] = os.environ[variable]
    return info


def format_environment(info: dict[str, str]) -> str:
    """Return aligned lines of names and values."""
    width = max(len(name) for name in info)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in info.items())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _devices() -> dict[str, str]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"torch does not load": str(error)}
    info = {"CPU threads": str(torch.get_num_threads())}
    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else ""
        info["CUDA"] = "no" + (f" ({built})" if built else " (CPU build of torch)")
        return info
    info["CUDA"] = f"yes ({torch.version.cuda})"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        info[f"GPU {index}"] = (
            f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, "
            f"capability {properties.major}.{properties.minor}"
        )
    return info


def _kernels() -> dict[str, str]:
    try:
        import d2_ops

        build: dict[str, Any] = d2_ops.build_info()
    except (ImportError, OSError) as error:
        return {"d2-ops kernels": f"not loaded: {error}"}
    return {f"d2-ops {name}": _one_line(value) for name, value in build.items()}


def _one_line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {inner}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return str(value)
