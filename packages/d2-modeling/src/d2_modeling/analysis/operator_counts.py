"""Counting over the operators that a model calls, by module and by operator."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

logger = logging.getLogger(__name__)

Handle = Callable[[Sequence[Any], Any], float]
"""``handle(arguments, result)`` of one call of an operator gives what the call costs."""

_MODES = ("owner", "caller")
_WARNINGS = ("all", "no_tracer_warning", "none")


class OperatorCountAnalysis:
    """Counts something over the operators that a model calls, by module and by operator.

    The model runs once, without gradients, when the first result is asked for.

    Args:
        model: any module.
        inputs: a tuple of arguments, or the only argument (for our models a list of dicts).
        handles: for each operator that counts its name in the results and how to count it.
    """

    def __init__(
        self, model: nn.Module, inputs: Any, handles: Mapping[str, tuple[str, Handle]]
    ) -> None:
        self.model = model
        self._inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        self._handles: dict[str, tuple[str, Handle] | None] = dict(handles)
        self._ancestors = "owner"
        self._warn_unsupported = True
        self._warn_uncalled = True
        self._forget()

    def _forget(self) -> None:
        self._counts: dict[str, Counter[str]] | None = None
        self._unsupported: dict[str, Counter[str]] = {}
        self._called: set[str] = set()

    def set_op_handle(self, *args: Any, **kwargs: Handle | None) -> Self:
        """Count further operators, or count them in another way.

        Args:
            *args: names and handles by turns, e.g. ``"aten::bmm", handle``; a handle gets the
                call's arguments and result and returns a number. None ignores the operator.
            **kwargs: the same by keyword.

        Returns:
            This analysis.

        Raises:
            ValueError: if a handle is missing.
        """
        if len(args) % 2:
            raise ValueError(f"names and handles have to come by turns, got {len(args)} arguments")
        for name, handle in [*zip(args[::2], args[1::2], strict=True), *kwargs.items()]:
            short = name.removeprefix("aten::")
            self._handles[name] = None if handle is None else (short, handle)
        self._forget()
        return self

    def clear_op_handles(self) -> Self:
        """Count no operator any more, until handles are set; returns this analysis."""
        self._handles = {}
        self._forget()
        return self

    def ancestor_mode(self, mode: str) -> Self:
        """Say to which modules an operator belongs.

        Args:
            mode: ``"owner"``: the module that called it, and what that is a part of; ``"caller"``:
                all modules that were running. They differ where a module calls one that is not a
                part of it.

        Returns:
            This analysis.

        Raises:
            ValueError: on another mode.
        """
        if mode not in _MODES:
            raise ValueError(f"the ancestor mode is one of {list(_MODES)}, got {mode!r}")
        self._ancestors = mode
        self._forget()
        return self

    def unsupported_ops_warnings(self, enabled: bool) -> Self:
        """Whether the log names operators that are not counted; returns this analysis."""
        self._warn_unsupported = enabled
        return self

    def uncalled_modules_warnings(self, enabled: bool) -> Self:
        """Whether the log names modules that were not called; returns this analysis."""
        self._warn_uncalled = enabled
        return self

    def tracer_warnings(self, mode: str) -> Self:
        """Accepted as documented: the model runs as it is, and there are no warnings of a tracer.

        Raises:
            ValueError: if the mode is none of ``"all"``, ``"no_tracer_warning"`` and ``"none"``.
        """
        if mode not in _WARNINGS:
            raise ValueError(f"the warnings are one of {list(_WARNINGS)}, got {mode!r}")
        return self

    def copy(self, new_model: nn.Module | None = None, new_inputs: Any = None) -> Self:
        """The same analysis with the same settings, of another model or with other inputs."""
        other = copy.copy(self)
        other._handles = dict(self._handles)
        other._forget()
        if new_model is not None:
            other.model = new_model
        if new_inputs is not None:
            other._inputs = new_inputs if isinstance(new_inputs, tuple) else (new_inputs,)
        return other

    def canonical_module_name(self, name: str) -> str:
        """The name under which a module is counted; a shared one has several.

        Raises:
            KeyError: if there is no such module.
        """
        modules = dict(self.model.named_modules(remove_duplicate=False))
        if name not in modules:
            raise KeyError(f"the model has no module {name!r}")
        return next(known for known, module in modules.items() if module is modules[name])

    def total(self, module_name: str = "") -> float:
        """The count of a module, by default of the whole model."""
        return sum(self.by_operator(module_name).values())

    def by_operator(self, module_name: str = "") -> Counter[str]:
        """The counts of a module's operators.

        Raises:
            KeyError: if there is no such module.
        """
        return self._analyse()[self.canonical_module_name(module_name)]

    def by_module(self) -> Counter[str]:
        """The counts of all modules, whatever the operator."""
        return Counter({name: sum(of.values()) for name, of in self._analyse().items()})

    def by_module_and_operator(self) -> dict[str, Counter[str]]:
        """The counts of all modules and operators."""
        return dict(self._analyse())

    def unsupported_ops(self, module_name: str = "") -> Counter[str]:
        """How often a module called operators that are not counted."""
        self._analyse()
        return self._unsupported[self.canonical_module_name(module_name)]

    def uncalled_modules(self) -> set[str]:
        """Names of the modules that were not called."""
        return set(self._analyse()) - self._called

    def _analyse(self) -> dict[str, Counter[str]]:
        if self._counts is None:
            names = [name for name, _ in self.model.named_modules()]
            self._counts = {name: Counter() for name in names}
            self._unsupported = {name: Counter() for name in names}
            try:
                self._run()
            except BaseException:
                self._forget()  # what was counted until then is no result
                raise
            self._report()
        return self._counts

    def _run(self) -> None:
        stack: list[str] = []
        with (
            torch.no_grad(),
            _names_of_running_modules(self.model, stack, self._called),
            _CallRecorder(lambda *call: self._record(stack, *call)),
        ):
            self.model(*self._inputs)

    def _record(self, stack: Sequence[str], operator: str, args: Sequence[Any], out: Any) -> None:
        assert self._counts is not None
        handle = self._handles.get(operator)
        for name in self._modules_of_call(stack):
            if handle is not None:
                self._counts[name][handle[0]] += handle[1](args, out)  # type: ignore[assignment]  # counts may be fractions
            elif operator not in self._handles:
                self._unsupported[name][operator] += 1

    def _modules_of_call(self, stack: Sequence[str]) -> set[str]:
        if self._ancestors == "caller" or not stack:
            return set(stack)
        parts = stack[-1].split(".") if stack[-1] else []
        return {".".join(parts[:depth]) for depth in range(len(parts) + 1)}

    def _report(self) -> None:
        """Name in the log what the counts leave out."""
        unsupported = self._unsupported[""]
        if self._warn_unsupported and unsupported:
            listed = ", ".join(f"{name} ({count})" for name, count in unsupported.most_common())
            logger.info("Operators that are not counted, and how often they ran: %s", listed)
        uncalled = self.uncalled_modules() if self._warn_uncalled else set()
        if uncalled:
            logger.info("Modules that were not called: %s", ", ".join(sorted(uncalled)))


class _CallRecorder(TorchDispatchMode):
    """Tells a function about every operator that is called."""

    def __init__(self, record: Callable[[str, Sequence[Any], Any], None]) -> None:
        super().__init__()
        self._record = record

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        namespace, _, name = func._schema.name.partition("::")
        self._record(f"{namespace}::{name}", args, out)
        return out


@contextmanager
def _names_of_running_modules(
    model: nn.Module, stack: list[str], called: set[str]
) -> Iterator[None]:
    """Keep the names of the modules that are running in ``stack``."""

    def enter(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            stack.append(name)
            called.add(name)

        return hook

    def leave(*_: Any) -> None:
        stack.pop()

    hooks = []
    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(enter(name)))
        hooks.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in hooks:
            handle.remove()
