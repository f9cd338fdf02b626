"""Panoptic segmentation: merging, and the model beyond what the reference model proves."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from d2_config import CfgNode, get_cfg
from d2_modeling import PanopticFPN, build_model
from d2_modeling.meta_arch import combine_semantic_and_instance_outputs
from d2_structures import Boxes, Instances, PolygonMasks


def small_cfg() -> CfgNode:
    cfg = get_cfg()
    model = cfg.MODEL
    model.META_ARCHITECTURE, model.DEVICE = "PanopticFPN", "cpu"
    model.BACKBONE.NAME, model.BACKBONE.FREEZE_AT = "build_resnet_fpn_backbone", 0
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    model.RESNETS.RES2_OUT_CHANNELS = 8
    model.RESNETS.STEM_OUT_CHANNELS = model.RESNETS.WIDTH_PER_GROUP = 4
    model.RESNETS.NORM = "GN"
    model.FPN.OUT_CHANNELS = 8
    model.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    model.ANCHOR_GENERATOR.SIZES = [[size] for size in (8, 16, 32, 64, 128)]
    model.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    model.ROI_HEADS.NAME, model.ROI_BOX_HEAD.NAME = "StandardROIHeads", "FastRCNNConvFCHead"
    model.ROI_HEADS.NUM_CLASSES, model.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 3, 16
    model.ROI_BOX_HEAD.NUM_FC, model.ROI_BOX_HEAD.FC_DIM = 1, 12
    model.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    model.ROI_MASK_HEAD.CONV_DIM = 8
    model.MASK_ON = True
    model.SEM_SEG_HEAD.CONVS_DIM, model.SEM_SEG_HEAD.NUM_CLASSES = 8, 5
    return cfg


def image_input(objects: int = 1) -> dict[str, Any]:
    boxes = torch.tensor([[4.0, 4, 40, 44]])[:objects]
    polygons = [[np.array([4.0, 4, 40, 4, 40, 44, 4, 44])]][:objects]
    return {
        "image": torch.randint(0, 256, (3, 64, 80), dtype=torch.uint8),
        "sem_seg": torch.randint(0, 5, (64, 80)),
        "instances": Instances(
            (64, 80),
            gt_boxes=Boxes(boxes),
            gt_classes=torch.arange(objects),
            gt_masks=PolygonMasks(polygons),
        ),
    }


def instances(*things: tuple[float, int, slice]) -> Instances:
    """(score, class, covered columns) of an image of 4 × 10 pixels."""
    masks = torch.zeros(len(things), 4, 10, dtype=torch.bool)
    for mask, (_, _, columns) in zip(masks, things, strict=True):
        mask[:, columns] = True
    return Instances(
        (4, 10),
        scores=torch.tensor([score for score, _, _ in things]),
        pred_classes=torch.tensor([label for _, label, _ in things], dtype=torch.int64),
        pred_masks=masks,
    )


def test_better_instances_cover_worse_ones() -> None:
    found = instances((0.6, 1, slice(2, 8)), (0.9, 2, slice(0, 4)), (0.7, 3, slice(0, 3)))
    ids, segments = combine_semantic_and_instance_outputs(
        found, torch.zeros(4, 10, dtype=torch.int64), 0.5, 1, 0.5
    )
    assert ids[0].tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 0, 0]
    assert [(s["id"], s["category_id"], s["instance_id"]) for s in segments] == [
        (1, 2, 1),
        (2, 1, 0),
    ]
    assert segments[0]["score"] == pytest.approx(0.9)
    assert all(segment["isthing"] for segment in segments)


def test_weak_and_empty_instances_and_small_stuff_are_left_out() -> None:
    found = instances((0.4, 1, slice(0, 4)), (0.9, 1, slice(3, 3)))
    semantic = torch.zeros(4, 10, dtype=torch.int64)
    semantic[:, 5:] = 2
    semantic[0, 0] = 3
    ids, segments = combine_semantic_and_instance_outputs(found, semantic, 0.5, 4, 0.5)
    assert segments == [{"id": 1, "isthing": False, "category_id": 2, "area": 20}]
    assert (ids == 1).sum() == 20
    nothing = combine_semantic_and_instance_outputs(instances(), semantic * 0, 0.5, 4, 0.5)
    assert nothing[1] == []


def test_merging_agrees_with_the_reference(load_golden: Callable[[str], Any]) -> None:
    golden = load_golden("ops_modeling.pt")["combine_panoptic"]
    found = Instances(
        (180, 260),
        pred_masks=golden["masks"],
        scores=golden["scores"],
        pred_classes=golden["classes"],
    )
    ids, segments = combine_semantic_and_instance_outputs(
        found, golden["sem"], golden["overlap"], golden["stuff_area"], golden["inst_thresh"]
    )
    assert torch.equal(ids, golden["panoptic"])
    assert segments == golden["segments"]


@pytest.mark.parametrize("objects", [0, 1])
def test_every_parameter_is_trained(objects: int) -> None:
    torch.manual_seed(0)
    model = build_model(small_cfg()).train()
    losses = model([image_input(objects), image_input(0)])
    assert len(losses) == 6
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_outputs_come_merged_or_raw() -> None:
    torch.manual_seed(0)
    model: PanopticFPN = build_model(small_cfg()).eval()  # type: ignore[assignment]  # named so
    model.combine_stuff_area_thresh = 1
    entry = {**image_input(), "height": 128, "width": 160}
    with torch.no_grad():
        (output,) = model([entry])
        detections, logits = model.inference([entry], do_postprocess=False)
    assert set(output) == {"instances", "sem_seg", "panoptic_seg"}
    ids, segments = output["panoptic_seg"]
    assert ids.shape == (128, 160)
    assert set(ids.unique().tolist()) - {0} == {segment["id"] for segment in segments}
    assert detections[0].image_size == (64, 80)
    assert logits.shape == (1, 5, 64, 96)
    with pytest.raises(ValueError, match="eval"):
        model.train().inference([entry])


def test_all_instance_losses_can_be_scaled() -> None:
    cfg = small_cfg()
    cfg.MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT = 0.25
    model: Any = build_model(cfg)
    assert model.roi_heads.box_predictor.loss_weight == {"loss_cls": 0.25, "loss_box_reg": 0.25}
    assert model.roi_heads.mask_head.loss_weight == 0.25
    assert model.sem_seg_head.loss_weight == 1.0


def test_training_needs_both_kinds_of_ground_truth() -> None:
    model = build_model(small_cfg()).train()
    for missing in ("instances", "sem_seg"):
        entry = image_input()
        del entry[missing]
        with pytest.raises(ValueError, match=missing):
            model([entry])
