"""Batch normalisation over processes."""

import multiprocessing
import os
import socket
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from d2_modeling.layers import NaiveSyncBatchNorm

WORLD_SIZE = 2
CASES: list[tuple[str, tuple[int, ...]]] = [("", (2, 2)), ("N", (3, 1))]


def _batches(sizes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, 3, 4, 4, generator=generator) for size in sizes]


def _run(rank: int, port: int, results: Any) -> None:
    """Normalise this process's part of every case."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=WORLD_SIZE)
    torch.set_num_threads(1)
    outcome = []
    for mode, sizes in CASES:
        norm = NaiveSyncBatchNorm(3, stats_mode=mode)
        x = _batches(sizes)[rank].requires_grad_()
        y = norm(x)
        (y.square().sum() + y.sum()).backward()
        assert x.grad is not None
        assert norm.running_mean is not None
        outcome.append((y.tolist(), x.grad.tolist(), norm.running_mean.tolist()))
    results.put((rank, outcome))
    dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def outcomes() -> list[list[Any]]:
    """For each process, its outputs, gradients and running means of every case."""
    context = multiprocessing.get_context("spawn")
    results, port = context.SimpleQueue(), _free_port()
    workers = [
        context.Process(target=_run, args=(rank, port, results)) for rank in range(WORLD_SIZE)
    ]
    for worker in workers:
        worker.start()
    by_rank = dict(results.get() for _ in workers)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    return [by_rank[rank] for rank in range(WORLD_SIZE)]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_two_processes_give_what_one_gives_on_the_joined_batch(
    case: int, outcomes: list[list[Any]]
) -> None:
    joined = torch.cat(_batches(CASES[case][1])).requires_grad_()
    reference = nn.BatchNorm2d(3)
    y = reference(joined)
    (y.square().sum() + y.sum()).backward()
    assert joined.grad is not None
    outputs = torch.cat([torch.tensor(mine[case][0]) for mine in outcomes])
    gradients = torch.cat([torch.tensor(mine[case][1]) for mine in outcomes])
    torch.testing.assert_close(outputs, y.detach(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradients, joined.grad, rtol=1e-3, atol=1e-4)
    for mine in outcomes:
        torch.testing.assert_close(torch.tensor(mine[case][2]), reference.running_mean)
