"""Which parts of a model cannot be exported: before anything is tried, and where it failed."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import torch
from torch import nn

from ..box_regression import Box2BoxTransformRotated
from ..layers.reduced_precision import ReducedForward

__all__ = ["check_exportable", "part_that_failed"]

# Methods that a graph calls, and those of the Instances interface that each of them stands for.
_STANDS_FOR = {
    ("predict_tensors",): (
        "forward",
        "inference",
        "_forward_mask",
        "_forward_keypoint",
        "preprocess_image",
    ),
    ("predict_tensors", "_detect"): ("_forward_box",),
    ("predict_detections",): ("forward_inference",),
    ("level_candidates",): ("inference",),
    ("propose",): ("forward", "predict_proposals"),
    ("detect",): ("inference", "predict_boxes", "predict_probs", "inference_single_image"),
}

_IN_PLACE_OF_A_CALL = ("predict_tensors", "propose")


def check_exportable(model: nn.Module, format: str) -> None:
    """Refuse a model of which a part is none for graphs of tensors.

    Args:
        model: the model.
        format: the wanted format, for the message.

    Raises:
        ValueError: naming the part and the reason.
    """
    _check_float32(model, format)
    for name, part in model.named_modules():
        reason = _reason(part) or _passed_over(part)
        if reason is None and format == "openvino":
            reason = _without_operators(part)
        if reason:
            raise ValueError(
                f"{name or 'the model itself'} ({type(part).__name__}) cannot be exported as "
                f"{format}: {reason}"
            )
    for name in ("mask_head", "keypoint_head"):
        head = getattr(getattr(model, "roi_heads", None), name, None)
        if head is not None and not hasattr(head, "predict_tensors"):
            raise ValueError(
                f"roi_heads.{name} ({type(head).__name__}) cannot be exported as {format}: it has "
                "no predict_tensors(x, detections)"
            )
    if hasattr(model, "proposal_generator") and not hasattr(model.proposal_generator, "propose"):
        kind = type(model.proposal_generator).__name__
        raise ValueError(
            f"proposal_generator ({kind}) cannot be exported as {format}: it has no "
            "propose(features, image_sizes)"
        )


def _check_float32(model: nn.Module, format: str) -> None:
    taken = f"what is exported as {format} computes in float32 unless precision= says otherwise"
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise ValueError(
                f"{name} is of {parameter.dtype}, but {taken}: call model.float() before"
            )
    for name, part in model.named_modules():
        if isinstance(part.__dict__.get("forward"), ReducedForward):
            raise ValueError(
                f"{name} ({type(part).__name__}) computes in fewer bits, but {taken}: call "
                "optimize_for_inference(model, dtype=torch.float32, inplace=True) before"
            )


def part_that_failed(model: nn.Module, error: BaseException) -> str:
    """The innermost part of a model in whose code an error arose, by its name and type.

    Returns:
        The model's type if it arose in none.
    """
    names = {id(part): name for name, part in model.named_modules()}
    found: nn.Module = model
    for each in _with_causes(error):
        for frame, _ in traceback.walk_tb(each.__traceback__):
            part = frame.f_locals.get("self")
            if isinstance(part, nn.Module) and id(part) in names:
                found = part
    name = names[id(found)]
    return f"{name} ({type(found).__name__})" if name else type(found).__name__


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _without_operators(part: nn.Module) -> str | None:
    if isinstance(getattr(part, "box2box_transform", None), Box2BoxTransformRotated):
        return (
            "OpenVINO has no operators for rotated boxes; export the model as 'onnx', "
            "'torch-export' or 'torchscript-trace' instead"
        )
    return None


def _passed_over(part: nn.Module) -> str | None:
    """What a call of the part does and a graph does not, which calls another of its methods."""
    method = next((each for each in _IN_PLACE_OF_A_CALL if hasattr(type(part), each)), None)
    if method is None:
        return None
    if part._forward_hooks or part._forward_pre_hooks:
        return f"it has hooks, which its {method}() does not call; remove them, or hook its layers"
    if "forward" in vars(part):
        return f"its forward was set from outside, and its {method}() is what is exported"
    return None


def _reason(part: nn.Module) -> str | None:
    ancestors = type(part).__mro__
    for methods, others in _STANDS_FOR.items():
        owners = {_owner(ancestors, method): method for method in methods}
        owner = min((place for place in owners if place is not None), default=None)
        if owner is None:
            continue
        method = owners[owner]
        if method == "predict_tensors" and hasattr(part, "predict_detections"):
            others = ("forward", "preprocess_image")
        for other in others:
            overriding = _owner(ancestors, other)
            if overriding is not None and overriding < owner:
                return (
                    f"its {ancestors[overriding].__name__}.{other}() differs from that of "
                    f"{ancestors[owner].__name__}, whose {method}() is what is exported; define "
                    f"{method}() beside it"
                )
    return None


def _owner(ancestors: tuple[type, ...], method: str) -> int | None:
    """Where in the order of classes a method is defined first."""
    return next((i for i, kind in enumerate(ancestors) if method in vars(kind)), None)
