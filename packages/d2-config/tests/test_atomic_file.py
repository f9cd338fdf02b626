"""Files are replaced completely or not at all."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from d2_config.files.atomic_file import (
    DiskFullError,
    append_whole,
    naming_full_disk,
    remove_leftovers,
    replacing,
    write_atomically,
)


def test_the_file_appears_when_the_block_succeeds(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as temporary:
        temporary.write_text("content")
        assert not path.exists()
    assert path.read_text() == "content"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail_half_way():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail_half_way()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_written_text_has_the_usual_permissions(tmp_path):
    write_atomically(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_file_and_then_its_name_are_brought_to_the_disk(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def record_sync(descriptor):
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def record_replace(source, target):
        done.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "replace", record_replace)
    write_atomically(tmp_path / "file", "x")
    assert done == ["file", "replace", "folder"]


def test_a_full_disk_is_one_error_that_names_the_file(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def no_space(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_space)
    with pytest.raises(
        OSError, match=r"no space left on the device: .*file\.txt' was not"
    ) as caught:
        write_atomically(path, "new")
    assert caught.value.errno == errno.ENOSPC
    assert "MiB are free" in str(caught.value)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_file_that_grows_beyond_its_limit_is_reported_as_one(tmp_path):
    resource = pytest.importorskip("resource")  # not on Windows
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(DiskFullError, match="no space left .*a limit on the size of files"):
            write_atomically(tmp_path / "large", "x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [3, 5, 900])
def test_what_is_appended_is_there_whole_or_not_at_all(tmp_path, size):
    resource = pytest.importorskip("resource")  # not on Windows
    path = tmp_path / "new" / "lines.txt"
    append_whole(path, "one\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(DiskFullError, match=r"no space left .*lines\.txt"):
            append_whole(path, "two\n" * 300)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "one\n"
    append_whole(path, b"three\n")
    assert path.read_text() == "one\nthree\n"


def test_other_errors_of_the_system_stay_what_they_are(tmp_path):
    with pytest.raises(PermissionError), naming_full_disk(tmp_path):
        raise PermissionError(errno.EACCES, "Permission denied")


KILLED = """
import os, signal, sys
from d2_config.files.atomic_file import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.pth")])
    (leftover,) = tmp_path.iterdir()
    for name in (".hidden", ".other.tmp", "a.pth.12345678.tmp", ".notes.abc.tmp"):
        (tmp_path / name).write_text("somebody else's")
    with replacing(tmp_path / "b.pth") as temporary:
        temporary.write_text("b")
        assert remove_leftovers(tmp_path) == [leftover]
    assert (tmp_path / "b.pth").read_text() == "b"
    assert len(list(tmp_path.iterdir())) == 5


def test_there_is_nothing_to_remove_from_a_folder_that_is_not_there(tmp_path):
    assert remove_leftovers(tmp_path / "none") == []
