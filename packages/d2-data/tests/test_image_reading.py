import unicodedata

import numpy as np
import pytest
import torch
from PIL import Image

from d2_data.image_reading import (
    convert_image_to_rgb,
    image_to_tensor,
    read_image,
    read_image_size,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(PIXELS).save(path)
    return path


def test_formats_order_the_channels(picture):
    np.testing.assert_array_equal(read_image(picture, "RGB"), PIXELS)
    np.testing.assert_array_equal(read_image(picture, "BGR"), PIXELS[..., ::-1])
    grey = read_image(str(picture), "L")
    assert grey.shape == (6, 9, 1)
    np.testing.assert_array_equal(grey[..., 0], np.asarray(Image.fromarray(PIXELS).convert("L")))


def test_no_format_keeps_the_mode_of_the_file(tmp_path):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(labels).save(tmp_path / "labels.png")
    np.testing.assert_array_equal(read_image(tmp_path / "labels.png"), labels)
    rgb = read_image(tmp_path / "labels.png", "RGB")
    np.testing.assert_array_equal(rgb, labels[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("format", ["RGB", "BGR", "YUV-BT.601"])
def test_every_colour_format_converts_back_to_rgb(picture, format):
    image = read_image(picture, format)
    rgb = convert_image_to_rgb(image, format)
    assert rgb.dtype == np.uint8
    assert np.abs(rgb.astype(int) - PIXELS.astype(int)).max() <= 1
    tensor = torch.from_numpy(np.ascontiguousarray(image))
    np.testing.assert_array_equal(convert_image_to_rgb(tensor, format), rgb)


def test_grey_converts_to_three_equal_channels(picture):
    rgb = convert_image_to_rgb(read_image(picture, "L"), "L")
    assert rgb.shape == (6, 9, 3)
    assert (rgb == rgb[..., :1]).all()


def test_yuv_of_white_has_no_colour(tmp_path):
    Image.new("RGB", (2, 2), "white").save(tmp_path / "white.png")
    yuv = read_image(tmp_path / "white.png", "YUV-BT.601")
    np.testing.assert_allclose(yuv[0, 0], [1, 0, 0], atol=1e-4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    upright = Image.fromarray(PIXELS)
    undo = {
        1: lambda p: p,
        2: lambda p: p.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda p: p.transpose(Image.Transpose.ROTATE_180),
        4: lambda p: p.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda p: p.transpose(Image.Transpose.TRANSPOSE),
        6: lambda p: p.transpose(Image.Transpose.ROTATE_90),
        7: lambda p: p.transpose(Image.Transpose.TRANSVERSE),
        8: lambda p: p.transpose(Image.Transpose.ROTATE_270),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    undo(upright).save(path, exif=exif)
    np.testing.assert_array_equal(read_image(path, "RGB"), PIXELS)


COLOURS = ["RGB", "BGR", "L", "YUV-BT.601"]


def as_eight_bits(array):
    return np.round(array.astype(float) * 255 / 65535)


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.pgm"])
@pytest.mark.parametrize("format", COLOURS)
def test_sixteen_bits_of_grey_are_scaled_and_not_cut(tmp_path, name, format):
    ramp = np.arange(0, 65536, 257, dtype=np.uint16)[None].repeat(4, axis=0)
    Image.fromarray(ramp).save(tmp_path / name)
    image = read_image(tmp_path / name, format)
    if format == "YUV-BT.601":
        np.testing.assert_allclose(image[..., 0] * 255, as_eight_bits(ramp), atol=0.01)
        return
    assert image.dtype == np.uint8
    for channel in range(image.shape[2]):
        np.testing.assert_array_equal(image[..., channel], as_eight_bits(ramp))


def test_scaling_does_not_depend_on_the_brightest_pixel(tmp_path):
    Image.fromarray(np.array([[0, 257, 514]], np.uint16)).save(tmp_path / "dark.png")
    assert read_image(tmp_path / "dark.png", "L")[..., 0].tolist() == [[0, 1, 2]]


def test_sixteen_bits_stay_where_no_format_is_asked_for(tmp_path):
    values = np.array([[0, 300, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), values)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", "I"), values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0, 70000]], np.int32), "whole numbers from 0 to 70000"),
        (np.array([[-5, 3]], np.int32), "whole numbers from -5 to 3"),
        (np.array([[0.5, 300.0]], np.float32), "fractions outside 0"),
        (np.array([[0.5, np.nan]], np.float32), "fractions outside 0"),
    ],
)
def test_numbers_of_unknown_brightness_are_refused_by_name(tmp_path, values, message):
    Image.fromarray(values).save(tmp_path / "deep.tiff")
    with pytest.raises(ValueError, match=rf"deep\.tiff' holds {message}.*8 or 16 bits"):
        read_image(tmp_path / "deep.tiff", "RGB")


def test_fractions_within_a_byte_are_read(tmp_path):
    Image.fromarray(np.array([[0, 99, 255]], np.float32)).save(tmp_path / "a.tiff")
    assert read_image(tmp_path / "a.tiff", "L")[..., 0].tolist() == [[0, 99, 255]]


@pytest.mark.parametrize("mode", ["LA", "RGBA", "PA"])
@pytest.mark.parametrize("format", ["RGB", "BGR", "L"])
def test_alpha_is_left_out(tmp_path, mode, format):
    grey = np.arange(54, dtype=np.uint8).reshape(6, 9)
    picture = Image.fromarray(grey).convert(mode)
    picture.putalpha(Image.fromarray(255 - grey * 4))
    picture.save(tmp_path / "a.tiff" if mode == "PA" else tmp_path / "a.png")
    image = read_image(next(tmp_path.iterdir()), format)
    for channel in range(image.shape[2]):
        np.testing.assert_array_equal(image[..., channel], grey)


def test_palette_gives_its_colours(tmp_path):
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), mode="P")
    picture.putpalette([10, 20, 30, 200, 100, 50, 0, 0, 255])
    picture.save(tmp_path / "a.png", transparency=1)
    colours = [[10, 20, 30], [200, 100, 50], [0, 0, 255]]
    assert read_image(tmp_path / "a.png", "RGB").tolist() == [colours]
    assert read_image(tmp_path / "a.png", "BGR").tolist() == [[c[::-1] for c in colours]]


def test_one_bit_is_black_and_white(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", "L")[..., 0].tolist() == [[255, 0]]


def test_cmyk_is_converted_without_inverting(tmp_path):
    smooth = np.kron(PIXELS[:2, :2], np.ones((16, 16, 1), np.uint8))
    Image.fromarray(smooth).convert("CMYK").save(tmp_path / "a.jpg", quality=100, subsampling=0)
    with Image.open(tmp_path / "a.jpg") as picture:
        assert picture.mode == "CMYK"
    difference = read_image(tmp_path / "a.jpg", "RGB").astype(int) - smooth
    assert np.abs(difference).max() <= 4


@pytest.mark.parametrize(("limit", "kind"), [(25, "exceeds limit"), (30, "exceeds limit")])
def test_image_beyond_the_limit_is_named_with_the_remedy(picture, monkeypatch, limit, kind):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # 54 pixels: error, and warning
    with pytest.raises(OSError, match=rf"picture\.png' is not decoded.*{kind}.*MAX_IMAGE_PIXELS"):
        read_image(picture, "RGB")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_of_names_may_be_written_either_way(tmp_path, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    stored, asked = (unicodedata.normalize(f, "Zürich.png") for f in (form, other))
    Image.fromarray(PIXELS).save(tmp_path / stored)
    np.testing.assert_array_equal(read_image(tmp_path / asked, "RGB"), PIXELS)
    assert read_image_size(tmp_path / asked) == (6, 9)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_size_from_the_head_is_that_of_the_upright_image(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=exif)
    assert read_image_size(tmp_path / "a.jpg") == read_image(tmp_path / "a.jpg", "RGB").shape[:2]


def test_size_of_what_is_no_image_is_an_error_that_names_it(tmp_path):
    (tmp_path / "a.jpg").write_text("hello")
    with pytest.raises(OSError, match=r"a\.jpg' is not an image"):
        read_image_size(tmp_path / "a.jpg")


def test_unknown_format_is_refused(picture):
    with pytest.raises(ValueError, match=r"unknown image format 'GBR'; known: BGR, RGB"):
        read_image(picture, "GBR")


def test_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jpg' does not exist; check the image fold"):
        read_image(tmp_path / "none.jpg", "BGR")


def test_truncated_jpeg_is_named(tmp_path):
    path = tmp_path / "short.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(OSError, match=r"short\.jpg' cannot be decoded .*truncated.*fetch it again"):
        read_image(path, "BGR")


def test_file_that_is_no_image_is_named(tmp_path):
    path = tmp_path / "text.jpg"
    path.write_text("hello")
    with pytest.raises(OSError, match=r"text\.jpg' is not an image"):
        read_image(path, "BGR")


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a,
        lambda a: a[:, :, ::-1],
        lambda a: a[:, ::-1],
        lambda a: a[::-1, ::-1, ::-1],
        lambda a: a[1:5, 2:7],
        lambda a: a[..., :1],
        lambda a: a[..., 0],
        lambda a: np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0)[:, ::-1],
    ],
)
@pytest.mark.parametrize("writeable", [True, False])
def test_any_view_becomes_a_contiguous_tensor(view, writeable):
    source = PIXELS.copy()
    source.flags.writeable = writeable
    array = view(source)
    tensor = image_to_tensor(array)
    expected = array.transpose(2, 0, 1) if array.ndim == 3 else array[None]
    assert tensor.is_contiguous()
    np.testing.assert_array_equal(tensor.numpy(), expected)
    if not writeable:
        tensor.zero_()
        np.testing.assert_array_equal(source, PIXELS)
