"""Small models of the documented projects against the original system."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from d2_config import CfgNode
from d2_modeling import build_model
from d2_modeling.layers import ASPP
from d2_modeling.panoptic_deeplab import get_panoptic_segmentation
from d2_structures import BitMasks, Boxes, Instances, PolygonMasks

Load = Callable[[str], Any]

POINTS = ["pointrend_rcnn", "implicit_pointrend", "pointrend_semantic"]
MODELS = [*POINTS, "deeplab_v3", "deeplab_v3_plus", "panoptic_deeplab", "tridentnet"]


@pytest.fixture(params=MODELS)
def golden(request: pytest.FixtureRequest, load_golden: Load) -> Any:
    return load_golden(f"models/{request.param}.pt")


def loaded(golden: Any, *, sample_all: bool = False) -> Any:
    """The model that the reference's config describes, with the reference's weights."""
    cfg = CfgNode.load_cfg(golden["cfg"])
    if sample_all:
        for options in (cfg.MODEL.RPN, cfg.MODEL.ROI_HEADS):
            options.BATCH_SIZE_PER_IMAGE, options.POSITIVE_FRACTION = 10**6, 1.0
    model = build_model(cfg)
    model.load_state_dict(golden["state_dict"], strict=True)
    for module in model.modules():
        if isinstance(module, ASPP):
            module.dropout = 0.0
    if "metadata" in golden:
        model.thing_ids = golden["metadata"]["thing_dataset_id_to_contiguous_id"].values()
        model.label_divisor = golden["metadata"]["label_divisor"]
    return model


def inputs_of(golden: Any, *, training: bool) -> list[dict[str, Any]]:
    return [
        {name: entry[name] for name in ("image", "height", "width")}
        | (targets_of(entry) if training else {})
        for entry in golden["inputs"]
    ]


def targets_of(entry: Any) -> dict[str, Any]:
    if "targets" in entry:
        return {k: v for k, v in entry["targets"].items() if k != "center_points"}
    if "sem_seg" in entry:
        return {"sem_seg": entry["sem_seg"]}
    gt = Instances(tuple(entry["image"].shape[-2:]))
    gt.gt_boxes = Boxes(entry["gt_boxes"])
    gt.gt_classes = entry["gt_classes"]
    if "gt_bitmasks" in entry:
        gt.gt_masks = BitMasks(entry["gt_bitmasks"])
    elif "gt_polygons" in entry:
        gt.gt_masks = PolygonMasks([[p.numpy() for p in i] for i in entry["gt_polygons"]])
    return {"instances": gt}


@pytest.fixture
def draws(golden: Any, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What the original drew where points are sampled, in place of new draws."""
    left = list(golden.get("random_draws", []))
    recorded: Iterator[torch.Tensor] = iter(list(left))
    if left:

        def rand(*shape: int, device: Any = None) -> torch.Tensor:
            values = next(recorded)
            assert values.shape == shape
            left.pop()
            return values

        monkeypatch.setattr(torch, "rand", rand)
    return left


def test_the_same_parameters_are_trained(golden: Any) -> None:
    trainable = {name for name, p in loaded(golden).named_parameters() if p.requires_grad}
    assert trainable == set(golden["trainable"])


def test_features_agree(golden: Any) -> None:
    model = loaded(golden).eval()
    with torch.no_grad():
        images = model.batch_images(inputs_of(golden, training=False), model.backbone)
        features = model.backbone(images.tensor)
    assert tuple(images.tensor.shape) == tuple(golden["padded_shape"])
    assert set(features) == set(golden["features"])
    for name, wanted in golden["features"].items():
        torch.testing.assert_close(features[name], wanted, rtol=1e-4, atol=2e-3)


def test_outputs_agree(golden: Any) -> None:
    model = loaded(golden).eval()
    with torch.no_grad():
        outputs = model(inputs_of(golden, training=False))
    for output, wanted in zip(outputs, golden["inference"], strict=True):
        if "sem_seg" in wanted:
            # The reference keeps logits in half precision.
            torch.testing.assert_close(
                output["sem_seg"].half(), wanted["sem_seg"], rtol=4e-3, atol=4e-3
            )
        if "panoptic_seg" in wanted:
            assert (output["panoptic_seg"][0] != wanted["panoptic_seg"]).float().mean() < 1e-3
            assert output["panoptic_seg"][1] is None
        assert ("instances" in output) == ("instances" in wanted)
        if "instances" in wanted:
            assert_same_instances(output["instances"], wanted["instances"])


def assert_same_instances(got: Instances, wanted: Any) -> None:
    assert tuple(got.image_size) == tuple(wanted["image_size"])
    # Scores of these untrained models nearly tie, so the order may differ.
    found = torch.cat([got.pred_boxes.tensor, 100.0 * got.pred_classes[:, None]], dim=1)
    sought = torch.cat([wanted["pred_boxes"], 100.0 * wanted["pred_classes"][:, None]], dim=1)
    got = got[torch.cdist(sought, found).argmin(dim=1)]
    assert torch.equal(got.pred_classes, wanted["pred_classes"])
    torch.testing.assert_close(got.scores, wanted["scores"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got.pred_boxes.tensor, wanted["pred_boxes"], rtol=1e-4, atol=1e-2)
    assert set(got.get_fields()) == set(wanted) - {"image_size"}
    if got.has("pred_masks"):
        assert (got.pred_masks != wanted["pred_masks"]).float().mean() <= 1e-4


def test_losses_and_gradients_agree(
    golden: Any,
    draws: list[torch.Tensor],
    gradient_norms: Callable[[nn.Module], dict[str, float]],
) -> None:
    model = loaded(golden, sample_all=True).train()
    torch.manual_seed(0)
    losses = model(inputs_of(golden, training=True))
    assert draws == []
    assert set(losses) == set(golden["losses_nosample"])
    for name, wanted in golden["losses_nosample"].items():
        # Targets are kept in half precision.
        assert losses[name].item() == pytest.approx(wanted, rel=2e-4), name
    sum(losses.values()).backward()
    norms = gradient_norms(model)
    assert set(norms) == set(golden["gradnorm_nosample"])
    for name, wanted in golden["gradnorm_nosample"].items():
        assert norms[name] == pytest.approx(wanted, rel=1e-2, abs=1e-5), name


def test_panoptic_maps_agree_beyond_the_model(load_golden: Load) -> None:
    for case in load_golden("models/panoptic_deeplab.pt")["post_processing"]:
        panoptic, centers = get_panoptic_segmentation(
            *(case["sem_seg"], case["center"], case["offset"]),
            thing_ids=case["thing_ids"],
            label_divisor=case["label_divisor"],
            void_label=case["void_label"],
            **case["options"],
        )
        assert torch.equal(panoptic, case["panoptic"].long())
        assert torch.equal(centers, case["centers"])
