"""What a run was made with."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from d2_engine.environment import PACKAGES, collect_environment, format_environment


def test_every_package_has_its_version():
    info = collect_environment()
    for name in PACKAGES:
        try:
            expected = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            expected = "not installed"
        assert info[name] == expected


def test_kernels_that_cannot_be_loaded_are_said(monkeypatch):
    def broken() -> None:
        raise OSError("libd2.so: undefined symbol")

    monkeypatch.setattr("d2_ops.build_info", broken)
    assert collect_environment()["d2-ops kernels"] == "not loaded: libd2.so: undefined symbol"


def test_a_torch_that_does_not_load_leaves_the_rest_to_be_told(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('no libcudart')\n")
    done = subprocess.run(
        [sys.executable, "-m", "d2_engine", "env"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    assert told["torch does not load"].strip() == "no libcudart"
    assert told["d2-ops torch_missing_because"].strip() == "no libcudart"
    assert "d2-ops kernels" in told


@pytest.mark.parametrize("variable", ["D2_DATASETS", "OMP_NUM_THREADS"])
def test_variables_that_matter_are_shown_where_they_are_set(monkeypatch, variable):
    monkeypatch.setenv(variable, "5")
    assert collect_environment()[f"${variable}"] == "5"
    monkeypatch.delenv(variable)
    assert f"${variable}" not in collect_environment()


def test_names_and_values_are_aligned():
    text = format_environment({"torch": "2.13", "pillow": "13"})
    assert text == "torch   2.13\npillow  13"
