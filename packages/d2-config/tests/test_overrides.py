import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from d2_config import LazyCall, LazyConfig
from d2_config.nodes import as_config
from d2_config.overrides import override_pairs


def config() -> DictConfig:
    return as_config(
        {
            "train": {"max_iter": 10, "lr": 0.1, "amp": {"enabled": False}, "device": None},
            "model": LazyCall("torch.nn.Conv2d")(
                kernel_size=3, stages=[{"depth": 1}, {"depth": 2}]
            ),
            "names": ["a", "b"],
            "output_dir": "out",
        }
    )


def changed(*overrides: str) -> Any:
    cfg = config()
    assert LazyConfig.apply_overrides(cfg, list(overrides)) is cfg
    return cfg


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.max_iter=5", "train.max_iter", 5),
        ("train.lr=1e-3", "train.lr", 1e-3),
        ("train.lr=1", "train.lr", 1),
        ("train.amp.enabled=true", "train.amp.enabled", True),
        ("train.device=cuda", "train.device", "cuda"),
        ("train.max_iter=null", "train.max_iter", None),
        ("output_dir='a, b'", "output_dir", "a, b"),
        ("output_dir=/data/x-1_y", "output_dir", "/data/x-1_y"),
        ("names=[x,y,z]", "names", ["x", "y", "z"]),
        ("names.1=z", "names[1]", "z"),
        ("model.stages[1].depth=7", "model.stages[1].depth", 7),
        ("model.stages.0.depth=7", "model.stages[0].depth", 7),
        ("train.max_iter=${model.kernel_size}", "train.max_iter", 3),
        ("model._target_=torch.nn.Conv1d", "model._target_", "torch.nn.Conv1d"),
        ("+train.seed=3", "train.seed", 3),
        ("+new.deep.key=[1,{a:2}]", "new.deep.key", [1, {"a": 2}]),
        ("++train.max_iter=many", "train.max_iter", "many"),
        ("++brand.new=1", "brand.new", 1),
        ("+train={seed: 4}", "train.seed", 4),
        ("train.lr=1E5", "train.lr", 1e5),
        ("train.lr=-2e-3", "train.lr", -2e-3),
        ("train.lr='5e3'", "train.lr", 5e3),
        ('train.max_iter="12"', "train.max_iter", 12),
        ("train.device='1e-4'", "train.device", "1e-4"),
        ("train.max_iter=None", "train.max_iter", None),
        ("output_dir=None", "output_dir", None),
        ("output_dir=~", "output_dir", None),
        ("output_dir=null", "output_dir", None),
        ("output_dir='None'", "output_dir", "None"),
        ('output_dir="None"', "output_dir", "None"),
        ("output_dir=Nones", "output_dir", "Nones"),
        ("names=[None,'None',null,True]", "names", [None, "None", None, True]),
        ("+new={a: None, b: [None]}", "new", {"a": None, "b": [None]}),
        ("train.amp.enabled=True", "train.amp.enabled", True),
        ("names=(1,2)", "names", [1, 2]),
        ("names=(1, 2,)", "names", [1, 2]),
        ("names=('a', 'None', None)", "names", ["a", "None", None]),
        ("names=[(1, 2), (3e1, 4)]", "names", [[1, 2], [30.0, 4]]),
        ("names=()", "names", []),
        ("+new={'a': (1, 2)}", "new", {"a": [1, 2]}),
        ("model.stages[0]={'depth': (7, 8)}", "model.stages[0].depth", [7, 8]),
    ],
)
def test_override_sets_the_value(override: str, path: str, value: Any) -> None:
    assert OmegaConf.select(changed(override), path) == value


@pytest.mark.parametrize("text", ["1e-4", "None", "(1, 2)", "~"])
def test_a_quoted_value_is_text_where_no_number_is_wanted(text: str) -> None:
    assert changed(f"output_dir='{text}'").output_dir == text


def test_none_deletes_what_is_none() -> None:
    assert "device" not in changed("~train.device=None").train
    with pytest.raises(ValueError, match="is 'out', so it is not deleted"):
        changed("~output_dir=None")


def test_mapping_is_merged_into_a_mapping() -> None:
    cfg = changed("train={max_iter: 3, amp: {enabled: true}}")
    assert cfg.train == {"max_iter": 3, "lr": 0.1, "amp": {"enabled": True}, "device": None}


def test_overrides_apply_in_order() -> None:
    assert changed("train.max_iter=1", "+train.seed=1", "train.seed=2").train.seed == 2


def test_tilde_deletes() -> None:
    cfg = changed("~train.lr", "~names.0", "~output_dir=out")
    assert "lr" not in cfg.train
    assert cfg.names == ["b"]
    assert "output_dir" not in cfg


def test_delete_with_another_value_is_refused() -> None:
    with pytest.raises(ValueError, match="train.max_iter is 10, so it is not deleted"):
        changed("~train.max_iter=11")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.max_itre=10", r"no key train\.max_itre\. Did you mean train\.max_iter\?"),
        ("train.max_itre=10", r"To add a new key, write '\+train\.max_itre=10'"),
        ("max_iter=10", r"Did you mean train\.max_iter\?"),
        ("trian.max_iter=10", r"no key trian\.max_iter\. Did you mean train\.max_iter\?"),
        ("max_itr=10", r"no key max_itr\. Did you mean train\.max_iter\?"),
        ("TRAIN.LR=10", r"no key TRAIN\.LR\. Did you mean train\.lr\?"),
        ("model.lr=10", r"no key model\.lr\. Did you mean train\.lr\?"),
        ("model.stages.1.dpeth=1", r"Did you mean model\.stages\[1\]\.depth"),
        ("trian={lr: 3}", r"no key trian\. Did you mean train\?"),
        ("train.quux.zap=1", r"no key train\.quux\.zap\. To add"),
        ("train.amp.enabld=true", r"Did you mean train\.amp\.enabled\?"),
        ("train={max_itr: 3}", r"no key train\.max_itr\."),
        ("~train.max_itre", r"no key train\.max_itre\. Did you mean train\.max_iter\?$"),
        ("train.max_iter.x=1", r"train\.max_iter is 10, it has no keys of its own"),
        ("names.7=x", r"names is a list of 2, '7' is not an index"),
        ("names.first=x", r"'first' is not an index"),
        ("+train.max_iter=1", r"exists already, it is 10; leave out the '\+'"),
    ],
)
def test_wrong_key_is_a_key_error_that_helps(override: str, message: str) -> None:
    with pytest.raises(KeyError, match=message) as caught:
        changed(override)
    assert repr(override) in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.max_iter=abc", r"train\.max_iter is a int, got 'abc' \(str\).*\+\+train\.max_iter"),
        ("train.amp.enabled=maybe", r"is a bool, got 'maybe'"),
        ("train.amp=3", r"train\.amp is a mapping, got 3"),
        ("train.lr={a: 1}", r"train\.lr is a float"),
        ("train.lr='fast'", r"train\.lr is a float, got 'fast'"),
        ("train.lr={'a': (1, 2)}", r"train\.lr is a float"),
        ("train=(1, 2)", r"train is a mapping, got \[1, 2\]"),
    ],
)
def test_value_of_another_kind_is_refused(override: str, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        changed(override)


@pytest.mark.parametrize("override", ["train.max_iter", "=3", "train.max_iter=[1", "a b=3", "==="])
def test_what_is_not_an_override_is_refused(override: str) -> None:
    with pytest.raises(ValueError, match="cannot understand the override"):
        changed(override)


@pytest.mark.parametrize(
    "override", ["names=(a,b)", "names=(1,2", "names=~x", "names=b'x'", "names={1, 2}"]
)
def test_what_neither_grammar_knows_is_told_how_a_list_is_written(override: str) -> None:
    with pytest.raises(ValueError, match=r"cannot understand .*a list as \[a,b\]"):
        changed(override)


def test_a_python_tuple_needs_a_key_that_is_one() -> None:
    with pytest.raises(ValueError, match="cannot understand the override 'a b=\\(1, 2\\)'"):
        changed("a b=(1, 2)")


@pytest.mark.parametrize("override", ["train.max_iter=1,2", "train.max_iter=range(1,3)"])
def test_sweeps_are_refused(override: str) -> None:
    with pytest.raises(ValueError, match="sweep over several values"):
        changed(override)


def test_packages_are_refused() -> None:
    with pytest.raises(ValueError, match="@package"):
        changed("train@model=3")


def test_text_that_cannot_be_read_leaves_the_config_unchanged() -> None:
    cfg = config()
    with pytest.raises(ValueError, match="cannot understand"):
        LazyConfig.apply_overrides(cfg, ["train.max_iter=5", "=="])
    assert cfg == config()


def test_single_string_is_refused() -> None:
    with pytest.raises(TypeError, match="list of strings"):
        LazyConfig.apply_overrides(config(), "train.max_iter=3")


def test_key_with_a_dangling_interpolation_can_be_overridden() -> None:
    cfg = as_config({"a": "${nowhere}"})
    assert LazyConfig.apply_overrides(cfg, ["a=1"]).a == 1


names = st.text("abcdef", min_size=1, max_size=3)
values = st.integers(-1000, 1000) | st.booleans() | st.none() | st.text("ghij", min_size=1)
trees = st.recursive(
    values, lambda inner: st.dictionaries(names, inner, min_size=1, max_size=3), max_leaves=8
)


def leaf_paths(tree: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {path: tree}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= leaf_paths(value, f"{path}.{key}" if path else key)
    return found


def written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(names, trees, min_size=1, max_size=3))
def test_adding_every_leaf_to_an_empty_config_rebuilds_it(tree: dict[str, Any]) -> None:
    cfg = as_config({})
    LazyConfig.apply_overrides(
        cfg, [f"+{path}={written(value)}" for path, value in leaf_paths(tree).items()]
    )
    assert cfg == tree


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(names, trees, min_size=1, max_size=3), st.data())
def test_changing_one_leaf_changes_nothing_else(tree: dict[str, Any], data: st.DataObject) -> None:
    leaves = leaf_paths(tree)
    path = data.draw(st.sampled_from(sorted(leaves)))
    value = data.draw(values)
    cfg = as_config(tree)
    LazyConfig.apply_overrides(cfg, [f"++{path}={written(value)}"])
    plain = OmegaConf.to_container(cfg)
    assert leaf_paths(plain) == {**leaves, path: value}


@pytest.mark.parametrize("written", [["A.B=1", "C=x=y"], ["A.B", "1", "C", "x=y"]])
def test_overrides_of_yacs_configs_are_pairs_in_either_form(written: list[str]) -> None:
    assert override_pairs(written) == ["A.B", "1", "C", "x=y"]


@pytest.mark.parametrize("written", [["A.B"], ["=1"], ["A=1", "B"], ["A", "1", "B"]])
def test_what_is_no_pair_is_refused(written: list[str]) -> None:
    with pytest.raises(ValueError, match="write KEY=VALUE"):
        override_pairs(written)
