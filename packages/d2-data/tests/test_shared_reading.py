"""One process of a machine reads a dataset, and all of its run on this machine have it."""

import os
import pickle
import signal
import threading
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.utils.data import IterableDataset

from d2_data import DatasetCatalog, DatasetFromList, MetadataCatalog, shared_detection_dataset
from d2_data.shared_reading import _read_apart
from d2_structures import comm

RANKS = 2
RECORDS = [
    {"file_name": f"{i}.jpg", "width": 9, "height": 8, "image_id": i, "note": "." * 400}
    for i in range(4000)
]


class NotPortable(Exception):
    """Cannot be made of its message alone."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")


class Stream(IterableDataset):
    def __iter__(self):
        return iter(RECORDS[:3])


def read(folder, name):
    Path(folder, f"{name}-{os.getpid()}").touch()
    MetadataCatalog.get(name).colour = "red"
    return RECORDS


def read_with_odd_metadata(folder, name):
    MetadataCatalog.get(name).function = lambda: None
    return read(folder, name)


def fail(error):
    raise error


def be_killed():
    os.kill(os.getpid(), signal.SIGKILL)


def outcome_of(name):
    try:
        dataset = shared_detection_dataset(name)
    except Exception as error:
        return type(error).__name__, str(error)
    kind, sources = type(dataset).__name__, getattr(dataset, "sources", None)
    elements = list(dataset)
    names = [sources.name_of(0)] if sources else None
    file = getattr(dataset, "file", None)
    return kind, elements == RECORDS[: len(elements)], len(elements), file, names


def run(rank, folder):
    dist.init_process_group("gloo", f"file://{folder}/init", rank=rank, world_size=RANKS)
    report = {}
    DatasetCatalog.register("records", partial(read, folder, "records"))
    report["machine unknown"] = outcome_of("records")
    comm.synchronize()
    for path in Path(folder).glob("records-*"):
        path.unlink(missing_ok=True)
    comm.create_local_process_group(RANKS)
    report["rank"], report["pid"] = comm.get_local_rank(), os.getpid()
    MetadataCatalog.remove("records")
    report["records"] = outcome_of("records")
    report["colour"] = MetadataCatalog.get("records").get("colour")
    DatasetCatalog.register("odd", partial(read_with_odd_metadata, folder, "odd"))
    report["odd"] = outcome_of("odd")
    DatasetCatalog.register("stream", Stream)
    report["stream"] = outcome_of("stream")
    DatasetCatalog.register("wrong", partial(fail, ValueError("no such picture")))
    report["wrong"] = outcome_of("wrong")
    DatasetCatalog.register("strange", partial(fail, NotPortable("strange", "why")))
    report["strange"] = outcome_of("strange")
    DatasetCatalog.register("killed", be_killed)
    report["killed"] = outcome_of("killed")
    Path(folder, f"report-{rank}").write_bytes(pickle.dumps(report))
    comm.synchronize()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(run, (str(folder),), nprocs=RANKS)
    return folder


@pytest.fixture(scope="module")
def reports(folder):
    return [pickle.loads((folder / f"report-{rank}").read_bytes()) for rank in range(RANKS)]


def test_all_processes_have_the_records_from_one_file(reports):
    (kind, equal, count, file, names), other = (report["records"] for report in reports)
    assert (kind, equal, count, names) == ("DatasetFromList", True, len(RECORDS), ["records"])
    assert file is not None
    assert other == (kind, equal, count, file, names)


def test_only_a_process_that_has_ended_has_read_them(reports, folder):
    (path,) = folder.glob("records-*")
    process = int(path.name.partition("-")[2])
    assert process not in [report["pid"] for report in reports]
    assert not Path(f"/proc/{process}/status").exists()


def test_metadata_that_reading_brings_is_set_in_all(reports):
    assert [report["colour"] for report in reports] == ["red"] * RANKS


@pytest.mark.parametrize("why", ["machine unknown", "odd"])
def test_each_process_reads_what_cannot_be_shared(reports, why):
    for report in reports:
        assert report[why][:3] == ("DatasetDicts", True, len(RECORDS))


def test_streams_are_made_in_each_process(reports):
    assert [report["stream"][1:3] for report in reports] == [(True, 3)] * RANKS


def test_all_processes_raise_what_reading_raises(reports):
    for report in reports:
        kind, message = report["wrong"]
        assert kind == "ValueError"
        assert "no such picture" in message
        kind, message = report["strange"]
        assert kind == "RuntimeError"
        assert message.startswith("NotPortable")
        assert message.endswith("strange: why")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="reads in a process of its own on Linux only")
def test_a_killed_reader_is_named_in_all_processes(reports):
    for report in reports:
        kind, message = report["killed"]
        assert kind == "ChildProcessError"
        assert "reads killed ended with exit code -9" in message


def test_a_dataset_is_read_apart_where_there_are_threads():
    """Which Python 3.12 and later warn of where a process forks."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _, outcome = _read_apart(lambda: [{"image_id": 3}], [])
    finally:
        over.set()
        thread.join()
    assert outcome.error is None


def test_a_process_that_is_alone_gets_the_list(tmp_path):
    DatasetCatalog.register("alone", partial(read, tmp_path, "alone"))
    try:
        assert shared_detection_dataset("alone", filter_empty=False) == RECORDS
    finally:
        DatasetCatalog.remove("alone")


def test_packed_records_order_a_repeat_factor_sampler_as_the_list_does():
    from d2_data.samplers import RepeatFactorTrainingSampler

    records = [{"annotations": [{"category_id": i % 3}] * (i % 4)} for i in range(20)]
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency
    assert factors(DatasetFromList(records), 0.9).tolist() == factors(records, 0.9).tolist()
