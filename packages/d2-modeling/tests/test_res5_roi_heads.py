"""ROI heads that share the last stage of a ResNet."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from d2_config import CfgNode, get_cfg
from d2_modeling import FastRCNNOutputLayers, ShapeSpec, build_model
from d2_modeling.box_regression import Box2BoxTransform
from d2_modeling.matcher import Matcher
from d2_modeling.poolers import ROIPooler
from d2_modeling.roi_heads import MaskRCNNConvUpsampleHead, Res5ROIHeads
from d2_structures import Boxes, ImageList, Instances, PolygonMasks


def small_cfg() -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 8
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 4
    cfg.MODEL.RESNETS.NORM = "GN"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 16
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 0.0
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 4
    cfg.MODEL.MASK_ON = True
    cfg.TEST.DETECTIONS_PER_IMAGE = 5
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    return cfg


def image_input(boxes: Sequence[Sequence[float]]) -> dict[str, Any]:
    polygons = [[np.array([x1, y1, x2, y1, x2, y2, x1, y2])] for x1, y1, x2, y2 in boxes]
    return {
        "image": torch.randint(0, 256, (3, 64, 80), dtype=torch.uint8),
        "instances": Instances(
            (64, 80),
            gt_boxes=Boxes(torch.tensor(boxes).view(-1, 4)),
            gt_classes=torch.arange(len(boxes)),
            gt_masks=PolygonMasks(polygons),
        ),
    }


def heads(*, mask: bool = True) -> Res5ROIHeads:
    return Res5ROIHeads(
        num_classes=2,
        batch_size_per_image=8,
        positive_fraction=0.5,
        proposal_matcher=Matcher([0.5], [0, 1]),
        in_features=["res4"],
        pooler=ROIPooler(4, [1 / 16], 0, "ROIAlignV2"),
        res5=[nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU()],
        box_predictor=FastRCNNOutputLayers(
            ShapeSpec(channels=6),
            box2box_transform=Box2BoxTransform((1, 1, 1, 1)),
            num_classes=2,
        ),
        mask_head=MaskRCNNConvUpsampleHead(ShapeSpec(channels=6), num_classes=2, conv_dims=[4])
        if mask
        else None,
    )


def test_a_c4_model_trains_all_of_its_parameters() -> None:
    torch.manual_seed(0)
    model = build_model(small_cfg()).train()
    losses = model([image_input([[4, 4, 40, 44], [20, 10, 66, 50]]), image_input([])])
    assert set(losses) == {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_a_c4_model_detects_boxes_and_masks() -> None:
    torch.manual_seed(0)
    model = build_model(small_cfg()).eval()
    with torch.no_grad():
        (output,) = model([{**image_input([]), "height": 128, "width": 160}])
    found = output["instances"]
    assert 0 < len(found) <= 5
    assert found.pred_masks.shape == (len(found), 128, 160)
    assert found.pred_boxes.tensor.max() > 80


def test_predictions_come_from_averaged_region_features() -> None:
    torch.manual_seed(0)
    module = heads(mask=False).eval()
    features = {"res4": torch.randn(1, 4, 8, 8)}
    boxes = Boxes(torch.tensor([[3.0, 5, 70, 90]]))
    proposals = [Instances((128, 128), proposal_boxes=boxes, objectness_logits=torch.zeros(1))]
    with torch.no_grad():
        images = ImageList(torch.zeros(1, 3, 128, 128), [(128, 128)])
        (found,), losses = module(images, features, proposals)
        regions = module.res5(module.pooler([features["res4"]], [boxes]))
        scores, _ = module.box_predictor(regions.flatten(2).mean(dim=2))
    assert losses == {}
    expected = scores.softmax(dim=1)[0, :2].sort(descending=True).values
    torch.testing.assert_close(found.scores, expected)


def test_the_mask_head_trains_on_the_foreground_alone() -> None:
    torch.manual_seed(0)
    module = heads().train()
    seen: list[int] = []
    module.mask_head.register_forward_hook(lambda _, inputs, output: seen.append(len(inputs[0])))
    target = image_input([[4, 4, 40, 44]])["instances"]
    far = Instances(
        (64, 80),
        proposal_boxes=Boxes(torch.tensor([[60.0, 50, 79, 63]])),
        objectness_logits=torch.zeros(1),
    )
    images = ImageList(torch.zeros(1, 3, 64, 80), [(64, 80)])
    sampled, losses = module(images, {"res4": torch.randn(1, 4, 4, 5)}, [far], [target])
    assert sampled[0].gt_classes.tolist() == [0, 2]  # the ground truth itself, and the far one
    assert seen == [1]
    assert losses["loss_mask"] > 0


def test_known_boxes_get_masks_without_detection() -> None:
    known = Instances(
        (64, 80),
        pred_boxes=Boxes(torch.tensor([[5.0, 5, 40, 40]])),
        pred_classes=torch.tensor([1]),
    )
    features = {"res4": torch.randn(1, 4, 4, 5)}
    (result,) = heads().eval().forward_with_given_boxes(features, [known])
    assert result.pred_masks.shape == (1, 1, 4, 4)
    assert heads(mask=False).eval().forward_with_given_boxes(features, [known]) == [known]
    with pytest.raises(ValueError, match="eval"):
        heads().train().forward_with_given_boxes(features, [known])


def test_training_needs_targets() -> None:
    images = ImageList(torch.zeros(1, 3, 64, 80), [(64, 80)])
    with pytest.raises(ValueError, match="targets"):
        heads().train()(images, {"res4": torch.zeros(1, 4, 4, 5)}, [Instances((64, 80))])


def test_options_that_these_heads_lack_are_refused() -> None:
    cfg = small_cfg()
    cfg.MODEL.KEYPOINT_ON = True
    with pytest.raises(ValueError, match="KEYPOINT_ON"):
        build_model(cfg)
    cfg = small_cfg()
    cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False, False, False, True]
    with pytest.raises(ValueError, match="DEFORM_ON_PER_STAGE"):
        build_model(cfg)
