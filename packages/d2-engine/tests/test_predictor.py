"""Predicting on single images."""

import copy
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch

from d2_data import Metadata
from d2_engine.defaults import DefaultPredictor


@pytest.fixture(scope="module")
def plan(tiny, tmp_path_factory):
    """Of a small detector with random weights, which finds something everywhere."""
    folder = tmp_path_factory.mktemp("weights")
    limit = {
        "yacs": "MODEL.ROI_HEADS.SCORE_THRESH_TEST=0.0",
        "lazy": "model.roi_heads.box_predictor.test_score_thresh=0.0",
    }
    kind = "yacs" if tiny.config.suffix == ".yaml" else "lazy"
    plan = tiny.plan(folder, limit[kind])
    torch.manual_seed(0)
    torch.save({"model": plan.model().state_dict()}, folder / "model.pth")
    return plan.of(plan.settings.with_(weights=str(folder / "model.pth")))


@pytest.fixture(scope="module")
def cfg(plan):
    return plan.settings.cfg


@pytest.fixture(scope="module")
def predictor(cfg):
    return DefaultPredictor(cfg)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def inputs_of(predictor, image):
    """What the model gets for an image."""
    seen = []
    handle = predictor.model.register_forward_pre_hook(lambda _, args: seen.extend(args[0]))
    predictor(image)
    handle.remove()
    return seen[0]


def test_predictions_come_in_the_size_of_the_image(predictor, image):
    instances = predictor(image)["instances"]
    assert instances.image_size == (48, 80)
    assert len(instances) > 0
    assert instances.pred_masks.shape[1:] == (48, 80)
    assert not instances.scores.requires_grad


def test_the_image_is_resized_as_for_testing(predictor, image):
    seen = inputs_of(predictor, image)
    assert seen["image"].shape == (3, 64, 107)
    assert seen["image"].dtype == torch.uint8
    assert (seen["height"], seen["width"]) == (48, 80)


def test_a_model_that_wants_rgb_gets_rgb(plan, image):
    image[:] = (10, 20, 30)  # BGR
    model = DefaultPredictor.of_plan(plan).model
    for order, wanted in (("BGR", [10, 20, 30]), ("RGB", [30, 20, 10])):
        preprocessing = attrs.evolve(plan.preprocessing, image_format=order)
        seen = inputs_of(DefaultPredictor.of(model, preprocessing), image)
        assert seen["image"][:, 0, 0].tolist() == wanted


def test_the_strides_of_an_image_do_not_matter(predictor, image):
    wanted = inputs_of(predictor, image)["image"]
    rgb = np.ascontiguousarray(image[:, :, ::-1])
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    read_only = image.copy()
    read_only.flags.writeable = False
    for same in (
        rgb[:, :, ::-1],
        planes.transpose(1, 2, 0),
        read_only,
        np.flip(image.copy()[::-1], 0),
    ):
        assert torch.equal(inputs_of(predictor, same)["image"], wanted)


def test_the_config_stays_as_it_was(cfg):
    before = copy.deepcopy(cfg)
    assert DefaultPredictor(cfg).cfg == before
    assert cfg == before


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (None, ValueError, "the file could not be read\\?"),
        ("a.jpg", TypeError, r"got the path 'a.jpg': read it first, by .*read_image"),
        (Path("a.jpg"), TypeError, "got the path 'a.jpg'"),
        (torch.zeros(3, 4, 5), TypeError, "got Tensor"),
        (np.zeros((48, 80), np.uint8), ValueError, r"\(H, W, 3\), got \(48, 80\), a grey image"),
        (np.zeros((48, 80, 1), np.uint8), ValueError, r"got \(48, 80, 1\), a grey image"),
        (np.zeros((48, 80, 4), np.uint8), ValueError, r"got \(48, 80, 4\), .* transparency"),
        (np.zeros((3, 48, 80), np.uint8), ValueError, r"move the channels last"),
        (np.zeros((1, 48, 80, 3), np.uint8), ValueError, "one image at a time"),
        (np.zeros((0, 80, 3), np.uint8), ValueError, r"got \(0, 80, 3\)"),
        (np.zeros((48, 80, 3)), TypeError, "must be uint8, 0 to 255, got float64"),
    ],
)
def test_what_is_no_colour_image_is_refused_with_the_remedy(predictor, wrong, error, message):
    with pytest.raises(error, match=message):
        predictor(wrong)


def test_what_is_no_config_is_refused():
    with pytest.raises(TypeError, match=r"yacs-style config .*or a lazy one"):
        DefaultPredictor({"model": None})


def test_a_number_of_classes_left_to_the_data_is_refused(tiny, tmp_path):
    plan = tiny.plan(tmp_path, num_classes="null")
    with pytest.raises(ValueError, match="(?i)num_classes is None, which means"):
        DefaultPredictor(plan.settings.cfg)


def test_weights_of_a_part_of_the_model_are_refused(plan, tmp_path):
    torch.save({"model": {"backbone.x": torch.zeros(1)}}, tmp_path / "backbone.pth")
    with pytest.raises(ValueError, match="backbone.pth"):
        DefaultPredictor(plan.settings.with_(weights=str(tmp_path / "backbone.pth")).cfg)


def test_the_metadata_is_that_of_the_test_data_named(plan, tiny):
    names = ["coco_2017_val"] if tiny.config.suffix == ".yaml" else "coco_2017_val"
    predictor = DefaultPredictor(plan.settings.with_(test_names=names).cfg)
    assert predictor.metadata.name == "coco_2017_val"
    assert predictor.metadata.thing_classes[:2] == ["person", "bicycle"]


def test_without_test_data_the_metadata_is_that_of_the_training_data(plan):
    trained = attrs.evolve(plan, test_sets=())
    assert DefaultPredictor.of_plan(trained).metadata is plan.train_data.metadata


def test_a_run_has_the_metadata_that_it_learned(plan):
    learned = Metadata(name="learned")
    assert DefaultPredictor.of_plan(attrs.evolve(plan, learned=learned)).metadata is learned


def test_a_model_that_is_there_keeps_its_mode_and_weights(plan, image):
    model = plan.model().train()
    metadata = Metadata(name="mine")
    predictor = DefaultPredictor.of(model, plan.preprocessing, metadata)
    assert predictor.metadata is metadata
    assert predictor.cfg is None
    assert "instances" in predictor(image)
    assert model.training


def test_a_model_without_preprocessing_is_refused(plan):
    with pytest.raises(ValueError, match="does not say how an image becomes the model's input"):
        DefaultPredictor.of_plan(attrs.evolve(plan, preprocessing=None))


def test_a_model_of_grey_images_is_refused(plan):
    grey = attrs.evolve(plan.preprocessing, image_format="L")
    with pytest.raises(ValueError, match="image_format is 'L'"):
        DefaultPredictor.of(plan.model(), grey)
