"""The base of detectors that predict from every pixel of the feature maps at once."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from d2_structures import Boxes, ImageList, Instances

from ..backbone import Backbone
from ..batched_selection import (
    Detections,
    counts_per_image,
    detections_of_images,
    nonempty,
    sizes_as_tensor,
)
from ..box_regression import BoxTransform, dense_box_regression_loss
from ..events import active_event_storage
from ..image_input import (
    BatchedInputs,
    ImageInput,
    ModelOutput,
    clipped_outputs,
    postprocessed,
)
from ..layers import cat
from ..traced_instances import traced_instances
from .labels import Labels
from .losses import dense_focal_loss, foreground_of
from .selection import Candidates, best_of_level, detections_of_levels, per_anchor

Predictions = Sequence[list[Tensor]]
"""What heads give: logits, deltas and maybe more, each for every level."""

_NORMALIZER_MOMENTUM = 0.9


class AnchorLosses(NamedTuple):
    """Losses of all anchors, and what further ones need."""

    classification: Tensor
    regression: Tensor
    foreground: Tensor  # (N, R) bool
    normalizer: Tensor  # what the losses were divided by


class DenseDetector(ImageInput, metaclass=ABCMeta):
    """Features, a head on some of them, and for every anchor a class and a box.

    A subclass says which anchor belongs to which ground truth (`label_anchors`), what the losses
    are called (`losses`), and what the score of a prediction is (`level_candidates`).

    Args:
        backbone: maps images to feature maps.
        head: maps a list of feature maps to logits (N, A * K, H, W), deltas (N, A * 4, H, W) and
            what else the subclass wants, for each level.
        head_in_features: names of the feature maps for the head; None for all.
        anchor_generator: maps those feature maps to anchors, A on each pixel.
        box2box_transform: encoding of boxes relative to anchors.
        num_classes: number of classes K, background not counted.
        focal_loss_alpha: weight of positives in the focal loss.
        focal_loss_gamma: its exponent.
        smooth_l1_beta: where smooth L1 turns linear; 0 for L1.
        box_reg_loss_type: ``"smooth_l1"``, ``"giou"``, ``"diou"`` or ``"ciou"``.
        test_score_thresh: only higher scores are detections.
        test_topk_candidates: pairs of anchor and class decoded per level.
        test_nms_thresh: IoU threshold of the suppression within a class.
        max_detections_per_image: number of detections per image.
        clip_before_nms: suppress boxes that are clipped to their image already, as torchvision
            does; otherwise whole boxes are compared, and clipped afterwards.
        pixel_mean: mean of each channel, subtracted from images.
        pixel_std: standard deviation of each channel, divided by.
        initial_normalizer: the number of positive anchors per batch to begin with, see
            `normalizer_of`.

    Raises:
        ValueError: if the backbone gives no feature map of a name.
    """

    loss_normalizer: Tensor

    _values_per_anchor: tuple[int, ...] = (4,)
    """How many values of an anchor each of the head's outputs has, after the K logits."""

    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: Sequence[str] | None = None,
        anchor_generator: nn.Module,
        box2box_transform: BoxTransform,
        num_classes: int,
        focal_loss_alpha: float = 0.25,
        focal_loss_gamma: float = 2.0,
        smooth_l1_beta: float = 0.0,
        box_reg_loss_type: str = "smooth_l1",
        test_score_thresh: float = 0.05,
        test_topk_candidates: int = 1000,
        test_nms_thresh: float = 0.5,
        max_detections_per_image: int = 100,
        clip_before_nms: bool = False,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        initial_normalizer: float = 100.0,
    ) -> None:
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self.head = head
        self.head_in_features = chosen_features(backbone, head_in_features)
        self.anchor_generator = anchor_generator
        self.box2box_transform = box2box_transform
        self.num_classes = num_classes
        self.focal_loss_alpha = focal_loss_alpha
        self.focal_loss_gamma = focal_loss_gamma
        self.smooth_l1_beta = smooth_l1_beta
        self.box_reg_loss_type = box_reg_loss_type
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.clip_before_nms = clip_before_nms
        self.register_buffer(
            "loss_normalizer", torch.tensor(float(initial_normalizer)), persistent=False
        )

    def forward(self, batched_inputs: BatchedInputs) -> ModelOutput:
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
            ValueError: if ``image``, or in training ``instances``, is missing, the ground truth
                has a class from ``num_classes`` on, or the head gives another number of outputs.
        """
        if torch.jit.is_tracing() and not self.training:
            traced = traced_instances(self, batched_inputs)
            return postprocessed(traced, batched_inputs, [found.image_size for found in traced])
        gt_instances = None
        if self.training:
            gt_instances = self.ground_truth(batched_inputs, self.num_classes)
        images = self.preprocess_image(batched_inputs)
        maps = self._maps(images.tensor)
        predictions = self.head(maps)
        if gt_instances is not None:
            return self.forward_training(batched_inputs, images, maps, predictions, gt_instances)
        results = self.forward_inference(images, maps, predictions)
        return postprocessed(results, batched_inputs, images.image_sizes)

    def forward_training(
        self,
        batched_inputs: BatchedInputs,
        images: ImageList,
        features: Sequence[Tensor],
        predictions: Predictions,
        gt_instances: Sequence[Instances],
    ) -> dict[str, Tensor]:
        """Losses out of the head's predictions on the feature maps."""
        anchors = self.anchor_generator(features)
        logits, deltas, *others = self._per_anchor(predictions)
        gt_labels, gt_boxes = self.label_anchors(anchors, gt_instances)
        return self.losses(anchors, logits, gt_labels, deltas, gt_boxes, *others)

    @torch.no_grad()
    def forward_inference(
        self, images: ImageList, features: Sequence[Tensor], predictions: Predictions
    ) -> list[Instances]:
        """Detections of each image, in the resolution of the network's input."""
        anchors = self.anchor_generator(features)
        return self._instances(anchors, self._per_anchor(predictions), images.image_sizes)

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
        maps = self._maps(self.normalized_tensor(images, image_sizes, self.backbone))
        found = self.predict_detections(maps, self.head(maps), image_sizes)
        outputs = clipped_outputs(found, image_sizes)
        kept = nonempty(outputs["boxes"]).nonzero()[:, 0]
        return {name: values[kept] for name, values in outputs.items()}

    def predict_detections(
        self, features: Sequence[Tensor], predictions: Predictions, image_sizes: Tensor
    ) -> Detections:
        """`forward_inference` as a function of tensors, without clipping the result.

        Args:
            features: the feature maps that the head has seen.
            predictions: what it has made of them.
            image_sizes: (N, 2), height and width of each image.
        """
        return self._detections(
            self.anchor_generator(features), self._per_anchor(predictions), image_sizes
        )

    @abstractmethod
    def label_anchors(self, anchors: Sequence[Boxes], gt_instances: Sequence[Instances]) -> Labels:
        """Give anchors the class and box of their ground truth.

        Args:
            anchors: anchors of each level, R in all.
            gt_instances: for each image with ``gt_boxes`` and ``gt_classes``.

        Returns:
            For each image (R,) classes: K for background, -1 for ignored; and (R, 4) ground
            truth boxes, meaningful for foreground.
        """

    @abstractmethod
    def losses(
        self,
        anchors: Sequence[Boxes],
        pred_logits: Sequence[Tensor],
        gt_labels: Sequence[Tensor],
        pred_anchor_deltas: Sequence[Tensor],
        gt_boxes: Sequence[Tensor],
        *others: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """The losses by name, mostly out of `anchor_losses`.

        Args:
            anchors: anchors of each level.
            pred_logits: (N, R_l, K) for each level.
            gt_labels: (R,) for each image, see `label_anchors`.
            pred_anchor_deltas: (N, R_l, 4) for each level.
            gt_boxes: (R, 4) for each image.
            *others: what else the head gives.
        """

    @abstractmethod
    def level_candidates(
        self, anchors: Tensor, logits: Tensor, deltas: Tensor, *others: Tensor
    ) -> Candidates:
        """The best of one level, see `best_candidates`, with scores in [0, 1].

        Args:
            anchors: (R, 4) XYXY.
            logits: (N, R, K).
            deltas: (N, R, 4).
            *others: what else the head gives.
        """

    def anchor_losses(
        self,
        anchors: Sequence[Boxes],
        pred_logits: Sequence[Tensor],
        gt_labels: Sequence[Tensor],
        pred_anchor_deltas: Sequence[Tensor],
        gt_boxes: Sequence[Tensor],
    ) -> AnchorLosses:
        """Focal loss of all anchors and regression loss of the foreground, see `losses`.

        Both are divided by `normalizer_of` the foreground.
        """
        labels = torch.stack(list(gt_labels))
        foreground = foreground_of(labels, self.num_classes)
        normalizer = self.normalizer_of(foreground)
        classification = dense_focal_loss(
            cat(list(pred_logits), dim=1),
            labels,
            alpha=self.focal_loss_alpha,
            gamma=self.focal_loss_gamma,
        )
        regression = dense_box_regression_loss(
            anchors,
            self.box2box_transform,
            pred_anchor_deltas,
            gt_boxes,
            foreground,
            box_reg_loss_type=self.box_reg_loss_type,
            smooth_l1_beta=self.smooth_l1_beta,
        )
        return AnchorLosses(
            classification / normalizer, regression / normalizer, foreground, normalizer
        )

    def best_candidates(self, anchors: Tensor, scores: Tensor, deltas: Tensor) -> Candidates:
        """`best_of_level` with the encoding and the number of candidates of this model."""
        return best_of_level(
            anchors,
            scores,
            deltas,
            box2box_transform=self.box2box_transform,
            topk=self.test_topk_candidates,
        )

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

    def _maps(self, images: Tensor) -> list[Tensor]:
        features = self.backbone(images)
        return [features[name] for name in self.head_in_features]

    def _per_anchor(self, predictions: Predictions) -> list[list[Tensor]]:
        """The head's outputs as (N, R_l, values) per level."""
        sizes = (self.num_classes, *self._values_per_anchor)
        if len(predictions) != len(sizes):
            raise ValueError(
                f"{type(self).__name__} wants {len(sizes)} outputs of its head, with {sizes} "
                f"values per anchor; {type(self.head).__name__} gives {len(predictions)}"
            )
        return [
            [per_anchor(level, size) for level in levels]
            for levels, size in zip(predictions, sizes, strict=True)
        ]

    def _instances(
        self,
        anchors: Sequence[Boxes],
        predictions: Sequence[Sequence[Tensor]],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Instances]:
        """Detections of each image out of what `_per_anchor` gives."""
        sizes = sizes_as_tensor(image_sizes, anchors[0].tensor)
        found = self._detections(anchors, predictions, sizes)
        counts = counts_per_image(found, len(image_sizes))
        return detections_of_images(found, image_sizes, counts)

    def _detections(
        self,
        anchors: Sequence[Boxes],
        predictions: Sequence[Sequence[Tensor]],
        image_sizes: Tensor,
    ) -> Detections:
        levels = [
            self.level_candidates(level.tensor, *of_level)
            for level, *of_level in zip(anchors, *predictions, strict=True)
        ]
        return detections_of_levels(
            levels,
            num_classes=self.num_classes,
            score_thresh=self.test_score_thresh,
            nms_thresh=self.test_nms_thresh,
            max_detections=self.max_detections_per_image,
            image_sizes=image_sizes,
            clip=self.clip_before_nms,
        )


def chosen_features(backbone: Backbone, names: Sequence[str] | None) -> list[str]:
    """The feature maps for a head: those named, or all.

    Raises:
        ValueError: if the backbone gives none of a name.
    """
    shapes: dict[str, Any] = backbone.output_shape()
    chosen = list(shapes) if names is None else list(names)
    if any(name not in shapes for name in chosen):
        raise ValueError(f"head_in_features {chosen}: the backbone gives only {list(shapes)}")
    return chosen
