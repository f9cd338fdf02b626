"""The dense box loss by positions and with defaults; d2's takes its options by keyword."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from d2_modeling.box_regression import dense_box_regression_loss

_DEFAULT_SCALE_CLAMP = math.log(1000.0 / 16)


def _dense_box_regression_loss(
    anchors: Sequence[Any],
    box2box_transform: Any,
    pred_anchor_deltas: Sequence[Tensor],
    gt_boxes: Sequence[Tensor],
    fg_mask: Tensor,
    box_reg_loss_type: str = "smooth_l1",
    smooth_l1_beta: float = 0.0,
) -> Tensor:
    """See `d2_modeling.box_regression.dense_box_regression_loss`."""
    return dense_box_regression_loss(
        anchors,
        box2box_transform,
        pred_anchor_deltas,
        gt_boxes,
        fg_mask,
        box_reg_loss_type=box_reg_loss_type,
        smooth_l1_beta=smooth_l1_beta,
    )
