"""The folder that the file names of an annotation file are relative to, and must not leave."""

import os
import unicodedata
from typing import Literal, get_args

__all__ = ["ImageRoot", "OutsideRoot", "check_name_below"]

OutsideRoot = Literal["refuse", "links", "allow"]
"""What may lie outside of an image root.

``"refuse"``: nothing, neither by name nor behind a symbolic link. ``"links"``: what symbolic links
in the folder lead to. ``"allow"``: whatever the annotation file names, wherever it is.
"""

_KNOWN = get_args(OutsideRoot)


class ImageRoot:
    """The folder of a dataset's images.

    An annotation file is often somebody else's, and its file names say which files are read. They
    stay below the folder unless the caller allows more. An empty folder is none: the names in the
    file are then whole paths, which whoever passes it vouches for.

    Links are found by listing each folder once, not by a look at each file.

    Args:
        folder: that file names are relative to.
        outside_root: what may lie outside of it.

    Raises:
        ValueError: if ``outside_root`` is unknown.
    """

    def __init__(
        self, folder: str | os.PathLike[str], outside_root: OutsideRoot = "refuse"
    ) -> None:
        if outside_root not in _KNOWN:
            raise ValueError(f"outside_root is one of {list(_KNOWN)}, got {outside_root!r}")
        self.folder = os.fspath(folder)
        self.outside_root: OutsideRoot = outside_root
        self._is_free = not self.folder or outside_root == "allow"
        self._links_in: dict[str, dict[str, str]] = {}
        self._real = ""

    def path(self, name: str) -> str:
        """The path of an image.

        Args:
            name: as the annotation file has it.

        Raises:
            ValueError: if it leaves the folder, which is not allowed. The message goes on after
                the image's name.
        """
        joined = os.path.join(self.folder, name)
        if self._is_free:
            return joined
        if os.path.isabs(name) or ".." in name or ":" in name:
            self._check_name(name, joined)
        if self.outside_root == "refuse":
            self._check_links(name)
        return joined

    def _check_name(self, name: str, joined: str) -> None:
        if not (
            _is_below(os.path.abspath(joined), os.path.abspath(self.folder))
            or _is_below(os.path.realpath(joined), self._real_folder())
        ):
            raise ValueError(
                f"has 'file_name' {name[:120]!r}, which leaves the image root {self.folder!r}. "
                "Give the folder that holds all images as the image root, or pass "
                "outside_root='allow' (data.train.outside=allow to d2 train) if you trust the "
                "annotation file"
            )

    def _check_links(self, name: str) -> None:
        subfolder, _, last = (name if os.altsep is None else _with_slashes(name)).rpartition("/")
        links = self._links_in.get(subfolder)
        if links is None:
            folder = os.path.join(self.folder, f"{subfolder}/" if subfolder else "")
            links = self._links_in[subfolder] = _links_in(folder)
            self._check_target(name, folder)
        if links and (link := links.get(_composed(last))):
            self._check_target(name, link)

    def _check_target(self, name: str, path: str) -> None:
        target = os.path.realpath(path)
        if not _is_below(target, self._real_folder()):
            raise ValueError(
                f"has 'file_name' {name[:120]!r}, and a symbolic link leads from there to "
                f"{target!r}, out of the image root {self.folder!r}. Pass outside_root='links' "
                "(data.train.outside=links to d2 train) if you made the link or trust it"
            )

    def _real_folder(self) -> str:
        self._real = self._real or os.path.realpath(self.folder)
        return self._real


def check_name_below(name: str, what: str = "'file_name'") -> None:
    """Refuse a file name that cannot be below any folder.

    Args:
        name: of a file.
        what: names it in the message.

    Raises:
        ValueError: if it is absolute or has steps upward. The message goes on after the name of
            what it belongs to.
    """
    parts = name.replace("\\", "/").split("/")
    if os.path.isabs(name) or os.path.splitdrive(name)[0] or ".." in parts:
        raise ValueError(
            f"has {what} {name[:120]!r}; wanted a path below the folder of these files"
        )


def _with_slashes(name: str) -> str:
    return name.replace(os.sep, "/")


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(os.path.join(folder, ""))


def _links_in(folder: str) -> dict[str, str]:
    """Paths of the symbolic links in a folder by name; none if it is absent, with its files."""
    try:
        with os.scandir(folder or os.curdir) as entries:
            return {_composed(entry.name): entry.path for entry in entries if entry.is_symlink()}
    except OSError:
        return {}


def _composed(name: str) -> str:
    """A name in one spelling: that of accents differs between systems, and both are read."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)
