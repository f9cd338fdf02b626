"""What is left of a suite on an emulated processor."""

import subprocess
import sys
from pathlib import Path

import arm64
import pytest

TESTS = """
from hypothesis import given, settings, strategies as st

drawn = {}

@settings(max_examples=300, deadline=None)
@given(st.integers())
def test_many(x):
    drawn["many"] = drawn.get("many", 0) + 1

@given(st.integers())
def test_as_many_as_usual(x):
    drawn["usual"] = drawn.get("usual", 0) + 1

@settings(max_examples=3)
@given(st.integers())
def test_three(x):
    drawn["three"] = drawn.get("three", 0) + 1

def test_that_few_were_drawn():
    assert drawn == {"many": 10, "usual": 10, "three": 3}

def test_compiles_in_one_graph():
    assert False, "takes a minute"
"""


def test_properties_have_few_examples_and_what_takes_minutes_is_skipped_with_its_reason(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_drawn.py").write_text(TESTS)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "emulated",
            "-p",
            "no:cacheprovider",
            "-rs",
            ".",
        ],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parent), "CI": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed, 1 skipped" in done.stdout
    assert "left out where emulated: torch traces it" in done.stdout


@pytest.mark.parametrize(
    ("chosen", "suites"),
    [
        ([], 2),
        (["-k", "nms", "--maxfail", "1"], 2),
        (["packages/d2-ops/tests/test_nms.py::test_x", "-x"], 0),
    ],
)
def test_options_alone_go_to_both_suites(chosen: list[str], suites: int) -> None:
    words = arm64.selected(chosen)
    assert words[: len(chosen)] == chosen
    assert len(words) == len(chosen) + suites
    assert all(Path(folder).is_dir() for folder in words[len(chosen) :])
