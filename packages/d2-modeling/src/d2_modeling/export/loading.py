"""Exported models that are called like the models they came from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from d2_structures import ImageList

from ..detection_fields import instances_of
from ..image_checks import image_of, picture_of
from ..image_input import output_size
from ..meta_arch.panoptic_merging import combine_semantic_and_instance_outputs
from ..postprocessing import detector_postprocess, sem_seg_postprocess
from .runtimes import CODE_FORMATS, Runner, runner_of
from .sidecar import PanopticMerging, Sidecar, read_sidecar

__all__ = ["ExportedModel", "load_exported"]


def load_exported(
    path: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    allow_unsafe: bool = False,
) -> ExportedModel:
    """Load what `export` has written, to call it like the model it came from.

    Args:
        path: the artefact; its sidecar lies beside it.
        device: where formats of PyTorch run. An AOTInductor package and a ``.pt2`` run where they
            were exported for.
        allow_unsafe: load formats that are programs of PyTorch too (TorchScript, torch.export,
            AOTInductor). Such a file runs code of whoever wrote it, and a checksum beside it does
            not say who that was. ONNX and OpenVINO files are data.

    Returns:
        The model. A list of dicts in, a list of dicts with `Instances` out.

    Raises:
        FileNotFoundError: if the sidecar or a file of the artefact is missing.
        ValueError: if the artefact is not the one that the sidecar describes, cannot be loaded,
            or is a program and ``allow_unsafe`` is not given.
        ImportError: if what runs it, or the library of operators that an ONNX file calls, is not
            installed; says what to install.
    """
    path = Path(path)
    sidecar = read_sidecar(path)
    if sidecar.format in CODE_FORMATS and not allow_unsafe:
        raise ValueError(
            f"{path} is of the format {sidecar.format}: loading it runs code of whoever wrote it. "
            "If you trust them, pass allow_unsafe=True (--allow-unsafe); ONNX and OpenVINO files "
            "are data and need no trust"
        )
    output_names = [output.name for output in sidecar.outputs]
    runner = runner_of(
        path,
        sidecar.format,
        output_names,
        torch.device(device),
        precision=sidecar.precision,
        custom_domains=sidecar.custom_domains,
    )
    return ExportedModel(runner, sidecar)


class ExportedModel(nn.Module):
    """An exported model, called like an eager one.

    Args:
        runner: from the tensors of the inputs to those of the outputs.
        sidecar: what is known about it.

    Attributes:
        sidecar: what is known about it.
    """

    def __init__(self, runner: Runner, sidecar: Sidecar) -> None:
        super().__init__()
        self._run = runner
        self.sidecar = sidecar
        self.eval()

    def forward(self, batched_inputs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Predict.

        Args:
            batched_inputs: for each image a dict with ``image`` (C, H, W) and maybe ``height`` and
                ``width``, the wanted output size, by default the image's. An artefact with
                preprocessing inside takes uint8 images as they were read, before any resizing.

        Returns:
            For each image what the eager model gives: ``instances``, ``sem_seg`` and
            ``panoptic_seg``, as the model has them.

        Raises:
            ValueError: if an image is missing or has another shape than the model takes.
        """
        batched_inputs = list(batched_inputs)
        channels = int(self.sidecar.inputs[0].shape[1])
        is_inside = self.sidecar.preprocessing.inside
        checked = picture_of if is_inside else image_of
        images = [checked(entry, i, channels) for i, entry in enumerate(batched_inputs)]
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        found = self._of_own_size(images) if is_inside else self._of_batch(images)
        return [
            self._postprocessed(found[i], sizes[i], output_size(entry, sizes[i]))
            for i, entry in enumerate(batched_inputs)
        ]

    def _of_batch(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """The outputs of each image of a padded batch."""
        if not images:
            return []
        dtype = getattr(torch, self.sidecar.inputs[0].dtype)
        batch = ImageList.from_tensors([image.to(dtype) for image in images])
        return self._by_image(batch.tensor, torch.tensor(batch.image_sizes))

    def _of_own_size(self, images: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        """The outputs of images that the artefact resizes itself, one after the other."""
        return [self._by_image(image[None])[0] for image in images]

    def _by_image(self, images: Tensor, *sizes: Tensor) -> list[dict[str, Tensor]]:
        names = [output.name for output in self.sidecar.outputs]
        outputs = dict(zip(names, self._run(images, *sizes), strict=True))
        batch_index = outputs.pop("batch_index", None)
        parts = []
        for index in range(len(images)):
            of_image: dict[str, Tensor] = {}
            if "sem_seg" in outputs:
                of_image["sem_seg"] = outputs["sem_seg"][index]
            if batch_index is not None:
                rows = (batch_index == index).nonzero().flatten()
                of_image |= {k: v[rows] for k, v in outputs.items() if k != "sem_seg"}
            parts.append(of_image)
        return parts

    def _postprocessed(
        self, outputs: Mapping[str, Tensor], size: tuple[int, int], wanted: tuple[int, int]
    ) -> dict[str, Any]:
        results: dict[str, Any] = {}
        if "sem_seg" in outputs:
            results["sem_seg"] = sem_seg_postprocess(outputs["sem_seg"], size, *wanted)
        if "boxes" in outputs:
            results["instances"] = detector_postprocess(instances_of(outputs, size), *wanted)
        merging = self.sidecar.panoptic_merging
        if merging is not None:
            results["panoptic_seg"] = _merged(results, merging)
        return results


def _merged(results: Mapping[str, Any], merging: PanopticMerging) -> tuple[Tensor, Any]:
    return combine_semantic_and_instance_outputs(
        results["instances"],
        results["sem_seg"].argmax(dim=0),
        merging.overlap_threshold,
        merging.stuff_area_limit,
        merging.instances_score_threshold,
    )
