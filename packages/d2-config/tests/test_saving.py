import argparse
import dataclasses
import enum
import functools
import logging
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_config import LazyCall as L
from d2_config import LazyConfig, instantiate, trusted_targets
from d2_config.nodes import as_config
from d2_config.saving import to_yaml

APP = """
import dataclasses, enum
from typing import NamedTuple
import attrs

@dataclasses.dataclass
class Point:
    x: int
    y: int = 2

@attrs.frozen
class Size:
    width: int

class Shape(NamedTuple):
    channels: int

class Mode(enum.Enum):
    TRAIN = "train"

class Opaque:
    def __eq__(self, other): return type(other) is Opaque
    __hash__ = None

def norm(*args, **kwargs): return (args, kwargs)
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("app")
    (folder / "saved_app.py").write_text(APP)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(trusted_targets, "_added", {"saved_app", "argparse"})
        import saved_app

        yield saved_app


def reload(cfg: Any, folder: Path) -> Any:
    LazyConfig.save(cfg, folder / "config.yaml")
    return LazyConfig.load(folder / "config.yaml")


def test_plain_values_calls_and_interpolations_come_back_equal(tmp_path: Path) -> None:
    cfg = as_config(
        {
            "model": L("collections.Counter")(a=1, b="${..n}"),
            "n": 3,
            "values": [
                1.5,
                None,
                True,
                "text",
                "1e-3",
                "null",
                "ünï",
                [1, {"k": "v"}],
                1e-7,
                {},
                [],
            ],
            "missing": "???",
        }
    )
    assert reload(cfg, tmp_path) == cfg


def test_objects_built_from_the_loaded_file_are_equal(tmp_path: Path, app: Any) -> None:
    cfg = L(argparse.Namespace)(
        point=app.Point(1),
        size=app.Size(4),
        shape=app.Shape(5),
        mode=app.Mode.TRAIN,
        function=app.norm,
        kind=int,
        points=[app.Point(7), {"k": app.Shape(1)}],
    )
    assert instantiate(reload(cfg, tmp_path)) == instantiate(cfg)


def test_partial_comes_back_as_a_partial(tmp_path: Path, app: Any) -> None:
    cfg = L(dict)(norm=functools.partial(app.norm, 1, eps=1e-6))
    assert instantiate(reload(cfg, tmp_path))["norm"](2) == ((1, 2), {"eps": 1e-6})


def test_saving_does_not_change_the_config(tmp_path: Path, app: Any) -> None:
    cfg = L(dict)(point=app.Point(1), f=app.norm)
    LazyConfig.save(cfg, tmp_path / "a.yaml")
    assert cfg.f is app.norm
    assert instantiate(cfg)["point"] == app.Point(1)


def test_paths_become_text_and_tuples_lists(tmp_path: Path) -> None:
    cfg = as_config({"p": Path("a/b"), "t": (1, 2)})
    assert reload(cfg, tmp_path) == {"p": "a/b", "t": [1, 2]}


def test_lambda_is_reported_and_fails_loudly_when_built(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = as_config({"keep": 1, "opt": L(dict)(factor=lambda name: 0.5)})
    loaded = reload(cfg, tmp_path)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "opt.factor = <function" in record.getMessage()
    assert "config.yaml.pkl; LazyConfig.load reads it" in record.getMessage()
    assert loaded.keep == 1
    with pytest.raises(ValueError, match=r"could not be saved as YAML: opt\.factor = "):
        instantiate(loaded.opt)


def restored(cfg: Any, folder: Path) -> Any:
    """The config that a pickle beside the saved YAML holds."""
    LazyConfig.save(cfg, folder / "config.yaml")
    return LazyConfig.load(folder / "config.yaml.pkl", allow_unsafe=True)


def test_lambda_comes_back_from_the_pickle(tmp_path: Path) -> None:
    factor = 0.5
    cfg = as_config(
        {"keep": 1, "again": "${keep}", "opt": L(dict)(lr=1e-4, f=lambda name: factor * len(name))}
    )
    loaded = restored(cfg, tmp_path)
    assert loaded.opt.pop("f")("ab") == cfg.opt.pop("f")("ab") == 1.0
    assert loaded == cfg
    assert loaded.again == 1


def test_functions_of_a_config_file_come_back_in_a_process_that_lacks_the_file(
    tmp_path: Path,
) -> None:
    source = tmp_path / "source.py"
    source.write_text(
        "from d2_config import LazyCall as L\n"
        "BASE = 0.1\n"
        "def factor(name): return BASE if name == 'backbone' else 1.0\n"
        "class Marker: pass\n"
        "optimizer = L(dict)(factor=factor, decay=lambda n: factor(n) / 2, marker=Marker())\n"
    )
    LazyConfig.save(LazyConfig.load(source), tmp_path / "config.yaml")
    source.unlink()
    code = (
        "import sys\nfrom d2_config import LazyConfig, instantiate\n"
        "built = instantiate(LazyConfig.load(sys.argv[1], 'optimizer', allow_unsafe=True))\n"
        "print(built['factor']('backbone'), built['decay']('x'), type(built['marker']).__name__)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "config.yaml.pkl")]
    assert subprocess.check_output(command, text=True).split() == ["0.1", "0.5", "Marker"]


class Unpicklable:
    def __reduce__(self) -> Any:
        raise RuntimeError("holds a device")


def test_a_value_that_nothing_can_hold_is_reported_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = reload(as_config({"keep": 1, "x": Unpicklable()}), tmp_path)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "Nor can they be pickled: RuntimeError: holds a device" in record.getMessage()
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert loaded.keep == 1


def test_the_pickle_of_an_earlier_config_does_not_stay(tmp_path: Path) -> None:
    LazyConfig.save(as_config({"f": lambda: 1}), tmp_path / "config.yaml")
    assert (tmp_path / "config.yaml.pkl").exists()
    LazyConfig.save(as_config({"f": 2}), tmp_path / "config.yaml")
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("text", ["1e-4", "1E5", "5e3", "-2e-3", "-.5", "None", "null", "True"])
def test_text_that_looks_like_something_else_stays_text(tmp_path: Path, text: str) -> None:
    assert reload(as_config({"a": text, text: [text]}), tmp_path) == {"a": text, text: [text]}


def test_value_that_only_pickle_can_hold_is_pickled(
    tmp_path: Path, app: Any, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = as_config({"x": app.Opaque()})
    LazyConfig.save(cfg, tmp_path / "config.yaml")
    assert "x = <saved_app.Opaque" in caplog.text
    assert "config.yaml.pkl" in caplog.text
    assert pickle.loads((tmp_path / "config.yaml.pkl").read_bytes()) == cfg


def test_plain_config_writes_one_file_and_logs_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    LazyConfig.save(as_config({"a": 1}), tmp_path / "new" / "config.yaml")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["config.yaml"]
    assert not caplog.records


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "config.yaml"
    LazyConfig.save(as_config({"a": 1}), target)

    def full_disk(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="disk full"):
        LazyConfig.save(as_config({"a": 2}), target)
    assert target.read_text() == "a: 1\n"
    assert list(tmp_path.iterdir()) == [target]


def test_saved_yaml_has_no_python_tags(app: Any) -> None:
    text, lost = to_yaml(L(dict)(p=app.Point(1), m=app.Mode.TRAIN, t=(1, 2), f=app.norm))
    assert "!!" not in text
    assert not lost
    assert yaml.safe_load(text)["p"] == {"_target_": "saved_app.Point", "x": 1, "y": 2}


def test_subclasses_of_numbers_become_plain_numbers() -> None:
    class Celsius(float):
        pass

    class Level(enum.IntEnum):
        LOW = 1

    assert to_yaml(as_config({"a": Celsius(1.5)}))[0] == "a: 1.5\n"
    assert dataclasses.is_dataclass(Level) is False


keys = st.text("abcdefgh_", min_size=1, max_size=5).filter(lambda key: key != "_target_")
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="${}?\\"), max_size=8)
)  # fmt: skip
trees = st.recursive(
    scalars, lambda t: st.lists(t, max_size=3) | st.dictionaries(keys, t, max_size=3), max_leaves=10
)


@settings(max_examples=60, deadline=None)
@given(tree=st.dictionaries(keys, trees, max_size=4))
def test_any_plain_config_comes_back_equal(
    tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cfg = as_config(tree)
    assert reload(cfg, tmp_path_factory.mktemp("saved")) == cfg
