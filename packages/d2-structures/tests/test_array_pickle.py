"""Pickles are read only if they hold arrays and plain containers."""

import collections
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_structures import ArrayPickleError, BoxMode, load_array_pickle

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.frozensets(st.integers()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.tuples(inner, inner, inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


def write(path, value, protocol=pickle.DEFAULT_PROTOCOL):
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def write_program(path, program):
    path.write_bytes(program)
    return path


@given(value=plain, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
@settings(max_examples=150, deadline=None)
def test_plain_containers_come_back_equal(tmp_path_factory, value, protocol):
    path = write(tmp_path_factory.mktemp("p") / "f.pkl", value, protocol)
    loaded = load_array_pickle(path)
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "float16", "c8", ">f4", "U3", "S4"])
def test_arrays_come_back_equal_native_and_writable_under_every_protocol(tmp_path, protocol, dtype):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    content = {
        "model": collections.OrderedDict(a=array, b=array.T, c=array[:0], d=array[0, 1]),
        "__author__": "zoo",
    }
    loaded = load_array_pickle(write(tmp_path / "f.pkl", content, protocol))
    assert loaded["__author__"] == "zoo"
    for name, expected in content["model"].items():
        np.testing.assert_array_equal(loaded["model"][name], expected)
        assert np.asarray(loaded["model"][name]).dtype == expected.dtype.newbyteorder("=")
    loaded["model"]["a"][:] = loaded["model"]["a"][::-1].copy()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_is_shared_stays_shared_and_a_list_may_hold_itself(tmp_path, protocol):
    array = np.arange(3)
    value = [array, {"a": array, 3: {1, 2}}, bytearray(b"ab"), BoxMode.XYWH_ABS]
    value.append(value)
    loaded = load_array_pickle(write(tmp_path / "f.pkl", value, protocol))
    assert loaded[0] is loaded[1]["a"]
    assert loaded[4] is loaded
    assert loaded[2:4] == [bytearray(b"ab"), BoxMode.XYWH_ABS]
    assert type(loaded[3]) is BoxMode


def test_a_pickle_of_python_2_gives_arrays_and_text(tmp_path):
    old = (
        b"}q\x00U\x06conv_wq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02(cnumpy\nndarray\nq\x03"
        b"K\x00\x85U\x01btq\x04Rq\x05(K\x01K\x02\x85cnumpy\ndtype\nq\x06(U\x02f4K\x00K\x01tq\x07Rq"
        b"\x08(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x08"
        + np.array([1.5, -2], "<f4").tobytes()
        + b"tbs."
    )
    loaded = load_array_pickle(write_program(tmp_path / "old.pkl", old))
    np.testing.assert_array_equal(loaded["conv_w"], np.array([1.5, -2], np.float32))


def test_attributes_of_an_ordered_dict_are_left_out(tmp_path):
    state = collections.OrderedDict(w=np.ones(2))
    state._metadata = {"": {"version": 1}}
    loaded = load_array_pickle(write(tmp_path / "f.pkl", state))
    assert list(loaded) == ["w"]
    assert not hasattr(loaded, "_metadata")


class Runs:
    def __init__(self, function, *arguments):
        self._call = (function, arguments)

    def __reduce__(self):
        return self._call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_box_mode_may_be_written_by_its_name_as_early_python_3_11_does(tmp_path, protocol):
    written = Runs(getattr, BoxMode, "XYWH_ABS")
    (loaded,) = load_array_pickle(write(tmp_path / "f.pkl", [written], protocol))
    assert loaded is BoxMode.XYWH_ABS


@pytest.mark.parametrize(
    ("attack", "name"),
    [
        (lambda marker: Runs(os.system, f"touch {marker}"), "system"),
        (lambda marker: Runs(eval, f"open({str(marker)!r}, 'w')"), "eval"),
        (lambda marker: Runs(open, str(marker), "w"), "open"),
        (lambda marker: Runs(getattr, "x", "upper"), "attribute of other than BoxMode"),
        (lambda marker: Runs(getattr, np.ndarray, "tofile"), "attribute of other than BoxMode"),
        (lambda marker: Runs(getattr, BoxMode, "convert"), "unknown mode 'convert'"),
        (lambda marker: Runs(getattr, BoxMode, "__init__"), "unknown mode '__init__'"),
        (lambda marker: Runs(np.save, str(marker), [1]), "save"),
        (lambda marker: Runs(bytes, 10**12), "argument"),
        (lambda marker: Runs(bytearray, 10**12), "not bytes"),
    ],
)
def test_a_pickle_that_would_run_code_or_fill_memory_is_refused_and_named(tmp_path, attack, name):
    marker = tmp_path / "executed"
    path = write(tmp_path / "evil.pkl", {"model": attack(marker)})
    with pytest.raises(ArrayPickleError, match=name) as caught:
        load_array_pickle(path)
    assert "evil.pkl" in str(caught.value)
    assert not marker.exists()


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
FLOAT = (
    b"cnumpy\ndtype\n(X\x02\x00\x00\x00f4K\x00K\x01tR"
    b"(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)


def dtype_with(state: str, code: str = "V8") -> bytes:
    """A pickled dtype with a state written as a tuple of pickle code."""
    return (
        b"cnumpy\ndtype\n(X"
        + struct.pack("<I", len(code))
        + code.encode()
        + b"K\x00K\x01tR"
        + (state.encode("latin1"))
    )


OBJECT_FIELD = (
    "(K\x03X\x01\x00\x00\x00|N(X\x01\x00\x00\x00at}X\x01\x00\x00\x00a(cnumpy\ndtype\n"
    + ("(X\x02\x00\x00\x00O8K\x00K\x01tRK\x00ts" + "K\x08K\x08K\x00tb")
)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        pytest.param(dtype_with(OBJECT_FIELD), "'V8'", id="a void type whose field is an object"),
        pytest.param(
            dtype_with("(K\x03X\x01\x00\x00\x00<N(X\x01\x00\x00\x00at}K\x04K\x04K\x00tb", "f4"),
            "fields",
            id="a float type that is given fields",
        ),
        pytest.param(dtype_with("", "O8"), "Python objects", id="a type of Python objects"),
        pytest.param(dtype_with("", "f4,f4"), "'f4,f4'", id="a type that is a list of types"),
        pytest.param(dtype_with("Nb", "f4"), "unknown state None", id="a type without a state"),
        pytest.param(
            RECONSTRUCT + b"(K\x01J\xff\xff\xff\x7f\x85" + FLOAT + b"\x89C\x04abcdtb",
            "4 bytes are not those",
            id="an array larger than its content",
        ),
        pytest.param(
            RECONSTRUCT + b"(K\x01J\xff\xff\xff\xff\x85" + FLOAT + b"\x89C\x00tb",
            r"shape \(-1,\)",
            id="an array of negative size",
        ),
        pytest.param(
            RECONSTRUCT + b"(K\x01K\x01\x85" + FLOAT + b"\x89]Natb",
            "Python objects",
            id="an array whose content is a list of objects",
        ),
        pytest.param(RECONSTRUCT + b"]q\x05hX", "no operation b'X'|is not", id="nonsense"),
        pytest.param(RECONSTRUCT, "complete", id="an array without content"),
        pytest.param(RECONSTRUCT + b"\x85", "before it has been given", id="kept before"),
        pytest.param(RECONSTRUCT + b"2\x86", "before it has been given", id="copied before"),
        pytest.param(
            b"cnumpy\ndtype\n}X\x08\x00\x00\x00__name__K\x01sb",
            "sets the state",
            id="a function",
        ),
        pytest.param(b"cnumpy\nndarray\n)R", "calls numpy.ndarray", id="the array class itself"),
        pytest.param(b"cnumpy\nndarray\n)\x81", "NEWOBJ", id="an object made without a call"),
        pytest.param(b"(i__main__\nA\n", "INST", id="an instance of protocol 0"),
        pytest.param(b"\x82\x01", "EXT1", id="a number in copyreg's list"),
        pytest.param(b"Pabc\n", "PERSID", id="an object outside of the file"),
        pytest.param(b"}]Ns", "list as the key", id="a key that is a list"),
        pytest.param(b"]K\x01K\x02s", "sets items of a list", id="items of a list"),
        pytest.param(b"}K\x01a", "adds to a dict", id="adding to a dict"),
        pytest.param(b"B\xff\xff\xff\x7fa", "2147483647 bytes", id="more bytes than the file"),
        pytest.param(b"h\x07", "number 7", id="what was never kept"),
        pytest.param(b"\x85", "too short", id="an empty stack"),
    ],
)
def test_programs_that_python_would_run_are_refused(tmp_path, program, said):
    path = write_program(tmp_path / "evil.pkl", program + b".")
    with pytest.raises(ArrayPickleError, match=said) as caught:
        load_array_pickle(path)
    assert "evil.pkl' " in str(caught.value)
    assert "at byte" in str(caught.value)


def test_numbers_far_apart_in_the_memo_take_no_memory(tmp_path):
    path = write_program(tmp_path / "f.pkl", b"K\x05r\xff\xff\xff\xff0j\xff\xff\xff\xff.")
    assert load_array_pickle(path) == 5


@pytest.mark.parametrize("used", [b"Ns.", b"s."], ids=["as a key", "as a key of a value"])
def test_a_key_of_tuples_in_tuples_is_refused_before_it_is_hashed(tmp_path, used):
    program = b"}" + b"N" + b"\x85" * 1_000_000 + (b"N" if used == b"s." else b"") + used
    with pytest.raises(ArrayPickleError, match="tuple as the key"):
        load_array_pickle(write_program(tmp_path / "deep.pkl", program))


def test_tuples_in_tuples_are_read(tmp_path):
    loaded = load_array_pickle(
        write_program(tmp_path / "deep.pkl", b"N" + b"\x85" * 1_000_000 + b".")
    )
    assert type(loaded) is tuple


def test_a_truth_value_is_nothing_but_0_and_1(tmp_path):
    program = (
        RECONSTRUCT + b"(K\x01K\x02\x85" + FLOAT.replace(b"f4", b"b1") + b"\x89C\x02\x07\x00tb."
    )
    loaded = load_array_pickle(write_program(tmp_path / "f.pkl", program))
    assert loaded.view(np.uint8).tolist() == [1, 0]


def test_a_submodule_attribute_is_refused_too(tmp_path):
    path = write_program(tmp_path / "evil.pkl", b"cnumpy\nf2py.os.system\n(S'true'\ntR.")
    with pytest.raises(ArrayPickleError, match=r"refers to numpy\.f2py\.os\.system"):
        load_array_pickle(path)


def test_another_codec_than_latin1_is_refused(tmp_path):
    path = write_program(tmp_path / "evil.pkl", b"c_codecs\nencode\n(Vabc\nVzlib_codec\ntR.")
    with pytest.raises(ArrayPickleError, match="zlib_codec"):
        load_array_pickle(path)


def test_no_cut_through_a_file_is_read(tmp_path):
    content = pickle.dumps({"a": np.zeros(3, np.float32), "b": [1, "x"]}, 2)
    for length in range(len(content)):
        path = write_program(tmp_path / "short.pkl", content[:length])
        with pytest.raises(ArrayPickleError, match=r"short\.pkl' is not a complete pickle file"):
            load_array_pickle(path)


def test_a_missing_file_and_a_pipe_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pkl' does not exist"):
        load_array_pickle(tmp_path / "none.pkl")
    os.mkfifo(tmp_path / "pipe.pkl")
    with pytest.raises(FileNotFoundError, match=r"pipe\.pkl' is not an ordinary file"):
        load_array_pickle(tmp_path / "pipe.pkl")


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_random_bytes_raise_one_kind_of_error(tmp_path_factory, content):
    path = write_program(tmp_path_factory.mktemp("p") / "random.pkl", content + b".")
    try:
        load_array_pickle(path)
    except ArrayPickleError as error:
        assert "random.pkl" in str(error)  # noqa: PT017  # random bytes may be a pickle, too


def shared_tuples(width):
    """A tuple that holds one tuple many times, which does so, four times."""
    program = b"K\x01q\x00"
    for number in range(3):
        program += b"(" + b"h" + bytes([number]) + (b"h" + bytes([number])) * width
        program += b"tq" + bytes([number + 1])
    return program


@pytest.mark.parametrize("use", [b"}h\x03Ns.", b"\x8f(h\x03\x90.", b"(h\x03\x91."])
def test_a_key_that_holds_the_same_tuples_many_times_is_refused_at_once(tmp_path, use):
    path = write_program(tmp_path / "wide.pkl", shared_tuples(3000) + use)
    with pytest.raises(ArrayPickleError, match="tuple as the key|other than plain values"):
        load_array_pickle(path)


def test_a_key_of_a_million_digits_is_refused(tmp_path):
    program = b"}\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20) + b"Ns."
    with pytest.raises(ArrayPickleError, match="int as the key"):
        load_array_pickle(write_program(tmp_path / "long.pkl", program))


MEBIBYTE = struct.pack("<I", 1 << 20) + bytes(1 << 20)
FLOATS = b"K\x03J" + struct.pack("<i", 1 << 18) + b"\x85h\x01\x89h\x00tb"
NUMBERS = b"".join(b"J" + struct.pack("<i", number) for number in range(1 << 17))


@pytest.mark.parametrize(
    ("kept", "again"),
    [
        pytest.param(
            b"B" + MEBIBYTE + b"q\x00" + FLOAT + b"q\x01",
            RECONSTRUCT + b"(" + FLOATS,
            id="arrays",
        ),
        pytest.param(
            b"X" + MEBIBYTE + b"q\x00c_codecs\nencode\nq\x01", b"h\x01h\x00\x85R", id="bytes"
        ),
        pytest.param(
            b"(" + NUMBERS + b"lq\x00cbuiltins\nset\nq\x01", b"h\x01h\x00\x85R", id="sets"
        ),
    ],
)
def test_content_that_is_there_once_fills_the_memory_no_hundred_times(tmp_path, kept, again):
    path = write_program(tmp_path / "again.pkl", kept + again * 300 + b".")
    with pytest.raises(ArrayPickleError, match="far more of its content than it holds"):
        load_array_pickle(path)


def test_thousands_of_arrays_that_get_no_content_are_refused(tmp_path):
    program = b"".join(RECONSTRUCT + b"r" + struct.pack("<I", number) for number in range(2000))
    with pytest.raises(ArrayPickleError, match="begins more arrays"):
        load_array_pickle(write_program(tmp_path / "begun.pkl", program + b"."))


def test_a_call_with_thousands_of_arguments_is_refused(tmp_path):
    program = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f4" + b"N" * 5000 + b"tR."
    with pytest.raises(ArrayPickleError, match=r"numpy\.dtype with 5001 arguments"):
        load_array_pickle(write_program(tmp_path / "many.pkl", program))
