"""What is written beside an exported model: all that its user has to know, as JSON.

The sidecar of ``model.onnx`` is ``model.onnx.json``. It can be read without this library::

    {
      "sidecar_version": 1,
      "format": "onnx",
      "kind": "boxes",
      "inputs": [{"name": "images", "dtype": "float32", "shape": ["N", 3, "H", "W"]}, ...],
      "outputs": [{"name": "boxes", "dtype": "float32", "shape": ["D", 4]}, ...],
      "preprocessing": {"inside": false, "channels": "BGR", "min_size": 800, ...},
      "class_names": ["person", ...],
      "custom_domains": ["d2_ops"],
      "sha256": {"model.onnx": "..."},
      "versions": {"torch": "2.13.0", ...}
    }

Sizes that are names may change from call to call; equal names are equal sizes. An ONNX file with
``custom_domains`` runs only with the libraries that have their operators: `d2_ops.onnx_library` for
``d2_ops``. Most have none.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from d2_config.files import write_atomically

from .graph import OUTPUT_NAMES, ExportableModel

__all__ = [
    "PanopticMerging",
    "Preprocessing",
    "Sidecar",
    "TensorSpec",
    "read_sidecar",
    "sidecar_path",
    "write_sidecar",
]

_VERSION = 1
_LIBRARIES = ("d2-modeling", "d2-ops", "d2-structures", "torch")
_FORMAT_LIBRARIES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}
_SIZES: dict[str, tuple[str | None, ...]] = {
    "images": ("N", None, "H", "W"),
    "image_sizes": ("N", None),
    "boxes": ("D", None),
    "scores": ("D",),
    "classes": ("D",),
    "batch_index": ("D",),
    "mask_probabilities": ("D", None, None, None),
    "keypoints": ("D", None, None),
    "sem_seg": ("N", None, "H_out", "W_out"),
}


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """An input or output.

    Attributes:
        name: what the artefact calls it.
        dtype: such as ``"float32"``.
        shape: for each dimension its size, or the name of a size that may change.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> TensorSpec:
        """The spec of a tensor that is called as in `d2_modeling.export.graph`."""
        names = _SIZES[name]
        shape = [
            fixed if size is None else size for fixed, size in zip(tensor.shape, names, strict=True)
        ]
        return cls(name=name, dtype=str(tensor.dtype).removeprefix("torch."), shape=tuple(shape))


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What happens to an image before the model's first layer.

    Attributes:
        inside: whether the artefact resizes and normalises itself: it then takes uint8 images as
            they are. Otherwise its user resizes; all artefacts normalise.
        channels: ``"BGR"`` or ``"RGB"``.
        pixel_mean: subtracted from each channel.
        pixel_std: each channel is divided by it.
        min_size: what the shorter side is resized to, in pixels; 0 to leave images as they are.
        max_size: most that the longer side may then have, in pixels.
    """

    inside: bool = False
    channels: str = "BGR"
    pixel_mean: tuple[float, ...] = ()
    pixel_std: tuple[float, ...] = ()
    min_size: int = 800
    max_size: int = 1333


@dataclass(frozen=True, kw_only=True)
class PanopticMerging:
    """How instances and stuff become one picture, see `combine_semantic_and_instance_outputs`."""

    overlap_threshold: float
    stuff_area_limit: float
    instances_score_threshold: float


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What is known about an exported model.

    Attributes:
        format: one of those of `export`.
        kind: key of `OUTPUT_NAMES`.
        inputs: in the order of the call.
        outputs: in the order in which they come.
        preprocessing: of images.
        panoptic_merging: of models of kind ``"panoptic"``.
        class_names: of instances, by class.
        stuff_class_names: of semantic segmentation, by class.
        precision: what its layers of weights compute in.
        custom_domains: of an ONNX file's operators that no runtime has by itself; those of
            ``"d2_ops"`` are in the library that `d2_ops.onnx_library` names.
        sha256: checksum of each file of the artefact, by its name in the artefact's folder.
        versions: of the libraries that took part.
    """

    format: str
    kind: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: Preprocessing
    panoptic_merging: PanopticMerging | None = None
    class_names: tuple[str, ...] = ()
    stuff_class_names: tuple[str, ...] = ()
    precision: str = "float32"
    custom_domains: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def sidecar_path(artefact: str | os.PathLike[str]) -> Path:
    """Where the sidecar of an artefact is."""
    artefact = Path(artefact)
    return artefact.with_name(f"{artefact.name}.json")


def write_sidecar(
    artefact: str | os.PathLike[str],
    graph: ExportableModel,
    *,
    format: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    preprocessing: Preprocessing,
    class_names: Sequence[str] = (),
    stuff_class_names: Sequence[str] = (),
    precision: str = "float32",
    custom_domains: Sequence[str] = (),
    further_files: Iterable[str | os.PathLike[str]] = (),
) -> Path:
    """Write the sidecar of an artefact that has been written.

    Args:
        artefact: the file.
        graph: what was exported.
        format: one of those of `export`.
        inputs: an example, one tensor for each of ``graph.input_names``.
        outputs: what it gives, one tensor for each of ``graph.output_names``.
        preprocessing: the mean and deviation of pixels are filled in from the model.
        class_names: of instances, by class.
        stuff_class_names: of semantic segmentation, by class.
        precision: what its layers of weights compute in.
        custom_domains: of its operators that no runtime has by itself.
        further_files: what belongs to the artefact and lies in its folder, such as weights.

    Returns:
        The sidecar's path.
    """
    artefact = Path(artefact)
    model = graph.model
    mean, std = (tuple(one.flatten().tolist()) for one in (model.pixel_mean, model.pixel_std))
    sidecar = Sidecar(
        format=format,
        kind=graph.kind,
        inputs=_specs(graph.input_names, inputs),
        outputs=_specs(graph.output_names, outputs),
        preprocessing=replace(preprocessing, pixel_mean=mean, pixel_std=std),
        panoptic_merging=_merging_of(model) if graph.kind == "panoptic" else None,
        class_names=tuple(class_names),
        stuff_class_names=tuple(stuff_class_names),
        precision=precision,
        custom_domains=tuple(custom_domains),
        sha256={Path(p).name: _sha256(Path(p)) for p in (artefact, *further_files)},
        versions=_versions(format),
    )
    path = sidecar_path(artefact)
    content = {"sidecar_version": _VERSION, **asdict(sidecar)}
    write_atomically(path, json.dumps(content, indent=2) + "\n")
    return path


def read_sidecar(artefact: str | os.PathLike[str]) -> Sidecar:
    """Read the sidecar of an artefact and compare the artefact with it.

    Raises:
        FileNotFoundError: if there is no sidecar, or a file of the artefact is missing.
        ValueError: if the sidecar cannot be understood, or a file is not the one that it
            describes.
    """
    artefact = Path(artefact)
    path = sidecar_path(artefact)
    if not path.is_file():
        raise FileNotFoundError(
            f"{artefact} has no sidecar {path.name}: export() writes it beside the artefact, and "
            "both have to be copied"
        )
    try:
        sidecar = _parsed(json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, KeyError, AttributeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is no sidecar of an exported model ({error}); export the model again"
        ) from error
    if artefact.name not in sidecar.sha256:
        raise ValueError(f"{path} describes {sorted(sidecar.sha256)}, not {artefact.name}")
    for name, wanted in sidecar.sha256.items():
        file = artefact.parent / name
        if not file.is_file():
            raise FileNotFoundError(f"{artefact} needs {name} in its folder, which is not there")
        found = _sha256(file)
        if found != wanted:
            raise ValueError(
                f"{file} does not fit its sidecar {path.name}: its SHA-256 is {found[:16]}…, "
                f"described is {wanted[:16]}…; one of them is damaged or of another export"
            )
    return sidecar


def _specs(names: Sequence[str], tensors: Sequence[Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec.of(name, tensor) for name, tensor in zip(names, tensors, strict=True))


def _merging_of(model: Any) -> PanopticMerging:
    return PanopticMerging(
        overlap_threshold=float(model.combine_overlap_thresh),
        stuff_area_limit=float(model.combine_stuff_area_thresh),
        instances_score_threshold=float(model.combine_instances_score_thresh),
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _versions(format: str) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in (*_LIBRARIES, *_FORMAT_LIBRARIES.get(format, ())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _parsed(content: dict[str, Any]) -> Sidecar:
    if content.pop("sidecar_version") != _VERSION:
        raise ValueError("it is of another version of d2-modeling")
    unknown = set(content) - {known.name for known in fields(Sidecar)}
    if unknown:
        raise ValueError(f"unknown entries {sorted(unknown)}")
    kind, outputs = str(content["kind"]), _parsed_specs(content["outputs"])
    if tuple(output.name for output in outputs) != OUTPUT_NAMES.get(kind):
        raise ValueError(f"its outputs are not those of kind {kind!r}")
    merging = content["panoptic_merging"]
    if (merging is not None) != (kind == "panoptic"):
        raise ValueError("panoptic_merging goes with kind 'panoptic'")
    preprocessing = dict(content["preprocessing"])
    for name in ("pixel_mean", "pixel_std"):
        preprocessing[name] = tuple(map(float, preprocessing[name]))
    checksums = {str(name): str(digest) for name, digest in content["sha256"].items()}
    for name in checksums:
        if Path(name).name != name:
            raise ValueError(f"file {name!r} is not in the artefact's folder")
    return Sidecar(
        format=str(content["format"]),
        kind=kind,
        inputs=_parsed_inputs(content["inputs"]),
        outputs=outputs,
        preprocessing=Preprocessing(**preprocessing),
        panoptic_merging=None if merging is None else PanopticMerging(**merging),
        class_names=tuple(map(str, content["class_names"])),
        stuff_class_names=tuple(map(str, content["stuff_class_names"])),
        precision=str(content.get("precision", "float32")),
        custom_domains=tuple(map(str, content.get("custom_domains", ()))),
        sha256=checksums,
        versions=dict(content["versions"]),
    )


def _parsed_inputs(specs: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    inputs = _parsed_specs(specs)
    if not inputs or len(inputs[0].shape) != 4 or not isinstance(inputs[0].shape[1], int):
        raise ValueError("its first input is no batch of images with a number of channels")
    if not isinstance(getattr(torch, str(inputs[0].dtype), None), torch.dtype):
        raise ValueError(f"there is no dtype {inputs[0].dtype!r}")
    return inputs


def _parsed_specs(specs: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=spec["name"], dtype=spec["dtype"], shape=tuple(spec["shape"]))
        for spec in specs
    )
