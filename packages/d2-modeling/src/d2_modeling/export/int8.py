"""ONNX files whose layers of weights compute in int8, after calibration on images."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from d2_structures import import_optional

from ..image_checks import image_of, picture_of
from .custom_operators import DEFORM_COLUMNS, output_types, register_domains
from .graph import ExportableModel
from .precision import BETWEEN, HEAVY, fold
from .quiet import quiet_log

__all__ = ["calibration_tensors", "to_int8"]

_QUANTISED = [*HEAVY, *BETWEEN, "Resize"]


def calibration_tensors(
    graph: ExportableModel, inputs: Iterable[Mapping[str, Any]], device: torch.device
) -> Iterator[Sequence[Tensor]]:
    """One image after the other, as a graph takes it.

    Raises:
        ValueError: if there is none, or one is none that the model takes.
    """
    channels, count = len(graph.model.pixel_mean), 0
    for count, entry in enumerate(inputs, start=1):
        if len(graph.input_names) == 1:
            yield (picture_of(entry, count - 1, channels)[None].to(device),)
            continue
        image = image_of(entry, count - 1, channels).to(device).float()
        yield image[None], torch.tensor([image.shape[1:]], device=device)
    if count == 0:
        raise ValueError("int8 needs calibration_inputs: images like those it will see, got none")


def to_int8(
    path: Path, calibration: Iterable[Sequence[Tensor]], custom_domains: Sequence[str] = ()
) -> None:
    """Let convolutions and matrix products of an ONNX file compute in int8, but for the last ones.

    What lies between them does so, too: otherwise maps would be converted there and back. What
    scores and boxes are read from stays float32: they are small, and a step of int8 is pixels.
    Weights get a scale for each channel, activations one for the range that they have on the
    calibration inputs. Weights are of 7 bits: processors without instructions for such products
    (VNNI) add two of them in 16 bits, which does not hold those of 8.

    Args:
        path: the file; it is replaced.
        calibration: the tensors of the inputs, for each call.
        custom_domains: of operators in it that are not ONNX Runtime's own.

    Raises:
        ImportError: if ONNX Runtime is not installed.
    """
    quantization = import_optional("onnxruntime.quantization", "onnx", package="d2-modeling")
    onnx = import_optional("onnx", "onnx", package="d2-modeling")
    quantizers = import_module("onnxruntime.quantization.qdq_quantizer")
    fold(path, custom_domains)
    model = onnx.load(os.fspath(path))
    model.graph.value_info.extend(output_types(model.graph))
    onnx.save(model, os.fspath(path))
    with quiet_log(None):  # in which the tools advise their caller what to do before
        quantizer = quantizers.QDQQuantizer(
            model,
            per_channel=True,
            reduce_range=True,
            weight_qType=quantization.QuantType.QInt8,
            activation_qType=quantization.QuantType.QUInt8,
            tensors_range=_ranges(quantization, path, calibration, custom_domains),
            nodes_to_quantize=_in_few_bits(model.graph),
            nodes_to_exclude=[],
            op_types_to_quantize=_QUANTISED,
            extra_options={},
        )
        quantizer.quantize_model()
    quantizer.model.save_model_to_file(os.fspath(path))


def _ranges(
    quantization: Any,
    path: Path,
    calibration: Iterable[Sequence[Tensor]],
    custom_domains: Sequence[str],
) -> Any:
    """For each value of a file by its name, the least and the largest that it was."""
    runtime = import_module("onnxruntime")

    class Calibrater(quantization.MinMaxCalibrater):
        # quantize_static() would have one whose session knows no further operators.
        def create_inference_session(self) -> None:
            options = runtime.SessionOptions()
            register_domains(options, custom_domains)
            # Every value is to be there, under its name.
            options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
            self.infer_session = runtime.InferenceSession(
                self.augmented_model_path, options, providers=self.execution_providers
            )

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        calibrater = Calibrater(
            path, _QUANTISED, augmented_model_path=os.path.join(folder, "augmented.onnx")
        )
        calibrater.augment_graph()
        calibrater.create_inference_session()
        names = [each.name for each in calibrater.infer_session.get_inputs()]
        calibrater.collect_data(_reader(quantization, names, calibration))
        return calibrater.compute_data()


def _reader(
    quantization: Any, names: Sequence[str], calibration: Iterable[Sequence[Tensor]]
) -> Any:
    calls = iter(calibration)

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> Any:
            tensors = next(calls, None)
            if tensors is None:
                return None
            return {name: each.cpu().numpy() for name, each in zip(names, tensors, strict=True)}

    return Reader()


def _in_few_bits(graph: Any) -> list[str]:
    """Names of heavy nodes but the last, and of those between that work on their outputs."""
    weights = {each.name for each in graph.initializer}
    last = set(_last_layers(graph))
    names, maps = [], set[str]()
    for node in graph.node:
        if node.op_type in HEAVY:
            is_one = node.name not in last and node.input[1] in weights
        elif node.op_type == "Add":  # that of a block of a ResNet, not one of coordinates
            is_one = maps.issuperset(node.input)
        else:
            is_one = node.op_type in (*BETWEEN, "Resize") and node.input[0] in maps
        if is_one:
            names.append(node.name)
            maps.update(node.output)
    return names


def _last_layers(graph: Any) -> list[str]:
    """Names of heavy nodes whose outputs go neither to another nor to what lies between.

    Deformable convolutions, of whose columns a product is made, are layers of backbones: none is
    the last, even if a norm that was not folded follows.
    """
    goes_on: set[str] = set()
    columns: set[str] = set()
    for node in graph.node:
        if node.op_type in _QUANTISED:
            goes_on.update(node.input)
        if node.op_type == DEFORM_COLUMNS:
            columns.update(node.output)
    return [
        node.name
        for node in graph.node
        if node.op_type in HEAVY
        and not goes_on.intersection(node.output)
        and node.input[0] not in columns
    ]
