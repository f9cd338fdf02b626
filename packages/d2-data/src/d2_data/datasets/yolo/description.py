"""The YAML file that describes a dataset in YOLO's format."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml

__all__ = ["IMAGE_SUFFIXES", "YoloDescription", "read_yolo_description"]

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

_SPLITS = ("train", "val", "test")


@attrs.frozen
class YoloDescription:
    """What the YAML file says.

    Attributes:
        file: the YAML file.
        names: of the classes, by the number that label files have.
        sources: of each split, its folders of images and lists of images.
        keypoint_shape: how many keypoints an object has, and how many numbers each (2, or 3 with
            the visibility); None where objects have none.
        keypoint_names: one of each keypoint, where they have names.
        flip_indices: the keypoint that takes the place of each in a mirrored image.
    """

    file: Path
    names: Mapping[int, str]
    sources: Mapping[str, tuple[Path, ...]]
    keypoint_shape: tuple[int, int] | None = None
    keypoint_names: tuple[str, ...] | None = None
    flip_indices: tuple[int, ...] | None = None

    def images(self, split: str) -> list[Path]:
        """The images of a split, sorted.

        Raises:
            ValueError: if there is no such split.
            FileNotFoundError: if a folder or list is absent, or there is no image.
        """
        if split not in self.sources:
            raise ValueError(
                f"{str(self.file)!r} describes no split {split!r}; it has {list(self.sources)}"
            )
        found = sorted({image for source in self.sources[split] for image in _images(source)})
        if not found:
            raise FileNotFoundError(
                f"there is no image in {', '.join(map(str, self.sources[split]))}, where "
                f"{str(self.file)!r} has those of {split!r}"
            )
        return found


def read_yolo_description(data_yaml: str | os.PathLike[str]) -> YoloDescription:
    """Read a ``data.yaml``. Every value is taken as it is written, as text or number.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no YAML, or lacks classes or splits; the message says which.
    """
    file = Path(data_yaml)
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), yaml.BaseLoader)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{str(file)!r} does not exist; a dataset in YOLO's format is described by a YAML file"
        ) from None
    except yaml.YAMLError as error:
        raise ValueError(f"{str(file)!r} is not valid YAML: {error}") from error
    if not isinstance(content, dict) or not content.get("names"):
        raise ValueError(f"{str(file)!r} has no 'names': it should list the classes")
    sources = {
        split: _paths(content[split], content, file) for split in _SPLITS if content.get(split)
    }
    if not sources:
        raise ValueError(f"{str(file)!r} has none of {list(_SPLITS)}: where are the images?")
    return YoloDescription(
        file=file,
        names=_names(content["names"], file),
        sources=sources,
        **(_keypoints(content, file) if "kpt_shape" in content else {}),
    )


def _names(value: Any, file: Path) -> dict[int, str]:
    if isinstance(value, list):
        return dict(enumerate(value))
    if isinstance(value, dict):
        return {_whole(key, "names", file): str(name) for key, name in value.items()}
    raise ValueError(f"{str(file)!r} has 'names' {value!r}; wanted a list, or numbers with names")


def _paths(value: Any, content: Mapping[str, Any], file: Path) -> tuple[Path, ...]:
    root = file.parent / content.get("path", "")
    if not root.exists():  # `path` may be that of another machine
        root = file.parent
    values = value if isinstance(value, list) else [value]
    return tuple(_below(root, str(entry)) for entry in values)


def _below(root: Path, entry: str) -> Path:
    path = root / entry
    if not path.exists() and entry.startswith("../"):  # exports say so and mean the folder itself
        return root / entry.removeprefix("../")
    return path


def _images(source: Path) -> Iterator[Path]:
    if source.is_dir():
        for folder, _, names in os.walk(source, followlinks=True):
            yield from (
                Path(folder) / name
                for name in names
                if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
            )
    elif source.is_file():
        for line in source.read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield source.parent / line.strip()
    else:
        raise FileNotFoundError(
            f"{str(source)!r}, where images are said to be, does not exist; correct the YAML file"
        )


def _keypoints(content: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The entries of a description that are about keypoints."""
    shape = [_whole(entry, "kpt_shape", file) for entry in content["kpt_shape"]]
    if len(shape) != 2 or shape[0] < 1 or shape[1] not in (2, 3):
        raise ValueError(
            f"{str(file)!r} has kpt_shape {shape}; wanted the number of keypoints, and 2 or 3"
        )
    names = content.get("kpt_names")
    if isinstance(names, dict):  # a list for each class: those of the first
        names = next(iter(names.values()), None)
    flips = content.get("flip_idx")
    if flips is not None:
        flips = [_whole(entry, "flip_idx", file) for entry in flips]
        if sorted(flips) != list(range(shape[0])):
            raise ValueError(
                f"{str(file)!r} has flip_idx {flips}; wanted each of the {shape[0]} keypoints once"
            )
    if names is not None:
        texts = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if not texts or len(set(names)) != shape[0]:
            raise ValueError(
                f"{str(file)!r} has kpt_names {names!r}; wanted {shape[0]} different texts"
            )
    return {
        "keypoint_shape": (shape[0], shape[1]),
        "keypoint_names": None if names is None else tuple(names),
        "flip_indices": None if flips is None else tuple(flips),
    }


def _whole(value: Any, key: str, file: Path) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError(f"{str(file)!r} has {value!r} in {key!r}; wanted a whole number") from None
