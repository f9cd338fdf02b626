"""Sampling at given places."""

import numpy as np
import pytest

from d2_data import transforms as T

H, W = 24, 36


def blob(x, y, size=(H, W), dtype=np.uint8):
    """A bright square of 3×3 pixels centred on pixel-centre (x, y)."""
    image = np.zeros((*size, 3), dtype)
    image[y - 1 : y + 2, x - 1 : x + 2] = 200
    return image


def test_identity_grid_keeps_the_image():
    ys, xs = np.meshgrid(
        (np.arange(H) + 0.5) / H * 2 - 1, (np.arange(W) + 0.5) / W * 2 - 1, indexing="ij"
    )
    grid = np.stack([xs, ys], axis=-1)[None]
    image = blob(20, 11, dtype=np.float32)
    for interp in ("nearest", "bilinear"):
        transform = T.GridSampleTransform(grid, interp)
        np.testing.assert_allclose(transform.apply_image(image), image, atol=1e-3)
    labels = np.arange(H * W).reshape(H, W).astype(np.int32)
    np.testing.assert_array_equal(transform.apply_segmentation(labels), labels)
    with pytest.raises(NotImplementedError, match="cannot move points"):
        transform.apply_coords(np.zeros((1, 2)))


def test_grid_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(N, H, W, 2\) grid, got \(3, 2\)"):
        T.GridSampleTransform(np.zeros((3, 2)), "nearest")
