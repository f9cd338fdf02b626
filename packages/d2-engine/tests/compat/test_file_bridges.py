"""Files in the forms of iopath, which the compatibility import adds to d2's."""

from pathlib import Path
from typing import Any

import pytest

from d2_engine.compat.shims import (
    file_io,
)


def test_files_are_managed_by_prefixes(tmp_path: Path):
    class Upper(file_io.PathHandler):
        def _get_supported_prefixes(self) -> list[str]:
            return ["mine://"]

        def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
            return str(tmp_path / path.removeprefix("mine://"))

    manager = file_io.PathManagerBase()
    manager.register_handler(Upper())
    with pytest.raises(KeyError, match="mine://"):
        manager.register_handler(Upper())
    folder = tmp_path / "a" / "b"
    manager.mkdirs(folder)
    with manager.open(folder / "x.txt", "w") as file:
        file.write("text")
    assert manager.exists(folder)
    assert manager.isdir(folder)
    assert manager.ls(folder) == ["x.txt"]
    assert manager.isfile("mine://a/b/x.txt")
    assert manager.get_local_path("mine://a/b/x.txt") == str(folder / "x.txt")
    with manager.open("mine://a/b/x.txt") as file:
        assert file.read() == "text"
    with pytest.raises(OSError, match="does not write"):
        manager.open("mine://y", "w")
    assert manager.copy(str(folder / "x.txt"), str(folder / "y.txt"))
    assert not manager.copy(str(folder / "x.txt"), str(folder / "y.txt"))
    manager.rm(folder / "y.txt")
    assert not manager.exists(folder / "y.txt")


def test_the_shared_manager_knows_the_zoo_and_says_that_it_does_not_know_s3(tmp_path: Path):
    assert "detectron2://" in file_io.PathManager._handlers
    assert file_io.PathManagerFactory.get() is file_io.PathManager
    assert file_io.PathManagerFactory.get("mine") is file_io.PathManagerFactory.get("mine")
    file_io.PathManagerFactory.get("mine").register_handler(file_io.S3PathHandler(), True)
    with pytest.raises(OSError, match="does not read"):
        file_io.PathManagerFactory.get("mine").open("s3://bucket/x")
    direct = file_io.OneDrivePathHandler().create_one_drive_direct_download("https://1drv.ms/u/s!x")
    assert direct.startswith("https://api.onedrive.com/v1.0/shares/u!")


def test_lazy_paths_are_found_out_once_and_locks_are_held(tmp_path: Path):
    asked: list[int] = []
    path = file_io.LazyPath(lambda: asked.append(1) or str(tmp_path / "x"))
    with file_io.file_lock(path):
        assert (tmp_path / "x.lock").exists()
    assert path.endswith("x")
    assert asked == [1]


def test_downloads_are_kept_beside_what_is_there(tmp_path: Path):
    (tmp_path / "x.bin").write_text("there")
    assert file_io.download("https://example.invalid/x.bin", str(tmp_path)) == str(
        tmp_path / "x.bin"
    )
