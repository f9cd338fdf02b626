import unicodedata

import numpy as np
import pytest
from PIL import Image

from d2_data.checking.image_files import read_head, read_heads, repeated_files

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.fixture
def save(tmp_path):
    def save_picture(name, pixels=PIXELS, orientation=None):
        exif = Image.Exif()
        if orientation is not None:
            exif[0x0112] = orientation
        Image.fromarray(pixels).save(tmp_path / name, exif=exif)
        return str(tmp_path / name)

    return save_picture


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp"])
@pytest.mark.parametrize("decode", [True, False])
def test_good_file_has_a_size_and_no_trouble(save, name, decode):
    head = read_head(save(name), decode=decode)
    assert (head.height, head.width, head.orientation, head.trouble) == (60, 80, 1, None)


def test_size_is_that_of_the_upright_image(save):
    head = read_head(save("a.jpg", orientation=6))
    assert (head.height, head.width, head.orientation) == (80, 60, 6)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize(("decode", "trouble"), [(False, "file-cut-short"), (True, "unreadable")])
def test_file_that_ends_too_early_is_found(save, name, decode, trouble):
    path = save(name)
    with open(path, "r+b") as file:
        file.truncate(2500)
    head = read_head(path, decode=decode)
    assert head.trouble.endswith(trouble)
    assert decode or (head.height, head.width) == (60, 80)


def test_bytes_behind_the_end_are_no_trouble(save):
    path = save("a.jpg")
    with open(path, "ab") as file:
        file.write(b"\0" * 1000)
    assert read_head(path).trouble is None


def test_missing_file_and_file_that_is_no_image_are_told(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    assert read_head(str(tmp_path / "a.jpg")).trouble == "file-unreadable"
    assert "is not an image" in read_head(str(tmp_path / "a.jpg")).message
    gone = read_head(str(tmp_path / "gone.jpg"))
    assert gone.trouble == "file-missing"
    assert "gone.jpg" in gone.message


def test_name_with_accents_written_the_other_way_is_found(save, tmp_path):
    save(unicodedata.normalize("NFC", "é.png"))
    assert read_head(str(tmp_path / unicodedata.normalize("NFD", "é.png"))).trouble is None


def test_equal_files_are_grouped_and_the_same_file_is_not(save, tmp_path):
    other = PIXELS.copy()
    other[30, 40] += 1
    names = ["a.bmp", "b.bmp", "other.bmp", "c.bmp"]
    paths = [save(name, other if name == "other.bmp" else PIXELS) for name in names]
    (tmp_path / "link.bmp").symlink_to(paths[0])
    paths += [paths[0], str(tmp_path / "link.bmp"), str(tmp_path / "gone.bmp")]
    heads = [read_head(path) for path in paths]
    assert heads[2].fingerprint != heads[0].fingerprint
    assert repeated_files(paths, heads) == [[0, 1, 3]]


def test_files_that_differ_in_their_middles_only_are_not_equal(tmp_path):
    pixels = np.zeros((400, 400, 3), np.uint8)
    paths = []
    for value in (0, 1):
        pixels[200, 200] = value
        Image.fromarray(pixels).save(tmp_path / f"{value}.bmp")
        paths.append(str(tmp_path / f"{value}.bmp"))
    heads = [read_head(path) for path in paths]
    assert heads[0].fingerprint == heads[1].fingerprint
    assert repeated_files(paths, heads) == []


def test_heads_come_in_the_order_of_the_paths_with_progress(save):
    paths = [save(f"{n}.png", PIXELS[: n + 1]) for n in range(20)]
    seen = []

    def progress(items, total):
        for item in items:
            seen.append(total)
            yield item

    heads = read_heads(paths, decode=False, threads=4, progress=progress)
    assert [head.height for head in heads] == list(range(1, 21))
    assert seen == [20] * 20
