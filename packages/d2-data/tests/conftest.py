"""Where real data lie, datasets that are forgotten after a test, scenes of Cityscapes."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


# Scenes of Cityscapes: rectangles (label, left, top, right, bottom), edges included, in the order
# of drawing. The last two are of labels that are drawn never and no more.
_SCENE = (
    ("sky", 0, 0, 63, 15),
    ("road", 0, 16, 63, 47),
    ("car", 10, 20, 29, 33),
    ("car", 20, 24, 43, 37),
    ("pole", 26, 8, 27, 40),
    ("cargroup", 50, 20, 60, 26),
    ("person", 2, 30, 5, 45),
    ("trailer", 46, 30, 55, 36),
    ("license plate", 12, 30, 14, 31),
    ("ego vehicle", 0, 46, 63, 47),
)


def _polygon(label: str, left: int, top: int, right: int, bottom: int) -> dict:
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return {"label": label, "polygon": corners}


@pytest.fixture
def write_cityscapes() -> Callable[..., Path]:
    """Write frames in Cityscapes' official layout, as they are downloaded."""

    def write(
        root: Path, split: str = "train", frames: tuple[str, ...] = ("aachen_000000_000019",)
    ) -> Path:
        for name in frames:
            city = name.partition("_")[0]
            images = root / "leftImg8bit" / split / city
            annotations = root / "gtFine" / split / city
            for folder in (images, annotations):
                folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (64, 48), (90, 90, 90)).save(images / f"{name}_leftImg8bit.png")
            deleted = {**_polygon("bus", 0, 0, 63, 47), "deleted": 1}
            objects = [_polygon(*entry) for entry in _SCENE] + [deleted]
            content = {"imgHeight": 48, "imgWidth": 64, "objects": objects}
            (annotations / f"{name}_gtFine_polygons.json").write_text(json.dumps(content))
            ids = _instance_ids()
            for what, values in (("instanceIds", ids), ("labelIds", _label_ids(ids))):
                Image.fromarray(values).save(annotations / f"{name}_gtFine_{what}.png")
        return root

    return write


def _instance_ids() -> np.ndarray:
    """What Cityscapes' tools draw of the scene."""
    ids = np.zeros((48, 64), dtype=np.uint16)
    values = (23, 7, 26000, 26001, 17, 26, 24000, 30000, None, 1)
    for (_, left, top, right, bottom), value in zip(_SCENE, values, strict=True):
        if value is not None:
            ids[top : bottom + 1, left : right + 1] = value
    return ids


def _label_ids(ids: np.ndarray) -> np.ndarray:
    return np.where(ids >= 1000, ids // 1000, ids).astype(np.uint8)


@pytest.fixture
def cityscapes_instance_ids() -> np.ndarray:
    """(48, 64) uint16: the ``instanceIds`` of every frame of ``write_cityscapes``."""
    return _instance_ids()
