"""The workflows of continuous integration name what the repository has."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_session_that_a_workflow_runs_is_defined(workflow):
    sessions = re.findall(r"nox --session (\w+)", workflow.read_text())
    defined = re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    assert set(sessions) <= set(defined)


def test_lint_tests_wheels_documents_and_releases_have_a_workflow():
    assert {w.stem for w in WORKFLOWS} == {"docs", "lint", "release", "tests", "wheels"}


def test_the_wheels_of_cibuildwheel_are_those_that_the_project_declares():
    text = (ROOT / "packages" / "d2-ops" / "pyproject.toml").read_text()
    tools = tomllib.loads(text)["tool"]
    stable = tools["scikit-build"]["wheel"]["py-api"]
    assert tools["cibuildwheel"]["build"] == ["cp311-*", f"{stable}-*"]
