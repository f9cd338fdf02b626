import logging

import pytest

from d2_eval import progress
from d2_eval.live import ProgressBar
from d2_eval.live import bars as bars_module


def facts(bar: ProgressBar) -> list[str]:
    return [fact.text for fact in bar.content().facts]


def test_a_bar_counts_and_tells_the_speed_and_the_remaining_time(clock):
    with ProgressBar("evaluate", 10, unit="batch", clock=clock) as bar:
        clock.now += 8
        bar.advance(4)
        assert bar.content().label == "evaluate"
        assert bar.content().fraction == 0.4
        assert facts(bar) == ["4/10", "eta 0:00:12", "2.0 s/batch"]


def test_before_the_first_item_the_time_that_passed_is_told(clock):
    with ProgressBar("evaluate", 10, clock=clock) as bar:
        clock.now += 75
        assert facts(bar) == ["0/10", "0:01:15"]


def test_the_remaining_time_goes_on_between_two_items_and_never_below_zero(clock):
    with ProgressBar("evaluate", 2, clock=clock) as bar:
        clock.now += 10
        bar.advance()
        clock.now += 4
        assert bar.remaining() == "0:00:06"
        clock.now += 60
        assert bar.remaining() == "0:00:00"


def test_an_unknown_end_gives_no_bar_and_no_remaining_time(clock):
    with ProgressBar("read", clock=clock) as bar:
        clock.now += 1
        bar.advance(10)
        assert bar.content().fraction is None
        assert facts(bar) == ["10", "0:00:01", "10.0 it/s"]


def test_every_item_is_passed_on(capsys):
    assert list(progress(iter("abc"), 3, "spell")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_in_a_terminal_the_bar_is_seen_until_the_loop_ends(open_terminal):
    pytest.importorskip("rich", reason="the extra 'progress' is not installed")
    terminal = open_terminal()
    for item in progress([1, 2], description="predict"):
        print("picture", item)
        assert terminal.screen()[-1].startswith("predict")
        assert "/2" in terminal.screen()[-1]
    assert terminal.screen() == ["picture 1", "picture 2"]


def test_a_loop_that_is_left_early_takes_its_bar_along(open_terminal):
    pytest.importorskip("rich", reason="the extra 'progress' is not installed")
    terminal = open_terminal()
    for _ in progress(range(5), description="predict"):
        break
    assert terminal.screen() == []


def test_elsewhere_a_line_is_logged_every_five_seconds(clock, caplog):
    caplog.set_level(logging.INFO, logger="d2_eval")
    for _ in progress(range(8), description="predict", unit="image", clock=clock):
        clock.now += 2
    assert caplog.messages == [
        "predict: 3/8  eta 0:00:10  2.0 s/image",
        "predict: 6/8  eta 0:00:04  2.0 s/image",
    ]
    assert not hasattr(caplog.records[0], "file_only")


def test_what_a_bar_shows_is_logged_for_files_only(clock, caplog, open_terminal):
    pytest.importorskip("rich", reason="the extra 'progress' is not installed")
    open_terminal()
    caplog.set_level(logging.INFO, logger="d2_eval")
    for _ in progress(range(3), description="predict", clock=clock):
        clock.now += 3
    assert [record.file_only for record in caplog.records] == [True]


def test_only_the_main_process_shows_and_logs_anything(open_terminal, clock, caplog, monkeypatch):
    terminal = open_terminal()
    monkeypatch.setattr(bars_module, "is_main_process", lambda: False)
    caplog.set_level(logging.INFO, logger="d2_eval")
    for _ in progress(range(3), description="predict", clock=clock):
        clock.now += 10
    assert terminal.getvalue() == ""
    assert caplog.messages == []
