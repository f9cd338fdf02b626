import argparse
import datetime
from collections import Counter, OrderedDict
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from d2_config import LazyCall as L
from d2_config import instantiate

Box = argparse.Namespace  # keeps any keyword argument as an attribute


class Shape(NamedTuple):
    channels: int
    stride: int | None = None


@dataclass
class Point:
    x: int
    y: str = "y"


@attrs.define
class Size:
    width: int
    height: int = 2


def test_arguments_are_built_first_to_any_depth() -> None:
    cfg = L(Box)(a=L(Box)(b=L(Fraction)(numerator=1, denominator=3)), c=4)
    built = instantiate(cfg)
    assert built == Box(a=Box(b=Fraction(1, 3)), c=4)


def test_plain_dictionaries_with_a_target_work_without_lazy_call() -> None:
    cfg = {"_target_": "datetime.timedelta", "days": 2}
    assert instantiate(cfg) == datetime.timedelta(days=2)
    assert cfg == {"_target_": "datetime.timedelta", "days": 2}


def test_lists_are_built_item_by_item_and_arrive_as_lists() -> None:
    cfg = L(Box)(items=[1, L(Fraction)(numerator=2), [L(Fraction)(numerator=3)]], empty=[])
    built = instantiate(cfg)
    assert type(built.items) is list
    assert built == Box(items=[1, Fraction(2), [Fraction(3)]], empty=[])


def test_top_level_list_and_tuple_are_built() -> None:
    assert instantiate([L(Fraction)(numerator=2), 3]) == [Fraction(2), 3]
    assert instantiate((L(Fraction)(numerator=2), 3)) == (Fraction(2), 3)


def test_calls_inside_plain_dictionaries_are_built() -> None:
    cfg = L(Box)(heads={"one": L(Fraction)(numerator=1), "n": 3})
    assert instantiate(cfg) == Box(heads={"one": Fraction(1), "n": 3})


@pytest.mark.parametrize("value", [5, None, "text", {"xx": "yy"}, OrderedDict(a=1), object(), int])
def test_what_describes_nothing_is_returned_as_it_is(value: Any) -> None:
    assert instantiate(value) is value


def test_dictionary_of_plain_values_reaches_the_callable_with_attribute_access() -> None:
    built = instantiate(L(Box)(options={"depth": {"value": 3}}))
    assert built.options.depth.value == 3


def test_none_stays_none() -> None:
    assert instantiate(L(Box)(a=None)) == Box(a=None)


def test_interpolations_are_resolved() -> None:
    cfg = L(Box)(classes=80, head=L(Box)(n="${..classes}", text="${n}-${.n}x"), n=2)
    assert instantiate(cfg).head == Box(n=80, text="2-80x")
    cfg.classes = 3
    assert instantiate(cfg).head.n == 3


def test_each_reference_to_a_call_makes_its_own_object() -> None:
    cfg = OmegaConf.create({"a": L(Box)(x=1), "both": ["${a}", "${a}"]})
    first, second = instantiate(cfg)["both"]
    assert first == second == Box(x=1)
    assert first is not second


def test_target_that_is_a_call_is_built_first() -> None:
    cfg = L(L(lambda power: lambda x: x**power)(power=2))(x=5)
    assert instantiate(cfg) == 25


def test_dataclass_and_attrs_objects_arrive_as_such() -> None:
    built = instantiate(L(Box)(point=Point(1), sizes=[Size(3)], shape=Shape(4)))
    assert built == Box(point=Point(1), sizes=[Size(3)], shape=Shape(4))
    assert type(built.shape) is Shape


def test_structured_config_with_missing_value_names_it() -> None:
    @dataclass
    class Needs:
        x: int = "???"  # type: ignore[assignment]  # omegaconf's mark for a missing value

    with pytest.raises(ValueError, match=r"p: cannot make a .*Needs: .*x"):
        instantiate(L(Box)(p=Needs()))


def test_named_target_that_does_not_exist_names_the_key_path() -> None:
    cfg = OmegaConf.create({"model": {"head": {"_target_": "collections.Countr"}}})
    with pytest.raises(ImportError, match=r"^model\.head\._target_: .* Did you mean Counter"):
        instantiate(cfg.model)


@pytest.mark.parametrize("target", ["math.pi", "os.path", 7])
def test_target_that_cannot_be_called_is_refused(target: Any) -> None:
    with pytest.raises(TypeError, match=r"a\[0\]\._target_ must name something callable"):
        instantiate({"a": [{"_target_": target}]})


def test_unknown_argument_is_named_with_close_matches() -> None:
    def build(learning_rate: float) -> float:
        return learning_rate

    with pytest.raises(TypeError) as caught:
        instantiate({"opt": L(build)(learning_rat=0.1)})
    assert "opt: calling " in str(caught.value)
    assert "build failed; it has no argument 'learning_rat'. Did you mean learning_rate?" in str(
        caught.value
    )


class _Base:
    def __init__(self, *, num_classes: int) -> None:
        self.num_classes = num_classes


class _Derived(_Base):
    def __init__(self, *, beta: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.beta = beta


class _Open(dict):
    def __init__(self, **kwargs: Any) -> None:
        raise TypeError("never made")


def test_unknown_argument_that_a_class_hands_to_its_base_is_named() -> None:
    with pytest.raises(TypeError, match=r"it has no argument 'num_class'\. Did you mean num_cl"):
        instantiate(L(_Derived)(beta=0.2, num_class=3))


def test_a_class_that_takes_any_argument_is_not_said_to_lack_one() -> None:
    with pytest.raises(TypeError, match=r"never made$"):
        instantiate(L(_Open)(num_class=3))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad"),
        KeyError("bad"),
        RuntimeError("bad"),
        AssertionError(),
        ZeroDivisionError(),
    ],
)
def test_failure_keeps_its_type_and_names_callable_and_path(error: Exception) -> None:
    def build_thing() -> None:
        raise error

    with pytest.raises(type(error), match=r"layers\[1\]: calling .*build_thing failed") as caught:
        instantiate({"layers": [1, L(build_thing)()]})
    assert caught.value.__cause__ is error


def test_file_errors_keep_their_file_name() -> None:
    with pytest.raises(FileNotFoundError, match="f: calling .*open failed") as caught:
        instantiate({"f": L(open)(file="no/such/file")})
    assert caught.value.filename == "no/such/file"


def test_errors_of_unknown_construction_get_a_note() -> None:
    class Odd(Exception):
        def __init__(self, code: int, why: str) -> None:
            super().__init__(code, why)

    def build() -> None:
        raise Odd(3, "why")

    with pytest.raises(Odd) as caught:
        instantiate({"a": L(build)()})
    assert caught.value.__notes__[0].startswith("a: calling ")


def test_failure_deep_inside_is_reported_once_with_its_own_path() -> None:
    cfg = L(Box)(backbone=L(Box)(stem=L(Fraction)(numerator="x")))
    with pytest.raises(ValueError, match=r"^backbone\.stem: calling fractions\.Fraction failed"):
        instantiate(cfg)


def test_dangling_interpolation_is_named_with_close_matches() -> None:
    cfg = OmegaConf.create({"model": L(Box)(num_classes=3, head=L(Box)(n="${..num_clases}"))})
    with pytest.raises(KeyError) as caught:
        instantiate(cfg.model)
    assert "model.head.n is '${..num_clases}'" in str(caught.value)
    assert "Did you mean ..num_classes?" in str(caught.value)


def test_missing_value_is_named() -> None:
    with pytest.raises(KeyError, match="size must be given a value"):
        instantiate(L(Box)(size="???"))


def test_argument_names_must_be_texts() -> None:
    with pytest.raises(TypeError, match="argument names must be strings, got 3"):
        instantiate({"_target_": "builtins.dict", 3: 4})


names = st.text("abcdefgh", min_size=1, max_size=4)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("xyz ")


def calls(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(children, max_size=3) | st.dictionaries(names, children, max_size=3).map(
        lambda arguments: ("call", arguments)
    )


def described(tree: Any) -> Any:
    if isinstance(tree, tuple):
        return L(Box)(**{name: described(value) for name, value in tree[1].items()})
    return [described(item) for item in tree] if isinstance(tree, list) else tree


def made(tree: Any) -> Any:
    if isinstance(tree, tuple):
        return Box(**{name: made(value) for name, value in tree[1].items()})
    return [made(item) for item in tree] if isinstance(tree, list) else tree


@settings(max_examples=60, deadline=None)
@given(st.recursive(leaves, calls, max_leaves=12))
def test_instantiating_a_description_equals_making_the_calls(tree: Any) -> None:
    assert instantiate(described(tree)) == made(tree)


def test_counter_of_docs_is_not_mistaken_for_a_description() -> None:
    counter = Counter(a=1)
    assert instantiate(counter) is counter
