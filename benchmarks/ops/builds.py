"""The installed build of d2-ops beside another one, on one thread each, by the processor's time.

``D2_OTHER_PYTHON`` names a Python where the other build is installed, for instance the one that
``nox -s dist`` made; without it there is nothing to compare. Two builds of one namespace cannot
share a process, so each has its own and they take turns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time

ROUNDS = 9
SECONDS = 0.02  # of a round, about


def cases() -> dict[str, Callable[[], object]]:
    """Calls of the kernels whose time matters, by name."""
    import numpy as np
    import torch

    import d2_ops
    from d2_ops import host

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)

    def boxes(n: int) -> torch.Tensor:
        corners = 600 * torch.rand(n, 2, generator=generator)
        return torch.cat([corners, corners + 8 + 90 * torch.rand(n, 2, generator=generator)], 1)

    many, few = boxes(2000), boxes(60)
    scores = torch.rand(2000, generator=generator)
    rotated = torch.cat([many[:300, :2], many[:300, 2:] - many[:300, :2], scores[:300, None]], 1)
    features = torch.rand(1, 32, 100, 152, generator=generator)
    rois = torch.cat([torch.zeros(60, 1), few], 1)
    weights = torch.rand(32, 32, 3, 3, generator=generator)
    offsets = torch.rand(1, 18, 40, 40, generator=generator)
    deltas, logits = torch.randn(2000, 4, generator=generator), torch.randn(4000, 20)
    targets = torch.randint(0, 2, (4000, 20), generator=generator).float()
    soft, small = torch.rand(60, 28, 28, generator=generator), features[:, :, :40, :40]
    mask = np.zeros((400, 600), np.uint8)
    mask[50:300, 80:500] = 1
    rle = host.rle_encode(mask)
    picture = np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8)
    coder = (1.0, 1.0, 1.0, 1.0)
    return {
        "nms 2000": lambda: d2_ops.nms(many, scores, 0.5),
        "nms_rotated 300": lambda: d2_ops.nms_rotated(rotated, scores[:300], 0.5),
        "box_iou_rotated 300": lambda: d2_ops.box_iou_rotated(rotated, rotated),
        "pairwise_iou 60x2000": lambda: d2_ops.pairwise_iou(few, many),
        "match_anchors 60x2000": lambda: d2_ops.match_anchors(few, many, [0.3, 0.7], [0, -1, 1]),
        "decode_boxes 2000": lambda: d2_ops.decode_boxes(deltas, many, coder, 4.0),
        "roi_align 60": lambda: d2_ops.roi_align(features, rois, (7, 7), 0.2, 0, True),
        "roi_pool 60": lambda: d2_ops.roi_pool(features, rois, (7, 7), 0.2),
        "deform_conv2d 40x40": lambda: d2_ops.deform_conv2d(small, offsets, weights, padding=1),
        "sigmoid_focal_loss": lambda: d2_ops.sigmoid_focal_loss(logits, targets, 0.25, 2.0),
        "paste_masks 60": lambda: d2_ops.paste_masks_in_image(soft, few, (700, 700)),
        "rle_encode": lambda: host.rle_encode(mask),
        "rle_decode": lambda: host.rle_decode(rle),
        "resize_picture": lambda: host.resize_picture(picture, 800, 1200),
    }


def serve() -> None:
    """Answer each line, the number of a case, by its seconds per call."""
    calls = list(cases().values())
    repeats = []
    for call in calls:
        call()
        begin = process_time()
        call()
        repeats.append(max(1, round(SECONDS / max(process_time() - begin, 1e-6))))
    print("ready", flush=True)
    for line in sys.stdin:
        call, count = calls[int(line)], repeats[int(line)]
        begin = process_time()
        for _ in range(count):
            call()
        print((process_time() - begin) / count, flush=True)


def started(python: str) -> subprocess.Popen[str]:
    """A process that serves, ready."""
    process = subprocess.Popen(
        [python, __file__, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        sys.exit(f"{python} cannot run d2-ops")
    return process


def asked(process: subprocess.Popen[str], case: int) -> float:
    """The seconds per call of a case."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(case, file=process.stdin, flush=True)
    return float(process.stdout.readline())


def main() -> None:
    other = os.environ.get("D2_OTHER_PYTHON")
    if other is None:
        print("another build is not measured: D2_OTHER_PYTHON names no Python")
        return
    from _paired import Paired, report

    both = [started(sys.executable), started(other)]
    rows = {}
    for case, name in enumerate(cases()):
        times: list[list[float]] = [[], []]
        for turn in range(ROUNDS):
            for i in (0, 1) if turn % 2 == 0 else (1, 0):
                times[i].append(asked(both[i], case))
        ours, theirs = map(statistics.median, times)
        rows[name] = Paired(ours, theirs, theirs / ours)
    for process in both:
        process.communicate()
    compilers = {python: compiler(python) for python in (sys.executable, other)}
    names = list(compilers.values())
    report("ops-builds", rows, names[1], threads=1, ours=names[0])


def compiler(python: str) -> str:
    """What compiled the build that a Python has."""
    code = "import d2_ops; print(d2_ops.build_info()['compiler'])"
    return subprocess.check_output([python, "-c", code], text=True).strip()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    serve() if sys.argv[1:] == ["serve"] else main()
