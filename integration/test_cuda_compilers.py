"""README tells which releases of nvcc took the CUDA sources, as recorded."""

from pathlib import Path

import pytest
from dist import cuda, record

NVCC = """#!/bin/sh
if [ "$1" = --version ]; then echo "Cuda compilation tools, release 12.4, V12.4.131"; exit; fi
for word do source=$word; done
case $source in *bad.cu) echo "bad.cu(3): error: no such thing"; exit 2 ;; esac
"""


@pytest.fixture
def nvcc(tmp_path: Path) -> str:
    """A program that answers as nvcc does."""
    program = tmp_path / "nvcc"
    program.write_text(NVCC)
    program.chmod(0o755)
    return str(program)


def test_readme_shows_the_recorded_compilers() -> None:
    text = (cuda.OPS / "README.md").read_text()
    found = record.read(cuda.RECORD)
    assert found
    assert record.block(text, cuda.BEGIN, cuda.END) == cuda.table(found)


def test_a_compiler_is_called_by_its_release_and_what_it_refuses_is_told(
    nvcc: str, tmp_path: Path
) -> None:
    assert cuda.release(nvcc) == "12.4.131"
    sources = [tmp_path / "good.cu", tmp_path / "bad.cu"]
    errors = cuda.refused(nvcc, sources, tmp_path, tmp_path, 1)
    assert errors == {"bad.cu": "bad.cu(3): error: no such thing"}


def test_the_oldest_release_comes_first() -> None:
    good, bad = {"files": 3, "refused": []}, {"files": 3, "refused": ["a.cu"]}
    rows = cuda.table({"13.0.88": good, "12.10.1": bad, "12.4.131": good}).splitlines()[2:]
    assert rows == [
        "| 12.4.131 | all 3 compile |",
        "| 12.10.1 | **a.cu of 3 refused** |",
        "| 13.0.88 | all 3 compile |",
    ]
