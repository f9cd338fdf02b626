"""The numbers behind the line in the log and the one in the terminal."""

import pytest

from d2_engine.events import EventStorage
from d2_engine.training_progress import TrainingProgress, peak_memory_mib


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 500.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def texts(progress):
    return [fact.text for fact in progress.content().facts]


def record(storage, iteration, **scalars):
    storage.iter = iteration
    storage.put_scalars(**scalars)


def test_before_the_first_iteration_is_done_its_duration_is_shown(clock):
    progress = TrainingProgress(max_iter=40, clock=clock)
    progress.start(0)
    clock.now += 83
    assert progress.content().label == "train"
    assert progress.content().fraction == 0
    assert texts(progress) == ["0/40", "first iteration 0:01:23"]


def test_a_resumed_training_begins_where_it_stopped(clock):
    progress = TrainingProgress(max_iter=40, clock=clock)
    progress.start(30)
    assert progress.content().fraction == 0.75
    assert texts(progress)[0] == "30/40"


def test_after_the_first_iteration_its_own_duration_gives_the_remaining_time(clock):
    progress = TrainingProgress(max_iter=11, images_per_batch=4, clock=clock)
    progress.start(0)
    clock.now += 8
    storage = EventStorage()
    record(storage, 0, total_loss=1.5, data_time=2.0)
    progress.read(storage)
    assert texts(progress)[:5] == ["1/11", "eta 0:01:20", "loss 1.500", "0.5 images/s", "waits 25%"]


def test_the_remaining_time_goes_on_during_an_iteration_but_not_during_an_evaluation(clock):
    progress = TrainingProgress(max_iter=3, clock=clock)
    progress.start(0)
    clock.now += 10
    progress.read(EventStorage(0))
    assert texts(progress)[1] == "eta 0:00:20"
    clock.now += 7
    assert texts(progress)[1] == "eta 0:00:13"
    clock.now += 99
    assert texts(progress)[1] == "eta 0:00:10"


def test_a_timer_among_the_hooks_gives_the_times(clock):
    progress = TrainingProgress(max_iter=100, images_per_batch=8, clock=clock)
    progress.start(0)
    storage = EventStorage()
    for iteration in range(10):
        clock.now += 1000  # hooks that took long
        record(storage, iteration, time=2.0, data_time=4.0 if iteration == 9 else 0.0)
    progress.read(storage)
    assert progress.remaining_seconds == 180
    assert {"4 images/s", "waits 20%"} < set(texts(progress))


def test_only_iterations_that_were_timed_count_for_the_share_of_waiting(clock):
    progress = TrainingProgress(clock=clock)
    progress.start(0)
    storage = EventStorage()
    record(storage, 0, data_time=60.0)  # loading processes start; a timer leaves this one out
    record(storage, 1, time=2.0, data_time=0.5)
    progress.read(storage)
    assert "waits 25%" in texts(progress)


def test_much_waiting_is_marked(clock):
    progress = TrainingProgress(clock=clock)
    styles = []
    for data_time in (0.1, 0.9):
        storage = EventStorage()
        record(storage, 0, time=1.0, data_time=data_time)
        progress.read(storage)
        styles += [f.style for f in progress.content().facts if f.text.startswith("waits")]
    assert styles == ["", "yellow"]


def test_without_the_number_of_images_iterations_are_counted(clock):
    progress = TrainingProgress(clock=clock)
    for seconds, text in ((2.5, "2.5 s/it"), (0.25, "4 it/s")):
        storage = EventStorage()
        record(storage, 0, time=seconds)
        progress.read(storage)
        assert text in texts(progress)
        assert "images/s" not in progress.log_line()


def test_single_losses_follow_the_total_and_make_room_first(clock):
    progress = TrainingProgress(clock=clock)
    storage = EventStorage()
    record(storage, 0, loss_cls=0.75, total_loss=1.0, loss_rpn_loc=0.25)
    storage.put_scalar("lr", 0.02, smoothing_hint=False)
    progress.read(storage)
    facts = progress.content().facts
    assert [f.text for f in facts[1:5]] == ["loss 1.000", "cls 0.750", "rpn_loc 0.250", "lr 0.02"]
    left_out_first = sorted(facts, key=lambda fact: -fact.rank)
    assert [f.text for f in left_out_first[:2]] == ["rpn_loc 0.250", "cls 0.750"]


def test_a_loss_recorded_long_ago_is_not_told_again(clock):
    progress = TrainingProgress(window_size=20, clock=clock)
    storage = EventStorage(9)
    storage.put_scalar("validation_loss", 3.0, smoothing_hint=False)
    storage.put_scalar("bbox/AP", 40.0, smoothing_hint=False)
    for iteration, is_told in ((9, True), (29, False)):
        record(storage, iteration, total_loss=1.0)
        progress.read(storage)
        assert ("validation_loss: 3" in progress.log_line()) == is_told
        assert "AP" not in progress.log_line()


def test_the_end_tells_how_long_it_took(clock):
    progress = TrainingProgress(max_iter=1, clock=clock)
    progress.start(0)
    clock.now += 3700
    progress.read(EventStorage(0))
    clock.now += 10
    assert progress.content().fraction == 1
    assert texts(progress)[:2] == ["1/1", "in 1:01:40"]


def test_an_unknown_end_has_neither_bar_nor_remaining_time(clock):
    progress = TrainingProgress(clock=clock)
    progress.start(0)
    clock.now += 1
    progress.read(EventStorage(0))
    assert progress.content().fraction is None
    assert progress.remaining_seconds is None
    assert "eta" not in progress.log_line()


def test_a_line_without_numbers_is_refused():
    with pytest.raises(RuntimeError, match=r"read\(\) before log_line"):
        TrainingProgress().log_line()


def test_peak_memory_is_that_of_this_process():
    assert 10 < peak_memory_mib() < 100_000
