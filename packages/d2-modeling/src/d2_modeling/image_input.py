"""The first step of every model: normalised, padded, batched images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_structures import BitMasks, Boxes, ImageList, Instances, Keypoints

from .backbone import Backbone
from .batched_selection import Detections, at_least, clipped_to_images
from .gt_classes import check_gt_classes, check_pixel_labels
from .host_waits import asking_waits
from .image_checks import image_of
from .postprocessing import postprocess_images

BatchedInputs = Sequence[Mapping[str, Any]]

ModelOutput = dict[str, Tensor] | list[dict[str, Any]]
"""What a whole model gives: losses by name in training, otherwise a dict for each image."""


class ImageInput(nn.Module):
    """Base of models that take a list of image dicts.

    Args:
        pixel_mean: mean of each channel, subtracted.
        pixel_std: standard deviation of each channel, divided by.

    Raises:
        ValueError: if the two have different lengths.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> None:
        super().__init__()
        if len(pixel_mean) != len(pixel_std):
            raise ValueError(
                f"pixel_mean {list(pixel_mean)} and pixel_std {list(pixel_std)} differ in length"
            )
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            column = torch.tensor(list(values), dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, column, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the model lives; inputs are moved there."""
        return self.pixel_mean.device

    def _move_to_current_device(self, x: Tensor) -> Tensor:
        """An input on the device of the model."""
        return x.to(self.device, non_blocking=True)

    def batch_images(self, batched_inputs: BatchedInputs, backbone: Backbone) -> ImageList:
        """Normalise, pad and batch the ``image`` of every input.

        Args:
            batched_inputs: dicts with ``image`` (C, H, W).
            backbone: says how to pad.

        Raises:
            ValueError: if there is no input, or an image is missing or has another number of
                channels.
        """
        return ImageList.from_tensors(
            self.normalized_images(batched_inputs),
            backbone.size_divisibility,
            padding_constraints=backbone.padding_constraints,
        )

    def normalized_images(self, batched_inputs: BatchedInputs) -> list[Tensor]:
        """The ``image`` of every input on the model's device, normalised; see `batch_images`."""
        _require_inputs(batched_inputs)
        channels = len(self.pixel_mean)
        images = []
        for index, entry in enumerate(batched_inputs):
            moved = self._move_to_current_device(image_of(entry, index, channels))
            # float64 pixels would stay float64, which the weights are not.
            normalized = (moved - self.pixel_mean) / self.pixel_std
            images.append(normalized.to(self.pixel_mean.dtype))
        return images

    def normalized_tensor(self, images: Tensor, image_sizes: Tensor, backbone: Backbone) -> Tensor:
        """`batch_images` of images that are padded and batched already, for any size.

        Args:
            images: (N, C, H, W), padded at the right and the bottom.
            image_sizes: (N, 2) int64, height and width of each without padding.
            backbone: says how to pad further.

        Returns:
            (N, C, H', W'), 0 in all padding.
        """
        height, width = images.shape[-2:]
        normalized = (images - self.pixel_mean) / self.pixel_std
        rows = torch.arange(height, device=images.device) < image_sizes[:, :1]
        columns = torch.arange(width, device=images.device) < image_sizes[:, 1:]
        inside = (rows[:, None, :, None] & columns[:, None, None, :]).to(normalized.dtype)
        down, right = _missing(height, width, backbone)
        return F.pad(normalized * inside, (0, right, 0, down))

    def batch_sem_seg(
        self,
        batched_inputs: BatchedInputs,
        images: ImageList,
        backbone: Backbone,
        ignore_value: int,
        num_classes: int | None = None,
    ) -> Tensor:
        """Batch the ``sem_seg`` of every input, padded with ``ignore_value``.

        Args:
            batched_inputs: dicts with ``sem_seg`` (H, W) labels.
            images: what `batch_images` returned for them.
            backbone: says how to pad.
            ignore_value: label of the padding.
            num_classes: labels beyond 0 … K−1 are refused, before anything is moved; None takes
                any.

        Returns:
            (N, H, W) int64.

        Raises:
            ValueError: if an input has none, its size is not that of its image, or a pixel has
                another label.
        """
        if num_classes is not None:
            given = [entry.get("sem_seg") for entry in batched_inputs]
            check_pixel_labels(given, num_classes, ignore_value)
        targets = []
        for index, (entry, size) in enumerate(zip(batched_inputs, images.image_sizes, strict=True)):
            target = entry.get("sem_seg")
            if not isinstance(target, Tensor) or target.shape != torch.Size(size):
                got = tuple(target.shape) if isinstance(target, Tensor) else type(target).__name__
                raise ValueError(
                    f"input {index} wants a tensor sem_seg of the image's size {tuple(size)}, "
                    f"got {got}"
                )
            targets.append(self._move_to_current_device(target).to(torch.int64))
        return ImageList.from_tensors(
            targets,
            backbone.size_divisibility,
            ignore_value,
            padding_constraints=backbone.padding_constraints,
        ).tensor

    def instances_of(self, batched_inputs: BatchedInputs, name: str) -> list[Instances] | None:
        """The instances that the inputs hold under ``name``, on the model's device.

        Returns:
            None if no input has any.

        Raises:
            ValueError: if some inputs have them and some have not.
        """
        without = [index for index, entry in enumerate(batched_inputs) if name not in entry]
        if len(without) == len(batched_inputs):
            return None
        if without:
            raise ValueError(f"inputs {without} have no {name!r}, the others of the batch do")
        return [self._moved(entry[name]) for entry in batched_inputs]

    def _moved(self, instances: Instances) -> Instances:
        """`Instances.to` the device of the model, without a wait for fields of ours."""
        if type(instances) is not Instances or not asking_waits(self.pixel_mean):
            return instances.to(self.device)
        moved = Instances(instances.image_size)
        for name, value in instances.get_fields().items():
            if isinstance(value, (Tensor, Boxes, BitMasks, Keypoints)):
                value = value.to(self.device, non_blocking=True)
            elif hasattr(value, "to"):
                value = value.to(self.device)
            moved.set(name, value)
        return moved

    def ground_truth(
        self, batched_inputs: BatchedInputs, num_classes: int | None
    ) -> list[Instances]:
        """The ``instances`` of every input in training, on the model's device.

        Args:
            batched_inputs: dicts with ``instances``.
            num_classes: classes beyond 0 … K−1 are refused, before anything is moved; None
                takes any.

        Raises:
            ValueError: if there is no input, one has no ``instances``, or they have another
                class.
        """
        _require_inputs(batched_inputs)
        if num_classes is not None:
            given = [entry["instances"] for entry in batched_inputs if "instances" in entry]
            check_gt_classes(given, num_classes)
        instances = self.instances_of(batched_inputs, "instances")
        if instances is None:
            raise ValueError("training inputs need 'instances' with the ground truth")
        return instances


def _require_inputs(batched_inputs: BatchedInputs) -> None:
    if len(batched_inputs) == 0:
        raise ValueError("the batch is empty: a model wants at least one image")


def output_size(entry: Mapping[str, Any], image_size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) that an input asks for, by default its image's.

    What is a tensor while `torch.jit.trace` records stays one.
    """
    height, width = entry.get("height", image_size[0]), entry.get("width", image_size[1])
    return (height, width) if torch.jit.is_tracing() else (int(height), int(width))


def postprocessed(
    instances: Sequence[Instances],
    batched_inputs: BatchedInputs,
    image_sizes: Sequence[tuple[int, int]],
    name: str = "instances",
) -> list[dict[str, Any]]:
    """For each image its instances under ``name``, brought to the size that its input asks for.

    Args:
        instances: for each image, in the resolution of the network's input.
        batched_inputs: dicts that may have ``height`` and ``width``.
        image_sizes: (height, width) of each image.
        name: the key of the instances.
    """
    wanted = [output_size(*pair) for pair in zip(batched_inputs, image_sizes, strict=True)]
    return [{name: found} for found in postprocess_images(instances, wanted)]


def _missing(height: Any, width: Any, backbone: Backbone) -> tuple[Any, Any]:
    """How many rows and columns a backbone wants more than an image has.

    Sizes may be numbers, symbols of an export or, in a trace, tensors.
    """
    constraints = backbone.padding_constraints
    square = constraints.get("square_size", 0)
    divisor = constraints.get("size_divisibility", backbone.size_divisibility)
    wanted_height, wanted_width = height, width
    if square > 0:
        # As in `ImageList.from_tensors`, a larger image gives a larger square.
        wanted_height = wanted_width = at_least(at_least(height, width), square)
    if divisor > 1:
        wanted_height = (wanted_height + (divisor - 1)) // divisor * divisor
        wanted_width = (wanted_width + (divisor - 1)) // divisor * divisor
    return wanted_height - height, wanted_width - width


def clipped_outputs(found: Detections, image_sizes: Tensor) -> dict[str, Tensor]:
    """Detections by the names of `d2_modeling.export`, clipped to their images."""
    sizes = image_sizes[found.batch_index]
    return {
        "boxes": clipped_to_images(found.boxes, sizes),
        "scores": found.scores,
        "classes": found.classes,
        "batch_index": found.batch_index,
    }
