"""The entries of images in annotation files: their names, and sizes that are missing."""

import os
from typing import Any

from d2_data.annotations.plain_values import is_absent, shortened, whole_number
from d2_data.image_root import ImageRoot


def complete_image(image: dict[str, Any], root: ImageRoot | None) -> None:
    """Bring the entry of an image into one form, in place.

    Args:
        image: of a COCO file.
        root: the folder that its name is relative to, and may not leave; without it a name and a
            size may be missing.

    Raises:
        ValueError: if its name or size is missing or cannot be understood, or its name leaves the
            folder. The message goes on after the image's name.
        OSError: if the size is missing, and the file cannot be read.
    """
    name = image.get("file_name")
    if isinstance(name, str):
        if "\\" in name:
            image["file_name"] = name = _with_slashes(name, root)
        if root is not None:
            root.path(name)
    elif root is not None or name is not None:
        raise ValueError(f"has 'file_name' {shortened(name)}; wanted a path as text")
    for side in ("height", "width"):
        value = image.get(side)
        if type(value) is int and value > 0:
            continue
        if is_absent(value) or value == 0:
            _read_size(image, root)
            return
        image[side] = whole_number(side, value, "a number of pixels")
        if image[side] < 0:
            raise ValueError(f"has {side!r} {value!r}; wanted a number of pixels")


def _with_slashes(name: str, root: ImageRoot | None) -> str:
    """A Windows path as one that every system reads; a file that has such a name keeps it."""
    if root is not None and os.path.exists(os.path.join(root.folder, name)):
        return name
    return name.replace("\\", "/")


def _read_size(image: dict[str, Any], root: ImageRoot | None) -> None:
    missing = " and ".join(
        repr(side) for side in ("height", "width") if is_absent(image.get(side)) or not image[side]
    )
    if root is None:
        image.pop("height", None)
        image.pop("width", None)
        return
    from d2_data.image_reading import read_image_size

    try:
        image["height"], image["width"] = read_image_size(root.path(image["file_name"]))
    except OSError as error:
        raise ValueError(
            f"({image['file_name']!r}) lacks {missing}, and the file cannot tell: {error}"
        ) from error
