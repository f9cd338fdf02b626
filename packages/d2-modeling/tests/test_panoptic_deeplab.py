"""Panoptic-DeepLab apart from its reference model."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_modeling import ShapeSpec
from d2_modeling.panoptic_deeplab import (
    PanopticDeepLab,
    PanopticDeepLabInsEmbedHead,
    PanopticDeepLabSemSegHead,
    find_instance_center,
    get_panoptic_segmentation,
)
from d2_modeling.panoptic_deeplab.post_processing import group_pixels, segment_images

SHAPES = {"res2": ShapeSpec(channels=4, stride=4), "res5": ShapeSpec(channels=8, stride=16)}
OPTIONS: dict[str, Any] = {
    "project_channels": [4],
    "decoder_channels": [6, 6],
    "aspp_dilations": [1, 2, 3],
    "aspp_dropout": 0.0,
    "common_stride": 4,
    "norm": "BN",
    "head_channels": 5,
}


def features() -> dict[str, torch.Tensor]:
    return {"res2": torch.randn(2, 4, 8, 8), "res5": torch.randn(2, 8, 2, 2)}


def sem_seg_head(**options: Any) -> PanopticDeepLabSemSegHead:
    return PanopticDeepLabSemSegHead(
        SHAPES, **OPTIONS, num_classes=3, loss_top_k=1.0, ignore_value=255, **options
    )


def embed_head(**options: Any) -> PanopticDeepLabInsEmbedHead:
    weights = {"center_loss_weight": 2.0, "offset_loss_weight": 3.0}
    return PanopticDeepLabInsEmbedHead(SHAPES, **OPTIONS, **weights, **options)


def heat_map(*peaks: tuple[int, int, float]) -> torch.Tensor:
    heat = torch.zeros(1, 12, 16)
    for row, column, height in peaks:
        heat[0, row, column] = height
        heat[0, row, column + 1] = height / 2
    return heat


def test_peaks_are_the_highest_round_them_and_above_the_threshold() -> None:
    heat = heat_map((2, 3, 0.9), (2, 6, 0.5), (9, 9, 0.05))
    assert find_instance_center(heat, nms_kernel=3).tolist() == [[2, 3], [2, 6]]
    assert find_instance_center(heat, nms_kernel=7).tolist() == [[2, 3]]
    assert find_instance_center(heat, threshold=0.01).tolist() == [[2, 3], [2, 6], [9, 9]]
    assert find_instance_center(heat, nms_kernel=3, top_k=2).tolist() == [[2, 3]]
    assert find_instance_center(torch.zeros(1, 4, 4)).shape == (0, 2)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 5))
def test_a_pixel_belongs_to_the_centre_that_it_points_nearest_to(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randint(0, 9, (count, 2), generator=generator)
    offsets = 4 * torch.randn(2, 5, 7, generator=generator)
    groups = group_pixels(centers, offsets)
    for row in range(5):
        for column in range(7):
            y, x = row + float(offsets[0, row, column]), column + float(offsets[1, row, column])
            distances = [((y - r) ** 2 + (x - c) ** 2) ** 0.5 for r, c in centers.tolist()]
            assert distances[int(groups[0, row, column]) - 1] <= min(distances) + 1e-4


def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Stuff of class 0, and two things: of class 1, and of class 2 with some pixels of 1."""
    sem_seg = torch.zeros(1, 12, 16, dtype=torch.int64)
    sem_seg[0, 1:4, 2:6] = 1
    sem_seg[0, 7:11, 8:14] = 2
    sem_seg[0, 7, 8:10] = 1
    rows = torch.arange(12.0)[:, None].expand(12, 16)
    columns = torch.arange(16.0).expand(12, 16)
    first = rows < 6
    offsets = torch.stack(
        [torch.where(first, 2.0, 9.0) - rows, torch.where(first, 3.0, 10.0) - columns]
    )
    return sem_seg, heat_map((2, 3, 0.9), (9, 10, 0.8)), offsets


def segmented(**options: Any) -> torch.Tensor:
    given = {"thing_ids": [1, 2], "label_divisor": 100, "stuff_area": 10, "void_label": -1}
    return get_panoptic_segmentation(*scene(), **{**given, **options})[0][0]


def test_things_have_the_class_of_most_of_their_pixels_and_a_number() -> None:
    panoptic = segmented()
    assert panoptic.unique().tolist() == [0, 101, 201]
    assert (panoptic[7:11, 8:14] == 201).all()
    assert (panoptic[1:4, 2:6] == 101).all()
    assert segmented(stuff_area=1000)[0, 0] == -1
    nowhere = torch.zeros(1, 12, 16, dtype=torch.bool)
    assert segmented(foreground_mask=nowhere).unique().tolist() == [-1, 0]
    assert segmented(threshold=0.95).unique().tolist() == [-1, 0]


def merged_one_by_one(
    sem_seg: torch.Tensor, centers: torch.Tensor, offsets: torch.Tensor, stuff_area: int
) -> torch.Tensor:
    """Things are of the classes 1 and 3; of several classes that are as many the smallest wins."""
    groups, numbers = group_pixels(centers, offsets)[0], Counter[int]()
    wanted = torch.full_like(sem_seg, -1)
    for instance in range(1, len(centers) + 1):
        mask = ((sem_seg == 1) | (sem_seg == 3)) & (groups == instance)
        votes = Counter(sem_seg[mask].tolist())
        if votes:
            label = min(votes, key=lambda kind: (-votes[kind], kind))
            numbers[label] += 1
            wanted[mask] = 100 * label + numbers[label]
    for label in (0, 2, 7):
        mask = sem_seg == label
        if mask.sum() >= stuff_area:
            wanted[mask] = 100 * label
    return wanted


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(0, 5), st.sampled_from([0, 5, 12]))
def test_maps_are_merged_as_one_instance_after_another(
    seed: int, count: int, stuff_area: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.tensor([0, 1, 2, 3, 7])
    sem_segs, heats, shifts = [], [], []
    for _ in range(2):
        sem_segs.append(kinds[torch.randint(5, (1, 7, 8), generator=generator)])
        heat = torch.zeros(56)
        heat[torch.randperm(56, generator=generator)[:count]] = 0.5
        heats.append(heat.view(1, 7, 8))
        shifts.append(3 * torch.randn(2, 7, 8, generator=generator))
    options: Any = {"thing_ids": [1, 3], "label_divisor": 100, "stuff_area": stuff_area}
    options |= {"void_label": -1, "threshold": 0.1, "nms_kernel": 1, "top_k": 50}
    together = segment_images(
        [torch.searchsorted(kinds, one) for one in sem_segs],
        [(one == 1) | (one == 3) for one in sem_segs],
        *(heats, shifts, kinds, (kinds == 1) | (kinds == 3)),
        **{name: value for name, value in options.items() if name != "thing_ids"},
    )
    for sem_seg, heat, shift, found in zip(sem_segs, heats, shifts, together, strict=True):
        centers = find_instance_center(heat, nms_kernel=1)
        panoptic, got = get_panoptic_segmentation(sem_seg, heat, shift, **options)
        assert torch.equal(got[0], centers)
        assert torch.equal(panoptic[0], merged_one_by_one(sem_seg[0], centers, shift, stuff_area))
        assert torch.equal(found.panoptic, panoptic)
        assert torch.equal(found.centers, centers)
        for number, area in zip(found.numbers, found.areas, strict=True):
            assert area == 0 or (panoptic == number).sum() == area


def test_classes_of_any_type_are_merged() -> None:
    sem_seg, *others = scene()
    options: Any = {"thing_ids": [1, 2], "label_divisor": 100, "stuff_area": 10, "void_label": -1}
    (plain, _), (small, _) = (
        get_panoptic_segmentation(one, *others, **options) for one in (sem_seg, sem_seg.byte())
    )
    assert torch.equal(plain, small)


@pytest.mark.parametrize("separable", [False, True])
def test_heads_train_and_predict(separable: bool) -> None:
    labels = torch.randint(0, 3, (2, 32, 32))
    one = torch.ones(2, 1, 32, 32)
    semantic = sem_seg_head(use_depthwise_separable_conv=separable, loss_type="hard_pixel_mining")
    plain = semantic(features(), labels, one[:, 0])[1]["loss_sem_seg"]
    assert plain > 0
    assert semantic(features(), labels, 0 * one[:, 0])[1]["loss_sem_seg"] == 0
    assert semantic.eval()(features())[0].shape == (2, 3, 32, 32)
    embed = embed_head(use_depthwise_separable_conv=separable)
    zeros = torch.zeros(2, 2, 32, 32)
    *nothing, centers, offsets = embed(features(), zeros[:, :1], one, zeros, one)
    assert nothing == [None, None]
    assert centers["loss_center"] > 0
    assert offsets["loss_offset"] > 0
    unweighted = embed(features(), zeros[:, :1], 0 * one, zeros, 0 * one)
    assert unweighted[2]["loss_center"] == unweighted[3]["loss_offset"] == 0
    with pytest.raises(ValueError, match="wants targets and weights"):
        embed(features())
    center, offset, *losses = embed.eval()(features())
    assert (center.shape, offset.shape) == ((2, 1, 32, 32), (2, 2, 32, 32))
    assert losses == [{}, {}]


def test_losses_are_weighted_means_of_the_errors() -> None:
    head = embed_head()
    predictions = torch.zeros(1, 1, 8, 8)
    targets, weights = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    targets[0, 0, 0, :2] = torch.tensor([3.0, 1.0])
    weights[0, 0, 0, :2] = torch.tensor([1.0, 3.0])
    got = head.center_losses(predictions, targets, weights)["loss_center"]
    assert got == pytest.approx(2.0 * (1 * 9 + 3 * 1) / 4)
    offsets = torch.full((1, 2, 8, 8), 0.5)  # in pixels of the map: 2 in the image
    got = head.offset_losses(offsets, torch.zeros(1, 2, 32, 32), weights)["loss_offset"]
    assert got == pytest.approx(3.0 * 2 * 2)


class Maps(torch.nn.Module):
    """A backbone that returns what the heads want of images of 32 pixels."""

    size_divisibility = 16

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        assert images.shape[-2:] == (32, 32)
        return {name: value[: len(images)] for name, value in features().items()}


def model(**options: Any) -> PanopticDeepLab:
    return PanopticDeepLab(
        backbone=Maps(),  # type: ignore[arg-type]
        sem_seg_head=sem_seg_head(),
        ins_embed_head=embed_head(),
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
        **options,
    )


def test_a_model_says_what_it_lacks() -> None:
    image = {"image": torch.zeros(3, 30, 31)}
    with pytest.raises(ValueError, match=r"inputs \[0\] have no 'sem_seg', which training wants"):
        model()([image])
    with pytest.raises(ValueError, match="does not know which classes are things"):
        model().eval()([image])


def test_results_have_the_wanted_size_and_benchmarks_none() -> None:
    image = {"image": torch.zeros(3, 30, 31), "height": 60, "width": 62}
    (result,) = model(thing_ids=[1], predict_instances=False).eval()([image])
    assert result["sem_seg"].shape == (3, 60, 62)
    assert result["panoptic_seg"][0].shape == (60, 62)
    assert "instances" not in result
    assert model(benchmark_network_speed=True).eval()([image]) == []
