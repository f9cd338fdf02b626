import ast
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from d2_config import LazyCall as L
from d2_config import LazyConfig, get_cfg
from d2_config.nodes import as_config


def test_sections_become_dotted_assignments_in_order() -> None:
    cfg = as_config({"train": {"max_iter": 10, "amp": {"enabled": False}}, "name": "x"})
    assert LazyConfig.to_py(cfg).splitlines() == [
        "cfg.train.max_iter = 10",
        "cfg.train.amp.enabled = False",
        "cfg.name = 'x'",
    ]


def test_calls_are_written_as_calls() -> None:
    cfg = as_config({"model": L("torch.nn.Conv2d")(in_channels=3, norm=L(dict)(a=[1, None]))})
    assert LazyConfig.to_py(cfg) == (
        "cfg.model = torch.nn.Conv2d(in_channels=3, norm=builtins.dict(a=[1, None]))"
    )


def test_dictionaries_inside_calls_are_written_as_dictionaries() -> None:
    cfg = as_config({"x": L("itertools.count")(start={"a": 1, "b": "${..c}"})})
    assert LazyConfig.to_py(cfg) == "cfg.x = itertools.count(start={'a': 1, 'b': '${..c}'})"


def test_prefix_is_used() -> None:
    assert LazyConfig.to_py(as_config({"a": {"b": 1}}), prefix="config.") == "config.a.b = 1"


def test_single_call_is_an_expression() -> None:
    assert LazyConfig.to_py(L("f.g")(a=1)) == "f.g(a=1)"


def test_callables_are_written_by_name() -> None:
    assert LazyConfig.to_py(as_config({"act": len, "t": (1,)})) == (
        "cfg.act = builtins.len\ncfg.t = [1]"
    )


def test_keys_that_are_not_names_are_written_as_items() -> None:
    assert LazyConfig.to_py(as_config({"a": {"b-c": {"d": 1}}})) == "cfg.a['b-c'].d = 1"


def test_long_calls_are_broken_over_indented_lines() -> None:
    cfg = as_config({"model": L("pkg.Net")(**{f"argument_{i}": "x" * 20 for i in range(4)})})
    lines = LazyConfig.to_py(cfg).splitlines()
    assert lines[0] == "cfg.model = pkg.Net("
    assert lines[1] == f"    argument_0={'x' * 20!r},"
    assert lines[-1] == ")"


def test_yacs_configs_can_be_written_too() -> None:
    code = LazyConfig.to_py(get_cfg())
    assert "cfg.MODEL.RPN.HEAD_NAME = 'StandardRPNHead'" in code
    assert "cfg.INPUT.MIN_SIZE_TRAIN = (800,)" in code


keys = st.text("abcdefgh", min_size=2, max_size=8).map(lambda key: f"k_{key}")
trees = st.recursive(
    st.integers() | st.text("xyz '\"\\", max_size=30) | st.none(),
    lambda t: st.lists(t, max_size=4) | st.dictionaries(keys, t, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(tree=st.dictionaries(keys, trees, max_size=3))
def test_code_of_plain_values_evaluates_to_the_same_values(tree: dict[str, Any]) -> None:
    code = LazyConfig.to_py(L("builtins.dict")(**tree))
    assert eval(code, {"builtins": __import__("builtins")}) == tree
    ast.parse(LazyConfig.to_py(as_config({"section": tree})))
