"""Cropping and padding."""

import numpy as np

from d2_data import transforms as T

H, W = 24, 36


def test_padding_uses_its_own_value_for_labels():
    pad = T.PadTransform(1, 0, 0, 0, pad_value=9, seg_pad_value=255)
    assert pad.apply_image(np.zeros((2, 2, 3), np.uint8))[0, 0].tolist() == [9, 9, 9]
    assert pad.apply_segmentation(np.zeros((2, 2), np.uint8))[0].tolist() == [255, 0, 0]


def test_crop_leaves_out_polygons_that_are_outside():
    square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    crop = T.CropTransform(10, 10, 5, 5)
    assert crop.apply_polygons([square]) == []
    (kept,) = crop.apply_polygons([square, square + 11])
    np.testing.assert_array_equal(kept, square + 1)
