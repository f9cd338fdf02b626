"""README's table of platforms says what the checks recorded, and nothing else."""

import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from dist import __main__ as dist_main
from dist import checks, record, syntax
from dist.platforms import PLATFORMS

ROOT = Path(__file__).parents[1]
WHEEL = "d2_ops-0.1.0-cp312-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl"


def row(noted: record.Record) -> str:
    rows = record.table(noted).splitlines()
    return next(line for line in rows if line.startswith("| Linux x86-64 | 3.12"))


def report(folder: Path, failures: int) -> Path:
    file = folder / "report.xml"
    file.write_text(
        f'<testsuites><testsuite tests="6" failures="{failures}" errors="0" skipped="2">'
        '<testcase classname="tests.test_a"/><testcase classname="tests.test_b"/>'
        '<testcase classname="tests.test_a"/></testsuite></testsuites>'
    )
    return file


def pack(file: Path, library: bytes, text: str = "") -> Path:
    """A wheel of about 2 KiB."""
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("d2_ops/_cpu_ops.so", library.ljust(1700, b"."))
        archive.writestr("d2_ops/__init__.py", text)
    return file


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return pack(tmp_path / WHEEL, b"library")


def test_readme_shows_the_recorded_table() -> None:
    assert record.block((ROOT / "README.md").read_text()) == record.table(record.read())


def test_what_is_not_in_the_record_was_not_built() -> None:
    rows = record.table({}).splitlines()[2:]
    assert len(rows) == len(record.PLATFORMS) * len(record.PYTHONS)
    assert all(line.endswith("| not built | not run | not run |") for line in rows)


def test_a_wheel_is_shown_with_its_tag_size_and_checks(wheel: Path) -> None:
    noted: record.Record = {}
    record.built(noted, wheel, {"twine": None, "size": None})
    assert row(noted).endswith("| `manylinux_2_17_x86_64`, 2 KiB | 2 hold | not run |")
    record.built(noted, wheel, {"twine": "no description", "size": None})
    assert row(noted).endswith("| **twine failed**, 1 hold | not run |")


@pytest.mark.parametrize(
    ("failures", "told"), [(0, "4 passed, 2"), (1, "3 passed, **1 failed**, 2")]
)
def test_a_run_is_counted_from_pytests_report(
    wheel: Path, tmp_path: Path, failures: int, told: str
) -> None:
    noted: record.Record = {}
    record.built(noted, wheel, {})
    record.ran(noted, wheel, [report(tmp_path, failures)], "here")
    assert row(noted).endswith(f"| 2 files: {told} skipped (here) |")


def test_a_run_is_said_of_the_libraries_that_were_run(wheel: Path, tmp_path: Path) -> None:
    noted: record.Record = {}
    with pytest.raises(ValueError, match="is not the file that nox -s dist recorded"):
        record.ran(noted, wheel, [report(tmp_path, 0)], "here")
    record.built(noted, wheel, {})
    record.ran(noted, wheel, [report(tmp_path, 0)], "here")
    record.built(noted, wheel, {})  # the same bytes again
    assert "4 passed" in row(noted)
    record.built(noted, pack(wheel, b"library", "another text"), {})
    assert "4 passed" in row(noted)
    record.built(noted, pack(wheel, b"another library", "another text"), {})
    assert row(noted).endswith("| not run |")


def test_recording_replaces_only_the_block_of_readme(wheel: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{record.BEGIN}old\n{record.END}after\n")
    with record.changed(tmp_path / "record.json", readme) as noted:
        record.built(noted, wheel, {})
    assert record.read(tmp_path / "record.json") == noted
    text = readme.read_text()
    assert record.block(text) == record.table(noted)
    assert text.startswith("before\n<!--")
    assert text.endswith("-->\nafter\n")


def test_a_run_in_parts_adds_up(wheel: Path, tmp_path: Path) -> None:
    noted: record.Record = {}
    record.built(noted, wheel, {})
    record.ran(noted, wheel, [report(tmp_path, 0), report(tmp_path, 0)], "here")
    assert row(noted).endswith("| 2 files: 8 passed, 4 skipped (here) |")


def test_what_several_record_at_once_is_all_kept(tmp_path: Path) -> None:
    def note(worker: int) -> None:
        for i in range(20):
            with record.kept(tmp_path / "record.json") as content:
                content[f"{worker} {i}"] = i

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(note, range(4)))
    assert len(record.read(tmp_path / "record.json")) == 80


def test_sources_that_compile_are_told_of_a_platform_without_a_wheel() -> None:
    noted: record.Record = {}
    record.compiled(noted, "amd64", ["a.cpp", "b.cpp"], {})
    (line, _) = [line for line in record.table(noted).splitlines() if "Windows" in line]
    assert line.endswith("| not built | sources: all 2 compile by clang | not run |")
    record.compiled(noted, "amd64", ["a.cpp", "b.cpp"], {"b.cpp": "error: no such file"})
    (line, _) = [line for line in record.table(noted).splitlines() if "Windows" in line]
    assert line.endswith("| not built | sources: **b.cpp of 2 refused** | not run |")


def test_loops_that_a_compiler_reports_are_read_with_their_width() -> None:
    said = "in include/d2_ops/nms.h:56:7: remark: vectorized loop (vectorization width: 16, inter"
    assert syntax.VECTORISED.findall(said) == [("nms.h", "56", "16")]
    assert not syntax.VECTORISED.findall(said.replace("vectorized", "did not vectorize"))


@pytest.mark.parametrize(
    ("name", "is_weak", "missing"),
    [
        ("_of_torch", False, None),
        ("_of_the_system", False, None),
        ("_PyTuple_New", False, None),
        ("_elsewhere", True, None),
        ("_elsewhere", False, "d2_ops/_host.so: _elsewhere"),
    ],
)
def test_a_symbol_that_nobody_has_on_macos_is_named(
    name: str, is_weak: bool, missing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binding = SimpleNamespace(weak_import=is_weak)
    symbol = SimpleNamespace(name=name, has_binding_info=True, binding_info=binding)
    library = SimpleNamespace(imported_symbols=[symbol])
    monkeypatch.setitem(sys.modules, "lief", SimpleNamespace(parse=lambda content: library))
    monkeypatch.setattr(checks, "_provided", lambda torch, suffix: frozenset({"_of_torch"}))
    monkeypatch.setattr(checks, "_of_macos", lambda: frozenset({"_of_the_system"}))
    with zipfile.ZipFile(tmp_path / "some.whl", "w") as archive:
        archive.writestr("d2_ops/_host.so", b"library")
    said = checks.undefined_symbols(tmp_path / "some.whl", PLATFORMS["macos"], tmp_path)
    assert said == (missing and f"not in torch nor beside it: {missing}")


def test_loops_in_neon_are_listed_by_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remark = "include/d2_ops/nms.h:{}:3: remark: vectorized loop (vectorization width: {}, x)\n"
    said = {
        "a.cpp": (0, remark.format(56, 4)),
        "b.cpp": (0, remark.format(56, 16) + remark.format(9, 2)),
    }
    monkeypatch.setattr(syntax, "compiled", lambda *arguments: said)
    table = dist_main.neon_report(tmp_path, tmp_path, tmp_path).splitlines()
    assert table[2:] == ["| nms.h | 9, 56 | 16 |"]
