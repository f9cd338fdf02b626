"""BitMasks, PolygonMasks, RLEMasks and ROIMasks, and the ways from one to the other."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from torch.testing import assert_close

from d2_ops import roi_align
from d2_structures import (
    BitMasks,
    Boxes,
    PolygonMasks,
    RLEMasks,
    ROIMasks,
    polygon_masks,
    polygons_to_bitmask,
)

TRIANGLE = [1.0, 1.0, 9.0, 1.0, 5.0, 8.0]
SQUARE = [2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]

polygon = st.lists(st.floats(-5, 40), min_size=6, max_size=14).filter(lambda p: len(p) % 2 == 0)
instances = st.lists(st.lists(polygon, max_size=3), max_size=4)


@st.composite
def bitmaps(draw):
    count, height, width = (draw(st.integers(0, n)) for n in (4, 9, 9))
    seed, share = draw(st.integers(0, 999)), draw(st.sampled_from([0.0, 0.05, 0.5]))
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, height, width, generator=generator) < share


def random_boxes(count, seed=0, low=-20, spread=80):
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(count, 2, generator=generator) * spread + low
    return torch.cat((start, start + torch.rand(count, 2, generator=generator) * spread), dim=1)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools'
@given(instances)
def test_polygons_are_drawn_as_pycocotools_draws_them(polygons):
    drawn = BitMasks.from_polygon_masks(PolygonMasks(polygons), 30, 35)
    for bitmap, instance in zip(drawn, polygons, strict=True):
        if instance:
            expected = coco.decode(coco.merge(coco.frPyObjects(instance, 30, 35))).astype(bool)
        else:
            expected = np.zeros((30, 35), dtype=bool)
        assert np.array_equal(bitmap.numpy(), expected)
        assert np.array_equal(polygons_to_bitmask([*map(np.array, instance)], 30, 35), expected)


@given(bitmaps())
def test_rle_round_trips_and_is_pycocotools_rle(masks):
    _, height, width = masks.shape
    rles = BitMasks(masks).to_rle()
    if masks.numel():
        expected = coco.encode(np.asfortranarray(masks.numpy().transpose(1, 2, 0).astype(np.uint8)))
        assert [bytes(r["counts"]) for r in rles] == [r["counts"] for r in expected]
    assert torch.equal(BitMasks.from_rle(rles, height, width).tensor, masks)


def test_values_agree_with_the_original_system(golden):
    values = golden["masks"]
    height, width = values["image_shape"]
    polygons = PolygonMasks(values["polygons"])
    for size in (14, 28):
        cropped = polygons.crop_and_resize(values["boxes"], size)
        assert torch.equal(cropped, values[f"poly_crop{size}"])
    assert_close(polygons.get_bounding_boxes().tensor, values["poly_bbox"])
    assert_close(polygons.area(), values["poly_area"])
    assert torch.equal(polygons.nonempty(), values["poly_nonempty"])
    masks = BitMasks.from_polygon_masks(polygons, height, width)
    assert torch.equal(masks.tensor, values["bitmask"])
    assert torch.equal(masks.crop_and_resize(values["boxes"], 28), values["bit_crop28"])
    assert_close(masks.get_bounding_boxes().tensor, values["bit_bbox"])
    assert torch.equal(masks.nonempty(), values["bit_nonempty"])
    pasted = golden["paste_masks_in_image"]
    pasted_masks = ROIMasks(pasted["masks"]).to_bitmasks(pasted["boxes"], *pasted["image_shape"])
    assert torch.equal(pasted_masks.tensor, pasted["roimasks"])


def test_roi_masks_are_pasted_into_their_boxes_or_over_the_image():
    masks = ROIMasks(torch.ones(1, 4, 4))
    pasted = masks.to_bitmasks(Boxes([[2, 1, 5, 3]]), 6, 8)
    assert pasted.get_bounding_boxes().tensor.tolist() == [[2, 1, 5, 3]]
    assert torch.equal(
        BitMasks.from_roi_masks(masks, 6, 8, torch.tensor([[2.0, 1.0, 5.0, 3.0]])).tensor,
        pasted.tensor,
    )
    assert BitMasks.from_roi_masks(masks, 6, 8).tensor.all()
    assert (
        ROIMasks(torch.ones(1, 4, 4, dtype=torch.bool))
        .to_bitmasks(torch.tensor([[0.0, 0.0, 8.0, 6.0]]), 6, 8)
        .tensor.all()
    )


@given(bitmaps())
def test_bounding_boxes_are_the_extremes_of_the_set_pixels(masks):
    found = BitMasks(masks).get_bounding_boxes().tensor
    for bitmap, box in zip(masks, found, strict=True):
        rows, columns = bitmap.nonzero(as_tuple=True)
        expected = [0, 0, 0, 0]
        if len(rows):
            expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert box.tolist() == list(map(int, expected))
    assert torch.equal(BitMasks(masks).nonempty(), masks.flatten(1).any(dim=1))


@given(instances)
def test_boxes_of_polygons_are_the_extremes_of_their_points(polygons):
    found = PolygonMasks(polygons).get_bounding_boxes().tensor
    for instance, box in zip(polygons, found, strict=True):
        points = np.array([c for one in instance for c in one]).reshape(-1, 2)
        low, high = (points.min(0), points.max(0)) if instance else (np.zeros(2), np.zeros(2))
        assert_close(box, torch.tensor([*low, *high]).float())


def test_areas_are_those_of_the_shoelace_formula():
    masks = PolygonMasks([[SQUARE], [SQUARE[::-1], TRIANGLE], []])
    assert masks.area().tolist() == [16, 16 + 28, 0]
    assert masks.nonempty().tolist() == [True, True, False]


@given(st.integers(0, 500), st.integers(1, 30))
def test_cropped_bitmaps_are_roi_align_of_them(seed, size):
    masks = torch.rand(5, 40, 50, generator=torch.Generator().manual_seed(seed)) > 0.5
    boxes = random_boxes(5, seed)
    rois = torch.cat((torch.arange(5.0)[:, None], boxes), dim=1)
    covered = roi_align(masks[:, None].float(), rois, size, 1.0, 0, True)[:, 0]
    clear = (covered - 0.5).abs() > 1e-3
    cropped = BitMasks(masks).crop_and_resize(boxes, size)
    assert torch.equal(cropped[clear], (covered >= 0.5)[clear])


def test_a_crop_on_pixel_borders_is_the_crop():
    masks = torch.rand(2, 20, 30) > 0.5
    boxes = torch.tensor([[3.0, 2, 17, 16], [0, 0, 14, 14]])
    cropped = BitMasks(masks).crop_and_resize(boxes, 14)
    assert torch.equal(cropped, torch.stack((masks[0, 2:16, 3:17], masks[1, :14, :14])))


def test_boxes_far_away_empty_or_huge_are_cropped_without_harm():
    masks = BitMasks(torch.ones(4, 20, 30, dtype=torch.bool))
    boxes = torch.tensor(
        [[900.0, 900, 910, 910], [5, 5, 5, 5], [9, 9, 3, 3], [-2e3, -2e3, 2e3, 2e3]]
    )
    assert not masks.crop_and_resize(boxes, 7)[:3].any()
    assert masks[:0].crop_and_resize(boxes[:0], 7).shape == (0, 7, 7)


@given(instances.filter(len), st.integers(0, 99))
def test_cropped_polygons_are_polygons_drawn_in_the_box(polygons, seed):
    boxes = random_boxes(len(polygons), seed, spread=30)
    cropped = PolygonMasks(polygons).crop_and_resize(boxes, 14)
    for bitmap, instance, box in zip(cropped, polygons, boxes.numpy(), strict=True):
        scale = 14 / np.maximum(box[2:] - box[:2], np.float32(0.1))
        moved = [((np.reshape(p, (-1, 2)) - box[:2]) * scale).ravel() for p in instance]
        expected = polygons_to_bitmask(moved, 14, 14)
        assert (bitmap.numpy() != expected).mean() < 0.05  # the scale is rounded elsewhere


@pytest.mark.parametrize(
    "masks", [BitMasks(torch.zeros(2, 9, 9, dtype=torch.bool)), PolygonMasks([[SQUARE]] * 2)]
)
def test_crops_need_one_box_per_mask_and_a_positive_size(masks):
    with pytest.raises(ValueError, match=r"shape \(2, 4\), got \[3, 4\]"):
        masks.crop_and_resize(torch.zeros(3, 4), 28)
    with pytest.raises(ValueError, match="positive, got 0"):
        masks.crop_and_resize(torch.zeros(2, 4), 0)


KINDS = {
    "bit": lambda n: BitMasks(torch.arange(n)[:, None, None].expand(n, 3, 4) > 0),
    "polygon": lambda n: PolygonMasks([[[i, *TRIANGLE[1:]]] for i in range(n)]),
    "rle": lambda n: RLEMasks.from_bitmasks(KINDS["bit"](n)),
    "roi": lambda n: ROIMasks(torch.arange(float(n))[:, None, None].expand(n, 4, 4)),
}


def contents(masks):
    if isinstance(masks, PolygonMasks):
        return [[p.tolist() for p in instance] for instance in masks]
    if isinstance(masks, RLEMasks):
        return masks.to_rle()
    return masks.tensor.tolist()


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ("index", "chosen"),
    [
        (1, [1]),
        (-1, [3]),
        (slice(1, 3), [1, 2]),
        ([3, 0], [3, 0]),
        (torch.tensor([2]), [2]),
        (torch.tensor([True, False, True, False]), [0, 2]),
        ([], []),
    ],
)
def test_indexing_selects_instances_and_cat_joins_them_again(make, index, chosen):
    masks = make(4)
    picked = masks[index]
    assert type(picked) is type(masks)
    assert contents(picked) == [contents(masks)[i] for i in chosen]
    joined = type(masks).cat([picked, masks])
    assert contents(joined) == contents(picked) + contents(masks)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_masks_out_of_range_are_index_errors(make):
    for index in (4, torch.tensor([7]), torch.tensor([True])):
        with pytest.raises(IndexError):
            make(4)[index]
    with pytest.raises(TypeError, match="position 1"):
        type(make(1)).cat([make(1), None])


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_copies_and_pickles_keep_type_and_contents(make):
    masks = make(3)
    for twin in (pickle.loads(pickle.dumps(masks)), copy.deepcopy(masks), masks.to("cpu")):
        assert type(twin) is type(masks)
        assert contents(twin) == contents(masks)
    assert masks.device.type == "cpu"
    assert repr(masks).startswith(f"{type(masks).__name__}(num_instances=3")


def test_arrays_and_masks_convert_both_ways():
    array = np.asarray(KINDS["bit"](3))
    assert array.dtype == bool
    assert torch.equal(BitMasks(array.astype(np.uint8)).tensor, torch.from_numpy(array))
    assert BitMasks(array).image_size == (3, 4)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (torch.rand(2, 3, 4), TypeError, "threshold"),
        (torch.zeros(3, 4, dtype=torch.bool), ValueError, r"\(N, H, W\), got \[3, 4\]"),
    ],
)
def test_bad_bitmaps_are_refused(data, error, message):
    with pytest.raises(error, match=message):
        BitMasks(data)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (
            [[SQUARE], [SQUARE[:7]]],
            ValueError,
            r"polygon 0 of instance 1 must hold .* got shape \[7\]",
        ),
        ([[SQUARE[:4]]], ValueError, r"6, 8, 10, … coordinates .* got shape \[4\]"),
        ([[[float("nan")] * 6]], ValueError, "NaN or infinity"),
        ([SQUARE], TypeError, "got the number"),
        ([np.array(SQUARE)], TypeError, "instance 0 must be a list of polygons, got ndarray"),
        ([[["a"] * 6]], TypeError, "vector of numbers"),
        (torch.zeros(3), TypeError, "got Tensor"),
    ],
)
def test_bad_polygons_are_refused_with_their_place(data, error, message):
    with pytest.raises(error, match=message):
        PolygonMasks(data)


def test_other_bad_input_is_refused():
    with pytest.raises(ValueError, match="negative"):
        polygons_to_bitmask([np.array(SQUARE)], -1, 5)
    with pytest.raises(ValueError, match=r"got \[2, 3\]"):
        ROIMasks(torch.zeros(2, 3))
    with pytest.raises(TypeError, match="got ndarray"):
        ROIMasks(np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match="RLE 0 has size"):
        BitMasks.from_rle(KINDS["bit"](1).to_rle(), 9, 9)
    with pytest.raises(KeyError, match=r"rle\[0\] lacks 'size'"):
        BitMasks.from_rle([{"counts": [4]}], 2, 2)
    with pytest.raises(ValueError, match="must not be negative"):
        BitMasks.from_rle([], -2, 2)
    for kind in (BitMasks, ROIMasks):
        with pytest.raises(ValueError, match="at least one"):
            kind.cat([])
    assert len(PolygonMasks.cat([])) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_floats_of_zero_and_one_are_bitmaps(dtype):
    floats = torch.tensor([[[0, 1], [1, 0]]], dtype=dtype)
    assert torch.equal(BitMasks(floats).tensor, floats.bool())
    assert len(BitMasks(torch.zeros(0, 4, 4, dtype=dtype))) == 0
    with pytest.raises(TypeError, match="floats of 0 and 1 only"):
        BitMasks(floats * 0.5)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 6), st.integers(0, 6))
def test_polygons_chosen_on_a_device_are_those_chosen_at_once(
    seed: int, count: int, first: int, second: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    everything = PolygonMasks([[[i, *TRIANGLE[1:]]] for i in range(count)])
    one, other = (torch.randint(count, (size,), generator=generator) for size in (first, count))
    twice = torch.randint(max(first, 1), (second if first else 0,), generator=generator)
    corners = torch.rand(first, 4, generator=generator) * 4 + torch.tensor([0, 0, 5, 5])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(polygon_masks, "is_read_at_once", lambda device: False)
        patch.setattr(torch.Tensor, "tolist", None)  # nobody looks
        later = everything[one]
        again, joined = later[twice][:3], PolygonMasks.cat([later, everything[other]])
        assert [len(later), len(again)] == [first, min(len(twice), 3)]
        drawn = later.crop_and_resize(corners, 5)
    at_once = everything[one]
    assert torch.equal(drawn, at_once.crop_and_resize(corners, 5))
    for got, wanted in (
        (later, at_once),
        (again, at_once[twice][:3]),
        (joined, PolygonMasks.cat([at_once, everything[other]])),
        (PolygonMasks.cat([later, at_once]), PolygonMasks.cat([at_once, at_once])),
        (copy.deepcopy(later), at_once),
        (pickle.loads(pickle.dumps(later)), at_once),
        (later[torch.arange(first) % 2 == 0], at_once[torch.arange(first) % 2 == 0]),
    ):
        assert isinstance(got, PolygonMasks)
        assert len(got) == len(wanted)
        for instance, expected in zip(got, wanted, strict=True):
            assert [polygon.tolist() for polygon in instance] == [p.tolist() for p in expected]


def test_polygons_of_a_class_of_ones_own_are_chosen_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Mine(PolygonMasks):
        pass

    monkeypatch.setattr(polygon_masks, "is_read_at_once", lambda device: False)
    assert type(Mine([[TRIANGLE]] * 2)[torch.tensor([1])]) is Mine
