"""Files by one manager with handlers for prefixes, as iopath has; d2's functions take paths.

``detectron2://`` and ``https://`` are downloaded into d2's cache.
"""

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, ClassVar

from d2_config.files import fetch, local_path

__all__ = [
    "Detectron2Handler",
    "HTTPURLHandler",
    "LazyPath",
    "NativePathHandler",
    "OneDrivePathHandler",
    "PathHandler",
    "PathManager",
    "PathManagerBase",
    "PathManagerFactory",
    "S3PathHandler",
    "download",
    "file_lock",
    "g_pathmgr",
]


class PathHandler:
    """Deals with the paths of some prefixes; subclasses overwrite what theirs can do."""

    _strict_kwargs_check = True

    def _get_supported_prefixes(self) -> list[str]:
        raise NotImplementedError(f"{type(self).__name__} must implement _get_supported_prefixes()")

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        raise NotImplementedError(f"{type(self).__name__} must implement _get_local_path()")

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        if "w" in mode or "a" in mode or "+" in mode or "x" in mode:
            raise OSError(f"{type(self).__name__} does not write: {path}")
        return open(self._get_local_path(path), mode, buffering)

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return os.path.exists(self._get_local_path(path))

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        return os.path.isfile(self._get_local_path(path))

    def _isdir(self, path: str, **kwargs: Any) -> bool:
        return os.path.isdir(self._get_local_path(path))

    def _ls(self, path: str, **kwargs: Any) -> list[str]:
        return os.listdir(self._get_local_path(path))

    def _mkdirs(self, path: str, **kwargs: Any) -> None:
        raise OSError(f"{type(self).__name__} makes no folders: {path}")

    def _rm(self, path: str, **kwargs: Any) -> None:
        raise OSError(f"{type(self).__name__} removes no files: {path}")

    def _copy(self, src_path: str, dst_path: str, overwrite: bool = False, **kwargs: Any) -> bool:
        raise OSError(f"{type(self).__name__} copies no files: {src_path}")


class NativePathHandler(PathHandler):
    """Paths of this machine."""

    def _get_supported_prefixes(self) -> list[str]:
        return [""]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return os.fspath(path).removeprefix("file://")

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        kwargs.pop("cache_dir", None)
        return open(self._get_local_path(path), mode, buffering, **kwargs)

    def _mkdirs(self, path: str, **kwargs: Any) -> None:
        os.makedirs(self._get_local_path(path), exist_ok=True)

    def _rm(self, path: str, **kwargs: Any) -> None:
        os.remove(self._get_local_path(path))

    def _copy(self, src_path: str, dst_path: str, overwrite: bool = False, **kwargs: Any) -> bool:
        if os.path.exists(dst_path) and not overwrite:
            return False
        shutil.copyfile(src_path, dst_path)
        return True


class _Downloads(PathHandler):
    """Web addresses and paths of the model zoo, downloaded into d2's cache."""

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        if force:
            local_path(path).unlink(missing_ok=True)
        return str(fetch(path))


class HTTPURLHandler(_Downloads):
    """Downloads web addresses."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["http://", "https://", "ftp://"]


class OneDrivePathHandler(HTTPURLHandler):
    """Downloads files that are shared by a link of OneDrive."""

    ONE_DRIVE_PREFIX = "https://1drv.ms/u/s!"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.ONE_DRIVE_PREFIX]

    def create_one_drive_direct_download(self, one_drive_url: str) -> str:
        """The address of the file itself."""
        coded = base64.urlsafe_b64encode(one_drive_url.encode()).decode().rstrip("=")
        return f"https://api.onedrive.com/v1.0/shares/u!{coded}/root/content"

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        return super()._get_local_path(self.create_one_drive_direct_download(path), force)


class Detectron2Handler(_Downloads):
    """Files of detectron2's model zoo."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["detectron2://"]


class S3PathHandler(PathHandler):
    """Names that S3 is not read: copy the files first, or register a handler of one's own."""

    def _get_supported_prefixes(self) -> list[str]:
        return ["s3://"]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        raise OSError(
            f"{path} is in S3, which d2_engine.compat does not read; copy it to a local path, or "
            "register a PathHandler for s3:// that does"
        )


class PathManagerBase:
    """Opens, lists and moves files by the handlers of their prefixes."""

    def __init__(self) -> None:
        self._handlers: dict[str, PathHandler] = {}
        self._local = NativePathHandler()

    def register_handler(self, handler: PathHandler, allow_override: bool = False) -> None:
        """Let a handler deal with its prefixes.

        Raises:
            KeyError: if another one does, without ``allow_override``.
        """
        for prefix in handler._get_supported_prefixes():
            if prefix in self._handlers and not allow_override:
                raise KeyError(f"{prefix!r} has a handler: {self._handlers[prefix]!r}")
            self._handlers[prefix] = handler

    def set_strict_kwargs_checking(self, enable: bool) -> None:
        """Accepted; unknown arguments go to the handlers."""

    def _handler(self, path: Any) -> PathHandler:
        path = os.fspath(path)
        for prefix in sorted(self._handlers, key=len, reverse=True):
            if path.startswith(prefix):
                return self._handlers[prefix]
        return self._local

    def open(self, path: Any, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        """Open a file as Python's ``open`` does."""
        return self._handler(path)._open(path, mode, buffering, **kwargs)

    def get_local_path(self, path: Any, force: bool = False, **kwargs: Any) -> str:
        """The path of a local file, which is downloaded if need be."""
        return self._handler(path)._get_local_path(path, force, **kwargs)

    def exists(self, path: Any, **kwargs: Any) -> bool:
        """Whether there is such a file or folder."""
        return self._handler(path)._exists(path, **kwargs)

    def isfile(self, path: Any, **kwargs: Any) -> bool:
        """Whether there is such a file."""
        return self._handler(path)._isfile(path, **kwargs)

    def isdir(self, path: Any, **kwargs: Any) -> bool:
        """Whether there is such a folder."""
        return self._handler(path)._isdir(path, **kwargs)

    def ls(self, path: Any, **kwargs: Any) -> list[str]:
        """The names in a folder."""
        return self._handler(path)._ls(path, **kwargs)

    def mkdirs(self, path: Any, **kwargs: Any) -> None:
        """Make a folder and those above it."""
        self._handler(path)._mkdirs(path, **kwargs)

    def rm(self, path: Any, **kwargs: Any) -> None:
        """Remove a file."""
        self._handler(path)._rm(path, **kwargs)

    def copy(self, src_path: Any, dst_path: Any, overwrite: bool = False, **kwargs: Any) -> bool:
        """Copy a file; False if it is there already and is not to be replaced."""
        return self._handler(src_path)._copy(src_path, dst_path, overwrite, **kwargs)

    copy_from_local = copy


class LazyPath(os.PathLike[str]):
    """A path that is found out when it is first used.

    Args:
        func: returns it.
    """

    def __init__(self, func: Any) -> None:
        self._func = func
        self._value: str | None = None

    def __fspath__(self) -> str:
        if self._value is None:
            self._value = os.fspath(self._func())
        return self._value

    def __getattr__(self, name: str) -> Any:
        return getattr(os.fspath(self), name)

    def __repr__(self) -> str:
        return f"LazyPath({self._value or self._func!r})"


@contextmanager
def file_lock(path: Any) -> Iterator[None]:
    """Let one process at a time be within, for files beside ``path``."""
    import fcntl

    lock = Path(f"{os.fspath(path)}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(held, fcntl.LOCK_UN)


def download(url: str, dir: str, *, filename: str | None = None, progress: bool = True) -> str:
    """Download a file into a folder, unless it is there; return its path."""
    target = Path(dir, filename or url.split("/")[-1])
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(fetch(url), target)
    return str(target)


def _with_downloads(manager: PathManagerBase) -> PathManagerBase:
    for handler in (HTTPURLHandler(), OneDrivePathHandler(), Detectron2Handler()):
        manager.register_handler(handler)
    return manager


PathManager = _with_downloads(PathManagerBase())
"""The manager that detectron2 uses."""

g_pathmgr = PathManager


class PathManagerFactory:
    """Managers by key; without one the manager that all use."""

    _managers: ClassVar[dict[str, PathManagerBase]] = {}

    @classmethod
    def get(cls, key: str = "") -> PathManagerBase:
        """Return the manager of a key, which is made if need be."""
        return cls._managers.setdefault(key, PathManagerBase()) if key else PathManager
