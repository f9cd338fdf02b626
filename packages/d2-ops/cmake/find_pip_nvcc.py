"""Print the newest nvcc that pip's CUDA compiler packages put on sys.path, or nothing."""

import sys
from pathlib import Path

found = [
    nvcc
    for entry in map(Path, sys.path)
    for pattern in ("nvidia/cu*/bin/nvcc", "nvidia/cuda_nvcc/bin/nvcc")
    for nvcc in sorted(entry.glob(pattern), reverse=True)
]
print(found[0] if found else "")
