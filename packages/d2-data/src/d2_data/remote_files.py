"""Files that are named by URL: kept in a cache folder and downloaded when absent.

The cache folder is that of the environment variable ``D2_CACHE``, else ``FVCORE_CACHE``, whose
files from detectron2 are found where they are, else ``~/.cache/d2``.
"""

import hashlib
import logging
import os
import re
import shutil
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from d2_config.atomic_file import replacing

logger = logging.getLogger(__name__)

ZOO_SCHEME = "detectron2://"
ZOO_PREFIX = "https://dl.fbaipublicfiles.com/detectron2/"
CATALOG_SCHEME = "catalog://"

_ZOO_HOST = "dl.fbaipublicfiles.com"
_TIMEOUT_SECONDS = 30
# A hash at the end of a published file's name: a whole MD5, or its first digits.
_NAMED_HASH = re.compile(r"_([0-9a-f]{6,64})$")
_WHOLE_MD5 = 32


def is_remote(path: str) -> bool:
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

    Raises:
        ValueError: if the URL cannot be understood.
    """
    if not is_remote(path):
        return Path(path)
    if path.startswith(CATALOG_SCHEME):
        parts = path.removeprefix(CATALOG_SCHEME).split("/")
        folder, file_name = cache_folder() / "catalog", f"{parts.pop()}.pkl"
    else:
        url = urlsplit(_address(path))
        folder = cache_folder() if url.hostname == _ZOO_HOST else cache_folder() / url.netloc
        parts = url.path.lstrip("/").split("/")
        file_name = parts.pop()
    if not file_name or ".." in (*parts, file_name):
        raise ValueError(f"the URL {path!r} names no file")
    return folder.joinpath(*parts, file_name)


def fetch(path: str) -> Path:
    """Return the file that ``path`` names, downloaded into the cache if it is a URL.

    A download is in the cache whole or not at all. Its length is checked, and its hash where the
    name ends in one.

    Args:
        path: a file, an ``https://`` URL, ``detectron2://`` and a path of the model zoo, or
            ``catalog://`` and a name of the first Detectron, which only finds what the cache has.

    Raises:
        ConnectionError: if a URL cannot be downloaded; says where to put the file by hand.
        ValueError: if the URL cannot be understood, or what came is not what was published.
    """
    target = local_path(path)
    if not is_remote(path) or target.is_file():
        return target
    if path.startswith(CATALOG_SCHEME):
        raise ConnectionError(
            f"{path} is a model of the first Detectron, whose address is not on record. "
            f"{_by_hand('it', target)}"
        )
    _download(_address(path), target)
    return target


def _address(path: str) -> str:
    if path.startswith(ZOO_SCHEME):
        return ZOO_PREFIX + path.removeprefix(ZOO_SCHEME)
    if not path.startswith(("https://", "http://")):
        raise ValueError(
            f"cannot read {path!r}: wanted a file, or a URL that begins with https://, "
            f"{ZOO_SCHEME} or {CATALOG_SCHEME}"
        )
    return path


def _download(url: str, target: Path) -> None:
    logger.info("Downloading %s to %s", url, target)
    try:
        with urlopen(url, timeout=_TIMEOUT_SECONDS) as response, replacing(target) as temporary:
            with temporary.open("wb") as file:
                shutil.copyfileobj(response, file, length=1 << 20)
            _check_length(response, temporary)
            _check_hash(temporary, target.stem, url)
    except (URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise ConnectionError(
            f"cannot download {url}: {reason}. {_by_hand('the file', target)}"
        ) from error


def _by_hand(what: str, target: Path) -> str:
    return (
        f"Without a connection, fetch {what} elsewhere and save it as {target}; "
        "the environment variable D2_CACHE chooses another folder"
    )


def _check_length(response: IO[bytes], file: Path) -> None:
    wanted = getattr(response, "headers", {}).get("Content-Length")
    have = file.stat().st_size
    if wanted is not None and int(wanted) != have:
        raise ConnectionError(f"the connection ended after {have} of {wanted} bytes")


def _check_hash(file: Path, stem: str, url: str) -> None:
    named = _NAMED_HASH.search(stem)
    if named is None:
        return
    digits = named[1]
    with file.open("rb") as content:
        md5 = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False))
    if md5.hexdigest().startswith(digits):
        return
    if len(digits) == _WHOLE_MD5:
        raise ValueError(f"{url} is damaged: its MD5 is {md5.hexdigest()}")
    # How the short ones were made is written nowhere, so one that differs proves nothing.
    logger.warning("The MD5 of %s, %s, does not begin with %s", url, md5.hexdigest(), digits)
