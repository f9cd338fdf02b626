"""Files that are named by URL: kept in a cache folder and downloaded when absent.

The cache folder is that of the environment variable ``D2_CACHE``, else ``FVCORE_CACHE``, whose
files from detectron2 are found where they are, else ``~/.cache/d2``.
"""

import hashlib
import logging
import os
from pathlib import Path
from urllib.parse import urlsplit

from .digests import check_digests, report_short_digits
from .download import download

logger = logging.getLogger(__name__)

_ZOO_SCHEME = "detectron2://"
_ZOO_PREFIX = "https://dl.fbaipublicfiles.com/detectron2/"
_CATALOG_SCHEME = "catalog://"

_ZOO_HOST = "dl.fbaipublicfiles.com"


def _is_remote(path: str) -> bool:
    """Return whether ``path`` is a URL."""
    return "://" in path


def cache_folder() -> Path:
    """Return the folder in which downloads are kept."""
    named = os.environ.get("D2_CACHE") or os.environ.get("FVCORE_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "d2"


def local_path(path: str) -> Path:
    """Return the file that ``path`` is, or is kept in when it is a URL, whether it exists or not.

    URLs that differ in their query are kept apart: ``m.pth?v=2`` is ``m.QUERY.pth``, with the first
    digits of the query's SHA-256.

    Raises:
        ValueError: if the URL cannot be understood.
    """
    if not _is_remote(path):
        return Path(path)
    if path.startswith(_CATALOG_SCHEME):
        parts = ["catalog", *path.removeprefix(_CATALOG_SCHEME).split("/")]
        parts[-1] += ".pkl"
    else:
        parts = _parts(path)
    if any(part in ("", ".", "..") for part in (parts[0], parts[-1])) or ".." in parts:
        raise ValueError(f"the URL {path!r} names no file")
    if parts[0] == _ZOO_HOST:
        parts = parts[1:]
    return cache_folder().joinpath(*parts)


def fetch(path: str, *, sha256: str | None = None) -> Path:
    """Return the file that ``path`` names, downloaded into the cache if it is a URL.

    A download is in the cache whole or not at all; one that breaks off is continued by the next
    call, where the server can do that. Its length is checked, and so are the digest in its name
    (see :func:`~d2_config.files.digests.check_digests`) and the one that is expected, also of a
    file that is there already: one that is damaged is downloaded again.

    Args:
        path: a file, an ``https://`` URL, ``detectron2://`` and a path of the model zoo, or
            ``catalog://`` and a name of the first Detectron, which only finds what the cache has.
        sha256: what the file's SHA-256 is, in hexadecimal digits.

    Raises:
        ConnectionError: if a URL cannot be downloaded; says where to put the file by hand.
        ValueError: if the URL cannot be understood, or what came is not what was published.
    """
    target = local_path(path)
    if not _is_remote(path):
        if sha256 is not None and target.is_file():
            check_digests(target, target.name, sha256, by_name=False)
        return target
    name = _published_name(path) or target.name
    if target.is_file():
        try:
            check_digests(target, name, sha256)
        except ValueError as error:
            logger.warning("%s; it is downloaded again", error)
        else:
            return target
    if path.startswith(_CATALOG_SCHEME):
        raise ConnectionError(
            f"{path} is a model of the first Detectron, whose address is not on record. "
            f"{_by_hand('it', target)}"
        )
    try:
        download(web_address(path), target, lambda file: check_digests(file, name, sha256))
    except ConnectionError as error:
        raise ConnectionError(f"{error}. {_by_hand('the file', target)}") from error
    report_short_digits(target, name)
    return target


def _parts(path: str) -> list[str]:
    """Host, folders and file name of a URL."""
    try:
        url = urlsplit(web_address(path))
        host = (url.hostname or "") + (f":{url.port}" if url.port else "")
    except ValueError as error:
        raise ValueError(f"cannot read {path!r}: {error}") from error
    *folders, file_name = url.path.lstrip("/").split("/")
    return [host, *folders, _with_query(file_name, url.query)]


def _published_name(path: str) -> str:
    """The file's name on the server, whose digits are those of the content, without the query."""
    if path.startswith(_CATALOG_SCHEME):
        return ""
    return urlsplit(web_address(path)).path.rpartition("/")[2]


def _with_query(file_name: str, query: str) -> str:
    if not query or not file_name:
        return file_name
    stem, dot, suffix = file_name.rpartition(".")
    digits = hashlib.sha256(query.encode()).hexdigest()[:10]
    # Not a name that ends in digits: those would be taken for the digest of the content.
    return f"{stem}.q{digits}.{suffix}" if dot else f"{file_name}.q{digits}"


def web_address(path: str) -> str:
    """Return the ``https://`` URL that a URL stands for: those of the model zoo are shortened.

    Raises:
        ValueError: if it is of another kind, or no URL.
    """
    if path.startswith(_ZOO_SCHEME):
        return _ZOO_PREFIX + path.removeprefix(_ZOO_SCHEME)
    if not path.startswith(("https://", "http://")):
        raise ValueError(
            f"wanted a file, or a URL that begins with https://, {_ZOO_SCHEME} or {_CATALOG_SCHEME}"
        )
    return path


def _by_hand(what: str, target: Path) -> str:
    return (
        f"Without a connection, fetch {what} elsewhere and save it as {target}; "
        "the environment variable D2_CACHE chooses another folder"
    )
