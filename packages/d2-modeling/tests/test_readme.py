"""The examples of the README run, each on its own."""

import pathlib
import re

import pytest

README = (pathlib.Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_each_example_stands_alone(number: int) -> None:
    exec(compile(EXAMPLES[number], f"README.md, example {number}", "exec"), {})


def test_the_first_example_detects_in_the_size_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exec(compile(EXAMPLES[0], "README.md", "exec"), {})
    assert "480, 640" in capsys.readouterr().out


def test_the_example_of_weights_fills_the_whole_backbone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exec(compile(EXAMPLES[-1], "README.md", "exec"), {})
    report = capsys.readouterr().out
    assert "box_predictor" in report
    assert "backbone" not in report
    assert "not in the model" not in report
