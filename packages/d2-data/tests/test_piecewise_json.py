import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data import piecewise_json
from d2_data.piecewise_json import load_json

TEXT = st.text(max_size=6)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
SPACES = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n ", " :\t")])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("json")


@settings(deadline=None)
@given(VALUES, st.integers(1, 9), SPACES, st.booleans(), st.sampled_from(["", " \n"]))
def test_any_value_is_read_as_it_was_written(folder, value, piece, separators, ascii_only, space):
    text = json.dumps(value, separators=separators, ensure_ascii=ascii_only)
    path = folder / "value.json"
    path.write_text(space + text + space, encoding="utf-8", errors="surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(piecewise_json, "_PIECE", piece)
        read = load_json(path)
    assert json.dumps(read) == json.dumps(value)


@settings(deadline=None)
@given(VALUES, st.integers(1, 9), st.data())
def test_damaged_text_is_refused_as_json_does(folder, value, piece, data):
    text = json.dumps(value)
    place = data.draw(st.integers(0, len(text) - 1))
    damaged = (
        text[:place] + data.draw(st.sampled_from(["", "]", "}", ",", '"'])) + text[place + 1 :]
    )
    path = folder / "damaged.json"
    path.write_text(damaged)
    outcomes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(piecewise_json, "_PIECE", piece)
        for read in (load_json, lambda path: json.loads(path.read_bytes())):
            try:
                outcomes.append(json.dumps(read(path)))
            except ValueError as error:
                outcomes.append(f"refused: {error}")
    assert outcomes[0] == outcomes[1]


def test_the_last_of_equal_keys_counts(path, monkeypatch):
    monkeypatch.setattr(piecewise_json, "_PIECE", 3)
    path.write_text('{"a": [1, 2], "b": 0, "a": [3]}')
    assert load_json(path) == {"a": [3], "b": 0}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-le", "utf-8"])
def test_other_unicode_is_understood(path, monkeypatch, encoding):
    monkeypatch.setattr(piecewise_json, "_PIECE", 3)
    path.write_bytes(json.dumps(["größer", 1], ensure_ascii=False).encode(encoding))
    assert load_json(path) == ["größer", 1]


def test_text_is_read_in_pieces_and_keys_are_shared(path, monkeypatch):
    monkeypatch.setattr(piecewise_json, "_PIECE", 100)
    entries = [{"identity": number, "segmentation": [1.5, 2]} for number in range(50)]
    path.write_text(json.dumps({"annotations": entries}))
    sizes = []
    read_more = piecewise_json._Document._read_more

    def noted(document):
        more = read_more(document)
        sizes.append(len(document._text))
        return more

    monkeypatch.setattr(piecewise_json._Document, "_read_more", noted)
    read = load_json(path)["annotations"]
    assert read == entries
    assert len(sizes) > 10
    assert max(sizes) < 300
    assert len({id(key) for entry in read for key in entry}) == 2


def test_nesting_without_end_is_refused(path, monkeypatch):
    monkeypatch.setattr(piecewise_json, "_PIECE", 1000)
    path.write_text("[" * 200_000)
    with pytest.raises(RecursionError):
        load_json(path)


def test_the_place_of_an_error_is_told(path, monkeypatch):
    monkeypatch.setattr(piecewise_json, "_PIECE", 10)
    path.write_text('{"images": [], "annotations": [1, 2,, 3]}')
    with pytest.raises(ValueError, match=re.escape("char 36")):
        load_json(path)
