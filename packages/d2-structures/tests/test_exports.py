"""What works with tensors alone can be traced and exported, for any number of instances."""

import pytest
import torch
from torch.testing import assert_close

from d2_structures import (
    BitMasks,
    Boxes,
    Instances,
    Keypoints,
    ROIMasks,
    RotatedBoxes,
    matched_pairwise_iou,
    pairwise_intersection,
    pairwise_ioa,
    pairwise_iou,
    pairwise_iou_rotated,
    pairwise_point_box_distance,
)


def use_rotated_boxes(numbers):
    some = RotatedBoxes(numbers).clone()
    some.clip((20, 30))
    some.scale(2.0, 3.0)
    kept = RotatedBoxes.cat([some, some])[some.nonempty().repeat(2)]
    return kept.tensor, kept.area(), kept.get_centers(), kept.inside_box((5, 5), 1)


def use_overlaps(numbers):
    some = Boxes(numbers[:, :4])
    rotated = RotatedBoxes(numbers)
    return (
        pairwise_iou(some, some),
        pairwise_ioa(some, some),
        pairwise_intersection(some, some),
        matched_pairwise_iou(some, some),
        pairwise_iou_rotated(rotated, rotated),
        pairwise_point_box_distance(numbers[:, :2], some),
    )


def use_keypoints(numbers):
    points = Keypoints(numbers[:, None, :3].expand(-1, 4, -1))
    boxes = torch.cat((numbers[:, :2] - 1, numbers[:, :2] + 9), dim=1)
    return Keypoints.cat([points, points]).tensor, *points.to_heatmap(boxes, 7)


def use_bitmasks(numbers):
    masks = BitMasks(numbers[:, :, None] > torch.arange(6.0) * 5)
    joined = BitMasks.cat([masks, masks])
    kept = joined[joined.nonempty()]
    boxes = joined.get_bounding_boxes().tensor
    return kept.tensor, boxes, joined.crop_and_resize(boxes, 7)


def use_roi_masks(numbers):
    masks = ROIMasks.cat([ROIMasks((numbers[:, :1, None] / 40).expand(-1, 7, 7))])
    corners = torch.cat((numbers[:, :2], numbers[:, :2] + 8), dim=1)
    return masks.to_bitmasks(Boxes(corners), 24, 32).tensor


def use_instances(numbers):
    instances = Instances((20, 30), boxes=RotatedBoxes(numbers), scores=numbers[:, 0])
    joined = Instances.cat([instances, instances])
    kept = joined[joined.scores > 10]
    return kept.boxes.tensor, kept.scores


USES = [
    use_rotated_boxes,
    use_overlaps,
    use_keypoints,
    use_bitmasks,
    use_roi_masks,
    use_instances,
]


def numbers(count):
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, 5, generator=generator) * 30 + 1


# Checks of shapes are not recorded, of which tracing warns: what is recorded is proved here.
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("use", USES)
def test_a_trace_holds_for_other_numbers(use):
    traced = torch.jit.trace(use, numbers(7))
    for count in (3, 1, 0):
        assert_close(traced(numbers(count)), use(numbers(count)))


@pytest.mark.parametrize("use", USES)
def test_an_export_holds_for_other_numbers(use):
    class Module(torch.nn.Module):
        def forward(self, given):
            return use(given)

    dynamic = {0: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(Module(), (numbers(7),), dynamic_shapes=(dynamic,))
    for count in (3, 2):
        assert_close(exported.module()(numbers(count)), use(numbers(count)))
