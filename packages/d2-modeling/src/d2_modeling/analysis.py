"""What a model costs: parameters, multiply-adds and activations, by module and by operator."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Handle = Callable[[Sequence[Any], Any], float]
"""``handle(arguments, result)`` of one call of an operator gives what the call costs."""


def parameter_count(model: nn.Module) -> defaultdict[str, int]:
    """The number of parameters of a model and its parts.

    Returns:
        By name of a parameter or of a module; under ``""`` that of the whole model.
    """
    counts: defaultdict[str, int] = defaultdict(int)
    for name, parameter in model.named_parameters():
        parts = name.split(".")
        for depth in range(len(parts) + 1):
            counts[".".join(parts[:depth])] += parameter.numel()
    return counts


def parameter_count_table(model: nn.Module, max_depth: int = 3) -> str:
    """The numbers of `parameter_count` as a table in Markdown, parameters with their shapes.

    Args:
        model: any module.
        max_depth: how deep to go into modules.

    Returns:
        Lines without a final newline.
    """
    counts = parameter_count(model)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    rows = [("name", "#elements or shape"), ("model", _rounded(counts[""]))]
    for name in _in_order_of_modules(shapes):
        depth = name.count(".") + 1
        if depth <= max_depth:
            value = str(shapes[name]) if name in shapes else _rounded(counts[name])
            rows.append((" " * depth + name, value))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"| {left:<{widths[0]}} | {right:<{widths[1]}} |" for left, right in rows]
    lines.insert(1, "|:" + "-" * (widths[0] + 1) + "|:" + "-" * (widths[1] + 1) + "|")
    return "\n".join(lines)


def _in_order_of_modules(names: Mapping[str, Any]) -> list[str]:
    """The names and all of their prefixes, each prefix before what is inside."""
    ordered: dict[str, None] = {}
    for name in names:
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            ordered.setdefault(".".join(parts[:depth]))
    return list(ordered)


def _rounded(count: int) -> str:
    if count > 1e5:
        return f"{count / 1e6:.1f}M"
    return f"{count / 1e3:.1f}K" if count > 1e2 else str(count)


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
        self._model = model
        self._inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        self._handles: dict[str, tuple[str, Handle] | None] = dict(handles)
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
        self._counts = None
        return self

    def total(self, module_name: str = "") -> float:
        """The count of a module, by default of the whole model."""
        return sum(self.by_operator(module_name).values())

    def by_operator(self, module_name: str = "") -> Counter[str]:
        """The counts of a module's operators.

        Raises:
            KeyError: if there is no such module.
        """
        counts = self._analyse()
        if module_name not in counts:
            raise KeyError(f"the model has no module {module_name!r}")
        return counts[module_name]

    def by_module(self) -> Counter[str]:
        """The counts of all modules, whatever the operator."""
        return Counter({name: sum(of.values()) for name, of in self._analyse().items()})

    def by_module_and_operator(self) -> dict[str, Counter[str]]:
        """The counts of all modules and operators."""
        return dict(self._analyse())

    def unsupported_ops(self, module_name: str = "") -> Counter[str]:
        """How often a module called operators that are not counted."""
        self._analyse()
        return self._unsupported[module_name]

    def uncalled_modules(self) -> set[str]:
        """Names of the modules that were not called."""
        return set(self._analyse()) - self._called

    def _analyse(self) -> dict[str, Counter[str]]:
        if self._counts is None:
            names = [name for name, _ in self._model.named_modules()]
            self._counts = {name: Counter() for name in names}
            self._unsupported = {name: Counter() for name in names}
            self._called = set()
            stack: list[str] = []
            with (
                torch.no_grad(),
                _names_of_running_modules(self._model, stack, self._called),
                _CallRecorder(lambda *call: self._record(stack, *call)),
            ):
                self._model(*self._inputs)
        return self._counts

    def _record(self, stack: Sequence[str], operator: str, args: Sequence[Any], out: Any) -> None:
        assert self._counts is not None
        handle = self._handles.get(operator)
        for name in set(stack):
            if handle is not None:
                self._counts[name][handle[0]] += handle[1](args, out)  # type: ignore[assignment]  # counts may be fractions
            elif operator not in self._handles:
                self._unsupported[name][operator] += 1


class FlopCountAnalysis(OperatorCountAnalysis):
    """Counts multiply-adds: one fused multiply and add is one flop.

    Convolutions, matrix products, attention, normalisation, interpolation and pooling are
    counted; what costs little beside them is listed by `unsupported_ops`.

    Args:
        model: any module.
        inputs: see `OperatorCountAnalysis`.

    Example:
        >>> flops = FlopCountAnalysis(nn.Linear(1000, 10), torch.zeros(1, 1000))
        >>> flops.total()
        10000
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        super().__init__(model, inputs, _FLOP_HANDLES)


class ActivationCountAnalysis(OperatorCountAnalysis):
    """Counts the elements of the results of convolutions and matrix products.

    Args:
        model: any module.
        inputs: see `OperatorCountAnalysis`.

    Source: Radosavovic et al., "Designing Network Design Spaces", 2020, section 3.
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        handles = {name: (_FLOP_HANDLES[name][0], _size_of_result) for name in _PRODUCTS}
        super().__init__(model, inputs, handles)


def flop_count_operators(
    model: nn.Module, inputs: Sequence[Mapping[str, Any]]
) -> defaultdict[str, float]:
    """Billions of multiply-adds by operator, of a model of ours in inference.

    How many there are depends on what the model finds in the image; average over several.

    Args:
        model: takes a list of dicts.
        inputs: dicts of which only ``image`` is used.
    """
    return _by_operator(FlopCountAnalysis, model, inputs, 1e9)


def activation_count_operators(
    model: nn.Module, inputs: Sequence[Mapping[str, Any]], **kwargs: Handle | None
) -> defaultdict[str, float]:
    """Millions of activations by operator, see `flop_count_operators`.

    Args:
        model: takes a list of dicts.
        inputs: dicts of which only ``image`` is used.
        **kwargs: see `OperatorCountAnalysis.set_op_handle`.
    """
    return _by_operator(ActivationCountAnalysis, model, inputs, 1e6, **kwargs)


def _by_operator(
    analysis_class: Callable[[nn.Module, Any], OperatorCountAnalysis],
    model: nn.Module,
    inputs: Sequence[Mapping[str, Any]],
    unit: float,
    **handles: Handle | None,
) -> defaultdict[str, float]:
    images = [{"image": entry["image"]} for entry in inputs]
    training = model.training
    model.eval()
    try:
        counts = analysis_class(model, (images,)).set_op_handle(**handles).by_operator()
    finally:
        model.train(training)
    return defaultdict(float, {name: count / unit for name, count in counts.items()})


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


def _size_of_result(args: Sequence[Any], out: Any) -> int:
    return sum(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor))


def _convolution(args: Sequence[Any], out: Tensor) -> int:
    # Every element of the result (of a transposed one: of the input) meets one filter.
    weight, transposed = args[1], args[6]
    positions = args[0] if transposed else out
    return int(positions.numel() * math.prod(weight.shape[1:]))


def _product(first: int) -> Handle:
    """Of matrices (..., n, k) and (..., k, m), where the first is this argument."""
    return lambda args, out: out.numel() * args[first].shape[-1]


def _attention(args: Sequence[Any], out: Any) -> int:
    query, key, value = args[:3]
    scores = query.shape[:-1].numel() * key.shape[-2]
    return int(scores * (query.shape[-1] + value.shape[-1]))


def _per_element(flops: int) -> Handle:
    """So many for each element of the first argument."""
    return lambda args, out: flops * args[0].numel()


def _per_result(flops: int) -> Handle:
    """So many for each element of the result."""
    return lambda args, out: flops * out.numel()


_FLOP_HANDLES: dict[str, tuple[str, Handle]] = {
    "aten::convolution": ("conv", _convolution),
    "aten::addmm": ("addmm", _product(1)),
    "aten::mm": ("matmul", _product(0)),
    "aten::bmm": ("matmul", _product(0)),
    "aten::baddbmm": ("matmul", _product(1)),
    "aten::_scaled_dot_product_flash_attention_for_cpu": ("attention", _attention),
    "aten::_scaled_dot_product_flash_attention": ("attention", _attention),
    "aten::_scaled_dot_product_efficient_attention": ("attention", _attention),
    "aten::native_batch_norm": ("batch_norm", _per_element(2)),
    "aten::_native_batch_norm_legit": ("batch_norm", _per_element(2)),
    "aten::_native_batch_norm_legit_no_training": ("batch_norm", _per_element(2)),
    "aten::cudnn_batch_norm": ("batch_norm", _per_element(2)),
    "aten::native_group_norm": ("group_norm", _per_element(5)),
    "aten::native_layer_norm": ("layer_norm", _per_element(5)),
    "aten::upsample_bilinear2d": ("upsample_bilinear2d", _per_result(4)),
    "aten::upsample_bicubic2d": ("upsample_bicubic2d", _per_result(16)),
    "aten::mean": ("mean", _per_element(1)),
    "aten::_adaptive_avg_pool2d": ("adaptive_avg_pool2d", _per_element(1)),
    "aten::avg_pool2d": ("avg_pool2d", _per_element(1)),
}
_PRODUCTS = ("aten::convolution", "aten::addmm", "aten::mm", "aten::bmm", "aten::baddbmm")
