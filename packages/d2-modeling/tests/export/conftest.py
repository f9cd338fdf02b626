"""A detector small enough to be exported within a second, as artefacts of each format."""

import pathlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from d2_modeling.export import ExportableModel, Preprocessing, write_sidecar

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from bright_columns import BrightColumns  # of this folder

EXAMPLE = torch.zeros(2, 3, 6, 8), torch.tensor([[6, 8], [5, 7]])


def _trace(graph: nn.Module, path: pathlib.Path) -> None:
    torch.jit.save(torch.jit.trace(graph, EXAMPLE, check_trace=False), path)


def _torch_export(graph: nn.Module, path: pathlib.Path) -> None:
    torch.export.save(torch.export.export(graph, EXAMPLE, dynamic_shapes=_dynamic()), path)


def _onnx(graph: nn.Module, path: pathlib.Path) -> None:
    pytest.importorskip("onnxscript", reason="ONNX files are made by onnxscript")
    pytest.importorskip("onnxruntime", reason="ONNX files are run by ONNX Runtime")
    torch.onnx.export(
        graph,
        EXAMPLE,
        path,
        input_names=["images", "image_sizes"],
        output_names=["boxes", "scores", "classes", "batch_index"],
        dynamic_shapes=_dynamic(),
        external_data=False,
        verbose=False,
    )


def _openvino(graph: nn.Module, path: pathlib.Path) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    _onnx(graph, path.with_suffix(".onnx"))
    converted = openvino.Core().read_model(path.with_suffix(".onnx"))
    openvino.save_model(converted, path, compress_to_fp16=False)


def _dynamic() -> Any:
    auto = torch.export.Dim.AUTO
    return ({0: auto, 2: auto, 3: auto}, {0: auto})


WRITERS: dict[str, tuple[str, Callable[[nn.Module, pathlib.Path], None]]] = {
    "torchscript-trace": ("model.ts", _trace),
    "torch-export": ("model.pt2", _torch_export),
    "onnx": ("model.onnx", _onnx),
    "openvino": ("model.xml", _openvino),
}


@pytest.fixture(scope="session")
def detector() -> BrightColumns:
    return BrightColumns()


@pytest.fixture(scope="session")
def artefact(
    detector: BrightColumns, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], pathlib.Path]:
    """Writes the detector in a format, once in a session."""
    made: dict[str, pathlib.Path] = {}

    def write(format: str) -> pathlib.Path:
        if format not in made:
            name, writer = WRITERS[format]
            path = tmp_path_factory.mktemp("exported") / name
            graph = ExportableModel(detector)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of exporters, about themselves
                writer(graph, path)
            write_sidecar(
                path,
                graph,
                format=format,
                inputs=EXAMPLE,
                outputs=graph(*EXAMPLE),
                preprocessing=Preprocessing(),
                class_names=["even", "odd"],
                further_files=path.parent.glob("model.bin"),
            )
            made[format] = path
        return made[format]

    return write
