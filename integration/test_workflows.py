"""The workflows of continuous integration name what the repository has."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_session_that_a_workflow_runs_is_defined(workflow):
    text = workflow.read_text()
    sessions = re.findall(r"nox --session (\w+)", text)
    for listed in re.findall(r"^ +session: \[(.*)\]$", text, re.MULTILINE):
        sessions += listed.split(", ")
    defined = re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    assert set(sessions) <= set(defined)


def test_every_part_of_continuous_integration_has_a_workflow():
    wanted = {"docs", "integration", "lint", "release", "tests", "wheels"}
    assert {w.stem for w in WORKFLOWS} == wanted


def test_the_wheels_of_cibuildwheel_are_those_that_the_project_declares():
    text = (ROOT / "packages" / "d2-ops" / "pyproject.toml").read_text()
    tools = tomllib.loads(text)["tool"]
    stable = tools["scikit-build"]["wheel"]["py-api"]
    assert tools["cibuildwheel"]["build"] == ["cp311-*", f"{stable}-*"]
