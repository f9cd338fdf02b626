"""From a model to a checked file in one call."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .custom_operators import domains_of_file
from .formats import FORMATS, onnx_to_openvino, write_standard_onnx
from .graph import ExportableModel, output_kind
from .int8 import calibration_tensors, to_int8
from .picture_input import PictureModel
from .precision import check_precision, to_float16
from .runtimes import runner_of
from .sidecar import Preprocessing, sidecar_path, write_sidecar
from .supported import check_exportable
from .verification import (
    COARSE,
    EXACT,
    NEAR,
    Differences,
    Tolerances,
    check_artefact,
    example_of,
    pictures_of,
    table_of,
)

__all__ = ["Exported", "export"]


class Exported(NamedTuple):
    """What `export` wrote, and how near it is to the model."""

    path: Path
    sidecar: Path
    differences: Differences


def export(
    model: nn.Module,
    format: str,
    path: str | os.PathLike[str],
    example_inputs: Sequence[Mapping[str, Any]],
    *,
    include_preprocessing: bool = False,
    preprocessing: Preprocessing | None = None,
    class_names: Sequence[str] = (),
    stuff_class_names: Sequence[str] = (),
    precision: str = "float32",
    calibration_inputs: Iterable[Mapping[str, Any]] | None = None,
    strict: bool = True,
    report: Callable[[str], None] | None = print,
) -> Exported:
    """Write a model as a file that runs without this library, and compare the two.

    The file takes images of any size and any number of them. It and the model run on the
    example, on two other sizes, on images in which nothing is found, and on another number of
    images. Nothing is left behind where they differ, or where the model cannot be exported.

    Args:
        model: a dense detector, `GeneralizedRCNN`, `PanopticFPN` or `SemanticSegmentor`, of
            float32. It is exported as in evaluation, without autocast and without what
            `torch.compile` made of its parts, and left in the mode that it was in.
        format: ``"torchscript-trace"``, ``"torchscript-script"`` (the trace, frozen),
            ``"torch-export"`` (.pt2), ``"aotinductor"``, ``"onnx"`` or ``"openvino"``.
        path: the file to write; its sidecar is ``path.json``.
        example_inputs: dicts with ``image`` as the model takes them, at least one. Photographs
            in which something is found say more about differences than noise.
        include_preprocessing: make resizing, normalising and padding parts of the file, which
            then takes uint8 images of any size, as they were read, and gives results in their
            pixels. ``image`` of the example is such an image. Resizing is as by ``preprocessing``
            and like that of datasets, but for a level of 255 in a few of a thousand values.
        preprocessing: what the images went through; goes into the sidecar. None says the
            documented defaults, with the channel order that the model knows.
        class_names: of instances, by class; likewise.
        stuff_class_names: of semantic segmentation, by class; likewise.
        precision: for layers of weights. Of ONNX also ``"float16"`` and ``"int8"``, of OpenVINO
            ``"bfloat16"`` and ``"int8"``, which are compared less closely: float16 by boxes within
            1 pixel and scores within 0.02, the others only coarsely; evaluate it.
        calibration_inputs: for int8, some hundred images like those that it will see, as
            ``example_inputs``; read once.
        strict: refuse a file that differs from the model by more than rounding explains. Off it
            is kept, and the log warns of each case: for models that are not trained yet, whose
            scores are so alike that another precision finds other things.
        report: is given the table of the largest differences; None for nobody.

    Returns:
        The paths of file and sidecar, and the largest difference of each output in each case.

    Raises:
        ValueError: if there is no such format or precision, the example or the calibration has no
            image, preprocessing is said to be inside without ``include_preprocessing``, a part of
            the model cannot be exported, or what was exported differs from the model (see
            ``strict``) or does not run.
        TypeError: if the model is of no kind that can be exported, or a class name is no text.
        OSError: if the folder of ``path`` is not there, or the file may not be written.
        ImportError: if the packages of the format are not installed.
    """
    preprocessing = preprocessing or Preprocessing(channels=_channels_of(model))
    path = Path(path).absolute()
    _check_request(format, path, preprocessing, include_preprocessing)
    class_names = _names("class_names", class_names)
    stuff_class_names = _names("stuff_class_names", stuff_class_names)
    check_precision(precision, format, calibration_inputs is not None)
    output_kind(model)
    with (
        _evaluated(model),
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".export") as folder,
    ):
        graph = _graph_of(model, preprocessing if include_preprocessing else None)
        check_exportable(model, format)
        made = Path(folder) / path.name
        examples_of = pictures_of if include_preprocessing else example_of
        example: Sequence[Tensor] = examples_of(model, example_inputs)
        calibration = calibration_tensors(graph, calibration_inputs or (), example[0].device)
        domains = _write(graph, format, example, made, precision=precision, calibration=calibration)
        differences = _checked(graph, format, example, made, precision, domains, strict)
        write_sidecar(
            made,
            graph,
            format=format,
            inputs=example,
            outputs=graph(*example),
            preprocessing=replace(preprocessing, inside=include_preprocessing),
            class_names=class_names,
            stuff_class_names=stuff_class_names,
            precision=precision,
            custom_domains=domains,
            further_files=[part for part in Path(folder).iterdir() if part != made],
        )
        _move_all(Path(folder), path.parent)
    if report is not None:
        report(table_of(differences))
    return Exported(path, sidecar_path(path), differences)


def _check_request(
    format: str, path: Path, preprocessing: Preprocessing, include_preprocessing: bool
) -> None:
    """Refuse what no model can be written as."""
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; there are {sorted(FORMATS)}")
    if preprocessing.inside and not include_preprocessing:
        raise ValueError("preprocessing.inside needs export(..., include_preprocessing=True)")
    if format == "openvino" and path.suffix != ".xml":
        raise ValueError(f"OpenVINO reads files that end in .xml, got {path.name!r}")
    if path.suffix == ".json":
        raise ValueError(
            f"{path.name} is the name of a sidecar: let the file end in something else"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent}, where {path.name} is to be")
    for written in (path, sidecar_path(path)):
        if written.is_dir():
            raise IsADirectoryError(f"{written} is a folder, not a file that may be written")


def _names(argument: str, names: Sequence[str]) -> tuple[str, ...]:
    """The names of classes, where they are such."""
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"{argument} wants a list of names, got {names!r}")
    listed = tuple(names)
    other = next((name for name in listed if not isinstance(name, str)), None)
    if other is not None:
        raise TypeError(f"{argument} wants names, got {other!r} of {type(other).__name__}")
    return listed


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    """Without gradients, autocast and compiled parts; then each part is in its mode again."""
    modes = {part: (part.training, part._compiled_call_impl) for part in model.modules()}
    device: Any = model.device
    try:
        for part in modes:
            part._compiled_call_impl = None
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        for part, (mode, compiled) in modes.items():
            part.training, part._compiled_call_impl = mode, compiled


def _write(
    graph: ExportableModel,
    format: str,
    example: Sequence[Tensor],
    path: Path,
    *,
    precision: str,
    calibration: Iterable[Sequence[Tensor]],
) -> tuple[str, ...]:
    """Write the file; returns the domains of its operators that no runtime has by itself."""
    if precision not in ("float16", "int8"):
        FORMATS[format](graph, example, path)
        return domains_of_file(path) if format == "onnx" else ()
    # Precision is a matter of the ONNX file, of which others are made.
    source = path.with_suffix(".onnx") if format == "openvino" else path
    (write_standard_onnx if format == "openvino" else FORMATS[format])(graph, example, source)
    domains = domains_of_file(source)
    if precision == "float16":
        to_float16(source, domains)
    else:
        to_int8(source, calibration, domains)
    if format == "openvino":
        onnx_to_openvino(graph, source, path)
    return domains


def _checked(
    graph: ExportableModel,
    format: str,
    example: Sequence[Tensor],
    path: Path,
    precision: str,
    domains: Sequence[str],
    strict: bool,
) -> Differences:
    """The largest differences between the file and the model, where they are not too large."""
    device = example[0].device
    settings: dict[str, Any] = {"precision": precision, "custom_domains": domains}
    run = runner_of(path, format, graph.output_names, device, **settings)
    what = f"{path.name} as {format}"
    tolerances = _tolerances(precision, takes_pictures=isinstance(graph, PictureModel))
    return check_artefact(graph, run, example, what=what, tolerances=tolerances, strict=strict)


def _graph_of(model: nn.Module, inside: Preprocessing | None) -> ExportableModel:
    if inside is None:
        return ExportableModel(model)
    return PictureModel(model, inside.min_size, inside.max_size)


def _tolerances(precision: str, *, takes_pictures: bool) -> Tolerances:
    if precision in ("int8", "bfloat16"):
        return COARSE
    return NEAR if takes_pictures or precision == "float16" else EXACT


def _channels_of(model: nn.Module) -> str:
    return getattr(model, "input_format", None) or Preprocessing.channels


def _move_all(folder: Path, target: Path) -> None:
    for part in folder.iterdir():
        if (target / part.name).is_dir():
            raise IsADirectoryError(f"{target / part.name} is a folder, where a file has to be")
    # The sidecar goes last: without it the rest is not loaded.
    for part in sorted(folder.iterdir(), key=lambda each: each.suffix == ".json"):
        os.replace(part, target / part.name)
