"""Readable forms of a TorchScript model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from d2_config.files import write_atomically

__all__ = ["dump_torchscript_IR"]


def dump_torchscript_IR(model: Any, dir: str | os.PathLike[str]) -> None:
    """Write what a scripted or traced model consists of, to look at it.

    Args:
        model: a traced or scripted module or function.
        dir: folder for ``model_ts_code.txt`` (the code of each method, of all modules inside
            too), ``model_ts_IR.txt`` (the graphs of each method), ``model_ts_IR_inlined.txt`` (the
            graph with all calls replaced by what they do) and, of modules, ``model.txt`` (the tree
            of modules). It is made if missing.

    Raises:
        TypeError: if the model is neither scripted nor traced.
    """
    is_module = isinstance(model, torch.jit.ScriptModule)
    if not is_module and not isinstance(model, torch.jit.ScriptFunction):
        raise TypeError(
            f"dump_torchscript_IR shows traced or scripted models, got {type(model).__name__}; "
            "call torch.jit.trace or scripting_with_instances before"
        )
    folder = Path(dir)
    folder.mkdir(parents=True, exist_ok=True)
    modules = model.named_modules() if is_module else [("", model)]
    parts = [(name, part, method) for name, part in modules for method in _methods(part)]
    codes = (_titled(name, part, method.name, method.code) for name, part, method in parts)
    graphs = (_titled(name, part, method.name, str(method.graph)) for name, part, method in parts)
    inlined = (
        _titled("", model, method.name, str(method.inlined_graph)) for method in _methods(model)
    )
    write_atomically(folder / "model_ts_code.txt", "\n".join(codes))
    write_atomically(folder / "model_ts_IR.txt", "\n".join(graphs))
    write_atomically(folder / "model_ts_IR_inlined.txt", "\n".join(inlined))
    if is_module:
        write_atomically(folder / "model.txt", f"{model}\n")


def _methods(part: Any) -> list[Any]:
    """The compiled methods of a module, or the function itself."""
    if isinstance(part, torch.jit.ScriptFunction):
        return [part]
    if not isinstance(part, torch.jit.ScriptModule):
        return []  # parameters' containers
    return [part._c._get_method(name) for name in sorted(part._c._method_names())]


def _titled(name: str, part: Any, method: str, text: str) -> str:
    kind = getattr(part, "original_name", type(part).__name__)
    return f"# {'.'.join(filter(None, (name, method)))} of {kind}\n{text}\n"
