"""What has to be there before libraries are loaded; what is not is said in one sentence."""

from __future__ import annotations

import platform
import sys
import sysconfig
import traceback
import warnings
from functools import partial
from types import ModuleType

OLDEST_TORCH = (2, 10)
_DISTRIBUTION = (__package__ or "").replace("_", "-")
_NEEDED = f"torch {OLDEST_TORCH[0]}.{OLDEST_TORCH[1]} or later"
_INSTALL = f"pip install 'torch>={OLDEST_TORCH[0]}.{OLDEST_TORCH[1]}'"
# Of the same version as what is installed, which pip would leave as it is.
_BUILD = (
    "pip install scikit-build-core nanobind cmake ninja && pip install --force-reinstall --no-deps "
    f"--no-build-isolation --no-binary {_DISTRIBUTION} {_DISTRIBUTION}"
)


def import_torch() -> ModuleType:
    """Import torch.

    Raises:
        ImportError: if it is missing, broken or too old.
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        raise no_torch(error) from error
    require_torch_version(torch.__version__)
    return torch


def is_of_torch(error: Exception) -> bool:
    """Whether an import failed for want of torch, or inside it."""
    if _is_missing(error):
        return True
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__", "").split(".")[0] == "torch" for frame in frames)


def no_torch(error: Exception) -> ImportError:
    """The error where torch is missing or broken."""
    # pip would leave a broken one as it is.
    install = "install" if _is_missing(error) else "install --force-reinstall"
    return ImportError(
        f"{__package__}'s operators need {_NEEDED}, and torch cannot be imported ({error}): "
        f"{_INSTALL.replace('install', install)}; {__package__}.host works without",
        name="torch",
    )


def _is_missing(error: Exception) -> bool:
    return isinstance(error, ModuleNotFoundError) and error.name == "torch"


def require_torch_version(version: str) -> None:
    """Raise ImportError for a torch older than the libraries' stable ABI."""
    parts = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    if parts < OLDEST_TORCH:
        raise ImportError(
            f"{__package__}'s operators need {_NEEDED}, found torch {version}: "
            f"{_INSTALL.replace('install', 'install --upgrade')}",
            name="torch",
        )


def no_library(library: str) -> ImportError:
    """The error where the package holds no such compiled library for this Python."""
    return _unusable(library, "is not among its files")


def unloadable(library: str, error: Exception) -> ImportError:
    """The error where a compiled library is there and this machine cannot load it."""
    return _unusable(library, f"does not load: {error}")


def _unusable(library: str, because: str) -> ImportError:
    found = f"{platform.system()} on {platform.machine()}, {sys.implementation.name} "
    found += platform.python_version()
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        found += " built without the global lock"
    return ImportError(
        f"{__package__} has no compiled {library} for this machine ({found}), it {because}; its "
        "wheels are for CPython 3.11 and later, built with the global lock, on Linux (x86-64, "
        "ARM64) and macOS (ARM64): install one of those, or build it where torch and a C++ "
        f"compiler are: {_BUILD}",
        name=f"{__package__}.{library}",
    )


def require_free_namespace(namespace: str, probe: str) -> None:
    """Raise ImportError if another copy of the library has registered its operators.

    Args:
        namespace: of torch's operators.
        probe: an operator that every copy defines.
    """
    import torch

    if torch._C._jit_get_schemas_for_operator(f"{namespace}::{probe}"):
        raise ImportError(
            f"torch.ops.{namespace} is registered already, by another copy of the library: two "
            f"cannot share a namespace; build {__package__} under one of its own: "
            "pip install . --no-build-isolation -C cmake.define.D2_OPS_NAMESPACE=another_name"
        )


def driver_too_old(toolkit: str) -> str | None:
    """None, or that the driver is of an older CUDA than the one whose runtime a build holds.

    A torch of CUDA 12 runs on drivers that no operator built with CUDA 13 starts on; the torch's
    own line says nothing, since newer drivers serve every older one.

    Args:
        toolkit: the release of CUDA that the operators were built with, such as 13.0.88.
    """
    import torch

    if not torch.cuda.is_available():
        return None
    driver: int = getattr(torch._C, "_cuda_getDriverVersion")()  # noqa: B009 - untyped; 12040 is 12.4
    if driver // 1000 >= int(toolkit.split(".")[0]):
        return None
    return (
        f"they were built with CUDA {toolkit}, and the driver is of CUDA "
        f"{driver // 1000}.{driver % 1000 // 10}: update the driver, or take an older nvcc"
    )


def warn_of_missing_cuda(reason: str) -> None:
    """Say once that a GPU is there whose tensors the operators will not take."""
    import torch

    if not torch.cuda.is_available():
        return
    if torch.version.cuda is None:  # torch for AMD's GPUs calls them CUDA, too
        device, remedy = "GPU", "move them to the CPU first"
    else:
        device = f"CUDA {torch.version.cuda} device"
        remedy = f"build them where nvcc and torch are: {_BUILD}"
    warnings.warn(
        f"torch {torch.__version__} sees a {device} and {__package__} has no operators for it "
        f"({reason}); tensors on it will be refused: {remedy}",
        RuntimeWarning,
        stacklevel=2,
    )


def watch_devices(architectures: str) -> None:
    """Warn of GPUs that a build has no code for, once torch starts CUDA, which is not done here.

    A process that has started it cannot be forked.
    """
    import torch

    torch.cuda._lazy_call(partial(_warn_of_unserved_devices, architectures))


def _warn_of_unserved_devices(architectures: str) -> None:
    import torch

    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        if not serves(architectures, 10 * major + minor):
            warnings.warn(
                f"cuda:{index} has compute capability {major}.{minor}, for which {__package__}'s "
                f"operators have no code (they were built for {architectures}): tensors on it will "
                f"be refused. Build them with -C cmake.define.D2_OPS_CUDA_ARCHITECTURES={major}"
                f"{minor} where nvcc and torch are: {_BUILD}",
                RuntimeWarning,
                stacklevel=2,
            )


def serves(architectures: str, capability: int) -> bool:
    """Whether code for some architectures runs on a GPU.

    Compiled code runs on GPUs of the same generation that are not older; PTX, which one without
    ``-real`` has, on all that are not older.

    Args:
        architectures: as CMake takes them, such as ``75-real;80-real;90``.
        capability: of the GPU, 86 for 8.6.
    """
    for architecture in architectures.split(";"):
        number, _, kind = architecture.partition("-")
        if not number.isdigit():  # "all", "native", "90a": CMake knows
            return True
        if int(number) <= capability and (kind != "real" or int(number) // 10 == capability // 10):
            return True
    return False
