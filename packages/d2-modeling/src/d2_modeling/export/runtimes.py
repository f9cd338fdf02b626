"""The programs that run exported models, each as a function of tensors."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

import d2_ops  # noqa: F401  # graphs of PyTorch call its operators
from d2_structures import import_optional

from .custom_operators import register_domains
from .quiet import quiet_archive, quiet_torchscript

__all__ = ["CODE_FORMATS", "Runner", "onnx_runner", "reason_of", "runner_of"]

Runner: TypeAlias = Callable[..., Sequence[Tensor]]

CODE_FORMATS = ("torchscript-trace", "torchscript-script", "torch-export", "aotinductor")
"""Formats whose files are programs of PyTorch: who wrote the file decides what runs."""


_REFUSAL = re.compile(
    r"Guard failed: |Runtime assertion failed|Expected .* to be True but received "
)
"""What `torch.export` and AOTInductor say of sizes."""


def runner_of(
    path: Path,
    format: str,
    output_names: Sequence[str],
    device: torch.device,
    *,
    precision: str = "float32",
    custom_domains: Sequence[str] = (),
) -> Runner:
    """Load an artefact. On CPUs it runs on as many threads as torch does when it is loaded.

    Args:
        path: the file.
        format: one of those of `export`.
        output_names: its outputs, in order.
        device: where it runs; ONNX Runtime and OpenVINO take what their installation offers.
        precision: what its layers of weights compute in.
        custom_domains: of an ONNX file's operators that are not ONNX Runtime's own.

    Returns:
        A function from the tensors of the inputs to those of the outputs. Threads may call it at
        once.

    Raises:
        ImportError: if what runs it, or a library of operators, is not installed.
        ValueError: if there is no such format, or the file cannot be loaded.
    """
    loaders = {
        **dict.fromkeys(("torchscript-trace", "torchscript-script"), _torchscript),
        "torch-export": _torch_export,
        "aotinductor": _aotinductor,
    }
    if format == "onnx":
        return onnx_runner(path, output_names, custom_domains)
    if format == "openvino":
        return _openvino(path, len(output_names), precision)
    if format not in loaders:
        raise ValueError(f"{path} is of the format {format!r}, which this version does not run")
    try:
        module = loaders[format](path, device)
    except (RuntimeError, OSError, KeyError, TypeError, BadZipFile) as error:
        raise ValueError(f"{path} could not be loaded as {format}: {reason_of(error)}") from error

    def run(*inputs: Tensor) -> Sequence[Tensor]:
        with torch.no_grad(), _explained(path, inputs[0]):
            outputs = module(*(tensor.to(device) for tensor in inputs))
        return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)

    return run


@contextmanager
def _explained(path: Path, images: Tensor) -> Iterator[None]:
    """Say of what size images are that a graph of torch.export, or its program, refuses."""
    try:
        yield
    except (AssertionError, RuntimeError) as error:
        if not _REFUSAL.match(str(error)):
            raise
        height, width = images.shape[2:]
        raise ValueError(
            f"{path.name} takes no images of {height} x {width} pixels, of which maps of features "
            "would have a single row or column; pad or resize them, or export the model as "
            f"'torchscript-trace' or 'onnx' ({reason_of(error)})"
        ) from error


def onnx_runner(
    model: Path | bytes, output_names: Sequence[str], custom_domains: Sequence[str] = ()
) -> Runner:
    """Load an ONNX graph into ONNX Runtime, from a file or from memory.

    Raises:
        ImportError: if ONNX Runtime is not installed, or d2-ops has no library of operators.
        ValueError: if it does not take the graph.
    """
    runtime = import_optional("onnxruntime", "onnx", package="d2-modeling")
    source = os.fspath(model) if isinstance(model, Path) else model
    options = runtime.SessionOptions()
    # Of its own accord it takes one for two processors that share a core.
    options.intra_op_num_threads = torch.get_num_threads()
    register_domains(options, custom_domains)
    providers = runtime.get_available_providers()
    try:
        session = runtime.InferenceSession(source, options, providers=providers)
    except Exception as error:  # of classes that ONNX Runtime does not publish
        what = model if isinstance(model, Path) else "the graph"
        raise ValueError(f"ONNX Runtime cannot load {what}: {reason_of(error)}") from error
    names = [each.name for each in session.get_inputs()]

    def run(*inputs: Tensor) -> Sequence[Tensor]:
        arrays = [tensor.cpu().numpy() for tensor in inputs]
        outputs = session.run(list(output_names), dict(zip(names, arrays, strict=True)))
        return [torch.from_numpy(np.array(output)) for output in outputs]

    return run


def reason_of(error: Exception) -> str:
    """The line that says something: the others are places in sources, and lists of files."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if lines and "TorchScript" in lines[0]:  # it tells last what happened
        return lines[-1]
    return next((line for line in lines if not line.startswith("Exception from")), str(error))


def _torchscript(path: Path, device: torch.device) -> Any:
    with quiet_torchscript():
        return torch.jit.load(os.fspath(path), map_location=device).eval()


def _torch_export(path: Path, device: torch.device) -> Any:
    with quiet_archive():
        return torch.export.load(path).module()


def _aotinductor(path: Path, device: torch.device) -> Any:
    with quiet_archive():
        return import_module("torch._inductor").aoti_load_package(os.fspath(path))


def _openvino(path: Path, num_outputs: int, precision: str) -> Runner:
    core = import_optional("openvino", "openvino", package="d2-modeling").Core()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        # Processors that compute in bfloat16 do so unless told: scores were off by 0.005.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
    }
    try:
        compiled = core.compile_model(core.read_model(os.fspath(path)), config=settings)
    except RuntimeError as error:
        raise ValueError(f"OpenVINO cannot load {path}: {reason_of(error)}") from error

    requests = threading.local()  # one is for one call at a time

    def run(*inputs: Tensor) -> Sequence[Tensor]:
        if not hasattr(requests, "own"):
            requests.own = compiled.create_infer_request()
        found = requests.own.infer([tensor.cpu().numpy() for tensor in inputs])
        return [torch.from_numpy(np.array(found[index])) for index in range(num_outputs)]

    return run
