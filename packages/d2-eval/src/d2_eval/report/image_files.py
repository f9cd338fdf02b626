"""Where the images of an annotation file are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_USUAL_FOLDERS = ("images", "train", "val", "test")


def find_images(
    images: Iterable[Mapping[str, Any]],
    annotation_file: str | os.PathLike[str] | None,
    image_root: str | os.PathLike[str] | None,
) -> dict[int, Path]:
    """The files of images by the places of the images; those that are nowhere are left out.

    Args:
        images: entries with ``file_name``.
        annotation_file: without ``image_root`` images are looked for beside it, in the folders
            beside it, and in those beside its folder, as COCO's own are laid out.
        image_root: the folder that file names are relative to.
    """
    listed = list(enumerate(images))
    if image_root is not None:
        folders = [Path(image_root)]
    elif annotation_file is not None:
        folders = _likely_folders(Path(annotation_file))
    else:
        folders = [Path()]
    best: dict[int, Path] = {}
    for folder in folders:
        found = {}
        for place, image in listed:
            path = folder / str(image.get("file_name") or "")  # an absolute name stays as it is
            if image.get("file_name") and path.is_file():
                found[place] = path
            elif not found and place > _TRIED:
                break  # no image of the file's first ones is there
        if len(found) > len(best):
            best = found
        if len(best) == len(listed):
            break
    return best


_TRIED = 20


def _likely_folders(annotation_file: Path) -> list[Path]:
    beside, above = annotation_file.parent, annotation_file.parent.parent
    named = [folder / name for folder in (beside, above) for name in _USUAL_FOLDERS]
    others = [path for folder in (beside, above) for path in _folders(folder)]
    stem = annotation_file.stem
    others.sort(key=lambda path: (path.name not in stem, path.name))
    return list(dict.fromkeys([beside, *[p for p in others if p.name in stem], *named, *others]))


def _folders(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir()) if path.is_dir()]
    except OSError:
        return []
