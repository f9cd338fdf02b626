"""JPEG files decoded by simplejpeg, and by Pillow where it does not."""

import io
import os
import pathlib
import sys
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from d2_data import jpeg_files
from d2_data.image_reading import ImageSource, read_image
from d2_data.jpeg_files import decode_jpeg, simplejpeg
from d2_data.optional_imports import imported

SHARED = pathlib.Path(
    os.environ.get("D2_SHARED", pathlib.Path(__file__).resolve().parents[3].parent / "shared")
)


@pytest.fixture(params=["Pillow", "simplejpeg"])
def library(request, monkeypatch):
    """Each library in turn, as if it were the one that there is."""
    module = None
    if request.param == "simplejpeg":
        module = pytest.importorskip("simplejpeg")
    monkeypatch.setattr(jpeg_files, "simplejpeg", lambda: module)


def picture(size=(60, 45), mode="RGB"):
    noise = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(image=None, **options):
    file = io.BytesIO()
    (image or picture()).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def with_orientation(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return encoded(exif=exif)


def with_orientation_in_xmp(number):
    packet = f'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="{number}"/>'
    segment = b"http://ns.adobe.com/xap/1.0/\0" + packet.encode()
    content = encoded()
    return content[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + content[2:]


def by_pillow(content, format):
    """What the file means, by another way than the package's."""
    from PIL import ImageOps

    with Image.open(io.BytesIO(content)) as opened:
        rgb = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    return rgb if format == "RGB" else rgb[:, :, ::-1]


CONTENTS = {
    "plain": encoded,
    "progressive": lambda: encoded(progressive=True),
    "full colour": lambda: encoded(subsampling=0),
    "half colour": lambda: encoded(subsampling=1),
    "stored as RGB": lambda: encoded(keep_rgb=True),
    "odd size": lambda: encoded(picture((61, 47))),
    "grey": lambda: encoded(picture(mode="L")),
    "CMYK": lambda: encoded(picture(mode="CMYK")),
    **{f"turned {n}": lambda n=n: with_orientation(n) for n in range(1, 9)},
    **{f"turned {n} by XMP": lambda n=n: with_orientation_in_xmp(n) for n in (1, 3, 6)},
    "with more behind it": lambda: encoded() + b"\0" * 100,
}


@pytest.mark.parametrize("format", ["BGR", "RGB"])
@pytest.mark.parametrize("name", CONTENTS)
def test_pixels_are_those_of_pillow(tmp_path, library, name, format):
    content = CONTENTS[name]()
    (tmp_path / "a.jpg").write_bytes(content)
    pixels = read_image(tmp_path / "a.jpg", format)
    np.testing.assert_array_equal(pixels, by_pillow(content, format))
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable


@pytest.mark.parametrize("name", CONTENTS)
@pytest.mark.parametrize("format", ["BGR", "RGB", "L", "YUV-BT.601", "CMYK", None])
def test_shape_is_known_before_anything_is_decoded(tmp_path, monkeypatch, name, format):
    (tmp_path / "a.jpg").write_bytes(CONTENTS[name]())
    shape = read_image(tmp_path / "a.jpg", format).shape
    monkeypatch.setattr(ImageSource, "_decoded", None)
    assert ImageSource(tmp_path / "a.jpg", format).shape == shape


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs the real samples ($D2_SHARED)")
@pytest.mark.parametrize("sample", ["coco54", "balloon", "bccd", "lvis", "ade20k"])
def test_real_photographs_are_those_of_pillow(library, sample):
    files = sorted((SHARED / "data" / sample).rglob("*.jp*g"))[:12]
    assert files
    for file in files:
        expected = by_pillow(file.read_bytes(), "BGR")
        np.testing.assert_array_equal(read_image(file, "BGR"), expected, err_msg=str(file))


@pytest.mark.parametrize("name", ["plain", "grey", "CMYK", "progressive", "turned 6", "turned 3"])
def test_reduced_pixels_are_no_fewer_than_asked_for_and_close(tmp_path, library, name):
    big = {"grey": {"mode": "L"}, "CMYK": {"mode": "CMYK"}}.get(name, {})
    exif = Image.Exif()
    if name.startswith("turned"):
        exif[0x0112] = int(name[-1])
    content = encoded(picture((640, 480), **big), exif=exif, progressive=name == "progressive")
    (tmp_path / "a.jpg").write_bytes(content)
    source = ImageSource(tmp_path / "a.jpg", "BGR")
    full = source.read()
    for share in (1, 0.9, 0.5, 0.49, 0.125, 0.1):
        wanted = (round(full.shape[0] * share), round(full.shape[1] * share))
        reduced = source.read(wanted)
        assert reduced.shape[0] >= wanted[0]
        assert reduced.shape[1] >= wanted[1]
        shrunk = Image.fromarray(full).resize(reduced.shape[1::-1], Image.Resampling.BOX)
        assert np.abs(reduced.astype(int) - np.asarray(shrunk)).mean() < 3
    assert source.read((60, 60)).size < full.size / 30
    assert source.read().shape == full.shape


def test_damaged_file_is_left_to_pillow_which_says_what_is_wrong(tmp_path, library):
    content = encoded()
    cut = content[: len(content) // 2]
    assert decode_jpeg(cut, "BGR") is None
    (tmp_path / "cut.jpg").write_bytes(cut)
    assert ImageSource(tmp_path / "cut.jpg", "BGR").shape == (45, 60, 3)
    with pytest.raises(OSError, match=r"cut\.jpg' cannot be decoded"):
        read_image(tmp_path / "cut.jpg", "BGR")


def test_image_beyond_pillows_limit_is_refused_by_its_head(tmp_path, library, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(encoded())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60 * 45 // 2 - 1)
    with pytest.raises(OSError, match=r"a\.jpg' is not decoded, as it could exhaust the memory"):
        ImageSource(tmp_path / "a.jpg", "BGR")


def test_other_files_are_decoded_at_once(tmp_path):
    picture().save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    source = ImageSource(tmp_path / "a.png", "RGB")
    assert source.shape == (45, 60, 3)
    np.testing.assert_array_equal(source.read((3, 4)), np.asarray(picture()))
    with pytest.raises(OSError, match=r"b\.png' cannot be decoded"):
        ImageSource(tmp_path / "b.png", "RGB")


def test_unknown_format_is_refused_at_once(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded())
    with pytest.raises(ValueError, match="unknown image format 'HSVX'"):
        ImageSource(tmp_path / "a.jpg", "HSVX")


def test_libraries_that_are_absent_or_broken_are_not_used(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    simplejpeg.cache_clear()
    try:
        assert simplejpeg() is None
        assert decode_jpeg(encoded(), "BGR") is None
    finally:
        simplejpeg.cache_clear()
    assert imported("surely_not_installed") is None
    assert caplog.records == []


def test_library_that_does_not_load_is_named(monkeypatch, caplog, tmp_path):
    (tmp_path / "broken_library.py").write_text("raise OSError('libGL.so is missing')")
    (tmp_path / "lacking_library.py").write_text("import surely_not_installed")
    monkeypatch.syspath_prepend(tmp_path)
    assert imported("broken_library") is None
    assert imported("lacking_library") is None
    first, second = [record.getMessage() for record in caplog.records]
    assert "broken_library is installed but does not work" in first
    assert "libGL.so is missing" in first
    assert "lacking_library is installed but lacks 'surely_not_installed'" in second


def test_an_installed_library_is_told_the_smallest_size(monkeypatch):
    fake = ModuleType("simplejpeg")
    fake.decode_jpeg = lambda content, **options: (content, options)
    monkeypatch.setitem(sys.modules, "simplejpeg", fake)
    simplejpeg.cache_clear()
    try:
        _, options = decode_jpeg(b"x", "BGR", (4, 5))
        assert options == {"colorspace": "BGR", "min_height": 4, "min_width": 5}
    finally:
        simplejpeg.cache_clear()
