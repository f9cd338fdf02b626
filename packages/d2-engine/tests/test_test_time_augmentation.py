"""Detecting in several versions of an image."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from d2_config import get_cfg
from d2_engine.test_time_augmentation import DatasetMapperTTA, GeneralizedRCNNWithTTA
from d2_modeling import build_model

SIZE = 64


@pytest.fixture(scope="module")
def cfg():
    """A Mask R-CNN as small as it gets, which finds much."""
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.update(DEPTH=18, RES2_OUT_CHANNELS=64, OUT_FEATURES=["res3", "res4", "res5"])
    cfg.MODEL.FPN.update(IN_FEATURES=["res3", "res4", "res5"], OUT_CHANNELS=16, NORM="GN")
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16], [32], [48], [64]]
    cfg.MODEL.RPN.update(IN_FEATURES=["p3", "p4", "p5", "p6"], POST_NMS_TOPK_TEST=30)
    cfg.MODEL.ROI_HEADS.update(
        NAME="StandardROIHeads", IN_FEATURES=["p3", "p4"], NUM_CLASSES=3, SCORE_THRESH_TEST=0.0
    )
    cfg.MODEL.ROI_BOX_HEAD.update(
        NAME="FastRCNNConvFCHead", NUM_FC=1, FC_DIM=16, POOLER_RESOLUTION=7
    )
    cfg.MODEL.ROI_MASK_HEAD.update(NUM_CONV=1, CONV_DIM=16)
    cfg.TEST.DETECTIONS_PER_IMAGE = 20
    cfg.TEST.AUG.update(MIN_SIZES=(SIZE,), MAX_SIZE=200, FLIP=False)
    return cfg


@pytest.fixture(scope="module")
def model(cfg):
    torch.manual_seed(0)
    model = build_model(cfg)
    # Weights this small at the start would give all boxes one score.
    nn.init.normal_(model.roi_heads.box_predictor.cls_score.weight, std=0.5)
    nn.init.normal_(model.roi_heads.box_predictor.bbox_pred.weight, std=0.02)
    return model.eval()


@pytest.fixture
def image():
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, SIZE, 96), np.uint8))


def by_score(instances):
    return instances[instances.scores.argsort(descending=True, stable=True)]


def test_each_size_comes_as_it_is_and_mirrored(image):
    versions = DatasetMapperTTA([32, 96], 100, flip=True)({"image": image, "image_id": 7})
    shapes = [tuple(version["image"].shape) for version in versions]
    assert shapes == [(3, 32, 48), (3, 32, 48), (3, 67, 100), (3, 67, 100)]
    assert torch.equal(versions[1]["image"], versions[0]["image"].flip(2))
    assert {version["image_id"] for version in versions} == {7}
    assert len(DatasetMapperTTA([32, 96], 100, flip=False)({"image": image})) == 2


def test_the_input_stays_as_it_is(image):
    before = image.clone()
    DatasetMapperTTA([32], 100, flip=True)({"image": image})[0]["image"].zero_()
    assert torch.equal(image, before)


def test_transforms_lead_from_the_original_image(image):
    entry = {"image": image, "height": 2 * SIZE, "width": 192}
    for version in DatasetMapperTTA([32], 100, flip=True)(entry):
        corners = version["transforms"].apply_box(np.array([[0.0, 0.0, 192.0, 2.0 * SIZE]]))
        np.testing.assert_allclose(corners, [[0, 0, 48, 32]])
        back = version["transforms"].inverse().apply_box(np.array([[0.0, 0.0, 10.0, 32.0]]))
        assert back[0][3] == 2 * SIZE


def test_a_config_describes_the_versions(cfg):
    mapper = DatasetMapperTTA(cfg)
    assert (mapper.min_sizes, mapper.max_size, mapper.flip) == ((SIZE,), 200, False)
    with pytest.raises(ValueError, match="at least one size"):
        DatasetMapperTTA([], 100, flip=True)


def test_one_version_that_changes_nothing_gives_what_the_model_gives(cfg, model, image):
    with torch.no_grad():
        plain = by_score(model([{"image": image}])[0]["instances"])
    augmented = by_score(GeneralizedRCNNWithTTA(cfg, model)([{"image": image}])[0]["instances"])
    assert len(plain) > 3
    torch.testing.assert_close(augmented.scores, plain.scores)
    torch.testing.assert_close(augmented.pred_boxes.tensor, plain.pred_boxes.tensor)
    assert torch.equal(augmented.pred_classes, plain.pred_classes)
    assert torch.equal(augmented.pred_masks, plain.pred_masks)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_mirrored_image_gives_mirrored_detections(cfg, model, image, batch_size):
    mapper = DatasetMapperTTA([SIZE], 200, flip=True)
    detect = GeneralizedRCNNWithTTA(cfg, model, mapper, batch_size=batch_size)
    straight, mirrored = (
        by_score(detect([{"image": picture}])[0]["instances"]) for picture in (image, image.flip(2))
    )
    torch.testing.assert_close(straight.scores, mirrored.scores, atol=1e-4, rtol=0)
    x1, y1, x2, y2 = mirrored.pred_boxes.tensor.unbind(1)
    back = torch.stack([96 - x2, y1, 96 - x1, y2], dim=1)
    torch.testing.assert_close(straight.pred_boxes.tensor, back, atol=1e-2, rtol=0)
    differing = straight.pred_masks != mirrored.pred_masks.flip(2)
    assert differing.float().mean() < 0.01


def test_the_heads_are_as_before(cfg, model, image):
    GeneralizedRCNNWithTTA(cfg, model)([{"image": image}])
    assert model.roi_heads.mask_on


def test_results_are_in_the_original_size(cfg, model, image):
    detect = GeneralizedRCNNWithTTA(cfg, model, DatasetMapperTTA([48, 96], 300, flip=True))
    instances = detect([{"image": image, "height": 128, "width": 192}])[0]["instances"]
    assert instances.image_size == (128, 192)
    assert instances.pred_masks.shape == (len(instances), 128, 192)
    assert 0 < len(instances) <= 20


def test_an_image_that_is_not_given_is_read(cfg, model, image, tmp_path):
    Image.fromarray(image.permute(1, 2, 0).numpy()[:, :, ::-1].copy()).save(tmp_path / "a.png")
    detect = GeneralizedRCNNWithTTA(cfg, model)
    read = detect([{"file_name": str(tmp_path / "a.png")}])[0]["instances"]
    given = detect([{"image": image}])[0]["instances"]
    assert torch.equal(read.scores, given.scores)


def test_nothing_found_is_an_empty_result(cfg, model, image, monkeypatch):
    monkeypatch.setattr(model.roi_heads.box_predictor, "test_score_thresh", 1.1)
    instances = GeneralizedRCNNWithTTA(cfg, model)([{"image": image}])[0]["instances"]
    assert len(instances) == 0
    assert instances.pred_masks.shape == (0, SIZE, 96)


def test_without_a_config_the_model_says_the_same(cfg, model, image):
    mapper = DatasetMapperTTA([48, SIZE], 200, flip=True)
    described = GeneralizedRCNNWithTTA(cfg, model, mapper)([{"image": image}])[0]["instances"]
    detect = GeneralizedRCNNWithTTA.of(model, mapper, batch_size=1)
    plain = detect([{"image": image}])[0]["instances"]
    torch.testing.assert_close(plain.scores, described.scores)
    torch.testing.assert_close(plain.pred_boxes.tensor, described.pred_boxes.tensor)
    assert torch.equal(plain.pred_classes, described.pred_classes)


def test_the_number_of_detections_is_the_models(model, image, monkeypatch):
    detect = GeneralizedRCNNWithTTA.of(model, DatasetMapperTTA([SIZE, 96], 200, flip=True))
    monkeypatch.setattr(model.roi_heads.box_predictor, "test_topk_per_image", 3)
    assert len(detect([{"image": image}])[0]["instances"]) == 3


def test_more_is_suppressed_at_a_lower_threshold_of_the_model(model, image, monkeypatch):
    detect = GeneralizedRCNNWithTTA.of(model, DatasetMapperTTA([SIZE], 200, flip=True))
    counts = []
    for threshold in (0.0, 1.0):
        monkeypatch.setattr(model.roi_heads.box_predictor, "test_topk_per_image", 10_000)
        monkeypatch.setattr(model.roi_heads.box_predictor, "test_nms_thresh", threshold)
        counts.append(len(detect([{"image": image}])[0]["instances"]))
    assert counts[0] < counts[1]


def test_a_cascade_is_read_off_its_last_stage(cfg, image):
    cascade_cfg = cfg.clone()
    cascade_cfg.MODEL.ROI_HEADS.NAME = "CascadeROIHeads"
    cascade_cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    torch.manual_seed(0)
    cascade = build_model(cascade_cfg).eval()
    for stage, kept in zip(cascade.roi_heads.box_predictor, (11, 12, 4), strict=True):
        stage.test_topk_per_image = kept
    detect = GeneralizedRCNNWithTTA.of(cascade, DatasetMapperTTA([SIZE, 96], 200, flip=True))
    assert len(detect([{"image": image}])[0]["instances"]) == 4


def test_a_batch_holds_at_least_one_version(model):
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        GeneralizedRCNNWithTTA.of(model, DatasetMapperTTA([SIZE], 200, flip=True), batch_size=0)


# ------------------------------------------------------------------- what cannot be merged


def test_precomputed_proposals_are_refused(cfg, model):
    other = cfg.clone()
    other.MODEL.LOAD_PROPOSALS = True
    with pytest.raises(ValueError, match=r"precomputed .* set MODEL\.LOAD_PROPOSALS=False"):
        GeneralizedRCNNWithTTA(other, model)
    without = copy.deepcopy(model)
    without.proposal_generator = None
    with pytest.raises(ValueError, match="precomputed .* a proposal_generator"):
        GeneralizedRCNNWithTTA.of(without, DatasetMapperTTA([SIZE], 200, flip=True))


def refused(kind, cfg):
    """A model whose detections cannot be merged."""
    other = cfg.clone()
    other.MODEL.META_ARCHITECTURE = kind
    if kind == "RetinaNet":
        other.MODEL.BACKBONE.NAME = "build_retinanet_resnet_fpn_backbone"
        other.MODEL.ANCHOR_GENERATOR.SIZES = [[16]] * 5
    if kind == "PanopticFPN":
        other.MODEL.SEM_SEG_HEAD.update(IN_FEATURES=["p3", "p4"], NORM="")
    return build_model(other)


@pytest.mark.parametrize("kind", ["RetinaNet", "ProposalNetwork", "PanopticFPN"])
def test_a_model_without_heads_that_look_again_is_refused_by_name(cfg, kind):
    model = refused(kind, cfg)
    mapper = DatasetMapperTTA([SIZE], 200, flip=True)
    for make in (
        lambda: GeneralizedRCNNWithTTA(cfg, model, mapper),
        lambda: GeneralizedRCNNWithTTA.of(model, mapper),
    ):
        with pytest.raises(TypeError, match=rf"a model of class {kind}; evaluate it without"):
            make()


def test_rotated_boxes_are_refused(cfg):
    rotated = cfg.clone()
    rotated.MODEL.MASK_ON = False
    rotated.MODEL.ANCHOR_GENERATOR.NAME = "RotatedAnchorGenerator"
    rotated.MODEL.ANCHOR_GENERATOR.ANGLES = [[-45, 0, 45]]
    rotated.MODEL.PROPOSAL_GENERATOR.NAME = "RRPN"
    rotated.MODEL.RPN.BBOX_REG_WEIGHTS = (1, 1, 1, 1, 1)
    rotated.MODEL.ROI_HEADS.NAME = "RROIHeads"
    rotated.MODEL.ROI_BOX_HEAD.POOLER_TYPE = "ROIAlignRotated"
    rotated.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS = (10, 10, 5, 5, 1)
    with pytest.raises(TypeError, match="rotated boxes, which ROI heads of class RROIHeads"):
        GeneralizedRCNNWithTTA(rotated, build_model(rotated))


def test_heads_that_do_not_say_how_they_select_are_refused(model):
    other = copy.deepcopy(model)
    other.roi_heads.box_predictor = nn.Identity()
    with pytest.raises(TypeError, match="StandardROIHeads: .* no attribute 'test_nms_thresh'"):
        GeneralizedRCNNWithTTA.of(other, DatasetMapperTTA([SIZE], 200, flip=True))
