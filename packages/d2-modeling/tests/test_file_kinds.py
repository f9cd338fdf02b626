"""What is said of a file that is something else than its name says, and of checksums."""

import struct
import zipfile
import zlib
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from d2_modeling.weights import DamagedFileError, add_checksum, read_checkpoint, verify_checksums
from d2_modeling.weights.file_kinds import describe_content

MARK = b"d2-crc32:"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.pth"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"BZh91AY&SY", "a bzip2 archive: unpack it first"),
        (b"\xfd7zXZ\x00", "an xz archive: unpack it first"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file, whose weights belong to another framework"),
        (b"\x89PNG\r\n\x1a\n", "it is a picture"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "it is a picture"),
        (b"%PDF-1.7\n", "it is a PDF document"),
        (b"<?xml version='1.0'?><Error/>", "a web page"),
        (b"  \n<HTML><HEAD>", "a web page"),
        (b"\xef\xbb\xbf<html>", "a web page"),
        (b"404: Not Found", "it is text, not weights: fetch it again"),
        (("é" * 700).encode(), "it is text, not weights"),
        (("a" + "é" * 700).encode(), "it is text, not weights"),
        (bytes(2000), "nothing but zeros, as after a loss of power: fetch it again"),
    ],
)
def test_files_of_other_kinds_are_told_by_their_beginning(
    path: Path, content: bytes, said: str
) -> None:
    path.write_bytes(content)
    sentence = describe_content(path)
    assert sentence is not None
    assert said in sentence
    assert not sentence.endswith(".")
    with pytest.raises(ValueError, match=r"m\.pth' cannot be loaded: it .*"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content", [b"\x80\x02}q\x00.", b"PK\x03\x04", bytes(1000) + b"\x01", b"\xffabc", b"abc\xff"]
)
def test_what_may_be_weights_is_not_described(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert describe_content(path) is None


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_any_beginning_is_described_or_not_but_never_an_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    sentence = describe_content(path)
    assert sentence is None or sentence.startswith("it ")
    assert content or sentence == "it is empty: fetch it again"


# Checksums


def saved(path: Path) -> Path:
    torch.save({"model": {"w": torch.arange(100.0)}}, path)
    return path


def test_the_checksum_is_that_of_all_before_its_digits(path: Path) -> None:
    before = saved(path).read_bytes()
    add_checksum(path)
    content = path.read_bytes()
    assert content[-len(MARK) - 8 : -8] == MARK
    assert content[-8:] == f"{zlib.crc32(content[:-8]):08x}".encode()
    assert content[: len(before) - 2] == before[:-2]  # all but the length of the comment
    assert struct.unpack("<H", content[len(before) - 2 : len(before)])[0] == len(MARK) + 8


def test_an_archive_with_another_comment_keeps_it(path: Path) -> None:
    with zipfile.ZipFile(saved(path), "a") as archive:
        archive.comment = b"somebody else's"
    assert verify_checksums(path).startswith("each of its ")
    with pytest.raises(ValueError, match="is no torch file, or has a checksum already"):
        add_checksum(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.comment == b"somebody else's"


def test_a_damaged_checksum_is_told_from_damaged_content(path: Path) -> None:
    add_checksum(saved(path))
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"?")
    with pytest.raises(DamagedFileError, match="the checksum at its end is damaged itself"):
        verify_checksums(path)
    path.write_bytes(content[:-1] + (b"0" if content[-1:] != b"0" else b"1"))
    with pytest.raises(DamagedFileError, match="its checksum is .* when it was written"):
        verify_checksums(path)


@pytest.mark.parametrize("missing", [1, 8, 16, 17])
def test_a_file_without_its_last_bytes_is_cut_short(path: Path, missing: int) -> None:
    add_checksum(saved(path))
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(DamagedFileError, match="cut short|damaged"):
        verify_checksums(path)


def test_each_part_of_a_foreign_archive_is_compared(path: Path) -> None:
    for part in range(3):
        with zipfile.ZipFile(path, "w") as archive:
            for index in range(3):
                archive.writestr(f"m/data/{index}", bytes([index + 1]) * 50)
        content = bytearray(path.read_bytes())
        assert verify_checksums(path) == "each of its 3 parts"
        content[content.index(bytes([part + 1]) * 50) + 7] ^= 4
        path.write_bytes(content)
        with pytest.raises(DamagedFileError, match=rf"checksum of 'm/data/{part}' in it does not"):
            verify_checksums(path)


def test_at_most_three_damaged_parts_are_named(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(6):
            archive.writestr(f"m/{index}", bytes([index + 1]) * 50)
    content = bytearray(path.read_bytes())
    for index in range(5):
        content[content.index(bytes([index + 1]) * 50)] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="checksum of 'm/0', 'm/1', 'm/2' in it"):
        verify_checksums(path)


def test_an_archive_without_parts_agrees(path: Path) -> None:
    with zipfile.ZipFile(path, "w"):
        pass
    assert verify_checksums(path) == "each of its 0 parts"


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\x03\x04" + b"x" * 60, b"x" * 500])
def test_what_is_no_archive_cannot_be_followed(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="the archive is damaged"):
        verify_checksums(path)
    with pytest.raises(ValueError, match="no torch file"):
        add_checksum(path)
    assert path.read_bytes() == content


def test_a_part_that_inflates_moderately_is_read(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/some", bytes(range(256)) * 2)
    assert verify_checksums(path) == "each of its 1 parts"


def test_a_checksum_does_not_change_what_is_read(path: Path) -> None:
    add_checksum(saved(path))
    assert verify_checksums(path) == "every byte"
    assert torch.equal(read_checkpoint(path)["model"]["w"], torch.arange(100.0))
