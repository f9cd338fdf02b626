"""Detectors that predict from every pixel of the feature maps at once."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_structures import ImageList, Instances

from ..backbone import Backbone
from ..batched_selection import Detections
from ..events import active_event_storage
from ..postprocessing import detector_postprocess
from .image_input import BatchedInputs, ImageInput, clipped_outputs, output_size
from .traced_instances import traced_instances

_NORMALIZER_MOMENTUM = 0.9


class DenseDetector(ImageInput, metaclass=ABCMeta):
    """Base class: features, a head on some of them, losses or detections.

    Args:
        backbone: maps images to feature maps.
        head: maps a list of feature maps to predictions.
        head_in_features: names of the feature maps for the head; None for all.
        pixel_mean: mean of each channel, subtracted from images.
        pixel_std: standard deviation of each channel, divided by.
        initial_normalizer: the number of positive anchors per batch to begin with, see
            `normalizer_of`.
    """

    loss_normalizer: Tensor

    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: Sequence[str] | None,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        initial_normalizer: float,
    ) -> None:
        super().__init__(pixel_mean, pixel_std)
        shapes = backbone.output_shape()
        names = list(shapes) if head_in_features is None else list(head_in_features)
        missing = [name for name in names if name not in shapes]
        if missing:
            raise ValueError(f"head_in_features {names}: the backbone gives only {list(shapes)}")
        self.backbone = backbone
        self.head = head
        self.head_in_features = names
        self.register_buffer(
            "loss_normalizer", torch.tensor(float(initial_normalizer)), persistent=False
        )

    def forward(self, batched_inputs: BatchedInputs) -> Any:
        """Losses in training, detections otherwise.

        Args:
            batched_inputs: for each image a dict with

                * ``image``: (C, H, W) tensor;
                * ``instances``: ground truth, in training;
                * ``height``, ``width``: wanted output size, by default the image's.

        Returns:
            In training a dict of losses. Otherwise for each image ``{"instances": ...}``
            with ``pred_boxes``, ``pred_classes`` and ``scores``.

        Raises:
            ValueError: if ``image``, or in training ``instances``, is missing, or the ground
                truth has a class from ``num_classes`` on.
        """
        gt_instances = (
            self.ground_truth(batched_inputs, getattr(self, "num_classes", None))
            if self.training
            else None
        )
        if torch.jit.is_tracing() and not self.training:
            return [
                {"instances": detector_postprocess(found, *output_size(entry, found.image_size))}
                for found, entry in zip(
                    traced_instances(self, batched_inputs), batched_inputs, strict=True
                )
            ]
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        maps = [features[name] for name in self.head_in_features]
        predictions = self.head(maps)
        if gt_instances is not None:
            return self.forward_training(batched_inputs, images, maps, predictions, gt_instances)
        results = self.forward_inference(images, maps, predictions)
        return [
            {"instances": detector_postprocess(result, *output_size(entry, image_size))}
            for result, entry, image_size in zip(
                results, batched_inputs, images.image_sizes, strict=True
            )
        ]

    @abstractmethod
    def forward_training(
        self,
        batched_inputs: BatchedInputs,
        images: ImageList,
        features: Sequence[Tensor],
        predictions: Any,
        gt_instances: Sequence[Instances],
    ) -> dict[str, Tensor]:
        """Losses out of the head's predictions on the feature maps."""

    @abstractmethod
    def predict_detections(self, features: Sequence[Tensor], predictions: Any) -> Detections:
        """`forward_inference` as a function of tensors, without clipping."""

    @torch.no_grad()
    def predict_tensors(self, images: Tensor, image_sizes: Tensor) -> dict[str, Tensor]:
        """Detect in tensors: what an exported model does, see `d2_modeling.export`.

        Args:
            images: (N, C, H, W), padded at the right and the bottom, not normalised.
            image_sizes: (N, 2) int64, height and width of each without padding.

        Returns:
            ``boxes``, ``scores``, ``classes`` and ``batch_index``, without boxes of which nothing
            is left within their image, as `detector_postprocess` leaves them out.
        """
        features = self.backbone(self.normalized_tensor(images, image_sizes, self.backbone))
        maps = [features[name] for name in self.head_in_features]
        found = self.predict_detections(maps, self.head(maps))
        outputs = clipped_outputs(found, image_sizes)
        boxes = outputs["boxes"]
        kept = (boxes[:, 2:] > boxes[:, :2]).all(dim=1).nonzero()[:, 0]
        return {name: values[kept] for name, values in outputs.items()}

    @abstractmethod
    def forward_inference(
        self, images: ImageList, features: Sequence[Tensor], predictions: Any
    ) -> list[Instances]:
        """Detections of each image, in the resolution of the network's input."""

    def preprocess_image(self, batched_inputs: BatchedInputs) -> ImageList:
        """Normalise, pad and batch the images."""
        return self.batch_images(batched_inputs, self.backbone)

    @torch.no_grad()
    def normalizer_of(self, foreground: Tensor) -> Tensor:
        """What summed losses are divided by: a running mean of the number of positives.

        A single batch may have hardly any, and would then outweigh all others.

        Args:
            foreground: (N, R) bool, the positive anchors of N images.

        Returns:
            The updated mean, a scalar.
        """
        num_positive = foreground.sum()
        storage = active_event_storage()
        if storage is not None:
            storage.put_scalar("num_pos_anchors", num_positive / len(foreground))
        self.loss_normalizer = torch.lerp(
            num_positive.clamp(min=1).to(self.loss_normalizer),
            self.loss_normalizer,
            _NORMALIZER_MOMENTUM,
        )
        return self.loss_normalizer
