"""``python -m d2_config``."""

from pathlib import Path

import pytest
import yaml

from d2_config.__main__ import main


@pytest.fixture
def lazy(tmp_path: Path) -> Path:
    file = tmp_path / "lazy.py"
    file.write_text(
        "from d2_config import LazyCall as L\n"
        "day = L('datetime.date')(year=2026, month='${clock.month}', day=1)\nclock = {'month': 3}\n"
    )
    return file


def test_the_resolved_config_is_printed(lazy: Path, capsys) -> None:
    assert main([str(lazy), "day.day=9"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["day"] == {"_target_": "datetime.date", "year": 2026, "month": 3, "day": 9}


def test_the_equivalent_code_is_printed(lazy: Path, capsys) -> None:
    assert main([str(lazy), "--python"]) == 0
    assert "cfg.day = datetime.date(" in capsys.readouterr().out


def test_overrides_are_read_as_python_writes_them(lazy: Path, capsys) -> None:
    assert main([str(lazy), "clock.month=None", "+day.sizes=(1, 2)"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["clock"]["month"] is None
    assert printed["day"]["sizes"] == [1, 2]


def test_differences_are_listed(lazy: Path, tmp_path: Path, capsys) -> None:
    other = tmp_path / "other.py"
    other.write_text(lazy.read_text().replace("'month': 3", "'month': 4"))
    assert main([str(lazy), "--diff", str(lazy)]) == 0
    assert "no difference" in capsys.readouterr().out
    assert main([str(lazy), "--diff", str(other)]) == 1
    assert "month" in capsys.readouterr().out


def test_overrides_may_follow_the_options(lazy: Path, capsys) -> None:
    assert main([str(lazy), "--diff", str(lazy), "clock.month=5"]) == 1
    changed = {"- day.month: 5", "+ day.month: 3", "- clock.month: 5", "+ clock.month: 3"}
    assert set(capsys.readouterr().out.splitlines()) == changed


def test_the_command_alone_asks_for_a_file(capsys) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "required: FILE\n" in capsys.readouterr().err


def test_a_yacs_file_is_shown_on_top_of_the_defaults(tmp_path: Path, capsys) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("SOLVER:\n  BASE_LR: 0.5\n")
    assert main([str(file)]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["SOLVER"]["BASE_LR"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["day.dya=1"], "day.day"),
        (["day.month=${nowhere}"], "nowhere"),
        (["day.day=${clock.moth}"], "clock.month"),
        (["="], "override"),
    ],
)
def test_an_error_is_one_message(lazy: Path, capsys, arguments, named) -> None:
    assert main([str(lazy), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert named in error
