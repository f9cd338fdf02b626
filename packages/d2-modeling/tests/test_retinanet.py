"""RetinaNet beyond what the reference model proves."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from d2_config import CfgNode, get_cfg
from d2_modeling import RetinaNet, ShapeSpec, build_model
from d2_modeling.events import EventStorage
from d2_modeling.meta_arch import RetinaNetHead
from d2_structures import Boxes, Instances


def small_cfg() -> CfgNode:
    cfg = get_cfg()
    model = cfg.MODEL
    model.META_ARCHITECTURE, model.DEVICE = "RetinaNet", "cpu"
    model.BACKBONE.NAME, model.BACKBONE.FREEZE_AT = "build_retinanet_resnet_fpn_backbone", 0
    model.RESNETS.OUT_FEATURES = model.FPN.IN_FEATURES = ["res3", "res4", "res5"]
    model.RESNETS.RES2_OUT_CHANNELS = 8
    model.RESNETS.STEM_OUT_CHANNELS = model.RESNETS.WIDTH_PER_GROUP = 4
    model.RESNETS.NORM = "GN"
    model.FPN.OUT_CHANNELS = 8
    model.RETINANET.NUM_CLASSES, model.RETINANET.NUM_CONVS = 3, 1
    model.ANCHOR_GENERATOR.SIZES = [[size] for size in (16, 32, 64, 128, 256)]
    return cfg


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    return build_model(small_cfg())


def image_input(boxes: Sequence[Sequence[float]]) -> dict[str, Any]:
    gt = Instances((64, 80))
    gt.gt_boxes = Boxes(torch.tensor(boxes).view(-1, 4))
    gt.gt_classes = torch.arange(len(boxes))
    return {"image": torch.randint(0, 256, (3, 64, 80), dtype=torch.uint8), "instances": gt}


def test_every_parameter_is_trained_also_on_images_without_objects(model: RetinaNet) -> None:
    for boxes in ([[4.0, 4, 40, 44]], []):
        model.zero_grad()
        losses = model.train()([image_input(boxes), image_input([])])
        assert set(losses) == {"loss_cls", "loss_box_reg"}
        sum(losses.values()).backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert losses["loss_box_reg"] == 0


def test_labels_follow_the_overlap(model: RetinaNet) -> None:
    anchors = [
        Boxes(torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 22]])),  # overlaps 1 and 0.4545
        Boxes(torch.tensor([[0.0, 0, 10, 30], [50, 50, 60, 60]])),  # 0.333 and 0
    ]
    gt = image_input([[0, 0, 10, 10]])["instances"]
    gt.gt_classes = torch.tensor([2])
    labels, boxes = model.label_anchors(anchors, [gt, gt[torch.tensor([], dtype=torch.int64)]])
    assert labels[0].tolist() == [2, -1, 3, 3]
    assert boxes[0][0].tolist() == [0, 0, 10, 10]
    assert labels[1].tolist() == [3, 3, 3, 3]


def test_losses_are_divided_by_a_running_mean(model: RetinaNet) -> None:
    foreground = torch.zeros(2, 8, dtype=torch.bool)
    foreground[0, :6] = True
    with EventStorage() as storage:
        assert model.normalizer_of(foreground) == pytest.approx(0.9 * 100 + 0.1 * 6)
    assert storage.latest()["num_pos_anchors"][0] == 3
    assert model.normalizer_of(foreground[:, 6:]) == pytest.approx(0.9 * 90.6 + 0.1 * 1)
    assert not any("normalizer" in name for name in model.state_dict())


def test_detections_come_in_the_size_asked_for(model: RetinaNet) -> None:
    model.test_score_thresh = 0.0
    model.max_detections_per_image = 7
    with torch.no_grad():
        (output,) = model.eval()([{**image_input([]), "height": 128, "width": 160}])
    found = output["instances"]
    assert len(found) <= 7
    assert found.image_size == (128, 160)
    assert set(found.get_fields()) == {"pred_boxes", "pred_classes", "scores"}
    model.test_score_thresh = 1.0
    with torch.no_grad():
        (output,) = model([image_input([])])
    assert len(output["instances"]) == 0


def test_pictures_of_predictions_are_made_every_so_many_iterations(model: RetinaNet) -> None:
    model.vis_period = 2
    with EventStorage(start_iter=1) as storage:
        model.train()([image_input([[4, 4, 40, 44]])])
        assert storage.images == ()
        storage.step()
        model([image_input([[4, 4, 40, 44]])])
    ((name, picture, _),) = storage.images
    assert "results" in name
    assert picture.shape == (3, 64, 160)


def test_wrong_input_is_refused(model: RetinaNet) -> None:
    with pytest.raises(ValueError, match="'instances'"):
        model.train()([{"image": torch.zeros(3, 64, 64)}])
    with pytest.raises(ValueError, match="5 levels"):
        model.head([torch.zeros(1, 8, 4, 4)])
    cfg = small_cfg()
    cfg.MODEL.RETINANET.IN_FEATURES = ["p3", "p9"]
    with pytest.raises(ValueError, match="MODEL.RETINANET.IN_FEATURES"):
        build_model(cfg)
    cfg = small_cfg()
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32], [64], [128], [256, 512]]
    with pytest.raises(ValueError, match="as many anchors"):
        build_model(cfg)


def test_the_model_moves_as_a_whole(model: RetinaNet) -> None:
    assert model.to("meta").device.type == "meta"


@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
def test_batch_norms_keep_the_levels_apart(norm: str) -> None:
    head = RetinaNetHead(
        input_shape=[ShapeSpec(channels=4)] * 2,
        num_classes=2,
        num_anchors=1,
        conv_dims=[4],
        norm=norm,
    )
    names = [name for name in head.state_dict() if name.startswith("cls_subnet.1")]
    assert {"cls_subnet.1.weight", "cls_subnet.1.0.running_mean"} < set(names)
    if norm == "SyncBN":
        return  # torch runs it on accelerators only
    small, large = torch.randn(4, 4, 8, 8), 100 + torch.randn(4, 4, 4, 4)
    head.train()([small, large])
    first, second = head.cls_subnet[1]
    assert not torch.allclose(first.running_mean, second.running_mean)
    logits, deltas = head.eval()([small, large])
    assert [level.shape for level in logits] == [(4, 2, 8, 8), (4, 2, 4, 4)]
    assert deltas[0].shape == (4, 4, 8, 8)


def test_untrained_scores_are_the_prior() -> None:
    head = RetinaNetHead(
        input_shape=[ShapeSpec(channels=4)],
        num_classes=2,
        num_anchors=3,
        conv_dims=[4, 4],
        norm="GN",
        prior_prob=0.02,
    )
    logits, _ = head([torch.zeros(1, 4, 2, 2)])
    torch.testing.assert_close(logits[0].sigmoid(), torch.full((1, 6, 2, 2), 0.02))
    with pytest.raises(ValueError, match="one known width"):
        RetinaNetHead(
            input_shape=[ShapeSpec(channels=4), ShapeSpec(channels=8)],
            num_classes=2,
            num_anchors=3,
            conv_dims=[4],
        )


def test_values_of_the_config_reach_the_detector() -> None:
    cfg = small_cfg()
    options = cfg.MODEL.RETINANET
    options.IN_FEATURES = ["p4", "p5", "p6"]
    options.BBOX_REG_WEIGHTS = (1.0, 2.0, 3.0, 4.0)
    options.IOU_THRESHOLDS, options.IOU_LABELS = [0.3, 0.6], [0, -1, 1]
    options.FOCAL_LOSS_ALPHA, options.FOCAL_LOSS_GAMMA = 0.3, 1.5
    options.SMOOTH_L1_LOSS_BETA, options.BBOX_REG_LOSS_TYPE = 0.2, "giou"
    options.SCORE_THRESH_TEST, options.TOPK_CANDIDATES_TEST = 0.15, 77
    options.NMS_THRESH_TEST, cfg.TEST.DETECTIONS_PER_IMAGE = 0.45, 9
    cfg.VIS_PERIOD, cfg.INPUT.FORMAT = 13, "RGB"
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32], [64]]
    model: Any = build_model(cfg)
    assert model.head_in_features == ["p4", "p5", "p6"]
    assert model.head.num_levels == 3
    assert model.box2box_transform.weights == (1.0, 2.0, 3.0, 4.0)
    assert model.anchor_matcher.thresholds == [0.3, 0.6]
    assert model.anchor_matcher.allow_low_quality_matches
    assert (model.focal_loss_alpha, model.focal_loss_gamma) == (0.3, 1.5)
    assert (model.smooth_l1_beta, model.box_reg_loss_type) == (0.2, "giou")
    assert (model.test_score_thresh, model.test_topk_candidates) == (0.15, 77)
    assert (model.test_nms_thresh, model.max_detections_per_image) == (0.45, 9)
    assert (model.vis_period, model.input_format) == (13, "RGB")
    assert model.pixel_mean.flatten().tolist() == pytest.approx(cfg.MODEL.PIXEL_MEAN)
    anchors = model.anchor_generator([torch.zeros(1, 8, 4, 4)] * 3)
    areas = [level.area()[0].item() for level in anchors]
    assert areas == pytest.approx([16.0**2, 32.0**2, 64.0**2])
