import builtins
import io
import logging
import os
import sys

import pytest

from d2_config.logger import setup_logger
from d2_eval.live import Fact, LineContent, LiveLine, display

pytest.importorskip("rich", reason="the extra 'progress' is not installed")


def line_saying(text: str) -> LiveLine:
    return LiveLine(lambda: LineContent(text, None, [Fact("now")]))


@pytest.fixture(autouse=True)
def _no_line_is_left():
    yield
    assert display._current is None


@pytest.fixture
def other_logger():
    logger = logging.getLogger("some_library")
    yield logger
    logger.handlers.clear()


def test_a_line_is_seen_as_soon_as_it_is_shown(open_terminal):
    terminal = open_terminal()
    line = line_saying("train")
    assert line.show()
    assert terminal.screen() == ["train  now"]
    line.hide()
    assert terminal.screen() == []


def test_a_line_says_what_is_true_when_it_is_redrawn(open_terminal):
    terminal = open_terminal()
    texts = ["before"]
    with LiveLine(lambda: LineContent(texts[0], None, [])) as line:
        texts[0] = "after"
        line.refresh()
        assert terminal.screen() == ["after"]


def test_what_is_printed_stands_above_the_line_and_stays(open_terminal):
    terminal = open_terminal()
    with line_saying("train"):
        print("first")
        print("second", file=sys.stderr)
        assert terminal.screen() == ["first", "second", "train  now"]
    print("third")
    assert terminal.screen() == ["first", "second", "third"]


def test_long_text_is_not_broken_by_the_width_of_the_terminal(open_terminal):
    terminal = open_terminal()
    text = "word " * 60
    with line_saying("train"):
        print(text)
        assert terminal.screen() == [text.rstrip(), "train  now"]


def test_log_messages_of_d2_and_of_others_stand_above_the_line(open_terminal, other_logger):
    terminal = open_terminal()
    setup_logger(name="some_app")
    other_logger.addHandler(logging.StreamHandler())
    try:
        with line_saying("train"):
            logging.getLogger("some_app").info("of an app")
            other_logger.warning("of a library")
            assert terminal.screen()[0].endswith(
                "some_app\x1b[0m]: of an app"
            ) or terminal.screen()[0].endswith("of an app")
            assert terminal.screen()[1:] == ["of a library", "train  now"]
    finally:
        logging.getLogger("some_app").handlers.clear()
    assert other_logger.handlers[0].stream is terminal


def test_several_lines_stand_below_each_other(open_terminal):
    terminal = open_terminal()
    outer, inner = line_saying("train"), line_saying("evaluate")
    with outer:
        with inner:
            print("text")
            assert terminal.screen() == ["text", "train  now", "evaluate  now"]
        print("more")
        assert terminal.screen() == ["text", "more", "train  now"]


def test_a_line_that_is_kept_becomes_text(open_terminal):
    terminal = open_terminal()
    outer, inner = line_saying("train"), line_saying("evaluate")
    outer.show()
    inner.show()
    inner.hide(keep=True)
    assert terminal.screen() == ["evaluate  now", "train  now"]
    outer.hide(keep=True)
    assert terminal.screen() == ["evaluate  now", "train  now"]


def test_the_streams_are_given_back_with_a_visible_cursor(open_terminal):
    terminal = open_terminal()
    with line_saying("train"):
        assert sys.stdout is not terminal
        assert sys.stdout.isatty()
    assert sys.stdout is sys.stderr is terminal
    text = terminal.getvalue()
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_an_error_inside_the_block_gives_the_streams_back(open_terminal):
    terminal = open_terminal()
    with pytest.raises(RuntimeError, match="broken"), line_saying("train"):
        raise RuntimeError("broken")
    assert sys.stdout is terminal


def test_a_question_is_seen_before_it_is_answered(open_terminal):
    terminal = open_terminal()
    with line_saying("train"):
        sys.stdout.write("Continue? ")
        sys.stdout.flush()
        assert terminal.screen() == ["Continue?", "train  now"]


def test_a_line_that_overwrites_itself_is_printed_in_its_last_state(open_terminal):
    terminal = open_terminal()
    with line_saying("train"):
        for percent in (1, 50, 100):
            sys.stderr.write(f"\rloading {percent}%")
            sys.stderr.flush()
        sys.stderr.writelines(["\n"])
        assert terminal.screen() == ["loading 100%", "train  now"]


def test_an_unfinished_line_is_not_lost(open_terminal):
    terminal = open_terminal()
    with line_saying("train"):
        sys.stdout.write("half")
    assert terminal.screen() == ["half"]


def test_without_a_terminal_nothing_is_shown(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setattr("sys.stderr", stream)
    line = line_saying("train")
    assert not line.show()
    line.refresh()
    line.hide(keep=True)
    assert stream.getvalue() == ""


def test_standard_error_serves_where_standard_output_is_a_file(open_terminal, monkeypatch):
    terminal = open_terminal()
    file = io.StringIO()
    monkeypatch.setattr("sys.stdout", file)
    with line_saying("train"):
        print("a result")
        assert terminal.screen() == ["train  now"]
    assert file.getvalue() == "a result\n"


def test_a_terminal_that_cannot_move_its_cursor_shows_nothing(open_terminal, monkeypatch):
    open_terminal()
    monkeypatch.setenv("TERM", "dumb")
    assert not line_saying("train").show()


def test_without_rich_nothing_is_shown(open_terminal, monkeypatch):
    open_terminal()
    real_import = builtins.__import__

    def refuse(name, *args):
        if name.split(".")[0] == "rich":
            raise ImportError(name)
        return real_import(name, *args)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert not line_saying("train").show()


def test_a_forked_process_leaves_the_lines_alone(open_terminal, monkeypatch):
    terminal = open_terminal()
    with line_saying("train") as line:
        before = terminal.getvalue()
        own_pid = os.getpid()
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: own_pid + 1)
            sys.stdout.write("from a ")
            sys.stdout.writelines(["worker\n"])
            sys.stdout.flush()
            assert not line_saying("evaluate").show()
            line.hide()
        assert terminal.getvalue()[len(before) :] == "\r\x1b[2Kfrom a worker\n"
        line.refresh()
        assert terminal.screen() == ["from a worker", "train  now"]
