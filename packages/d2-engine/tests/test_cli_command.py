"""The ``d2`` command: help, wrong command lines, and how failures are told."""

import subprocess
import sys

import pytest

from d2_engine.cli import main
from d2_engine.run.settings import LazySettings, YacsSettings

COMMANDS = [
    "train",
    "eval",
    "predict",
    "export",
    "benchmark",
    "analyze",
    "check",
    "data",
    "zoo",
    "migrate",
    "env",
]

HEAVY = ("torch", "numpy", "omegaconf", "d2_config", "d2_data", "yaml", "libcst")


def wrong(capfd, *arguments):
    """The message of a wrong command line."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    return capfd.readouterr().err


@pytest.fixture
def failing(monkeypatch):
    """Let ``d2 env`` fail with an error."""

    def let_fail(error):
        def collect():
            raise error

        monkeypatch.setattr("d2_engine.environment.collect_environment", collect)

    return let_fail


# ------------------------------------------------------------------------- help


def test_d2_alone_shows_the_help(capfd):
    assert main([]) == 0
    printed = capfd.readouterr().out
    assert printed.startswith("usage: d2")
    assert all(f"\n    {command}" in printed for command in COMMANDS)


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_needs_neither_torch_nor_numpy_nor_omegaconf(arguments):
    script = (
        "import sys\n"
        "from d2_engine.cli import main\n"
        f"try: main({arguments!r})\n"
        "except SystemExit as end: assert not end.code\n"
        f"assert not [name for name in {HEAVY!r} if name in sys.modules]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: d2")


def test_the_version_is_shown(capfd):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capfd.readouterr().out.startswith("d2-engine ")


def test_the_help_of_training_shows_the_options_of_a_run_with_their_defaults(capfd):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    printed = capfd.readouterr().out
    assert "train.ema_decay=0.0 " in printed
    assert "train.compile=false " in printed
    assert "RUN.EMA_DECAY" in printed


def test_the_names_that_the_help_of_training_has_are_those_of_the_configs():
    from d2_engine.cli.train import OFTEN_CHANGED

    pairs = {(LazySettings.NAMES[name], YacsSettings.NAMES[name]) for name in LazySettings.NAMES}
    assert {(lazy, yacs) for lazy, yacs, _ in OFTEN_CHANGED} <= pairs


# ------------------------------------------------------------- wrong command lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "there is no command 'trian'; did you mean train?"),
        (["xyzzy"], "there is no command 'xyzzy'; see d2 --help"),
        (["train"], "which config?"),
        (["eval"], "which config?"),
        (["benchmark"], "which config?"),
        (["train", "a.py", "--ouput", "b"], "--ouput; did you mean --output?"),
        (["train", "a.py", "--ouput=b"], "--ouput=b; did you mean --output?"),
        (["env", "x"], "unrecognized arguments: x"),
        (["env", "--no"], "unrecognized arguments: --no"),
        (
            ["predict", "a.jpg"],
            "one of the arguments --run --config/--config-file --exported is required",
        ),
        (["predict", "--run", "r"], "which pictures?"),
        (["predict", "--run", "r", "a.b=1"], "which pictures?"),
        (["predict", "a.jpg", "--run", "r", "--video", "v.mp4"], "one at a time"),
        (["predict", "a.jpg", "--run", "r", "--webcam"], "one at a time"),
        (["predict", "a", "--run", "r", "--confidence", "2"], "must lie between 0 and 1, got 2"),
        (["predict", "a", "--run", "r", "--scale", "0"], "must be positive, got 0"),
        (["eval", "--predictions", "a.json"], "--gt FILE is missing"),
        (["eval", "--gt", "a.json"], "--predictions FILE is missing"),
        (["eval", "c", "--predictions", "a.json", "--gt", "b.json"], "need no config"),
        (["eval", "c", "--task", "bbox"], "--task is for --predictions"),
        (["eval", "--predictions", "a", "--gt", "b", "--task", "masks"], "invalid choice: 'masks'"),
    ],
)
def test_a_wrong_command_line_is_told_and_exits_with_2(capfd, arguments, message):
    error = wrong(capfd, *arguments)
    assert message in error
    assert error.startswith("usage: d2")


# -------------------------------------------------------------------- failures


def test_bad_input_is_told_in_one_message_and_exits_with_1(failing, fails):
    failing(ValueError("the value is wrong"))
    assert fails("env") == "d2 env: error: the value is wrong\n"


def test_notes_of_an_error_stand_below_it(failing, fails):
    error = KeyError("no such key")
    error.add_note("in model.backbone")
    failing(error)
    assert fails("env") == "d2 env: error: no such key\n  in model.backbone\n"


def test_an_error_without_text_is_told_by_its_name(failing, fails):
    failing(IndexError())
    assert fails("env") == "d2 env: error: IndexError\n"


def test_of_an_error_in_a_loading_process_its_own_message_is_told(failing, fails):
    failing(
        ValueError(
            "Caught ValueError in DataLoader worker process 0.\n"
            "Original Traceback (most recent call last):\n"
            '  File "x.py", line 1, in f\n'
            "ValueError: a.jpg is damaged\n"
        )
    )
    assert fails("env") == "d2 env: error: a.jpg is damaged\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        type("OutOfMemoryError", (RuntimeError,), {})(
            "CUDA out of memory. Tried to allocate 2 GiB"
        ),
    ],
)
def test_memory_that_ran_out_is_told_with_the_remedy(failing, fails, error):
    failing(error)
    message = fails("env")
    assert "memory ran out" in message
    assert "SOLVER.IMS_PER_BATCH" in message


def test_a_bug_shows_its_traceback(failing):
    failing(RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        main(["env"])


def test_debug_shows_the_traceback(failing):
    failing(ValueError("the value is wrong"))
    with pytest.raises(ValueError, match="the value is wrong"):
        main(["env", "--debug"])


def test_ctrl_c_outside_training_is_said(failing, capfd):
    failing(KeyboardInterrupt())
    assert main(["env"]) == 130
    assert capfd.readouterr().err == "d2 env: interrupted\n"


def test_the_environment_shows_versions_and_kernels(capfd):
    assert main(["env"]) == 0
    printed = capfd.readouterr().out
    for name in ("d2-ops", "torch", "CUDA", "d2-ops cpu_library"):
        assert any(line.startswith(name) for line in printed.splitlines()), name


def test_a_failure_that_is_its_own_cause_ends_the_command(failing, capfd):
    error = ValueError("in a circle")
    error.__cause__ = error
    failing(error)
    assert main(["env"]) == 1
    assert "error: in a circle" in capfd.readouterr().err
