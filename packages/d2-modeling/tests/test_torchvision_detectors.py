"""Detectors of torchvision, and ours with their weights, find the same in the same picture."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_modeling.torchvision_detectors import detector_from_torchvision
from d2_modeling.weights import convert_torchvision_detector, is_torchvision_detector

pytest.importorskip("torchvision", reason="torchvision is not installed: an extra")
from torchvision.models import detection

SIZE = (128, 128)
"""Every level divides it: torchvision takes strides from sizes, which are rounded elsewhere."""
DETECTIONS = 100
"""Of a dense detector: among the last of 300 some have equal scores."""
REGIONS = {"rpn_post_nms_top_n_test": 100, "box_detections_per_img": 6}


def picture() -> Tensor:
    torch.manual_seed(1)
    return torch.rand(3, *SIZE, dtype=torch.float64)


@torch.no_grad()
def theirs(name: str, num_classes: int, **options: Any) -> Any:
    """A detector with random weights whose scores and boxes vary from place to place."""
    torch.manual_seed(0)
    if "rcnn" in name:
        options |= REGIONS
    model = getattr(detection, name)(
        weights=None,
        weights_backbone=None,
        min_size=SIZE[0],
        max_size=SIZE[1],
        num_classes=num_classes,
        **options,
    ).double()
    for module in model.backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model.backbone(model.transform([picture(), picture()])[0].tensors)  # sets the statistics
    for key, value in model.state_dict().items():
        if any(part in key for part in ("cls_score", "cls_logits", "kps_score")):
            value.mul_(10.0)
        if key == "head.classification_head.cls_logits.bias":
            value.fill_(-1.0)
            value.unflatten(0, (-1, num_classes))[:, 0] = -1e3  # background is no class of ours
    return model.eval()


def converted(model: Any) -> Any:
    """Our model with a model's weights, of as many regions."""
    ours: Any = detector_from_torchvision(model.state_dict(), norm_eps=1e-5).double()
    transform = model.transform  # in double precision ours agree to all digits
    ours.pixel_mean.copy_(
        255 * torch.tensor(transform.image_mean, dtype=torch.float64).view(3, 1, 1)
    )
    ours.pixel_std.copy_(255 * torch.tensor(transform.image_std, dtype=torch.float64).view(3, 1, 1))
    if hasattr(ours, "roi_heads"):
        ours.proposal_generator.post_nms_topk[False] = REGIONS["rpn_post_nms_top_n_test"]
        ours.roi_heads.box_predictor.test_topk_per_image = REGIONS["box_detections_per_img"]
    else:
        ours.max_detections_per_image = DETECTIONS
    return ours


@torch.no_grad()
def found_by_both(model: Any, ours: Any) -> tuple[dict[str, Tensor], Any]:
    """What a model and ours with its weights find; ours has no boxes without area."""
    expected = model([picture()])[0]
    low, high = expected["boxes"].split(2, dim=1)
    kept = (high > low).all(dim=1)
    got = ours([{"image": picture() * 255}])[0]["instances"]
    return {key: value[kept] for key, value in expected.items()}, got


def assert_same_detections(expected: dict[str, Tensor], got: Any) -> None:
    assert len(got) == len(expected["boxes"]) > 4
    torch.testing.assert_close(got.scores.double(), expected["scores"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(got.pred_classes, expected["labels"] - 1)
    boxes = got.pred_boxes.tensor.double()
    torch.testing.assert_close(boxes, expected["boxes"], rtol=1e-4, atol=1e-3)


def test_boxes_classes_and_scores_of_regions_are_equal() -> None:
    model = theirs("fasterrcnn_resnet50_fpn", 6)
    assert_same_detections(*found_by_both(model, converted(model)))


@pytest.mark.parametrize("name", ["retinanet_resnet50_fpn", "fcos_resnet50_fpn"])
def test_dense_detectors_are_equal_as_they_clip_boxes_before_suppression(name: str) -> None:
    model = theirs(name, 6, detections_per_img=DETECTIONS)
    ours = converted(model)
    expected, got = found_by_both(model, ours)
    assert_same_detections(expected, got)
    ours.clip_before_nms = False
    with torch.no_grad():
        (otherwise,) = ours([{"image": picture() * 255}])
    boxes = otherwise["instances"].pred_boxes.tensor
    same = boxes.shape == got.pred_boxes.tensor.shape
    same = same and torch.allclose(boxes, got.pred_boxes.tensor)
    assert same == (name == "fcos_resnet50_fpn")  # which it makes no difference to here


def test_masks_are_equal_before_they_are_pasted() -> None:
    model = theirs("maskrcnn_resnet50_fpn", 6)
    taken: list[Tensor] = []
    model.roi_heads.mask_predictor.register_forward_hook(lambda _m, _i, out: taken.append(out))
    ours = converted(model)
    with torch.no_grad():
        labels = model([picture()])[0]["labels"]
        got = ours.inference([{"image": picture() * 255}], do_postprocess=False)[0]
    torch.testing.assert_close(got.pred_classes, labels - 1)
    expected = taken[0][torch.arange(len(labels)), labels].sigmoid()
    masks = got.pred_masks[:, 0].double()
    torch.testing.assert_close(masks, expected, rtol=1e-3, atol=1e-4)


def test_keypoints_are_equal() -> None:
    model = theirs("keypointrcnn_resnet50_fpn", 2, num_keypoints=5)
    expected, got = found_by_both(model, converted(model))
    assert_same_detections(expected, got)
    places = expected["keypoints"][:, :, :2].double()
    torch.testing.assert_close(got.pred_keypoints[:, :, :2].double(), places, rtol=1e-3, atol=0.1)


def test_names_of_older_releases_are_understood() -> None:
    """Convolutions of pyramids and RPN heads were not nested then."""
    weights = theirs("fasterrcnn_resnet50_fpn", 3).state_dict()
    old = {re.sub(r"(_blocks\.\d|head\.conv)((\.0)+)\.", r"\1.", n): v for n, v in weights.items()}
    assert old.keys() != weights.keys()
    assert is_torchvision_detector(old)
    assert convert_torchvision_detector(old).keys() == convert_torchvision_detector(weights).keys()


def test_published_norms_have_no_epsilon() -> None:
    name = "backbone.body.bn1.running_var"
    weights = theirs("retinanet_resnet50_fpn", 3).state_dict()
    value = convert_torchvision_detector(weights)["backbone.bottom_up.stem.conv1.norm.running_var"]
    torch.testing.assert_close(value + 1e-5, weights[name])


def test_a_detector_of_the_second_version_is_refused() -> None:
    with torch.device("meta"):
        weights = detection.fasterrcnn_resnet50_fpn_v2(
            weights=None, weights_backbone=None
        ).state_dict()
    with pytest.raises(ValueError, match="detectors of version 1"):
        convert_torchvision_detector(weights)
