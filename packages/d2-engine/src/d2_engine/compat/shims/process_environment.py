"""Seeds and versions of the process."""

import importlib.util
import logging
import os
import random
import sys
from datetime import datetime
from types import ModuleType
from typing import Any

import numpy as np
import torch

__all__ = [
    "DOC_BUILDING",
    "TORCH_VERSION",
    "fixup_module_metadata",
    "seed_all_rng",
    "setup_custom_environment",
    "setup_environment",
]

TORCH_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])
"""Major and minor version of torch."""

DOC_BUILDING = False
"""Whether documentation is being built, in which case classes are not replaced."""


def seed_all_rng(seed: int | None = None) -> None:
    """Seed NumPy, torch and Python; without a seed by one of time and process, which is logged."""
    if seed is None:
        moment = datetime.now()
        seed = os.getpid() + int(moment.strftime("%S%f")) + int.from_bytes(os.urandom(2), "big")
        logging.getLogger(__name__).info("Using the seed %d", seed)
    np.random.seed(seed)  # noqa: NPY002  # projects draw from the global one
    torch.manual_seed(seed)
    random.seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)


def setup_environment() -> None:
    """Run the Python file or module that ``$DETECTRON2_ENV_MODULE`` names, if it is set."""
    module = os.environ.get("DETECTRON2_ENV_MODULE")
    if module:
        setup_custom_environment(module)


def setup_custom_environment(custom_module: str) -> None:
    """Import a file or module, and call its ``setup_environment``."""
    if custom_module.endswith(".py"):
        module: Any = _import_file("detectron2.utils.env.custom_module", custom_module)
    else:
        module = importlib.import_module(custom_module)
    module.setup_environment()


def fixup_module_metadata(
    module_name: str, namespace: dict[str, Any], keys: list[str] | None = None
) -> None:
    """Let objects say that they are of the module that exports them."""
    for name in namespace if keys is None else keys:
        if not name.startswith("_"):
            _set_module(namespace[name], name, module_name, set())


def _set_module(obj: Any, name: str, module_name: str, seen: set[int]) -> None:
    origin = getattr(obj, "__module__", None)
    if id(obj) in seen or not isinstance(origin, str) or not origin.startswith("detectron2."):
        return
    seen.add(id(obj))
    obj.__module__ = module_name
    if hasattr(obj, "__name__") and "." not in obj.__name__:
        obj.__name__ = obj.__qualname__ = name
    if isinstance(obj, type):
        for attribute, value in obj.__dict__.items():
            _set_module(value, attribute, module_name, seen)


def _import_file(name: str, path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
