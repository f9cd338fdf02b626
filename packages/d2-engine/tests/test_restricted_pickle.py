"""Pickles are loaded only if they hold arrays and plain containers."""

import collections
import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_engine.checkpoint import load_restricted_pickle

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def write(path, value, protocol=pickle.DEFAULT_PROTOCOL):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@given(value=plain, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
@settings(max_examples=60, deadline=None)
def test_plain_containers_come_back_equal(tmp_path_factory, value, protocol):
    path = write(tmp_path_factory.mktemp("p") / "f.pkl", value, protocol)
    assert load_restricted_pickle(path) == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "float16"])
def test_arrays_come_back_equal_under_every_protocol(tmp_path, protocol, dtype):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    content = {
        "model": collections.OrderedDict(a=array, b=array.T, c=array[:0], d=array[0, 1]),
        "__author__": "zoo",
    }
    loaded = load_restricted_pickle(write(tmp_path / "f.pkl", content, protocol))
    assert loaded["__author__"] == "zoo"
    for name, expected in content["model"].items():
        np.testing.assert_array_equal(loaded["model"][name], expected)
        assert loaded["model"][name].dtype == expected.dtype


class Runs:
    def __init__(self, function, *arguments):
        self._call = (function, arguments)

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (lambda marker: Runs(os.system, f"touch {marker}"), "system"),
        (lambda marker: Runs(eval, f"open({str(marker)!r}, 'w')"), "eval"),
        (lambda marker: Runs(open, str(marker), "w"), "open"),
        (lambda marker: Runs(getattr, "x", "upper"), "getattr"),
        (lambda marker: Runs(np.save, str(marker), [1]), "save"),
    ],
)
def test_a_pickle_that_would_run_code_is_refused_and_named(tmp_path, attack, name):
    marker = tmp_path / "executed"
    path = write(tmp_path / "evil.pkl", {"model": attack(marker)})
    with pytest.raises(pickle.UnpicklingError, match=name) as caught:
        load_restricted_pickle(path)
    assert "evil.pkl" in str(caught.value)
    assert not marker.exists()


def test_a_submodule_attribute_is_refused_too(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"cnumpy\nf2py.os.system\n(S'true'\ntR.")
    with pytest.raises(pickle.UnpicklingError, match=r"f2py\.os\.system"):
        load_restricted_pickle(path)


def test_another_codec_than_latin1_is_refused(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"c_codecs\nencode\n(Vabc\nVzlib_codec\ntR.")
    with pytest.raises(pickle.UnpicklingError, match="zlib_codec"):
        load_restricted_pickle(path)


def test_a_truncated_file_is_named(tmp_path):
    path = write(tmp_path / "short.pkl", {"a": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(pickle.UnpicklingError, match=r"short\.pkl"):
        load_restricted_pickle(path)
