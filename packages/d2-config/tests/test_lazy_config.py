import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from d2_config import ConfigFileError, LazyConfig

PY = """
import collections
from d2_config import LazyCall as L
model = L(collections.Counter)(a=1)
train = dict(max_iter=10, sizes=(1, 2))
schedule = [1, 2]
NUMBER = 7
_hidden = dict(a=1)
"""


@pytest.fixture
def config_py(tmp_path: Path) -> Path:
    path = tmp_path / "config.py"
    path.write_text(PY)
    return path


def test_all_public_dictionaries_of_a_python_file_are_returned(config_py: Path) -> None:
    cfg = LazyConfig.load(str(config_py))
    assert isinstance(cfg, DictConfig)
    assert list(cfg) == ["model", "train"]
    assert cfg.train.max_iter == 10
    assert cfg.train.sizes == [1, 2]


def test_one_key_returns_its_value(config_py: Path) -> None:
    assert LazyConfig.load(config_py, "train").max_iter == 10
    assert LazyConfig.load(config_py, "NUMBER") == 7


def test_several_keys_return_a_tuple(config_py: Path) -> None:
    train, number = LazyConfig.load(config_py, ("train", "NUMBER"))
    assert (train.max_iter, number) == (10, 7)


def test_unknown_key_gets_close_matches(config_py: Path) -> None:
    with pytest.raises(KeyError, match=r"config\.py defines no 'trian'\. Did you mean train\?"):
        LazyConfig.load(config_py, "trian")


def test_relative_path_starts_at_the_working_directory(
    config_py: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config_py.parent)
    assert LazyConfig.load("config.py", "NUMBER") == 7


def test_yaml_file_is_loaded_as_plain_data(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model: {_target_: collections.Counter, a: 1}\nn: 3\nref: ${model.a}\n")
    cfg = LazyConfig.load(path)
    assert (cfg.n, cfg.ref, cfg.model._target_) == (3, 1, "collections.Counter")
    assert LazyConfig.load(path, ("n", "model"))[0] == 3


def test_yaml_list_at_the_top_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("- 1\n")
    with pytest.raises(ConfigFileError, match="must hold a mapping at the top, got list"):
        LazyConfig.load(path)


def test_python_object_tags_are_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "evil.yaml"
    mark = tmp_path / "ran"
    path.write_text(f"x: !!python/object/apply:os.mkdir ['{mark}']\n")
    with pytest.raises(ConfigFileError) as caught:
        LazyConfig.load(path)
    assert "!!python/object/apply:os.mkdir" in str(caught.value)
    assert f"{path}, line 1" in str(caught.value)
    assert "allow_unsafe=True" in str(caught.value)
    assert not mark.exists()


def test_python_object_tags_work_on_request(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("x: !!python/object/apply:fractions.Fraction [1, 2]\n")
    assert float(LazyConfig.load(path, allow_unsafe=True).x) == 0.5


@pytest.mark.parametrize("name", ["config", "config.json", "config.py.txt"])
def test_other_kinds_of_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ConfigFileError, match=r"ends in \.py, \.yaml, \.yml or \.pkl"):
        LazyConfig.load(path, allow_unsafe=True)


class MakesFolder:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_is_refused_without_trust_and_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "config.yaml.pkl", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"x": MakesFolder(mark)}))
    with pytest.raises(ConfigFileError, match="runs whatever code is in it") as caught:
        LazyConfig.load(path)
    assert str(path) in str(caught.value)
    assert "allow_unsafe=True" in str(caught.value)
    assert not mark.exists()
    LazyConfig.load(path, allow_unsafe=True)
    assert mark.exists()


def test_a_pickled_config_has_keys_like_any_other(tmp_path: Path) -> None:
    path = tmp_path / "config.pkl"
    path.write_bytes(pickle.dumps({"train": {"max_iter": 10}, "n": 3}))
    assert LazyConfig.load(path, allow_unsafe=True).train.max_iter == 10
    assert LazyConfig.load(path, ("n", "train"), allow_unsafe=True)[0] == 3
    with pytest.raises(KeyError, match="defines no 'trian'. Did you mean train"):
        LazyConfig.load(path, "trian", allow_unsafe=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a pickle", "cannot be unpickled: "),
        (pickle.dumps([1]), "must hold a mapping at the top, got list"),
        (b"cno_such_module\nname\n.", "cannot be unpickled: ModuleNotFoundError"),
    ],
)
def test_a_pickle_that_holds_no_config_is_named(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "config.pkl"
    path.write_bytes(content)
    with pytest.raises(ConfigFileError, match=message) as caught:
        LazyConfig.load(path, allow_unsafe=True)
    assert str(path) in str(caught.value)


def test_a_pickle_that_is_not_there_is_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "config.yaml.pkl").touch()
    with pytest.raises(FileNotFoundError, match=r"Did you mean config\.yaml\.pkl\?"):
        LazyConfig.load(tmp_path / "confg.yaml.pkl", allow_unsafe=True)


def test_numbers_without_a_dot_in_yaml_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("lr: 1e-4\nsteps: [1E5, 5e3, -2e-3]\ntext: '1e-4'\ndevice: None\n")
    cfg = LazyConfig.load(path)
    assert (cfg.lr, cfg.steps, cfg.text) == (1e-4, [1e5, 5e3, -2e-3], "1e-4")
    assert cfg.device is None


def test_python_code_in_a_yaml_file_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "code.yaml"
    path.write_text("import os\nos.abort()\n")
    with pytest.raises(ConfigFileError):
        LazyConfig.load(path)


def test_load_rel_starts_at_the_callers_file(tmp_path: Path, config_py: Path) -> None:
    nested = tmp_path / "sub" / "inner.py"
    nested.parent.mkdir()
    nested.write_text(
        "from d2_config import LazyConfig\n"
        "train = LazyConfig.load_rel('../config.py', 'train')\n"
        "copied = dict(n=LazyConfig.load_rel('../config.py').train.max_iter)\n"
    )
    cfg = LazyConfig.load(nested)
    assert cfg.train.max_iter == cfg.copied.n == 10


def test_load_rel_without_a_file_says_what_to_use() -> None:
    namespace = {"LazyConfig": LazyConfig}
    with pytest.raises(ConfigFileError, match=r"use LazyConfig\.load"):
        exec("LazyConfig.load_rel('x.py')", namespace)


def test_plain_config_survives_pickling(config_py: Path) -> None:
    cfg = LazyConfig.load(config_py)
    assert pickle.loads(pickle.dumps(cfg)) == cfg
