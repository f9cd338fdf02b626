import copy
import pickle
from collections import Counter
from dataclasses import dataclass

import attrs
import pytest
from omegaconf import DictConfig, OmegaConf

from d2_config import LazyCall, instantiate


def test_call_is_described_not_made() -> None:
    cfg = LazyCall(print)(sep=" ")
    assert isinstance(cfg, DictConfig)
    assert OmegaConf.to_container(cfg) == {"_target_": "builtins.print", "sep": " "}


def test_target_may_be_a_dotted_name() -> None:
    assert instantiate(LazyCall("collections.Counter")(a=2)) == Counter(a=2)


def test_target_may_be_a_lazy_call_that_returns_a_callable() -> None:
    factory = LazyCall("operator.attrgetter")
    with pytest.raises(TypeError, match="keyword arguments only"):
        factory("a")
    chosen = LazyCall(lambda which: {"counter": Counter}[which])(which="counter")
    assert instantiate(LazyCall(chosen)(b=1)) == Counter(b=1)


def test_lambda_is_held_itself() -> None:
    cfg = LazyCall(lambda x: x + 1)(x=2)
    assert callable(cfg._target_)
    assert instantiate(cfg) == 3


@pytest.mark.parametrize("target", [3, None, [int]])
def test_other_targets_are_refused(target: object) -> None:
    with pytest.raises(TypeError, match="LazyCall needs a callable"):
        LazyCall(target)  # type: ignore[arg-type]  # the point of the test


def test_positional_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match=r"LazyCall\(builtins.int\).*got positional \(3,\)"):
        LazyCall(int)(3)


def test_reserved_argument_name_is_refused() -> None:
    with pytest.raises(TypeError, match="reserved"):
        LazyCall(dict)(_target_="x")


def test_arguments_can_be_edited_added_and_removed() -> None:
    cfg = LazyCall(dict)(a=1, b=2)
    cfg.a = 5
    cfg.c = object
    del cfg.b
    assert instantiate(cfg) == {"a": 5, "c": object}


def test_any_object_may_be_an_argument() -> None:
    marker = object()
    assert LazyCall(dict)(x=marker).x is marker


def test_copies_and_pickles_are_equal_and_independent() -> None:
    cfg = LazyCall(Counter)(a=1, inner=LazyCall(dict)(x="${..a}"))
    for twin in (copy.deepcopy(cfg), pickle.loads(pickle.dumps(cfg))):
        assert twin == cfg
        twin.a = 7
        assert instantiate(twin)["inner"] == {"x": 7}
    assert cfg.a == 1


def test_local_dataclasses_and_attrs_classes_can_be_targets() -> None:
    @dataclass
    class Point:
        x: int

    @attrs.frozen
    class Size:
        width: int

    assert instantiate(LazyCall(Point)(x=3)) == Point(3)
    assert instantiate(LazyCall(Size)(width=3)) == Size(3)
