import io

import pytest

from d2_eval.live import Fact, LineContent
from d2_eval.live.layout import lay_out

pytest.importorskip("rich", reason="the extra 'progress' is not installed")

CONTENT = LineContent(
    "train", 0.5, [Fact("5/10"), Fact("loss 1.25", rank=1), Fact("lr 0.01", rank=2)]
)


def printed(content: LineContent, width: int, encoding: str = "utf-8") -> str:
    from rich.console import Console

    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=file, width=width).print(lay_out(content, width))
    file.seek(0)
    return file.read().rstrip("\n")


def test_everything_stands_on_one_line_where_there_is_room():
    line = printed(CONTENT, 100)
    assert line.split()[0] == "train"
    assert line.endswith("5/10  loss 1.25  lr 0.01")


@pytest.mark.parametrize("width", range(18, 100))
def test_no_line_is_wider_than_the_terminal(width):
    line = printed(CONTENT, width)
    assert len(line) <= width
    assert "\n" not in line
    assert "5/10" in line


def test_the_least_important_facts_are_left_out_first():
    shown = [printed(CONTENT, width) for width in range(100, 18, -1)]
    without_rate = next(line for line in shown if "lr" not in line)
    assert "loss" in without_rate
    assert all("lr" not in line for line in shown if "loss" not in line)


def test_the_bar_makes_room_before_any_fact():
    line = "train  5/10  loss 1.25  lr 0.01"
    assert printed(CONTENT, len(line)) == line
    assert "━" in printed(CONTENT, len(line) + 12)


def test_a_line_without_a_known_end_has_no_bar():
    assert printed(CONTENT._replace(fraction=None), 100) == "train  5/10  loss 1.25  lr 0.01"


def test_a_terminal_without_unicode_gets_a_bar_of_its_letters():
    assert printed(CONTENT, 100, encoding="ascii").isascii()
