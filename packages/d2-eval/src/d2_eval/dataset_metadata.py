"""The metadata of the dataset that an evaluator is for."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from d2_data import DatasetCatalog, Metadata, MetadataCatalog


def metadata_of(dataset: str | Metadata | Sequence[str | Metadata]) -> Metadata:
    """Return the metadata of a dataset.

    Args:
        dataset: its name in the catalogs, its metadata, or a list of one of these, as configs
            have it.

    Raises:
        KeyError: if the name is not known.
        ValueError: if there are several datasets, or none.
    """
    if isinstance(dataset, Metadata):
        return dataset
    if not isinstance(dataset, str):
        if len(dataset) != 1:
            raise ValueError(
                f"this metric is of one dataset, got {len(dataset)}: {list(dataset)}; give each "
                "an evaluator of its own"
            )
        return metadata_of(dataset[0])
    if dataset not in DatasetCatalog and dataset not in MetadataCatalog.list():
        raise KeyError(unknown_dataset(dataset))
    return MetadataCatalog.get(dataset)


def unknown_dataset(name: str) -> str:
    """Say that a name is not known, and which ones are."""
    known = sorted({*DatasetCatalog.list(), *MetadataCatalog.list()})
    close = get_close_matches(name, known)
    return f"dataset {name!r} is not registered; " + (
        f"did you mean {close}?" if close else f"known: {known}"
    )
