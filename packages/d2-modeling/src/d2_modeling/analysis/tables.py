"""Counts beside the modules that they belong to, as tables and as text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from torch import nn

from ..markdown_table import markdown_table
from .flops import ActivationCountAnalysis, FlopCountAnalysis
from .parameters import parameter_count

_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K"))


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
    return markdown_table(rows)


def flop_count_table(
    flops: FlopCountAnalysis,
    max_depth: int = 3,
    activations: ActivationCountAnalysis | None = None,
    show_param_shapes: bool = True,
) -> str:
    """Parameters and multiply-adds of a model's modules as a table in Markdown.

    Args:
        flops: of the model.
        max_depth: how deep to go into modules.
        activations: of the model, for one more column.
        show_param_shapes: list parameters, too, with their shapes.

    Returns:
        Lines without a final newline. Cells of what has no multiply-adds are empty.
    """
    model = flops.model
    parameters = parameter_count(model)
    shapes = {name: str(tuple(value.shape)) for name, value in model.named_parameters()}
    analyses = [flops, *([] if activations is None else [activations])]
    counts = [analysis.by_module() for analysis in analyses]

    def cells(name: str) -> list[str]:
        first = shapes.get(name) or short_number(parameters[name])
        return [first, *(short_number(c[name]) if c[name] else "" for c in counts)]

    rows = [["model", *cells("")]]
    for name in _modules_and_parameters(model):
        depth = name.count(".") + 1
        shown = depth <= max_depth and (show_param_shapes or name not in shapes)
        if shown and (parameters[name] or any(c[name] for c in counts)):
            rows.append([" " * depth + name, *cells(name)])
    titles = ["#flops", "#activations"][: len(analyses)]
    return markdown_table([["model", "#parameters or shape", *titles], *rows])


def flop_count_str(
    flops: FlopCountAnalysis, activations: ActivationCountAnalysis | None = None
) -> str:
    """A model as ``str(model)`` shows it, with parameters and multiply-adds of every module.

    Args:
        flops: of the model.
        activations: of the model, for one more number.

    Returns:
        Text of several lines. Nothing is said of modules without parameters and multiply-adds; a
        module that was not called has ``N/A``, and counts for the module that made use of it.
    """
    parameters = parameter_count(flops.model)
    uncalled = flops.uncalled_modules()
    analyses = [("flops", flops.by_module())]
    if activations is not None:
        analyses.append(("activations", activations.by_module()))

    def numbers(name: str) -> str:
        found = [f"#params: {short_number(parameters[name])}"] if parameters[name] else []
        for title, counts in analyses:
            if name in uncalled:
                found += [f"#{title}: N/A"] if parameters[name] else []
            elif counts[name] or parameters[name]:
                found.append(f"#{title}: {short_number(counts[name])}")
        return ", ".join(found)

    return _described(flops.model, "", numbers)


def short_number(count: float) -> str:
    """A count in three digits: ``34.6M``, ``0.128K``, ``16``."""
    if count <= 100:
        return str(int(count)) if count == int(count) else f"{count:.3g}"
    for size, unit in _UNITS:
        if count >= size / 10:
            return f"{count / size:.3g}{unit}"
    raise AssertionError(count)


def _in_order_of_modules(names: Iterable[str]) -> list[str]:
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


def _modules_and_parameters(model: nn.Module) -> Iterator[str]:
    """The names of a model's modules, and behind each those of its own parameters."""
    for name, module in model.named_modules():
        if name:
            yield name
        yield from (
            f"{name}.{own}".lstrip(".") for own, _ in module.named_parameters(recurse=False)
        )


def _described(module: nn.Module, name: str, numbers: Callable[[str], str]) -> str:
    inside = [text for text in (numbers(name),) if text]
    if module.extra_repr():
        inside.insert(0, module.extra_repr())
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}" if name else child_name
        inside.append(f"({child_name}): {_described(child, path, numbers)}")
    title = type(module).__name__
    if not inside:
        return f"{title}()"
    lines = "\n".join(inside).split("\n")
    return "\n".join([f"{title}(", *(f"  {line}" for line in lines), ")"])
