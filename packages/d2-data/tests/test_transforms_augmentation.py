"""What policies are given, and lists of them."""

import numpy as np
import pytest

from d2_data import transforms as T

IMAGE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


class NeedsLabels(T.Augmentation):
    def __init__(self, factor=2):
        self.factor = factor

    def get_transform(self, image, sem_seg):
        assert image.shape[:2] == sem_seg.shape
        return T.CropTransform(0, 0, image.shape[1] // self.factor, image.shape[0])


def test_policy_is_given_the_attributes_that_it_names():
    data = T.AugInput(IMAGE, sem_seg=np.zeros((40, 60), np.uint8))
    transform = NeedsLabels()(data)
    assert isinstance(transform, T.CropTransform)
    assert data.image.shape == (40, 30, 3)
    assert data.sem_seg.shape == (40, 30)


def test_missing_attribute_is_named():
    class Input:
        image = IMAGE

    with pytest.raises(AttributeError, match=r"NeedsLabels.get_transform needs 'sem_seg'"):
        NeedsLabels()(Input())


def test_policy_must_return_a_transform():
    class Wrong(T.Augmentation):
        def get_transform(self, image):
            return image

    with pytest.raises(TypeError, match=r"Wrong\.get_transform must return a Transform"):
        Wrong()(T.AugInput(IMAGE))


def test_policy_with_free_arguments_is_given_the_image():
    class Free(T.Augmentation):
        def get_transform(self, *args):
            (image,) = args
            return T.HFlipTransform(image.shape[1])

    assert repr(Free()(T.AugInput(IMAGE))) == "HFlipTransform(width=60)"


def test_policy_whose_only_parameter_is_img_is_given_the_image():
    class Old(T.Augmentation):
        def get_transform(self, img):
            return T.HFlipTransform(img.shape[1])

    assert repr(Old()(T.AugInput(IMAGE))) == "HFlipTransform(width=60)"
    assert Old().looks_at("image")


def test_policy_without_get_transform_says_so():
    with pytest.raises(NotImplementedError, match="AugmentationList does not define get_transform"):
        T.AugmentationList([]).get_transform(IMAGE)


def test_policies_print_their_settings():
    assert repr(NeedsLabels(3)) == str(NeedsLabels(3)) == "NeedsLabels(factor=3)"
    listed = T.AugmentationList([NeedsLabels(), T.HFlipTransform(3)])
    assert repr(listed) == "AugmentationList[NeedsLabels(), HFlipTransform(width=3)]"
    assert repr(T.RandomFlip(0.3)) == "RandomFlip(prob=0.3)"


def test_list_applies_each_to_what_the_ones_before_left():
    data = T.AugInput(IMAGE, boxes=np.array([[0.0, 0, 60, 40]]))
    policies = [T.Resize((20, 30)), T.RandomFlip(1.0), T.HFlipTransform(30)]
    applied = T.AugmentationList(policies)(data)
    assert isinstance(applied, T.TransformList)
    assert [type(t).__name__ for t in applied.transforms] == [
        "ResizeTransform",
        "HFlipTransform",
        "HFlipTransform",
    ]
    np.testing.assert_array_equal(data.boxes, [[0, 0, 30, 20]])


def test_list_refuses_what_is_neither_policy_nor_transform():
    with pytest.raises(TypeError, match="wanted an Augmentation or a Transform, .*got 'flip'"):
        T.AugmentationList(["flip"])


@pytest.mark.parametrize("bad", [None, [1, 2], np.zeros(3), np.zeros((1, 2, 3, 4))])
def test_input_wants_one_image(bad):
    with pytest.raises(TypeError, match=r"\(H, W\) or \(H, W, C\)"):
        T.AugInput(bad)


def test_a_constructor_keeps_its_arguments():
    class Shifted(T.Augmentation):
        def __init__(self, shift, *, prob=0.5):
            super().__init__()
            self._init(locals())

    assert vars(Shifted(3)) == {"shift": 3, "prob": 0.5}
