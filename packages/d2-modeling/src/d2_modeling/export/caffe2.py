"""The interface of Caffe2 export, which PyTorch no longer has, over ONNX and ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import nn

from d2_config import CfgNode

from .custom_operators import custom_domains
from .formats import onnx_program
from .graph import OUTPUT_NAMES, ExportableModel
from .loading import ExportedModel, load_exported
from .quiet import quiet_torchscript
from .runtimes import onnx_runner
from .sidecar import PanopticMerging, Preprocessing, Sidecar, TensorSpec
from .supported import check_exportable
from .verification import example_of

__all__ = ["Caffe2Model", "Caffe2Tracer", "add_export_config"]

_GONE = "Caffe2 is no longer part of PyTorch and its files cannot be {}: {}"


def add_export_config(cfg: CfgNode) -> CfgNode:
    """Add the keys of Caffe2 export to a config, whose files may have them.

    Args:
        cfg: it is changed, even if it is frozen, and returned.
    """
    is_frozen = cfg.is_frozen()
    cfg.defrost()
    cfg.EXPORT_CAFFE2 = CfgNode({"USE_HEATMAP_MAX_KEYPOINT": False})
    if is_frozen:
        cfg.freeze()
    return cfg


class Caffe2Tracer:
    """A model that is exported as ONNX or TorchScript, with tensors in and out.

    What goes in and comes out is described in `d2_modeling.export.graph`; `export` writes the same
    with a sidecar and compares it with the model.

    Args:
        cfg: not needed; kept for the interface.
        model: with its weights; it is put into evaluation mode.
        inputs: what the model takes in evaluation, as an example.

    Raises:
        TypeError: if the model is of no kind that can be exported.
        ValueError: if the inputs are none that it takes, or a part of it cannot be exported.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module, inputs: Sequence[Mapping[str, Any]]) -> None:
        self.cfg = cfg
        self._graph = ExportableModel(model)
        check_exportable(model, "ONNX or TorchScript")
        self._example = example_of(model, inputs)

    def export_onnx(self) -> Any:
        """Export to ONNX.

        Returns:
            An ``onnx.ModelProto`` for ONNX Runtime; of standard operators, for TensorRT and others
            too, unless the model is of rotated boxes or deformable convolutions.

        Raises:
            ImportError: if onnx or onnxscript is not installed.
            ValueError: naming what cannot be exported.
        """
        return onnx_program(self._graph, self._example).model_proto

    def export_torchscript(self) -> torch.jit.ScriptModule:
        """Export to TorchScript by tracing."""
        with torch.no_grad(), quiet_torchscript():
            return torch.jit.trace(self._graph, self._example, check_trace=False)

    def export_caffe2(self) -> NoReturn:
        """Refuse: there is no Caffe2.

        Raises:
            RuntimeError: says what to call instead.
        """
        remedy = "call export_onnx(), and Caffe2Model(onnx_model) to run that"
        raise RuntimeError(_GONE.format("made", remedy))


class Caffe2Model(nn.Module):
    """An ONNX model that is called like the model it came from; ONNX Runtime runs it.

    Args:
        predict_net: what `Caffe2Tracer.export_onnx` gave, or the path of an ``.onnx`` file that
            `export` wrote.
        init_net: None; the weights are in the graph.

    Raises:
        ImportError: if ONNX Runtime is not installed.
        ValueError: if the graph is none of an exported model.
    """

    def __init__(self, predict_net: Any, init_net: None = None) -> None:
        super().__init__()
        self._predict_net, self._init_net = predict_net, init_net
        if isinstance(predict_net, (str, os.PathLike)):
            self._model = load_exported(predict_net)
        else:
            sidecar = _described(predict_net)
            names = [output.name for output in sidecar.outputs]
            domains = custom_domains(predict_net)
            runner = onnx_runner(predict_net.SerializeToString(), names, domains)
            self._model = ExportedModel(runner, sidecar)

    @property
    def predict_net(self) -> Any:
        """The ONNX model, or its path."""
        return self._predict_net

    @property
    def init_net(self) -> None:
        """None: the weights are in `predict_net`."""
        return self._init_net

    def __call__(self, inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Predict, as `ExportedModel` does: a list of dicts in, a list of dicts out."""
        return self._model(inputs)

    def save_protobuf(self, output_dir: str | os.PathLike[str]) -> NoReturn:
        """Refuse: there is no Caffe2.

        Raises:
            RuntimeError: says what to call instead.
        """
        path = Path(output_dir) / "model.onnx"
        raise RuntimeError(
            _GONE.format("written", f'call export(model, "onnx", "{path}", example_inputs)')
        )

    def save_graph(self, output_file: str | os.PathLike[str], inputs: Any = None) -> NoReturn:
        """Refuse: there is no Caffe2.

        Raises:
            RuntimeError: says what to do instead.
        """
        remedy = f"write predict_net by onnx.save and open it in netron to get {output_file}"
        raise RuntimeError(_GONE.format("drawn", remedy))

    @staticmethod
    def load_protobuf(dir: str | os.PathLike[str]) -> NoReturn:
        """Refuse: there is no Caffe2.

        Raises:
            RuntimeError: says what to call instead.
        """
        remedy = (
            f"export the model that {os.fspath(dir)} came from by export(model, "
            '"onnx", path, example_inputs), and load_exported(path)'
        )
        raise RuntimeError(_GONE.format("read", remedy))


def _described(onnx_model: Any) -> Sidecar:
    """What the graph itself says about what it takes and gives."""
    outputs = tuple(output.name for output in onnx_model.graph.output)
    kind = next((kind for kind, names in OUTPUT_NAMES.items() if names == outputs), None)
    if kind is None:
        raise ValueError(f"an exported model has no outputs {list(outputs)}: {OUTPUT_NAMES}")
    inputs = [each.name for each in onnx_model.graph.input]
    channels = onnx_model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    images = TensorSpec(name="images", dtype="float32", shape=("N", channels, "H", "W"))
    return Sidecar(
        format="onnx",
        kind=kind,
        inputs=(images,),
        outputs=tuple(TensorSpec(name=name, dtype="", shape=()) for name in outputs),
        preprocessing=Preprocessing(inside=len(inputs) == 1),
        panoptic_merging=PanopticMerging(
            overlap_threshold=0.5, stuff_area_limit=4096, instances_score_threshold=0.5
        )
        if kind == "panoptic"
        else None,
    )
