"""A nested, typed key-value config in the manner of yacs."""

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from .base_chain import BASE_KEY, load_with_base
from .cfg_merge import Change, Where, plan_merge
from .cfg_text import dump_yaml, outline, read_cfg
from .errors import ConfigFileError, ConfigKeyError, ConfigTypeError, did_you_mean
from .versions import downgrade_config, guess_version, upgrade_config

Node = TypeVar("Node", bound="CfgNode")

_VALUE_TYPES = (tuple, list, str, int, float, bool, type(None))
_COMPUTED = "COMPUTED_"


class CfgNode(dict[str, Any]):
    """A dictionary whose keys are attributes, and whose existing keys keep their types.

    ::

        cfg = get_cfg()                                 # all keys with their defaults
        cfg.MY_KEY = 1                                  # a new key for one's own component
        cfg.merge_from_file("my_cfg.yaml")              # change keys that exist
        cfg.merge_from_list(["MODEL.WEIGHTS", "w.pth"])
        cfg.freeze()
        print(cfg.dump())

    Values are numbers, strings, booleans, ``None``, lists and tuples; sections are nodes again.
    Merging accepts only known keys, unless the section allows new ones, and only values of the
    type that is there. A list may replace a tuple and the reverse, an integer a float, ``None``
    anything; the type that is there stays. In files and lists, a text that reads as a Python
    literal, ``"(600, 800)"``, is that literal, where the key does not want a text.

    A frozen node refuses every change but the insertion of keys that begin with ``COMPUTED_``.

    Args:
        init_dict: initial keys and values; inner dictionaries become nodes.
        key_list: the path of this node, for messages about bad values.
        new_allowed: whether merging may add keys to this node and the nodes below it.
    """

    IMMUTABLE = "__immutable__"
    DEPRECATED_KEYS = "__deprecated_keys__"
    RENAMED_KEYS = "__renamed_keys__"
    NEW_ALLOWED = "__new_allowed__"

    def __init__(
        self,
        init_dict: Mapping[str, Any] | None = None,
        key_list: Sequence[str] | None = None,
        new_allowed: bool = False,
    ) -> None:
        super().__init__()
        self.__dict__.update(
            {
                self.IMMUTABLE: False,
                self.DEPRECATED_KEYS: set(),
                self.RENAMED_KEYS: {},
                self.NEW_ALLOWED: new_allowed,
            }
        )
        path = list(key_list or ())
        for key, value in (init_dict or {}).items():
            inner = [*path, str(key)]
            if isinstance(value, Mapping) and not isinstance(value, CfgNode):
                value = type(self)(value, inner, new_allowed)
            self._insert(key, copy.deepcopy(value), ".".join(inner))

    # Attributes and items

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            pass
        hint = "" if name.startswith("_") else did_you_mean(name, self)
        raise AttributeError(f"the config has no key {name!r}.{hint}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__ or hasattr(type(self), name):
            raise AttributeError(f"{name!r} is an attribute of every CfgNode; choose another key")
        self[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self:
            raise AttributeError(f"the config has no key {name!r}.{did_you_mean(name, self)}")
        del self[name]

    def __setitem__(self, key: str, value: Any) -> None:
        if not (isinstance(key, str) and key.startswith(_COMPUTED)):
            self._check_mutable(f"set {key} to {value!r}")
            self._insert(key, value, str(key))
        elif key in self and self[key] != value:
            raise ConfigKeyError(f"{key} is computed already, as {self[key]!r}; got {value!r}")
        else:
            super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        self._check_mutable(f"delete {key}")
        super().__delitem__(key)

    def clear(self) -> None:
        """Remove all keys."""
        self._check_mutable("clear it")
        super().clear()

    def pop(self, key: str, *default: Any) -> Any:
        """Remove ``key`` and return its value, or ``default`` if there is no such key."""
        self._check_mutable(f"remove {key}")
        return super().pop(key, *default)

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the last key and its value."""
        self._check_mutable("remove its last key")
        return super().popitem()

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key``, after setting it to ``default`` if it was missing."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several keys, like ``dict.update``: nothing is checked against what is there."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def __ior__(self: Node, other: Any) -> Node:  # type: ignore[override,misc]  # narrower result
        self.update(other)
        return self

    def _insert(self, key: Any, value: Any, path: str) -> None:
        if not isinstance(key, str):
            raise ConfigTypeError(f"config keys are strings, got {key!r} ({type(key).__name__})")
        if isinstance(value, Mapping) and not isinstance(value, CfgNode):
            value = type(self)(value, path.split("."), self.is_new_allowed())
        if not isinstance(value, (CfgNode, *_VALUE_TYPES)) and not key.startswith(_COMPUTED):
            wanted = ", ".join(kind.__name__ for kind in _VALUE_TYPES[:-1])
            raise ConfigTypeError(
                f"{path} must be a section, None or one of {wanted}; "
                f"got {value!r} ({type(value).__name__})"
            )
        super().__setitem__(key, value)

    # Freezing and copying

    def freeze(self) -> None:
        """Refuse changes to this node and the nodes below it."""
        self._set_flag(self.IMMUTABLE, True)

    def defrost(self) -> None:
        """Accept changes again."""
        self._set_flag(self.IMMUTABLE, False)

    def is_frozen(self) -> bool:
        """Whether changes are refused."""
        return bool(self.__dict__[self.IMMUTABLE])

    def set_new_allowed(self, is_new_allowed: bool) -> None:
        """Set whether merging may add keys to this node and the nodes below it."""
        self._set_flag(self.NEW_ALLOWED, is_new_allowed)

    def is_new_allowed(self) -> bool:
        """Whether merging may add keys to this node."""
        return bool(self.__dict__[self.NEW_ALLOWED])

    def clone(self: Node) -> Node:
        """Return a deep copy, frozen if this node is."""
        return copy.deepcopy(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(self), dict(self.__dict__))

    def _set_flag(self, flag: str, value: bool) -> None:
        self.__dict__[flag] = value
        for child in self.values():
            if isinstance(child, CfgNode):
                child._set_flag(flag, value)

    def _check_mutable(self, attempt: str) -> None:
        if self.is_frozen():
            raise AttributeError(f"cannot {attempt}: this config is frozen; defrost() it first")

    # Keys that went away

    def register_deprecated_key(self, key: str) -> None:
        """Make merging ignore ``key``, a full path such as ``"FOO.BAR"``, with a warning.

        Raises:
            ValueError: if it is registered already.
        """
        if self.key_is_deprecated(key):
            raise ValueError(f"the key {key} is registered as deprecated already")
        self.__dict__[self.DEPRECATED_KEYS].add(key)

    def register_renamed_key(
        self, old_name: str, new_name: str, message: str | None = None
    ) -> None:
        """Make merging ``old_name``, a full path, fail and point to ``new_name``.

        Args:
            old_name: the former key.
            new_name: the key to use now.
            message: what else to say.

        Raises:
            ValueError: if ``old_name`` is registered already.
        """
        if self.key_is_renamed(old_name):
            raise ValueError(f"the key {old_name} is registered as renamed already")
        self.__dict__[self.RENAMED_KEYS][old_name] = (new_name, message)

    def key_is_deprecated(self, full_key: str) -> bool:
        """Whether merging ignores ``full_key``."""
        return full_key in self.__dict__[self.DEPRECATED_KEYS]

    def key_is_renamed(self, full_key: str) -> bool:
        """Whether merging ``full_key`` fails and names its successor."""
        return full_key in self.__dict__[self.RENAMED_KEYS]

    def raise_key_rename_error(self, full_key: str) -> NoReturn:
        """Raise the error that merging a renamed key ends in."""
        new_name, message = self.__dict__[self.RENAMED_KEYS][full_key]
        note = f" {message}" if message else ""
        raise ConfigKeyError(
            f"the key {full_key} was renamed to {new_name}; please use that.{note}"
        )

    # Merging. Each merge is checked whole before anything is changed.

    def merge_from_file(
        self, cfg_filename: str | os.PathLike[str], allow_unsafe: bool = False
    ) -> None:
        """Merge a YAML file, and before it the files that its ``_BASE_`` names.

        If this config has a ``VERSION`` and the file is for an older one, it is converted.

        Args:
            cfg_filename: the YAML file.
            allow_unsafe: let tags in it construct arbitrary Python objects. This runs code that
                the file chooses: inspect it first.

        Raises:
            FileNotFoundError: if the file or one of its bases does not exist.
            ConfigFileError: (a ``ValueError``) if one of them is not valid or safe YAML.
            ConfigKeyError: (a ``KeyError``) for unknown and renamed keys, with file and line.
            ConfigTypeError: (a ``TypeError`` and ``ValueError``) for values of another type.
        """
        document = load_with_base(Path(cfg_filename), allow_unsafe=allow_unsafe)
        version = self._version_of(document.data, document.source)
        if version is None or version == self.VERSION:
            self._merge(document.data, document.where)
            return
        logging.getLogger(__name__).warning(
            "%s is a config of version %d; its keys are converted to version %d.",
            document.source,
            version,
            self.VERSION,
        )
        self._check_mutable(f"merge {document.source}")
        old = downgrade_config(self, to_version=version)
        old._merge(document.data, document.where)
        upgraded = upgrade_config(old, self.VERSION)
        self.clear()
        self.update(upgraded)

    def merge_from_other_cfg(self, cfg_other: Mapping[str, Any]) -> None:
        """Merge another config or dictionary.

        Raises:
            ConfigKeyError: (a ``KeyError``) for unknown and renamed keys.
            ConfigTypeError: (a ``TypeError`` and ``ValueError``) for values of another type.
        """
        if BASE_KEY in cfg_other:
            raise ConfigKeyError(f"{BASE_KEY} has a meaning in files only; use merge_from_file")
        self._merge(cfg_other, lambda path: "the other config")

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """Merge a flat list of keys and values, ``["MODEL.WEIGHTS", "w.pth", "SEED", 3]``.

        Texts are read as typed on a command line: ``"None"`` is None for every key, ``"null"`` and
        ``"~"`` too where no text is wanted, and quotes round a text are taken off.

        Raises:
            ValueError: if a key has no value.
            ConfigKeyError: (a ``KeyError``) for unknown and renamed keys.
            ConfigTypeError: (a ``TypeError`` and ``ValueError``) for values of another type.
        """
        if isinstance(cfg_list, (str, bytes)) or len(cfg_list) % 2 != 0:
            raise ValueError(
                f"expected a list of alternating keys and values, got {cfg_list!r}; "
                "write KEY VALUE with a space between, not KEY=VALUE"
            )
        changes: list[Change] = []
        for key, value in zip(cfg_list[0::2], cfg_list[1::2], strict=True):
            if key == BASE_KEY or not isinstance(key, str):
                raise ConfigKeyError(f"{key!r} is not a key that can be overridden")
            nested: Any = value
            for part in reversed(key.split(".")):
                nested = {part: nested}
            changes += plan_merge(self, nested, lambda path: "the list of overrides", typed=True)
        self._apply(changes)

    def _merge(self, other: Mapping[str, Any], where: Where) -> None:
        self._apply(list(plan_merge(self, other, where)))

    def _apply(self, changes: list[Change]) -> None:
        if changes:
            self._check_mutable(f"change {', '.join(key for _, key, _ in changes[:3])}")
        for node, key, value in changes:
            node[key] = value

    def _version_of(self, keys: Mapping[str, Any], source: str) -> int | None:
        """Return the version of a file's keys; ``None`` if this config has no versions."""
        if "VERSION" not in self:
            return None
        version = keys.get("VERSION")
        if version is None:
            version = guess_version(keys)
            logging.getLogger(__name__).warning(
                "%s does not state its VERSION; taking it to be %d.", source, version
            )
        if not isinstance(version, int) or not 0 <= version <= self.VERSION:
            raise ConfigFileError(
                f"{source} is of VERSION {version!r}, which cannot be merged into a config of "
                f"version {self.VERSION}"
            )
        return version

    # Text

    @classmethod
    def load_yaml_with_base(
        cls, filename: str | os.PathLike[str], allow_unsafe: bool = False
    ) -> dict[str, Any]:
        """Return the content of a YAML file on top of the files that its ``_BASE_`` names.

        Args:
            filename: the YAML file.
            allow_unsafe: let tags in it construct arbitrary Python objects.
        """
        content: dict[str, Any] = load_with_base(Path(filename), allow_unsafe=allow_unsafe).data
        return content

    @classmethod
    def load_cfg(cls: type[Node], cfg_file_obj_or_str: Any) -> Node:
        """Return a config from YAML or from a Python file.

        Args:
            cfg_file_obj_or_str: YAML text, an open YAML file, or an open ``.py`` file. The latter
                is run and must define ``cfg``, a dictionary or ``CfgNode``.

        Raises:
            ConfigFileError: (a ``ValueError``) if it cannot be read as such.
        """
        data, source = read_cfg(cfg_file_obj_or_str)
        if data is not None and not isinstance(data, Mapping):
            kind = type(data).__name__
            raise ConfigFileError(f"{source} must hold keys and values, got a {kind}")
        return cls(data)

    def dump(self, *args: Any, **kwargs: Any) -> str:
        """Return the config as YAML; arguments are those of ``yaml.dump``. Tuples become lists.

        Raises:
            TypeError: for values YAML cannot hold, with their keys.
        """
        return dump_yaml(self, *args, **kwargs)

    def __str__(self) -> str:
        return outline(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({super().__repr__()})"


def _rebuild(cls: type[CfgNode], items: dict[str, Any], state: dict[str, Any]) -> CfgNode:
    """Make a node, which may be frozen, from its copied or unpickled parts."""
    node = cls.__new__(cls)
    node.__dict__.update(state)
    dict.update(node, items)
    return node
