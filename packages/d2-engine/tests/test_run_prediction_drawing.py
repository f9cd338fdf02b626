"""Drawing whatever a model found."""

import numpy as np
import pytest
import torch

from d2_data import Metadata
from d2_engine.run.prediction_drawing import kept, picture_drawing, told, video_drawing
from d2_structures import Boxes, Instances

IMAGE = np.full((40, 60, 3), 128, np.uint8)
METADATA = Metadata(name="pets").set(thing_classes=["cat", "dog"], stuff_classes=["sky", "grass"])


def instances(left=5.0, scores=(0.9, 0.4), labels=(0, 1)):
    found = Instances((40, 60))
    found.pred_boxes = Boxes(
        torch.tensor([[left, 5.0, left + 20, 35.0], [40.0, 5.0, 55.0, 35.0]])[: len(scores)]
    )
    found.scores = torch.tensor(scores)
    found.pred_classes = torch.tensor(labels)[: len(scores)]
    return found


def panoptic():
    ids = torch.zeros(40, 60, dtype=torch.int32)
    ids[:, 30:] = 1
    return {
        "panoptic_seg": (ids, [{"id": 1, "isthing": False, "category_id": 1}]),
        "sem_seg": torch.zeros(2, 40, 60),
        "instances": instances(),
    }


def semantic():
    scores = torch.zeros(2, 40, 60)
    scores[1, :, 30:] = 1
    return {"sem_seg": scores}


def test_instances_that_are_not_sure_enough_are_left_out():
    found = kept({"instances": instances()}, 0.5)
    assert found["instances"].scores.tolist() == pytest.approx([0.9])
    assert told(found) == "1 object"
    assert told(kept({"instances": instances()}, 0.0)) == "2 objects"


def test_outputs_that_cannot_be_drawn_are_named():
    with pytest.raises(ValueError, match="this model gives proposals"):
        kept({"proposals": instances()}, 0.5)


@pytest.mark.parametrize(
    ("outputs", "text"), [(panoptic(), "1 segment"), (semantic(), "2 classes")]
)
def test_maps_are_told_of(outputs, text):
    assert told(outputs) == text


@pytest.mark.parametrize("outputs", [{"instances": instances()}, panoptic(), semantic()])
def test_every_kind_of_output_changes_the_right_half_of_the_picture(outputs):
    for draw in (picture_drawing(METADATA, 1.0), video_drawing(METADATA)):
        picture = draw(IMAGE, outputs).get_image()
        assert picture.shape == IMAGE.shape
        assert (picture[:, 30:] != 128).any()


def test_a_picture_may_be_drawn_larger():
    picture = picture_drawing(METADATA, 2.0)(IMAGE, {"instances": instances()}).get_image()
    assert picture.shape == (80, 120, 3)


def test_in_a_video_a_class_keeps_its_colour_whatever_else_is_there():
    draw = video_drawing(METADATA)
    frame = np.full((200, 300, 3), 128, np.uint8)

    def colour_of_dog(*boxes, labels):
        found = Instances((200, 300))
        found.pred_boxes = Boxes(torch.tensor([[100.0, 50.0, 290.0, 190.0], *boxes]))
        found.pred_classes = torch.tensor(labels)
        return draw(frame, {"instances": found}).get_image()[150, 100].tolist()

    colour = colour_of_dog(labels=[1])
    assert colour != [128, 128, 128]
    assert colour_of_dog([5.0, 5.0, 60.0, 60.0], labels=[1, 0]) == colour
    assert colour_of_dog(labels=[0]) != colour
