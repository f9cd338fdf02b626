"""The pictures that files, folders and patterns on a command line mean."""

import glob
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from d2_data.detection_utils import read_image

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class Picture(NamedTuple):
    """A picture to look at.

    Attributes:
        path: its file.
        name: what is made of it is called; no other picture has the same.
    """

    path: Path
    name: str

    def read(self) -> npt.NDArray[np.uint8]:
        """Return it as (H, W, 3), BGR.

        Raises:
            OSError: if the file is no picture, or damaged.
        """
        image: npt.NDArray[np.uint8] = read_image(self.path, format="BGR")
        return image


def find_pictures(words: Iterable[str]) -> list[Picture]:
    """Find the pictures that some words mean.

    Args:
        words: files; folders, for the pictures directly in them; and patterns such as
            ``"photos/**/*.jpg"``.

    Returns:
        Each picture once, in the order of the words; those of a folder or pattern by name.

    Raises:
        FileNotFoundError: for a word that means no picture.
        ValueError: for a URL.
    """
    paths = list(dict.fromkeys(path for word in words for path in _paths(word)))
    return list(_with_names(paths))


def _paths(word: str) -> Iterator[Path]:
    if "://" in word:
        raise ValueError(
            f"{word} is a URL, and pictures are read from files: download it first, for example "
            "by curl -O, and give the file"
        )
    path = Path(word)
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in _SUFFIXES)
        if not found:
            raise FileNotFoundError(
                f"the folder {word} has no pictures; those in its folders are {word.rstrip('/')}"
                "/**/*.jpg"
            )
        yield from found
    elif path.is_file():
        yield path
    elif glob.has_magic(word):
        matches = sorted(p for p in map(Path, glob.glob(word, recursive=True)) if p.is_file())
        if not matches:
            raise FileNotFoundError(f"no file fits the pattern {word!r}")
        yield from matches
    else:
        raise FileNotFoundError(f"there is no picture {word}")


def _with_names(paths: Iterable[Path]) -> Iterator[Picture]:
    taken: set[str] = set()
    for path in paths:
        name, number = path.stem, 1
        while name in taken:
            number += 1
            name = f"{path.stem}_{number}"
        taken.add(name)
        yield Picture(path, name)
