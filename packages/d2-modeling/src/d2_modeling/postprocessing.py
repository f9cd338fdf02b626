"""From the network's input resolution to the resolution that the caller asked for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from d2_ops import paste_masks_in_image
from d2_structures import Boxes, Instances, ROIMasks


def detector_postprocess(
    results: Instances, output_height: int, output_width: int, mask_threshold: float = 0.5
) -> Instances:
    """Bring detections to the output resolution.

    Boxes and keypoints are scaled, boxes clipped and empty ones dropped with everything
    that belongs to them, and per-box masks are pasted into full-image ones.

    Args:
        results: detections in the resolution ``results.image_size``, with ``pred_boxes``
            or ``proposal_boxes``, maybe (N, 1, S, S) ``pred_masks`` in [0, 1] or `ROIMasks` and
            (N, K, 3) ``pred_keypoints``. It is left unchanged.
        output_height: wanted height in pixels.
        output_width: wanted width in pixels.
        mask_threshold: probability from which a pixel belongs to a mask.

    Returns:
        Detections of image size (output_height, output_width); masks are
        (N, output_height, output_width) bool.

    Raises:
        ValueError: if there are neither predicted nor proposal boxes.
    """
    height, width = results.image_size
    scale_x, scale_y = output_width / width, output_height / height
    if not torch.jit.is_tracing():
        output_height, output_width = int(output_height), int(output_width)
    output = Instances((output_height, output_width), **results.get_fields())
    names = [name for name in ("pred_boxes", "proposal_boxes") if output.has(name)]
    if not names:
        raise ValueError(
            "detections to post-process need pred_boxes or proposal_boxes, "
            f"got the fields {sorted(results.get_fields())}"
        )
    boxes: Boxes = output.get(names[0]).clone()
    boxes.scale(scale_x, scale_y)
    boxes.clip(output.image_size)
    output.set(names[0], boxes)
    output = output[boxes.nonempty()]
    if output.has("pred_masks"):
        masks = output.pred_masks
        output.pred_masks = paste_masks_in_image(
            masks.tensor if isinstance(masks, ROIMasks) else masks[:, 0],
            *(output.get(names[0]), output.image_size, mask_threshold),
        )
    if output.has("pred_keypoints"):
        x, y, score = output.pred_keypoints.unbind(dim=2)
        output.pred_keypoints = torch.stack((x * scale_x, y * scale_y, score), dim=2)
    return output


def sem_seg_postprocess(
    result: Tensor, img_size: tuple[int, int], output_height: int, output_width: int
) -> Tensor:
    """Bring the logits of a semantic segmentation to the output resolution.

    Args:
        result: (K, H, W) logits of the padded network input.
        img_size: (height, width) of the image without padding.
        output_height: wanted height in pixels.
        output_width: wanted width in pixels.

    Returns:
        (K, output_height, output_width) logits, bilinearly interpolated.
    """
    without_padding = result[None, :, : img_size[0], : img_size[1]]
    size = (output_height, output_width)
    return F.interpolate(without_padding, size=size, mode="bilinear", align_corners=False)[0]
