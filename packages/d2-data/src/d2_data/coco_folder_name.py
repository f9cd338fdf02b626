"""Names that say themselves which annotation file and which images they stand for."""

import os
from urllib.parse import quote, unquote_to_bytes

__all__ = ["PREFIX", "coco_folder_name", "is_coco_folder_name", "parse_coco_folder_name"]

PREFIX = "coco:"
_SEPARATOR = "?images="


def coco_folder_name(json_file: str | os.PathLike[str], image_root: str | os.PathLike[str]) -> str:
    """The name of a file and a folder, ``coco:/…/train.json?images=/…/photos``.

    Paths are made absolute, and quoted as in a URL.
    """
    file, folder = (quote(os.fsencode(os.path.abspath(path))) for path in (json_file, image_root))
    return f"{PREFIX}{file}{_SEPARATOR}{folder}"


def parse_coco_folder_name(name: str) -> tuple[str, str]:
    """The annotation file and the image folder that a name stands for.

    Raises:
        ValueError: if the name is not of the form that :func:`coco_folder_name` writes.
    """
    paths = [
        os.fsdecode(unquote_to_bytes(part)) for part in name.removeprefix(PREFIX).split(_SEPARATOR)
    ]
    if not name.startswith(PREFIX) or len(paths) != 2 or not all(map(os.path.isabs, paths)):
        raise ValueError(
            f"a dataset's name that begins with {PREFIX!r} has the form "
            f"'{PREFIX}/path/of/annotations.json{_SEPARATOR}/path/of/images' with absolute paths, "
            f"got {name!r}; d2_data.datasets.coco_folder(json_file, image_root) writes it"
        )
    return paths[0], paths[1]


def is_coco_folder_name(name: str) -> bool:
    """Whether :func:`parse_coco_folder_name` takes the name."""
    try:
        parse_coco_folder_name(name)
    except ValueError:
        return False
    return True
