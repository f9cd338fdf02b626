"""Small models of lazy configs against the original system: features, outputs, losses."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from d2_modeling import (
    anchor_generator,
    backbone,
    box_regression,
    layers,
    matcher,
    meta_arch,
    poolers,
    proposal_generator,
    roi_heads,
)
from d2_structures import Boxes, Instances, PolygonMasks

Load = Callable[[str], Any]

MODELS = ["mask_vitdet", "cascade_mask_swin", "cascade_mask_mvitv2"]
ROOMS = (
    *(anchor_generator, backbone, box_regression, layers, matcher, meta_arch),
    *(poolers, proposal_generator, roi_heads),
)


def built(described: Any) -> Any:
    """What the plain data of a resolved lazy config describe."""
    if isinstance(described, list):
        return [built(value) for value in described]
    if isinstance(described, str) and described.startswith("<functools.partial("):
        assert "LayerNorm" in described, described
        return functools.partial(nn.LayerNorm, eps=1e-6)
    if isinstance(described, str) and "<lambda>" in described:
        return "LN"  # what the function of these configs gives
    if not isinstance(described, dict):
        return described
    options = {key: built(value) for key, value in described.items() if key != "_target_"}
    if "_target_" not in described:
        return layers.ShapeSpec(**options) if "channels" in options else options
    name = described["_target_"].strip("<>").rpartition(".")[2]
    (found,) = {getattr(room, name) for room in ROOMS if hasattr(room, name)}
    return found(**options)


def loaded(golden: Any) -> Any:
    model = built(golden["lazy"])
    model.load_state_dict(golden["state_dict"], strict=True)
    for module in model.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
    return model


def inputs_of(golden: Any, *, training: bool) -> list[dict[str, Any]]:
    inputs = []
    for entry in golden["inputs"]:
        item = {name: entry[name] for name in ("image", "height", "width")}
        if training:
            gt = Instances(tuple(entry["image"].shape[-2:]))
            gt.gt_boxes = Boxes(entry["gt_boxes"])
            gt.gt_classes = entry["gt_classes"]
            gt.gt_masks = PolygonMasks(
                [[p.numpy() for p in instance] for instance in entry["gt_polygons"]]
            )
            item["instances"] = gt
        inputs.append(item)
    return inputs


@pytest.fixture(params=MODELS)
def golden(request: pytest.FixtureRequest, load_golden: Load) -> Any:
    return load_golden(f"models/{request.param}.pt")


def test_the_same_parameters_are_trained(golden: Any) -> None:
    trainable = {name for name, p in loaded(golden).named_parameters() if p.requires_grad}
    assert trainable == set(golden["trainable"])


def test_features_agree(golden: Any) -> None:
    model = loaded(golden).eval()
    with torch.no_grad():
        images = model.preprocess_image(inputs_of(golden, training=False)).tensor
        assert tuple(images.shape) == tuple(golden["padded_shape"])
        features = model.backbone(images)
    assert set(features) == set(golden["features"])
    for name, wanted in golden["features"].items():
        close(features[name], wanted)


def test_backbones_agree_on_odd_and_small_maps(golden: Any) -> None:
    model = loaded(golden).eval()
    bottom_up = getattr(model.backbone, "bottom_up", None) or model.backbone.net
    for case in golden.get("bottom_up_cases", []):
        with torch.no_grad():
            features = bottom_up(case["x"])
        assert set(features) == set(case["features"])
        for name, wanted in case["features"].items():
            close(features[name], wanted)


def test_outputs_agree(golden: Any) -> None:
    model = loaded(golden).eval()
    with torch.no_grad():
        outputs = model(inputs_of(golden, training=False))
    for output, wanted in zip(outputs, golden["inference"], strict=True):
        got, wanted = output["instances"], wanted["instances"]
        assert tuple(got.image_size) == tuple(wanted["image_size"])
        # Scores of these untrained models nearly tie, so the order may differ.
        found = torch.cat([got.pred_boxes.tensor, 100.0 * got.pred_classes[:, None]], dim=1)
        sought = torch.cat([wanted["pred_boxes"], 100.0 * wanted["pred_classes"][:, None]], dim=1)
        got = got[torch.cdist(sought, found).argmin(dim=1)]
        assert torch.equal(got.pred_classes, wanted["pred_classes"])
        close(got.scores, wanted["scores"])
        close(got.pred_boxes.tensor, wanted["pred_boxes"], atol=1e-2)
        assert (got.pred_masks != wanted["pred_masks"]).float().mean() <= 1e-3


def test_losses_and_gradients_agree(
    golden: Any, gradient_norms: Callable[[nn.Module], dict[str, float]]
) -> None:
    model = loaded(golden).train()
    for sampling in (model.proposal_generator, model.roi_heads):
        sampling.batch_size_per_image, sampling.positive_fraction = 10**6, 1.0
    losses = model(inputs_of(golden, training=True))
    assert set(losses) == set(golden["losses_nosample"])
    for name, wanted in golden["losses_nosample"].items():
        assert losses[name].item() == pytest.approx(wanted, rel=1e-4, abs=1e-6), name
    sum(losses.values()).backward()
    norms = gradient_norms(model)
    assert set(norms) == set(golden["gradnorm_nosample"])
    for name, wanted in golden["gradnorm_nosample"].items():
        assert norms[name] == pytest.approx(wanted, rel=1e-2, abs=1e-5), name


def close(got: torch.Tensor, wanted: torch.Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=atol)
