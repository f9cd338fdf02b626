"""Models that give each pixel a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable

from ..backbone import Backbone, build_backbone
from ..image_input import BatchedInputs, ImageInput, ModelOutput, output_size
from ..postprocessing import sem_seg_postprocess
from .build import META_ARCH_REGISTRY
from .sem_seg_head import build_sem_seg_head


@META_ARCH_REGISTRY.register()
class SemanticSegmentor(ImageInput):
    """A backbone and a head that labels pixels.

    Args:
        backbone: maps images to feature maps.
        sem_seg_head: maps feature maps to logits or losses, see `SemSegFPNHead`; needs the
            attribute ``ignore_value``.
        pixel_mean: mean of each channel, subtracted from images.
        pixel_std: standard deviation of each channel, divided by.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__(pixel_mean, pixel_std)
        self.backbone = backbone
        self.sem_seg_head: Any = sem_seg_head

    def forward(self, batched_inputs: BatchedInputs) -> ModelOutput:
        """Losses in training, logits otherwise.

        Args:
            batched_inputs: for each image a dict with

                * ``image``: (C, H, W) tensor;
                * ``sem_seg``: (H, W) labels, in training;
                * ``height``, ``width``: wanted output size, by default the image's.

        Returns:
            In training a dict of losses. Otherwise for each image ``{"sem_seg": ...}``,
            (K, height, width) logits.

        Raises:
            ValueError: if ``image``, or in training ``sem_seg``, is missing or of a wrong
                size, or a label is one that the head does not know.
        """
        images = self.batch_images(batched_inputs, self.backbone)
        targets = None
        if self.training:
            targets = self.batch_sem_seg(
                *(batched_inputs, images, self.backbone, self.sem_seg_head.ignore_value),
                num_classes=getattr(self.sem_seg_head, "num_classes", None),
            )
        losses: dict[str, Tensor]
        logits, losses = self.sem_seg_head(self.backbone(images.tensor), targets)
        if self.training:
            return losses
        return [
            {"sem_seg": sem_seg_postprocess(result, image_size, *output_size(entry, image_size))}
            for result, entry, image_size in zip(
                logits, batched_inputs, images.image_sizes, strict=True
            )
        ]

    @torch.no_grad()
    def predict_tensors(self, images: Tensor, image_sizes: Tensor) -> dict[str, Tensor]:
        """Segment in tensors: what an exported model does, see `d2_modeling.export`.

        Args:
            images: (N, C, H, W), padded at the right and the bottom, not normalised.
            image_sizes: (N, 2) int64, height and width of each without padding.

        Returns:
            ``sem_seg``, (N, K, H', W') logits of the images as the backbone wants them padded.
        """
        features = self.backbone(self.normalized_tensor(images, image_sizes, self.backbone))
        logits, _ = self.sem_seg_head(features)
        return {"sem_seg": logits}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The constructor's arguments out of a config."""
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }
