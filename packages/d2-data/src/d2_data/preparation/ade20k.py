"""ADE20K's label images as models learn them: classes from 0, 255 where nothing is labelled."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from d2_data.formats import read_label_map
from d2_data.preparation.file_by_file import Prepared, Progress, make_files, png_of

__all__ = ["prepare_ade20k"]

NUM_CLASSES = 150


def prepare_ade20k(
    root: str | os.PathLike[str],
    splits: Sequence[str] | None = None,
    *,
    overwrite: bool = False,
    num_workers: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Write ``annotations_detectron2/{split}/*.png`` from ``annotations/{split}/*.png``.

    The original has 0 where nothing is labelled and classes from 1; here classes begin at 0 and
    255 stands for nothing.

    Args:
        root: the folder ``ADEChallengeData2016``.
        splits: None takes ``training`` and ``validation``, as far as they are there.
        overwrite: whether to make files that are there already.
        num_workers: threads; None takes one per core.
        progress: shows how far it is.

    Raises:
        FileNotFoundError: if there are no annotations.
        ValueError: if a label is above 150; the message names the file.
    """
    folder = Path(root) / "annotations"
    chosen = splits or [s for s in ("training", "validation") if (folder / s).is_dir()]
    if not chosen:
        raise FileNotFoundError(
            f"neither {str(folder / 'training')!r} nor {str(folder / 'validation')!r} exists; put "
            "ADEChallengeData2016 of ADE20K's scene parsing benchmark there"
        )
    prepared = Prepared(0, 0)
    for split in chosen:
        sources = sorted((folder / split).glob("*.png"))
        if not sources:
            raise FileNotFoundError(f"there is no label image {str(folder / split)!r}/*.png")
        target = Path(root) / "annotations_detectron2" / split
        prepared += make_files(
            sources,
            lambda source, target=target: target / source.name,  # type: ignore[misc]  # binds the loop's value
            _converted,
            description=f"ADE20K {split}",
            overwrite=overwrite,
            num_workers=num_workers,
            progress=progress,
        )
    return prepared


def _converted(source: Path) -> bytes:
    labels = read_label_map(source)
    if labels.size and labels.max() > NUM_CLASSES:
        raise ValueError(
            f"{str(source)!r} has the label {labels.max()}; ADE20K's scene parsing benchmark has 0 "
            f"to {NUM_CLASSES}. Was it converted already, or is it of the full dataset?"
        )
    return png_of(labels.astype(np.uint8) - np.uint8(1))
