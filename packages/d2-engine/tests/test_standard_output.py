"""Output to a reader that leaves early."""

import io
import os
import sys

import pytest

from d2_engine.cli import main
from d2_engine.cli.standard_output import OutputUntilClosed


@pytest.fixture
def unread():
    """A stream into a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w", buffering=1)
    yield stream
    stream.close()


def test_writing_goes_on_when_the_reader_has_left(unread):
    output = OutputUntilClosed(unread)
    for _ in range(3):
        assert output.write("a line\n") == 7
    output.flush()


def test_what_is_held_back_until_the_end_does_no_harm_either():
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    output = OutputUntilClosed(stream)
    output.write("a line\n")
    os.close(reader)
    output.flush()
    stream.close()


def test_everything_else_is_left_to_the_stream():
    stream = io.StringIO()
    output = OutputUntilClosed(stream)
    output.write("text")
    assert stream.getvalue() == "text"
    assert not output.isatty()


def test_a_command_succeeds_although_its_output_is_not_read(unread, monkeypatch, capfd):
    monkeypatch.setattr(sys, "stdout", unread)
    assert main(["zoo"]) == 0
    assert capfd.readouterr().err == ""
