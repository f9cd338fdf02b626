"""How lists of dicts are held; d2 packs them in one way and shares them among processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from d2_data import DatasetFromList


class NumpySerializedList(DatasetFromList):
    """A packed list of dicts."""

    def __init__(self, lst: list[Any]) -> None:
        super().__init__(lst, copy=False, serialize=True)


class TorchSerializedList(NumpySerializedList):
    """A packed list of dicts."""


@contextmanager
def set_default_dataset_from_list_serialize_method(new: Any) -> Iterator[None]:
    """Accepted: lists are held in d2's way whatever is asked for."""
    yield
