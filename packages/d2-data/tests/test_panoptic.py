"""Targets of Panoptic-DeepLab, and the mapper that makes them."""

import os
import pathlib

import numpy as np
import pytest
import torch
from PIL import Image

from d2_config import CfgNode
from d2_data import DatasetCatalog, MetadataCatalog
from d2_data.formats import encode_panoptic_png
from d2_data.panoptic import PanopticDeeplabDatasetMapper, PanopticDeepLabTargetGenerator
from d2_data.transforms import HFlipTransform

SHARED = pathlib.Path(
    os.environ.get("D2_SHARED", pathlib.Path(__file__).resolve().parents[3].parent / "shared")
)


@pytest.fixture(scope="module")
def golden():
    path = SHARED / "golden" / "models" / "panoptic_deeplab.pt"
    if not path.exists():
        pytest.skip(f"reference values not found at {path}; set D2_SHARED")
    return torch.load(path, weights_only=True)


def test_targets_equal_those_of_the_original_system(golden):
    generator = PanopticDeepLabTargetGenerator(**golden["target_generator"])
    for entry in golden["inputs"]:
        targets = generator(entry["panoptic"].numpy(), entry["segments_info"])
        assert targets.keys() == entry["targets"].keys()
        for name, wanted in entry["targets"].items():
            if name == "center_points":
                assert targets[name] == [pytest.approx(point) for point in wanted]
            else:  # some are kept in fewer bits
                assert targets[name].shape == wanted.shape
                torch.testing.assert_close(
                    targets[name].float(), wanted.float(), rtol=1e-3, atol=1e-6
                )


SEGMENTS = [
    {"id": 7, "category_id": 0, "iscrowd": 0},
    {"id": 300, "category_id": 2, "iscrowd": 0},
    {"id": 70_000, "category_id": 2, "iscrowd": 1},
    {"id": 9, "category_id": 2, "iscrowd": 0},  # not in the image
]


def panoptic() -> np.ndarray:
    segments = np.full((12, 20), 7)
    segments[2:5, 4:9] = 300
    segments[8:, 15:] = 70_000
    segments[0, 0] = 0  # of no segment
    return segments


def test_weights_say_which_pixels_count():
    options = {"ignore_label": 255, "thing_ids": [2], "sigma": 1, "small_instance_area": 16}
    targets = PanopticDeepLabTargetGenerator(
        **options, small_instance_weight=3, ignore_stuff_in_offset=True
    )(panoptic(), SEGMENTS)
    assert targets["sem_seg"][0, 0] == 255
    assert targets["sem_seg"][9, 16] == 2  # crowds have a class
    assert targets["center_points"] == [[3.0, 6.0], [9.5, 17.0]]
    assert targets["center"][3, 6] == 1
    assert targets["offset"][:, 2, 4].tolist() == [1.0, 2.0]
    assert targets["sem_seg_weights"].unique().tolist() == [1.0, 3.0]
    assert targets["center_weights"][0, 9, 16] == 0  # but no centre that counts
    assert targets["center_weights"][0, 9, 1] == 1
    assert targets["offset_weights"].sum() == 15
    without = PanopticDeepLabTargetGenerator(**options, ignore_crowd_in_semantic=True)
    assert without(panoptic(), SEGMENTS)["sem_seg"][9, 16] == 255
    assert without(panoptic(), SEGMENTS)["offset_weights"].sum() > 15  # stuff counts as well


@pytest.fixture
def record(tmp_path):
    image = np.arange(12 * 20 * 3, dtype=np.uint8).reshape(12, 20, 3)
    Image.fromarray(image).save(tmp_path / "image.png")
    (tmp_path / "panoptic.png").write_bytes(encode_panoptic_png(panoptic()))
    return {
        "file_name": str(tmp_path / "image.png"),
        "pan_seg_file_name": str(tmp_path / "panoptic.png"),
        "segments_info": SEGMENTS,
    }


def test_image_and_targets_are_augmented_alike(record):
    generator = PanopticDeepLabTargetGenerator(255, [2])
    plain, flipped = (
        PanopticDeeplabDatasetMapper(
            augmentations=augmentations, image_format="RGB", panoptic_target_generator=generator
        )(record)
        for augmentations in ([], [HFlipTransform(20)])
    )
    assert "pan_seg_file_name" in record
    assert "pan_seg_file_name" not in plain
    assert (plain["height"], plain["width"]) == (12, 20)
    assert torch.equal(plain["image"].flip(2), flipped["image"])
    assert torch.equal(plain["sem_seg"].flip(1), flipped["sem_seg"])
    torch.testing.assert_close(plain["center"].flip(1), flipped["center"])
    torch.testing.assert_close(plain["offset"][1].flip(1), -flipped["offset"][1])


def test_a_config_resizes_crops_and_flips(record):
    name = "test_panoptic_deeplab"
    DatasetCatalog.register(name, lambda: [record])
    MetadataCatalog.get(name).set(ignore_label=255, thing_dataset_id_to_contiguous_id={30: 2})
    cfg = CfgNode(
        {
            "DATASETS": {"TRAIN": [name]},
            "INPUT": {
                "MIN_SIZE_TRAIN": [24],
                "MAX_SIZE_TRAIN": 100,
                "MIN_SIZE_TRAIN_SAMPLING": "choice",
                "RANDOM_FLIP": "horizontal",
                "FORMAT": "RGB",
                "CROP": {"ENABLED": True, "TYPE": "absolute", "SIZE": [16, 32]},
                "GAUSSIAN_SIGMA": 2,
                "IGNORE_STUFF_IN_OFFSET": True,
                "SMALL_INSTANCE_AREA": 0,
                "SMALL_INSTANCE_WEIGHT": 1,
                "IGNORE_CROWD_IN_SEMANTIC": False,
            },
        }
    )
    try:
        mapped = PanopticDeeplabDatasetMapper(cfg)(record)
    finally:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    assert mapped["image"].shape == (3, 16, 32)
    assert mapped["sem_seg"].shape == mapped["center"].shape == (16, 32)
