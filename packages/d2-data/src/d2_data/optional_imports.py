"""Libraries that are used where they are installed, and not missed where they are not."""

import importlib
import logging
from types import ModuleType

_logger = logging.getLogger(__name__)


def imported(name: str) -> ModuleType | None:
    """A module, or None where it is not installed or does not work here."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            return None
        _logger.warning("%s is installed but lacks %r, and is not used", name, error.name)
    except (ImportError, OSError, RuntimeError) as error:
        # Built for another torch, or a system library is missing.
        _logger.warning("%s is installed but does not work, and is not used: %s", name, error)
    return None
