"""Which plain scalars are numbers and None, and that texts like them are written in quotes."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from d2_config.yaml_dialect import Dumper, SafeLoader, UnsafeLoader

LOADERS = (SafeLoader, UnsafeLoader)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("5e3", 5e3),
        ("-2e-3", -2e-3),
        ("+1e2", 100.0),
        ("1.5e3", 1.5e3),
        ("1.e-2", 1e-2),
        (".5e1", 5.0),
        ("-.5", -0.5),
        ("1_000e1", 1e4),
    ],
)
def test_a_number_without_a_dot_or_a_sign_is_a_number(
    text: str, number: float, loader: Any
) -> None:
    for document in (text, f"[{text}]", f"key: {text}"):
        (value,) = _leaves(yaml.load(document, loader))
        assert value == number
        assert type(value) is float


@pytest.mark.parametrize("loader", LOADERS)
def test_none_in_pythons_spelling_is_none(loader: Any) -> None:
    assert yaml.load("{a: None, b: [None, null, ~]}", loader) == {"a": None, "b": [None] * 3}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("text", ["1e-4", "None", "5e3", "-.5"])
def test_a_quoted_scalar_is_text(text: str, loader: Any) -> None:
    assert yaml.load(f"['{text}', \"{text}\"]", loader) == [text, text]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("text", ["1e", "e4", "1e-4x", "x1e4", "1e4.5", "Nones", "none", "-", "."])
def test_what_only_begins_like_a_number_or_none_is_text(text: str, loader: Any) -> None:
    assert yaml.load(f"[{text}]" if text != "-" else "['-']", loader) == [text]


@pytest.mark.parametrize("loader", LOADERS)
def test_scalars_that_yaml_1_1_knows_are_as_they_were(loader: Any) -> None:
    text = "[1, 2.5, 1.0e-3, .inf, -.inf, .5, null, yes, 'no', 0x10, text, 2020-01-02]"
    assert yaml.load(text, loader) == yaml.safe_load(text)


like_numbers = st.from_regex(r"\A[-+]?[0-9.]{0,3}[eE]?[-+]?[0-9]{1,2}\Z")
texts = st.sampled_from(["None", "null", "~", "yes", "1e-4", "\x85"]) | like_numbers | st.text()


@given(st.lists(texts | st.floats(allow_nan=False) | st.none(), max_size=4))
def test_what_is_dumped_is_read_as_it_was(values: list[Any]) -> None:
    again = yaml.load(yaml.dump(values, Dumper=Dumper, allow_unicode=True), SafeLoader)
    assert again == values
    assert [type(value) for value in again] == [type(value) for value in values]


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else [value]
