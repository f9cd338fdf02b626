"""Start a function in several processes that train together."""

import gc
import os
import socket
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

import torch
import torch.distributed as dist

from d2_data import STALL_TIMEOUT
from d2_engine.child_processes import run_in_processes
from d2_structures import comm

DEFAULT_TIMEOUT = timedelta(minutes=30)


def launch(
    main_func: Callable[..., Any],
    num_gpus_per_machine: int,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str | None = None,
    args: tuple[Any, ...] = (),
    timeout: timedelta = DEFAULT_TIMEOUT,
    stall_timeout: float = STALL_TIMEOUT,
) -> None:
    """Run ``main_func(*args)`` in one process per GPU, connected for distributed training.

    To be called on every machine that takes part. With a single process in total the
    function is simply called. On machines without CUDA the processes share the CPU and talk
    over gloo. An error of a process is raised here, and a process that is ended or stopped by a
    signal is named; SIGINT and SIGTERM are passed on to the processes, which end when this one is
    killed. Under ``torchrun``, which starts the processes itself, this process only joins
    the group.

    Args:
        main_func: must be importable (a function of a module) when processes are spawned.
        num_gpus_per_machine: processes per machine.
        num_machines: total number of machines.
        machine_rank: the number of this machine, from 0.
        dist_url: where processes meet, e.g. ``"tcp://127.0.0.1:8686"``. ``"auto"`` or None
            takes a free port of this machine; only for one machine.
        args: arguments of ``main_func``.
        timeout: how long processes wait for each other.
        stall_timeout: seconds that a process may be stopped, as by SIGSTOP; 0 waits for ever.

    Raises:
        ValueError: on counts below 1, a machine rank out of range, more processes than GPUs,
            or several machines without a meeting point.
        ChildProcessError: if a process was ended or stopped by a signal.
    """
    if _started_by_torchrun():
        _run_in_group(
            main_func,
            args,
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            local_rank=int(os.environ["LOCAL_RANK"]),
            local_size=int(os.environ["LOCAL_WORLD_SIZE"]),
            url="env://",
            timeout=timeout,
        )
        return
    _check_counts(num_gpus_per_machine, num_machines, machine_rank)
    if num_gpus_per_machine * num_machines == 1:
        main_func(*args)
        return
    url = _meeting_point(dist_url, num_machines)
    run_in_processes(
        _spawned,
        num_gpus_per_machine,
        (main_func, args, num_gpus_per_machine, num_machines, machine_rank, url, timeout),
        stall_timeout,
    )


def _spawned(
    local_rank: int,
    main_func: Callable[..., Any],
    args: tuple[Any, ...],
    local_size: int,
    num_machines: int,
    machine_rank: int,
    url: str,
    timeout: timedelta,
) -> None:
    _run_in_group(
        main_func,
        args,
        rank=machine_rank * local_size + local_rank,
        world_size=num_machines * local_size,
        local_rank=local_rank,
        local_size=local_size,
        url=url,
        timeout=timeout,
    )


def _run_in_group(
    main_func: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    rank: int,
    world_size: int,
    local_rank: int,
    local_size: int,
    url: str,
    timeout: timedelta,
) -> None:
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank)
        backend = "nccl"
    else:
        backend = "gloo"
    # Default arguments in this module hold, for ever, the group that exists when it is imported;
    # DistributedDataParallel imports it. Imported before there is one, they hold none.
    import_module("torch.distributed.nn")
    try:
        meeting: dict[str, Any] = {"init_method": url}
        if url == "env://" and local_size == world_size:
            meeting = {"store": _store_of_this_start(rank, world_size, timeout)}
        dist.init_process_group(
            backend, **meeting, world_size=world_size, rank=rank, timeout=timeout
        )
    except Exception as error:
        raise RuntimeError(
            f"process {rank} of {world_size} could not join the others at {url}: {error}"
        ) from error
    try:
        comm.create_local_process_group(local_size)
        # NCCL creates its communicators lazily; a failure is better seen here.
        comm.synchronize()
        main_func(*args)
    finally:
        # What still holds the group, such as a model in a reference cycle, would keep its
        # threads running while the interpreter ends, which can abort the process.
        gc.collect()
        dist.destroy_process_group()


def _store_of_this_start(rank: int, world_size: int, timeout: timedelta) -> dist.Store:
    """Return torchrun's store without what processes of an earlier start have left there.

    torchrun keeps its store when it starts processes again; gloo would connect to the dead. Counts
    of starts are those of a machine, so that several machines cannot tell starts apart by them.
    """
    rounds = dist.rendezvous("env://", rank, world_size, timeout=timeout)
    store, _, _ = next(iter(rounds))
    return dist.PrefixStore(f"start_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _started_by_torchrun() -> bool:
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"))


def _check_counts(per_machine: int, num_machines: int, machine_rank: int) -> None:
    if per_machine < 1 or num_machines < 1:
        raise ValueError(
            f"need at least one process and one machine, got num_gpus_per_machine={per_machine}, "
            f"num_machines={num_machines}"
        )
    if not 0 <= machine_rank < num_machines:
        raise ValueError(
            f"machine_rank must lie in [0, {num_machines - 1}] for num_machines={num_machines}, "
            f"got {machine_rank}"
        )
    if torch.cuda.is_available() and per_machine > torch.cuda.device_count():
        raise ValueError(
            f"num_gpus_per_machine={per_machine}, but this machine has "
            f"{torch.cuda.device_count()} CUDA devices"
        )


def _meeting_point(dist_url: str | None, num_machines: int) -> str:
    if dist_url is not None and dist_url != "auto":
        return dist_url
    if num_machines > 1:
        raise ValueError(
            "several machines need a common dist_url, e.g. tcp://<address of machine 0>:29500"
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"
