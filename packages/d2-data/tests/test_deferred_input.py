"""Augmenting an image before it is read."""

import os
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from d2_data import transforms as T
from d2_data.deferred_input import DeferredInput
from d2_data.image_reading import ImageSource, read_image

SHARED = pathlib.Path(
    os.environ.get("D2_SHARED", pathlib.Path(__file__).resolve().parents[3].parent / "shared")
)
H, W = 44, 60


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (22, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((W, H), Image.Resampling.BICUBIC).save(path, quality=92)
    return path


@pytest.fixture
def reads(monkeypatch):
    """Notes whenever pixels are read, and at least how large."""
    noted = []
    read = ImageSource.read
    monkeypatch.setattr(
        ImageSource, "read", lambda self, *wanted: noted.append(wanted) or read(self, *wanted)
    )
    return noted


class OwnPolicy(T.Augmentation):
    """One that somebody else wrote: it looks at pixels, labels and boxes."""

    def get_transform(self, image, sem_seg, boxes):
        x = min(int(image.mean() / 16), image.shape[1] - 2)
        y = min(int(sem_seg.mean()) % 7 + int(boxes.sum()) % 3, image.shape[0] - 2)
        return T.CropTransform(x, y, image.shape[1] - x, image.shape[0] - y)


class OwnCall(T.Augmentation):
    """One that overwrites ``__call__``, and the image."""

    def __call__(self, aug_input):
        aug_input.image = np.ascontiguousarray(255 - aug_input.image)
        transform = T.ResizeTransform(*aug_input.image.shape[:2], 31, 37)
        aug_input.transform(transform)
        return transform


class OwnFlip(T.HFlipTransform):
    """A subclass that does more to pixels than its name says."""

    def apply_image(self, img):
        return super().apply_image(img) // 2


class OwnFlipPolicy(T.RandomFlip):
    def get_transform(self, image):
        transform = super().get_transform(image)
        return OwnFlip(image.shape[1]) if isinstance(transform, T.HFlipTransform) else transform


# Each in its turn: policies that look at the shape, at pixels, and at more.
POLICIES = [
    T.RandomFlip(0.5),
    T.RandomFlip(0.5, horizontal=False, vertical=True),
    T.Resize((90, 70)),
    T.Resize((20, 30)),
    T.Resize((61, 33), interp=3),
    T.ResizeShortestEdge((30, 80)),
    T.ResizeScale(0.5, 2.0, 50, 60),
    T.LargeScaleJitter((48, 64), 0.3, 2.0),
    T.RandomCrop("relative", (0.7, 0.8)),
    T.RandomCrop("relative_range", (0.5, 0.5)),
    T.RandomCrop_CategoryAreaConstraint("relative", (0.6, 0.6), 0.7),
    T.FixedSizeCrop((50, 50)),
    T.RandomExtent((0.8, 1.2), (0.2, 0.2)),
    T.RandomRotation([-30, 30]),
    T.RandomBrightness(0.5, 1.5),
    T.RandomContrast(0.5, 1.5),
    T.RandomSaturation(0.5, 1.5),
    T.RandomLighting(0.5),
    T.RandomApply(T.RandomContrast(0.5, 1.5), 0.5),
    T.RandomApply(T.RandomFlip(1.0), 0.5),
    T.AugmentationList([T.Resize((40, 50)), T.RandomFlip(1.0)]),
    T.NoOpTransform(),
    T.ColorTransform(lambda image: image // 2),
    T.PadTransform(1, 2, 3, 4, pad_value=7),
    OwnPolicy(),
    OwnCall(),
    OwnFlipPolicy(),
]


def augmented(data, policies, seed):
    np.random.seed(seed)
    transforms = T.AugmentationList(policies)(data)
    return data, transforms, np.random.rand()


def both(path, policies, seed):
    """What becomes of an image that was read first, and of one that waits."""
    pixels = read_image(path, "BGR")
    height, width = pixels.shape[:2]
    labels = (np.arange(height * width, dtype=np.int32) // 300 % 5).reshape(height, width)
    boxes = np.array([[3.0, 4, 30, 20], [0, 0, width, height]])
    plain = T.AugInput(pixels, boxes=boxes, sem_seg=labels)
    deferred = DeferredInput(ImageSource(path, "BGR"), boxes=boxes, sem_seg=labels)
    return augmented(plain, policies, seed), augmented(deferred, policies, seed)


def assert_same(plain, deferred):
    (data, transforms, drawn), (other, other_transforms, other_drawn) = plain, deferred
    np.testing.assert_array_equal(other.image, data.image)
    assert other.image.dtype == data.image.dtype
    assert drawn == other_drawn, "the same random numbers are drawn"
    assert len(transforms) == len(other_transforms)
    np.testing.assert_array_equal(other.boxes, data.boxes)
    np.testing.assert_array_equal(other.sem_seg, data.sem_seg)
    points = np.array([[0.0, 0], [17.5, 3.25]])
    np.testing.assert_array_equal(
        other_transforms.apply_coords(points), transforms.apply_coords(points)
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(POLICIES), max_size=5), st.integers(0, 9999))
def test_result_is_to_the_bit_that_of_an_image_that_was_read_first(file, policies, seed):
    plain, deferred = both(file, policies, seed)
    assert_same(plain, deferred)


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="needs the real samples ($D2_SHARED)")
@pytest.mark.parametrize("sample", ["coco54", "balloon", "bccd", "lvis", "ade20k"])
def test_real_photographs_are_augmented_as_arrays_are(sample):
    policies = [
        T.ResizeShortestEdge((400, 800), 1333),
        T.RandomFlip(),
        T.RandomCrop("relative_range", (0.7, 0.7)),
    ]
    for seed, path in enumerate(sorted((SHARED / "data" / sample).rglob("*.jp*g"))[:6]):
        assert_same(*both(path, policies, seed))


def test_image_is_read_when_somebody_looks_at_it(file, reads):
    data = DeferredInput(ImageSource(file, "BGR"))
    T.AugmentationList([T.ResizeShortestEdge(88), T.RandomFlip(1.0)])(data)
    assert reads == []
    assert data.image.shape == (88, 120, 3)
    assert data.image is data.image
    assert len(reads) == 1


def test_policies_that_look_at_pixels_see_them(file, reads):
    class Mean(T.Augmentation):
        def get_transform(self, image):
            self.seen = image.mean()
            return T.NoOpTransform()

    class WithOwnFlip(T.RandomFlip):
        def get_transform(self, image):
            assert image.any()
            return super().get_transform(image)

    policy = Mean()
    data = DeferredInput(ImageSource(file, "BGR"))
    T.AugmentationList([T.RandomFlip(1.0), policy, WithOwnFlip(1.0)])(data)
    assert len(reads) == 1
    assert policy.seen == pytest.approx(read_image(file, "BGR").mean())


def test_image_can_be_replaced(file):
    data = DeferredInput(ImageSource(file, "BGR"))
    data.transform(T.HFlipTransform(W))
    data.image = np.full((10, 20, 3), 7, np.uint8)
    T.RandomFlip(1.0)(data)
    assert data.image.shape == (10, 20, 3)
    assert (data.image == 7).all()


def test_transform_for_another_size_is_refused(file):
    with pytest.raises(ValueError, match="was made for images of height 5 and width 6"):
        DeferredInput(ImageSource(file, "BGR")).transform(T.ResizeTransform(5, 6, 7, 8))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "I;16", "CMYK", "1"])
@pytest.mark.parametrize("format", ["BGR", "L", "YUV-BT.601"])
def test_files_of_any_kind_are_augmented_as_arrays_are(tmp_path, mode, format):
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    if mode == "I;16":
        made = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    else:
        made = Image.fromarray(values).convert(mode)
    path = tmp_path / "a.tif"
    made.save(path)
    policies = [T.RandomFlip(1.0), T.Resize((33, 41)), T.RandomFlip(1.0)]
    data = T.AugInput(read_image(path, format))
    waits = DeferredInput(ImageSource(path, format))
    for each in (data, waits):
        T.AugmentationList(policies)(each)
    assert waits.image.dtype == data.image.dtype
    np.testing.assert_array_equal(waits.image, data.image)


def test_turned_photographs_are_augmented_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "a.jpg", exif=exif)
    data = DeferredInput(ImageSource(tmp_path / "a.jpg", "BGR"))
    T.AugmentationList([T.ResizeShortestEdge(40), T.RandomFlip(1.0)])(data)
    assert data.image.shape == (60, 40, 3)
    expected = T.ResizeTransform(30, 20, 60, 40).apply_image(read_image(tmp_path / "a.jpg", "BGR"))
    np.testing.assert_array_equal(data.image, expected[:, ::-1])


def test_reduced_decoding_keeps_the_size_and_stays_close(file, reads):
    steps = [T.RandomFlip(1.0), T.Resize((20, 28)), T.RandomFlip(1.0)]
    exact = DeferredInput(ImageSource(file, "BGR"))
    reduced = DeferredInput(ImageSource(file, "BGR"), reduced_decoding=True)
    for data in (exact, reduced):
        T.AugmentationList(steps)(data)
    assert reduced.image.shape == exact.image.shape == (20, 28, 3)
    assert np.abs(reduced.image.astype(int) - exact.image).mean() < 12
    assert sorted(reads, key=len) == [(), ((20, 28),)]


@pytest.mark.parametrize(
    "steps",
    [
        [T.Resize((88, 30))],
        [T.Resize((20, 30), interp=0)],
        [T.Resize((88, 120)), T.Resize((20, 30))],
        [T.RandomCrop("relative", (0.5, 0.5)), T.Resize((9, 9))],
        [T.RandomBrightness(0.5, 0.5), T.Resize((9, 9))],
        [T.RandomFlip(1.0)],
    ],
    ids=[
        "enlarges a side",
        "nearest",
        "enlarges first",
        "after a crop",
        "after colours",
        "no resize",
    ],
)
def test_reduced_decoding_leaves_all_else_alone(file, reads, steps):
    data = DeferredInput(ImageSource(file, "BGR"), reduced_decoding=True)
    np.random.seed(0)
    T.AugmentationList(steps)(data)
    assert data.image.size
    assert reads == [()]
