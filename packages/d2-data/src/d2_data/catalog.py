"""Where datasets and what is known about them are found by name."""

import importlib
from collections import UserDict
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from types import SimpleNamespace
from typing import Any, Self

from d2_data.builtin_datasets import REGISTRARS

__all__ = ["DatasetCatalog", "Metadata", "MetadataCatalog"]

Samples = list[dict[str, Any]]
Names = list[str]


class _BuiltinRegistration:
    """Runs the registrar of a built-in dataset the first time its name is asked for."""

    def __init__(self) -> None:
        self._started: set[str] = set()
        self._running: list[str] = []

    def is_pending(self, name: str) -> bool:
        """Whether ``name`` is built in and its registrar has not been started."""
        return name in REGISTRARS and REGISTRARS[name] not in self._started

    def allows(self, name: str) -> bool:
        """Whether a registration of ``name`` may go ahead now."""
        return name not in REGISTRARS or REGISTRARS[name] in self._running

    def ensure(self, name: str) -> None:
        """Register ``name`` if it is built in and still pending."""
        if not self.is_pending(name):
            return
        registrar = REGISTRARS[name]
        self._started.add(registrar)
        self._running.append(registrar)
        try:
            module, _, function = registrar.partition(":")
            getattr(importlib.import_module(module), function)()
        except BaseException:
            self._started.discard(registrar)
            raise
        finally:
            self._running.remove(registrar)


_builtins = _BuiltinRegistration()


def _unknown_name(kind: str, name: str, known: Names) -> KeyError:
    close = get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
    listing = f"known names: {', '.join(sorted(known)) or '(none)'}"
    return KeyError(f"{kind} {name!r} is not registered; {hint or listing}")


class _DatasetCatalog(UserDict[str, Callable[[], Samples]]):
    """Maps a dataset's name to the function that returns its samples.

    A sample is a dict in the standard dataset format; the function must return the
    same samples in the same order each time it is called. Registrations last until
    the process ends. Built-in datasets appear here without being registered.
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
        if name in self.data or not _builtins.allows(name):
            owner = "is registered already" if name in self.data else "is a built-in dataset"
            raise ValueError(
                f"dataset {name!r} {owner}; choose another name"
                + ("" if name in REGISTRARS else f" or call DatasetCatalog.remove({name!r}) first")
            )
        self.data[name] = func

    def get(self, name: str) -> Samples:  # type: ignore[override]  # the documented call returns the samples
        """Call the function registered under ``name`` and return its samples.

        Raises:
            KeyError: if no such dataset is known; the message lists close matches.
        """
        return self[name]()

    def list(self) -> Names:
        """Names of all known datasets, the built-in ones among them."""
        return list(self)

    def remove(self, name: str) -> None:
        """Forget ``name``. Its metadata stays."""
        if name not in self.data:
            raise _unknown_name("dataset", name, list(self.data))
        del self.data[name]

    def __getitem__(self, name: str) -> Callable[[], Samples]:
        _builtins.ensure(name)
        if name not in self.data:
            raise _unknown_name("dataset", name, list(self))
        return self.data[name]

    def __contains__(self, name: object) -> bool:
        return name in self.data or (isinstance(name, str) and _builtins.is_pending(name))

    def __iter__(self) -> Iterator[str]:
        yield from self.data
        yield from (name for name in REGISTRARS if _builtins.is_pending(name))

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

    Metadata is made when first asked for and stays until the process ends.
    """

    def get(self, name: str) -> Metadata:  # type: ignore[override]  # the documented call takes no default
        """The metadata of ``name``: always the same object for the same name."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"a dataset's name is a non-empty string, got {name!r}")
        _builtins.ensure(name)
        if name not in self.data:
            self.data[name] = Metadata(name=name)
        return self.data[name]

    def list(self) -> Names:
        """Names of the datasets whose metadata has been asked for."""
        return list(self.data)

    def remove(self, name: str) -> None:
        """Forget the metadata of ``name``."""
        if name not in self.data:
            raise _unknown_name("metadata of dataset", name, list(self.data))
        del self.data[name]

    def __getitem__(self, name: str) -> Metadata:
        if name not in self.data and not _builtins.is_pending(name):
            raise _unknown_name("metadata of dataset", name, list(self.data))
        return self.get(name)

    def __repr__(self) -> str:
        return f"MetadataCatalog(registered metadata: {', '.join(self.data)})"

    __str__ = __repr__


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
