"""From the network's input resolution to the resolution that the caller asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from d2_ops import paste_masks_in_image
from d2_structures import Boxes, Instances, ROIMasks

from .batched_selection import clipped_to_images, sizes_as_tensor
from .host_waits import remembered


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
        ValueError: if there are neither predicted nor proposal boxes, or they are not finite.
    """
    sizes = [(output_height, output_width)]
    return postprocess_images([results], sizes, mask_threshold)[0]


def postprocess_images(
    results: Sequence[Instances],
    output_sizes: Sequence[tuple[int, int]],
    mask_threshold: float = 0.5,
) -> list[Instances]:
    """`detector_postprocess` of a batch.

    The host waits for the device once, for how many boxes are not empty; not at all if they come
    from a model that knows that none is, see `host_waits.sides_remain`.

    Args:
        results: the detections of each image.
        output_sizes: the wanted (height, width) of each.
        mask_threshold: see `detector_postprocess`.
    """
    outputs = [_scaled(*pair) for pair in zip(results, output_sizes, strict=True)]
    if torch.jit.is_tracing():
        return [_traced_postprocess(output, mask_threshold) for output in outputs]
    if not outputs:
        return []
    names = [_boxes_name(output) for output in outputs]
    boxes = [output.get(name) for output, name in zip(outputs, names, strict=True)]
    clipped = [_clipped(one, out.image_size) for one, out in zip(boxes, outputs, strict=True)]
    given = [found.get(name).tensor for found, name in zip(results, names, strict=True)]
    lasting = all(remembered(one) is True for one in given)
    if lasting and all(min(size) > 0 for size in output_sizes):
        for output, name, kept in zip(outputs, names, clipped, strict=True):
            output.set(name, kept)
        return [_with_pasted_masks(output, mask_threshold) for output in outputs]
    keep = [one.nonempty() for one in clipped]
    finite = [torch.isfinite(one.tensor).all() for one in boxes]
    counts = [mask.sum() for mask in keep]
    known = torch.stack([*counts, *(flag.to(counts[0]) for flag in finite)]).tolist()
    processed = []
    for index, output in enumerate(outputs):
        if not known[len(outputs) + index]:
            boxes[index].clip(output.image_size)  # which says what is wrong
        output.set(names[index], clipped[index])
        if known[index] < len(output):
            output = output[torch.nonzero_static(keep[index], size=known[index])[:, 0]]
        processed.append(_with_pasted_masks(output, mask_threshold))
    return processed


def _scaled(results: Instances, size: tuple[int, int]) -> Instances:
    """Boxes and keypoints in an output of that (height, width), in a new object."""
    height, width = results.image_size
    scale_x, scale_y = size[1] / width, size[0] / height
    if not torch.jit.is_tracing():
        size = int(size[0]), int(size[1])
    output = Instances(size, **results.get_fields())
    boxes: Boxes = output.get(_boxes_name(output)).clone()
    boxes.scale(scale_x, scale_y)
    output.set(_boxes_name(output), boxes)
    if output.has("pred_keypoints"):
        x, y, score = output.pred_keypoints.unbind(dim=2)
        output.pred_keypoints = torch.stack((x * scale_x, y * scale_y, score), dim=2)
    return output


def _boxes_name(instances: Instances) -> str:
    for name in ("pred_boxes", "proposal_boxes"):
        if instances.has(name):
            return name
    raise ValueError(
        "detections to post-process need pred_boxes or proposal_boxes, "
        f"got the fields {sorted(instances.get_fields())}"
    )


def _clipped(boxes: Any, size: tuple[int, int]) -> Any:
    """Boxes of any kind within an image, whether they are finite or not."""
    clipped = boxes.clone()
    clipped.tensor = clipped_to_images(boxes.tensor, sizes_as_tensor([size], boxes.tensor))
    return clipped


def _traced_postprocess(output: Instances, mask_threshold: float) -> Instances:
    boxes = output.get(_boxes_name(output))
    boxes.clip(output.image_size)
    return _with_pasted_masks(output[boxes.nonempty()], mask_threshold)


def _with_pasted_masks(output: Instances, mask_threshold: float) -> Instances:
    if output.has("pred_masks"):
        masks = output.pred_masks
        output.pred_masks = paste_masks_in_image(
            masks.tensor if isinstance(masks, ROIMasks) else masks[:, 0],
            *(output.get(_boxes_name(output)), output.image_size, mask_threshold),
        )
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
    # Made outermost of all, the new dimension leaves channels-last maps as such: of others than
    # torch takes for these it makes a copy in another order, which takes longer than all the rest.
    one = result.movedim(0, -1)[None].movedim(-1, 1)
    without_padding = one[..., : img_size[0], : img_size[1]]
    size = (output_height, output_width)
    return F.interpolate(without_padding, size=size, mode="bilinear", align_corners=False)[0]
