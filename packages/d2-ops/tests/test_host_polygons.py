from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from d2_ops import host

coco = pytest.importorskip("pycocotools.mask")

# pycocotools' own arrays predate NumPy 2's copy keyword.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Polygon = NDArray[np.float64]


def coco_rle(polygons: list[Polygon], height: int, width: int) -> dict[str, Any]:
    flat = [polygon.tolist() for polygon in polygons]
    return coco.merge(coco.frPyObjects(flat, height, width))


@st.composite
def polygon_lists(draw: st.DrawFn) -> list[Polygon]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    step = draw(st.sampled_from([None, 0.1, 0.2, 0.5, 1.0]))
    spread, centre = draw(st.sampled_from([(3, 2), (10, 12), (60, 15), (2000, 0)]))
    polygons = []
    for _ in range(draw(st.integers(1, 4))):
        polygon = rng.normal(centre, spread, 2 * draw(st.integers(3, 9)))
        polygons.append(polygon if step is None else np.round(polygon / step) * step)
    return polygons


@settings(max_examples=300, deadline=None)
@given(polygons=polygon_lists(), height=st.integers(1, 40), width=st.integers(1, 40))
def test_polygons_become_the_pixels_and_run_lengths_of_pycocotools(
    polygons: list[Polygon], height: int, width: int
) -> None:
    expected = coco_rle(polygons, height, width)
    assert host.polygons_to_rle(polygons, height, width) == expected
    mask = host.polygons_to_bitmask(polygons, height, width)
    assert mask.dtype == np.bool_
    assert np.array_equal(mask, coco.decode(expected))


@settings(max_examples=60, deadline=None)
@given(instances=st.lists(polygon_lists() | st.just([]), max_size=4), threads=st.integers(0, 3))
def test_many_instances_at_once_are_each_of_them(
    instances: list[list[Polygon]], threads: int
) -> None:
    masks = host.polygons_to_bitmasks(instances, 30, 25, num_threads=threads)
    assert masks.shape == (len(instances), 30, 25)
    rles = host.polygons_to_rles(instances, 30, 25, num_threads=threads)
    for polygons, mask, rle in zip(instances, masks, rles, strict=True):
        assert np.array_equal(mask, host.polygons_to_bitmask(polygons, 30, 25))
        assert rle == host.polygons_to_rle(polygons, 30, 25)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.sampled_from([1, 14, 28]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_crop_and_resize_is_shift_scale_and_draw(seed: int, size: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    instances = [
        [rng.uniform(0, 60, 2 * rng.integers(3, 8)) for _ in range(rng.integers(1, 3))]
        for _ in range(5)
    ]
    corners = rng.uniform(-5, 40, (5, 2))
    boxes = np.hstack([corners, corners + rng.uniform(0, 40, (5, 2))]).astype(dtype)
    boxes[0, 2:] = boxes[0, :2] + dtype(0.01)  # sides count as a tenth of a pixel at least
    masks = host.crop_and_resize_polygons(instances, boxes, size)
    assert masks.shape == (5, size, size)
    for polygons, (x1, y1, x2, y2), mask in zip(instances, boxes, masks, strict=True):
        scale = [size / max(x2 - x1, 0.1), size / max(y2 - y1, 0.1)]
        local = [(p.reshape(-1, 2) - [x1, y1]) * np.float64(scale) for p in polygons]
        assert np.array_equal(mask, coco.decode(coco_rle([p.ravel() for p in local], size, size)))


def test_reference_values(golden: dict[str, Any]) -> None:
    values = golden["masks"]
    instances = [[p.numpy() for p in polygons] for polygons in values["polygons"]]
    boxes = values["boxes"].numpy()
    for size in (14, 28):
        expected = values[f"poly_crop{size}"].numpy()
        assert np.array_equal(host.crop_and_resize_polygons(instances, boxes, size), expected)
    masks = [host.polygons_to_bitmask(polygons, *values["image_shape"]) for polygons in instances]
    assert np.array_equal(np.stack(masks), values["bitmask"].numpy())


def test_threads_do_not_change_the_targets() -> None:
    rng = np.random.default_rng(0)
    instances = [[rng.uniform(0, 100, 40)] for _ in range(200)]
    boxes = np.tile([10.0, 10, 90, 90], (200, 1))
    alone = host.crop_and_resize_polygons(instances, boxes, 28, num_threads=1)
    for threads in (0, 3):
        again = host.crop_and_resize_polygons(instances, boxes, 28, num_threads=threads)
        assert np.array_equal(alone, again)


def test_no_polygons_give_an_empty_mask_and_no_instances_no_masks() -> None:
    assert not host.polygons_to_bitmask([], 4, 5).any()
    assert host.rle_area(host.polygons_to_rle([], 4, 5)) == 0
    assert host.crop_and_resize_polygons([], np.zeros((0, 4)), 28).shape == (0, 28, 28)
    assert not host.crop_and_resize_polygons([[]], np.ones((1, 4)), 28).any()


TRIANGLE = [0.0, 0, 4, 0, 4, 4]


@pytest.mark.parametrize(
    ("polygon", "message"),
    [
        ([0.0, 0, 4, 4], r"polygons\[1\] has 4 coordinates"),
        ([0.0, 0, 4, 4, 1, 1, 2], r"polygons\[1\] has 7 coordinates"),
        (
            [0.0, 0, 4, 4, 1, np.nan],
            r"polygons\[1\] has a coordinate that is NaN or beyond 2\*\*28",
        ),
        ([0.0, 0, 4, 4, 1, np.inf], r"polygons\[1\] has .* NaN or beyond"),
        ([0.0, 0, 4, 4, 1, -1e9], r"polygons\[1\] has .* NaN or beyond"),
    ],
)
def test_a_bad_polygon_is_named(polygon: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        host.polygons_to_bitmask([TRIANGLE, polygon], 5, 5)
    with pytest.raises(ValueError, match=message.replace(r"\]", r"\]\[0\]", 1)):
        host.crop_and_resize_polygons([[TRIANGLE], [polygon]], np.ones((2, 4)), 28)


@pytest.mark.parametrize("box", [[0, 0, 1e-30, 1], [0, 0, np.nan, 4], [np.inf, 0, np.inf, 4]])
def test_a_box_cannot_carry_a_polygon_out_of_range(box: list[float]) -> None:
    polygon = np.array(TRIANGLE) * 1e6
    with pytest.raises(ValueError, match=r"polygons\[0\]: in the frame of its box"):
        host.crop_and_resize_polygons([[polygon]], np.array([box]), 28)


def test_other_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="image size must not be negative, got -1 x 5"):
        host.polygons_to_rle([TRIANGLE], -1, 5)
    with pytest.raises(ValueError, match=r"boxes must have shape \(N, 4\), got \(8,\)"):
        host.crop_and_resize_polygons([[TRIANGLE]] * 2, np.zeros(8), 28)
    with pytest.raises(ValueError, match="1 instances in polygons but 2 boxes"):
        host.crop_and_resize_polygons([[TRIANGLE]], np.ones((2, 4)), 28)
