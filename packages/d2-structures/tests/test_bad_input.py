"""Bad input to any structure is refused with what came and what was wanted."""

import numpy as np
import pytest
import torch

from d2_structures import (
    BitMasks,
    Boxes,
    BoxMode,
    ImageList,
    Instances,
    Keypoints,
    PolygonMasks,
    ROIMasks,
    RotatedBoxes,
    matched_pairwise_iou,
    pairwise_intersection,
    pairwise_ioa,
    pairwise_iou,
    pairwise_iou_rotated,
    pairwise_point_box_distance,
)

NAN = float("nan")
BOXES = Boxes([[0, 0, 4, 4], [1, 1, 3, 5]])
ROTATED = RotatedBoxes([[2, 2, 4, 4, 0], [3, 3, 3, 5, 30]])
BITMAPS = BitMasks(torch.zeros(2, 4, 5, dtype=torch.bool))
IMAGE = torch.zeros(3, 4, 5)

REFUSED = {
    "rows of differing lengths": (
        lambda: Boxes([torch.zeros(4), torch.zeros(3)]),
        TypeError,
        r"rows of one length.*\(3,\), \(4,\)",
    ),
    "a negative size to clip to": (
        lambda: BOXES.clone().clip((-1, 5)),
        ValueError,
        r"not be negative, got \(-1, 5\)",
    ),
    "three numbers to clip to": (
        lambda: ROTATED.clone().clip((4, 5, 6)),
        ValueError,
        r"\(height, width\) in pixels, got \(4, 5, 6\)",
    ),
    "one number to lie within": (lambda: BOXES.inside_box(7), ValueError, "pixels, got 7"),
    "a negative size to lie within": (
        lambda: ROTATED.inside_box((3, -2)),
        ValueError,
        r"got \(3, -2\)",
    ),
    "a scale that is no number": (
        lambda: BOXES.clone().scale(NAN, 1),
        ValueError,
        "finite numbers, got nan and 1",
    ),
    "a rotated scale that is infinite": (
        lambda: ROTATED.clone().scale(1, float("inf")),
        ValueError,
        "got 1 and inf",
    ),
    "joined boxes of two kinds": (
        lambda: Boxes.cat([BOXES, ROTATED]),
        ValueError,
        r"Boxes.cat.*\[2, 4\] and position 1 \[2, 5\]",
    ),
    "rotated boxes joined with others": (
        lambda: RotatedBoxes.cat([ROTATED, BOXES]),
        TypeError,
        "got Boxes at position 1",
    ),
    "overlaps of a tensor": (
        lambda: pairwise_iou(BOXES.tensor, BOXES),
        TypeError,
        "boxes1 must be Boxes, got Tensor",
    ),
    "coverage of a tensor": (lambda: pairwise_ioa(BOXES, BOXES.tensor), TypeError, "boxes2 must"),
    "overlaps of rotated with upright boxes": (
        lambda: pairwise_intersection(BOXES, ROTATED),
        ValueError,
        r"boxes2 must be axis-aligned.*\(N, 4\), got \[2, 5\]",
    ),
    "rotated overlaps of upright boxes": (
        lambda: pairwise_iou_rotated(BOXES, BOXES),
        ValueError,
        r"boxes1 must have shape \(N, 5\)",
    ),
    "matched overlaps of rotated boxes": (
        lambda: matched_pairwise_iou(ROTATED, ROTATED),
        ValueError,
        "axis-aligned",
    ),
    "distances to a tensor": (
        lambda: pairwise_point_box_distance(torch.zeros(1, 2), BOXES.tensor),
        TypeError,
        "boxes must be Boxes",
    ),
    "a box of words": (
        lambda: BoxMode.convert(["a", "b", "c", "d"], BoxMode.XYXY_ABS, BoxMode.XYWH_ABS),
        TypeError,
        r"made of numbers, got \['a'",
    ),
    "a box of bools": (
        lambda: BoxMode.convert(np.zeros((2, 4), bool), BoxMode.XYXY_ABS, BoxMode.XYWH_ABS),
        TypeError,
        "got bool",
    ),
    "an image size that is one number": (
        lambda: BoxMode.convert([1, 2, 3, 4], BoxMode.XYXY_ABS, BoxMode.XYXY_REL, image_size=9),
        ValueError,
        r"positive \(height, width\), got 9",
    ),
    "bitmaps of words": (lambda: BitMasks("abc"), TypeError, r"shape \(N, H, W\), got str"),
    "no bitmaps": (lambda: BitMasks(None), TypeError, "got NoneType"),
    "joined bitmaps of two images": (
        lambda: BitMasks.cat([BitMasks(torch.zeros(1, 4, w, dtype=torch.bool)) for w in (5, 6)]),
        ValueError,
        r"BitMasks.cat.*\[1, 4, 5\] and position 1 \[1, 4, 6\]",
    ),
    "bitmaps cropped by no tensor": (
        lambda: BITMAPS.crop_and_resize(BOXES, 7),
        TypeError,
        r"tensor of shape \(2, 4\), got Boxes",
    ),
    "polygons cropped by an array": (
        lambda: PolygonMasks([]).crop_and_resize(np.zeros((0, 4)), 7),
        TypeError,
        "got ndarray",
    ),
    "crops of half a pixel": (
        lambda: BITMAPS.crop_and_resize(BOXES.tensor, 7.5),
        TypeError,
        "whole number, got 7.5",
    ),
    "keypoints that are not finite": (
        lambda: Keypoints([[[NAN, 1, 2]]]),
        ValueError,
        "Keypoints holds NaN or infinity: row 0",
    ),
    "joined keypoints of two kinds": (
        lambda: Keypoints.cat([Keypoints(torch.zeros(2, k, 3)) for k in (3, 4)]),
        ValueError,
        r"Keypoints.cat.*\[2, 3, 3\] and position 1 \[2, 4, 3\]",
    ),
    "joined region masks of two sizes": (
        lambda: ROIMasks.cat([ROIMasks(torch.zeros(2, m, m)) for m in (7, 14)]),
        ValueError,
        r"ROIMasks.cat.*position 1 \[2, 14, 14\]",
    ),
    "an image size of words": (lambda: Instances(("a", 5)), ValueError, "two numbers"),
    "a private field": (lambda: Instances((4, 5), _a=[1]), ValueError, "called '_a'"),
    "a field named as a method": (lambda: Instances((4, 5), to=[1]), ValueError, "called 'to'"),
    "images of two dtypes": (
        lambda: ImageList.from_tensors([IMAGE, IMAGE.to(torch.uint8)]),
        ValueError,
        "image 1 is torch.uint8 on cpu and image 0 torch.float32",
    ),
    "fewer sizes than images": (
        lambda: ImageList(torch.zeros(2, 3, 4, 5), [(4, 5)]),
        ValueError,
        r"got shape \[2, 3, 4, 5\] and 1 sizes",
    ),
    "a size beyond its batch": (
        lambda: ImageList(torch.zeros(1, 3, 4, 5), [(4, 6)]),
        ValueError,
        r"image 0 of size \(4, 6\) does not fit",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_refused(what):
    call, error, message = REFUSED[what]
    with pytest.raises(error, match=message):
        call()
