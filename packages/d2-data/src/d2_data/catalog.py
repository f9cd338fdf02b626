"""Where datasets and what is known about them are found by name."""

from collections import UserDict
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from types import SimpleNamespace
from typing import Any, Self

from d2_data.builtin_datasets import builtin_names, is_known, run_registrar
from d2_data.located_errors import locate

__all__ = ["DatasetCatalog", "Metadata", "MetadataCatalog"]

Samples = list[dict[str, Any]]
Names = list[str]


class _OnDemand:
    """Registers what is known without being told when its name is first asked for."""

    def __init__(self) -> None:
        self._removed: set[str] = set()
        self._running: set[str] = set()

    def is_pending(self, name: object) -> bool:
        """Whether ``name`` is known, and neither registered yet nor removed."""
        return isinstance(name, str) and not self._is_settled(name) and is_known(name)

    def pending(self) -> Iterator[str]:
        """The built-in names that are pending."""
        return (name for name in builtin_names() if self.is_pending(name))

    def allows(self, name: str) -> bool:
        """Whether a registration of ``name`` may go ahead now."""
        return name in self._running or not self.is_pending(name)

    def ensure(self, name: str) -> None:
        """Register ``name`` if it is pending."""
        if self._is_settled(name) or name in self._running:
            return
        self._running.add(name)
        try:
            run_registrar(name)
        finally:
            self._running.remove(name)

    def forget(self, name: str) -> None:
        """Leave a built-in name to whoever registers it next."""
        if name in builtin_names():
            self._removed.add(name)

    def _is_settled(self, name: str) -> bool:
        return name in DatasetCatalog.data or name in self._removed


_on_demand = _OnDemand()


def _unknown_name(kind: str, name: str, known: Iterable[str]) -> KeyError:
    return KeyError(f"{kind} {name!r} is not registered; {_suggestion(name, known)}")


def _suggestion(name: str, known: Iterable[str]) -> str:
    names = sorted(set(known))
    close = get_close_matches(name, names, n=3)
    if close:
        return f"did you mean {' or '.join(repr(c) for c in close)}?"
    return f"known names: {', '.join(names) or '(none)'}"


class _DatasetCatalog(UserDict[str, Callable[[], Samples]]):
    """Maps a dataset's name to the function that returns its samples.

    A sample is a dict in the standard dataset format; the function must return the
    same samples in the same order each time it is called. Registrations last until
    the process ends. Built-in datasets appear here without being registered, and the
    names that :func:`d2_data.datasets.coco_folder` writes are understood.
    """

    def register(self, name: str, func: Callable[[], Samples]) -> None:
        """Associate ``name`` with ``func``.

        Args:
            name: identifies the dataset, e.g. ``"coco_2014_train"``.
            func: called without arguments, returns the list of samples.

        Raises:
            TypeError: if ``func`` cannot be called.
            ValueError: if the name is taken.
        """
        if not callable(func):
            raise TypeError(
                f"DatasetCatalog.register({name!r}, …) wants a function that returns the "
                f"samples, got {type(func).__name__}"
            )
        if name in self.data or not _on_demand.allows(name):
            owner = "registered already" if name in self.data else "known without registration"
            raise ValueError(
                f"dataset {name!r} is {owner}; choose another name or call "
                f"DatasetCatalog.remove({name!r}) first"
            )
        self.data[name] = func

    def get(self, name: str) -> Samples:  # type: ignore[override]  # the documented call returns the samples
        """Call the function registered under ``name`` and return its samples.

        Raises:
            KeyError: if no such dataset is known; the message lists close matches.
            FileNotFoundError: if files of a built-in dataset are absent.
            Exception: whatever the function raises; its message names the dataset.
        """
        load = self[name]
        try:
            return load()
        except Exception as error:
            if repr(name) not in str(error):
                locate(error, f"dataset {name!r}")
            raise

    def list(self) -> Names:
        """Names of all known datasets, the built-in ones among them."""
        return list(self)

    def remove(self, name: str) -> None:
        """Forget ``name``, which may then be registered anew. Its metadata stays."""
        if name not in self:
            raise _unknown_name("dataset", name, self)
        _on_demand.forget(name)
        self.data.pop(name, None)

    def __getitem__(self, name: str) -> Callable[[], Samples]:
        _on_demand.ensure(name)
        if name not in self.data:
            raise _unknown_name("dataset", name, self)
        return self.data[name]

    def __contains__(self, name: object) -> bool:
        return name in self.data or _on_demand.is_pending(name)

    def __iter__(self) -> Iterator[str]:
        yield from self.data
        yield from _on_demand.pending()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"DatasetCatalog(registered datasets: {', '.join(self)})"

    __str__ = __repr__


class Metadata(SimpleNamespace):
    """What is shared by all samples of a dataset: class names, colours, files.

    Attributes are set once: setting an attribute again is allowed only to an equal
    value, because other code may have read the first one already.

    Example:
        >>> from d2_data import MetadataCatalog
        >>> MetadataCatalog.get("mydataset").thing_classes = ["person", "dog"]
        >>> MetadataCatalog.get("mydataset").thing_classes
        ['person', 'dog']
    """

    name: str = "N/A"

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        if MetadataCatalog.is_unused(self):
            raise AttributeError(
                f"no dataset {self.name!r} is registered, so nothing is known of its {key!r}; "
                + _suggestion(self.name, [*DatasetCatalog, *MetadataCatalog])
            )
        known = sorted(self.__dict__)
        close = get_close_matches(key, known, n=3)
        raise AttributeError(
            f"metadata of dataset {self.name!r} has no {key!r}; "
            + (f"did you mean {close}?" if close else f"it has: {known}")
        )

    def __setattr__(self, key: str, value: Any) -> None:
        if key in self.__dict__ and not _equal(self.__dict__[key], value):
            raise ValueError(
                f"metadata {key!r} of dataset {self.name!r} is set already and cannot change: "
                f"it is {self.__dict__[key]!r}, got {value!r}; register the dataset under "
                "another name to give it other metadata"
            )
        super().__setattr__(key, value)

    def as_dict(self) -> dict[str, Any]:
        """All attributes as a new dict; changing it leaves the metadata as it is."""
        return dict(self.__dict__)

    def set(self, **kwargs: Any) -> Self:
        """Set several attributes and return the metadata itself."""
        for key, value in kwargs.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """The attribute ``key``, or ``default`` where it has not been set."""
        return self.__dict__.get(key, default)


def _equal(a: Any, b: Any) -> bool:
    """Equality that also decides arrays."""
    if a is b:
        return True
    if getattr(a, "shape", None) != getattr(b, "shape", None):
        return False
    equal = a == b
    return bool(equal.all()) if hasattr(equal, "all") else bool(equal)


class _MetadataCatalog(UserDict[str, Metadata]):
    """Gives access to the one :class:`Metadata` of each dataset.

    Metadata is made when first asked for and stays until the process ends. That of a
    name which stands for no dataset may be filled, and appears here once it is.
    """

    def get(self, name: str) -> Metadata:  # type: ignore[override]  # the documented call takes no default
        """The metadata of ``name``: always the same object for the same name."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"a dataset's name is a non-empty string, got {name!r}")
        _on_demand.ensure(name)
        if name not in self.data:
            self.data[name] = Metadata(name=name)
        return self.data[name]

    def list(self) -> Names:
        """Names of the datasets with metadata, the built-in ones among them."""
        return list(self)

    def remove(self, name: str) -> None:
        """Forget the metadata of ``name``."""
        if name not in self.data:
            _on_demand.ensure(name)
        if name not in self.data:
            raise _unknown_name("metadata of dataset", name, self)
        del self.data[name]

    def is_unused(self, metadata: Metadata) -> bool:
        """Whether ``metadata`` was asked for, but holds nothing and belongs to no dataset."""
        name = metadata.name
        return (
            self.data.get(name) is metadata
            and metadata.as_dict().keys() <= {"name"}
            and name not in DatasetCatalog
        )

    def __getitem__(self, name: str) -> Metadata:
        if name not in self:
            raise _unknown_name("metadata of dataset", name, self)
        return self.get(name)

    def __contains__(self, name: object) -> bool:
        if name in self.data:
            return not self.is_unused(self.data[name])
        return _on_demand.is_pending(name)

    def __iter__(self) -> Iterator[str]:
        yield from (name for name in self.data if name in self)
        yield from _on_demand.pending()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"MetadataCatalog(registered metadata: {', '.join(self)})"

    __str__ = __repr__


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
