"""Detections at the output resolution."""

from typing import Any

import pytest
import torch

from d2_modeling import detector_postprocess, sem_seg_postprocess
from d2_structures import Boxes, Instances, ROIMasks


def test_results_equal_the_reference(golden_modeling: Any) -> None:
    golden = golden_modeling["detector_postprocess"]
    results = Instances(
        golden["image"],
        pred_boxes=Boxes(golden["boxes"].clone()),
        pred_masks=golden["masks"],
        pred_keypoints=golden["keypoints"].clone(),
    )
    output = detector_postprocess(results, *golden["out"])
    assert output.image_size == golden["out"]
    assert len(output) == golden["o_n"]
    torch.testing.assert_close(output.pred_boxes.tensor, golden["o_boxes"])
    torch.testing.assert_close(output.pred_keypoints, golden["o_keypoints"])
    assert (output.pred_masks != golden["o_masks"]).float().mean() < 1e-5


def test_the_input_is_left_unchanged() -> None:
    boxes = torch.tensor([[1.0, 2, 3, 4]])
    results = Instances((10, 10), pred_boxes=Boxes(boxes), pred_keypoints=torch.ones(1, 2, 3))
    output = detector_postprocess(results, 20, 30)
    assert output.pred_boxes.tensor.tolist() == [[3, 4, 9, 8]]
    assert output.pred_keypoints[0, 0].tolist() == [3, 2, 1]
    assert results.pred_boxes.tensor.tolist() == [[1, 2, 3, 4]]
    assert (results.pred_keypoints == 1).all()
    assert results.image_size == (10, 10)


def test_boxes_outside_the_image_go_with_all_their_fields() -> None:
    boxes = torch.tensor([[20.0, 0, 30, 5], [0, 0, 5, 5]])
    results = Instances((10, 10), proposal_boxes=Boxes(boxes), scores=torch.tensor([0.9, 0.8]))
    output = detector_postprocess(results, 10, 10)
    assert output.scores.tolist() == pytest.approx([0.8])


def test_masks_are_pasted_at_the_output_size() -> None:
    results = Instances(
        (10, 10),
        pred_boxes=Boxes(torch.tensor([[0.0, 0, 5, 10]])),
        pred_masks=torch.ones(1, 1, 4, 4),
    )
    output = detector_postprocess(results, 20, 20)
    assert output.pred_masks.dtype == torch.bool
    assert output.pred_masks[0, 1:-1, 1:9].all()
    assert not output.pred_masks[0, :, 11:].any()


def test_roi_masks_are_pasted_like_their_tensor() -> None:
    boxes = Boxes(torch.tensor([[0.0, 0, 5, 10], [20, 20, 30, 30]]))  # the second lies outside
    masks = torch.rand(2, 4, 4)
    as_tensor = Instances((10, 10), pred_boxes=boxes, pred_masks=masks[:, None])
    as_masks = Instances((10, 10), pred_boxes=boxes, pred_masks=ROIMasks(masks))
    wanted = detector_postprocess(as_tensor, 20, 20).pred_masks
    assert len(wanted) == 1
    assert torch.equal(detector_postprocess(as_masks, 20, 20).pred_masks, wanted)


def test_no_detections_stay_none() -> None:
    results = Instances(
        (10, 10), pred_boxes=Boxes(torch.zeros(0, 4)), pred_masks=torch.zeros(0, 1, 4, 4)
    )
    assert detector_postprocess(results, 20, 30).pred_masks.shape == (0, 20, 30)


def test_boxes_are_needed() -> None:
    with pytest.raises(ValueError, match=r"got the fields \['scores'\]"):
        detector_postprocess(Instances((10, 10), scores=torch.zeros(2)), 20, 20)


def test_semantic_logits_lose_their_padding_and_are_resized(golden_modeling: Any) -> None:
    golden = golden_modeling["sem_seg_postprocess"]
    result = sem_seg_postprocess(golden["x"], golden["img"], *golden["out"])
    torch.testing.assert_close(result, golden["y"])


@pytest.mark.parametrize("size", [(12, 16), (9, 13), (24, 40)])
def test_logits_keep_their_memory_format_and_values(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 5, 12, 16, generator=torch.Generator().manual_seed(0))
    last = maps.contiguous(memory_format=torch.channels_last)
    for one, other in zip(maps, last, strict=True):
        plain, got = (sem_seg_postprocess(logits, (10, 15), *size) for logits in (one, other))
        torch.testing.assert_close(got, plain, rtol=0, atol=1e-6)
        assert plain.is_contiguous()
        assert got.stride(0) == 1
