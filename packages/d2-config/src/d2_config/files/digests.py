"""Whether a file is the one that was published, by the digest in its name or a given one."""

import hashlib
import logging
import re
from pathlib import Path

_logger = logging.getLogger(__name__)

_IN_NAME = re.compile(r"([-_.])([0-9a-f]{6,64})$")
_ALGORITHMS = {32: "md5", 40: "sha1", 64: "sha256"}
"""By the number of hexadecimal digits of the whole digest."""

_TORCH_HUB_DIGITS = 8


def check_digests(
    file: Path, name: str, sha256: str | None = None, *, by_name: bool = True
) -> None:
    """Compare a file with the digest at the end of its name, and with an expected one.

    A name that ends in 32, 40 or 64 hexadecimal digits has a whole MD5, SHA-1 or SHA-256. One that
    ends in a dash and fewer, as torch.hub's ``resnet50-0676ba61``, has the first digits of the
    SHA-256. How other short ones, as ``model_final_f10217``, were made is written nowhere; they
    prove nothing, see :func:`report_short_digits`.

    Args:
        file: the file to look at.
        name: the name under which it was published, with its suffix.
        sha256: what the file's SHA-256 is.
        by_name: whether to look for a digest in the name.

    Raises:
        ValueError: if they differ; names the file and both digests.
    """
    if sha256 is not None:
        _check_expected(file, sha256)
    named = _IN_NAME.search(name.rpartition(".")[0] or name) if by_name else None
    if named is None:
        return
    mark, digits = named[1], named[2]
    whole = _ALGORITHMS.get(len(digits))
    if whole is not None:
        _require(file, whole, digits)
    elif mark == "-" and len(digits) >= _TORCH_HUB_DIGITS:
        _require(file, "sha256", digits)


def report_short_digits(file: Path, name: str) -> None:
    """Log if a name ends in few digits of unknown making that begin no usual digest of the file.

    It takes longer than :func:`check_digests`, once after a download is enough.
    """
    named = _IN_NAME.search(name.rpartition(".")[0] or name)
    if named is None or len(named[2]) in _ALGORITHMS or _is_date(named[2]):
        return
    if not any(digest(file, a).startswith(named[2]) for a in _ALGORITHMS.values()):
        _logger.info("Neither SHA-256, MD5 nor SHA-1 of %s begins with %s", file, named[2])


def _is_date(digits: str) -> bool:
    return digits.isdecimal() and len(digits) == len("20200131")


def digest(file: Path, algorithm: str = "sha256") -> str:
    """Return the digest of a file in hexadecimal digits."""
    with file.open("rb") as content:
        made = hashlib.file_digest(content, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return made.hexdigest()


def _check_expected(file: Path, sha256: str) -> None:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"a SHA-256 has 64 hexadecimal digits, got {sha256!r}")
    _require(file, "sha256", sha256.lower())


def _require(file: Path, algorithm: str, digits: str) -> None:
    found = digest(file, algorithm)
    if not found.startswith(digits):
        wanted = digits if len(digits) == len(found) else f"one that begins with {digits}"
        raise ValueError(
            f"{file} is damaged, or another file than was published: its {algorithm.upper()} is "
            f"{found}, wanted {wanted}"
        )
