"""What the process runs with, as text; ``d2 env`` prints more."""

import os

import torch
import torch.distributed as dist

from d2_engine.environment import collect_environment, format_environment

__all__ = [
    "collect_env_info",
    "collect_torch_env",
    "detect_compute_compatibility",
    "get_env_module",
    "test_nccl_ops",
]


def collect_env_info() -> str:
    """Versions and devices, a line each."""
    return format_environment(collect_environment())


def collect_torch_env() -> str:
    """What torch says about itself and the machine."""
    from torch.utils.collect_env import get_pretty_env_info

    return str(get_pretty_env_info())


def get_env_module() -> tuple[str, str]:
    """The variable that names a module of one's own, and its value."""
    name = "DETECTRON2_ENV_MODULE"
    return name, os.environ.get(name, "<not set>")


def detect_compute_compatibility(CUDA_HOME: str, so_file: str) -> str:
    """The GPU architectures that torch is built for; those of d2's kernels are in ``d2 env``."""
    return ", ".join(torch.cuda.get_arch_list()) or "CPU only"


def test_nccl_ops() -> None:
    """Print whether each pair of GPUs can be reduced over; nothing with less than two."""
    count = torch.cuda.device_count()
    if count < 2:
        return
    from torch.multiprocessing import spawn

    spawn(_reduce_once, args=(count, "tcp://127.0.0.1:16591"), nprocs=count)
    print("NCCL succeeded.")


test_nccl_ops.__test__ = False  # type: ignore[attr-defined]  # no test of pytest's


def _reduce_once(rank: int, count: int, url: str) -> None:
    dist.init_process_group("nccl", init_method=url, rank=rank, world_size=count)
    torch.cuda.set_device(rank)
    dist.all_reduce(torch.ones(1, device="cuda"))
    dist.destroy_process_group()
