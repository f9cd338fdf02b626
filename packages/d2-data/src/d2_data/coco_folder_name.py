"""Names that say themselves which annotation file and which images they stand for."""

import os
from typing import NamedTuple, cast, get_args
from urllib.parse import quote, unquote_to_bytes

from d2_data.image_root import OutsideRoot

__all__ = [
    "PREFIX",
    "CocoFolder",
    "coco_folder_name",
    "is_coco_folder_name",
    "parse_coco_folder_name",
]

PREFIX = "coco:"
_SEPARATOR = "?images="
_OUTSIDE = "&outside="


class CocoFolder(NamedTuple):
    """What a name stands for.

    Attributes:
        json_file: the annotation file.
        image_root: the folder of the images.
        outside_root: what may lie outside of it; see :mod:`d2_data.image_root`.
    """

    json_file: str
    image_root: str
    outside_root: OutsideRoot = "refuse"


def coco_folder_name(
    json_file: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    outside_root: OutsideRoot = "refuse",
) -> str:
    """The name of a file and a folder, ``coco:/…/train.json?images=/…/photos``.

    Paths are made absolute, and quoted as in a URL. ``&outside=links`` follows where the images
    may lie behind symbolic links, ``&outside=allow`` where they may lie anywhere.
    """
    file, folder = (quote(os.fsencode(os.path.abspath(path))) for path in (json_file, image_root))
    outside = "" if outside_root == "refuse" else f"{_OUTSIDE}{outside_root}"
    return f"{PREFIX}{file}{_SEPARATOR}{folder}{outside}"


def parse_coco_folder_name(name: str) -> CocoFolder:
    """What a name stands for.

    Raises:
        ValueError: if the name is not of the form that :func:`coco_folder_name` writes.
    """
    quoted, has_outside, outside = name.removeprefix(PREFIX).partition(_OUTSIDE)
    paths = [os.fsdecode(unquote_to_bytes(part)) for part in quoted.split(_SEPARATOR)]
    known = get_args(OutsideRoot)
    if not name.startswith(PREFIX) or len(paths) != 2 or not all(map(os.path.isabs, paths)):
        raise ValueError(
            f"a dataset's name that begins with {PREFIX!r} has the form "
            f"'{PREFIX}/path/of/annotations.json{_SEPARATOR}/path/of/images' with absolute paths, "
            f"got {name!r}; d2_data.datasets.coco_folder(json_file, image_root) writes it"
        )
    if has_outside and outside not in known:
        raise ValueError(
            f"the dataset's name {name!r} ends in {_OUTSIDE}{outside}, known are {', '.join(known)}"
        )
    return CocoFolder(paths[0], paths[1], cast("OutsideRoot", outside or "refuse"))


def is_coco_folder_name(name: str) -> bool:
    """Whether :func:`parse_coco_folder_name` takes the name."""
    try:
        parse_coco_folder_name(name)
    except ValueError:
        return False
    return True
