from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_ops import host

coco = pytest.importorskip("pycocotools.mask")


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    height=st.integers(0, 90),
    width=st.integers(0, 90),
    density=st.sampled_from([0.0, 0.001, 0.01, 0.5, 1.0]),
)
def test_encode_decode_and_area_equal_pycocotools(
    seed: int, height: int, width: int, density: float
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    rle = host.rle_encode(mask)
    assert host.rle_encode(np.asfortranarray(mask)) == rle
    if mask.size:
        assert rle == coco.encode(np.asfortranarray(mask.view(np.uint8)))
    assert np.array_equal(host.rle_decode(rle), mask)
    assert host.rle_area(rle) == mask.sum()


def test_long_masks_round_trip() -> None:
    mask = np.zeros((3000, 700), bool)  # run lengths of several groups of bits, and negative steps
    mask[1:2999, 5:600] = True
    mask[1500, 100] = False
    rle = host.rle_encode(mask)
    assert rle == coco.encode(np.asfortranarray(mask.view(np.uint8)))
    assert np.array_equal(host.rle_decode(rle), mask)


def test_stacks_and_lists_map_over_masks() -> None:
    masks = np.random.default_rng(0).random((3, 9, 7)) < 0.5
    encoded = host.rle_encode(masks)
    assert encoded == [host.rle_encode(mask) for mask in masks]
    assert np.array_equal(host.rle_decode(encoded), masks)
    assert np.array_equal(host.rle_area(encoded), masks.sum((1, 2)))
    assert host.rle_decode([]).shape == (0, 0, 0)
    assert host.rle_area([]).shape == (0,)


def test_masks_of_any_type_and_stride_are_encoded() -> None:
    mask = np.random.default_rng(0).random((9, 7)) < 0.5
    expected = host.rle_encode(mask)
    for same in (np.asfortranarray(mask), mask * 2.5, mask.astype(np.int64) * 256, mask.tolist()):
        assert host.rle_encode(same) == expected


def test_counts_may_be_text_or_plain_lengths() -> None:
    mask = np.random.default_rng(0).random((9, 7)) < 0.5
    rle = host.rle_encode(mask)
    assert np.array_equal(host.rle_decode({**rle, "counts": rle["counts"].decode()}), mask)
    flat = mask.ravel("F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *changes, flat.size]).tolist()
    lengths = [0, *lengths] if flat[0] else lengths
    assert np.array_equal(host.rle_decode({"size": [9, 7], "counts": lengths}), mask)
    assert host.rle_area({"size": [9, 7], "counts": lengths}) == mask.sum()


def test_counts_are_compressed_as_pycocotools_compresses_them() -> None:
    plain = {"size": [9, 7], "counts": [0, 5, 30, 0, 20, 8]}
    assert host.rle_compress(plain) == coco.frPyObjects(plain, 9, 7)
    text = {**plain, "counts": host.rle_compress(plain)["counts"].decode()}
    assert host.rle_compress([text, plain]) == [host.rle_compress(plain)] * 2
    assert host.rle_compress([]) == []


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    density=st.sampled_from([0.0, 0.001, 0.01, 0.5, 1.0]),
)
def test_bounding_boxes_equal_pycocotools(
    seed: int, height: int, width: int, density: float
) -> None:
    masks = np.random.default_rng(seed).random((3, height, width)) < density
    rles = host.rle_encode(masks)
    boxes = host.rle_bounding_boxes(rles)
    assert boxes.tolist() == coco.toBbox(rles).tolist()
    for mask, (x, y, w, h) in zip(masks, boxes.astype(int), strict=True):
        assert mask[y : y + h, x : x + w].sum() == mask.sum()


def test_masks_of_one_list_may_differ_in_size_where_that_makes_sense() -> None:
    rles = [host.rle_encode(np.ones(shape, bool)) for shape in ((3, 4), (5, 2), (0, 7))]
    assert host.rle_area(rles).tolist() == [12, 10, 0]
    assert host.rle_bounding_boxes(rles).tolist() == [[0, 0, 4, 3], [0, 0, 2, 5], [0, 0, 0, 0]]
    with pytest.raises(ValueError, match=r"rle\[1\]: masks must have one size, got 5 x 2 beside 3"):
        host.rle_decode(rles)


def test_long_lists_are_shared_among_threads_without_changing_anything() -> None:
    masks = np.random.default_rng(0).random((60, 90, 70)) < 0.5
    rles = host.rle_encode(masks, num_threads=1)
    assert host.rle_encode(masks, num_threads=3) == rles
    assert np.array_equal(host.rle_decode(rles, num_threads=3), masks)
    assert np.array_equal(host.rle_area(rles, num_threads=3), masks.sum((1, 2)))
    boxes = host.rle_bounding_boxes(rles, num_threads=1)
    assert np.array_equal(host.rle_bounding_boxes(rles, num_threads=3), boxes)


FUNCTIONS = [
    host.rle_area,
    host.rle_decode,
    host.rle_compress,
    host.rle_bounding_boxes,
    host.rle_boundary,
    host.rle_merge,
    lambda rles: host.rle_iou(rles, rles),
    lambda rles: host.boundary_iou(rles, rles),
]


def message_of(function: Any, rles: list[Any]) -> str | None:
    try:
        function(rles)
    except (ValueError, TypeError) as error:
        return str(error)
    return None


@settings(max_examples=300, deadline=None)
@given(
    height=st.integers(-1, 9),
    width=st.integers(-1, 9),
    counts=st.binary(max_size=12)
    | st.text(max_size=8)
    | st.lists(st.integers(-(2**70), 2**70) | st.integers(0, 9), max_size=6)
    | st.binary(max_size=40).map(lambda b: bytes(48 + c % 64 for c in b)),
)
def test_any_counts_give_a_mask_or_an_error_that_names_the_index(
    height: int, width: int, counts: Any
) -> None:
    good = host.rle_encode(np.ones((max(height, 0), max(width, 0)), bool))
    rles = [good, {"size": [height, width], "counts": counts}]
    messages = [message_of(function, rles) for function in FUNCTIONS]
    assert all(message is None or "[1]" in message for message in messages)
    assert len({message is None for message in messages}) == 1


@pytest.mark.parametrize(
    ("rle", "error", "message"),
    [
        ({"size": [4, 4], "counts": b"1"}, ValueError, r"\[1\]: run lengths do not add up"),
        ({"size": [4, 4], "counts": [4, 20]}, ValueError, r"\[1\]: run lengths do not add up"),
        ({"size": [4, 4], "counts": [-4, 20]}, ValueError, r"\[1\]: run lengths do not add up"),
        ({"size": [4, 4], "counts": b"\x10"}, ValueError, r"\[1\]: .* that RLE does not use"),
        ({"size": [4, 4], "counts": "é"}, ValueError, r"\[1\]: .* that RLE does not use"),
        ({"size": [4, 4], "counts": b"o"}, ValueError, r"\[1\]: counts ends in the middle"),
        ({"size": [4, 4], "counts": b"o" * 40}, ValueError, r"\[1\]: counts ends in the middle"),
        ({"size": [-4, 4], "counts": b"0"}, ValueError, r"\[1\]\['size'\] is .* negative"),
        ({"size": [2**40, 2**40], "counts": b"0"}, ValueError, r"\[1\].* at most 2\*\*53 pixels"),
        ({"size": [2**80, 1], "counts": b"0"}, TypeError, r"\[1\].* wanted two integers"),
        ({"size": [4.0, 4], "counts": b"0"}, TypeError, r"\[1\].* wanted two integers"),
        ({"size": [4], "counts": b"0"}, TypeError, r"\[1\].* wanted two integers"),
        ({"size": None, "counts": b"0"}, TypeError, r"\[1\].* wanted two integers"),
        ({"size": [4, 4], "counts": 16}, TypeError, r"\[1\]\['counts'\] must be .* got int"),
        ({"size": [4, 4], "counts": [1.5]}, TypeError, r"\[1\]\['counts'\] holds 1.5"),
        ({"size": [4, 4]}, KeyError, r"\[1\] lacks 'counts': .* has the keys \['size'\]"),
        ({"counts": b"0"}, KeyError, r"\[1\] lacks 'size'"),
        (None, TypeError, r"\[1\] must be an RLE dict .*, got NoneType"),
        ([4, 4], TypeError, r"\[1\] must be an RLE dict .*, got list"),
    ],
)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_broken_rle_is_an_error(function: Any, rle: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        function([host.rle_encode(np.ones((4, 4), bool)), rle])


def test_errors_of_several_threads_name_the_first_of_the_broken() -> None:
    rles = [host.rle_encode(np.random.default_rng(0).random((90, 70)) < 0.5) for _ in range(99)]
    for i in (95, 40, 41):
        rles[i]["counts"] = rles[i]["counts"][:-1]
    with pytest.raises(ValueError, match=r"rle\[40\]"):
        host.rle_area(rles, num_threads=4)


def test_other_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"mask must have 2 or 3 dimensions, got shape \(4,\)"):
        host.rle_encode(np.zeros(4))
    with pytest.raises(TypeError, match="rles must be a sequence of RLE dicts, got dict"):
        host.rle_bounding_boxes(host.rle_encode(np.ones((2, 3))))
