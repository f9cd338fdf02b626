"""Two-stage models whose proposals or boxes come from outside, and models that only propose."""

import pathlib
import sys
from typing import Any

import pytest
import torch

from d2_modeling import GeneralizedRCNN, ProposalNetwork
from d2_structures import Boxes, Instances

sys.path.insert(0, str(pathlib.Path(__file__).parent / "export"))
from tiny_models import build, images  # of that folder

SIZES = [(64, 80), (50, 72)]
STATISTICS: dict[str, Any] = {"pixel_mean": (120.0,) * 3, "pixel_std": (60.0,) * 3}


def without_generator(model: Any) -> Any:
    return GeneralizedRCNN(
        backbone=model.backbone, proposal_generator=None, roi_heads=model.roi_heads, **STATISTICS
    ).eval()


def proposer(model: Any) -> Any:
    return ProposalNetwork(
        backbone=model.backbone, proposal_generator=model.proposal_generator, **STATISTICS
    ).eval()


def assert_alike(one: Instances, other: Instances) -> None:
    assert one.image_size == other.image_size
    assert sorted(one.get_fields()) == sorted(other.get_fields())
    assert len(one) > 0
    torch.testing.assert_close(one.pred_boxes.tensor, other.pred_boxes.tensor)
    torch.testing.assert_close(one.scores, other.scores)
    assert torch.equal(one.pred_classes, other.pred_classes)


@torch.no_grad()
def test_precomputed_proposals_give_what_the_generator_s_give() -> None:
    model, batch = build("Faster R-CNN"), images(SIZES)
    features = model.backbone(model.preprocess_image(batch).tensor)
    proposals, losses = model.proposal_generator(model.preprocess_image(batch), features)
    assert losses == {}
    given = [entry | {"proposals": p} for entry, p in zip(batch, proposals, strict=True)]
    for one, other in zip(without_generator(model)(given), model(batch), strict=True):
        assert_alike(one["instances"], other["instances"])


@torch.no_grad()
def test_images_without_precomputed_proposals_have_no_detections() -> None:
    nothing = Instances(
        SIZES[0], proposal_boxes=Boxes(torch.zeros(0, 4)), objectness_logits=torch.zeros(0)
    )
    (entry,) = images(SIZES[:1])
    (output,) = without_generator(build("Mask R-CNN"))([entry | {"proposals": nothing}])
    assert len(output["instances"]) == 0
    assert output["instances"].pred_masks.shape == (0, *SIZES[0])


def test_a_model_without_generator_cannot_predict_from_tensors() -> None:
    model = without_generator(build("Faster R-CNN"))
    with pytest.raises(ValueError, match="needs proposals; it cannot predict from images alone"):
        model.predict_tensors(torch.zeros(1, 3, 64, 80), torch.tensor([[64, 80]]))
    with pytest.raises(ValueError, match="needs 'proposals' in its inputs"):
        model(images(SIZES))
    entry, other = images(SIZES)
    proposals = Instances(SIZES[0], proposal_boxes=Boxes(torch.ones(1, 4)))
    with pytest.raises(ValueError, match=r"inputs \[1\] have no 'proposals'"):
        model([entry | {"proposals": proposals}, other])


@torch.no_grad()
@pytest.mark.parametrize("name", ["Mask R-CNN", "Keypoint R-CNN", "Cascade Mask R-CNN"])
def test_known_boxes_get_the_masks_and_keypoints_of_found_ones(name: str) -> None:
    model, batch = build(name), images(SIZES)
    field = "pred_keypoints" if "Keypoint" in name else "pred_masks"
    raw = model.inference(batch, do_postprocess=False)
    known = [
        Instances(found.image_size, pred_boxes=found.pred_boxes, pred_classes=found.pred_classes)
        for found in raw
    ]
    again = model.inference(batch, known, do_postprocess=False)
    for one, other in zip(again, raw, strict=True):
        assert len(one) > 0
        assert torch.equal(one.pred_boxes.tensor, other.pred_boxes.tensor)
        torch.testing.assert_close(one.get(field), other.get(field), rtol=1e-4, atol=1e-4)
        assert not one.has("scores")


@torch.no_grad()
def test_no_known_boxes_leave_nothing_to_predict() -> None:
    model, batch = build("Mask R-CNN"), images(SIZES)
    known = [
        Instances(
            size,
            pred_boxes=Boxes(torch.zeros(0, 4)),
            pred_classes=torch.zeros(0, dtype=torch.int64),
        )
        for size in SIZES
    ]
    for output, size in zip(model.inference(batch, known), SIZES, strict=True):
        assert output["instances"].pred_masks.shape == (0, *size)


@torch.no_grad()
def test_raw_results_become_those_of_forward_when_they_are_post_processed() -> None:
    model, batch = build("Mask R-CNN"), images(SIZES)
    raw = model.inference(batch, do_postprocess=False)
    processed = model._postprocess(raw, batch, SIZES)
    for one, other in zip(processed, model(batch), strict=True):
        assert_alike(one["instances"], other["instances"])
        assert torch.equal(one["instances"].pred_masks, other["instances"].pred_masks)


@torch.no_grad()
def test_a_proposal_network_gives_the_generator_s_proposals_at_the_wanted_size() -> None:
    model, batch = build("Faster R-CNN"), images(SIZES)
    network = proposer(model)
    padded = model.preprocess_image(batch)
    proposals, _ = model.proposal_generator(padded, model.backbone(padded.tensor))
    outputs = network([batch[0], batch[1] | {"height": 100, "width": 36}])
    for output, wanted, size in zip(outputs, proposals, [(64, 80), (100, 36)], strict=True):
        assert list(output) == ["proposals"]
        found = output["proposals"]
        assert sorted(found.get_fields()) == ["objectness_logits", "proposal_boxes"]
        assert found.image_size == size
        assert (found.objectness_logits.diff() <= 0).all()
        scale = torch.tensor([size[1], size[0]] * 2) / torch.tensor(
            list(wanted.image_size)[::-1] * 2
        )
        torch.testing.assert_close(
            found.proposal_boxes.tensor, wanted.proposal_boxes.tensor * scale, rtol=1e-4, atol=1e-3
        )


def test_a_proposal_network_wants_ground_truth_while_training() -> None:
    network = proposer(build("Faster R-CNN")).train()
    with pytest.raises(ValueError, match="wants gt_instances while training"):
        network(images(SIZES))


def test_proposals_are_not_trained_through() -> None:
    """The boxes that heads see are fixed inputs, whatever the RPN learns from them."""
    model = build("Faster R-CNN").train()
    batch = images(SIZES[:1])
    gt = Instances(
        SIZES[0],
        gt_boxes=Boxes(torch.tensor([[4.0, 4, 60, 50]])),
        gt_classes=torch.tensor([1]),
    )
    padded = model.preprocess_image(batch)
    proposals, _ = model.proposal_generator(padded, model.backbone(padded.tensor), [gt])
    assert not proposals[0].proposal_boxes.tensor.requires_grad
    assert not proposals[0].objectness_logits.requires_grad


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.int32, torch.float16, torch.float64])
def test_images_of_any_real_type_give_the_same(dtype: torch.dtype) -> None:
    model, (entry,) = build("Faster R-CNN"), images(SIZES[:1])
    (wanted,) = model([entry])
    (found,) = model([entry | {"image": entry["image"].to(dtype), "file_name": "a.jpg"}])
    # float64 pixels are normalised in float64
    assert len(found["instances"]) == len(wanted["instances"]) > 0
    torch.testing.assert_close(found["instances"].scores.float(), wanted["instances"].scores)
