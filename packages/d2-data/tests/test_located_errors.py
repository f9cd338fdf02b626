import pytest

from d2_data.located_errors import locate, located, picture


def test_place_comes_before_the_message_and_the_type_stays():
    with pytest.raises(ValueError, match=r"^image 'a': too large$"), located("image 'a'"):
        raise ValueError("too large")


def test_predicates_follow_the_place_without_a_colon():
    error = ValueError("has 'bbox' 3")
    locate(error, "annotation 2")
    assert str(error) == "annotation 2 has 'bbox' 3"


def test_places_nest_from_the_outside():
    with pytest.raises(TypeError) as caught, located("dataset 'd'"), located("image 'a'"):
        raise TypeError("no number")
    assert str(caught.value) == "dataset 'd': image 'a': no number"


def test_place_is_said_once():
    error = OSError("image 'a': cannot be read")
    locate(error, "image 'a'")
    assert str(error) == "image 'a': cannot be read"


def test_missing_key_is_called_so():
    error = KeyError("bbox")
    locate(error, "image 'a'")
    assert error.args == ("image 'a': the key 'bbox' is missing",)


def test_error_of_another_form_gets_a_note():
    error = FileNotFoundError(2, "No such file", "a.jpg")
    locate(error, "image 'a'")
    locate(error, "image 'a'")
    assert error.__notes__ == ["image 'a'"]
    assert error.filename == "a.jpg"


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"file_name": "a.jpg", "image_id": 3}, "image 'a.jpg' (image_id 3)"),
        ({"file_name": "a.jpg"}, "image 'a.jpg'"),
        ({"image_id": "x"}, "image id 'x'"),
        ({}, "image without 'file_name'"),
        ({"file_name": 5}, "image 5"),
        (17, "element 17"),
    ],
)
def test_pictures_are_named_by_what_is_known(record, name):
    assert picture(record) == name
