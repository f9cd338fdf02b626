import numpy as np
import pytest
import torch
from PIL import Image

from d2_data.image_reading import convert_image_to_rgb, image_to_tensor, read_image

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
