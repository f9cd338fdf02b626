"""The tutorial on data augmentation: its code runs, and does what it says."""

from typing import Any

import numpy as np
import pytest

from d2_data import transforms as T

H, W = 700, 900


@pytest.fixture
def image():
    np.random.seed(0)
    return np.random.randint(0, 256, (H, W, 3), dtype=np.uint8)


@pytest.fixture
def boxes():
    return np.array([[100.0, 90, 800, 600], [600, 500, 850, 680]])


@pytest.fixture
def sem_seg():
    labels = np.zeros((H, W), dtype=np.uint8)
    labels[:, W // 2 :] = 1
    return labels


# Basic usage


def test_a_sequence_augments_images_boxes_and_labels_alike(image, boxes, sem_seg):
    image2, polygons = image.copy(), [np.array([[100.0, 90], [800, 90], [800, 600], [100, 600]])]
    # Define a sequence of augmentations:
    augs = T.AugmentationList(
        [
            T.RandomBrightness(0.9, 1.1),
            T.RandomFlip(prob=0.5),
            T.RandomCrop("absolute", (640, 640)),
        ]
    )  # type: T.Augmentation
    assert isinstance(augs, T.Augmentation)
    # Define the augmentation input ("image" required, others optional):
    aug_input = T.AugInput(image, boxes=boxes, sem_seg=sem_seg)
    # Apply the augmentation:
    transform = augs(aug_input)  # type: T.Transform
    image_transformed = aug_input.image  # new image
    sem_seg_transformed = aug_input.sem_seg  # new semantic segmentation
    # For any extra data that needs to be augmented together, use transform, e.g.:
    image2_transformed = transform.apply_image(image2)
    polygons_transformed = transform.apply_polygons(polygons)

    assert isinstance(transform, T.Transform)
    assert image_transformed.shape == (640, 640, 3)
    assert sem_seg_transformed.shape == (640, 640)
    np.testing.assert_array_equal(image2_transformed, image_transformed)
    moved = transform.apply_box(boxes[:1])[0].clip(0, 640)
    points = np.concatenate(polygons_transformed)
    np.testing.assert_allclose([*points.min(axis=0), *points.max(axis=0)], moved)
    np.testing.assert_allclose(aug_input.boxes, transform.apply_box(boxes))


# Write new augmentations


class MyColorAugmentation(T.Augmentation):
    def get_transform(self, image):
        r = np.random.rand(2)
        return T.ColorTransform(lambda x: x * r[0] + r[1] * 10)


class MyCustomResize(T.Augmentation):
    def get_transform(self, image):
        old_h, old_w = image.shape[:2]
        new_h, new_w = int(old_h * np.random.rand()), int(old_w * 1.5)
        return T.ResizeTransform(old_h, old_w, new_h, new_w)


class MyCustomCrop(T.Augmentation):
    def get_transform(self, image, sem_seg):
        # decide where to crop using both image and sem_seg
        rows, columns = np.nonzero(sem_seg)
        assert image.shape[:2] == sem_seg.shape
        x0, y0 = int(columns.min()), int(rows.min())
        return T.CropTransform(x0, y0, int(columns.max()) + 1 - x0, int(rows.max()) + 1 - y0)


def test_policies_of_one_s_own_look_at_the_image(image, boxes):
    aug_input = T.AugInput(image)
    MyColorAugmentation()(aug_input)
    assert aug_input.image.shape == image.shape
    assert not np.array_equal(aug_input.image, image)
    aug_input = T.AugInput(image, boxes=boxes)
    augs = MyCustomResize()
    transform = augs(aug_input)
    assert aug_input.image.shape[1] == int(W * 1.5)
    np.testing.assert_allclose(aug_input.boxes[:, 0::2], boxes[:, 0::2] * 1.5)
    assert isinstance(transform, T.ResizeTransform)


def test_policies_look_at_any_attribute_of_the_input(image, sem_seg):
    augs = MyCustomCrop()
    aug_input = T.AugInput(image, sem_seg=sem_seg)
    assert hasattr(aug_input, "image")
    assert hasattr(aug_input, "sem_seg")
    transform = augs(aug_input)
    assert isinstance(transform, T.CropTransform)
    assert aug_input.image.shape == (H, W // 2, 3)
    assert (aug_input.sem_seg == 1).all()


def test_operations_of_one_s_own_are_subclasses_of_transform(image):
    class Upside(T.Transform):
        def __init__(self, height):
            self.height = height

        def apply_image(self, img):
            return img[::-1]

        def apply_coords(self, coords):
            return np.array([0, self.height]) + coords * [1, -1]

    aug_input = T.AugInput(image, boxes=np.array([[0.0, 0, 5, 7]]))
    T.AugmentationList([Upside(H)])(aug_input)
    np.testing.assert_array_equal(aug_input.image, image[::-1])
    assert aug_input.boxes.tolist() == [[0, H - 7, 5, H]]


# Advanced usage


@pytest.mark.parametrize("flips", [0, 1, 2, 3])
def test_transforms_are_looked_at_to_exchange_keypoints(image, flips):
    augs = T.AugmentationList([T.RandomFlip(1.0)] * flips)
    aug_input = T.AugInput(image)
    keypoints_xy, flip_indices_mapping = np.array([[10.0, 5], [30, 5]]), [1, 0]
    # augs, input are defined as in previous examples
    transform = augs(aug_input)  # type: T.Transform
    keypoints_xy = transform.apply_coords(keypoints_xy)  # transform the coordinates
    # get a list of all transforms that were applied
    transforms = T.TransformList([transform]).transforms
    # check if it is flipped for odd number of times
    do_hflip = sum(isinstance(t, T.HFlipTransform) for t in transforms) % 2 == 1
    if do_hflip:
        keypoints_xy = keypoints_xy[flip_indices_mapping]
    expected = [[W - 30, 5], [W - 10, 5]] if flips % 2 else [[10, 5], [30, 5]]
    assert keypoints_xy.tolist() == expected


def test_visibility_can_be_checked_after_every_step(image):
    augs = T.AugmentationList(
        [T.CropTransform(0, 0, 100, 100), T.PadTransform(0, 0, 200, 200, 100, 100)]
    )
    aug_input = T.AugInput(image)
    keypoints_xy, visibility = np.array([[50.0, 50], [150, 50]]), np.array([True, True])
    transform = augs(aug_input)  # type: T.TransformList
    assert isinstance(transform, T.TransformList)
    sizes = [(100, 100), (300, 300)]
    for t, (h, w) in zip(transform.transforms, sizes, strict=True):
        keypoints_xy = t.apply_coords(keypoints_xy)
        visibility &= ((keypoints_xy >= [0, 0]) & (keypoints_xy <= [w, h])).all(axis=1)
    assert visibility.tolist() == [True, False]
    # at the end alone, the second is taken for visible
    h, w = aug_input.image.shape[:2]
    assert ((keypoints_xy >= [0, 0]) & (keypoints_xy <= [w, h])).all()


def test_predictions_are_brought_back_by_the_inverse(image):
    augs = T.AugmentationList(
        [T.RandomFlip(1.0), T.RandomCrop("absolute", (640, 640)), T.Resize((320, 320))]
    )
    aug_input = T.AugInput(image)

    def make_prediction(image):
        mask = np.zeros(image.shape[:2], dtype=np.uint8)
        mask[100:200, 50:150] = 1
        return mask

    transform = augs(aug_input)
    pred_mask = make_prediction(aug_input.image)
    inv_transform = transform.inverse()
    pred_mask_orig = inv_transform.apply_segmentation(pred_mask)
    assert pred_mask_orig.shape == (H, W)
    rows, columns = np.nonzero(pred_mask_orig)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(
        found, inv_transform.apply_box(np.array([[50.0, 100, 150, 200]]))[0], atol=1
    )


def test_data_types_are_added():
    HFlipTransform = T.HFlipTransform

    @T.HFlipTransform.register_type("rotated_boxes")
    def func(flip_transform: T.HFlipTransform, rotated_boxes: Any):
        # do the work
        flipped_rotated_boxes = np.array(rotated_boxes, dtype=float)
        flipped_rotated_boxes[:, 0] = flip_transform.width - flipped_rotated_boxes[:, 0]
        flipped_rotated_boxes[:, 4] = -flipped_rotated_boxes[:, 4]
        return flipped_rotated_boxes

    rotated_boxes = np.array([[100.0, 50, 20, 10, 30]])
    t = HFlipTransform(width=800)
    transformed_rotated_boxes = t.apply_rotated_boxes(rotated_boxes)  # func will be called
    assert transformed_rotated_boxes.tolist() == [[700, 50, 20, 10, -30]]
    # What is built in under the singular does the same.
    np.testing.assert_allclose(t.apply_rotated_box(rotated_boxes), transformed_rotated_boxes)
    del T.HFlipTransform.apply_rotated_boxes


def test_fields_of_an_input_may_depend_on_each_other(image, sem_seg):
    class TightInput(T.AugInput):
        """Boxes are those of the labels, whatever becomes of them."""

        def transform(self, tfm):
            super().transform(tfm)
            rows, columns = np.nonzero(self.sem_seg)
            self.boxes = np.array(
                [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], dtype=float
            )

    aug_input = TightInput(image, boxes=np.array([[450.0, 0, W, H]]), sem_seg=sem_seg)
    T.AugmentationList([T.RotationTransform(H, W, 90)])(aug_input)
    assert aug_input.boxes.tolist() == [[0, 0, H, W - 450]]
