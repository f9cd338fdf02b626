"""Every augmentation against the values of the original system."""

import os
import pathlib
import random

import numpy as np
import pytest
import torch

from d2_data import transforms as T

SHARED = pathlib.Path(
    os.environ.get("D2_SHARED", pathlib.Path(__file__).resolve().parents[3].parent / "shared")
)
FILE = SHARED / "golden" / "data_transforms.pt"
pytestmark = pytest.mark.skipif(
    not FILE.is_file(), reason="needs the folder of reference values ($D2_SHARED)"
)

AUGMENTATIONS = {
    "ResizeShortestEdge_200_260": lambda: T.ResizeShortestEdge((200, 220), 260),
    "ResizeShortestEdge_60": lambda: T.ResizeShortestEdge(60),
    "ResizeShortestEdge_choice": lambda: T.ResizeShortestEdge([60, 80, 96], 500, "choice"),
    "Resize": lambda: T.Resize((90, 200)),
    "RandomFlip_h1": lambda: T.RandomFlip(1.0),
    "RandomFlip_v1": lambda: T.RandomFlip(1.0, horizontal=False, vertical=True),
    "RandomFlip_.5": lambda: T.RandomFlip(0.5),
    "RandomCrop_rel": lambda: T.RandomCrop("relative", (0.6, 0.5)),
    "RandomCrop_relrange": lambda: T.RandomCrop("relative_range", (0.4, 0.4)),
    "RandomCrop_abs": lambda: T.RandomCrop("absolute", (50, 60)),
    "RandomCrop_absrange": lambda: T.RandomCrop("absolute_range", (40, 80)),
    "RandomExtent": lambda: T.RandomExtent((0.8, 1.5), (0.3, 0.3)),
    "RandomRotation": lambda: T.RandomRotation([-40, 40]),
    "RandomRotation_noexpand": lambda: T.RandomRotation([15], False, None, "choice"),
    "RandomContrast": lambda: T.RandomContrast(0.5, 1.5),
    "RandomBrightness": lambda: T.RandomBrightness(0.5, 1.5),
    "RandomSaturation": lambda: T.RandomSaturation(0.5, 1.5),
    "RandomLighting": lambda: T.RandomLighting(0.1),
    "ResizeScale": lambda: T.ResizeScale(0.1, 2.0, 100, 130),
    "FixedSizeCrop": lambda: T.FixedSizeCrop((150, 150)),
}


@pytest.fixture(scope="module")
def golden():
    return torch.load(FILE, weights_only=True)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_equals_the_original(golden, name):
    expected = golden["out"][name]
    np.random.seed(5)
    random.seed(5)
    data = T.AugInput(
        golden["image"].numpy(), boxes=golden["boxes"].numpy(), sem_seg=golden["seg"].numpy()
    )
    transform = AUGMENTATIONS[name]()(data)
    coords = transform.apply_coords(golden["coords"].numpy().copy())
    np.testing.assert_allclose(coords, expected["coords"].numpy(), rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(data.boxes, expected["boxes"].numpy(), rtol=1e-6, atol=1e-4)
    assert data.image.dtype == np.uint8
    assert data.image.shape == tuple(expected["image"].shape)
    difference = np.abs(data.image.astype(int) - expected["image"].numpy().astype(int))
    # The original rotated with coordinates rounded to 1/1024 pixel.
    assert difference.max() <= (1 if "Rotation" in name else 0)
    assert data.sem_seg.dtype == np.uint8
    segmentation = expected["seg"].numpy()
    if name == "RandomExtent":
        # The original resampled labels bilinearly here, which mixes them; see below.
        segmentation = transform.apply_segmentation(golden["seg"].numpy())
    mismatch = (data.sem_seg != segmentation).mean()
    # There, ties fall either way.
    assert mismatch <= (1e-4 if "Rotation" in name else 0)


def test_extent_keeps_labels_unmixed_where_the_original_blended_them(golden):
    np.random.seed(5)
    labels = golden["seg"].numpy()
    transform = AUGMENTATIONS["RandomExtent"]().get_transform(labels)
    blended = golden["out"]["RandomExtent"]["seg"].numpy()
    np.testing.assert_array_equal(transform.apply_image(labels), blended)
    ours = transform.apply_segmentation(labels)
    inside = (ours > 0) & (blended > 0)
    assert (ours != blended)[inside].mean() < 0.06


@pytest.mark.parametrize(
    "name", ["RandomFlip_h1", "RandomBrightness", "ResizeShortestEdge_60", "RandomContrast"]
)
def test_transform_prints_like_the_original(golden, name):
    np.random.seed(5)
    transform = AUGMENTATIONS[name]().get_transform(golden["image"].numpy())
    assert repr(transform) == golden["out"][name]["tf"]
