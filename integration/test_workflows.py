"""The workflows of continuous integration name what the repository has."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import pythons
import yaml
from dist.platforms import TORCH_FLOOR

from d2_ops._preconditions import OLDEST_TORCH

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


PACKAGES = sorted(p.name for p in (ROOT / "packages").iterdir())


def jobs(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())["jobs"]


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


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_of_others_are_pinned_to_a_commit_with_its_version_beside(workflow):
    used = re.findall(r"uses: (?!\./)(.*)", workflow.read_text())
    assert used
    pinned = r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+"
    assert [action for action in used if not re.fullmatch(pinned, action)] == []


def test_only_publishing_may_ask_for_more_than_to_read():
    for workflow in WORKFLOWS:
        assert yaml.safe_load(workflow.read_text())["permissions"] == {"contents": "read"}
        asked = {name: job.get("permissions") for name, job in jobs(workflow.stem).items()}
        publish = asked.pop("publish", None)
        assert publish == ({"id-token": "write"} if workflow.stem == "release" else None)
        assert not any(asked.values())


def test_only_files_that_were_checked_and_run_are_published():
    release = jobs("release")
    (checked,) = [s["run"] for s in release["files"]["steps"] if "dist" in s.get("run", "")]
    assert checked == 'nox --session dist -- "$NAME"'
    assert "files" in release["tests"]["needs"]
    assert {"files", "tests"} <= set(release["publish"]["needs"])
    taken = {
        job: [s["with"]["name"] for s in release[job]["steps"] if "-artifact" in s.get("uses", "")]
        for job in ("files", "tests", "publish")
    }
    assert taken == {"files": ["files"], "tests": ["files"], "publish": ["files"]}


def test_the_pythons_and_torches_of_continuous_integration_are_those_of_nox():
    matrix = jobs("tests")["tests"]["strategy"]["matrix"]
    assert tuple(matrix["python"]) == pythons.CURRENT
    assert matrix["torch"] == [f"torch=={TORCH_FLOOR}", "torch"]
    assert f'"torch=={TORCH_FLOOR}"' in (ROOT / "noxfile.py").read_text()


@pytest.mark.parametrize("package", PACKAGES)
def test_the_oldest_torch_that_is_run_is_what_packages_ask_for(package):
    text = (ROOT / "packages" / package / "pyproject.toml").read_text()
    needs = tomllib.loads(text)["project"]["dependencies"]
    floor = ".".join(map(str, OLDEST_TORCH))
    assert [need for need in needs if re.match(r"torch\b", need)] in ([], [f"torch>={floor}"])
    assert f"{floor}.0" == TORCH_FLOOR


def name_of_tag(tag: str, folder: Path) -> tuple[int, str]:
    """What the release workflow makes of a tag: exit code, and what it hands on or says."""
    if shutil.which("bash") is None or shutil.which("grep") is None:
        pytest.skip("bash and grep are not installed")
    (step,) = [s for s in jobs("release")["package"]["steps"] if s.get("id") == "tag"]
    output = folder / "output"
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "TAG": tag, "GITHUB_OUTPUT": str(output)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, output.read_text() if output.exists() else done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_a_tag_publishes_the_package_whose_version_it_names(package, tmp_path):
    text = (ROOT / "packages" / package / "pyproject.toml").read_text()
    version = tomllib.loads(text)["project"]["version"]
    assert name_of_tag(f"{package}-v{version}", tmp_path) == (0, f"name={package}\n")


def test_a_tag_of_another_version_publishes_nothing(tmp_path):
    code, told = name_of_tag("d2-ops-v99.0.0", tmp_path)
    assert code == 1
    assert 'packages/d2-ops/pyproject.toml has no version = "99.0.0"' in told
