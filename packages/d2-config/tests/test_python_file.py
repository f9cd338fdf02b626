import builtins
import copy
import sys
import threading
from pathlib import Path

import pytest
from omegaconf import DictConfig

from d2_config import ConfigFileError, LazyConfig
from d2_config.python_file import run_python_file


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_relative_imports_need_no_init_files(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "common/models/net.py": "net = dict(depth=50)\n",
            "common/train.py": "from .models.net import net\ntrain = dict(n=net.depth)\n",
            "runs/a.py": "from ..common.train import train\nfrom ..common.models.net import net\n",
        },
    )
    cfg = LazyConfig.load(tmp_path / "runs" / "a.py")
    assert cfg == {"train": {"n": 50}, "net": {"depth": 50}}


def test_imported_dictionaries_are_config_nodes(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "x = dict(y=dict(z=1))\n", "b.py": "from .a import x\nx.y.z = 2\n"})
    assert LazyConfig.load(tmp_path / "b.py").x.y.z == 2


def test_functions_and_constants_can_be_imported(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.py": "SIZE = 3\ndef double(x): return 2 * x\n",
            "b.py": "from .a import SIZE as S, double\nc = dict(n=double(S))\n",
        },
    )
    assert LazyConfig.load(tmp_path / "b.py").c.n == 6


def test_star_import_takes_public_names(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "x = dict(a=1)\n_y = dict(b=1)\n", "b.py": "from .a import *\n"})
    assert LazyConfig.load(tmp_path / "b.py") == {"x": {"a": 1}}


def test_whole_files_can_be_imported_from_a_folder(tmp_path: Path) -> None:
    write(tmp_path, {"base.py": "x = dict(a=1)\n", "b.py": "from . import base\ny = base.x\n"})
    assert LazyConfig.load(tmp_path / "b.py", "y").a == 1


def test_folder_with_an_init_file_can_be_imported(tmp_path: Path) -> None:
    write(tmp_path, {"pkg/__init__.py": "x = dict(a=1)\n", "b.py": "from .pkg import x\n"})
    assert LazyConfig.load(tmp_path / "b.py").x.a == 1


def test_editing_an_import_does_not_change_what_others_import(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "base.py": "x = dict(a=1)\n",
            "one.py": "from .base import x\nx.a = 2\none = x\n",
            "two.py": "from .one import one\nfrom .base import x\n",
        },
    )
    cfg = LazyConfig.load(tmp_path / "two.py")
    assert (cfg.one.a, cfg.x.a) == (2, 1)


def test_absolute_imports_work_as_in_any_python_file(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "import os.path as p\nfrom math import pi\nx = dict(p=pi, s=p.sep)\n"})
    assert LazyConfig.load(tmp_path / "a.py").x.p == pytest.approx(3.14159, abs=1e-4)


def test_import_inside_a_function_of_a_config_works_later(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"a.py": "v = 4\n", "b.py": "def get():\n    from .a import v\n    return v\n"},
    )
    assert LazyConfig.load(tmp_path / "b.py", "get")() == 4


def test_import_state_of_the_interpreter_is_untouched(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "x = dict(a=1)\n", "b.py": "from .a import x\n"})
    before = (builtins.__import__, list(sys.path), list(sys.meta_path), set(sys.modules))
    LazyConfig.load(tmp_path / "b.py")
    assert before == (builtins.__import__, sys.path, sys.meta_path, set(sys.modules))


def test_files_load_in_several_threads_at_once(tmp_path: Path) -> None:
    for i in range(8):
        write(
            tmp_path / f"d{i}",
            {"base.py": f"x = dict(i={i})\n", "c.py": "from .base import x\nimport json\n"},
        )
    found: dict[int, int] = {}

    def load(i: int) -> None:
        found[i] = LazyConfig.load(tmp_path / f"d{i}" / "c.py").x.i

    threads = [threading.Thread(target=load, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: i for i in range(8)}


def test_missing_name_in_an_import_gets_close_matches(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "model = dict(a=1)\n", "b.py": "x = 1\nfrom .a import modle\n"})
    with pytest.raises(ConfigFileError) as caught:
        LazyConfig.load(tmp_path / "b.py")
    assert f"{tmp_path / 'b.py'}, line 2," in str(caught.value)
    assert "defines no 'modle'. Did you mean model?" in str(caught.value)


def test_missing_file_in_an_import_gets_close_matches(tmp_path: Path) -> None:
    write(tmp_path, {"common/optim.py": "", "b.py": "from .common.optm import x\n"})
    with pytest.raises(ConfigFileError, match=r"there is no .*optm\.py\. Did you mean optim\?"):
        LazyConfig.load(tmp_path / "b.py")


def test_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "x = 1\ny = = 2\n", "b.py": "from .a import x\n"})
    with pytest.raises(SyntaxError) as caught:
        LazyConfig.load(tmp_path / "b.py")
    assert caught.value.lineno == 2
    assert f"config file {tmp_path / 'a.py'}, line 2 is not valid Python" in str(caught.value)


def test_failing_file_names_itself_the_line_and_the_reason(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "a.py": "def f():\n    return 1 / 0\n\nx = f()\n",
            "b.py": "from .a import x\n",
        },
    )
    with pytest.raises(ConfigFileError) as caught:
        LazyConfig.load(tmp_path / "b.py")
    assert str(caught.value) == (
        f"config file {tmp_path / 'a.py'}, line 2, failed: ZeroDivisionError: division by zero"
    )
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_interrupts_pass_through(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "raise KeyboardInterrupt\n"})
    with pytest.raises(KeyboardInterrupt):
        LazyConfig.load(tmp_path / "a.py")


def test_circular_imports_are_told_as_a_circle(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "from .b import x\n", "b.py": "from .a import x\n"})
    with pytest.raises(ConfigFileError, match=r"circle: .*a\.py -> .*b\.py -> .*a\.py"):
        LazyConfig.load(tmp_path / "a.py")


def test_circular_load_rel_is_told_as_a_circle(tmp_path: Path) -> None:
    text = "from d2_config import LazyConfig\nx = LazyConfig.load_rel('a.py', 'x')\n"
    write(tmp_path, {"a.py": text})
    with pytest.raises(ConfigFileError, match="circle"):
        LazyConfig.load(tmp_path / "a.py")


def test_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = '\xff\xfe'\n")
    with pytest.raises(ConfigFileError, match=r"a\.py is not UTF-8"):
        run_python_file(tmp_path / "a.py")


def test_file_with_null_bytes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\0\n")
    with pytest.raises((ConfigFileError, SyntaxError), match=r"a\.py.* is not valid Python"):
        run_python_file(tmp_path / "a.py")


def test_missing_file_and_missing_folder_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path, {"retinanet.py": ""})
    with pytest.raises(FileNotFoundError, match=r"Did you mean retinanet\.py\?"):
        LazyConfig.load(tmp_path / "retinanett.py")
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere"):
        LazyConfig.load(tmp_path / "nowhere" / "x.py")


def test_loaded_config_can_be_copied(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "f = lambda x: x\nx = dict(f=f, y=dict(z=1))\n"})
    cfg = LazyConfig.load(tmp_path / "a.py")
    twin = copy.deepcopy(cfg)
    assert isinstance(twin, DictConfig)
    twin.x.y.z = 5
    assert cfg.x.y.z == 1
