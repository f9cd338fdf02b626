"""Where Cityscapes' annotations of a photograph lie."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from d2_data.formats import read_label_map

_PHOTOGRAPH = "_leftImg8bit"


class AnnotatedFrames:
    """The annotations in a folder, e.g. ``gtFine/val``, with a folder for each city.

    Args:
        gt_dir: the folder.
        what: ``"labelIds"`` or ``"instanceIds"``: the images that must be there.

    Raises:
        FileNotFoundError: if there are none.
    """

    def __init__(self, gt_dir: str | os.PathLike[str], what: str) -> None:
        files = sorted(Path(gt_dir).glob(f"*/*_{what}.png"))
        if not files:
            raise FileNotFoundError(
                f"there are no annotations {os.path.join(gt_dir, '{city}', f'*_{what}.png')!r}; "
                "the metadata's 'gt_dir' is a folder such as cityscapes/gtFine/val"
            )
        self._what = what
        self._files = {path.name[: path.name.index("_gt")]: path for path in files}

    def name_of(self, file_name: str) -> str:
        """Return the name of a photograph: ``{city}_{sequence}_{frame}``.

        Args:
            file_name: of the photograph.

        Raises:
            ValueError: if it is not annotated.
        """
        name = Path(file_name).stem.removesuffix(_PHOTOGRAPH)
        if name not in self._files:
            raise ValueError(
                f"there is no annotation {name}_gt*_{self._what}.png for the photograph "
                f"{file_name!r}; {len(self._files)} others are there, e.g. {list(self._files)[:3]}"
            )
        return name

    def read(self, name: str, what: str | None = None) -> np.ndarray:
        """Return an annotation of a frame.

        Args:
            name: of the frame.
            what: another kind of annotation than the folder was searched for.

        Returns:
            (H, W) int.

        Raises:
            FileNotFoundError, OSError, ValueError: if it cannot be read; names the file.
        """
        return read_label_map(self.file(name, what))

    def file(self, name: str, what: str | None = None) -> Path:
        """The file of a frame's annotation."""
        path = self._files[name]
        return path.with_name(path.name.replace(self._what, what or self._what))

    def check_complete(self, names: set[str]) -> None:
        """Refuse to score a part of the folder.

        Args:
            names: of the frames that were processed.

        Raises:
            ValueError: if there are others.
        """
        missing = [name for name in self._files if name not in names]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(self._files)} annotated frames were not processed, e.g. "
                f"{missing[:3]}; the metrics are of the whole folder"
            )
