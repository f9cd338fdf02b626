"""FCOS: a dense detector without anchor shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_structures import Boxes, Instances

from ..anchor_generator import DefaultAnchorGenerator
from ..backbone import Backbone
from ..box_regression import Box2BoxTransformLinear, BoxTransform
from ..dense import Candidates, DenseDetector, labels_by_place
from ..dense.detector import chosen_features
from ..dense.labels import Labels
from ..layers import cat
from ..losses import summed_where


class FCOS(DenseDetector):
    """A detector that regresses, from each pixel inside a box, the distances to its sides.

    No config describes it: it is made in Python, or by a lazy config.

    Args:
        backbone: maps images to feature maps whose strides double.
        head_in_features: names of the feature maps for the head; None for all.
        anchor_generator: maps those feature maps to one anchor per pixel, whose width is the
            level's stride; None for anchors in the middle of their pixels.
        box2box_transform: encoding of boxes; None for a `Box2BoxTransformLinear` in units of
            strides.
        center_sampling_radius: pixels are foreground only within so many strides of the
            box's centre.
        box_reg_loss_type: see `DenseDetector`.
        test_score_thresh: see there.
        test_nms_thresh: see there.
        initial_normalizer: see there.
        **kwargs: its other arguments; the head is like `FCOSHead`.

    Source: Tian et al., "FCOS", 2019, with the later centre sampling.
    """

    _values_per_anchor = (4, 1)

    def __init__(
        self,
        *,
        backbone: Backbone,
        head_in_features: Sequence[str] | None = None,
        anchor_generator: nn.Module | None = None,
        box2box_transform: BoxTransform | None = None,
        center_sampling_radius: float = 1.5,
        box_reg_loss_type: str = "giou",
        test_score_thresh: float = 0.2,
        test_nms_thresh: float = 0.6,
        initial_normalizer: float = 300.0,
        **kwargs: Any,
    ) -> None:
        names = chosen_features(backbone, head_in_features)
        super().__init__(
            backbone=backbone,
            head_in_features=names,
            anchor_generator=anchor_generator or _anchors_of_pixels(backbone, names),
            box2box_transform=box2box_transform or Box2BoxTransformLinear(True),
            box_reg_loss_type=box_reg_loss_type,
            test_score_thresh=test_score_thresh,
            test_nms_thresh=test_nms_thresh,
            initial_normalizer=initial_normalizer,
            **kwargs,
        )
        self.center_sampling_radius = center_sampling_radius

    @torch.no_grad()
    def label_anchors(self, anchors: Sequence[Boxes], gt_instances: Sequence[Instances]) -> Labels:
        """Give pixels the smallest ground truth box around them that suits their level.

        See `DenseDetector.label_anchors`; nothing is ignored.
        """
        return labels_by_place(
            anchors,
            gt_instances,
            radius=self.center_sampling_radius,
            num_classes=self.num_classes,
        )

    def losses(
        self,
        anchors: Sequence[Boxes],
        pred_logits: Sequence[Tensor],
        gt_labels: Sequence[Tensor],
        pred_anchor_deltas: Sequence[Tensor],
        gt_boxes: Sequence[Tensor],
        *others: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Losses of the classes of all pixels, and of boxes and centreness of the foreground.

        Args:
            anchors: see `DenseDetector.losses`.
            pred_logits: see there.
            gt_labels: see there.
            pred_anchor_deltas: see there.
            gt_boxes: see there.
            *others: (N, R_l, 1) logits of the centreness for each level.

        Returns:
            ``loss_fcos_cls``, ``loss_fcos_loc`` and ``loss_fcos_ctr``, over the running mean
            number of foreground pixels.
        """
        (pred_centerness,) = others
        found = self.anchor_losses(anchors, pred_logits, gt_labels, pred_anchor_deltas, gt_boxes)
        centreness = cat(list(pred_centerness), dim=1).squeeze(2)
        targets = self.compute_ctrness_targets(anchors, gt_boxes).to(centreness.dtype)
        loss = summed_where(
            found.foreground, F.binary_cross_entropy_with_logits, centreness, targets
        )
        return {
            "loss_fcos_cls": found.classification,
            "loss_fcos_loc": found.regression,
            "loss_fcos_ctr": loss / found.normalizer,
        }

    @torch.no_grad()
    def compute_ctrness_targets(
        self, anchors: Sequence[Boxes], gt_boxes: Sequence[Tensor]
    ) -> Tensor:
        """How central each pixel is in its box: 1 in the middle, 0 at the border.

        Args:
            anchors: anchors of each level, R in all.
            gt_boxes: (R, 4) for each of N images.

        Returns:
            (N, R), meaningful where the pixel is inside its box.

        Source: Tian et al., "FCOS", 2019, equation 3.
        """
        centres = torch.cat([level.get_centers() for level in anchors])
        low, high = torch.stack(list(gt_boxes)).split(2, dim=2)
        before, after = centres - low, high - centres
        ratios = torch.minimum(before, after) / torch.maximum(before, after)
        return ratios.clamp(min=0).prod(dim=2).sqrt()

    def level_candidates(
        self, anchors: Tensor, logits: Tensor, deltas: Tensor, *others: Tensor
    ) -> Candidates:
        """See `DenseDetector.level_candidates`.

        The score is the geometric mean of the class's and the centreness's probability.
        """
        (centreness,) = others
        scores = (logits.sigmoid() * centreness.sigmoid()).sqrt()
        return self.best_candidates(anchors, scores, deltas)


def _anchors_of_pixels(backbone: Backbone, names: Sequence[str]) -> DefaultAnchorGenerator:
    """Each pixel is a box of its stride's size around its centre."""
    shapes = backbone.output_shape()
    strides = [shapes[name].stride or 0 for name in names]
    return DefaultAnchorGenerator(
        sizes=[[stride] for stride in strides], aspect_ratios=[1.0], strides=strides, offset=0.5
    )
