"""Rotations."""

import numpy as np
import pytest

from d2_data import transforms as T

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
H, W = 24, 36


def blob(x, y, size=(H, W), dtype=np.uint8):
    """A bright square of 3×3 pixels centred on pixel-centre (x, y)."""
    image = np.zeros((*size, 3), dtype)
    image[y - 1 : y + 2, x - 1 : x + 2] = 200
    return image


def centre(image):
    """Centre of brightness (x, y) in continuous coordinates."""
    weights = np.asarray(image, dtype=float).reshape(*image.shape[:2], -1).sum(axis=2)
    ys, xs = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(xs * weights).sum(), (ys * weights).sum()]) / weights.sum()


def test_rotation_draws_its_centre_relative_to_the_image():
    policy = T.RandomRotation([10, 20], expand=False, center=[[0.25, 0.5], [0.25, 0.5]])
    rotation = policy.get_transform(IMAGE)
    assert 10 <= rotation.angle < 20
    np.testing.assert_allclose(rotation.center, [15, 20])
    chosen = T.RandomRotation([30], False, [[0.5, 0.25]], "choice").get_transform(IMAGE)
    np.testing.assert_allclose(chosen.center, [30, 10])
    assert chosen.angle == 30
    assert isinstance(T.RandomRotation(360).get_transform(IMAGE), T.NoOpTransform)


def test_inverse_of_an_expanding_rotation_restores_size_and_place():
    rotation = T.RotationTransform(H, W, 30)
    image = blob(20, 11)
    back = rotation.inverse().apply_image(rotation.apply_image(image))
    assert back.shape == image.shape
    np.testing.assert_allclose(centre(back), centre(image), atol=0.6)


@pytest.mark.parametrize("angle", [0, 360, -720])
def test_full_turns_do_nothing(angle):
    image = blob(20, 11)
    rotation = T.RotationTransform(H, W, angle)
    assert rotation.apply_image(image) is image
    np.testing.assert_array_equal(rotation.apply_coords([[1, 2]]), [[1, 2]])


def test_quarter_turn_is_exact_and_counter_clockwise():
    image = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
    rotated = T.RotationTransform(H, W, 90).apply_image(image)
    np.testing.assert_array_equal(rotated, np.rot90(image))


def test_rotation_about_a_given_centre_keeps_it():
    rotation = T.RotationTransform(H, W, 50, expand=False, center=(10, 7))
    np.testing.assert_allclose(rotation.apply_coords([[10, 7]]), [[10, 7]])
    assert rotation.apply_image(blob(20, 11)).shape == (H, W, 3)


def test_rotation_matrix_of_pixel_indices_is_half_a_pixel_off():
    rotation = T.RotationTransform(H, W, 50)
    index = np.array([3.0, 4.0, 1.0])
    continuous = rotation.apply_coords([[3.5, 4.5]])[0]
    np.testing.assert_allclose(rotation.create_rotation_matrix(-0.5) @ index, continuous - 0.5)


def test_rotation_refuses_other_interpolations():
    with pytest.raises(ValueError, match=r"interp must be 0 .* got 7"):
        T.RotationTransform(H, W, 5, interp=7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: T.RandomRotation([1, 2, 3]), r"angle must be \[min, max\]"),
        (lambda: T.RandomRotation(1, sample_style="any"), "got 'any'"),
    ],
)
def test_bad_settings_are_refused_with_what_was_wanted(make, message):
    with pytest.raises(ValueError, match=message):
        make()
