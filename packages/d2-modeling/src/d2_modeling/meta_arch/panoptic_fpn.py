"""Panoptic segmentation by an R-CNN and a semantic head on the same features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import Instances

from ..image_input import BatchedInputs, ModelOutput, output_size
from ..postprocessing import postprocess_images, sem_seg_postprocess
from .build import META_ARCH_REGISTRY
from .panoptic_merging import combine_outputs_of_images
from .rcnn import GeneralizedRCNN
from .sem_seg_head import build_sem_seg_head


@META_ARCH_REGISTRY.register()
class PanopticFPN(GeneralizedRCNN):
    """An R-CNN with masks and a semantic head, and the merger of their outputs.

    Args:
        sem_seg_head: see `SemanticSegmentor`.
        combine_overlap_thresh: an instance of which a larger share is covered by better
            ones is left out of the panoptic result.
        combine_stuff_area_thresh: stuff of fewer pixels is left out of it.
        combine_instances_score_thresh: instances of lower scores are left out of it.
        **kwargs: arguments of `GeneralizedRCNN`.

    Source: Kirillov et al., "Panoptic Feature Pyramid Networks", 2019.
    """

    @configurable
    def __init__(
        self,
        *,
        sem_seg_head: nn.Module,
        combine_overlap_thresh: float = 0.5,
        combine_stuff_area_thresh: float = 4096,
        combine_instances_score_thresh: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.sem_seg_head: Any = sem_seg_head
        self.combine_overlap_thresh = combine_overlap_thresh
        self.combine_stuff_area_thresh = combine_stuff_area_thresh
        self.combine_instances_score_thresh = combine_instances_score_thresh

    def forward(self, batched_inputs: BatchedInputs) -> ModelOutput:
        """Losses in training, all three segmentations otherwise.

        Args:
            batched_inputs: for each image a dict with

                * ``image``: (C, H, W) tensor;
                * ``instances``: ground truth of things, in training;
                * ``sem_seg``: (H, W) labels, in training;
                * ``height``, ``width``: wanted output size, by default the image's.

        Returns:
            In training a dict of losses. Otherwise for each image a dict with

                * ``instances``: see `GeneralizedRCNN.forward`;
                * ``sem_seg``: see `SemanticSegmentor.forward`;
                * ``panoptic_seg``: see `combine_semantic_and_instance_outputs`.

        Raises:
            ValueError: if ``image``, or in training ``instances`` or ``sem_seg``, is
                missing, or the ground truth has a class or label that the heads do not know.
        """
        if not self.training:
            return self.inference(batched_inputs)
        gt_instances = self.ground_truth(
            batched_inputs, getattr(self.roi_heads, "num_classes", None)
        )
        images = self.preprocess_image(batched_inputs)
        targets = self.batch_sem_seg(
            *(batched_inputs, images, self.backbone, self.sem_seg_head.ignore_value),
            num_classes=getattr(self.sem_seg_head, "num_classes", None),
        )
        features = self.backbone(images.tensor)
        _, sem_seg_losses = self.sem_seg_head(features, targets)
        proposals, proposal_losses = self._proposals(batched_inputs, images, features, gt_instances)
        _, detector_losses = self.roi_heads(images, features, proposals, gt_instances)
        self._visualize_periodically(batched_inputs, proposals)
        return {**sem_seg_losses, **proposal_losses, **detector_losses}

    @overload  # type: ignore[override]  # detected_instances makes no sense here, as documented
    def inference(
        self, batched_inputs: BatchedInputs, do_postprocess: Literal[True] = True
    ) -> list[dict[str, Any]]: ...

    @overload
    def inference(
        self, batched_inputs: BatchedInputs, do_postprocess: Literal[False]
    ) -> tuple[list[Instances], Tensor]: ...

    def inference(
        self, batched_inputs: BatchedInputs, do_postprocess: bool = True
    ) -> list[dict[str, Any]] | tuple[list[Instances], Tensor]:
        """Segment.

        Args:
            batched_inputs: see `forward`.
            do_postprocess: whether to bring results to the wanted output size and merge
                them.

        Returns:
            As in `forward`; without post-processing the instances of each image, and
            (N, K, H, W) logits, both in the resolution of the network's input.

        Raises:
            ValueError: in training mode.
        """
        if self.training:
            raise ValueError("inference() needs evaluation mode; call eval() first")
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        logits, _ = self.sem_seg_head(features, None)
        proposals, _ = self._proposals(batched_inputs, images, features, None)
        detections, _ = self.roi_heads(images, features, proposals, None)
        if not do_postprocess:
            return detections, logits
        sizes = [
            output_size(*pair) for pair in zip(batched_inputs, images.image_sizes, strict=True)
        ]
        return self._merged(
            postprocess_images(detections, sizes), logits, images.image_sizes, sizes
        )

    @torch.no_grad()
    def predict_tensors(self, images: Tensor, image_sizes: Tensor) -> dict[str, Tensor]:
        """As `GeneralizedRCNN.predict_tensors`, and ``sem_seg`` (N, K, H', W') logits."""
        features = self.backbone(self.normalized_tensor(images, image_sizes, self.backbone))
        logits, _ = self.sem_seg_head(features, None)
        return {**self._predict_from_features(features, image_sizes), "sem_seg": logits}

    def _merged(
        self,
        instances: Sequence[Instances],
        logits: Tensor,
        image_sizes: Sequence[tuple[int, int]],
        sizes: Sequence[tuple[int, int]],
    ) -> list[dict[str, Any]]:
        """What `forward` returns for the images whose wanted sizes are ``sizes``."""
        sem_segs = [
            sem_seg_postprocess(image_logits, image_size, *size)
            for image_logits, image_size, size in zip(logits, image_sizes, sizes, strict=True)
        ]
        panoptic_segs = combine_outputs_of_images(
            instances,
            [sem_seg.argmax(dim=0) for sem_seg in sem_segs],
            len(logits[0]),
            self.combine_overlap_thresh,
            self.combine_stuff_area_thresh,
            self.combine_instances_score_thresh,
        )
        return [
            {"sem_seg": sem_seg, "instances": found, "panoptic_seg": panoptic_seg}
            for sem_seg, found, panoptic_seg in zip(sem_segs, instances, panoptic_segs, strict=True)
        ]

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments out of a config."""
        arguments = super().from_config(cfg)
        options = cfg.MODEL.PANOPTIC_FPN
        _scale_losses(arguments["roi_heads"], options.INSTANCE_LOSS_WEIGHT)
        return {
            **arguments,
            "sem_seg_head": build_sem_seg_head(cfg, arguments["backbone"].output_shape()),
            "combine_overlap_thresh": options.COMBINE.OVERLAP_THRESH,
            "combine_stuff_area_thresh": options.COMBINE.STUFF_AREA_LIMIT,
            "combine_instances_score_thresh": options.COMBINE.INSTANCES_CONFIDENCE_THRESH,
        }


def _scale_losses(roi_heads: nn.Module, factor: float) -> None:
    """Multiply the loss weights of all heads."""
    for module in roi_heads.modules():
        weight: Any = getattr(module, "loss_weight", None)
        if isinstance(weight, dict):
            module.loss_weight = {name: value * factor for name, value in weight.items()}  # type: ignore[assignment]  # a plain attribute
        elif weight is not None:
            module.loss_weight = weight * factor
