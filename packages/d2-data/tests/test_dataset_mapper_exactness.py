"""What a mapper gives beside the documented steps, done one after the other."""

import copy
import os
import pathlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2_data import DatasetMapper
from d2_data import detection_utils as utils
from d2_data import transforms as T
from d2_data.datasets import load_coco_json
from d2_ops.host import polygons_to_rle
from d2_structures import BitMasks, BoxMode

SHARED = pathlib.Path(
    os.environ.get("D2_SHARED", pathlib.Path(__file__).resolve().parents[3].parent / "shared")
)
COCO = SHARED / "data" / "coco54"
needs_coco = pytest.mark.skipif(not COCO.is_dir(), reason="needs the real samples ($D2_SHARED)")
H, W = 40, 56


def mapper(augmentations, **options):
    return DatasetMapper(
        True, augmentations=augmentations, image_format="BGR", use_instance_mask=True, **options
    )


def step_by_step(record, augmentations, mask_format, indices=None):
    """What the documentation says that a mapper does, by its documented pieces."""
    data = T.AugInput(utils.read_image(record["file_name"], "BGR"))
    transforms = T.AugmentationList(augmentations)(data)
    size = data.image.shape[:2]
    moved = [
        utils.transform_instance_annotations(
            copy.deepcopy(a), transforms, size, keypoint_hflip_indices=indices
        )
        for a in record["annotations"]
        if not a.get("iscrowd", 0)
    ]
    targets = utils.annotations_to_instances(moved, size, mask_format)
    return utils.image_to_tensor(data.image), utils.filter_empty_instances(targets)


def assert_same_targets(found, expected):
    assert found.image_size == expected.image_size
    assert torch.equal(found.gt_boxes.tensor, expected.gt_boxes.tensor)
    assert torch.equal(found.gt_classes, expected.gt_classes)
    if expected.has("gt_keypoints"):
        assert torch.equal(found.gt_keypoints.tensor, expected.gt_keypoints.tensor)
    if not expected.has("gt_masks"):
        assert len(found.gt_masks) == 0
    elif hasattr(expected.gt_masks, "tensor"):
        assert torch.equal(found.gt_masks.tensor, expected.gt_masks.tensor)
    else:
        pairs = zip(found.gt_masks.polygons, expected.gt_masks.polygons, strict=True)
        for ours, theirs in pairs:
            for polygon, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(polygon, other)


def real_records(run_lengths):
    records = load_coco_json(COCO / "instances_coco54.json", COCO / "images")
    for record in records:
        for annotation in record["annotations"]:
            polygons = annotation.get("segmentation")
            if run_lengths and isinstance(polygons, list):
                size = record["height"], record["width"]
                annotation["segmentation"] = polygons_to_rle(polygons, *size)
    return records


@needs_coco
@pytest.mark.parametrize("kind", ["polygon", "bitmask", "bitmask of run lengths"])
def test_real_pictures_are_mapped_as_by_the_documented_steps(kind):
    mask_format, run_lengths = kind.split()[0], "run" in kind
    policies = [
        T.RandomCrop("relative_range", (0.6, 0.6)),
        T.ResizeShortestEdge((200, 500), 700),
        T.RandomFlip(),
    ]
    each = mapper(policies, instance_mask_format=mask_format)
    crowds = 0
    for seed, record in enumerate(real_records(run_lengths)):
        crowds += sum(a.get("iscrowd", 0) for a in record["annotations"])
        np.random.seed(seed)
        image, targets = step_by_step(record, policies, mask_format)
        np.random.seed(seed)
        mapped = each(record)
        assert_same_targets(mapped["instances"], targets)
        assert torch.equal(mapped["image"], image), record["file_name"]
    assert crowds


@pytest.fixture(scope="module", params=["jpg", "png"])
def file(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / f"a.{request.param}"
    noise = np.random.default_rng(0).integers(0, 256, (H // 4, W // 4, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((W, H), Image.Resampling.BICUBIC).save(path)
    return path


class Shear(T.Transform):
    """A transform that somebody else wrote."""

    def apply_image(self, img):
        return np.roll(img, 1, axis=0)

    def apply_coords(self, coords):
        coords[:, 0] += 0.25 * coords[:, 1]
        return coords


class TightCrop(T.Augmentation):
    """A policy that somebody else wrote."""

    def get_transform(self, image):
        h, w = image.shape[:2]
        return T.CropTransform(w // 4, h // 4, max(w // 2, 1), max(h // 2, 1))


POLICIES = [
    T.RandomFlip(1.0),
    T.RandomFlip(1.0, horizontal=False, vertical=True),
    T.Resize((70, 50)),
    T.ResizeShortestEdge((20, 60), 90),
    T.LargeScaleJitter((48, 48), 0.5, 2.0),
    T.RandomCrop("relative_range", (0.5, 0.5)),
    T.FixedSizeCrop((44, 44)),
    T.RandomExtent((0.8, 1.2), (0.2, 0.2)),
    T.RandomRotation([-30, 30]),
    T.RandomContrast(0.5, 1.5),
    T.PadTransform(1, 2, 3, 4, seg_pad_value=255),
    Shear(),
    TightCrop(),
]


@st.composite
def records(draw, run_lengths):
    numbers = st.floats(-4, 60, width=32)
    made = []
    for index in range(draw(st.integers(0, 4))):
        outlines = []
        for _ in range(draw(st.integers(1, 2))):
            points = draw(st.integers(3, 6))  # in any order: some cross themselves
            outlines.append(draw(st.lists(numbers, min_size=2 * points, max_size=2 * points)))
        keypoints = draw(st.lists(numbers, min_size=6, max_size=6))
        segmentation = outlines
        if run_lengths and draw(st.booleans()):
            segmentation = polygons_to_rle(outlines, H, W)
        made.append(
            {
                "bbox": draw(st.lists(st.floats(0, 30, width=32), min_size=4, max_size=4)),
                "bbox_mode": draw(st.sampled_from([BoxMode.XYWH_ABS, BoxMode.XYXY_ABS])),
                "category_id": index,
                "segmentation": segmentation,
                "keypoints": [*keypoints[:2], 2, *keypoints[2:4], 1],
                "iscrowd": draw(st.sampled_from([0, 0, 0, 1])),
            }
        )
    return made


@settings(max_examples=80, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_any_transforms_give_the_targets_and_pixels_of_the_documented_steps(
    file, mask_format, data
):
    annotations = data.draw(records(mask_format == "bitmask"))
    policies = data.draw(st.lists(st.sampled_from(POLICIES), max_size=4))
    seed = data.draw(st.integers(0, 999))
    record = {"file_name": str(file), "height": H, "width": W, "annotations": annotations}
    before = copy.deepcopy(record)
    each = mapper(
        policies,
        use_keypoint=True,
        keypoint_hflip_indices=[1, 0],
        instance_mask_format=mask_format,
    )
    np.random.seed(seed)
    image, targets = step_by_step(record, policies, mask_format, indices=[1, 0])
    np.random.seed(seed)
    mapped = each(record)
    assert torch.equal(mapped["image"], image)
    assert_same_targets(mapped["instances"], targets)
    assert record == before


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_bow_ties_keep_their_area_through_crops(file, mask_format):
    bow_tie = [4.0, 4, 44, 36, 44, 4, 4, 36]
    record = {
        "file_name": str(file),
        "annotations": [
            {
                "bbox": [4.0, 4, 40, 32],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": 0,
                "segmentation": [bow_tie],
            }
        ],
    }
    whole = mapper([], instance_mask_format="bitmask")(record)["instances"].gt_masks.tensor[0]
    crop = T.CropTransform(0, 0, 30, 40)
    found = mapper([crop], instance_mask_format=mask_format)(record)["instances"]
    masks = found.gt_masks
    if mask_format == "polygon":
        masks = BitMasks.from_polygon_masks(masks, H, 30)
    assert int((masks.tensor[0] != whole[:, :30]).sum()) <= 4


@pytest.mark.parametrize(
    "policies",
    [[], [T.RandomFlip(1.0)], [T.Resize((80, 90))], [T.CropTransform(1, 1, 9, 9)]],
    ids=["none", "flip", "resize", "crop"],
)
def test_tensors_own_their_memory(file, policies):
    record = {"file_name": str(file), "annotations": []}
    each = mapper(policies)
    first, second = each(record)["image"], each(record)["image"]
    assert first.is_contiguous()
    assert first.untyped_storage().nbytes() == first.numel()
    copied = second.clone()
    first.zero_()
    assert torch.equal(second, copied)
