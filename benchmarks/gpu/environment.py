"""Notes the machine, and prints the architecture that d2-ops is built for; the first thing run.

    python environment.py [--dry]       # prints "90" on a device of compute capability 9.0

Without a CUDA device the status is 1, with ``--dry`` 0.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Any

import torch
from _paired import environment
from record import note


def device_facts() -> dict[str, Any]:
    """What of the device explains its figures."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "card": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "memory_bytes": properties.total_memory,
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }


def main(dry: bool) -> int:
    available = torch.cuda.is_available()
    if not available and not dry:
        print("torch finds no CUDA device; --dry tries the script without one", file=sys.stderr)
        return 1
    facts = device_facts() if available and not dry else {"card": "none (dry run)"}
    packages = ("numpy", "pillow", "torch", "torchvision", "pytest", "hypothesis")
    note("environment", dry=dry, **facts, **environment(packages), pip=version("pip"))
    print("".join(map(str, torch.cuda.get_device_capability())) if available else "90")
    return 0


if __name__ == "__main__":
    sys.exit(main("--dry" in sys.argv[1:]))
