"""Every operator once on tiny inputs, forward and backward: what compute-sanitizer looks at.

python sanitized_calls.py [--dry]
"""

from __future__ import annotations

import sys

import torch
from device_timing import choose_device
from operator_cases import GROUPS
from operator_scene import TINY, Scene


def main(dry: bool) -> int:
    device = choose_device(dry)
    scene, calls = Scene(TINY, device, None), 0
    for group in GROUPS:
        for case in group(scene):
            case.ours()
            calls += 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    print(f"{calls} calls")
    return 0


if __name__ == "__main__":
    sys.exit(main("--dry" in sys.argv[1:]))
