"""Scripted models: TorchScript that takes a list of images and gives a list of `Instances`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from d2_structures import RotatedBoxes

from ..detection_fields import INSTANCE_FIELDS
from .graph import ExportableModel
from .quiet import quiet_torchscript
from .scripted_detector import ScriptedDetector
from .scripted_instances import patch_instances
from .supported import check_exportable

__all__ = ["freeze_training_mode", "scripting_with_instances"]

_EXAMPLE_SIZES = ((64, 96), (80, 64))


def scripting_with_instances(model: nn.Module, fields: Mapping[str, Any]) -> torch.jit.ScriptModule:
    """Turn a model that uses `Instances` into TorchScript.

    Of the detectors of this package the networks are recorded, with all sizes kept open, and what
    goes from lists of images to batches and from tensors to `Instances` is scripted. Such a model
    is called with a list of dicts that hold ``image`` (C, H, W); images may differ in size and
    number from call to call. It gives for each image `Instances` in the resolution of the network's
    input, as ``inference(inputs, do_postprocess=False)`` of the eager model does. Its method
    ``inference`` is the same, and its part ``network(images, image_sizes)`` takes and gives the
    tensors that `d2_modeling.export.graph` describes.

    Every other model is scripted as it is written. `Instances` in its code, or in that of its
    parts, become a class with these fixed fields.

    In the process that scripted the model, `unscripted_instances` makes eager `Instances` of its
    outputs. Another Python process that loads it has to use ``network``: PyTorch hands
    objects of scripted classes to C++ only.

    Args:
        model: in evaluation mode.
        fields: for each field of `Instances` that the model uses its type, such as
            ``{"pred_boxes": Boxes, "scores": Tensor, "pred_classes": Tensor}``.

    Returns:
        The scripted model.

    Raises:
        ValueError: if the model is in training mode, gives a field that is not in ``fields``, or
            has a part that cannot be exported.
    """
    if model.training:
        raise ValueError("only models in evaluation mode are scripted; call model.eval() first")
    if not hasattr(model, "predict_tensors"):
        with freeze_training_mode(model), patch_instances(fields), quiet_torchscript():
            return torch.jit.script(model)
    graph = ExportableModel(model)
    check_exportable(model, "TorchScript")
    given = [name for name in graph.output_names if name in INSTANCE_FIELDS]
    missing = [INSTANCE_FIELDS[name] for name in given if INSTANCE_FIELDS[name] not in fields]
    if missing or not given:
        what = f"fields lacks {missing}" if missing else "no instances are predicted"
        raise ValueError(
            f"{type(model).__name__} gives {[INSTANCE_FIELDS[name] for name in given]}: {what}"
        )
    num_channels = model.get_buffer("pixel_mean").shape[0]
    is_rotated = issubclass(fields["pred_boxes"], RotatedBoxes)
    names = list(graph.output_names)
    detector = ScriptedDetector(_recorded(graph, num_channels), names, num_channels, is_rotated)
    with freeze_training_mode(detector), patch_instances(fields), quiet_torchscript():
        return torch.jit.script(detector)


def _recorded(graph: ExportableModel, num_channels: int) -> torch.jit.ScriptModule:
    """Trace the tensor part on two images of differing sizes."""
    device = graph.model.device
    sizes = torch.tensor(_EXAMPLE_SIZES, device=device)
    height, width = sizes.amax(dim=0).tolist()
    images = torch.zeros(len(sizes), num_channels, height, width, device=device)
    with torch.no_grad(), quiet_torchscript():
        return torch.jit.trace(graph, (images, sizes), check_trace=False)


@contextmanager
def freeze_training_mode(model: nn.Module) -> Iterator[None]:
    """Make ``training`` a constant of all modules of a model while they are scripted.

    Code for training is then not compiled.
    """
    changed: set[Any] = {
        type(part) for part in model.modules() if "training" not in _constants(type(part))
    }
    before = {kind: kind.__dict__.get("__constants__") for kind in changed}
    for kind in changed:
        kind.__constants__ = [*_constants(kind), "training"]
    try:
        yield
    finally:
        for kind, constants in before.items():
            if constants is None:
                del kind.__constants__
            else:
                kind.__constants__ = constants


def _constants(kind: type) -> list[str]:
    return list(getattr(kind, "__constants__", ()))
