"""Complete detectors."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from d2_modeling import GeneralizedRCNN, ProposalNetwork
from d2_modeling.events import EventStorage
from d2_structures import Boxes, Instances, PolygonMasks

Build = Callable[..., GeneralizedRCNN]
SMALL: dict[str, Any] = {"freeze_at": 0, "norm": "GN", "fpn": 8, "fc": 16, "mask": (8, 8)}


@pytest.fixture
def model(build_rcnn: Build) -> GeneralizedRCNN:
    torch.manual_seed(0)
    return build_rcnn(**SMALL)


def image_input(
    height: int = 60, width: int = 72, objects: int = 2, **extra: Any
) -> dict[str, Any]:
    boxes = torch.tensor([[4.0, 4, 40, 44], [20, 10, 66, 50]])[:objects]
    polygons = [[np.array([x1, y1, x2, y1, x2, y2, x1, y2])] for x1, y1, x2, y2 in boxes.tolist()]
    generator = torch.Generator().manual_seed(height)
    return {
        "image": torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8),
        "instances": Instances(
            (height, width),
            gt_boxes=Boxes(boxes),
            gt_classes=torch.arange(objects),
            gt_masks=PolygonMasks(polygons),
        ),
        **extra,
    }


@pytest.mark.parametrize("norm", ["GN", "BN", "FrozenBN", ""])
def test_every_trainable_parameter_gets_a_gradient(build_rcnn: Build, norm: str) -> None:
    model = build_rcnn(**{**SMALL, "norm": norm}).train()
    losses = model([image_input(), image_input(64, 64)])
    assert set(losses) == {
        "loss_cls",
        "loss_box_reg",
        "loss_mask",
        "loss_rpn_cls",
        "loss_rpn_loc",
    }
    sum(losses.values()).backward()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_trains_and_detects(model: GeneralizedRCNN, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    wanted = model.train()([image_input()])
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=dtype):
        losses = model([image_input()])
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, wanted[name], rtol=0.1, atol=0.1)
    with torch.no_grad(), torch.autocast("cpu", dtype=dtype):
        (output,) = model.eval()([image_input()])
    assert output["instances"].pred_boxes.tensor.dtype == torch.float32


def test_images_without_objects_train_too(model: GeneralizedRCNN) -> None:
    losses = model.train()([image_input(objects=0), image_input(objects=0)])
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    assert losses["loss_mask"] == 0
    assert all(p.grad is not None for p in model.parameters())


def test_training_does_not_change_the_inputs(model: GeneralizedRCNN) -> None:
    inputs = [image_input()]
    before = copy.deepcopy(inputs[0])
    model.train()(inputs)
    assert torch.equal(inputs[0]["image"], before["image"])
    assert torch.equal(inputs[0]["instances"].gt_boxes.tensor, before["instances"].gt_boxes.tensor)
    assert set(inputs[0]["instances"].get_fields()) == set(before["instances"].get_fields())


def test_outputs_come_in_the_size_asked_for(model: GeneralizedRCNN) -> None:
    model.roi_heads.box_predictor.test_score_thresh = 0.0
    with torch.no_grad():
        first, second = model.eval()([image_input(height=60, width=72), image_input(64, 64)])
        (scaled,) = model([{**image_input(), "height": 120, "width": 144}])
    assert first["instances"].image_size == (60, 72)
    assert second["instances"].image_size == (64, 64)
    assert len(first["instances"]) > 0
    assert scaled["instances"].image_size == (120, 144)
    assert scaled["instances"].pred_masks.shape[1:] == (120, 144)


def test_a_batch_gives_what_its_images_give_alone(model: GeneralizedRCNN) -> None:
    model.roi_heads.box_predictor.test_score_thresh = 0.0
    inputs = [image_input(64, 64), image_input(64, 96)]
    with torch.no_grad():
        alone = [model.eval()([entry])[0]["instances"] for entry in (inputs[0], inputs[0])]
        together = model([inputs[0], inputs[0]])
    for single, batched in zip(alone, together, strict=True):
        got, wanted = batched["instances"].scores, single.scores
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)


def test_raw_results_are_in_the_networks_resolution(model: GeneralizedRCNN) -> None:
    with torch.no_grad():
        (raw,) = model.eval().inference([{**image_input(), "height": 120}], do_postprocess=False)
    assert raw.image_size == (60, 72)
    assert raw.pred_masks.shape[1:] == (1, 28, 28)


def test_known_boxes_skip_detection(model: GeneralizedRCNN) -> None:
    known = Instances(
        (60, 72),
        pred_boxes=Boxes(torch.tensor([[5.0, 5, 40, 40]])),
        pred_classes=torch.tensor([1]),
    )
    with torch.no_grad():
        (output,) = model.eval().inference([image_input()], [known])
    assert output["instances"].pred_boxes.tensor.tolist() == [[5, 5, 40, 40]]
    assert output["instances"].pred_masks.shape == (1, 60, 72)


def test_precomputed_proposals_replace_the_generator(build_rcnn: Build) -> None:
    complete = build_rcnn(**SMALL)
    model = GeneralizedRCNN(
        backbone=complete.backbone,
        proposal_generator=None,
        roi_heads=complete.roi_heads,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
    )
    proposals = Instances(
        (60, 72),
        proposal_boxes=Boxes(torch.tensor([[5.0, 5, 40, 40]])),
        objectness_logits=torch.zeros(1),
    )
    losses = model.train()([image_input(proposals=proposals)])
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_mask"}
    with pytest.raises(ValueError, match="'proposals'"):
        model([image_input()])


def test_diverged_weights_stop_training_with_a_clear_error(model: GeneralizedRCNN) -> None:
    assert model.proposal_generator is not None
    torch.nn.init.constant_(model.proposal_generator.rpn_head.anchor_deltas.bias, float("nan"))
    with pytest.raises(FloatingPointError, match="training has diverged"):
        model.train()([image_input()])


@pytest.mark.parametrize("objects", [0, 2])
def test_pictures_are_made_every_so_many_iterations(model: GeneralizedRCNN, objects: int) -> None:
    pytest.importorskip("d2_structures.visualizer", reason="d2-structures has no visualizer")
    model.vis_period = 2
    model.train()
    with EventStorage(start_iter=3) as storage:
        model([image_input(objects=objects)])
        assert storage.images == ()
        storage.step()
        model([image_input(objects=objects)])
    ((name, picture, _),) = storage.images
    assert "proposals" in name
    assert picture.shape == (3, 60, 144)
    assert picture.dtype == torch.uint8


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "input 0 wants a tensor image"),
        ({"image": torch.zeros(1, 32, 32)}, r"got \(1, 32, 32\)"),
        ({"image": np.zeros((3, 32, 32))}, "got ndarray"),
    ],
)
def test_wrong_images_are_refused(
    model: GeneralizedRCNN, entry: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        model.eval()([entry])


def test_training_without_ground_truth_and_inference_in_training_are_refused(
    model: GeneralizedRCNN,
) -> None:
    with pytest.raises(ValueError, match="'instances'"):
        model.train()([{"image": torch.zeros(3, 32, 32)}])
    with pytest.raises(ValueError, match=r"inputs \[1\] have no 'instances'"):
        model([image_input(), {"image": torch.zeros(3, 32, 32)}])
    with pytest.raises(ValueError, match="eval"):
        model.inference([image_input()])


def test_statistics_of_pixels_have_to_fit_and_pictures_need_a_format(build_rcnn: Build) -> None:
    parts = build_rcnn(**SMALL)
    common: dict[str, Any] = {
        "backbone": parts.backbone,
        "proposal_generator": parts.proposal_generator,
        "pixel_mean": [0.0] * 3,
    }
    with pytest.raises(ValueError, match="differ in length"):
        ProposalNetwork(**common, pixel_std=[1.0])
    with pytest.raises(ValueError, match="input_format"):
        GeneralizedRCNN(**common, pixel_std=[1.0] * 3, roi_heads=parts.roi_heads, vis_period=1)


def test_pixel_statistics_move_with_the_model_but_are_not_saved(model: GeneralizedRCNN) -> None:
    assert model.device == torch.device("cpu")
    assert not any("pixel" in name for name in model.state_dict())
    assert model.to("meta").device.type == "meta"


def test_a_proposal_network_trains_on_its_two_losses(build_rcnn: Build) -> None:
    parts = build_rcnn(**SMALL)
    assert parts.proposal_generator is not None
    network = ProposalNetwork(
        backbone=parts.backbone,
        proposal_generator=parts.proposal_generator,
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
    )
    assert set(network.train()([image_input()])) == {"loss_rpn_cls", "loss_rpn_loc"}


def test_training_lowers_the_loss(build_rcnn: Build) -> None:
    torch.manual_seed(0)
    model = build_rcnn(**{**SMALL, "norm": "BN"}).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    totals = []
    for _ in range(12):
        loss = sum(model([image_input(), image_input(64, 64)]).values())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        totals.append(loss.item())
    assert sum(totals[-3:]) < 0.7 * sum(totals[:3])
