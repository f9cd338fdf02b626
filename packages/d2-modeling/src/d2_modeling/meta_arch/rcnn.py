"""Two-stage detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import ImageList, Instances

from ..backbone import Backbone, build_backbone
from ..events import active_event_storage
from ..host_waits import asking_waits
from ..image_input import (
    BatchedInputs,
    ImageInput,
    ModelOutput,
    clipped_outputs,
    postprocessed,
)
from ..proposal_generator import build_proposal_generator
from ..proposal_generator.proposal_utils import padded_proposals
from ..roi_heads import build_roi_heads
from ..traced_instances import traced_instances
from .box_pictures import put_box_picture
from .build import META_ARCH_REGISTRY

_KNOWN_PARTS = ("d2_modeling.", "torch.nn.modules.")
_PICTURE_NAME = "Left: GT bounding boxes;  Right: Predicted proposals"


@META_ARCH_REGISTRY.register()
class GeneralizedRCNN(ImageInput):
    """Feature extraction, region proposals, and predictions per region.

    Args:
        backbone: maps images to feature maps.
        proposal_generator: maps feature maps to proposals; None if inputs bring their own.
        roi_heads: predicts from proposals.
        pixel_mean: mean of each channel, subtracted from images.
        pixel_std: standard deviation of each channel, divided by.
        input_format: meaning of the channels, ``"RGB"`` or ``"BGR"``; for pictures only.
        vis_period: every so many iterations put a picture of proposals beside ground
            truth into the event storage; 0 never.

    Raises:
        ValueError: if ``vis_period`` is positive without an ``input_format``.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module | None,
        roi_heads: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str | None = None,
        vis_period: int = 0,
    ) -> None:
        super().__init__(pixel_mean, pixel_std)
        if vis_period > 0 and input_format is None:
            raise ValueError("vis_period > 0 needs input_format to show images in colour")
        self.backbone = backbone
        self.proposal_generator: Any = proposal_generator
        self.roi_heads: Any = roi_heads
        self.input_format = input_format
        self.vis_period = vis_period

    def forward(self, batched_inputs: BatchedInputs) -> ModelOutput:
        """Losses in training, detections otherwise.

        Args:
            batched_inputs: for each image a dict with

                * ``image``: (C, H, W) tensor;
                * ``instances``: ground truth, in training;
                * ``proposals``: precomputed proposals, without a proposal generator;
                * ``height``, ``width``: wanted output size, by default the image's.

        Returns:
            In training a dict of losses. Otherwise for each image ``{"instances": ...}``
            with ``pred_boxes``, ``pred_classes``, ``scores`` and, as the heads give them,
            ``pred_masks`` and ``pred_keypoints``.

        Raises:
            ValueError: if ``image``, or in training ``instances``, is missing, or the ground
                truth has a class that the heads do not know.
        """
        if not self.training:
            return self.inference(batched_inputs)
        gt_instances = self.ground_truth(
            batched_inputs, getattr(self.roi_heads, "num_classes", None)
        )
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        proposals, losses = self._proposals(batched_inputs, images, features, gt_instances)
        _, detector_losses = self.roi_heads(images, features, proposals, gt_instances)
        self._visualize_periodically(batched_inputs, proposals)
        return {**detector_losses, **losses}

    @overload
    def inference(
        self,
        batched_inputs: BatchedInputs,
        detected_instances: Sequence[Instances] | None = None,
        do_postprocess: Literal[True] = True,
    ) -> list[dict[str, Any]]: ...

    @overload
    def inference(
        self,
        batched_inputs: BatchedInputs,
        detected_instances: Sequence[Instances] | None = None,
        *,
        do_postprocess: Literal[False],
    ) -> list[Instances]: ...

    def inference(
        self,
        batched_inputs: BatchedInputs,
        detected_instances: Sequence[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[dict[str, Any]] | list[Instances]:
        """Detect.

        Args:
            batched_inputs: see `forward`.
            detected_instances: for each image known boxes, with ``pred_boxes`` and
                ``pred_classes``; detection is then skipped and only the other heads run.
            do_postprocess: whether to bring results to the wanted output size.

        Returns:
            As in `forward`; without post-processing the instances themselves, in the
            resolution of the network's input.

        Raises:
            ValueError: in training mode.
        """
        if self.training:
            raise ValueError("inference() needs evaluation mode; call eval() first")
        if torch.jit.is_tracing() and detected_instances is None and self.proposal_generator:
            traced = traced_instances(self, batched_inputs)
            sizes = [instances.image_size for instances in traced]
            return self._postprocess(traced, batched_inputs, sizes) if do_postprocess else traced
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if detected_instances is None:
            proposals, _ = self._proposals(batched_inputs, images, features, None)
            results, _ = self.roi_heads(images, features, proposals, None)
        else:
            known = [image.to(self.device) for image in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, known)
        if not do_postprocess:
            return results
        return self._postprocess(results, batched_inputs, images.image_sizes)

    @torch.no_grad()
    def predict_tensors(self, images: Tensor, image_sizes: Tensor) -> dict[str, Tensor]:
        """Detect in tensors: what an exported model does, see `d2_modeling.export`.

        Args:
            images: (N, C, H, W), padded at the right and the bottom, not normalised.
            image_sizes: (N, 2) int64, height and width of each without padding.

        Returns:
            ``boxes``, ``scores``, ``classes``, ``batch_index`` and, as the heads give them,
            ``mask_probabilities`` and ``keypoints``.

        Raises:
            ValueError: without a proposal generator.
        """
        features = self.backbone(self.normalized_tensor(images, image_sizes, self.backbone))
        return self._predict_from_features(features, image_sizes)

    def _predict_from_features(
        self, features: dict[str, Tensor], image_sizes: Tensor
    ) -> dict[str, Tensor]:
        if self.proposal_generator is None:
            raise ValueError(
                "a model without proposal_generator needs proposals; it cannot predict from "
                "images alone"
            )
        regions = self.proposal_generator.propose(features, image_sizes)
        found, masks, keypoints = self.roi_heads.predict_tensors(features, regions, image_sizes)
        outputs = clipped_outputs(found, image_sizes)
        if masks is not None:
            outputs["mask_probabilities"] = masks
        if keypoints is not None:
            outputs["keypoints"] = keypoints
        return outputs

    def preprocess_image(self, batched_inputs: BatchedInputs) -> ImageList:
        """Normalise, pad and batch the images."""
        return self.batch_images(batched_inputs, self.backbone)

    def visualize_training(
        self, batched_inputs: BatchedInputs, proposals: Sequence[Instances]
    ) -> None:
        """Put a picture of the first image's ground truth and best proposals into the storage.

        Args:
            batched_inputs: see `forward`, with ``instances``.
            proposals: for each image with ``proposal_boxes``, by decreasing score.
        """
        put_box_picture(
            batched_inputs[0],
            proposals[0].proposal_boxes.tensor,
            self.input_format or "BGR",
            _PICTURE_NAME,
        )

    @staticmethod
    def _postprocess(
        instances: Sequence[Instances],
        batched_inputs: BatchedInputs,
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[dict[str, Any]]:
        """Bring instances to the wanted output sizes."""
        return postprocessed(instances, batched_inputs, image_sizes)

    def _proposals(
        self,
        batched_inputs: BatchedInputs,
        images: ImageList,
        features: dict[str, Tensor],
        gt_instances: Sequence[Instances] | None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        if self.proposal_generator is not None:
            padded = not self.training and asking_waits(images.tensor) and self._takes_padding()
            with padded_proposals(padded):
                proposals, losses = self.proposal_generator(images, features, gt_instances)
            return proposals, losses
        given = self.instances_of(batched_inputs, "proposals")
        if given is None:
            raise ValueError("a model without proposal_generator needs 'proposals' in its inputs")
        return given, {}

    def _takes_padding(self) -> bool:
        """Whether all that sees proposals is known to leave out those that are NaN."""
        parts = (self, *self.proposal_generator.modules(), *self.roi_heads.modules())
        return all(type(part).__module__.startswith(_KNOWN_PARTS) for part in parts)

    def _visualize_periodically(
        self, batched_inputs: BatchedInputs, proposals: Sequence[Instances]
    ) -> None:
        if self.vis_period > 0:
            storage = active_event_storage()
            if storage is not None and storage.iter % self.vis_period == 0:
                self.visualize_training(batched_inputs, proposals)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments out of a config."""
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, shapes),
            "roi_heads": build_roi_heads(cfg, shapes),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
            "vis_period": cfg.VIS_PERIOD,
        }


@META_ARCH_REGISTRY.register()
class ProposalNetwork(ImageInput):
    """A model that finds proposals and nothing else.

    Args:
        backbone: maps images to feature maps.
        proposal_generator: maps feature maps to proposals.
        pixel_mean: mean of each channel, subtracted from images.
        pixel_std: standard deviation of each channel, divided by.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self.proposal_generator = proposal_generator

    def forward(self, batched_inputs: BatchedInputs) -> ModelOutput:
        """Losses in training, proposals otherwise.

        Args:
            batched_inputs: as in `GeneralizedRCNN.forward`.

        Returns:
            In training a dict of losses. Otherwise for each image ``{"proposals": ...}``
            with ``proposal_boxes`` and ``objectness_logits``.
        """
        images = self.batch_images(batched_inputs, self.backbone)
        features = self.backbone(images.tensor)
        gt_instances = self.instances_of(batched_inputs, "instances")
        losses: dict[str, Tensor]
        proposals, losses = self.proposal_generator(images, features, gt_instances)
        if self.training:
            return losses
        return postprocessed(proposals, batched_inputs, images.image_sizes, "proposals")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments out of a config."""
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }
