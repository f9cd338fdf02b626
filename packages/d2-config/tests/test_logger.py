import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from d2_config import logger as log
from d2_config.logger import (
    create_small_table,
    log_every_n,
    log_every_n_seconds,
    log_first_n,
    setup_logger,
)


@pytest.fixture(autouse=True)
def restored_loggers() -> Iterator[None]:
    names = ("d2", "detectron2", "some_app", *log.PACKAGES)
    yield
    for name in names:
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


def test_messages_of_every_package_reach_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    returned = setup_logger()
    assert returned.name == "d2"
    logging.getLogger("d2_data.catalog").debug("found it")
    assert "d2_data.catalog]: found it" in capsys.readouterr().out


def test_setting_up_twice_prints_once(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logger(name="some_app")
    setup_logger(name="some_app")
    logging.getLogger("some_app").info("hello")
    assert capsys.readouterr().out.count("hello") == 1


def test_output_folder_gets_log_txt_and_is_made(tmp_path: Path) -> None:
    setup_logger(tmp_path / "a" / "b", name="some_app").info("kept")
    assert "kept" in (tmp_path / "a" / "b" / "log.txt").read_text()


@pytest.mark.parametrize("name", ["run.log", "run.txt"])
def test_output_file_name_is_used(tmp_path: Path, name: str) -> None:
    setup_logger(str(tmp_path / name), name="some_app").info("kept")
    assert "some_app INFO: kept" in (tmp_path / name).read_text()


def test_one_file_takes_the_messages_of_all_packages_once(tmp_path: Path) -> None:
    setup_logger(tmp_path)
    setup_logger(tmp_path)
    logging.getLogger("d2_data").info("from data")
    logging.getLogger("d2_engine").info("from engine")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["from data", "from engine"]


def test_second_output_adds_a_file_but_no_second_console(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logger(tmp_path / "a.txt", name="some_app")
    setup_logger(tmp_path / "b.txt", name="some_app").info("both")
    assert "both" in (tmp_path / "a.txt").read_text()
    assert "both" in (tmp_path / "b.txt").read_text()
    assert capsys.readouterr().out.count("both") == 1


def test_a_message_for_files_only_is_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logger(tmp_path, name="some_app").info("kept", extra=log.FILE_ONLY)
    assert "kept" in (tmp_path / "log.txt").read_text()
    assert capsys.readouterr().out == ""


def test_the_file_takes_more_than_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = setup_logger(tmp_path, name="some_app", terminal_level="INFO")
    logger.debug("detail")
    logger.info("header")
    written = (tmp_path / "log.txt").read_text()
    assert "detail" in written
    assert "header" in written
    printed = capsys.readouterr().out
    assert "header" in printed
    assert "detail" not in printed


def test_the_terminals_level_is_changed_by_a_later_call_that_gives_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logger().debug("first")
    setup_logger(tmp_path, terminal_level=logging.WARNING).info("second")
    setup_logger(tmp_path).info("third")
    setup_logger(tmp_path, terminal_level=logging.DEBUG).debug("fourth")
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["first", "fourth"]
    written = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.rpartition(": ")[2] for line in written] == ["second", "third", "fourth"]


def test_a_level_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        setup_logger(name="some_app", terminal_level="LOUD")


def test_other_ranks_write_their_own_file_and_print_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logger(tmp_path, distributed_rank=2, name="some_app").info("from rank two")
    assert "from rank two" in (tmp_path / "log.txt.rank2").read_text()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("name", "abbreviation", "printed"),
    [
        ("detectron2", None, "d2.data]"),
        ("some_app", None, "some_app.data]"),
        ("some_app", "app", "app.data]"),
        ("some_app", "", " data]"),
    ],
)
def test_root_name_is_abbreviated(
    name: str, abbreviation: str | None, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    setup_logger(name=name, abbrev_name=abbreviation)
    logging.getLogger(f"{name}.data").info("x")
    assert printed in capsys.readouterr().out


def test_abbreviating_leaves_the_record_alone() -> None:
    formatter = log._AbbreviatingFormatter("some_app", "app", "%(name)s")
    record = logging.LogRecord("some_app.x", logging.INFO, "f", 1, "m", (), None)
    assert formatter.format(record) == "app.x"
    assert record.name == "some_app.x"


def test_warnings_name_their_level(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logger(name="some_app").warning("careful")
    assert "]: WARNING careful" in capsys.readouterr().out


def test_colour_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, pipe = Terminal(), io.StringIO()
    logger = setup_logger(name="some_app")
    monkeypatch.setattr("sys.stdout", terminal)
    logger.error("in colour")
    monkeypatch.setenv("NO_COLOR", "1")
    logger.error("plain")
    monkeypatch.setattr("sys.stdout", pipe)
    logger.error("plain")
    coloured, plain = terminal.getvalue().splitlines()
    assert "\x1b[" in coloured
    assert "\x1b[" not in plain + pipe.getvalue()


def test_message_that_holds_percent_signs_is_printed_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    setup_logger(name="some_app").info("%d%% of %s", 50, "%(name)s")
    assert "50% of %(name)s" in capsys.readouterr().out


def test_log_first_n_counts_by_calling_line(caplog: pytest.LogCaptureFixture) -> None:
    for i in range(5):
        log_first_n(logging.WARNING, f"message {i}", n=2, name="some_app")
    log_first_n(logging.WARNING, "from another line", n=2, name="some_app")
    assert caplog.messages == ["message 0", "message 1", "from another line"]


def test_log_first_n_counts_by_message(caplog: pytest.LogCaptureFixture) -> None:
    for i in range(4):
        log_first_n(logging.WARNING, f"unique to this test {i % 2}", key="message")
    log_first_n(logging.WARNING, "unique to this test 0", key="message")
    assert caplog.messages == ["unique to this test 0", "unique to this test 1"]


def test_log_first_n_counts_by_line_and_message(caplog: pytest.LogCaptureFixture) -> None:
    for i in range(4):
        log_first_n(logging.WARNING, f"both {i % 2}", key=("caller", "message"))
    log_first_n(logging.WARNING, "both 0", key=("caller", "message"))
    assert caplog.messages == ["both 0", "both 1", "both 0"]


@pytest.mark.parametrize("key", ["line", (), ("caller", "x")])
def test_log_first_n_refuses_unknown_keys(key: str | tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="key must be"):
        log_first_n(logging.INFO, "x", key=key)


def test_log_first_n_uses_the_callers_module_and_line(caplog: pytest.LogCaptureFixture) -> None:
    log_first_n(logging.WARNING, "who")
    (record,) = caplog.records
    assert record.name == __name__
    assert Path(record.pathname).name == "test_logger.py"


def test_log_every_n_logs_the_first_and_each_nth_after(caplog: pytest.LogCaptureFixture) -> None:
    for i in range(7):
        log_every_n(logging.WARNING, str(i), n=3)
    assert caplog.messages == ["0", "3", "6"]


def test_log_every_n_refuses_zero() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        log_every_n(logging.INFO, "x", n=0)


def test_log_every_n_seconds_waits_between_messages(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([100.0, 104.0, 105.0, 109.9, 110.0])
    monkeypatch.setattr(log.time, "monotonic", lambda: next(times))
    for i in range(5):
        log_every_n_seconds(logging.WARNING, str(i), n=5)
    assert caplog.messages == ["0", "2", "4"]


def test_small_table_has_titles_above_one_row() -> None:
    table = create_small_table({"AP": 12.3456, "AP50": 2.0, "n": 3, "note": "ok"})
    titles, rule, row = table.splitlines()
    assert [cell.strip() for cell in titles.strip("|").split("|")] == ["AP", "AP50", "n", "note"]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["12.346", "2.000", "3", "ok"]
    assert set(rule) == set("|:-")
    assert len(titles) == len(rule) == len(row)


def test_a_full_disk_is_told_once_and_work_goes_on_without_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource")  # not on Windows
    logger = setup_logger(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        for number in range(3):
            logger.info("message %d", number)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    shown = capsys.readouterr()
    assert "message 2" in shown.out
    assert shown.err.count("no space left on the device") == 1
    assert shown.err.count("\n") == 1
    assert str(tmp_path / "log.txt") in shown.err
    logger.info("there is room again")
    assert "there is room again" in (tmp_path / "log.txt").read_text()
