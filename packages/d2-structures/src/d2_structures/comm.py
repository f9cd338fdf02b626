"""Talking between the processes of a distributed run.

In a single process, and before `torch.distributed` is initialised, everything here is a no-op
that gives what a world of one would. Every collective must be called by all ranks of its group.
"""

import io
import os
import pickle
from collections.abc import Iterable, Iterator
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

__all__ = [
    "all_gather",
    "broadcast_tensors",
    "create_local_process_group",
    "gather",
    "gather_items",
    "get_local_process_group",
    "get_local_rank",
    "get_local_size",
    "get_rank",
    "get_world_size",
    "is_main_process",
    "reduce_dict",
    "shared_random_seed",
    "synchronize",
]

# The group of this machine's processes, and the group that carries host memory where the world
# cannot, by the world they were made in. Neither keeps a world alive that was destroyed: its
# threads would run on while the interpreter ends, which can abort the process.
_local_groups: WeakKeyDictionary[dist.ProcessGroup, dist.ProcessGroup] = WeakKeyDictionary()
_host_groups: WeakKeyDictionary[dist.ProcessGroup, dist.ProcessGroup] = WeakKeyDictionary()

_LOCAL_PROCESS_GROUP: dist.ProcessGroup | None = None
"""Set by launchers of one's own that were written for detectron2: the group of this machine."""


def get_world_size() -> int:
    """The number of processes."""
    return dist.get_world_size() if _initialized() else 1


def get_rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if _initialized() else 0


def is_main_process() -> bool:
    """Whether this is rank 0, which writes files and logs."""
    return get_rank() == 0


def create_local_process_group(num_workers_per_machine: int) -> None:
    """Make the group of the processes on this machine.

    Needed only where the processes were not started by ``torchrun``, whose environment tells
    local ranks already. All ranks must call it, with consecutive ranks on one machine.

    Args:
        num_workers_per_machine: processes per machine; must divide the world size.

    Raises:
        ValueError: if it does not.
        RuntimeError: if `torch.distributed` is not initialised or the group exists already.
    """
    if not _initialized():
        raise RuntimeError("create_local_process_group needs torch.distributed to be initialised")
    if _local_group() is not None:
        raise RuntimeError("the local process group exists already")
    size = num_workers_per_machine
    if size <= 0 or get_world_size() % size:
        raise ValueError(
            f"{size} workers per machine do not divide the world of {get_world_size()}"
        )
    for first in range(0, get_world_size(), size):
        ranks = list(range(first, first + size))
        group = dist.new_group(ranks)
        if get_rank() in ranks:
            _local_groups[_world()] = cast(dist.ProcessGroup, group)


def get_local_process_group() -> dist.ProcessGroup:
    """The group of the processes on this machine.

    Raises:
        RuntimeError: if `create_local_process_group` was not called.
    """
    group = _local_group()
    if group is None:
        raise RuntimeError("no local process group; call create_local_process_group first")
    return group


def get_local_rank() -> int:
    """The number of this process among those of its machine, from 0.

    Raises:
        RuntimeError: in a distributed run whose machines are unknown.
    """
    group = _local_group()
    if group is not None:
        return dist.get_rank(group)
    return _from_torchrun("LOCAL_RANK") if _initialized() else 0


def get_local_size() -> int:
    """The number of processes on this machine.

    Raises:
        RuntimeError: in a distributed run whose machines are unknown.
    """
    group = _local_group()
    if group is not None:
        return dist.get_world_size(group)
    return _from_torchrun("LOCAL_WORLD_SIZE") if _initialized() else 1


def synchronize() -> None:
    """Wait until all processes have come here."""
    if get_world_size() == 1:
        return
    if dist.get_backend() == dist.Backend.NCCL:
        dist.barrier(device_ids=[torch.cuda.current_device()])
    else:
        dist.barrier()


def all_gather(data: Any, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Collect an object from every rank, on every rank.

    Args:
        data: anything that can be pickled. Tensors should be on the CPU.
        group: the ranks taking part; by default all, over gloo.

    Returns:
        One object per rank of the group, in the order of ranks.
    """
    if get_world_size() == 1:
        return [data]
    group = group if group is not None else _host_group(_world())
    gathered: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(gathered, data, group=group)
    return gathered


def gather(data: Any, dst: int = 0, group: dist.ProcessGroup | None = None) -> list[Any]:
    """Collect an object from every rank, on one rank.

    Args:
        data: anything that can be pickled. Tensors should be on the CPU.
        dst: the rank, counted in the whole world, that gets the objects.
        group: the ranks taking part; by default all, over gloo.

    Returns:
        On ``dst`` one object per rank of the group, in the order of ranks; elsewhere ``[]``.
    """
    if get_world_size() == 1:
        return [data]
    group = group if group is not None else _host_group(_world())
    gathered: list[Any] | None = None
    if get_rank() == dst:
        gathered = [None] * dist.get_world_size(group)
    dist.gather_object(data, gathered, dst=dst, group=group)
    return [] if gathered is None else gathered


def gather_items(
    items: Iterable[Any], dst: int = 0, *, chunk_bytes: int = 16 * 2**20
) -> Iterator[Any]:
    """Collect many objects from every rank, on one rank, in little memory.

    They come one rank after the other, in pieces: nowhere is there more than one piece in pickled
    form, and ``dst`` holds only what it keeps of the objects. All ranks must take the iterator to
    its end; ranks wait while ``dst`` is busy with an object.

    Args:
        items: anything that can be pickled, as many on each rank as it has.
        dst: the rank, counted in the whole world, that gets the objects.
        chunk_bytes: a piece is sent when it has become as large as this.

    Yields:
        On ``dst`` the objects of rank 0, then those of rank 1, and so on; elsewhere nothing.
    """
    if get_world_size() == 1:
        yield from items
        return
    group = _host_group(_world())
    if get_rank() != dst:
        for piece in _pieces(items, chunk_bytes):
            _send(piece, dst, group)
        _send(b"", dst, group)
        return
    for source in range(get_world_size()):
        if source == dst:
            yield from items
            continue
        while piece := _receive(source, group):
            stream = io.BytesIO(piece)
            while stream.tell() < len(piece):
                yield pickle.load(stream)


def _pieces(items: Iterable[Any], chunk_bytes: int) -> Iterator[bytes]:
    """Pickle objects one behind the other, into pieces that are not much larger than wanted."""
    piece = io.BytesIO()
    for item in items:
        pickle.dump(item, piece, protocol=pickle.HIGHEST_PROTOCOL)
        if piece.tell() >= chunk_bytes:
            yield piece.getvalue()
            piece = io.BytesIO()
    if piece.tell():
        yield piece.getvalue()


def _send(piece: bytes, dst: int, group: dist.ProcessGroup) -> None:
    dist.send(torch.tensor([len(piece)]), dst, group=group)
    if piece:
        # A copy that may be written to: torch warns of tensors on read-only memory.
        dist.send(torch.frombuffer(bytearray(piece), dtype=torch.uint8), dst, group=group)


def _receive(source: int, group: dist.ProcessGroup) -> bytes:
    length = torch.zeros(1, dtype=torch.int64)
    dist.recv(length, source, group=group)
    if not length.item():
        return b""
    piece = torch.empty(int(length), dtype=torch.uint8)
    dist.recv(piece, source, group=group)
    return piece.numpy().tobytes()


def broadcast_tensors(tensors: Iterable[Tensor], src: int = 0) -> None:
    """Give tensors the values that they have on one rank, in place.

    Args:
        tensors: of the same number, shapes and dtypes on every rank, on the device of the backend.
        src: the rank whose values all get.
    """
    if get_world_size() == 1:
        return
    for tensor in tensors:
        dist.broadcast(tensor, src)


def shared_random_seed() -> int:
    """A random number that is the same on all ranks, below 2**31.

    Rank 0 draws it from NumPy's global generator. All ranks must call this function.
    """
    return int(all_gather(np.random.randint(2**31))[0])  # noqa: NPY002 - global seeding counts


def reduce_dict(input_dict: dict[str, Tensor], average: bool = True) -> dict[str, Tensor]:
    """Add up, or average, tensors over all ranks.

    Args:
        input_dict: tensors by name; the same names, shapes and dtype on every rank.
        average: divide the sums by the number of ranks.

    Returns:
        The results by name on rank 0; partial sums without meaning elsewhere. ``input_dict``
        itself in a single process. Detached.

    Raises:
        TypeError: if a value is not a tensor, or the dtypes differ.
    """
    world_size = get_world_size()
    if world_size == 1:
        return input_dict
    names = sorted(input_dict)
    values = [input_dict[name] for name in names]
    if not values:
        return {}
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, Tensor) or value.dtype != values[0].dtype:
            raise TypeError(
                f"reduce_dict needs tensors of one dtype, but {name!r} is {value!r:.80}"
            )
    with torch.no_grad():
        flat = torch.cat([value.detach().reshape(-1) for value in values])
        dist.reduce(flat, dst=0)
        if average and get_rank() == 0:
            flat = flat / world_size
        parts = flat.split([value.numel() for value in values])
    return {n: part.view(v.shape) for n, part, v in zip(names, parts, values, strict=True)}


def _initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def _local_group() -> dist.ProcessGroup | None:
    if _LOCAL_PROCESS_GROUP is not None:
        return _LOCAL_PROCESS_GROUP
    return _local_groups.get(_world()) if _initialized() else None


def _world() -> dist.ProcessGroup:
    return cast(dist.ProcessGroup, dist.group.WORLD)


def _from_torchrun(variable: str) -> int:
    try:
        return int(os.environ[variable])
    except KeyError:
        raise RuntimeError(
            f"the processes of this machine are unknown: {variable} is not set. Start with "
            "torchrun, or call create_local_process_group"
        ) from None


def _host_group(world: dist.ProcessGroup) -> dist.ProcessGroup:
    """A group of all ranks that can carry host memory: the world itself if that is gloo."""
    if dist.get_backend(world) == dist.Backend.GLOO:
        return world
    if world not in _host_groups:
        _host_groups[world] = cast(dist.ProcessGroup, dist.new_group(backend="gloo"))
    return _host_groups[world]
