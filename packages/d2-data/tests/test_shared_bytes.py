"""One copy on a machine of bytes that several processes come to."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from d2_data.shared_bytes import SharedBytes

fcntl = pytest.importorskip("fcntl", reason="records are shared by files on POSIX systems only")

LARGE = 2**20 + 100


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"d2-records-{os.getuid()}"


def shared(fill=b"a", size=LARGE):
    return SharedBytes(lambda: iter([fill * (size // 2), fill * (size - size // 2)]), size)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_small_contents_need_no_file(folder):
    small = shared(size=100)
    assert (bytes(small.view), len(small), small.path) == (b"a" * 100, 100, None)
    assert pickle.loads(pickle.dumps(small)).view == small.view
    assert not folder.exists()


def test_large_contents_lie_in_one_file_however_often_they_are_made(folder):
    first, second = shared(), shared()
    assert first.view == second.view == b"a" * LARGE
    assert first.path == second.path
    assert files(folder) == [Path(first.path).name]
    other = shared(b"b")
    assert len(files(folder)) == 2
    assert other.view[:1] == b"b"


def test_last_user_removes_the_file(folder):
    first, second = shared(), shared()
    del first
    assert len(files(folder)) == 1
    assert second.view[-1:] == b"a"
    del second
    assert files(folder) == []


_OTHER = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from d2_data.shared_bytes import SharedBytes
size = int(sys.argv[2])
shared = SharedBytes(lambda: [b"a" * size], size)
print(shared.path, flush=True)
sys.stdin.readline()
assert shared.view == b"a" * size
"""


def start_other(folder):
    return subprocess.Popen(
        [sys.executable, "-c", _OTHER, str(folder.parent), str(LARGE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_file_stays_while_another_process_uses_it(folder):
    mine = shared()
    with start_other(folder) as other:
        assert other.stdout.readline().strip() == mine.path
        name = Path(mine.path).name
        del mine
        assert files(folder) == [name]
        other.communicate("\n")
    assert other.returncode == 0
    assert files(folder) == []


def test_what_a_killed_process_left_is_removed_by_the_next(folder):
    with start_other(folder) as other:
        path = Path(other.stdout.readline().strip())
        other.kill()
    assert path.exists()
    mine = shared(b"b")
    assert files(folder) == [Path(mine.path).name]


def _fill_of(content):
    return bytes(content.view[:1]), len(content)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_the_same_file_and_leave_it(folder, method):
    mine = shared()
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(_fill_of, (mine,)) == (b"a", LARGE)
    assert files(folder) == [Path(mine.path).name]


def test_contents_that_are_gone_are_named():
    mine = shared()
    pickled = pickle.dumps(mine)
    del mine
    with pytest.raises(FileNotFoundError, match="the process that made them has ended"):
        pickle.loads(pickled)


@pytest.mark.parametrize("reason", ["disk", "folder"])
def test_without_a_file_the_process_keeps_its_own_copy(folder, reason, caplog):
    if reason == "folder":
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
        mine = shared()
    else:
        attempts = []

        def parts():
            attempts.append(None)
            yield b"a" * (LARGE // 2)
            if len(attempts) == 1:
                raise OSError(28, "No space left on device")
            yield b"a" * (LARGE - LARGE // 2)

        mine = SharedBytes(parts, LARGE)
    assert mine.path is None
    assert mine.view == b"a" * LARGE
    assert files(folder) == []
    assert "each keeps its own copy. TMPDIR names another folder" in caplog.text
