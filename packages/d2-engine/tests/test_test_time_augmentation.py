"""Detecting in several versions of an image."""

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


@pytest.mark.parametrize("key", ["KEYPOINT_ON", "LOAD_PROPOSALS"])
def test_what_cannot_be_merged_is_refused(cfg, model, key):
    other = cfg.clone()
    other.MODEL[key] = True
    with pytest.raises(ValueError, match=rf"MODEL\.{key}=True"):
        GeneralizedRCNNWithTTA(other, model)


def test_another_model_is_refused(cfg):
    with pytest.raises(TypeError, match="for GeneralizedRCNN, got a model of class Linear"):
        GeneralizedRCNNWithTTA(cfg, nn.Linear(1, 1))
