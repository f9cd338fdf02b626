"""The operators as detectors call them, beside torchvision's: inputs, calls, bytes that must move.

Every function makes the cases of one operator; ``GROUPS`` has them in the order of their worth.
Where torchvision lacks a precision, the peer casts as its autocast does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from operator_scene import Case, Scene
from torch import Tensor

import d2_ops


def _moved(*tensors: Tensor) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _backward(out: Tensor, inputs: list[Tensor]) -> Callable[[], object]:
    gradient = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, inputs, gradient, retain_graph=True)


def batched_nms(scene: Scene) -> Iterator[Case]:
    for n in scene.sizes.batched_nms:
        boxes, scores = scene.boxes(n, 16, 128), scene.rand(n)
        classes = torch.arange(n, device=scene.device) * 7919 % 80
        yield Case(
            "batched_nms",
            "forward",
            f"{n} boxes, 80 classes",
            lambda b=boxes, s=scores, c=classes: d2_ops.batched_nms(b, s, c, 0.5),
            scene.peer(lambda v, b=boxes, s=scores, c=classes: v.ops.batched_nms(b, s, c, 0.5)),
            None,
        )
        yield Case(
            "batched_nms_of_all",
            "forward",
            f"{n} boxes, 80 classes",
            lambda b=boxes, s=scores, c=classes: d2_ops.batched_nms_of_all(b, s, c, 0.5),
            None,
            None,
        )


def nms(scene: Scene) -> Iterator[Case]:
    for n in scene.sizes.nms:
        boxes, scores = scene.boxes(n, 16, 128), scene.rand(n)
        yield Case(
            "nms",
            "forward",
            f"{n} boxes",
            lambda b=boxes, s=scores: d2_ops.nms(b, s, 0.7),
            scene.peer(lambda v, b=boxes, s=scores: v.ops.nms(b, s, 0.7)),
            None,
        )


_FORMATS = (
    (torch.float32, torch.contiguous_format),
    (torch.float16, torch.contiguous_format),
    (torch.bfloat16, torch.contiguous_format),
    (torch.float32, torch.channels_last),
    (torch.bfloat16, torch.channels_last),
)


def _named(dtype: torch.dtype, memory_format: torch.memory_format) -> str:
    last = ", channels last" if memory_format == torch.channels_last else ""
    return str(dtype).removeprefix("torch.") + last


def _peer_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype == torch.bfloat16 else dtype


def _both_ways(
    name: str,
    what: str,
    maps: list[Tensor],
    ours: Callable[[list[Tensor]], Tensor],
    peer: Callable[[list[Tensor]], Tensor] | None,
) -> Iterator[Case]:
    """Pooling forward and backward. The peer gets maps in a precision that it knows."""
    known = _peer_dtype(maps[0].dtype)

    def cast(features: list[Tensor]) -> Tensor:
        assert peer is not None
        return peer([f.to(known) for f in features]).to(maps[0].dtype)

    with torch.no_grad():
        moved = _moved(*maps, ours(maps))
    plain = (lambda: ours(maps)) if peer is None else (lambda: cast(maps))
    yield Case(name, "forward", what, lambda: ours(maps), plain if peer else None, moved)
    leaves, theirs = ([f.detach().requires_grad_() for f in maps] for _ in range(2))
    yield Case(
        name,
        "backward",
        what,
        _backward(ours(leaves), leaves),
        _backward(cast(theirs), theirs) if peer else None,
        moved,
    )


def roi_align(scene: Scene) -> Iterator[Case]:
    height, width = (side // 4 for side in scene.sizes.image)
    vision = scene.vision
    for low, high in ((16, 112), (32, 512)):
        index = torch.arange(scene.sizes.regions, device=scene.device)[:, None] % 2
        rois = torch.cat([index, scene.boxes(scene.sizes.regions, low, high)], 1)
        for dtype, memory_format in _FORMATS:
            features = scene.randn(2, scene.sizes.channels, height, width)
            features = features.to(dtype).contiguous(memory_format=memory_format)

            def theirs(maps: list[Tensor], rois: Tensor = rois, vision: Any = vision) -> Tensor:
                return vision.ops.roi_align(maps[0], rois.to(maps[0].dtype), 7, 0.25, 0, True)

            yield from _both_ways(
                "roi_align",
                f"{len(rois)} regions of {low}-{high} px, 7x7, {_named(dtype, memory_format)}",
                [features],
                lambda maps, rois=rois: d2_ops.roi_align(maps[0], rois, 7, 0.25, 0, True),
                theirs if vision else None,
            )


def multilevel_roi_align(scene: Scene) -> Iterator[Case]:
    strides, vision = (4, 8, 16, 32), scene.vision
    names = [str(stride) for stride in strides]
    height, width = scene.sizes.image
    for count, bins in ((scene.sizes.proposals, 7), (scene.sizes.masked, 14)):
        boxes = [scene.boxes(count, 16, 600) for _ in range(2)]
        pooler = vision.ops.MultiScaleRoIAlign(names, bins, 0) if vision else None
        for dtype, memory_format in _FORMATS:
            maps = [
                scene.randn(2, scene.sizes.channels, height // s, width // s)
                .to(dtype)
                .contiguous(memory_format=memory_format)
                for s in strides
            ]

            def theirs(
                features: list[Tensor], boxes: list[Tensor] = boxes, pooler: Any = pooler
            ) -> Tensor:
                rois = [b.to(features[0].dtype) for b in boxes]
                return pooler(
                    dict(zip(names, features, strict=True)), rois, [scene.sizes.image] * 2
                )

            yield from _both_ways(
                "multilevel_roi_align",
                f"2x{count} regions, {bins}x{bins}, {_named(dtype, memory_format)}",
                maps,
                lambda maps, boxes=boxes, bins=bins: d2_ops.multilevel_roi_align(
                    maps, boxes, bins, [1 / s for s in strides], 0
                ),
                theirs if vision else None,
            )


def paste_masks(scene: Scene) -> Iterator[Case]:
    masks, boxes = scene.rand(scene.sizes.masks, 28, 28), scene.boxes(scene.sizes.masks, 20, 300)
    size = scene.sizes.image

    def theirs(vision: Any) -> Tensor:
        from torchvision.models.detection.roi_heads import paste_masks_in_image

        return paste_masks_in_image(masks[:, None], boxes, size) >= 0.5

    yield Case(
        "paste_masks_in_image",
        "forward",
        f"{len(masks)} masks of 28x28 into {size[0]}x{size[1]}",
        lambda: d2_ops.paste_masks_in_image(masks, boxes, size),
        scene.peer(theirs),
        _moved(masks, boxes) + len(masks) * size[0] * size[1],
    )


def sigmoid_focal_loss(scene: Scene) -> Iterator[Case]:
    for dtype in (torch.float32, torch.bfloat16):
        logits = scene.randn(scene.sizes.logits, 80).to(dtype).requires_grad_()
        targets = (torch.rand_like(logits) < 0.01).to(dtype)
        what = f"{len(logits)}x80 logits, summed, {_named(dtype, torch.contiguous_format)}"

        def ours(x: Tensor = logits, y: Tensor = targets) -> Tensor:
            return d2_ops.sigmoid_focal_loss(x, y, 0.25, 2.0, "sum")

        def theirs(vision: Any, x: Tensor = logits, y: Tensor = targets) -> Tensor:
            return vision.ops.sigmoid_focal_loss(x, y, 0.25, 2.0, "sum")

        name, moved = "sigmoid_focal_loss", _moved(logits, targets)
        yield Case(name, "forward", what, ours, scene.peer(theirs), moved)
        peer = None if scene.vision is None else _backward(theirs(scene.vision), [logits])
        yield Case(
            name, "backward", what, _backward(ours(), [logits]), peer, moved + _moved(logits)
        )


def match_anchors(scene: Scene) -> Iterator[Case]:
    anchors = scene.boxes(scene.sizes.anchors, 16, 512)
    for count in scene.sizes.truths:
        gt_boxes = scene.boxes(count, 32, 400)

        def theirs(vision: Any, gt_boxes: Tensor = gt_boxes) -> Tensor:
            from torchvision.models.detection._utils import Matcher

            matcher = Matcher(0.7, 0.3, allow_low_quality_matches=True)
            return matcher(vision.ops.box_iou(gt_boxes, anchors))

        yield Case(
            "match_anchors",
            "forward",
            f"{count} objects, {len(anchors)} anchors",
            lambda gt_boxes=gt_boxes: d2_ops.match_anchors(
                gt_boxes, anchors, [0.3, 0.7], [0, -1, 1], True
            ),
            scene.peer(theirs),
            _moved(anchors) + len(anchors) * (8 + 1 + 4),
        )


def pairwise_boxes(scene: Scene) -> Iterator[Case]:
    boxes = scene.boxes(scene.sizes.anchors, 16, 512)
    few = scene.boxes(scene.sizes.truths[0], 32, 400)
    for name, peer in (("pairwise_iou", "box_iou"), ("pairwise_giou", "generalized_box_iou")):
        yield Case(
            name,
            "forward",
            f"{len(few)} x {len(boxes)} boxes",
            lambda name=name: getattr(d2_ops, name)(few, boxes),
            scene.peer(lambda v, peer=peer: getattr(v.ops, peer)(few, boxes)),
            _moved(few, boxes) + 4 * len(few) * len(boxes),
        )


def decode_boxes(scene: Scene) -> Iterator[Case]:
    anchors = scene.boxes(scene.sizes.anchors, 16, 512)
    deltas = 0.1 * scene.randn(len(anchors), 4)
    size, ones = scene.sizes.image, (1.0, 1.0, 1.0, 1.0)

    def theirs(vision: Any) -> Tensor:
        from torchvision.models.detection._utils import BoxCoder

        return BoxCoder(ones).decode_single(deltas, anchors)

    def clipped(vision: Any) -> tuple[Tensor, Tensor]:
        boxes = vision.ops.clip_boxes_to_image(theirs(vision), size)
        sides = boxes[:, 2:] - boxes[:, :2]
        return boxes, (sides >= 1).all(1)

    moved = _moved(anchors, deltas, deltas)
    what = f"{len(anchors)} boxes"
    yield Case(
        "decode_boxes",
        "forward",
        what,
        lambda: d2_ops.decode_boxes(deltas, anchors),
        scene.peer(theirs),
        moved,
    )
    yield Case(
        "decode_and_clip_boxes",
        "forward",
        what,
        lambda: d2_ops.decode_and_clip_boxes(deltas, anchors, size, min_size=1.0),
        scene.peer(clipped),
        moved + len(anchors),
    )


def deform_conv2d(scene: Scene) -> Iterator[Case]:
    batch, height, width = scene.sizes.convolved
    channels = scene.sizes.channels
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        shapes = (
            (batch, channels, height, width),
            (batch, 18, height, width),
            (channels, channels, 3, 3),
            (batch, 9, height, width),
        )
        tensors = [scene.randn(*shape).to(dtype) for shape in shapes]

        def theirs(inputs: list[Tensor], vision: Any = scene.vision) -> Tensor:
            x, offset, weight, mask = inputs
            return vision.ops.deform_conv2d(x, offset, weight, padding=1, mask=mask)

        yield from _both_ways(
            "deform_conv2d",
            f"{batch}x{channels}x{height}x{width}, 3x3, modulated, "
            + _named(dtype, torch.contiguous_format),
            tensors,
            lambda t: d2_ops.deform_conv2d(t[0], t[1], t[2], padding=1, mask=t[3]),
            theirs if scene.vision else None,
        )


def roi_pool(scene: Scene) -> Iterator[Case]:
    height, width = (side // 4 for side in scene.sizes.image)
    features = scene.randn(2, scene.sizes.channels, height, width)
    index = torch.arange(scene.sizes.regions, device=scene.device)[:, None] % 2
    rois = torch.cat([index, scene.boxes(scene.sizes.regions, 16, 112)], 1)
    vision = scene.vision
    yield from _both_ways(
        "roi_pool",
        f"{len(rois)} regions of 16-112 px, 7x7, float32",
        [features],
        lambda maps: d2_ops.roi_pool(maps[0], rois, 7, 0.25),
        (lambda maps: vision.ops.roi_pool(maps[0], rois, 7, 0.25)) if vision else None,
    )


def rotated(scene: Scene) -> Iterator[Case]:
    for n in scene.sizes.rotated:
        boxes, scores = scene.rotated_boxes(n, 16, 128), scene.rand(n)
        classes = torch.arange(n, device=scene.device) % 80
        yield Case(
            "nms_rotated",
            "forward",
            f"{n} boxes",
            lambda b=boxes, s=scores: d2_ops.nms_rotated(b, s, 0.5),
            None,
            None,
        )
        yield Case(
            "batched_nms_rotated",
            "forward",
            f"{n} boxes, 80 classes",
            lambda b=boxes, s=scores, c=classes: d2_ops.batched_nms_rotated(b, s, c, 0.5),
            None,
            None,
        )
    boxes = scene.rotated_boxes(scene.sizes.rotated[0], 16, 128)
    yield Case(
        "box_iou_rotated",
        "forward",
        f"{len(boxes)} x {len(boxes)} boxes",
        lambda: d2_ops.box_iou_rotated(boxes, boxes),
        None,
        None,
    )
    height, width = (side // 4 for side in scene.sizes.image)
    features = scene.randn(2, scene.sizes.channels, height, width)
    index = torch.arange(scene.sizes.regions, device=scene.device)[:, None] % 2
    rois = torch.cat([index, scene.rotated_boxes(scene.sizes.regions, 16, 112)], 1)
    yield from _both_ways(
        "roi_align_rotated",
        f"{len(rois)} regions of 16-112 px, 7x7, float32",
        [features],
        lambda maps: d2_ops.roi_align_rotated(maps[0], rois, 7, 0.25, 0),
        None,
    )


GROUPS: tuple[Callable[[Scene], Iterator[Case]], ...] = (
    batched_nms,
    multilevel_roi_align,
    roi_align,
    nms,
    paste_masks,
    match_anchors,
    sigmoid_focal_loss,
    decode_boxes,
    deform_conv2d,
    pairwise_boxes,
    roi_pool,
    rotated,
)
