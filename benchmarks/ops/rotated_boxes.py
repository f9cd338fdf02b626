"""box_iou_rotated and nms_rotated beside the usual algorithm, from the C++ file beside this one."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from pathlib import Path

import torch
from _paired import Paired, measure_pairs, report
from torch import Tensor

import d2_ops

PEER = Path(__file__).with_name("rotated_overlap_by_corners.cpp")


def compiled_peer(folder: str) -> ctypes.CDLL:
    library = Path(folder) / "peer.so"
    command = ["c++", "-std=c++17", "-O3", "-shared", "-fPIC", str(PEER), "-o", str(library)]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def boxes_and_scores(n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    centres = torch.rand(n, 2, generator=generator) * torch.tensor([1333.0, 800.0])
    sides = torch.rand(n, 2, generator=generator) * 112 + 16
    angles = torch.rand(n, 1, generator=generator) * 360 - 180
    return torch.cat([centres, sides, angles], 1), torch.rand(n, generator=generator)


def peer_iou(peer: ctypes.CDLL, boxes1: Tensor, boxes2: Tensor) -> Tensor:
    iou = torch.empty(len(boxes1), len(boxes2))
    size = ctypes.c_int64
    peer.box_iou(
        ctypes.c_void_p(boxes1.data_ptr()),
        size(len(boxes1)),
        ctypes.c_void_p(boxes2.data_ptr()),
        size(len(boxes2)),
        ctypes.c_void_p(iou.data_ptr()),
    )
    return iou


def peer_nms(peer: ctypes.CDLL, boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    kept = torch.empty(len(boxes), dtype=torch.int64)
    peer.nms.restype = ctypes.c_int64
    count: int = peer.nms(
        ctypes.c_void_p(boxes.data_ptr()),
        ctypes.c_void_p(scores.data_ptr()),
        ctypes.c_int64(len(boxes)),
        ctypes.c_float(threshold),
        ctypes.c_void_p(kept.data_ptr()),
    )
    return kept[:count]


def main() -> None:
    torch.set_num_threads(2)
    rows: dict[str, Paired] = {}
    with tempfile.TemporaryDirectory() as folder:
        peer = compiled_peer(folder)
        boxes1, boxes2 = boxes_and_scores(1000)[0], boxes_and_scores(999)[0]
        difference = d2_ops.box_iou_rotated(boxes1, boxes2) - peer_iou(peer, boxes1, boxes2)
        assert difference.abs().max() < 1e-3
        rows["box_iou_rotated 1000 x 999"] = measure_pairs(
            lambda: d2_ops.box_iou_rotated(boxes1, boxes2),
            lambda: peer_iou(peer, boxes1, boxes2),
            seconds=4,
        )
        for n in (1_000, 6_000):
            boxes, scores = boxes_and_scores(n)
            rows[f"nms_rotated {n}"] = measure_pairs(
                lambda b=boxes, s=scores: d2_ops.nms_rotated(b, s, 0.7),
                lambda b=boxes, s=scores: peer_nms(peer, b, s, 0.7),
                seconds=8,
            )
    report("ops-rotated-boxes-cpu", rows, "by corners", threads=2)


if __name__ == "__main__":
    main()
