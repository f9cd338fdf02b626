"""What annotation tools export as COCO is trained on and evaluated alike."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from d2_data import DatasetMapper, MetadataCatalog, get_detection_dataset_dicts
from d2_data.datasets import register_coco_instances
from d2_eval import COCOEvaluator
from d2_structures import Instances

HEIGHT, WIDTH = 30, 40
BOX = [4, 5, 20, 10]
OUTLINE = [4, 5, 24, 5, 24, 15, 4, 15]
MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[5:15, 4:24] = True
LENGTHS = [4 * HEIGHT + 5, *[10, 20] * 19, 10, 15 * HEIGHT + 15 + HEIGHT]
SIZE = {"width": WIDTH, "height": HEIGHT}


def label_studio():
    """Backslashes from Windows; everything is numbered from 0; ``ignore`` is written."""
    entry = {"image_id": 0, "category_id": 0, "area": 200, "iscrowd": 0, "ignore": 0}
    return {
        "images": [{"id": 0, "file_name": "images\\1f2e-a.png", **SIZE}],
        "categories": [{"id": 0, "name": "cup"}, {"id": 1, "name": "plate"}],
        "annotations": [{**entry, "id": 0, "bbox": BOX, "segmentation": [OUTLINE]}],
        "info": {"year": 2024, "version": "1.0", "contributor": "Label Studio"},
    }


def label_studio_boxes():
    """The same of boxes: an empty list in place of the outline."""
    content = label_studio()
    content["annotations"][0]["segmentation"] = []
    return content


def cvat():
    """Plain run lengths, attributes, folders of subsets."""
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "categories": [{"id": 1, "name": "cup", "supercategory": ""}],
        "images": [
            {"id": 1, **SIZE, "file_name": "train/straße/ä b.png", "license": 0, "coco_url": ""}
        ],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "segmentation": {"counts": LENGTHS, "size": [HEIGHT, WIDTH]},
                "area": 200.0,
                "bbox": [4.0, 5.0, 20.0, 10.0],
                "iscrowd": 0,
                "attributes": {"occluded": False},
            }
        ],
    }


def roboflow():
    """A root category that no object has, and that may be called as one that objects have."""
    return {
        "categories": [
            {"id": 0, "name": "cup", "supercategory": "none"},
            {"id": 1, "name": "cup", "supercategory": "cup"},
        ],
        "images": [
            {"id": 0, "license": 1, "file_name": "a_jpg.rf.0123abc.png", **SIZE, "extra": {}}
        ],
        "annotations": [
            {
                "id": 0,
                "image_id": 0,
                "category_id": 1,
                "bbox": BOX,
                "area": 200.0,
                "segmentation": [OUTLINE],
                "iscrowd": 0,
            }
        ],
    }


def via():
    """Outlines that are not nested, ids as text, sizes of 0."""
    return {
        "images": [{"id": 1, "width": 0, "height": 0, "file_name": "a.png", "date_captured": ""}],
        "categories": [{"id": 1, "name": "cup", "supercategory": "object"}],
        "annotations": [
            {
                "id": "1",
                "image_id": "1",
                "category_id": "1",
                "segmentation": OUTLINE,
                "area": 200,
                "bbox": BOX,
                "iscrowd": 0,
            }
        ],
    }


def labelme():
    """A background category, and converters that write outlines alone."""
    return {
        "images": [{"license": 0, "url": None, "file_name": "JPEGImages/a.png", "id": 0, **SIZE}],
        "type": "instances",
        "categories": [
            {"supercategory": None, "id": 0, "name": "_background_"},
            {"supercategory": None, "id": 1, "name": "cup"},
        ],
        "annotations": [{"image_id": 0, "category_id": 1, "segmentation": [OUTLINE]}],
    }


def pandas():
    """Tables that become JSON: NaN for what is missing, whole numbers as fractions."""
    entry = {"image_id": 1.0, "category_id": 1.0, "bbox": BOX, "segmentation": [OUTLINE]}
    missing = {"iscrowd": float("nan"), "area": float("nan"), "keypoints": float("nan")}
    return {
        "images": [{"id": 1.0, "file_name": "a.png", "width": 40.0, "height": 30.0}],
        "categories": [{"id": 1.0, "name": "cup"}],
        "annotations": [{"id": 1.0, **entry, **missing}],
    }


def names_for_ids():
    """Ids that are names of files and classes."""
    entry = {"image_id": "a", "category_id": "cup", "bbox": BOX, "segmentation": [OUTLINE]}
    return {
        "images": [{"id": "a", "file_name": "a.png", **SIZE}],
        "categories": [{"id": "cup", "name": "cup"}, {"id": "plate", "name": "plate"}],
        "annotations": [{"id": "c0ffee-1", **entry}],
    }


TOOLS = [label_studio, label_studio_boxes, cvat, roboflow, via, labelme, pandas, names_for_ids]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_objects_are_learned_and_found_again(tool, fast, tmp_path, register):
    content = tool()
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    image = tmp_path / content["images"][0]["file_name"].replace("\\", "/")
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(image)
    name = f"tool_{tool.__name__}_{fast}"
    register(name)
    register_coco_instances(name, {}, path, tmp_path)

    (record,) = get_detection_dataset_dicts(name)
    assert Path(record["file_name"]) == image
    has_masks = tool is not label_studio_boxes
    mapper = DatasetMapper(
        True,
        augmentations=[],
        image_format="BGR",
        use_instance_mask=has_masks,
        instance_mask_format="bitmask",
    )
    truth = mapper(record)["instances"]
    assert truth.gt_boxes.tensor.tolist() == [[4, 5, 24, 15]]
    assert MetadataCatalog.get(name).thing_classes[int(truth.gt_classes[0])] == "cup"
    if has_masks:
        np.testing.assert_array_equal(truth.gt_masks.tensor[0], MASK)

    tasks = ("bbox", "segm") if has_masks else ("bbox",)
    evaluator = COCOEvaluator(
        name, tasks, distributed=False, output_dir=tmp_path / "out", use_fast_impl=fast
    )
    evaluator.reset()
    found = Instances((HEIGHT, WIDTH))
    found.pred_boxes, found.pred_classes = truth.gt_boxes, truth.gt_classes
    found.scores = torch.ones(1)
    if has_masks:
        found.pred_masks = truth.gt_masks.tensor
    evaluator.process([record], [{"instances": found}])
    results = evaluator.evaluate()
    for task in tasks:
        assert results[task]["AP"] == pytest.approx(100)
        per_class = [v for key, v in results[task].items() if key.startswith("AP-")]
        assert per_class == [] or pytest.approx(100) in per_class
