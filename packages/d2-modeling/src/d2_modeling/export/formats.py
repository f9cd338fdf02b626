"""What writes each format."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from d2_structures import import_optional

from .custom_operators import custom_translations
from .graph import ExportableModel
from .onnx_operators import translations
from .onnx_values import OPSET
from .quiet import quiet_archive, quiet_export, quiet_log, quiet_torchscript
from .supported import part_that_failed

__all__ = ["FORMATS", "exported_program", "onnx_program", "onnx_to_openvino", "write_standard_onnx"]

Example: TypeAlias = Sequence[Tensor]
_LONGEST = 2**16
"""Of rows and columns of an exported model's images, and of images in a batch."""

# Its own choice of a memory format makes Inductor give a convolution of regions, of which there are
# as many as are found, maps by channels, and read what comes out as if it were by rows.
_INDUCTOR = {"layout_optimization": False}

Writer: TypeAlias = Callable[[ExportableModel, Example, Path], None]


def exported_program(graph: ExportableModel, example: Example) -> Any:
    """The graph of `torch.export`, for any height, width and number of images.

    Args:
        graph: the model.
        example: one tensor for each input; two images or more, for 1 would be a constant.

    Raises:
        ValueError: naming what cannot be exported.
    """
    height, width = example[0].shape[2:]
    if min(height, width) == 1:
        raise ValueError(
            f"images of {height} x {width} pixels are no example for torch.export, which takes a "
            "side of 1 for a constant: give larger ones"
        )
    # Without a bound, those of sizes made of these would not fit their type.
    dynamic = torch.export.Dim.DYNAMIC(max=_LONGEST)
    shapes = ({0: dynamic, 2: dynamic, 3: dynamic}, {0: dynamic})
    with torch.no_grad(), _explained(graph, "torch.export"), quiet_export():
        return torch.export.export(
            graph,
            tuple(example),
            dynamic_shapes=shapes[: len(example)],
            # Sizes such as that of a padded image are no simple ranges of those of the input.
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def onnx_program(graph: ExportableModel, example: Example, *, only_standard: bool = False) -> Any:
    """The graph in ONNX operators of opset `OPSET`.

    Args:
        graph: the model.
        example: one tensor for each input.
        only_standard: without the operators of d2-ops' library for ONNX Runtime, which otherwise
            stand for those that ONNX has no standard ones for.

    Raises:
        ImportError: if onnx or onnxscript is not installed.
        ValueError: naming what cannot be exported.
    """
    for name in ("onnx", "onnxscript"):
        import_optional(name, "onnx", package="d2-modeling")
    program = exported_program(graph, example)
    table = translations() | ({} if only_standard else custom_translations())
    _check_operators(program, table, only_standard=only_standard)
    with _translated(program), _explained(graph, "ONNX"), _quiet():
        return torch.onnx.export(
            program,
            tuple(example),
            dynamo=True,
            optimize=False,  # runtimes do it themselves, in seconds instead of minutes
            opset_version=OPSET,
            custom_translation_table=table,
            input_names=list(graph.input_names),
            output_names=list(graph.output_names),
            verbose=False,
        )


def _write_trace(graph: ExportableModel, example: Example, path: Path) -> None:
    with torch.no_grad(), quiet_torchscript(), _explained(graph, "a trace"):
        traced = torch.jit.trace(graph, tuple(example), check_trace=False)
        torch.jit.save(traced, os.fspath(path))


def _write_script(graph: ExportableModel, example: Example, path: Path) -> None:
    with torch.no_grad(), quiet_torchscript(), _explained(graph, "a script"):
        traced = torch.jit.trace(graph, tuple(example), check_trace=False)
        frozen = torch.jit.freeze(traced.eval())
        torch.jit.save(frozen, os.fspath(path))


def _write_torch_export(graph: ExportableModel, example: Example, path: Path) -> None:
    program = exported_program(graph, example)
    with _quiet(), quiet_archive():
        torch.export.save(program, path)


def _write_aotinductor(graph: ExportableModel, example: Example, path: Path) -> None:
    program = exported_program(graph, example)
    inductor = import_module("torch._inductor")
    package = path.with_suffix(".pt2")
    with torch.no_grad(), _explained(graph, "AOTInductor"), _quiet():
        inductor.aoti_compile_and_package(
            program, package_path=os.fspath(package), inductor_configs=_INDUCTOR
        )
    os.replace(package, path)


def _write_onnx(graph: ExportableModel, example: Example, path: Path) -> None:
    _save_onnx(onnx_program(graph, example), path)


def _save_onnx(program: Any, path: Path) -> None:
    program.save(os.fspath(path), external_data=False)
    import_module("onnx").checker.check_model(os.fspath(path), full_check=True)


def _write_openvino(graph: ExportableModel, example: Example, path: Path) -> None:
    import_optional("openvino", "openvino", package="d2-modeling")
    source = path.with_suffix(".onnx")
    write_standard_onnx(graph, example, source)
    onnx_to_openvino(graph, source, path)


def write_standard_onnx(graph: ExportableModel, example: Example, path: Path) -> None:
    """Write an ONNX file of standard operators only."""
    _save_onnx(onnx_program(graph, example, only_standard=True), path)


def onnx_to_openvino(graph: ExportableModel, source: Path, path: Path) -> None:
    """Make OpenVINO's two files of an ONNX file, which is removed.

    Raises:
        ImportError: if OpenVINO is not installed.
        ValueError: if it does not take the graph.
    """
    openvino = import_optional("openvino", "openvino", package="d2-modeling")
    with _explained(graph, "OpenVINO"):
        # Not convert_model(): it reports its use over the network, from processes of its own.
        converted = openvino.Core().read_model(os.fspath(source))
        openvino.save_model(converted, os.fspath(path), compress_to_fp16=False)
    source.unlink()


FORMATS: dict[str, Writer] = {
    "torchscript-trace": _write_trace,
    "torchscript-script": _write_script,
    "torch-export": _write_torch_export,
    "aotinductor": _write_aotinductor,
    "onnx": _write_onnx,
    "openvino": _write_openvino,
}
"""For each format what writes it."""


def _check_operators(program: Any, table: dict[Any, Any], *, only_standard: bool) -> None:
    """Refuse operators of d2-ops that ONNX has nothing for."""
    for node in program.graph.nodes:
        if getattr(node.target, "namespace", None) == "d2_ops" and node.target not in table:
            raise ValueError(
                f"{_caller_of(node)} calls {node.target}, for which there is no "
                f"{'standard ' * only_standard}ONNX operator; export the model as "
                f"{_onnx_if(only_standard, node.target)}'torch-export' or 'torchscript-trace' "
                "instead"
            )


def _caller_of(node: Any) -> str:
    stack = node.meta.get("nn_module_stack") or {"": ("the model itself", "")}
    where, kind = list(stack.values())[-1]
    kind = kind if isinstance(kind, str) else kind.__qualname__
    return f"{where.removeprefix('model.') or 'the model itself'} ({kind.rsplit('.', 1)[-1]})"


def _onnx_if(only_standard: bool, operator: Any) -> str:
    return "'onnx', " if only_standard and operator in custom_translations() else ""


@contextmanager
def _translated(program: Any) -> Iterator[None]:
    """Say which part calls what has no translation, which PyTorch tells last of many lines."""
    try:
        yield
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        for node in program.graph.nodes:
            if node.op == "call_function" and repr(node.target) in str(cause):
                raise ValueError(
                    f"{_caller_of(node)} calls {node.target}, which PyTorch cannot translate to "
                    "ONNX; export the model as 'torch-export' or 'torchscript-trace' instead"
                ) from error
        raise


@contextmanager
def _explained(graph: ExportableModel, what: str) -> Iterator[None]:
    """Say which part, and the first line of the reason, where an exporter fails."""
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # exporters raise what their parts raise
        kind = type(error).__name__
        reason = str(error).strip().splitlines() or [kind]
        if reason[0].endswith(":"):  # what follows is a list
            reason = [" ".join(reason[:2])]
        why = "its code asks for values of tensors, which a graph has not; "
        raise ValueError(
            f"{part_that_failed(graph.model, error)} cannot be exported by {what}: "
            f"{why if 'DataDependent' in kind else ''}{kind}: {reason[0]}"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter tells about its own parts."""
    with quiet_log("onnxscript"), quiet_log("torch.onnx"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
