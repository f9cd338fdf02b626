"""Merging of instances and stuff against a loop over pixels, and how models use it."""

import pathlib
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling.meta_arch import combine_semantic_and_instance_outputs
from d2_structures import Instances

sys.path.insert(0, str(pathlib.Path(__file__).parent / "export"))
from tiny_models import build, images  # of that folder

HEIGHT, WIDTH = 3, 5
PIXELS = [(y, x) for y in range(HEIGHT) for x in range(WIDTH)]


def instances(masks: Tensor, scores: list[float], classes: list[int]) -> Instances:
    return Instances(
        (HEIGHT, WIDTH),
        pred_masks=masks,
        scores=torch.tensor(scores, dtype=torch.float32),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
    )


def slowly_merged(
    found: Instances, semantic: Tensor, overlap: float, stuff_area: float, least_score: float
) -> tuple[list[list[int]], list[dict[str, Any]]]:
    """Kirillov et al., "Panoptic Segmentation", 2019, section 5, pixel by pixel."""
    ids = [[0] * WIDTH for _ in range(HEIGHT)]
    segments: list[dict[str, Any]] = []
    scores, masks = found.scores.tolist(), found.pred_masks.tolist()
    for row in sorted(range(len(scores)), key=lambda row: -scores[row]):
        pixels = [(y, x) for y, x in PIXELS if masks[row][y][x]]
        free = [(y, x) for y, x in pixels if ids[y][x] == 0]
        if scores[row] < least_score or not pixels:
            continue
        if (len(pixels) - len(free)) / len(pixels) > overlap:
            continue
        segments.append(
            {
                "id": len(segments) + 1,
                "isthing": True,
                "score": scores[row],
                "category_id": int(found.pred_classes[row]),
                "instance_id": row,
            }
        )
        for y, x in free:
            ids[y][x] = len(segments)
    for label in sorted(set(semantic.flatten().tolist()) - {0}):
        free = [(y, x) for y, x in PIXELS if semantic[y, x] == label and ids[y][x] == 0]
        if free and len(free) >= stuff_area:
            segments.append(
                {
                    "id": len(segments) + 1,
                    "isthing": False,
                    "category_id": label,
                    "area": len(free),
                }
            )
            for y, x in free:
                ids[y][x] = len(segments)
    return ids, segments


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 6),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.sampled_from([0.0, 1.0, 2.0, 4.0]),
    st.sampled_from([0.0, 0.5, 1.1]),
)
def test_segments_are_those_of_a_loop_over_pixels(
    count: int, seed: int, overlap: float, stuff_area: float, least_score: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(count, HEIGHT, WIDTH, generator=generator) < 0.4
    order = torch.randperm(count, generator=generator).tolist()
    found = instances(masks, [(1 + place) / 8 for place in order], order)
    semantic = torch.randint(0, 4, (HEIGHT, WIDTH), generator=generator)
    ids, segments = combine_semantic_and_instance_outputs(
        found, semantic, overlap, stuff_area, least_score
    )
    assert (ids.tolist(), segments) == slowly_merged(
        found, semantic, overlap, stuff_area, least_score
    )
    assert ids.dtype == torch.int32


def test_what_a_share_at_the_threshold_covers_stays() -> None:
    masks = torch.zeros(2, HEIGHT, WIDTH, dtype=torch.bool)
    masks[0, 0, :2] = True
    masks[1, 0, :4] = True
    found = instances(masks, [0.9, 0.8], [1, 2])
    nothing = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
    for overlap, count in ((0.5, 2), (0.49, 1)):
        _, segments = combine_semantic_and_instance_outputs(found, nothing, overlap, 1, 0.5)
        assert len(segments) == count


def test_an_instance_of_the_least_score_stays() -> None:
    masks = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    found = instances(masks, [0.7], [1])  # a float32, slightly less than the double
    nothing = torch.zeros(HEIGHT, WIDTH, dtype=torch.int64)
    score = float(found.scores[0])
    assert combine_semantic_and_instance_outputs(found, nothing, 0.5, 1, score)[1]
    assert not combine_semantic_and_instance_outputs(found, nothing, 0.5, 1, 0.7)[1]


def test_inputs_are_left_as_they_are() -> None:
    masks = torch.rand(3, HEIGHT, WIDTH) < 0.5
    found = instances(masks.clone(), [0.9, 0.8, 0.7], [0, 1, 2])
    semantic = torch.randint(0, 4, (HEIGHT, WIDTH))
    before = semantic.clone()
    combine_semantic_and_instance_outputs(found, semantic, 0.5, 1, 0.5)
    assert torch.equal(found.pred_masks, masks)
    assert torch.equal(semantic, before)
    assert sorted(found.get_fields()) == ["pred_classes", "pred_masks", "scores"]


def test_one_pixel_is_a_picture() -> None:
    one = torch.ones(1, 1, 1, dtype=torch.bool)
    found = Instances(
        (1, 1),
        pred_masks=one,
        scores=torch.tensor([0.9]),
        pred_classes=torch.tensor([4]),
    )
    ids, segments = combine_semantic_and_instance_outputs(found, torch.tensor([[2]]), 0.5, 1, 0.5)
    assert ids.tolist() == [[1]]
    assert [segment["category_id"] for segment in segments] == [4]
    ids, segments = combine_semantic_and_instance_outputs(
        found[:0], torch.tensor([[2]]), 0.5, 1, 0.5
    )
    assert segments == [{"id": 1, "isthing": False, "category_id": 2, "area": 1}]


def test_no_pixels_have_no_segments() -> None:
    found = instances(torch.zeros(2, 0, WIDTH, dtype=torch.bool), [0.9, 0.8], [0, 1])
    ids, segments = combine_semantic_and_instance_outputs(
        found, torch.zeros(0, WIDTH, dtype=torch.int64), 0.5, 1, 0.5
    )
    assert ids.shape == (0, WIDTH)
    assert segments == []


def test_values_of_segments_are_plain_numbers() -> None:
    """A panoptic evaluator writes them as JSON."""
    masks = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    masks[0, 0] = True
    found = instances(masks, [0.75], [3])
    _, (thing, stuff) = combine_semantic_and_instance_outputs(
        found, torch.ones(HEIGHT, WIDTH, dtype=torch.int64), 0.5, 1, 0.5
    )
    assert [type(value) for value in thing.values()] == [int, bool, float, int, int]
    assert [type(value) for value in stuff.values()] == [int, bool, int, int]
    assert thing["score"] == 0.75


@pytest.mark.parametrize("thresholds", [(0.5, 1, 0.3), (0.0, 50, 0.5), (1.0, 1, 0.0)])
def test_the_model_merges_what_it_gives_at_the_wanted_size(
    thresholds: tuple[float, float, float],
) -> None:
    model = build("PanopticFPN")
    model.combine_overlap_thresh, model.combine_stuff_area_thresh = thresholds[:2]
    model.combine_instances_score_thresh = thresholds[2]
    first, second = images([(64, 80), (50, 72)])
    with torch.no_grad():
        outputs = model([first, second | {"height": 40, "width": 90}])
    for output, size in zip(outputs, [(64, 80), (40, 90)], strict=True):
        assert output["sem_seg"].shape == (4, *size)
        assert output["instances"].image_size == size
        assert output["instances"].pred_masks.shape[1:] == size
        ids, segments = combine_semantic_and_instance_outputs(
            output["instances"], output["sem_seg"].argmax(dim=0), *thresholds
        )
        assert torch.equal(output["panoptic_seg"][0], ids)
        assert output["panoptic_seg"][1] == segments
        assert segments


def test_raw_results_are_what_the_merged_ones_come_from() -> None:
    model = build("PanopticFPN")
    batch = images([(64, 80), (50, 72)])
    with torch.no_grad():
        detections, logits = model.inference(batch, do_postprocess=False)
        outputs = model.inference(batch)
    assert logits.shape == (2, 4, 64, 80)
    for raw, output in zip(detections, outputs, strict=True):
        assert raw.pred_masks.dim() == 4
        assert len(raw) >= len(output["instances"]) > 0
        assert set(output["instances"].scores.tolist()) <= set(raw.scores.tolist())
