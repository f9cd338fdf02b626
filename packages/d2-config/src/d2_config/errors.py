"""Errors that say what was got, what was wanted, where, and the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches


class ConfigKeyError(KeyError):
    """A name that does not exist; unlike ``KeyError`` its text is the message itself."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ConfigTypeError(TypeError, ValueError):
    """A value of the wrong type. Also a ``ValueError``, which is what yacs raises here."""


class ConfigFileError(ValueError):
    """A config file that cannot be read or fails while it runs; names the file and line."""


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return `` Did you mean x or y?`` for the names closest to ``name``, or ``""``.

    Args:
        name: the name that was not found.
        known: the names that exist where it was looked up.
        prefix: what to write before each match, for example the path it lives in.
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    matches = get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    if not matches:
        return ""
    return f" Did you mean {' or '.join(prefix + by_lower[match] for match in matches)}?"
