import io
import os
import struct
import subprocess
import unicodedata
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2_data.checking.image_files import read_head
from d2_data.detection_utils import read_image
from d2_data.formats import decode_panoptic_png, read_label_map
from d2_data.image_reading import read_image_size

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
READERS = [lambda p: read_image(p, "BGR"), read_image, read_image_size, read_label_map]

pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


def chunk(kind, content):
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def png_head(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


def encoded(format):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 31, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format=format)
    return file.getvalue()


@pytest.mark.parametrize("reader", [*READERS, decode_panoptic_png])
def test_postscript_that_is_called_a_png_starts_no_program(tmp_path, monkeypatch, reader):
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: started.append(a))
    (tmp_path / "a.png").write_bytes(EPS)
    with pytest.raises(OSError, match=r"a\.png' is not an image in one of the formats"):
        reader(tmp_path / "a.png")
    assert read_head(str(tmp_path / "a.png"), decode=True).trouble == "file-unreadable"
    assert not started


@pipes
@pytest.mark.parametrize("reader", [*READERS, decode_panoptic_png])
def test_no_reader_waits_at_a_named_pipe(tmp_path, reader):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(OSError, match=r"a\.jpg' is a named pipe \(FIFO\), wanted a file"):
        reader(tmp_path / "a.jpg")


@pipes
@pytest.mark.parametrize("reader", READERS[:3])
def test_no_reader_waits_at_a_pipe_whose_name_is_spelled_otherwise(tmp_path, reader):
    os.mkfifo(tmp_path / unicodedata.normalize("NFC", "ü.jpg"))
    with pytest.raises(OSError, match=r"\.jpg' is a named pipe \(FIFO\), wanted a file"):
        reader(tmp_path / unicodedata.normalize("NFD", "ü.jpg"))


@pipes
def test_the_check_of_a_dataset_names_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    head = read_head(str(tmp_path / "a.jpg"))
    assert head.trouble == "file-unreadable"
    assert "named pipe" in head.message


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="this system has no such device")
def test_a_device_is_refused_by_name(tmp_path):
    (tmp_path / "a.png").symlink_to("/dev/zero")
    with pytest.raises(OSError, match=r"a\.png' is a device"):
        read_image(tmp_path / "a.png", "BGR")


@pytest.mark.parametrize("reader", [*READERS, decode_panoptic_png])
def test_a_decompression_bomb_is_refused_by_name(tmp_path, reader):
    bomb = png_head(60_000, 60_000) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    (tmp_path / "bomb.png").write_bytes(bomb + chunk(b"IEND", b""))
    with pytest.raises(OSError, match=r"bomb\.png'.*(exhaust the memory|pixels)"):
        reader(tmp_path / "bomb.png")


def test_text_that_expands_without_end_is_refused_by_name(tmp_path):
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(70_000_000)))
    (tmp_path / "a.png").write_bytes(png_head(2, 2) + text + encoded("PNG")[33:])
    with pytest.raises(OSError, match=r"a\.png' cannot be decoded"):
        read_image(tmp_path / "a.png", "BGR")


def message_of(reader, path):
    """What a reader says of a file; its name if it could be read."""
    try:
        reader(path)
    except (OSError, ValueError) as error:
        return str(error)
    return path.name


FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")


@settings(deadline=None)
@given(
    format=st.sampled_from(FORMATS),
    damages=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6),
    kept=st.floats(0, 1),
)
def test_whatever_damage_does_the_error_names_the_file(tmp_path_factory, format, damages, kept):
    content = bytearray(encoded(format))
    for place, value in damages:
        content[int(place * (len(content) - 1))] = value
    path = tmp_path_factory.mktemp("damaged") / "picture.img"
    path.write_bytes(content[: int(len(content) * max(kept, 0.3))])
    for reader in [*READERS, decode_panoptic_png]:
        assert "picture.img" in message_of(reader, path)
