import io
import os
import socket
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from d2_structures import (
    NotAPictureError,
    allow_picture_format,
    check_picture_file,
    open_picture,
    picture_files,
)
from d2_structures.picture_files import picture_formats

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
PIXELS = np.arange(54, dtype=np.uint8).reshape(3, 6, 3)


@pytest.fixture(autouse=True)
def allowed_formats(monkeypatch):
    monkeypatch.setattr(picture_files, "_allowed", list(picture_files._allowed))


def written(path, format):
    Image.fromarray(PIXELS).save(path, format=format)
    return path


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000"])
def test_formats_of_photographs_and_label_maps_are_read_whatever_the_name(tmp_path, format):
    with open_picture(written(tmp_path / "a.img", format)) as picture:
        assert picture.size == (6, 3)
        assert picture.format == format


def test_postscript_in_a_png_starts_nothing(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(a))
    (tmp_path / "a.png").write_bytes(EPS)
    with pytest.raises(NotAPictureError, match=r"a\.png' is not an image.*JPEG"):
        open_picture(tmp_path / "a.png").load()
    with pytest.raises(NotAPictureError, match="is not an image"):
        open_picture("a.png", io.BytesIO(EPS)).load()
    assert not started


def test_decoders_of_other_formats_are_not_even_loaded(tmp_path):
    path = written(tmp_path / "a.webp", "WEBP")
    code = (
        "import sys; from d2_structures import open_picture;"
        f"open_picture({str(path)!r}).load();"
        "print('PIL.EpsImagePlugin' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    for name in ("a.jpg", "link.jpg"):
        with pytest.raises(NotAPictureError, match=rf"{name}' is a named pipe.*remove it"):
            open_picture(tmp_path / name)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="this system has no such device")
def test_an_endless_device_is_refused(tmp_path):
    (tmp_path / "a.png").symlink_to("/dev/zero")
    with pytest.raises(NotAPictureError, match=r"a\.png' is a device"):
        check_picture_file(tmp_path / "a.png")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no socket files")
def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket has to be short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("a.png")
        with pytest.raises(NotAPictureError, match=r"a\.png' is a socket"):
            check_picture_file("a.png")


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path):
    with pytest.raises(NotAPictureError, match="is a folder"):
        check_picture_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        check_picture_file(tmp_path / "a.png")


def test_fewer_formats_may_be_asked_for(tmp_path):
    path = written(tmp_path / "a.png", "JPEG")
    with pytest.raises(NotAPictureError, match=r"\(PNG\)"):
        open_picture(path, formats=("PNG",))


def test_a_further_format_is_read_once_it_is_allowed(tmp_path):
    path = written(tmp_path / "a.tga", "TGA")
    with pytest.raises(NotAPictureError, match="allow_picture_format"):
        open_picture(path)
    allow_picture_format("tga")
    allow_picture_format("TGA")
    assert picture_formats().count("TGA") == 1
    with open_picture(path) as picture:
        np.testing.assert_array_equal(np.asarray(picture), PIXELS)


def test_a_format_that_pillow_does_not_know_cannot_be_allowed():
    with pytest.raises(ValueError, match="no picture format 'HEIX'"):
        allow_picture_format("HEIX")


def test_formats_that_this_pillow_lacks_are_left_out(monkeypatch):
    monkeypatch.setitem(picture_files._PLUGINS, "NEWER", "NewerImagePlugin")
    picture_files._allowed.append("NEWER")
    assert "NEWER" not in picture_formats()


def test_a_decompression_bomb_is_not_opened(tmp_path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = io.BytesIO()
    content.write(b"\x89PNG\r\n\x1a\n")
    PngImagePlugin.putchunk(content, b"IHDR", header)
    PngImagePlugin.putchunk(content, b"IDAT", b"")
    (tmp_path / "bomb.png").write_bytes(content.getvalue())
    with pytest.raises(NotAPictureError, match=r"bomb\.png' is not decoded.*MAX_IMAGE_PIXELS"):
        open_picture(tmp_path / "bomb.png")
