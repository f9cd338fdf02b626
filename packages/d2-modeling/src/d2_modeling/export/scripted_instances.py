"""`Instances` for TorchScript, which needs to know all attributes of a class beforehand."""

from __future__ import annotations

import itertools
import keyword
import linecache
import sys
import types
import typing
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.jit import _recursive, _state

from d2_structures import Instances

from .quiet import quiet_torchscript

__all__ = ["patch_instances", "unscripted_instances"]

_numbers = itertools.count()

_HEADER = """
class {name}:
    def __init__(self, image_size: Tuple[int, int]):
        self.image_size = image_size
"""
_EMPTY = "        self._{field} = torch.jit.annotate(Optional[{type}], None)\n"
_PROPERTY = """
    @property
    def {field}(self) -> {type}:
        value = self._{field}
        assert value is not None, "no field {field} in these Instances"
        return value

    @{field}.setter
    def {field}(self, value: {type}):
        self._{field} = value
"""
_IF_THERE = """        {field} = self._{field}
        if {field} is not None:
"""
_METHODS = """
    def __len__(self) -> int:
{lengths}        raise ValueError("Instances without fields have no length; set a field first")

    def has(self, name: str) -> bool:
{has}        return False

    def get_fields(self) -> Dict[str, Tensor]:
        tensors: Dict[str, Tensor] = {{}}
{tensors}        return tensors

    def __getitem__(self, item: Tensor) -> "{name}":
        picked = {name}(self.image_size)
{picked}        return picked

    def to(self, device: torch.device) -> "{name}":
        moved = {name}(self.image_size)
{moved}        return moved

    @staticmethod
    def cat(instance_lists: List["{name}"]) -> "{name}":
        joined = {name}(instance_lists[0].image_size)
{joined}        return joined


torch.jit.script({name})
"""
_LENGTH = _IF_THERE + "            return {tensor}.shape[0]\n"
_HAS = """        if name == "{field}":
            return self._{field} is not None
"""
_TENSOR = _IF_THERE + '            tensors["{field}"] = {tensor}\n'
_PICKED = _IF_THERE + "            picked._{field} = {built_of[0]}{tensor}[item]{built_of[1]}\n"
_MOVED = _IF_THERE + "            moved._{field} = {built_of[0]}{tensor}.to(device){built_of[1]}\n"
_JOINED = """        if instance_lists[0].has("{field}"):
            parts = [instances.get_fields()["{field}"] for instances in instance_lists]
            joined._{field} = {built_of[0]}torch.cat(parts){built_of[1]}
"""


@contextmanager
def patch_instances(fields: Mapping[str, Any]) -> Iterator[type]:
    """Let `torch.jit.script` take a class with fixed fields wherever code says `Instances`.

    The class has ``image_size``, the fields as attributes, ``has``, ``get_fields`` (with the
    tensors of boxes and masks), ``len()``, indexing by a tensor, ``to`` and ``cat``.

    Args:
        fields: for each field its type: ``Tensor``, `Boxes`, or another class that holds a
            ``tensor`` and that TorchScript can compile.

    Yields:
        The class.

    Raises:
        ValueError: if a field cannot be an attribute of `Instances`.
        TypeError: if what is given for a field is no type.
        RuntimeError: within another one.
    """
    if hasattr(Instances, _OVERRIDE):
        raise RuntimeError("patch_instances() is active already; leave it before the next one")
    stand_in = _compiled_class(fields)
    replaced = {
        (Instances, "cat"): stand_in.cat,  # read off the class as it is
        # What has been compiled knows the `Instances` of then.
        (_recursive, "concrete_type_store"): _recursive.ConcreteTypeStore(),
        (_state, "_jit_caching_layer"): weakref.WeakKeyDictionary(),
    }
    before = {(owner, name): vars(owner)[name] for owner, name in replaced}
    setattr(Instances, _OVERRIDE, torch._jit_internal._qualified_name(stand_in))
    try:
        for (owner, name), value in replaced.items():
            setattr(owner, name, value)
        yield stand_in
    finally:
        delattr(Instances, _OVERRIDE)
        for (owner, name), value in before.items():
            setattr(owner, name, value)


def unscripted_instances(scripted: Any) -> Instances:
    """Turn what a scripted model gave into the `Instances` of eager code.

    Args:
        scripted: an object of the class of `patch_instances`, in the process that made the class.

    Raises:
        TypeError: if it is something else.
    """
    if not hasattr(type(scripted), "get_fields") or not hasattr(scripted, "image_size"):
        raise TypeError(f"a scripted model gives scripted Instances, not {type(scripted).__name__}")
    private = {name: value for name, value in vars(scripted).items() if name != "image_size"}
    fields = {name.removeprefix("_"): value for name, value in private.items() if value is not None}
    return Instances(tuple(scripted.image_size), **fields)


_OVERRIDE = "_jit_override_qualname"


def _compiled_class(fields: Mapping[str, Any]) -> Any:
    """Write the class, and let TorchScript read it."""
    kinds = {name: _checked_type(name, kind) for name, kind in fields.items()}
    name = f"ScriptedInstances{next(_numbers)}"
    labels = {kind: f"{kind.__name__}_{i}" for i, kind in enumerate(dict.fromkeys(kinds.values()))}
    source = _source(name, labels, kinds)
    module = types.ModuleType(f"{__name__}_{name}")
    module.__file__ = f"<{name}>"
    vars(module).update(
        {label: kind for kind, label in labels.items()},
        Dict=typing.Dict,  # noqa: UP006  # TorchScript knows the old names only
        List=typing.List,  # noqa: UP006  # the same
        Tuple=typing.Tuple,  # noqa: UP006  # the same
        Optional=typing.Optional,
        Tensor=Tensor,
        torch=torch,
    )
    # TorchScript reads sources through `inspect`, which finds them here.
    lines = source.splitlines(keepends=True)
    linecache.cache[module.__file__] = (len(source), None, lines, module.__file__)
    sys.modules[module.__name__] = module
    with quiet_torchscript():
        exec(compile(source, module.__file__, "exec"), vars(module))
    return getattr(module, name)


def _checked_type(name: str, kind: Any) -> type:
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise ValueError(f"fields: {name!r} cannot be a field of Instances")
    if hasattr(Instances, name):
        raise ValueError(f"fields: {name!r} is something else in Instances, not a field")
    if not isinstance(kind, type):
        raise TypeError(f"fields[{name!r}] must be a type such as Boxes or Tensor, got {kind!r}")
    return kind


def _source(name: str, labels: Mapping[type, str], kinds: Mapping[str, type]) -> str:
    def lines(template: str) -> str:
        return "".join(
            template.format(
                field=field,
                type=labels[kind],
                tensor=field if issubclass(kind, Tensor) else f"{field}.tensor",
                built_of=("", "") if issubclass(kind, Tensor) else (f"{labels[kind]}(", ")"),
            )
            for field, kind in kinds.items()
        )

    return (
        _HEADER.format(name=name)
        + lines(_EMPTY)
        + lines(_PROPERTY)
        + _METHODS.format(
            name=name,
            lengths=lines(_LENGTH),
            has=lines(_HAS),
            tensors=lines(_TENSOR),
            picked=lines(_PICKED),
            moved=lines(_MOVED),
            joined=lines(_JOINED),
        )
    )
