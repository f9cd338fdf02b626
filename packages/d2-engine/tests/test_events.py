"""Where metrics are written to."""

import json
import logging

import pytest
import torch

from d2_engine.events import (
    CommonMetricPrinter,
    EventStorage,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
    peak_memory_mib,
)


def test_json_lines_hold_the_newest_values_of_each_iteration(tmp_path):
    path = tmp_path / "run" / "metrics.json"
    writer = JSONWriter(path, window_size=1)
    with EventStorage() as storage:
        for iteration in range(4):
            storage.iter = iteration
            storage.put_scalar("total_loss", 4.0 - iteration)
            storage.put_scalar("lr", 0.1, smoothing_hint=False)
            if iteration == 2:
                storage.put_scalar("bbox/AP", float("nan"), smoothing_hint=False)
            writer.write()
        writer.write()
    writer.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0, 1, 2, 3]
    assert lines[3] == {"iteration": 3, "lr": 0.1, "total_loss": 1.0}
    assert lines[2]["bbox/AP"] is None


def test_json_smooths_noisy_values_by_a_median(tmp_path):
    writer = JSONWriter(tmp_path / "m.json", window_size=3)
    with EventStorage() as storage:
        for iteration, value in enumerate([1.0, 9.0, 2.0]):
            storage.iter = iteration
            storage.put_scalar("total_loss", value)
        writer.write()
    writer.close()
    assert json.loads((tmp_path / "m.json").read_text())["total_loss"] == 2.0


def test_an_existing_json_file_is_continued(tmp_path):
    (tmp_path / "m.json").write_text('{"iteration": 0}\n')
    writer = JSONWriter(tmp_path / "m.json")
    with EventStorage(1) as storage:
        storage.put_scalar("lr", 1.0, smoothing_hint=False)
        writer.write()
    writer.close()
    assert len((tmp_path / "m.json").read_text().splitlines()) == 2


def test_tensorboard_gets_scalars_pictures_and_histograms(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = TensorboardXWriter(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    with EventStorage() as storage:
        storage.put_scalar("lr", 0.5, smoothing_hint=False)
        storage.put_image("picture", torch.zeros(3, 4, 4, dtype=torch.uint8))
        storage.put_histogram("weights", torch.arange(10.0), bins=5)
        writer.write()
        assert storage.images == ()
        assert storage.histograms == ()
    writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()
    assert (tags["scalars"], tags["images"], tags["histograms"]) == (
        ["lr"],
        ["picture"],
        ["weights"],
    )
    assert events.Scalars("lr")[0].value == 0.5


def test_the_progress_line_shows_what_one_wants_to_know(caplog):
    caplog.set_level(logging.INFO)
    with EventStorage(9) as storage:
        storage.put_scalars(total_loss=1.25, loss_cls=0.75, time=2.0, data_time=0.125)
        storage.put_scalar("lr", 0.01, smoothing_hint=False)
        CommonMetricPrinter(max_iter=40).write()
        assert storage.latest()["eta_seconds"][0] == 60.0
    line = caplog.messages[-1]
    for part in (
        "eta: 0:01:00",
        "iter: 9",
        "total_loss: 1.25",
        "loss_cls: 0.75",
        "time: 2.0000",
        "data_time: 0.1250",
        "lr: 0.01",
        "max_mem: ",
    ):
        assert part in line


def test_no_eta_without_an_end_and_no_line_after_it(caplog):
    caplog.set_level(logging.INFO)
    with EventStorage(4) as storage:
        storage.put_scalar("time", 1.0)
        CommonMetricPrinter().write()
        assert "eta" not in caplog.messages[-1]
        count = len(caplog.messages)
        CommonMetricPrinter(max_iter=4).write()
        assert len(caplog.messages) == count


def test_peak_memory_is_that_of_this_process():
    assert 10 < peak_memory_mib() < 100_000


def test_writers_need_an_active_storage():
    with pytest.raises(AssertionError):
        get_event_storage()
