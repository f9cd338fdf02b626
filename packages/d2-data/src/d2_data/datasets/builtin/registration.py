"""Built-in datasets in the catalogs."""

import os
from typing import Any

import attrs

from d2_data.builtin_datasets import read_index
from d2_data.catalog import DatasetCatalog, Metadata, MetadataCatalog
from d2_data.datasets.builtin.readers import READERS
from d2_data.datasets.vocabularies import read_vocabulary
from d2_data.datasets_root import DatasetsRoot, datasets_root

__all__ = ["register_builtin"]

_PATHS = frozenset(
    {
        "dirname",
        "gt_dir",
        "image_dir",
        "image_root",
        "json_file",
        "panoptic_json",
        "panoptic_root",
        "sem_seg_root",
    }
)
"""Fields of ``datasets.json`` that are relative to the folder of built-in datasets."""


def register_builtin(name: str) -> None:
    """Register a dataset of ``datasets.json`` below the folder of built-in datasets."""
    index, root = read_index(), datasets_root()
    family = next(family for family in index["families"] if name in family["datasets"])
    described = family["datasets"][name]
    own = {
        key: os.path.join(root.folder, value) if key in _PATHS else value
        for key, value in described.items()
    }
    metadata = own | family["metadata"] | read_vocabulary(family["vocabulary"])
    dataset = _BuiltinDataset(
        kind=family["kind"],
        root=root,
        needed=tuple(path.format(**described) for path in index["kinds"][family["kind"]]),
        metadata=Metadata(name=name, **metadata),
    )
    DatasetCatalog.register(name, dataset.load)
    MetadataCatalog.get(name).set(**metadata)


@attrs.frozen(eq=False)
class _BuiltinDataset:
    """Reads the samples of a dataset once its files are known to be there.

    Attributes:
        kind: which reader it needs.
        root: the folder of built-in datasets when the dataset was registered.
        needed: files and folders that are read, relative to ``root``.
        metadata: as registered.
    """

    kind: str
    root: DatasetsRoot
    needed: tuple[str, ...]
    metadata: Metadata

    def load(self) -> list[dict[str, Any]]:
        """The samples.

        Raises:
            FileNotFoundError: if files are absent; lists what is expected where.
        """
        self._check_files()
        return READERS[self.kind](self.metadata)

    def _check_files(self) -> None:
        present = {path: (self.root.folder / path).exists() for path in self.needed}
        if all(present.values()):
            return
        lines = (f"  {'there ' if there else 'ABSENT'}  {path}" for path, there in present.items())
        raise FileNotFoundError(
            f"files of dataset {self.metadata.name!r} are absent. It is expected in the folder "
            f"{self.root}:\n" + "\n".join(lines) + "\nPut them there, or set $D2_DATASETS to the "
            "folder that holds them."
        )
