"""The Pythons that packages name are those on which their suites were run."""

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from functools import partial
from pathlib import Path

import junit
import pytest
import pythons
from dist import record
from dist.interpreters import environment, interpreter

ROOT = Path(__file__).parents[1]
INDEX = [
    *(f"d2_{name}-0.1.0-py3-none-any.whl" for name in pythons.PACKAGES if name != "ops"),
    "d2_ops-0.1.0-cp311-cp311-manylinux_2_17_x86_64.whl",
    "d2_ops-0.1.0-cp312-abi3-manylinux_2_17_x86_64.whl",
    "d2_ops-0.1.0-cp312-abi3-manylinux_2_17_aarch64.whl",
]


def named(package: str) -> list[str]:
    text = (ROOT / "packages" / f"d2-{package}" / "pyproject.toml").read_text()
    project = tomllib.loads(text)["project"]
    assert project["requires-python"] == ">=3.11"
    label = "Programming Language :: Python :: 3."
    return [c.removeprefix(label) for c in project["classifiers"] if c.startswith(label)]


@pytest.mark.parametrize("package", pythons.PACKAGES)
def test_classifiers_name_the_pythons_that_the_suite_passed_on(package: str) -> None:
    noted = json.loads(pythons.RECORD.read_text())
    ran = [version.removeprefix("3.") for version in pythons.proven(noted, package)]
    wanted = sorted({"11", *ran})  # every check runs on 3.11
    told = f"packages/d2-{package}/pyproject.toml must name Python 3.{', 3.'.join(wanted)}"
    assert named(package) == wanted, told


def run(failed: int, passed: int = 5) -> dict[str, int]:
    return {"passed": passed, "failed": failed, "skipped": 0}


@pytest.mark.parametrize("wrong", [run(1), run(0, passed=0)])
def test_a_python_counts_where_every_run_on_it_passed(wrong: dict[str, int]) -> None:
    noted = {
        "3.13": {"ops": {"newest": run(0)}},
        "3.9": {"ops": {"newest": run(0), "oldest": run(0)}},
        "3.12": {"ops": {"newest": run(0), "oldest": wrong}},
        "3.14": {"config": {"newest": run(0)}},
    }
    assert pythons.proven(noted, "ops") == ["3.9", "3.13"]


@pytest.mark.parametrize(("version", "tag"), [("3.11", "cp311-cp311"), ("3.14", "cp312-abi3")])
def test_a_python_takes_the_wheel_whose_tag_it_knows(
    version: str, tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    for name in INDEX:
        (tmp_path / name).touch()
    found = [file.name for file in pythons.wheels(tmp_path, version)]
    assert len(found) == 7
    assert found[-1] == f"d2_ops-0.1.0-{tag}-manylinux_2_17_x86_64.whl"
    if version != "3.11":
        emulated = pythons.wheels(tmp_path, version, "aarch64")
        assert emulated[-1].name == f"d2_ops-0.1.0-{tag}-manylinux_2_17_aarch64.whl"


def test_an_index_without_a_wheel_says_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no d2_config-.*nox -s dist"):
        pythons.wheels(tmp_path, "3.12")


def test_this_python_is_found_by_its_version_and_no_unborn_one(tmp_path: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = interpreter(version)
    assert found is not None
    assert interpreter("3.999") is None
    assert Path(environment(found, tmp_path / "one", ["pip"])).exists()


def test_what_came_of_d2_ops_is_said_of_its_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / INDEX[-2]
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("d2_ops/_cpu_ops.so", "library")
    files = tmp_path / "record.json", tmp_path / "README.md"
    files[1].write_text(record.BEGIN + record.END)
    with record.changed(*files) as noted:
        record.built(noted, wheel, {})

    def suite(python: str, package: str, report: Path, processes: int) -> dict[str, int]:
        report.write_text('<testsuite tests="5" failures="0" errors="0" skipped="0"/>')
        return run(0)

    monkeypatch.setattr(pythons, "suite", suite)
    monkeypatch.setattr(pythons, "_versions", lambda python: ("3.14.1", "2.14"))
    monkeypatch.setattr(pythons, "RECORD", tmp_path / "pythons.json")
    monkeypatch.setattr(record, "changed", partial(record.changed, *files))
    for package in ("config", "ops"):
        told = pythons._told("python", ("3.14", "newest"), package, tmp_path, wheel, 1)
        assert told == (f"CPython 3.14.1, torch 2.14, d2-{package}: {run(0)}", 0)
    noted = record.read(tmp_path / "pythons.json")
    assert pythons.proven(noted, "config") == pythons.proven(noted, "ops") == ["3.14"]
    assert "0 files: 5 passed (CPython 3.14.1, torch 2.14)" in files[1].read_text()
    wheel.write_bytes(b"another file")
    row, failed = pythons._told("python", ("3.14", "newest"), "ops", tmp_path, wheel, 1)
    assert "not in README's table of platforms: d2_ops-0.1.0-cp312" in row
    assert failed == 0


def test_a_torch_that_a_python_does_not_have_is_no_error_and_any_other_reason_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    folder = tmp_path / "this"
    assert pythons._prepared(sys.executable, folder, "torch==0.1", []) is None
    assert not folder.exists()
    (tmp_path / "torch-0.2-py3-none-any.whl").write_text("no archive")
    for torch, needed in (("torch==0.2", []), ("pip", ["d2-none==0.1"])):
        with pytest.raises(subprocess.CalledProcessError):
            pythons._prepared(sys.executable, folder, torch, needed)


def test_that_no_suite_could_be_run_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in INDEX:
        (tmp_path / file).touch()
    words = ["--work", str(tmp_path), "--index", str(tmp_path), "--torch", "oldest=torch==0.1"]
    monkeypatch.setattr(sys, "argv", ["pythons", *words, "--python", "3.13t", "--python", "3.11"])
    monkeypatch.setattr(pythons.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(pythons, "_prepared", lambda *arguments: None)
    assert pythons.main() == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("3.13t: our wheels are for")
    assert told[1:] == ["3.11: there is no torch==0.1 for it"]


def test_a_suite_runs_in_its_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    tests = root / "packages" / "d2-low" / "tests"
    tests.mkdir(parents=True)
    elsewhere.mkdir()
    (root / "pyproject.toml").touch()
    place = f"import os\ndef test_here(): assert os.path.samefile('.', {str(root)!r})"
    (tests / "test_place.py").write_text(place)
    monkeypatch.chdir(elsewhere)
    told = pythons.suite(sys.executable, "low", tmp_path / "report.xml", 1, root)
    assert told == run(0, passed=1)


def test_counts_are_what_pytests_report_says(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite tests="9" failures="1" errors="1" skipped="3"/></testsuites>'
    )
    assert junit.counts(report) == {"passed": 4, "failed": 2, "skipped": 3}
