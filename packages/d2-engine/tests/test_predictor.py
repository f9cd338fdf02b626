"""Predicting on single images."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from d2_config import instantiate
from d2_engine.defaults import DefaultPredictor
from d2_engine.run_folder import load_config


@pytest.fixture(scope="module")
def cfg(tiny_config, tmp_path_factory):
    cfg = load_config(tiny_config)
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pth"
    torch.save({"model": instantiate(cfg.model).state_dict()}, path)
    cfg.train.init_checkpoint = str(path)
    cfg.model.roi_heads.box_predictor.test_score_thresh = 0.0
    return cfg


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def test_predictions_come_in_the_size_of_the_image(cfg, image):
    instances = DefaultPredictor(cfg)(image)["instances"]
    assert instances.image_size == (48, 80)
    assert len(instances) > 0
    assert instances.pred_masks.shape[1:] == (48, 80)
    assert not instances.scores.requires_grad


def test_the_image_is_resized_as_for_testing(cfg, image):
    predictor = DefaultPredictor(cfg)
    seen = []
    predictor.model.register_forward_pre_hook(lambda _, args: seen.append(args[0][0]["image"]))
    predictor(image)
    assert seen[0].shape == (3, 64, 107)
    assert seen[0].dtype == torch.uint8


def test_a_model_that_wants_rgb_gets_rgb(cfg, image):
    image[:] = (10, 20, 30)  # BGR
    rgb = cfg.copy()
    rgb.dataloader.train.mapper.image_format = "RGB"
    for config, wanted in ((cfg, [10, 20, 30]), (rgb, [30, 20, 10])):
        predictor = DefaultPredictor(config)
        seen = []
        predictor.model.register_forward_pre_hook(
            lambda _, args, seen=seen: seen.append(args[0][0]["image"])
        )
        predictor(image)
        assert seen[0][:, 0, 0].tolist() == wanted


def test_the_config_stays_as_it_was(cfg):
    before = OmegaConf.to_yaml(cfg)
    DefaultPredictor(cfg)
    assert OmegaConf.to_yaml(cfg) == before


def test_another_shape_is_refused(cfg):
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\), got \(48, 80\)"):
        DefaultPredictor(cfg)(np.zeros((48, 80), np.uint8))


def test_what_is_no_config_is_refused():
    with pytest.raises(TypeError, match="lazy config"):
        DefaultPredictor({"model": None})


def test_a_number_of_classes_left_to_the_data_is_refused(cfg):
    undecided = cfg.copy()
    undecided.model.roi_heads.num_classes = None
    with pytest.raises(ValueError, match="num_classes is null"):
        DefaultPredictor(undecided)


def test_the_metadata_is_that_of_the_dataset_named(cfg):
    named = cfg.copy()
    for names in ("some-data", ["some-data", "other-data"]):
        named.dataloader.test.dataset.names = names
        assert DefaultPredictor(named).metadata.name == "some-data"


def test_data_that_is_gone_is_not_needed(cfg):
    moved = cfg.copy()
    moved.data.val.json = "/gone.json"
    assert DefaultPredictor(moved).metadata.get("thing_classes") is None
