"""Kernels are chosen for the processor that there is; the results are the same on all of them."""

import os
import platform
import shutil
import subprocess
import sys
from functools import cache

import pytest

QEMU = next(filter(None, map(shutil.which, ("qemu-x86_64", "qemu-x86_64-static"))), None)
# As many kernels that have a version for each processor as NumPy alone calls.
RESULTS = """
import hashlib
import numpy as np
from d2_ops import host, overlay
from d2_ops._host import chosen_kernels

random = np.random.default_rng(0)
picture = random.integers(0, 256, (61, 83, 3), dtype=np.uint8)
masks = random.random((2, 61, 83)) > 0.4
heatmaps = random.standard_normal((2, 3, 14, 14)).astype(np.float32)
boxes = np.array([[3, 4, 40.5, 51.25], [10, 2, 70, 60]], np.float32)
truths = host.rle_encode(masks)
results = [
    host.resize_picture(picture, 37, 95),
    host.mask_boundary(masks[0]),
    host.heatmaps_to_keypoints(heatmaps, boxes),
    host.crop_and_resize_bitmasks(masks, boxes, 28),
    host.rle_iou(truths, truths, np.zeros(2, bool)),
    host.confusion_matrix(picture[..., 0] % 7, picture[..., 1] % 7, 7),
    overlay.soften_mask(masks[1], 0, 0, 61, 83)[2],
]
planes = picture.transpose(2, 0, 1).copy()
overlay.stroke_paths(planes, [[[2.0, 3.0, 70.5, 44.25]]], [2.5], [[9, 200, 30, 256]])
data = b"".join(np.ascontiguousarray(one).tobytes() for one in [*results, planes])
print(hashlib.sha256(data).hexdigest(), chosen_kernels())
"""


@cache
def run(*command: str) -> list[str]:
    # The machine's own choice of OpenBLAS' kernels is not the emulated processor's.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    done = subprocess.run(
        [*command, sys.executable, "-c", RESULTS],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split(" ", 1)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="kernels have versions on x86-64 alone")
@pytest.mark.skipif(QEMU is None, reason="qemu-x86_64 is not installed: apt-get install qemu-user")
@pytest.mark.parametrize(
    ("processor", "chosen"),
    [
        ("Nehalem", "x86-64 (SSE2)"),  # the oldest that NumPy runs on
        ("SandyBridge", "x86-64 (SSE2)"),  # AVX alone
        ("Haswell", "x86-64-v3 (AVX2)"),
    ],
)
def test_an_older_processor_gets_the_kernels_it_can_run_and_the_same_bits(
    processor: str, chosen: str
) -> None:
    here, found = run(), run(str(QEMU), "-cpu", processor, "-0", sys.executable)
    if not found[1].startswith("one version"):  # built with D2_OPS_NO_CLONES
        assert found[1] == chosen
    assert found[0] == here[0]
