"""Structures on a CUDA device compute what they compute on the CPU."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from d2_structures import (
    BitMasks,
    Boxes,
    ImageList,
    Instances,
    Keypoints,
    PolygonMasks,
    RLEMasks,
    ROIMasks,
    RotatedBoxes,
    heatmaps_to_keypoints,
    matched_boxlist_iou,
    pairwise_ioa,
    pairwise_iou,
    pairwise_iou_rotated,
    pairwise_point_box_distance,
)

pytestmark = pytest.mark.gpu

SIZE = (60, 80)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def corners(n: int, seed: int = 0) -> Tensor:
    low = random(n, 2, seed=seed) * torch.tensor([50.0, 40.0])
    return torch.cat([low, low + random(n, 2, seed=seed + 1) * 30 + 3], 1)


def turned(n: int, seed: int = 0) -> Tensor:
    boxes = corners(n, seed)
    middle, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return torch.cat([middle, size, random(n, 1, seed=seed + 2) * 360 - 180], 1)


def box_masks(n: int = 5) -> Tensor:
    y, x = torch.arange(SIZE[0])[:, None] + 0.5, torch.arange(SIZE[1]) + 0.5
    x1, y1, x2, y2 = corners(n)[:, :, None, None].unbind(1)
    inside = (x > x1) & (x < x2) & (y > y1) & (y < y2)
    inside[0] = False
    return inside


def polygons() -> PolygonMasks:
    return PolygonMasks(
        [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in corners(5).tolist()]
    )


def boxes_processed(device: torch.device) -> list[Tensor]:
    boxes = Boxes(corners(20).to(device))
    boxes.tensor[3] = torch.tensor([5.0, 5, 5, 9])
    boxes.scale(1.5, 0.7)
    boxes.clip(SIZE)
    return [
        boxes.tensor,
        boxes.area(),
        boxes.nonempty(),
        boxes.inside_box(SIZE),
        boxes.get_centers(),
    ]


def rotated_boxes_processed(device: torch.device) -> list[Tensor]:
    boxes = RotatedBoxes(turned(20).to(device))
    boxes.normalize_angles()
    boxes.scale(1.5, 0.7)
    boxes.clip(SIZE)
    return [boxes.tensor, boxes.area(), boxes.nonempty(), boxes.inside_box(SIZE)]


def overlaps(device: torch.device) -> list[Tensor]:
    a, b = Boxes(corners(20).to(device)), Boxes(corners(9, 5).to(device))
    points = corners(7, 9)[:, :2].to(device)
    return [
        pairwise_iou(a, b),
        pairwise_ioa(a, b),
        matched_boxlist_iou(a, Boxes(corners(20, 3).to(device))),
        pairwise_point_box_distance(points, b),
        pairwise_iou_rotated(
            RotatedBoxes(turned(20).to(device)), RotatedBoxes(turned(9, 5).to(device))
        ),
    ]


def bit_masks(device: torch.device) -> list[Tensor]:
    masks = BitMasks(box_masks().to(device))
    return [masks.nonempty(), masks.get_bounding_boxes().tensor, masks.tensor]


def mask_targets(device: torch.device) -> list[Tensor]:
    boxes = corners(5, 4).to(device)
    pictures = box_masks()
    return [
        BitMasks(pictures.to(device)).crop_and_resize(boxes, 28),
        polygons().crop_and_resize(boxes, 28),
        RLEMasks.from_bitmasks(pictures).crop_and_resize(boxes, 28),
    ]


def pasted(device: torch.device) -> list[Tensor]:
    masks = ROIMasks(random(5, 28, 28).to(device))
    return [masks.to_bitmasks(corners(5).to(device), *SIZE).tensor]


def keypoints(device: torch.device) -> list[Tensor]:
    points = Keypoints((random(5, 17, 3) * torch.tensor([50.0, 50, 2.9])).floor().to(device))
    heatmap, valid = points.to_heatmap(corners(5).to(device), 56)
    return [heatmap, valid]


def found_keypoints(device: torch.device) -> list[Tensor]:
    return [heatmaps_to_keypoints(10 * random(6, 4, 14, 14).to(device), corners(6).to(device))]


def instances(device: torch.device) -> list[Tensor]:
    found = Instances(
        SIZE, pred_boxes=Boxes(corners(6)), scores=random(6), gt_masks=BitMasks(box_masks(6))
    ).to(device)
    assert all(found.get(name).device.type == device.type for name in found.get_fields())
    best = Instances.cat([found, found])[torch.arange(12, device=device) % 5 == 0]
    return [best.pred_boxes.tensor, best.scores, best.gt_masks.tensor]


def images(device: torch.device) -> list[Tensor]:
    batch = ImageList.from_tensors(
        [random(3, 30, 41).to(device), random(3, 33, 20).to(device)], 32, 0.5
    )
    return [batch.tensor, batch[1]]


COMPUTATIONS: list[Callable[[torch.device], list[Tensor]]] = [
    boxes_processed,
    rotated_boxes_processed,
    overlaps,
    bit_masks,
    mask_targets,
    pasted,
    keypoints,
    found_keypoints,
    instances,
    images,
]


@pytest.mark.parametrize("compute", COMPUTATIONS)
def test_a_device_computes_what_the_cpu_computes(
    compute: Callable[[torch.device], list[Tensor]], device: torch.device
) -> None:
    for got, wanted in zip(compute(device), compute(torch.device("cpu")), strict=True):
        torch.testing.assert_close(got.cpu(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("compute", [mask_targets, overlaps, pasted, found_keypoints])
def test_results_are_on_the_device_of_the_boxes(
    compute: Callable[[torch.device], list[Tensor]], device: torch.device
) -> None:
    assert all(result.device.type == device.type for result in compute(device))
