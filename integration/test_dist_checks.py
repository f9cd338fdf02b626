"""The checks of files for an index refuse what they are there to refuse."""

import tempfile
import zipfile
from pathlib import Path

import pytest
from dist import checks
from dist.__main__ import folders_of_builds, pythons

NAME = "d2_ops-0.1.0-cp312-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"
FOUND = {
    "external_libs": {"libtorch_cpu.so": None, "libtorch.so": None},
    "sym_tag": "manylinux_2_17_x86_64",
    "unsupported_isa": False,
}


def wheel(folder: Path, **members: bytes) -> Path:
    file = folder / NAME
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def test_libraries_of_torch_and_an_old_glibc_are_what_a_tag_allows() -> None:
    assert checks._unfit(FOUND, NAME) is None
    assert checks._unfit(FOUND | {"sym_tag": "manylinux_2_5_x86_64"}, NAME) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"external_libs": {"libtorch_cpu.so": None, "libgomp.so.1": None}}, "needs libgomp.so.1"),
        ({"sym_tag": "manylinux_2_34_x86_64"}, "needs manylinux_2_34_x86_64, which"),
        ({"sym_tag": "linux_x86_64"}, "needs linux_x86_64, which"),
        ({"unsupported_isa": True}, "needs instructions"),
    ],
)
def test_what_a_tag_does_not_allow_is_said(change: dict, told: str) -> None:
    assert str(checks._unfit(FOUND | change, NAME)).startswith(told)


def test_a_name_without_a_glibc_promises_none() -> None:
    assert checks._unfit(FOUND, "d2_ops-0.1.0-cp312-abi3-linux_x86_64.whl") is not None


def test_a_wheel_without_its_licence_or_with_a_build_path_is_refused(tmp_path: Path) -> None:
    good = wheel(tmp_path, **{"d2_ops-0.1.0.dist-info/licenses/LICENSE": b"Apache"})
    assert checks.licence(good) is None
    assert checks.build_paths(good, [tmp_path]) is None
    bad = wheel(tmp_path, **{"d2_ops/_cpu_ops.so": b"\0" + str(tmp_path).encode() + b"/a.cpp\0"})
    assert checks.licence(bad) == "no licenses/LICENSE inside"
    assert checks.build_paths(bad, [tmp_path]) == f"d2_ops/_cpu_ops.so holds the path {tmp_path}"


def test_the_temporary_folders_of_a_build_are_among_those_that_wheels_must_not_name(
    tmp_path: Path,
) -> None:
    folders = folders_of_builds(tmp_path / "work")
    with tempfile.TemporaryDirectory() as build:
        bad = wheel(tmp_path, **{"d2_ops/_host.so": f"{build}/build/a.cpp".encode()})
    assert str(checks.build_paths(bad, folders)).startswith("d2_ops/_host.so holds the path")
    good = wheel(tmp_path, **{"d2_ops/_host.so": b"/usr/include/c++"})
    assert checks.build_paths(good, folders) is None


def test_a_wheel_of_ten_megabytes_is_too_large(tmp_path: Path) -> None:
    file = tmp_path / NAME
    file.write_bytes(bytes(checks.LARGEST))
    assert checks.size(file) == "10.0 MiB, more than 10"
    file.write_bytes(bytes(checks.LARGEST - 1))
    assert checks.size(file) is None


def test_a_python_that_is_not_there_is_named_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=r"^no Python 3\.998 and no Python 3\.999 was found"):
        pythons(["3.11", "3.998", "3.999"], tmp_path, [])
    assert not list(tmp_path.iterdir())
