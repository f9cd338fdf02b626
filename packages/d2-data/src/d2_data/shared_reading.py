"""Datasets that one process of each machine reads for all of them."""

import logging
import multiprocessing
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch

from d2_data.catalog import MetadataCatalog
from d2_data.dataset_dicts import get_detection_dataset_dicts
from d2_data.list_dataset import DatasetFromList
from d2_data.shared_bytes import SMALL
from d2_structures import comm

__all__ = ["shared_detection_dataset"]

_logger = logging.getLogger(__name__)

Load = Callable[[], Any]


def shared_detection_dataset(
    names: str | Sequence[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: Sequence[str | os.PathLike[str]] | None = None,
) -> Any:
    """Load datasets as :func:`get_detection_dataset_dicts` does, once on each machine.

    Where several processes of a run share a machine, all of them call this, and the first reads
    and packs the records, in a process of its own whose memory is gone afterwards; the others map
    what it has packed. The metadata that reading brings is set in all of them.

    Args:
        names, filter_empty, min_keypoints, proposal_files: see
            :func:`get_detection_dataset_dicts`.

    Returns:
        The list of dicts in a process that is alone on its machine, otherwise the same records as
        a :class:`DatasetFromList`; a torch dataset where one of the datasets is registered as such.

    Raises:
        Exception: in all processes, what the one that reads raises.
    """
    names = [names] if isinstance(names, str) else list(names)

    def load() -> Any:
        return get_detection_dataset_dicts(names, filter_empty, min_keypoints, proposal_files)

    if not _shares_machine():
        return load()
    content = b""
    if comm.get_local_rank() == 0:
        # Whoever reads keeps the packed records open until the others have opened them.
        content, _kept = _read_apart(load, names)
    content = comm.all_gather(content)[comm.get_rank() - comm.get_local_rank()]
    outcome: _Outcome = pickle.loads(content)
    comm.synchronize()
    if outcome.error is not None:
        raise outcome.error
    for name, values in outcome.metadata.items():
        MetadataCatalog.get(name).set(**values)
    # What has no list of records, such as a stream, each process makes for itself.
    return load() if outcome.dataset is None else outcome.dataset


class _Outcome(NamedTuple):
    """What came of reading.

    Attributes:
        dataset: the packed records; None if there are none that others can open.
        metadata: of the datasets.
        error: why there is nothing.
    """

    dataset: DatasetFromList | None
    metadata: dict[str, dict[str, Any]]
    error: Exception | None = None


def _shares_machine() -> bool:
    """Whether other processes of the run are on this machine, as far as that is known."""
    if comm.get_world_size() == 1:
        return False
    try:
        return comm.get_local_size() > 1
    except RuntimeError:  # started neither by torchrun nor by d2
        return False


def _read(load: Load, names: Sequence[str]) -> tuple[bytes, _Outcome]:
    """What came of reading, also as bytes for others."""
    try:
        records = load()
    except Exception as error:
        return _content(_Outcome(None, {}, _portable(error)))
    packed = DatasetFromList(records, copy=False) if isinstance(records, list) else None
    if packed is not None and packed.file is None and packed.nbytes > SMALL:
        packed = None  # there is no file: large contents are not sent about
    metadata = {name: MetadataCatalog.get(name).as_dict() for name in names}
    try:
        return _content(_Outcome(packed, metadata))
    except Exception as error:  # whatever objects a user's metadata or records have in them
        _logger.info("Each process reads %s for itself: %s", ", ".join(names), error)
        return _content(_Outcome(None, {}))


def _content(outcome: _Outcome) -> tuple[bytes, _Outcome]:
    return pickle.dumps(outcome), outcome


def _portable(error: Exception) -> Exception:
    """An error that other processes can raise."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class wants to be made of
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _read_apart(load: Load, names: Sequence[str]) -> tuple[bytes, _Outcome]:
    """Read in a forked process, so that none of the memory that it takes stays here."""
    if not sys.platform.startswith("linux") or multiprocessing.current_process().daemon:
        return _read(load, names)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    reader = context.Process(target=_serve, args=(there, load, names))
    with warnings.catch_warnings():
        # That there are threads here, of which 3.12 and later warn, is nothing to a child that
        # reads files.
        warnings.simplefilter("ignore", DeprecationWarning)
        reader.start()
    there.close()
    try:
        content = here.recv_bytes()
        outcome: _Outcome = pickle.loads(content)
        here.send(None)
    except EOFError:
        reader.join()
        reason = (
            f"the process that reads {', '.join(names)} ended with exit code {reader.exitcode}; a "
            "negative one is a signal, and -9 often means that memory ran out"
        )
        return _content(_Outcome(None, {}, ChildProcessError(reason)))
    finally:
        here.close()
    reader.join()
    return content, outcome


def _serve(there: Connection, load: Load, names: Sequence[str]) -> None:
    torch.set_num_threads(1)  # threads of before do not exist here
    content, _kept = _read(load, names)
    there.send_bytes(content)
    there.recv()  # until the packed records are open there
