"""Models that leave Python: graphs of tensors, and the files made of them."""

from .caffe2 import Caffe2Model, Caffe2Tracer, add_export_config
from .dump_ir import dump_torchscript_IR
from .exporting import Exported, export
from .flatten import Schema, flatten_to_tuple
from .graph import INPUT_NAMES, OUTPUT_NAMES, ExportableModel, output_kind
from .loading import ExportedModel, load_exported
from .onnx_values import OPSET
from .scripted_instances import patch_instances, unscripted_instances
from .scripting import freeze_training_mode, scripting_with_instances
from .sidecar import (
    PanopticMerging,
    Preprocessing,
    Sidecar,
    TensorSpec,
    read_sidecar,
    sidecar_path,
    write_sidecar,
)
from .tracing import TracingAdapter

__all__ = [
    "INPUT_NAMES",
    "OPSET",
    "OUTPUT_NAMES",
    "Caffe2Model",
    "Caffe2Tracer",
    "ExportableModel",
    "Exported",
    "ExportedModel",
    "PanopticMerging",
    "Preprocessing",
    "Schema",
    "Sidecar",
    "TensorSpec",
    "TracingAdapter",
    "add_export_config",
    "dump_torchscript_IR",
    "export",
    "flatten_to_tuple",
    "freeze_training_mode",
    "load_exported",
    "output_kind",
    "patch_instances",
    "read_sidecar",
    "scripting_with_instances",
    "sidecar_path",
    "unscripted_instances",
    "write_sidecar",
]
