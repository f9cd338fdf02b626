"""Complete small models against the original system: weights, outputs, losses, gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from d2_config import CfgNode, get_cfg
from d2_modeling import ProposalNetwork, build_model
from d2_modeling.events import EventStorage
from d2_modeling.layers import Conv2d
from d2_structures import Boxes, Instances, Keypoints, PolygonMasks, RotatedBoxes

Load = Callable[[str], Any]

RCNN = ["faster_fpn", "mask_fpn", "keypoint", "rotated"]
MODELS = [*RCNN, "retinanet", "semantic", "panoptic"]


def loaded(golden: Any, *, sample_all: bool = False) -> Any:
    """The model that the reference's config describes, with the reference's weights."""
    cfg = get_cfg()
    cfg.merge_from_other_cfg(CfgNode.load_cfg(golden["cfg"]))
    cfg.MODEL.DEVICE = "cpu"
    if sample_all:
        for options in (cfg.MODEL.RPN, cfg.MODEL.ROI_HEADS):
            options.BATCH_SIZE_PER_IMAGE, options.POSITIVE_FRACTION = 10**6, 1.0
    model = build_model(cfg)
    model.load_state_dict(golden["state_dict"], strict=True)
    return model


def inputs_of(golden: Any, *, training: bool) -> list[dict[str, Any]]:
    inputs = []
    for entry in golden["inputs"]:
        item = {name: entry[name] for name in ("image", "height", "width")}
        if training:
            if "sem_seg" in entry:
                item["sem_seg"] = entry["sem_seg"]
            gt = Instances(tuple(entry["image"].shape[-2:]))
            kind = RotatedBoxes if entry["gt_boxes"].shape[1] == 5 else Boxes
            gt.gt_boxes = kind(entry["gt_boxes"])
            gt.gt_classes = entry["gt_classes"]
            if "gt_keypoints" in entry:
                gt.gt_keypoints = Keypoints(entry["gt_keypoints"])
            elif "gt_polygons" in entry:
                gt.gt_masks = PolygonMasks(
                    [[p.numpy() for p in instance] for instance in entry["gt_polygons"]]
                )
            item["instances"] = gt
        inputs.append(item)
    return inputs


@pytest.fixture(params=MODELS)
def golden(request: pytest.FixtureRequest, load_golden: Load) -> Any:
    return load_golden(f"models/{request.param}.pt")


@pytest.fixture(params=RCNN)
def rcnn(request: pytest.FixtureRequest, load_golden: Load) -> Any:
    return load_golden(f"models/{request.param}.pt")


def test_the_same_parameters_are_trained(golden: Any) -> None:
    model = loaded(golden)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == set(golden["trainable"])


def test_features_agree(rcnn: Any) -> None:
    model = loaded(rcnn).eval()
    with torch.no_grad():
        features = model.backbone(model.preprocess_image(inputs_of(rcnn, training=False)).tensor)
    assert set(features) == set(rcnn["features_mean_std"])
    for name, (mean, std) in rcnn["features_mean_std"].items():
        assert features[name].mean().item() == pytest.approx(mean, abs=1e-4 * std)
        assert features[name].std().item() == pytest.approx(std, rel=1e-4)


def test_proposals_agree(rcnn: Any) -> None:
    model = loaded(rcnn).eval()
    with torch.no_grad():
        images = model.preprocess_image(inputs_of(rcnn, training=False))
        proposals, losses = model.proposal_generator(images, model.backbone(images.tensor))
    assert losses == {}
    for got, wanted in zip(proposals, rcnn["rpn_proposals"], strict=True):
        assert tuple(got.image_size) == tuple(wanted["image_size"])
        close(got.objectness_logits, wanted["objectness_logits"])
        assert_same_boxes(got.proposal_boxes.tensor, wanted["proposal_boxes"])


def test_outputs_agree(golden: Any) -> None:
    model = loaded(golden).eval()
    with torch.no_grad():
        outputs = model(inputs_of(golden, training=False))
    for output, wanted in zip(outputs, golden["inference"], strict=True):
        assert set(output) == set(wanted)
        if "instances" in wanted:
            assert_same_detections(output["instances"], wanted["instances"])
        if "sem_seg" in wanted:
            # The reference keeps logits in half precision.
            torch.testing.assert_close(
                output["sem_seg"].half(), wanted["sem_seg"], rtol=2e-3, atol=2e-3
            )
        if "panoptic_seg" in wanted:
            assert_same_segments(output["panoptic_seg"], wanted["panoptic_seg"])


def assert_same_detections(got: Instances, wanted: Any) -> None:
    assert tuple(got.image_size) == tuple(wanted["image_size"])
    # Scores of these untrained models nearly tie, so the order may differ.
    found = torch.cat([got.pred_boxes.tensor, 100.0 * got.pred_classes[:, None]], dim=1)
    looked_for = torch.cat([wanted["pred_boxes"], 100.0 * wanted["pred_classes"][:, None]], dim=1)
    got = got[torch.cdist(looked_for, found).argmin(dim=1)]
    assert torch.equal(got.pred_classes, wanted["pred_classes"])
    close(got.scores, wanted["scores"])
    close(got.pred_boxes.tensor, wanted["pred_boxes"], atol=1e-2)
    assert set(got.get_fields()) == set(wanted) - {"image_size"}
    if got.has("pred_keypoints"):
        close(got.pred_keypoints, wanted["pred_keypoints"], atol=2e-2)
        # The reference keeps heatmaps in half precision.
        half = got.pred_keypoint_heatmaps.half()
        torch.testing.assert_close(half, wanted["pred_keypoint_heatmaps"], rtol=2e-3, atol=1e-2)
    if got.has("pred_masks"):
        assert got.pred_masks.dtype == torch.bool
        different = (got.pred_masks != wanted["pred_masks"]).sum().item()
        assert different <= 1e-4 * wanted["pred_masks"].numel()


def assert_same_segments(got: Any, wanted: Any) -> None:
    assert got[0].dtype == wanted[0].dtype == torch.int32
    assert (got[0] != wanted[0]).float().mean() < 1e-3
    assert len(got[1]) == len(wanted[1])
    for segment, reference in zip(got[1], wanted[1], strict=True):
        # Rounding decides single pixels on borders.
        area, reference_area = segment.pop("area", 0), reference.get("area", 0)
        assert area == pytest.approx(reference_area, rel=1e-3, abs=5)
        rest = {key: value for key, value in reference.items() if key != "area"}
        assert segment == pytest.approx(rest, rel=1e-3)


def norms_apart(self: Conv2d, input: torch.Tensor) -> torch.Tensor:
    """The forward of `Conv2d` with its norm applied to the output, as the reference did."""
    x = self._conv_forward(input, self.weight, self.bias)
    x = x if self.norm is None else self.norm(x)
    return x if self.activation is None else self.activation(x)


def losses_of(golden: Any, kind: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    model = loaded(golden, sample_all=kind == "nosample").train()
    if (kind, golden["name"]) == ("nosample", "retinanet"):
        model(inputs_of(golden, training=True))  # there it was the second batch of a running mean
    torch.manual_seed(0)
    return model, model(inputs_of(golden, training=True))


@pytest.mark.parametrize("kind", ["nosample", "seeded"])
def test_losses_and_gradients_agree(
    kind: str,
    golden: Any,
    gradient_norms: Callable[[nn.Module], dict[str, float]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Scores of these untrained models nearly tie: the order of proposals, on which a sample
    # hangs, and with ReLUs near zero the gradients, need the very rounding of the reference.
    monkeypatch.setattr(Conv2d, "forward", norms_apart)
    model, losses = losses_of(golden, kind)
    assert set(losses) == set(golden[f"losses_{kind}"])
    for name, wanted in golden[f"losses_{kind}"].items():
        assert losses[name].item() == pytest.approx(wanted, rel=1e-5)
    sum(losses.values()).backward()
    norms = gradient_norms(model)
    assert set(norms) == set(golden[f"gradnorm_{kind}"])
    for name, wanted in golden[f"gradnorm_{kind}"].items():
        assert norms[name] == pytest.approx(wanted, rel=5e-3, abs=1e-7), name


def test_losses_agree_with_norms_multiplied_into_convolutions(golden: Any) -> None:
    _, losses = losses_of(golden, "nosample")
    for name, wanted in golden["losses_nosample"].items():
        assert losses[name].item() == pytest.approx(wanted, rel=1e-4)


def test_reporting_to_a_storage_does_not_change_losses(rcnn: Any) -> None:
    model = loaded(rcnn, sample_all=True).train()
    inputs = inputs_of(rcnn, training=True)
    silent = model(inputs)
    with EventStorage() as storage:
        reported = model(inputs)
    torch.testing.assert_close(silent, reported)
    assert {
        "rpn/num_pos_anchors",
        "rpn/num_neg_anchors",
        "roi_head/num_fg_samples",
        "roi_head/num_bg_samples",
        "fast_rcnn/cls_accuracy",
        "fast_rcnn/fg_cls_accuracy",
        "fast_rcnn/false_negative",
    } <= set(storage.latest())
    assert ("mask_rcnn/accuracy" in storage.latest()) == ("loss_mask" in reported)


def test_a_proposal_network_gives_the_same_proposals(rcnn: Any) -> None:
    model = loaded(rcnn).eval()
    network = ProposalNetwork(
        backbone=model.backbone,
        proposal_generator=model.proposal_generator,
        pixel_mean=model.pixel_mean.flatten().tolist(),
        pixel_std=model.pixel_std.flatten().tolist(),
    ).eval()
    inputs = [{"image": entry["image"]} for entry in rcnn["inputs"]]
    with torch.no_grad():
        outputs = network(inputs)
    for output, wanted in zip(outputs, rcnn["rpn_proposals"], strict=True):
        assert_same_boxes(output["proposals"].proposal_boxes.tensor, wanted["proposal_boxes"])


def assert_same_boxes(got: torch.Tensor, wanted: torch.Tensor) -> None:
    # Scores of these untrained models nearly tie, so the order may differ between processors.
    assert got.shape == wanted.shape
    distances = torch.cdist(wanted, got)
    close(got[distances.argmin(dim=1)], wanted, atol=1e-2)
    close(wanted[distances.argmin(dim=0)], got, atol=1e-2)


def close(got: torch.Tensor, wanted: torch.Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=atol)
