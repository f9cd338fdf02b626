"""What is opened as a picture: ordinary files, in formats whose decoders only decode."""

import os
import stat
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "NotAPictureError",
    "allow_picture_format",
    "check_picture_file",
    "open_picture",
    "picture_formats",
]

_PLUGINS = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "BMP": "BmpImagePlugin",
    "GIF": "GifImagePlugin",
    "PPM": "PpmImagePlugin",
    "TIFF": "TiffImagePlugin",
    "WEBP": "WebPImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
    "AVIF": "AvifImagePlugin",
}
"""Pillow's formats that photographs and label maps are stored in, and its modules that read them.

Pillow tells formats apart by the content and knows more of them: an EPS file that is called
``.png`` would start Ghostscript.
"""

_allowed = list(_PLUGINS)

_KINDS = {
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class NotAPictureError(OSError):
    """Something is no ordinary file, or holds no picture in a format that is read."""


def picture_formats() -> tuple[str, ...]:
    """Names of the formats, as Pillow has them, that :func:`open_picture` reads here."""
    from PIL import Image

    for name, plugin in _PLUGINS.items():
        if name not in Image.OPEN:
            try:
                import_module(f"PIL.{plugin}")
            except ImportError:  # an older Pillow
                continue
    return tuple(name for name in _allowed if name in Image.OPEN)


def allow_picture_format(format: str) -> None:
    """Read pictures of one more format of Pillow, in this process.

    Args:
        format: its name, e.g. ``"HEIF"`` once ``pillow_heif`` has registered it, or ``"TGA"``. Be
            sure that its decoder starts no program: that of ``"EPS"`` does.

    Raises:
        ValueError: if Pillow knows no such format.
    """
    from PIL import Image

    name = format.upper()
    if name not in Image.OPEN:
        Image.init()
    if name not in Image.OPEN:
        raise ValueError(
            f"Pillow knows no picture format {format!r}; import the package that adds it before, "
            f"or name one of {', '.join(sorted(Image.OPEN))}"
        )
    if name not in _allowed:
        _allowed.append(name)


def check_picture_file(name: str | os.PathLike[str]) -> None:
    """Refuse what is no ordinary file, before anything opens it.

    Opening a named pipe waits for a writer, and a device may never end.

    Args:
        name: of a file, or a link to one.

    Raises:
        FileNotFoundError: if there is no such file.
        NotAPictureError: if it is a pipe, socket, device or folder; names it.
    """
    kind = stat.S_IFMT(os.stat(name).st_mode)
    if kind != stat.S_IFREG:
        raise NotAPictureError(
            f"{os.fspath(name)!r} is {_KINDS.get(kind, 'no ordinary file')}, wanted a file that "
            "holds a picture; remove it from the dataset or the folder"
        )


def open_picture(
    name: str | os.PathLike[str],
    file: BinaryIO | None = None,
    *,
    formats: Iterable[str] | None = None,
) -> "Image":
    """Open a picture without reading its pixels.

    Args:
        name: of the file.
        file: its content, where that is open already: a file that
            :func:`check_picture_file` was asked about, or bytes in memory.
        formats: the only ones to read; all of :func:`picture_formats` if None.

    Returns:
        Pillow's image, to be closed. It is of the format that its content has, whatever the
        file's name says.

    Raises:
        FileNotFoundError: if there is no such file.
        NotAPictureError: if it is no ordinary file, no picture in one of the formats, or one of
            more pixels than Pillow's limit allows twice over.
        OSError: if it cannot be opened, or its head is damaged.
    """
    from PIL import Image, UnidentifiedImageError

    readable = picture_formats()
    wanted = readable if formats is None else tuple(f for f in readable if f in set(formats))
    if file is None:
        check_picture_file(name)
    try:
        return Image.open(name if file is None else file, formats=wanted)
    except UnidentifiedImageError as error:
        raise NotAPictureError(
            f"{os.fspath(name)!r} is not an image in one of the formats that are read "
            f"({', '.join(wanted)}); replace the file, save it in one of them, or see "
            "d2_structures.allow_picture_format"
        ) from error
    except Image.DecompressionBombError as error:
        raise NotAPictureError(
            f"image file {os.fspath(name)!r} is not decoded, as it could exhaust the memory "
            f"({error}). If it is meant to be so large, raise PIL.Image.MAX_IMAGE_PIXELS before "
            "loading; otherwise remove it from the dataset"
        ) from error
