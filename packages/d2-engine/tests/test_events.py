"""Where metrics are written to."""

import io
import json
import logging
import re
import sys

import pytest
import torch

from d2_config.logger import setup_logger
from d2_engine import TrainerBase
from d2_engine.defaults import default_writers
from d2_engine.events import (
    CommonMetricPrinter,
    EventStorage,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
)
from d2_engine.hooks import PeriodicWriter


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


def iterations(path):
    return [json.loads(line)["iteration"] for line in path.read_text().splitlines()]


def write_lr(writer, iteration):
    with EventStorage(iteration) as storage:
        storage.put_scalar("lr", 1.0, smoothing_hint=False)
        writer.write()


def test_an_existing_json_file_is_continued(tmp_path):
    path = tmp_path / "m.json"
    path.write_text('{"iteration": 0}\n')
    writer = JSONWriter(path)
    write_lr(writer, 1)
    write_lr(writer, 2)
    assert iterations(path) == [0, 1, 2]


def test_iterations_that_are_done_again_are_written_once(tmp_path):
    path = tmp_path / "m.json"
    path.write_text("".join(f'{{"iteration": {number}}}\n' for number in (4, 9, 12, 14, 19, 24)))
    writer = JSONWriter(path)
    writer.begin_training(10, 40)
    assert iterations(path)[-1] == 24, "nothing was written yet"
    write_lr(writer, 19)
    assert iterations(path) == [4, 9, 19]
    write_lr(writer, 39)
    assert iterations(path) == [4, 9, 19, 39]


def test_without_a_trainer_the_first_iteration_written_decides(tmp_path):
    path = tmp_path / "m.json"
    path.write_text('{"iteration": 4}\n{"iteration": 5}\n{"iteration": 6}\n')
    write_lr(JSONWriter(path), 5)
    assert iterations(path) == [4, 5]


@pytest.mark.parametrize("rest", ['{"iterat', '{"iteration": 3, "lr"', "\x00\x00", "\xff"])
def test_a_line_that_was_not_written_to_its_end_is_dropped(tmp_path, rest):
    path = tmp_path / "m.json"
    path.write_bytes(b'{"iteration": 2}\n' + rest.encode("latin-1"))
    write_lr(JSONWriter(path), 3)
    assert iterations(path) == [2, 3]


def test_a_whole_last_line_without_its_end_is_kept(tmp_path):
    path = tmp_path / "m.json"
    path.write_text('{"iteration": 2}')
    write_lr(JSONWriter(path), 3)
    assert iterations(path) == [2, 3]


def test_tensorboard_shows_iterations_that_are_done_again_once(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for start, steps in ((0, (1, 3, 5)), (2, (3, 4))):
        writer = TensorboardXWriter(str(tmp_path), filename_suffix=str(start))
        writer.begin_training(start, 6)
        for step in steps:
            write_lr(writer, step)
        writer.close()
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("lr")] == [1, 3, 4]


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
        CommonMetricPrinter(max_iter=40, images_per_batch=16).write()
        assert storage.latest()["eta_seconds"][0] == 60.0
    line = caplog.messages[-1]
    for part in (
        "eta: 0:01:00",
        "iter: 9",
        "total_loss: 1.25",
        "loss_cls: 0.75",
        "time: 2.0000",
        "data_time: 0.1250",
        "waiting for data: 6%",
        "images/s: 8",
        "lr: 0.01",
        "max_mem: ",
    ):
        assert part in line


def test_the_default_writers_know_the_images_of_a_batch(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    writers = default_writers(str(tmp_path), 40, images_per_batch=4)
    with EventStorage(9) as storage:
        storage.put_scalar("time", 2.0)
        for writer in writers:
            writer.write()
            writer.close()
    assert "images/s: 2" in caplog.messages[-1]


def test_no_eta_without_an_end_and_no_line_after_it(caplog):
    caplog.set_level(logging.INFO)
    with EventStorage(4) as storage:
        storage.put_scalar("time", 1.0)
        CommonMetricPrinter().write()
        assert "eta" not in caplog.messages[-1]
        count = len(caplog.messages)
        CommonMetricPrinter(max_iter=4).write()
        assert len(caplog.messages) == count


def test_writers_need_an_active_storage():
    with pytest.raises(AssertionError):
        get_event_storage()


class Trainer(TrainerBase):
    """Each iteration has a loss, and ``seen`` what the terminal showed while it ran."""

    def __init__(self, terminal=None, fail_at=None):
        super().__init__()
        self.terminal, self.fail_at, self.seen = terminal, fail_at, []

    def run_step(self):
        if self.iter == self.fail_at:
            raise ZeroDivisionError("in a step")
        if self.terminal is not None:
            self.seen.append(self.terminal.last_line())
        logging.getLogger("d2_engine.test").info("step %d", self.iter)
        self.storage.put_scalars(total_loss=5.0 - self.iter)


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def last_line(self):
        drawn = re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.getvalue()))
        return [line for line in drawn if line.strip()][-1]


@pytest.fixture
def open_terminal(monkeypatch):
    """Make standard output a terminal; to be called in the test itself."""

    def build():
        for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in (("TERM", "xterm"), ("COLUMNS", "100"), ("NO_COLOR", "1")):
            monkeypatch.setenv(name, value)
        terminal = Terminal()
        monkeypatch.setattr("sys.stdout", terminal)
        return terminal

    return build


def train(trainer, max_iter, period=20, start=0):
    trainer.register_hooks([PeriodicWriter([CommonMetricPrinter(max_iter)], period)])
    trainer.train(start, max_iter)


def progress_lines(caplog):
    return [record for record in caplog.records if " iter: " in f" {record.getMessage()}"]


def test_the_log_has_the_first_iteration_and_each_period_once(caplog):
    caplog.set_level(logging.INFO)
    train(Trainer(), 6, period=2)
    found = [re.search(r"iter: (\d+)", r.getMessage()).group(1) for r in progress_lines(caplog)]
    assert found == ["0", "1", "3", "5"]
    assert not any(hasattr(record, "file_only") for record in progress_lines(caplog))


def test_a_resumed_training_logs_its_first_iteration(caplog):
    caplog.set_level(logging.INFO)
    train(Trainer(), 6, start=4)
    assert ["iter: 4" in record.getMessage() for record in progress_lines(caplog)] == [True, False]


def test_a_training_that_fails_logs_no_iteration_twice(caplog):
    caplog.set_level(logging.INFO)
    with pytest.raises(ZeroDivisionError):
        train(Trainer(fail_at=2), 6, period=2)
    assert len(progress_lines(caplog)) == 2


def test_in_a_terminal_a_line_is_there_while_the_first_iteration_runs(open_terminal):
    trainer = Trainer(open_terminal())
    train(trainer, 3)
    assert trainer.seen[0].startswith("train")
    assert trainer.seen[0].endswith("0/3  first iteration 0:00:00")
    assert "1/3" in trainer.seen[1]
    assert "loss 5.000" in trainer.seen[1]


def test_the_line_in_the_terminal_takes_the_place_of_those_in_the_log(tmp_path, open_terminal):
    terminal = open_terminal()
    setup_logger(tmp_path)
    train(Trainer(terminal), 3, period=1)
    in_file = (tmp_path / "log.txt").read_text()
    assert [f"iter: {number}" in in_file for number in range(3)] == [True] * 3
    assert "iter: " not in terminal.getvalue()
    assert "step 2" in terminal.getvalue()


def test_at_the_end_the_line_stays_as_text(open_terminal):
    terminal = open_terminal()
    train(Trainer(terminal), 3)
    print("behind it")
    *_, line, behind = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).splitlines()
    assert "3/3  in 0:00:00  loss 4.000" in line
    assert behind == "behind it"


def test_a_training_that_fails_gives_the_terminal_back(open_terminal, monkeypatch):
    terminal = open_terminal()
    with pytest.raises(ZeroDivisionError):
        train(Trainer(terminal, fail_at=1), 3)
    assert sys.stdout is terminal
    assert terminal.getvalue().rstrip().rfind("\x1b[?25h") > terminal.getvalue().rfind("\x1b[?25l")
