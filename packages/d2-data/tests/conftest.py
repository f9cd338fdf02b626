"""Where real data lie, and datasets that are forgotten after a test."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from d2_data import DatasetCatalog, MetadataCatalog

_REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real annotations and photographs, which is not part of the repository."""
    folder = Path(os.environ.get("D2_SHARED", _REPOSITORY.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip("real data not found; point D2_SHARED at its folder")
    return folder


@pytest.fixture(autouse=True)
def catalogs_as_before() -> Iterator[None]:
    """What a test registers is forgotten."""
    before = [(catalog, dict(catalog.data)) for catalog in (DatasetCatalog, MetadataCatalog)]
    yield
    for catalog, entries in before:
        catalog.data.clear()
        catalog.data.update(entries)


@pytest.fixture
def register() -> Callable[..., None]:
    """Register samples and metadata under a name."""

    def register_dataset(name: str, samples: list | None = None, **metadata: object) -> None:
        if samples is not None:
            DatasetCatalog.register(name, lambda: samples)
        MetadataCatalog.get(name).set(**metadata)

    return register_dataset
