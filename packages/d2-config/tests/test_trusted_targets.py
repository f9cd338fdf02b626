"""A config that was read from a file calls what its reader has trusted, and nothing else."""

import copy
import functools
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from d2_config import LazyConfig, UntrustedTargetError, instantiate, trust_targets, trusted_targets
from d2_config.instantiation import locate_for, target_of
from d2_config.nodes import as_config
from d2_config.trusted_targets import (
    check_targets,
    mark_untrusted,
    untrusted_modules,
    with_checked_arguments,
)

APP = """
import enum
import os
from os import system
from functools import partial

class Layer:
    def __init__(self, size=1, norm=None): self.size, self.norm = size, norm
    def write(self, path): open(path, "w").close()
    @classmethod
    def made(cls, size): return cls(size)
    @staticmethod
    def doubled(size): return 2 * size

class Mode(enum.Enum):
    FAST = 1

def norm(size): return size
run = partial(os.system)
"""


@pytest.fixture(autouse=True)
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module ``trusted_app``, which is trusted, and ``other_app``, which is not."""
    for name in ("trusted_app", "other_app"):
        (tmp_path / f"{name}.py").write_text(APP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(trusted_targets, "_added", set())
    trust_targets("trusted_app")


def loaded(folder: Path, text: str) -> Any:
    (folder / "config.yaml").write_text(text)
    return LazyConfig.load(folder / "config.yaml")


def test_what_is_trusted_is_built(tmp_path: Path) -> None:
    cfg = loaded(
        tmp_path,
        """
a: {_target_: trusted_app.Layer, size: 3}
b: {_target_: trusted_app.Layer.made, size: 4}
c: {_target_: trusted_app.Layer.doubled, size: 5}
d: {_target_: d2_config.locate, name: trusted_app.Mode.FAST}
e: {_target_: d2_config.saving.bind, function: {_target_: d2_config.locate, name: trusted_app.norm}}
f: {_target_: dict, x: 1}
g: {_target_: collections.OrderedDict, x: 1}
""",
    )
    check_targets(cfg)
    built = instantiate(cfg)
    assert (built["a"].size, built["b"].size, built["c"]) == (3, 4, 10)
    assert built["d"].name == "FAST"
    assert isinstance(built["e"], functools.partial)
    assert built["f"] == built["g"] == {"x": 1}


TO_PASS_ON = "{_target_: d2_config.locate, name: os.system}"
ATTACKS = {
    "a function of the system": ("{_target_: os.system, command: 'touch MARKER'}", "os"),
    "a module's own import": (
        "{_target_: trusted_app.os.system, command: 'touch MARKER'}",
        "posix",
    ),
    "an imported function": ("{_target_: trusted_app.system, command: 'touch MARKER'}", "posix"),
    "a partial's method": ("{_target_: trusted_app.run.func, command: 'touch MARKER'}", "posix"),
    "a builtin": ("{_target_: eval}", "eval"),
    "a builtin by its module": ("{_target_: builtins.open, file: MARKER, mode: w}", "builtins"),
    "another module": ("{_target_: other_app.Layer}", "other_app"),
    "a name that begins alike": ("{_target_: trusted_app2.Layer}", "trusted_app2"),
    "a Python config": (
        "{_target_: d2_config.LazyConfig.load, filename: evil.py}",
        "d2_config.LazyConfig",
    ),
    "instantiating": ("{_target_: d2_config.instantiate, cfg: 1}", "d2_config"),
    "trusting": ("{_target_: d2_config.trust_targets}", "d2_config"),
    "writing a file": (
        "{_target_: d2_config.files.atomic_file.write_atomically, filename: MARKER, content: ''}",
        "d2_config.files.atomic_file",
    ),
    "a function to pass on": (TO_PASS_ON, "os"),
    "a function to pass on by another name": (
        "{_target_: d2_config.dotted_name.locate, name: os.system}",
        "os",
    ),
    "a target that is made": (
        f"{{_target_: {TO_PASS_ON}, command: 'touch MARKER'}}",
        "os",
    ),
    "a partial": (f"{{_target_: d2_config.saving.bind, function: {TO_PASS_ON}}}", "os"),
    "an argument": (
        "{_target_: dict, x: [{y: {_target_: os.system, command: touch MARKER}}]}",
        "os",
    ),
    "a reference": ("{_target_: '${name}', command: 'touch MARKER'}", "os"),
    "a reference in parts": ("{_target_: 'os.${part}', command: 'touch MARKER'}", "os"),
    "a private name": ("{_target_: d2_eval._module.f}", "d2_eval._module"),
    "the home of what is private": ("{_target_: torch.nn.init.__builtins__}", "torch.nn.init"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_not_trusted_is_refused_and_named_with_the_remedy(
    tmp_path: Path, attack: str
) -> None:
    text, module = ATTACKS[attack]
    text = text.replace("MARKER", str(tmp_path / "executed"))
    cfg = loaded(tmp_path, f"model: {text}\nname: os.system\npart: system\n")
    for look in (check_targets, instantiate):
        with pytest.raises(UntrustedTargetError, match="model.*may run any code") as caught:
            look(cfg)
        assert f"--trust {module} " in str(caught.value)
        assert f"trust_targets('{module}')" in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_methods_that_want_an_object_are_refused_unless_named_by_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trusted_targets, "PACKAGES", ("trusted_app",))
    monkeypatch.setattr(trusted_targets, "_added", set())
    target = tmp_path / "executed"
    text = (
        f"_target_: trusted_app.Layer.write\nself: {{_target_: trusted_app.Layer}}\npath: {target}"
    )
    with pytest.raises(UntrustedTargetError, match=r"--trust trusted_app\.Layer\.write"):
        instantiate(loaded(tmp_path, text))
    assert not target.exists()
    trust_targets("trusted_app.Layer.write")
    instantiate(loaded(tmp_path, text))
    assert target.exists()


def test_nothing_of_an_untrusted_package_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "malware.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    cfg = loaded(tmp_path, "{_target_: malware.f}")
    for look in (check_targets, instantiate, target_of, untrusted_modules):
        try:
            look(cfg)
        except UntrustedTargetError:
            pass
        else:
            assert look(cfg) == ["malware"]
    assert not (tmp_path / "executed").exists()


def test_the_reader_may_trust_more(tmp_path: Path) -> None:
    cfg = loaded(tmp_path, "a: {_target_: other_app.Layer}\nb: {_target_: other_app.os.getpid}")
    assert untrusted_modules(cfg) == ["other_app", "other_app.os"]
    trust_targets("other_app")
    assert untrusted_modules(cfg) == ["posix"]
    assert instantiate(cfg.a).size == 1
    for wrong in ("", "not a name", "a..b", 3):
        with pytest.raises(ValueError, match="dotted Python name"):
            trust_targets(wrong)  # type: ignore[arg-type]  # what is being tested


def test_what_the_reader_names_is_trusted_wherever_it_is_from(tmp_path: Path) -> None:
    face = "from other_app import Layer, norm\nmade = Layer.made\nclass Face(Layer): pass"
    (tmp_path / "face.py").write_text(face)
    text = """
a: {_target_: face.Layer, size: 2}
b: {_target_: face.Layer.made, size: 3}
c: {_target_: face.Face.made, size: 4}
d: {_target_: face.made, size: 5}
"""
    cfg = loaded(tmp_path, text)
    trust_targets("face")  # as a whole: what it has imported is not part of it
    assert untrusted_modules(cfg) == ["other_app"]
    trust_targets("face.Layer", "face.Face")
    assert [part.size for part in map(instantiate, (cfg.a, cfg.b, cfg.c))] == [2, 3, 4]
    with pytest.raises(UntrustedTargetError, match=r"--trust other_app "):
        instantiate(cfg.d)


def test_code_calls_what_it_likes(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("model = dict(_target_='other_app.Layer', size=7)")
    assert instantiate(LazyConfig.load(tmp_path / "config.py").model).size == 7
    assert instantiate({"_target_": "other_app.norm", "size": 8}) == 8
    (tmp_path / "config.yaml").write_text("model: {_target_: other_app.Layer, size: 9}")
    trusted = LazyConfig.load(tmp_path / "config.yaml", allow_unsafe=True)
    assert instantiate(trusted.model).size == 9


@pytest.mark.parametrize(
    "carried",
    [
        lambda cfg: as_config({"part": cfg.model}).part,
        lambda cfg: copy.deepcopy(cfg).model,
        lambda cfg: copy.copy(cfg.model),
        lambda cfg: pickle.loads(pickle.dumps(cfg)).model,
        lambda cfg: OmegaConf.merge(cfg.model, {"size": 2}),
        lambda cfg: OmegaConf.merge({"model": {}}, cfg).model,
        lambda cfg: LazyConfig.apply_overrides(cfg, ["model.size=5"]).model,
        lambda cfg: cfg.several[0],
        lambda cfg: cfg.reference,
    ],
)
def test_a_part_of_a_file_is_known_as_one_wherever_it_goes(tmp_path: Path, carried: Any) -> None:
    text = "model: {_target_: other_app.Layer, size: 1}\nseveral: [{_target_: other_app.Layer}]\n"
    cfg = loaded(tmp_path, text + "reference: ${model}\n")
    with pytest.raises(UntrustedTargetError):
        instantiate(carried(cfg))


def test_single_keys_of_a_file_are_known_too(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: {_target_: os.getpid}\nb: {_target_: os.getpid}\n")
    with pytest.raises(UntrustedTargetError):
        instantiate(LazyConfig.load(tmp_path / "config.yaml", "a"))
    for part in LazyConfig.load(tmp_path / "config.yaml", ("a", "b")):
        with pytest.raises(UntrustedTargetError):
            instantiate(part)


def test_names_outside_of_calls_are_looked_up_alike(tmp_path: Path) -> None:
    cfg = loaded(tmp_path, "x: 1")
    assert locate_for(cfg, "trusted_app.norm")(3) == 3
    with pytest.raises(UntrustedTargetError):
        locate_for(cfg, "os.system")
    assert locate_for(as_config({}), "other_app.norm")(3) == 3


def test_models_of_timm_are_not_given_files_to_unpickle() -> None:
    def create_model(**kwargs: Any) -> int:
        return len(kwargs)

    create_model.__module__ = "timm.models._factory"
    checked = with_checked_arguments(create_model)
    assert checked(model_name="resnet50", pretrained=True) == 2
    for arguments in (
        {"model_name": "resnet50", "checkpoint_path": "evil.pth"},
        {"model_name": "hf-hub:evil/model"},
        {"pretrained_cfg_overlay": {"file": "evil.pth"}},
    ):
        with pytest.raises(UntrustedTargetError, match="create_model with .*--trust timm"):
            checked(**arguments)
    trust_targets("timm")
    assert with_checked_arguments(create_model) is create_model


@pytest.fixture
def aliased() -> Iterator[None]:
    homes = {"old.layers.Linear": "torch.nn.Linear", "old.shell": "os.system"}
    trusted_targets.alias_targets("old", homes.get)
    yield
    trusted_targets.alias_targets("old", None)


@pytest.mark.usefixtures("aliased")
def test_other_names_are_trusted_as_what_they_stand_for_is():
    config = mark_untrusted(as_config({"a": {"_target_": "old.layers.Linear"}}))
    check_targets(config)
    for name in ("old.shell", "old.nothing"):
        config = mark_untrusted(as_config({"a": {"_target_": name}}))
        with pytest.raises(UntrustedTargetError, match=name):
            check_targets(config)
