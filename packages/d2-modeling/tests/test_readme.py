"""The example of the README runs."""

import pathlib
import re

import pytest


def test_the_first_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    readme = (pathlib.Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    example = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)[0]
    exec(compile(example, "README.md", "exec"), {})
    assert "480, 640" in capsys.readouterr().out
