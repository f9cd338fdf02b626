import pytest

from d2_data.file_entries import identity, list_of_objects, required, text, whole


@pytest.mark.parametrize(
    ("read", "entry", "value"),
    [
        (required, {"key": 0}, 0),
        (whole, {"key": 3.0}, 3),
        (whole, {"key": True}, 1),
        (text, {"key": "a"}, "a"),
        (identity, {"key": "a"}, "a"),
        (identity, {"key": 4}, 4),
        (list_of_objects, {"key": [{}]}, [{}]),
        (list_of_objects, {"key": None}, []),
        (list_of_objects, {}, []),
    ],
)
def test_what_is_of_the_wanted_kind_is_given(read, entry, value):
    assert read(entry, "key") == value


@pytest.mark.parametrize(
    ("read", "entry", "message"),
    [
        (required, {"other": 1}, r"^lacks 'key'; it has \['other'\]$"),
        (required, {"key": None}, "^lacks 'key'"),
        (whole, {"key": 3.5}, "^has 'key' 3.5; wanted a whole number"),
        (whole, {"key": "3"}, "^has 'key' '3'; wanted a whole number; .*without quotes"),
        (text, {"key": ""}, "^has 'key' ''; wanted a text"),
        (text, {"key": 3}, "^has 'key' 3; wanted a text"),
        (identity, {"key": True}, "^has 'key' True; wanted a number or text"),
        (identity, {"key": []}, r"^has 'key' \[\]; wanted a number or text"),
        (list_of_objects, {"key": {}}, r"^has 'key' \{\}; wanted a list of objects"),
        (list_of_objects, {"key": [{}, 3]}, "^has 'key' with 3 at place 1; wanted a list"),
    ],
)
def test_anything_else_is_named(read, entry, message):
    with pytest.raises(ValueError, match=message):
        read(entry, "key")
