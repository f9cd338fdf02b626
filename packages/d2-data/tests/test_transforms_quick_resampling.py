"""Resizing by torch and OpenCV beside Pillow."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_data.optional_imports import imported
from d2_data.transforms import quick_resampling
from d2_data.transforms.quick_resampling import enlarging_library, resize_quickly
from d2_data.transforms.resampling import BICUBIC, BILINEAR, NEAREST, resize

METHODS = {"nearest": NEAREST, "bicubic": BICUBIC, "Lanczos": 1}


@pytest.fixture(scope="module", params=["torch", "OpenCV"])
def library(request):
    """Each library in turn, as if it were the one that is chosen."""
    opencv = imported("cv2")
    if request.param == "OpenCV" and opencv is None:
        pytest.skip("needs OpenCV")
    with pytest.MonkeyPatch.context() as patch:
        chosen = opencv if request.param == "OpenCV" else None
        patch.setattr(quick_resampling, "enlarging_library", lambda: chosen)
        yield chosen


@settings(max_examples=80, deadline=None)
@given(
    st.tuples(*[st.integers(1, 60)] * 4),
    st.sampled_from([(1, 1, 1), (-1, 1, 1), (1, -1, 1), (1, 1, -1)]),
    st.integers(0, 99),
)
def test_values_of_noise_are_two_grey_levels_off_at_most(library, sizes, strides, seed):
    h, w, new_h, new_w = sizes
    noise = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    image = noise[:: strides[0], :: strides[1], :: strides[2]]
    quick = resize_quickly(image, new_h, new_w, BILINEAR)
    exact = resize(image, new_h, new_w, BILINEAR)
    assert quick.shape == exact.shape
    assert quick.dtype == exact.dtype
    difference = np.abs(quick.astype(int) - exact.astype(int))
    assert difference.max() <= 2
    quick[:] = 0  # neither a view of the image, nor read-only
    assert (noise[:: strides[0], :: strides[1], :: strides[2]] == image).all()


@pytest.mark.parametrize("kind", ["grey", "one channel", "four channels", "float", *METHODS])
def test_other_images_are_resized_as_ever(library, kind):
    shape = {"grey": (9, 8), "one channel": (9, 8, 1), "four channels": (9, 8, 4)}
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, shape.get(kind, (9, 8, 3)), dtype=np.uint8)
    image = image.astype(np.float32) if kind == "float" else image
    method = METHODS.get(kind, BILINEAR)
    found, expected = resize_quickly(image, 20, 19, method), resize(image, 20, 19, method)
    np.testing.assert_array_equal(found, expected)


def test_without_opencv_torch_enlarges(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    quick_resampling._opencv.cache_clear()
    try:
        assert enlarging_library() is None
    finally:
        quick_resampling._opencv.cache_clear()


def test_opencv_uses_one_thread_in_a_worker(monkeypatch):
    threads = []

    class Library:
        setNumThreads = staticmethod(threads.append)

    monkeypatch.setattr(quick_resampling, "imported", lambda name: Library)
    quick_resampling._opencv.cache_clear()
    try:
        assert enlarging_library() is Library
        assert threads == []
        monkeypatch.setattr(quick_resampling, "get_worker_info", lambda: object())
        assert enlarging_library() is Library
        assert threads == [1]
    finally:
        quick_resampling._opencv.cache_clear()
