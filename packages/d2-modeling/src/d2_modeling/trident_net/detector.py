"""Proposals and detections from the maps of several branches."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_structures import ImageList, Instances

from ..batched_selection import Regions, batch_index_of, sizes_as_tensor, suppressed
from ..host_waits import remember
from ..layers import ShapeSpec
from ..proposal_generator import PROPOSAL_GENERATOR_REGISTRY, RPN
from ..roi_heads import ROI_HEADS_REGISTRY, Res5ROIHeads, StandardROIHeads

_MORE_THAN_CLASSES = 2**31


class _Branched(nn.Module):
    """What proposal generator and heads know of the branches."""

    @configurable
    def __init__(self, *, num_branch: int, trident_fast: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_branch = num_branch
        self.trident_fast = trident_fast

    @property
    def branches_run(self) -> int:
        """How many branches give maps: all, or one in fast inference."""
        return self.num_branch if self.training or not self.trident_fast else 1

    @classmethod
    def from_config(
        cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec] | None = None
    ) -> dict[str, Any]:
        """The constructor's arguments out of a config and the backbone's output shapes."""
        trident = cfg.MODEL.TRIDENT
        options = super().from_config(cfg, input_shape)  # type: ignore[misc]  # of what it is mixed into
        return options | {
            "num_branch": trident.NUM_BRANCH,
            "trident_fast": trident.TEST_BRANCH_IDX != -1,
        }


@PROPOSAL_GENERATOR_REGISTRY.register()
class TridentRPN(_Branched, RPN):
    """An RPN that sees the map of each branch as one more image.

    Args:
        num_branch: number of branches.
        trident_fast: inference runs one branch only.
        kwargs: see `RPN`.
    """

    def forward(
        self,
        images: ImageList,
        features: Mapping[str, Tensor],
        gt_instances: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See `RPN.forward`; proposals are those of the first branch, then of the next one."""
        count = self.branches_run
        all_images = ImageList(
            images.tensor.repeat(count, 1, 1, 1), list(images.image_sizes) * count
        )
        all_gt = None if gt_instances is None else list(gt_instances) * count
        return super().forward(all_images, features, all_gt)

    def propose(self, features: Mapping[str, Tensor], image_sizes: Tensor) -> Regions:
        """See `RPN.propose`.

        Raises:
            ValueError: if inference runs several branches: their detections are merged as
                `Instances`, which a graph of tensors has not.
        """
        if self.branches_run > 1:
            raise ValueError(
                f"a graph of tensors runs one branch, and this model runs {self.branches_run}: "
                "set MODEL.TRIDENT.TEST_BRANCH_IDX to one of them"
            )
        return super().propose(features, image_sizes)


class _TridentHeads(_Branched):
    """What is the same around both kinds of ROI heads."""

    box_predictor: Any

    def forward(
        self,
        images: ImageList,
        features: Mapping[str, Tensor],
        proposals: list[Instances],
        targets: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See `ROIHeads.forward`; detections of the branches are merged."""
        all_targets = None if targets is None else list(targets) * self.branches_run
        found, losses = super().forward(images, features, proposals, all_targets)
        if self.training:
            return found, losses
        predictor = self.box_predictor
        merged = merge_branch_instances(
            found, self.branches_run, predictor.test_nms_thresh, predictor.test_topk_per_image
        )
        return merged, {}


@ROI_HEADS_REGISTRY.register()
class TridentRes5ROIHeads(_TridentHeads, Res5ROIHeads):
    """`Res5ROIHeads` on several branches.

    Args:
        num_branch, trident_fast: see `TridentRPN`.
        kwargs: see `Res5ROIHeads`.
    """


@ROI_HEADS_REGISTRY.register()
class TridentStandardROIHeads(_TridentHeads, StandardROIHeads):
    """`StandardROIHeads` on several branches.

    Args:
        num_branch, trident_fast: see `TridentRPN`.
        kwargs: see `StandardROIHeads`.
    """


def merge_branch_instances(
    instances: Sequence[Instances], num_branch: int, nms_thresh: float, topk_per_image: int
) -> list[Instances]:
    """Put the detections of several branches together, without duplicates.

    The host waits for the device once.

    Args:
        instances: for each branch, for each image; with ``pred_boxes``, ``scores`` and
            ``pred_classes``.
        num_branch: number of branches.
        nms_thresh: overlap from which two boxes of a class are one object.
        topk_per_image: at most so many are kept; a negative number keeps all.

    Returns:
        For each image, by decreasing score.
    """
    if num_branch == 1:
        return list(instances)
    batch_size = len(instances) // num_branch
    joined = [Instances.cat(list(instances[image::batch_size])) for image in range(batch_size)]
    if not joined:
        return []
    boxes = torch.cat([found.pred_boxes.tensor for found in joined])
    starts = list(itertools.accumulate([len(found) for found in joined], initial=0))
    images = batch_index_of([len(found) for found in joined], boxes.device)
    sizes = sizes_as_tensor([found.image_size for found in joined], boxes)[images]
    kept = suppressed(
        boxes,
        torch.cat([found.scores for found in joined]),
        torch.cat([found.pred_classes for found in joined]),
        images,
        num_images=batch_size,
        num_categories=_MORE_THAN_CLASSES,
        nms_thresh=nms_thresh,
        limit=topk_per_image,
    )
    rows, counts, known = kept.on_host(lambda: kept.all_last(boxes, sizes))
    assert counts is not None
    merged = [
        found[image_rows - start]
        for found, image_rows, start in zip(joined, rows.split(counts), starts, strict=False)
    ]
    for found in merged if all(known) else ():
        remember(found.pred_boxes.tensor, True)
    return merged
