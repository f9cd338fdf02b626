"""The code samples of the documentation's config tutorials do what their text says."""

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from d2_config import CfgNode, LazyConfig, configurable, get_cfg, instantiate
from d2_config import LazyCall as L


class Recorded:
    """Remembers what it was made of."""

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments


@pytest.fixture(autouse=True)
def my_app(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module that the samples import ``Trainer`` and ``Optimizer`` from."""
    module = types.ModuleType("my_app")
    for name in ("Trainer", "Optimizer"):
        setattr(module, name, type(name, (Recorded,), {"__module__": "my_app"}))
    monkeypatch.setitem(sys.modules, "my_app", module)
    return module


# Yacs configs


def test_basic_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my_cfg.yaml").write_text("VERSION: 2\nSOLVER: {BASE_LR: 0.5}\n")
    cfg = get_cfg()
    cfg.xxx = "yyy"
    cfg.merge_from_file(str(tmp_path / "my_cfg.yaml"))
    cfg.merge_from_list(["MODEL.WEIGHTS", "weights.pth"])
    print(cfg.dump())
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["xxx"] == "yyy"
    assert shown["SOLVER"]["BASE_LR"] == 0.5
    assert shown["MODEL"]["WEIGHTS"] == "weights.pth"


def test_values_of_a_base_are_overwritten(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("VERSION: 2\nMODEL: {WEIGHTS: base.pth, MASK_ON: true}\n")
    (tmp_path / "my_cfg.yaml").write_text("_BASE_: base.yaml\nMODEL: {WEIGHTS: mine.pth}\n")
    cfg = get_cfg()
    cfg.merge_from_file(str(tmp_path / "my_cfg.yaml"))
    assert (cfg.MODEL.WEIGHTS, cfg.MODEL.MASK_ON) == ("mine.pth", True)


def test_pairs_of_a_command_line_overwrite_values() -> None:
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.WEIGHTS", "/path/to/weights", "INPUT.MIN_SIZE_TEST", "1000"])
    assert (cfg.MODEL.WEIGHTS, cfg.INPUT.MIN_SIZE_TEST) == ("/path/to/weights", 1000)


def test_a_project_adds_its_own_keys(tmp_path: Path) -> None:
    def add_project_config(cfg: CfgNode) -> None:
        cfg.MODEL.POINT_HEAD = CfgNode({"NAME": "StandardPointHead", "FC_DIM": 256})

    cfg = get_cfg()
    add_project_config(cfg)
    (tmp_path / "project.yaml").write_text("VERSION: 2\nMODEL: {POINT_HEAD: {FC_DIM: 128}}\n")
    cfg.merge_from_file(str(tmp_path / "project.yaml"))
    assert cfg.MODEL.POINT_HEAD == {"NAME": "StandardPointHead", "FC_DIM": 128}
    with pytest.raises(KeyError, match=r"MODEL\.POINT_HEAD"):
        get_cfg().merge_from_file(str(tmp_path / "project.yaml"))


def test_configurable_in_its_documented_usages() -> None:
    class A:
        @configurable
        def __init__(self, a: int, b: int = 2, c: int = 3) -> None:
            self.values = (a, b, c)

        @classmethod
        def from_config(cls, cfg: CfgNode) -> dict[str, int]:
            return {"a": cfg.A, "b": cfg.B}

    @configurable(from_config=lambda cfg: {"a": cfg.A, "b": cfg.B})
    def a_func(a: int, b: int = 2, c: int = 3) -> tuple[int, int, int]:
        return a, b, c

    cfg = CfgNode({"A": 5, "B": 6})
    assert A(a=1, b=2).values == a_func(a=1, b=2) == (1, 2, 3)
    assert A(cfg).values == a_func(cfg) == (5, 6, 3)
    assert A(cfg, b=3, c=4).values == a_func(cfg, b=3, c=4) == (5, 3, 4)


# Lazy configs


def test_a_python_config_file_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("a = dict(x=1, y=2, z=dict(xx=1))\nb = dict(x=3, y=4)\n")
    cfg = LazyConfig.load(str(tmp_path / "config.py"))
    assert isinstance(cfg, DictConfig)
    assert cfg.a.z.xx == 1
    assert cfg == {"a": {"x": 1, "y": 2, "z": {"xx": 1}}, "b": {"x": 3, "y": 4}}


def test_loading_gives_access_to_interpolation(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("a = dict(x=1, y='${.x}')\nb = dict(z='${a.x}')\n")
    cfg = LazyConfig.load(str(tmp_path / "config.py"))
    cfg.a.x = 7
    assert (cfg.a.y, cfg.b.z) == (7, 7)


def test_imports_are_those_of_python_and_relative_ones_need_no_init_file(tmp_path: Path) -> None:
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "optim.py").write_text("from math import pi\n\nsgd = dict(lr=pi)\n")
    (tmp_path / "config.py").write_text(
        "from d2_config import LazyConfig\n"
        "from .common.optim import sgd\n"
        "sgd.momentum = 0.9\n"
        "same = LazyConfig.load_rel('common/optim.py', 'sgd')\n"
    )
    cfg = LazyConfig.load(str(tmp_path / "config.py"))
    assert cfg.sgd.lr == cfg.same.lr == pytest.approx(3.14159, abs=1e-4)
    assert cfg.sgd.momentum == 0.9
    assert "momentum" not in cfg.same, "what one file changes stays as it is for others"


def test_lazy_call_describes_a_call(my_app: Any) -> None:
    cfg = L(my_app.Trainer)(optimizer=L(my_app.Optimizer)(lr=0.01, algo="SGD"))
    assert OmegaConf.to_container(cfg) == {
        "_target_": "my_app.Trainer",
        "optimizer": {"_target_": "my_app.Optimizer", "lr": 0.01, "algo": "SGD"},
    }


def test_instantiate_makes_the_call(my_app: Any) -> None:
    cfg = {
        "_target_": "my_app.Trainer",
        "optimizer": {"_target_": "my_app.Optimizer", "lr": 0.01, "algo": "SGD"},
    }
    trainer = instantiate(cfg)
    assert type(trainer) is my_app.Trainer
    assert type(trainer.arguments["optimizer"]) is my_app.Optimizer
    assert trainer.arguments["optimizer"].arguments == {"lr": 0.01, "algo": "SGD"}


def test_a_target_may_live_in_another_library() -> None:
    half = instantiate({"_target_": "fractions.Fraction", "numerator": 1, "denominator": 2})
    assert half + half == 1


def test_overrides_of_a_command_line_are_applied(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("train = dict(max_iter=10, amp=dict(enabled=False))\n")
    cfg = LazyConfig.load(str(tmp_path / "config.py"))
    cfg = LazyConfig.apply_overrides(cfg, ["train.max_iter=5", "train.amp.enabled=true"])
    assert cfg.train == {"max_iter": 5, "amp": {"enabled": True}}


# The package as a whole


def test_importing_the_package_loads_neither_torch_nor_numpy_nor_hydra() -> None:
    code = "import sys, d2_config; print({'torch', 'numpy', 'hydra'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
