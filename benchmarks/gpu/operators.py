"""Step: every operator beside torchvision's, and what it moves beside what the device copies."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from device_timing import alternate, choose_device, copy_rate, warm_up
from operator_cases import GROUPS
from operator_scene import FULL, TINY, Case, Scene
from record import note


def torchvision_or_none() -> ModuleType | None:
    """The peer, if it can be imported."""
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:
        print(f"no torchvision to compare with: {error}")
        return None
    return torchvision


def measure(case: Case, scene: Scene, copied_per_second: float) -> dict[str, Any]:
    """The figure of a case; on a stand-in once is enough."""
    effort = {} if scene.device.type == "cuda" else {"rounds": 1, "warm": 0}
    paired = alternate(case.ours, case.peer, scene.device, **effort)
    moved = None if case.least_bytes is None else case.least_bytes / paired.ours
    return {
        "step": "operators",
        "name": case.name,
        "mode": case.mode,
        "what": case.what,
        **paired._asdict(),
        "bytes_per_second": moved,
        "share_of_copy_rate": None if moved is None else moved / copied_per_second,
    }


def measure_all(scene: Scene, copied_per_second: float) -> int:
    """Note the figures of every group; an error ends its group only.

    Returns:
        How many groups failed.
    """
    failed = 0
    for group in GROUPS:
        try:
            for case in group(scene):
                figure = measure(case, scene, copied_per_second)
                note("figure", **figure)
                print(_line(figure))
        except Exception as error:
            failed += 1
            traceback.print_exc()
            name = _name(group)
            note("figure", step="operators", name=name, mode=None, what="", error=repr(error))
        if scene.device.type == "cuda":
            torch.cuda.empty_cache()
    return failed


def _name(group: Callable[..., Any]) -> str:
    return group.__name__


def _line(figure: dict[str, Any]) -> str:
    ratio = "—" if figure["ratio"] is None else f"{figure['ratio']:.2f}x"
    name = f"{figure['name']} {figure['mode']}, {figure['what']}"
    return f"{figure['ours'] * 1e6:12.1f} µs {ratio:>8}  {name}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true")
    dry = parser.parse_args().dry
    device = choose_device(dry)
    warm_up(device, 0.05 if dry else 0.5)
    copied = copy_rate(device, 1 << 20 if dry else 1 << 31)
    note("environment", copy_bytes_per_second=copied)
    scene = Scene(TINY if dry else FULL, device, torchvision_or_none())
    return 1 if measure_all(scene, copied) else 0


if __name__ == "__main__":
    sys.exit(main())
