"""Keypoints found in several versions of an image.

The oracle is a detector that is equivariant: in a mirrored image it finds the same person mirrored,
with left and right exchanged. Whatever the versions, merging must give what one look gives.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from d2_config import get_cfg
from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.transforms import RotationTransform, TransformList, VFlipTransform
from d2_engine.test_time_augmentation import DatasetMapperTTA, GeneralizedRCNNWithTTA
from d2_modeling import GeneralizedRCNN, ShapeSpec
from d2_modeling.backbone import Backbone
from d2_modeling.box_regression import Box2BoxTransform
from d2_modeling.matcher import Matcher
from d2_modeling.poolers import ROIPooler
from d2_modeling.roi_heads import (
    BaseKeypointRCNNHead,
    FastRCNNOutputLayers,
    MaskRCNNConvUpsampleHead,
    StandardROIHeads,
)
from d2_structures import Boxes, Instances

NOSE, LEFT_EYE, RIGHT_EYE = range(3)
FLIP = [NOSE, RIGHT_EYE, LEFT_EYE]
HEIGHT, WIDTH = 96, 80
BOX = (14, 10, 62, 82)  # x1, y1, x2, y2: not in the middle


class ImageAsFeatures(Backbone):
    """The image itself as a map of stride 1."""

    _out_features = ("p0",)
    _out_feature_channels = {"p0": 3}  # noqa: RUF012  # declared so by the base class
    _out_feature_strides = {"p0": 1}  # noqa: RUF012  # declared so by the base class

    def forward(self, x):
        return {"p0": x}


class RedRegion(nn.Module):
    """Proposes the box around everything red."""

    def forward(self, images, features, gt_instances=None):
        return [self._of(image[0]) for image in features["p0"]], {}

    @staticmethod
    def _of(red):
        rows, columns = (red > 127).nonzero().unbind(1)
        instances = Instances(tuple(red.shape), objectness_logits=torch.zeros(min(1, len(rows))))
        corners = (
            [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else []
        )
        instances.proposal_boxes = Boxes(torch.tensor([float(c) for c in corners]).view(-1, 4))
        return instances


class EyesBySide(BaseKeypointRCNNHead):
    """The nose is green, the eyes are blue; the left eye is that on the right of the picture."""

    def layers(self, x):
        width = x.shape[3]
        rightwards = (torch.arange(width) + 0.5) / width
        green, blue = x[:, 1], x[:, 2]
        return torch.stack([green, blue * rightwards, blue * (1 - rightwards)], dim=1) / 10


def oracle(**heads):
    """A detector of one class that is certain of every proposal, and regresses nothing."""
    predictor = FastRCNNOutputLayers(
        ShapeSpec(channels=12), box2box_transform=Box2BoxTransform((1, 1, 1, 1)), num_classes=1
    )
    for parameter in predictor.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        predictor.cls_score.bias[0] = 4
    return GeneralizedRCNN(
        backbone=ImageAsFeatures(),
        proposal_generator=RedRegion(),
        roi_heads=StandardROIHeads(
            num_classes=1,
            batch_size_per_image=8,
            positive_fraction=0.5,
            proposal_matcher=Matcher([0.5], [0, 1]),
            box_in_features=["p0"],
            box_pooler=ROIPooler(2, [1.0], 1, "ROIAlignV2"),
            box_head=nn.Flatten(),
            box_predictor=predictor,
            keypoint_in_features=["p0"],
            keypoint_pooler=ROIPooler(56, [1.0], 2, "ROIAlignV2"),
            keypoint_head=EyesBySide(num_keypoints=3),
            **heads,
        ),
        pixel_mean=[0.0] * 3,
        pixel_std=[1.0] * 3,
        input_format="RGB",
    ).eval()


def person(nose, left_eye, right_eye):
    """A red box with a green and two blue blobs around pixels (x, y), brightest in the middle."""
    image = torch.zeros(3, HEIGHT, WIDTH)
    x1, y1, x2, y2 = BOX
    image[0, y1:y2, x1:x2] = 255
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    for channel, (x, y) in ((1, nose), (2, left_eye), (2, right_eye)):
        distance = ((rows - y) ** 2 + (columns - x) ** 2).sqrt()
        image[channel] = image[channel].maximum(255 * (1 - distance / 6).clamp(min=0))
    return image.to(torch.uint8)


POINTS = ((30, 55), (50, 30), (24, 41))
"""Nose, left and right eye, so that mirroring puts none on another."""


def keypoints(detect, image, **entry):
    instances = detect([{"image": image, **entry}])[0]["instances"]
    assert len(instances) == 1
    return instances.pred_keypoints[0]


def plain(model, image):
    with torch.no_grad():
        return keypoints(model, image)


@st.composite
def people(draw):
    x1, y1, x2, y2 = BOX
    middle = (x1 + x2) // 2
    rows = st.integers(y1 + 8, y2 - 9)
    return (
        (draw(st.integers(x1 + 8, x2 - 9)), draw(rows)),
        (draw(st.integers(middle + 7, x2 - 9)), draw(rows)),
        (draw(st.integers(x1 + 8, middle - 8)), draw(rows)),
    )


@given(people(), st.sampled_from([(HEIGHT,), (144,), (HEIGHT, 144, 60)]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_an_equivariant_model_finds_what_it_finds_at_one_look(points, sizes, flip):
    model, image = oracle(), person(*points)
    detect = GeneralizedRCNNWithTTA.of(
        model, DatasetMapperTTA(sizes, 400, flip), keypoint_flip_indices=FLIP
    )
    found, wanted = keypoints(detect, image), plain(model, image)
    torch.testing.assert_close(wanted[:, :2], torch.tensor(points) + 0.5, atol=1.0, rtol=0)
    torch.testing.assert_close(found[:, :2], wanted[:, :2], atol=1.5, rtol=0)


def test_mirrored_versions_alone_change_nothing():
    model, image = oracle(), person(*POINTS)
    instances = GeneralizedRCNNWithTTA.of(
        model, DatasetMapperTTA([WIDTH], 400, flip=True), keypoint_flip_indices=FLIP
    )([{"image": image}])[0]["instances"]
    with torch.no_grad():
        wanted = model([{"image": image}])[0]["instances"]
    assert list(instances.get_fields()) == list(wanted.get_fields())
    for field in ("pred_keypoints", "pred_keypoint_heatmaps"):
        torch.testing.assert_close(instances.get(field), wanted.get(field), atol=1e-3, rtol=1e-3)


def test_the_oracle_notices_a_forgotten_exchange_of_left_and_right():
    model, image = oracle(), person(*POINTS)
    forgetful = GeneralizedRCNNWithTTA.of(
        model, DatasetMapperTTA([WIDTH], 400, flip=True), keypoint_flip_indices=[0, 1, 2]
    )
    apart = (keypoints(forgetful, image) - plain(model, image))[:, :2].norm(dim=1)
    assert apart[NOSE] < 1
    assert apart[[LEFT_EYE, RIGHT_EYE]].max() > 20


def test_a_person_that_is_symmetric_stays_so():
    model = oracle()
    middle = WIDTH // 2
    image = person((middle, 55), (middle + 14, 30), (middle - 14, 30))
    image[0] = 0
    image[0, 10:82, middle - 24 : middle + 25] = 255
    image = image[:, :, 1:]  # now mirroring changes nothing
    assert torch.equal(image, image.flip(2))
    detect = GeneralizedRCNNWithTTA.of(
        model, DatasetMapperTTA([79, 120], 400, flip=True), keypoint_flip_indices=FLIP
    )
    found = keypoints(detect, image)[:, :2]
    torch.testing.assert_close(found, plain(model, image)[:, :2], atol=1.0, rtol=0)
    across = torch.stack([79 - found[FLIP, 0], found[FLIP, 1]], dim=1)
    torch.testing.assert_close(found, across, atol=1.0, rtol=0)


def test_keypoints_come_in_the_original_size():
    model, image = oracle(), person(*POINTS)
    detect = GeneralizedRCNNWithTTA.of(
        model, DatasetMapperTTA([60, WIDTH], 400, flip=True), keypoint_flip_indices=FLIP
    )
    found = keypoints(detect, image, height=2 * HEIGHT, width=3 * WIDTH)
    wanted = (torch.tensor(POINTS) + 0.5) * torch.tensor([3.0, 2.0])
    torch.testing.assert_close(found[:, :2], wanted, atol=4.0, rtol=0)


def test_a_version_upside_down_exchanges_no_sides():
    """As in training: keypoints change their names with left and right only."""
    model, image = oracle(), person(*POINTS)

    def mapper(entry):
        turned = {"image": image.flip(1), "transforms": TransformList([VFlipTransform(HEIGHT)])}
        return [{**entry, **turned}]

    detect = GeneralizedRCNNWithTTA.of(model, mapper)
    torch.testing.assert_close(
        keypoints(detect, image)[:, :2], plain(model, image)[:, :2], atol=1.0, rtol=0
    )


def test_nothing_found_has_the_fields_of_the_model():
    model = oracle()
    detect = GeneralizedRCNNWithTTA.of(
        model, DatasetMapperTTA([WIDTH], 400, flip=True), keypoint_flip_indices=FLIP
    )
    image = torch.zeros(3, HEIGHT, WIDTH, dtype=torch.uint8)
    found = detect([{"image": image}])[0]["instances"]
    assert found.pred_keypoints.shape == (0, 3, 3)
    assert found.pred_keypoint_heatmaps.shape == (0, 3, 56, 56)


def test_masks_and_keypoints_are_merged_together():
    model = oracle(
        mask_in_features=["p0"],
        mask_pooler=ROIPooler(14, [1.0], 1, "ROIAlignV2"),
        mask_head=MaskRCNNConvUpsampleHead(
            ShapeSpec(channels=3, height=14, width=14), num_classes=1, conv_dims=[4]
        ).eval(),
    )
    detect = GeneralizedRCNNWithTTA.of(
        model, DatasetMapperTTA([WIDTH], 400, flip=True), keypoint_flip_indices=FLIP
    )
    found = detect([{"image": person(*POINTS)}])[0]["instances"]
    assert found.pred_masks.shape == (1, HEIGHT, WIDTH)
    assert found.pred_keypoints.shape == (1, 3, 3)
    assert model.roi_heads.mask_on
    assert model.roi_heads.keypoint_on


# --------------------------------------------------------------- where the exchange is from


@pytest.fixture
def people_dataset():
    name = "tta_people"
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name).set(
        keypoint_names=["nose", "left_eye", "right_eye"],
        keypoint_flip_map=[("left_eye", "right_eye")],
    )
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.mark.parametrize("split", ["TRAIN", "TEST"])
def test_a_config_takes_the_exchange_from_its_dataset(people_dataset, split):
    cfg = get_cfg()
    cfg.DATASETS[split] = (people_dataset,)
    cfg.TEST.AUG.update(MIN_SIZES=(WIDTH,), MAX_SIZE=400, FLIP=True)
    model, image = oracle(), person(*POINTS)
    torch.testing.assert_close(
        keypoints(GeneralizedRCNNWithTTA(cfg, model), image), plain(model, image), atol=1e-3, rtol=0
    )


def test_mirrored_keypoints_without_the_exchange_are_refused_at_once():
    with pytest.raises(ValueError, match=r"create_keypoint_hflip_indices\(dataset_names\)"):
        GeneralizedRCNNWithTTA.of(oracle(), DatasetMapperTTA([WIDTH], 400, flip=True))
    with pytest.raises(ValueError, match="need keypoint_flip_indices"):
        GeneralizedRCNNWithTTA(get_cfg(), oracle())


def test_a_mapper_that_mirrors_unannounced_is_refused_when_it_does():
    mapper = DatasetMapperTTA([WIDTH], 400, flip=True)
    detect = GeneralizedRCNNWithTTA.of(oracle(), lambda entry: mapper(entry))
    with pytest.raises(ValueError, match="need keypoint_flip_indices"):
        detect([{"image": person(*POINTS)}])


def test_without_mirroring_no_exchange_is_needed():
    model, image = oracle(), person(*POINTS)
    detect = GeneralizedRCNNWithTTA.of(model, DatasetMapperTTA([WIDTH], 400, flip=False))
    assert torch.equal(keypoints(detect, image), plain(model, image))


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 2, 1, 3], "has 4 values, the model finds 3 keypoints"),
        ([0, 2, 2], "exchange 0 to 2 in pairs"),
        ([1, 2, 0], "exchange 0 to 2 in pairs"),
    ],
)
def test_an_exchange_that_is_none_is_refused(indices, message):
    mapper = DatasetMapperTTA([WIDTH], 400, flip=True)
    with pytest.raises(ValueError, match=message):
        GeneralizedRCNNWithTTA.of(oracle(), mapper, keypoint_flip_indices=indices)


# ------------------------------------------------------------------- what cannot be merged


def test_a_turned_version_is_refused():
    def mapper(entry):
        turn = RotationTransform(HEIGHT, WIDTH, 30)
        image = turn.apply_image(entry["image"].permute(1, 2, 0).numpy())
        chw = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        return [{**entry, "image": chw, "transforms": turn}]

    detect = GeneralizedRCNNWithTTA.of(oracle(), mapper)
    with pytest.raises(ValueError, match="not from one that is turned"):
        detect([{"image": person(*POINTS)}])


def test_keypoints_without_heatmaps_are_refused(monkeypatch):
    model = oracle()
    detect = GeneralizedRCNNWithTTA.of(model, DatasetMapperTTA([WIDTH], 400, flip=False))

    def without_heatmaps(features, instances):
        del features
        for image in instances:
            image.pred_keypoints = torch.zeros(len(image), 3, 3)
        return instances

    monkeypatch.setattr(model.roi_heads, "_forward_keypoint", without_heatmaps)
    with pytest.raises(TypeError, match="pred_keypoint_heatmaps.* EyesBySide does not give"):
        detect([{"image": person(*POINTS)}])
