"""COCO folders: ``annotations/instances_{split}.json`` beside the images in ``{split}/``."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from d2_data.conversion.splits import Split
from d2_data.datasets.coco_conversion import coco_file_of

__all__ = ["write_coco"]


def write_coco(folder: Path, split: Split, names: Sequence[str]) -> Counter[str]:
    """Write the annotation file of a split.

    Args:
        folder: of the dataset.
        split: what to write.
        names: of its images below their folder.

    Returns:
        Nothing that is lost: the format holds all.
    """
    records = [
        {**record, "file_name": name} for record, name in zip(split.records, names, strict=True)
    ]
    where = f"split {split.name!r} of {split.metadata.name!r}"
    file = coco_file_of(records, split.metadata, where)
    file.write(folder / "annotations" / f"instances_{split.name}.json")
    return Counter()
