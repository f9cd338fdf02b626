"""Predictions as COCO's annotation files and as maps of labels."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

from d2_data import Metadata
from d2_engine.run.prediction_files import PredictionFiles
from d2_structures import Boxes, Instances

SIZE = (6, 8)


def metadata(**known):
    return Metadata(name="pets").set(**known)


def two_instances(labels=(0, 1)):
    instances = Instances(SIZE)
    instances.pred_boxes = Boxes(torch.tensor([[1.0, 2.0, 4.0, 5.0], [0.0, 0.0, 2.0, 2.0]]))
    instances.scores = torch.tensor([0.9, 0.6])
    instances.pred_classes = torch.tensor(labels)
    instances.pred_masks = torch.ones(2, *SIZE, dtype=torch.bool)
    return instances


def segments():
    ids = torch.zeros(SIZE, dtype=torch.int32)
    ids[:3] = 1
    ids[3:, :2] = 2
    return ids, [
        {"id": 1, "isthing": True, "category_id": 1, "score": 0.9},
        {"id": 2, "isthing": False, "category_id": 1},
    ]


def written(folder, name="predictions.json"):
    return json.loads((folder / name).read_text())


def test_instances_have_the_names_and_ids_of_the_dataset(tmp_path):
    known = metadata(thing_classes=["cat", "dog"], thing_dataset_id_to_contiguous_id={17: 0, 18: 1})
    files = PredictionFiles(tmp_path, known)
    files.add("a.jpg", "a", SIZE, {"instances": two_instances()})
    files.add("b.jpg", "b", SIZE, {"instances": two_instances()[1:]}, frame=3)
    files.write()
    coco = COCO(tmp_path / "predictions.json")
    assert coco.cats == {17: {"id": 17, "name": "cat"}, 18: {"id": 18, "name": "dog"}}
    assert coco.imgs[1] == {"id": 1, "file_name": "a.jpg", "height": 6, "width": 8}
    assert coco.imgs[2]["frame"] == 3
    assert [a["category_id"] for a in coco.anns.values()] == [17, 18, 18]
    assert coco.anns[1]["bbox"] == [1, 2, 3, 3]
    assert coco.anns[1]["segmentation"]["size"] == [6, 8]
    assert not (tmp_path / "panoptic.json").exists()


def test_category_ids_may_be_text(tmp_path):
    known = metadata(
        thing_classes=["cat", "dog"],
        stuff_classes=["things", "grass"],
        thing_dataset_id_to_contiguous_id={"felis": 0, np.int64(18): 1},
        stuff_dataset_id_to_contiguous_id={"poa": 1},
    )
    files = PredictionFiles(tmp_path, known)
    outputs = {"instances": two_instances(), "panoptic_seg": segments()}
    files.add("a.jpg", "a", SIZE, outputs)
    files.write()
    content = written(tmp_path)
    assert [a["category_id"] for a in content["annotations"]] == ["felis", 18]
    assert [c["id"] for c in content["categories"]] == ["felis", 18]
    panoptic = written(tmp_path, "panoptic.json")
    found = [s["category_id"] for s in panoptic["annotations"][0]["segments_info"]]
    assert found == [18, "poa"]


def test_without_metadata_labels_stand_for_themselves(tmp_path):
    files = PredictionFiles(tmp_path, Metadata())
    files.add("a.jpg", "a", SIZE, {"instances": two_instances(labels=(4, 2))})
    files.write()
    assert written(tmp_path)["categories"] == [{"id": 2, "name": "2"}, {"id": 4, "name": "4"}]


PANOPTIC = {
    "thing_classes": ["cat", "dog"],
    "stuff_classes": ["things", "grass"],
    "thing_dataset_id_to_contiguous_id": {17: 0, 18: 1},
    "stuff_dataset_id_to_contiguous_id": {193: 1},
}


def test_panoptic_segments_are_in_the_panoptic_format_of_coco(tmp_path):
    files = PredictionFiles(tmp_path, metadata(**PANOPTIC))
    files.add("in/a.jpg", "a", SIZE, {"panoptic_seg": segments(), "instances": two_instances()})
    files.write()
    content = written(tmp_path, "panoptic.json")
    (annotation,) = content["annotations"]
    assert annotation["file_name"] == "a.png"
    assert annotation["image_id"] == content["images"][0]["id"]
    assert annotation["segments_info"] == [
        {"id": 1, "category_id": 18, "isthing": True, "area": 24, "iscrowd": 0},
        {"id": 2, "category_id": 193, "isthing": False, "area": 6, "iscrowd": 0},
    ]
    assert content["categories"] == [
        {"id": 17, "name": "cat", "isthing": 1},
        {"id": 18, "name": "dog", "isthing": 1},
        {"id": 193, "name": "grass", "isthing": 0},
    ]
    with Image.open(tmp_path / "panoptic" / "a.png") as png:
        colours = np.asarray(png).astype(int)
    assert np.array_equal(colours @ [1, 256, 65536], segments()[0].numpy())
    assert len(written(tmp_path)["annotations"]) == 2


def test_without_ids_of_a_dataset_no_stuff_has_the_id_of_a_thing(tmp_path):
    known = metadata(thing_classes=["cat", "dog"], stuff_classes=["sky", "grass"])
    files = PredictionFiles(tmp_path, known)
    files.add("a.jpg", "a", SIZE, {"panoptic_seg": segments()})
    files.write()
    content = written(tmp_path, "panoptic.json")
    assert [c["id"] for c in content["categories"]] == [0, 1, 2, 3]
    infos = content["annotations"][0]["segments_info"]
    assert [info["category_id"] for info in infos] == [1, 3]


def test_ids_that_hold_the_class_are_taken_apart(tmp_path):
    ids = torch.full(SIZE, -1)
    ids[:2] = 17_001
    ids[2:4] = 193_000
    known = metadata(
        label_divisor=1000,
        thing_dataset_id_to_contiguous_id={17: 17},
        stuff_dataset_id_to_contiguous_id={193: 193},
    )
    files = PredictionFiles(tmp_path, known)
    files.add("a.jpg", "a", SIZE, {"panoptic_seg": (ids, None)})
    files.write()
    infos = written(tmp_path, "panoptic.json")["annotations"][0]["segments_info"]
    assert [(i["category_id"], i["isthing"], i["area"]) for i in infos] == [
        (17, True, 16),
        (193, False, 16),
    ]
    without = PredictionFiles(tmp_path, Metadata(name="pets"))
    with pytest.raises(ValueError, match="'pets' has no label_divisor"):
        without.add("a.jpg", "a", SIZE, {"panoptic_seg": (ids, None)})


@pytest.mark.parametrize(("classes", "dtype"), [(3, np.uint8), (300, np.uint16)])
def test_semantic_labels_are_written_as_a_png(tmp_path, classes, dtype):
    scores = torch.zeros(classes, *SIZE)
    scores[classes - 1, :, 4:] = 1
    files = PredictionFiles(tmp_path, Metadata())
    files.add("a.jpg", "a", SIZE, {"sem_seg": scores})
    files.write()
    with Image.open(tmp_path / "semantic" / "a.png") as png:
        labels = np.asarray(png).astype(dtype)
    assert np.array_equal(labels, np.tile(np.repeat([0, classes - 1], 4), (6, 1)))
    assert written(tmp_path)["annotations"] == []
