"""The samples of one or several named datasets, filtered for training."""

import logging
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset

from d2_data.annotations import count_lacking, is_crowd
from d2_data.catalog import DatasetCatalog, MetadataCatalog
from d2_data.dataset_streams import chained_datasets
from d2_data.detection_utils import check_metadata_consistency
from d2_data.located_errors import picture
from d2_data.proposal_file import load_proposals_into_dataset

__all__ = [
    "filter_images_with_few_keypoints",
    "filter_images_with_only_crowd_annotations",
    "get_detection_dataset_dicts",
    "print_instances_class_histogram",
]

_logger = logging.getLogger(__name__)


def get_detection_dataset_dicts(
    names: str | Sequence[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: Sequence[str | os.PathLike[str]] | None = None,
) -> Any:
    """Load datasets by name and prepare them.

    The number of instances of each class is logged.

    Args:
        names: one dataset or several, which then must agree in ``thing_classes``.
        filter_empty: whether to leave out images without annotations, or with crowds only.
        min_keypoints: leave out images with fewer visible keypoints; 0 keeps all.
        proposal_files: one file of precomputed proposals for each dataset.

    Returns:
        Dicts in the standard dataset format. The list knows the dataset of each. If a dataset is
        registered as a torch dataset, iterable or map-style, the whole is one, too: it is read as
        it is used, filtered as it comes if it is iterable, and not counted.

    Raises:
        KeyError: if a name is unknown.
        ValueError: if a dataset is empty, or nothing is left after filtering; if there are
            proposals for a dataset that is no list.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ValueError("get_detection_dataset_dicts wants at least one dataset name, got none")
    per_dataset: list[Any] = [DatasetCatalog.get(name) for name in names]
    if any(isinstance(dicts, Dataset) for dicts in per_dataset):
        if proposal_files is not None:
            raise ValueError(
                f"proposals can be added to lists of dicts only, but one of {', '.join(names)} is "
                "registered as a torch dataset; let it give the proposals itself"
            )
        filtered = filter_empty or min_keypoints > 0
        keep = partial(_is_usable, filter_empty, min_keypoints) if filtered else None
        return chained_datasets(names, per_dataset, keep)
    for name, dicts in zip(names, per_dataset, strict=True):
        if not len(dicts):
            raise ValueError(f"dataset {name!r} is empty; check its annotation file")
    if proposal_files is not None:
        if len(proposal_files) != len(names):
            raise ValueError(
                f"got {len(proposal_files)} proposal files for {len(names)} datasets; give one each"
            )
        for dicts, file in zip(per_dataset, proposal_files, strict=True):
            load_proposals_into_dataset(dicts, file)

    has_instances = "annotations" in per_dataset[0][0]
    kept = per_dataset
    if filter_empty and has_instances:
        kept = [filter_images_with_only_crowd_annotations(dicts) for dicts in kept]
    if min_keypoints > 0 and has_instances:
        kept = [filter_images_with_few_keypoints(dicts, min_keypoints) for dicts in kept]
    if not any(kept):
        raise ValueError(_why_nothing_is_left(names, per_dataset))
    dataset_dicts = DatasetDicts(names, kept)
    if has_instances and filter_empty:
        _report_lacking(dataset_dicts)
    if has_instances and hasattr(MetadataCatalog.get(names[0]), "thing_classes"):
        check_metadata_consistency("thing_classes", names)
        print_instances_class_histogram(dataset_dicts, MetadataCatalog.get(names[0]).thing_classes)
    return dataset_dicts


class Sources(NamedTuple):
    """Which dataset the records of a list come from.

    Attributes:
        names: of the datasets, in order.
        ends: where the records of each end.
    """

    names: tuple[str, ...]
    ends: tuple[int, ...]

    def name_of(self, index: int) -> str:
        """The dataset of the record at a place in the list."""
        return self.names[min(bisect_right(self.ends, index), len(self.names) - 1)]


class DatasetDicts(list[dict[str, Any]]):
    """The records of datasets, one after the other.

    Attributes:
        sources: tells the dataset of each.
    """

    def __init__(self, names: Sequence[str], per_dataset: Iterable[list[dict[str, Any]]]) -> None:
        super().__init__()
        ends = []
        for dicts in per_dataset:
            self.extend(dicts)
            ends.append(len(self))
        self.sources = Sources(tuple(names), tuple(ends))


def _why_nothing_is_left(names: Sequence[str], per_dataset: list[list[dict[str, Any]]]) -> str:
    annotations = [a for dicts in per_dataset for r in dicts for a in r.get("annotations") or ()]
    crowds = sum(map(is_crowd, annotations))
    reason = f"no image of {', '.join(names)} is left after filtering"
    if crowds and crowds == len(annotations):
        return (
            f"{reason}: all {crowds} annotations have 'iscrowd': 1, and regions of crowds are left "
            "out of training. Some mask tools write 1 for every mask: set 'iscrowd' to 0 where an "
            "annotation is one object"
        )
    return (
        f"{reason}; pass filter_empty=False or a smaller min_keypoints to keep images without "
        f"annotations (there are {len(annotations)}, {crowds} of them with 'iscrowd': 1)"
    )


def _report_lacking(records: Sequence[dict[str, Any]]) -> None:
    """Say once for all pictures which objects a model of masks or keypoints cannot learn from."""
    for field, consequence in (
        ("segmentation", "training with masks leaves them out"),
        ("keypoints", "training with keypoints takes theirs as not labelled"),
    ):
        count = count_lacking(records, field)
        if count.example is not None and count.lacking < count.objects:
            _logger.warning(
                "%d of %d objects, in %d images, e.g. %s, have no %r: %s",
                count.lacking,
                count.objects,
                count.pictures,
                picture(count.example),
                field,
                consequence,
            )


def filter_images_with_only_crowd_annotations(
    dataset_dicts: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The images with at least one annotation that is not a crowd."""
    kept, crowds_only = [], 0
    for record in dataset_dicts:
        if not all(map(is_crowd, record.get("annotations") or ())):
            kept.append(record)
        else:
            crowds_only += bool(record.get("annotations"))
    crowds = f" ({crowds_only} of them with annotations that all have 'iscrowd': 1)"
    reason = "no usable annotations" + (crowds if crowds_only else "")
    _log_removal(reason, len(dataset_dicts), len(kept))
    return kept


def filter_images_with_few_keypoints(
    dataset_dicts: Sequence[dict[str, Any]], min_keypoints_per_image: int
) -> list[dict[str, Any]]:
    """The images with enough visible keypoints over all their annotations."""
    kept = [
        record for record in dataset_dicts if _visible_keypoints(record) >= min_keypoints_per_image
    ]
    _log_removal(f"fewer than {min_keypoints_per_image} keypoints", len(dataset_dicts), len(kept))
    return kept


def _visible_keypoints(record: dict[str, Any]) -> int:
    return sum(
        int((np.asarray(annotation["keypoints"], dtype=float).reshape(-1)[2::3] > 0).sum())
        for annotation in record.get("annotations") or ()
        if annotation.get("keypoints") is not None
    )


def _is_usable(filter_empty: bool, min_keypoints: int, record: Any) -> bool:
    """Whether an element of a stream is used; one without annotations in it tells nothing."""
    if not isinstance(record, dict) or "annotations" not in record:
        return True
    if filter_empty and all(map(is_crowd, record["annotations"] or ())):
        return False
    return min_keypoints == 0 or _visible_keypoints(record) >= min_keypoints


def _log_removal(reason: str, before: int, after: int) -> None:
    _logger.info("Removed %d images with %s; %d left", before - after, reason, after)


def print_instances_class_histogram(
    dataset_dicts: Sequence[dict[str, Any]], class_names: Sequence[str]
) -> None:
    """Log how many instances each class has, crowds left out.

    Raises:
        ValueError: if an annotation's category is not one of the classes.
    """
    counts = np.zeros(len(class_names), dtype=np.int64)
    for record in dataset_dicts:
        for annotation in record.get("annotations") or ():
            if is_crowd(annotation):
                continue
            category = annotation["category_id"]
            if isinstance(category, str) or not 0 <= category < len(class_names):
                raise ValueError(
                    f"image {record.get('file_name')!r} has category_id {category!r}, but the "
                    f"dataset has the classes 0..{len(class_names) - 1}; ids must be contiguous"
                )
            counts[category] += 1
    _logger.info("Instances of each class:\n%s", _histogram_table(class_names, counts.tolist()))


def _histogram_table(class_names: Sequence[str], counts: Sequence[int], columns: int = 3) -> str:
    """Names and counts side by side, in rows of ``columns`` pairs."""
    cells = [(name, str(count)) for name, count in zip(class_names, counts, strict=True)]
    if len(cells) > 1:
        cells.append(("total", str(sum(counts))))
    name_width = max((len(name) for name, _ in cells), default=0)
    count_width = max((len(count) for _, count in cells), default=0)
    padded = [f"{name:<{name_width}} {count:>{count_width}}" for name, count in cells]
    rows = [padded[i : i + columns] for i in range(0, len(padded), columns)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
