import numpy as np
import pytest

from d2_data import transforms as T


class Shift(T.Transform):
    """Moves everything to the right by ``dx`` pixels; has only what a subclass must have."""

    def __init__(self, dx, label="here"):
        self.dx = dx
        self.label = label

    def apply_image(self, img):
        return np.roll(img, self.dx, axis=1)

    def apply_coords(self, coords):
        return coords + np.array([self.dx, 0])

    def inverse(self):
        return Shift(-self.dx)


class QuarterTurn(T.Transform):
    """(x, y) becomes (y, -x)."""

    def apply_image(self, img):
        return np.rot90(img)

    def apply_coords(self, coords):
        return np.stack([coords[:, 1], -coords[:, 0]], axis=1)


def test_transform_without_image_and_coords_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        T.Transform()


def test_box_encloses_the_transformed_corners():
    boxes = np.array([[0.0, 1.0, 4.0, 3.0]])
    np.testing.assert_array_equal(QuarterTurn().apply_box(boxes), [[1, -4, 3, 0]])


def test_empty_boxes_stay_empty():
    assert QuarterTurn().apply_box(np.zeros((0, 4))).shape == (0, 4)


def test_polygons_go_through_coords_and_segmentations_through_image():
    polygon = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    (moved,) = Shift(2).apply_polygons([polygon])
    np.testing.assert_array_equal(moved, polygon + np.array([2, 0]))
    labels = np.eye(3, dtype=np.uint8)
    np.testing.assert_array_equal(Shift(1).apply_segmentation(labels), Shift(1).apply_image(labels))


def test_registered_type_reaches_subclasses_and_lists():
    class Sideways(Shift):
        pass

    Shift.register_type("voxel", lambda transform, voxel: voxel + transform.dx)
    assert Sideways(3).apply_voxel(1) == 4
    assert T.TransformList([Shift(1), Sideways(3)]).apply_voxel(0) == 4
    assert not hasattr(QuarterTurn(), "apply_voxel")


def test_register_type_is_a_decorator_too():
    @Shift.register_type("sound")
    def shift_sound(transform, sound):
        return (transform.dx, sound)

    assert Shift(7).apply_sound("a") == (7, "a")
    assert callable(shift_sound)


def test_register_type_wants_a_function():
    with pytest.raises(TypeError, match=r"Shift.register_type\('voxel'"):
        Shift.register_type("voxel", 3)


def test_list_names_the_transform_that_lacks_a_type():
    with pytest.raises(AttributeError, match=r"QuarterTurn has no apply_smell; .*register_type"):
        T.TransformList([QuarterTurn()]).apply_smell(1)


def test_missing_inverse_names_the_transform():
    with pytest.raises(NotImplementedError, match="QuarterTurn has no inverse"):
        QuarterTurn().inverse()


def test_list_applies_in_order_and_inverts_in_reverse():
    turn_then_shift = T.TransformList([T.HFlipTransform(10), Shift(2)])
    points = np.array([[1.0, 5.0]])
    moved = turn_then_shift.apply_coords(points)
    np.testing.assert_array_equal(moved, [[11, 5]])
    np.testing.assert_array_equal(turn_then_shift.inverse().apply_coords(moved), points)


def test_list_moves_boxes_step_by_step():
    boxes = np.array([[0.0, 0.0, 10.0, 10.0]])
    rotations = T.TransformList([T.RotationTransform(10, 10, a, expand=False) for a in (45, -45)])
    grown = rotations.apply_box(boxes)
    np.testing.assert_allclose(grown, [[-5, -5, 15, 15]], atol=1e-9)


def test_lists_add_and_flatten():
    a, b, c = Shift(1), Shift(2), Shift(3)
    both = T.TransformList([a]) + T.TransformList([T.TransformList([b]), c])
    assert both.transforms == [a, b, c]
    assert (T.TransformList([a]) + b).transforms == [a, b]
    assert (a + T.TransformList([b])).transforms == [a, b]
    both += T.TransformList([a])
    assert len(both) == 4
    assert both[-1] is a


def test_list_refuses_what_is_not_a_transform():
    with pytest.raises(TypeError, match="TransformList holds transforms, got 3"):
        T.TransformList([3])


def test_noop_leaves_any_type_as_it_is():
    noop = T.NoOpTransform()
    for method in ("image", "coords", "box", "polygons", "rotated_box", "anything"):
        data = np.zeros((2, 4))
        result = getattr(noop, f"apply_{method}")(data)
        np.testing.assert_array_equal(np.asarray(result).reshape(2, 4), data)
    assert noop.inverse() is noop
    with pytest.raises(AttributeError, match="nonsense"):
        _ = noop.nonsense


def test_repr_shows_what_differs_from_the_defaults():
    assert repr(Shift(3)) == "Shift(dx=3)"
    assert repr(Shift(3, "there")) == "Shift(dx=3, label='there')"
    assert repr(T.TransformList([Shift(1)])) == "TransformList[Shift(dx=1)]"


def test_repr_abbreviates_values_of_several_lines():
    assert repr(Shift(np.zeros((20, 20)))) == "Shift(dx=...)"
