"""What is missing or does not fit is one sentence: what was found, needed, and what to type."""

import ast
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import d2_ops
from d2_ops import _library, _preconditions

FOLDER = Path(d2_ops.__file__).parent
COMPILED = (".so", ".pyd")  # what libraries end with, on Windows the latter


def last_line(code: str, *first: Path) -> str:
    """The error that a new process ends with, ``first`` leading its search path."""
    paths = "".join(f"sys.path.insert(0, {str(path)!r})\n" for path in first)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{paths}{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr.strip().splitlines()[-1]


def copy_without(tmp_path: Path, library: str) -> Path:
    """A copy of the installed package that lacks a library, as a wheel of another machine does."""
    compiled = [f"{library}*{suffix}" for suffix in COMPILED]
    ignored = shutil.ignore_patterns(*compiled, "__pycache__", "include")
    shutil.copytree(FOLDER, tmp_path / "d2_ops", ignore=ignored)
    return tmp_path


def test_without_torch_the_error_says_what_to_install_and_what_works() -> None:
    error = last_line("sys.modules['torch'] = None\nimport d2_ops\nd2_ops.nms")
    assert error.startswith("ImportError: d2_ops's operators need torch 2.10 or later")
    assert "pip install 'torch>=2.10'" in error
    assert "d2_ops.host works without" in error


@pytest.mark.parametrize(
    "statement",
    [
        "raise OSError('libcudart.so.13: cannot open shared object file')",
        "raise ImportError('libtorch_cpu.so: cannot open shared object file')",
        "import what_torch_needs",
    ],
)
def test_a_torch_that_does_not_load_is_told_in_words_of_ours(
    statement: str, tmp_path: Path
) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(f"{statement}\n")
    error = last_line("import d2_ops\nd2_ops.nms", tmp_path)
    assert error.startswith("ImportError: d2_ops's operators need torch 2.10 or later, and torch ")
    assert re.search(r"cannot be imported \((lib.* file|No module named 'what_.*')\): pip", error)
    assert "pip install --force-reinstall 'torch>=2.10'" in error
    told = ast.literal_eval(
        last_line("import d2_ops\nsys.exit(str(d2_ops.build_info()))", tmp_path)
    )
    assert told["torch"] is None
    assert told["torch_missing_because"] in error


def test_sources_that_were_not_built_are_told_with_the_remedy(tmp_path: Path) -> None:
    folder = tmp_path / "d2_ops"
    compiled = [f"*{suffix}" for suffix in COMPILED]
    ignored = shutil.ignore_patterns(*compiled, "_build.py", "include")
    shutil.copytree(FOLDER, folder, ignore=ignored)
    for name in ("nms", "build_info"):
        error = last_line(f"import d2_ops\nd2_ops.{name}", tmp_path)
        assert error.startswith("ImportError: d2_ops has no compiled _cpu_ops for this machine (")
        assert "--no-build-isolation" in error


@pytest.mark.parametrize("version", ["2.9.1+cu128", "1.13.0", "2.9.0a0+git1234"])
def test_a_torch_older_than_the_stable_abi_is_named(version: str) -> None:
    with pytest.raises(ImportError, match=f"found torch {version.replace('+', '.')}.*--upgrade"):
        _preconditions.require_torch_version(version)


@pytest.mark.parametrize("version", ["2.10.0", "2.13.0+cpu", "3.0.0a0+git1234", torch.__version__])
def test_a_torch_from_the_floor_on_is_taken(version: str) -> None:
    _preconditions.require_torch_version(version)  # raises where it is not


def stand_in(folder: Path, version: str) -> Path:
    """A torch of a version, and nothing else of it."""
    (folder / "torch").mkdir()
    text = f"__version__ = {version!r}\nfrom types import SimpleNamespace\n"
    text += "version = SimpleNamespace(cuda=None)\n"
    (folder / "torch" / "__init__.py").write_text(text)
    return folder


def test_an_old_torch_is_told_by_the_first_operator(tmp_path: Path) -> None:
    error = last_line("from d2_ops._library import load", stand_in(tmp_path, "2.9.1"))
    assert error.startswith("ImportError: d2_ops's operators need torch 2.10 or later, found torch")
    assert error.endswith("2.9.1: pip install --upgrade 'torch>=2.10'")


def test_a_bug_report_can_be_made_where_the_operators_do_not_load(tmp_path: Path) -> None:
    code = "import d2_ops\nsys.exit(str(d2_ops.build_info()))"
    told = ast.literal_eval(last_line(code, stand_in(tmp_path, "2.9.1")))
    assert told["torch"] == "2.9.1"
    assert told["kernels"] == d2_ops.build_info()["kernels"]
    assert "pip install --upgrade" in told["operators_missing_because"]


def test_a_wheel_without_operators_for_this_machine_names_machine_and_remedy(
    tmp_path: Path,
) -> None:
    error = last_line("import d2_ops\nd2_ops.load_library()", copy_without(tmp_path, "_cpu_ops"))
    assert "no compiled _cpu_ops for this machine" in error
    assert "--no-build-isolation" in error


def test_a_wheel_without_host_kernels_for_this_python_names_python_and_remedy(
    tmp_path: Path,
) -> None:
    folder = copy_without(tmp_path, "_host")
    for module in ("host", "overlay"):
        error = last_line(f"import d2_ops.{module}", folder)
        assert "no compiled _host for this machine" in error
        assert "CPython 3.11 and later" in error


@pytest.mark.parametrize(
    ("library", "code"),
    [("_cpu_ops", "import d2_ops\nd2_ops.load_library()"), ("_host", "import d2_ops.host")],
)
def test_libraries_of_another_machine_are_told_in_words_of_ours(
    library: str, code: str, tmp_path: Path
) -> None:
    """As in a folder that was copied from a machine with another processor."""
    folder = copy_without(tmp_path, "nothing")
    (file,) = (p for p in (folder / "d2_ops").glob(f"{library}*") if p.suffix in COMPILED)
    file.write_bytes(b"code that this machine does not know")
    error = last_line(code, folder)
    assert error.startswith(f"ImportError: d2_ops has no compiled {library} for this machine (")
    assert "it does not load: " in error
    assert "--no-build-isolation" in error


@pytest.mark.parametrize("locked", [True, False])
def test_a_python_without_the_global_lock_is_told_by_its_kind(
    locked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_config_var", {"Py_GIL_DISABLED": int(not locked)}.get)
    told = re.search(r"for this machine \((.*?)\)", str(_preconditions.no_library("_host")))
    assert told is not None
    assert told[1].endswith(" built without the global lock") == (not locked)


def test_a_remedy_replaces_what_is_installed() -> None:
    told = str(_preconditions.no_library("_host"))
    assert told.endswith(
        "--force-reinstall --no-deps --no-build-isolation --no-binary d2-ops d2-ops"
    )


def test_a_second_copy_under_one_namespace_is_refused_with_what_to_type(tmp_path: Path) -> None:
    copy_without(tmp_path, "nothing").joinpath("d2_ops").rename(tmp_path / "acme_kernels")
    code = """
import acme_kernels, d2_ops
acme_kernels.load_library()
d2_ops.load_library()
"""
    error = last_line(code, tmp_path)
    assert error.startswith("ImportError: torch.ops.d2_ops is registered already")
    assert "build d2_ops under one of its own" in error
    assert error.endswith("-C cmake.define.D2_OPS_NAMESPACE=another_name")


def test_a_device_without_operators_is_told_once_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.warns(RuntimeWarning, match=r"built without a CUDA compiler.*nvcc"):
        _preconditions.warn_of_missing_cuda("this wheel was built without a CUDA compiler")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    _preconditions.warn_of_missing_cuda("nobody will notice")


def test_a_wheel_for_the_cpu_works_beside_a_torch_with_cuda_and_says_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = _library.path_of
    monkeypatch.setattr(
        _library, "path_of", lambda name: find(name) if name == "_cpu_ops" else None
    )
    monkeypatch.setattr(_preconditions, "require_free_namespace", lambda *names: None)
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    told = (
        r"sees a CUDA 12\.6 device and d2_ops has no operators for it \(this wheel was built with"
    )
    with pytest.warns(RuntimeWarning, match=told):
        loaded = _library.load.__wrapped__()
    assert loaded.cpu == find("_cpu_ops")
    assert loaded.cuda is None


def test_a_gpu_of_another_maker_is_told_that_there_are_no_operators_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find = _library.path_of
    monkeypatch.setattr(_preconditions, "require_free_namespace", lambda *names: None)
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.warns(RuntimeWarning, match=r"sees a GPU and d2_ops has no op.*move them to the"):
        assert _library.load.__wrapped__().cpu == find("_cpu_ops")


@pytest.mark.parametrize(
    ("architectures", "served", "unserved"),
    [
        ("75-real;80-real;86-real;89-real;90", (75, 80, 86, 87, 89, 90, 100, 120), (70, 72)),
        ("90", (90, 120), (89, 75)),
        ("90-virtual", (90, 100), (89,)),
        ("80-real", (80, 86), (75, 90)),
        ("120-real;100-real", (100, 103, 120), (90, 110)),
        ("native", (35, 120), ()),
        ("90a-real", (90,), ()),
    ],
)
def test_a_build_serves_the_gpus_that_its_code_runs_on(
    architectures: str, served: tuple[int, ...], unserved: tuple[int, ...]
) -> None:
    assert [c for c in served if not _preconditions.serves(architectures, c)] == []
    assert [c for c in unserved if _preconditions.serves(architectures, c)] == []


def test_gpus_that_a_build_has_no_code_for_are_named_once_cuda_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting: list[Callable[[], None]] = []
    monkeypatch.setattr(torch.cuda, "_lazy_call", waiting.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", [(9, 0), (7, 0)].__getitem__)
    monkeypatch.setattr(_library, "path_of", lambda name: f"{name}.so")
    monkeypatch.setattr(_library, "CUDA_ARCHITECTURES", "75-real;80-real;90")
    monkeypatch.setattr(_preconditions, "driver_too_old", lambda toolkit: None)
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)
    assert _library._load_cuda() == ("_cuda_ops.so", None)
    (check,) = waiting
    told = r"^cuda:1 has compute capability 7\.0, .* for 75-real;80-real;90.*ARCHITECTURES=70 "
    with pytest.warns(RuntimeWarning, match=told) as warned:
        check()
    assert len(warned) == 1


def test_cuda_operators_that_do_not_load_are_named_with_the_cuda_they_were_built_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(path: str) -> None:
        raise OSError("undefined symbol: cudaMalloc")

    monkeypatch.setattr(_library, "CUDA_VERSION", "13.0.88")
    monkeypatch.setattr(_library, "path_of", lambda name: f"{name}.so")
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "load_library", fail)
    path, reason = _library._load_cuda()
    assert path is None
    assert reason == (
        "those built with CUDA 13.0.88 do not load beside it: undefined symbol: cudaMalloc"
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.warns(RuntimeWarning, match=r"has no operators for it \(those built .*pip install"):
        _preconditions.warn_of_missing_cuda(reason)


@pytest.mark.parametrize("driver", [13000, 13020, 14010])
def test_a_driver_serves_the_builds_of_its_own_and_older_cuda(
    driver: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: driver, raising=False)
    assert _preconditions.driver_too_old("13.0.88") is None
    assert _preconditions.driver_too_old("12.6.20") is None


def test_a_driver_older_than_the_build_is_one_sentence_with_both_and_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 12040, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert _preconditions.driver_too_old("13.0.88") is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    reason = str(_preconditions.driver_too_old("13.0.88"))
    assert reason.startswith("they were built with CUDA 13.0.88, and the driver is of CUDA 12.4")
    with pytest.warns(RuntimeWarning, match=r"has no operators for it \(they were .*update the"):
        _preconditions.warn_of_missing_cuda(reason)
