"""Instances that know their image show themselves as a picture."""

import copy
import io
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from d2_structures import BitMasks, Boxes, Instances, Keypoints, PolygonMasks
from d2_structures.visualizer import Visualizer

SIZE = (60, 80)
METADATA = SimpleNamespace(thing_classes=["cat", "dog"])


def background():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def predictions():
    masks = torch.zeros(2, *SIZE, dtype=torch.bool)
    masks[0, 5:30, 10:40], masks[1, 20:50, 40:75] = True, True
    return Instances(
        SIZE,
        pred_boxes=Boxes([[10, 5, 40, 30], [40, 20, 75, 50]]),
        pred_classes=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.4]),
        pred_masks=masks,
    )


def truth():
    return Instances(
        SIZE,
        gt_boxes=Boxes([[10, 5, 40, 30], [40, 20, 75, 50]]),
        gt_classes=torch.tensor([0, 1]),
        gt_masks=PolygonMasks([[[10, 5, 40, 5, 25, 30]], [[40, 20, 75, 20, 75, 50]]]),
        gt_keypoints=Keypoints(torch.tensor([[[20.0, 10.0, 2.0]], [[50.0, 30.0, 2.0]]])),
        gt_iscrowd=torch.tensor([False, True]),
    )


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def test_without_an_image_there_is_no_picture_but_text():
    assert predictions()._repr_png_() is None
    assert repr(predictions()) == repr(predictions().with_image(background()))


def test_predictions_are_drawn_as_the_visualizer_draws_them():
    image = background()
    wanted = Visualizer(image, METADATA).draw_instance_predictions(predictions()).get_image()
    for given in (image, torch.from_numpy(image), Image.fromarray(image)):
        shown = predictions().with_image(given, METADATA)
        assert np.array_equal(pixels(shown._repr_png_()), wanted)


def test_ground_truth_is_drawn_with_its_names():
    image = background()
    wanted = Visualizer(image).overlay_instances(
        boxes=truth().gt_boxes,
        masks=truth().gt_masks,
        keypoints=truth().gt_keypoints,
        labels=["cat", "dog|crowd"],
    )
    shown = truth().with_image(image, METADATA)
    assert np.array_equal(pixels(shown._repr_png_()), wanted.get_image())
    shown.gt_masks = BitMasks.from_polygon_masks(shown.gt_masks, *SIZE)
    assert pixels(shown._repr_png_()).shape == (*SIZE, 3)


def test_proposals_and_instances_without_known_fields_have_a_picture_too():
    boxes = Boxes([[10, 5, 40, 30]])
    shown = Instances(SIZE, proposal_boxes=boxes).with_image(background())
    wanted = Visualizer(background()).overlay_instances(boxes=boxes).get_image()
    assert np.array_equal(pixels(shown._repr_png_()), wanted)
    for bare in (Instances(SIZE), Instances(SIZE, names=["a"]), predictions()[:0]):
        assert np.array_equal(pixels(bare.with_image(background())._repr_png_()), background())


def test_the_image_is_shared_with_everything_made_of_the_instances():
    image = background()
    shown = predictions().with_image(image, METADATA)
    parts = [shown[:1], shown[torch.tensor([True, False])], shown.to("cpu"), copy.copy(shown)]
    parts.append(Instances.cat([shown[:1], predictions()[1:]]))
    assert all(part._image is image for part in parts)
    assert "image" not in shown.get_fields()
    assert pixels(pickle.loads(pickle.dumps(shown))._repr_png_()).shape == image.shape


def test_the_instances_themselves_stay_as_they_were():
    plain = predictions()
    shown = plain.with_image(background())
    shown.extra = [1, 2]
    assert plain._repr_png_() is None
    assert not plain.has("extra")
    assert shown.pred_boxes is plain.pred_boxes


@pytest.mark.parametrize("shape", [(80, 60, 3), (60, 80, 3, 1), (3, 60, 80), (60,)])
def test_an_image_of_another_size_is_refused(shape):
    with pytest.raises(ValueError, match=r"image of shape \(60, 80, 3\), got \("):
        predictions().with_image(np.zeros(shape, np.uint8))
