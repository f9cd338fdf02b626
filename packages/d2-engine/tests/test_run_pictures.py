"""Which pictures the words of a command line mean."""

import numpy as np
import pytest
from PIL import Image

from d2_engine.run.pictures import find_pictures


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """``photos/{a.jpg, b.PNG, notes.txt, more/a.jpg}`` in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("a.jpg", "b.PNG", "more/a.jpg"):
        Image.new("RGB", (4, 3), (10, 20, 30)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    return tmp_path / "photos"


def found(*words):
    return [(picture.path.as_posix(), picture.name) for picture in find_pictures(words)]


def test_a_folder_means_the_pictures_directly_in_it(photos):
    assert found("photos") == [("photos/a.jpg", "a"), ("photos/b.PNG", "b")]


def test_a_pattern_means_what_fits_it_in_folders_below_too(photos):
    assert found("photos/**/*.jpg") == [("photos/a.jpg", "a"), ("photos/more/a.jpg", "a_2")]


def test_a_picture_that_is_named_twice_is_looked_at_once(photos):
    assert found("photos/b.PNG", "photos") == [("photos/b.PNG", "b"), ("photos/a.jpg", "a")]


def test_a_file_is_taken_whatever_its_name(photos):
    (photos / "a[1].jpg").write_bytes((photos / "a.jpg").read_bytes())
    assert found("photos/a[1].jpg", "photos/notes.txt") == [
        ("photos/a[1].jpg", "a[1]"),
        ("photos/notes.txt", "notes"),
    ]


def test_a_picture_is_read_in_the_order_of_opencv(photos):
    Image.new("RGB", (4, 3), (10, 20, 30)).save(photos / "c.png")
    (picture,) = find_pictures(["photos/c.png"])
    assert np.array_equal(picture.read()[0, 0], [30, 20, 10])


@pytest.mark.parametrize("word", ["https://example.com/a.jpg?width=3", "s3://bucket/a.jpg"])
def test_a_url_is_refused_whole(photos, word):
    with pytest.raises(ValueError) as raised:
        found("photos", word)
    assert f"{word} is a URL" in str(raised.value)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("photos/c.jpg", "there is no picture photos/c.jpg"),
        ("photos/*.gif", "no file fits the pattern 'photos/\\*.gif'"),
        ("empty/", "the folder empty/ has no pictures; .*empty/\\*\\*/\\*.jpg"),
    ],
)
def test_a_word_that_means_no_picture_is_named(photos, word, message):
    (photos.parent / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=message):
        found("photos", word)
