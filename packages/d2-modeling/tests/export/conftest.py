"""A detector small enough to be exported within a second, and its artefacts."""

import pathlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_modeling.export import ExportableModel, Preprocessing, write_sidecar
from d2_modeling.image_input import ImageInput
from d2_modeling.postprocessing import detector_postprocess
from d2_structures import Boxes, Instances


class BrightColumns(ImageInput):
    """Finds the columns of pixels that are bright enough: a detector without weights."""

    head: Any = None
    head_in_features = ("p3",)

    def __init__(self) -> None:
        super().__init__([100.0, 100.0, 100.0], [50.0, 50.0, 50.0])
        self.eval()

    def predict_tensors(self, images: Tensor, image_sizes: Tensor) -> dict[str, Tensor]:
        scores = ((images.to(torch.float32) - self.pixel_mean) / self.pixel_std).amax(dim=(1, 2))
        batch_index, x = (scores > 0.5).nonzero().unbind(1)
        sizes = image_sizes[batch_index].to(torch.float32)
        left = x.to(torch.float32)
        boxes = torch.stack([left, torch.zeros_like(left), left + 1, sizes[:, 0]], dim=1)
        return {
            "boxes": boxes,
            "scores": scores[batch_index, x],
            "classes": x % 2,
            "batch_index": batch_index,
        }

    def forward(self, batched_inputs: Any) -> list[dict[str, Instances]]:
        self.normalized_images(batched_inputs)
        results = []
        for entry in batched_inputs:
            image = entry["image"]
            size = (image.shape[1], image.shape[2])
            found = self.predict_tensors(image[None], torch.tensor([size]))
            instances = Instances(
                size,
                pred_boxes=Boxes(found["boxes"]),
                scores=found["scores"],
                pred_classes=found["classes"],
            )
            wanted = entry.get("height", size[0]), entry.get("width", size[1])
            results.append({"instances": detector_postprocess(instances, *wanted)})
        return results


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
