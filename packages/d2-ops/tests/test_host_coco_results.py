"""Result files of COCO as arrays: what a full parser reads, or nothing."""

import json
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from d2_ops import host

NUMBERS = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**6), 10**6))
MASKS = st.fixed_dictionaries(
    {
        "size": st.lists(st.integers(0, 9999), min_size=2, max_size=2),
        "counts": st.text(st.characters(min_codepoint=48, max_codepoint=111)),
    }
)
OTHERS = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(), lambda one: st.lists(one, max_size=3)
)


@st.composite
def results(draw):
    fields = {
        "image_id": st.integers(-(2**62), 2**62),
        "category_id": st.integers(0, 2000),
        "score": NUMBERS,
    }
    if draw(st.booleans()):
        fields["bbox"] = st.lists(NUMBERS, min_size=4, max_size=4)
    if draw(st.booleans()):
        fields["segmentation"] = MASKS
    if draw(st.booleans()):
        fields["keypoints"] = st.lists(NUMBERS, min_size=6, max_size=6)
    fields["note"] = OTHERS
    return draw(st.lists(st.fixed_dictionaries(fields), max_size=6))


def read(entries, **options):
    text = entries if isinstance(entries, str) else json.dumps(entries)
    return host.read_coco_results(text.encode(), **options)


@given(results(), st.sampled_from([None, 2]))
@example([{"image_id": 1, "category_id": 2, "score": 5e-324, "bbox": [2.2e-310, 0, 1, 1]}], None)
def test_columns_hold_the_numbers_that_json_holds(entries, indent):
    found = read(json.dumps(entries, indent=indent))
    assert found is not None
    assert found.images.tolist() == [entry["image_id"] for entry in entries]
    assert found.categories.tolist() == [entry["category_id"] for entry in entries]
    assert found.scores.tolist() == [entry["score"] for entry in entries]
    for key, column in (("bbox", found.boxes), ("keypoints", found.keypoints)):
        wanted = [entry[key] for entry in entries if key in entry]
        assert ([] if column is None else column.tolist()) == wanted
    masks = [entry["segmentation"] for entry in entries if "segmentation" in entry]
    unpacked = [] if found.masks is None else host.unpack_rles(found.masks)
    assert [{**rle, "counts": rle["counts"].decode()} for rle in unpacked] == masks


GOOD = {"image_id": 1, "category_id": 2, "score": 0.5, "bbox": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[",
        "[{]",
        "[{}]",
        json.dumps([GOOD])[:-2],
        json.dumps([GOOD])[:-1] + ",]",
        json.dumps([GOOD]) + "x",
        json.dumps([{**GOOD, "image_id": "1"}]),
        json.dumps([{**GOOD, "image_id": 1.0}]),
        json.dumps([{**GOOD, "image_id": 2**70}]),
        json.dumps([{**GOOD, "score": None}]),
        json.dumps([{**GOOD, "score": math.nan}]),
        json.dumps([{**GOOD, "score": math.inf}]),
        json.dumps([GOOD]).replace("0.5", "1e999"),
        json.dumps([GOOD]).replace("0.5", "00.5"),
        json.dumps([GOOD]).replace("0.5", ".5"),
        json.dumps([GOOD]).replace("0.5", "5."),
        json.dumps([GOOD]).replace("0.5", "+5"),
        json.dumps([GOOD, {**GOOD, "bbox": [1, 2, 3]}]),
        json.dumps([GOOD, {"image_id": 1, "category_id": 2, "score": 0.5}]),
        json.dumps([{**GOOD, "bbox": []}]),
        json.dumps([{**GOOD, "segmentation": [[1, 2, 3, 4, 5, 6]]}]),
        json.dumps([{**GOOD, "segmentation": {"size": [2, 2], "counts": [4]}}]),
        json.dumps([{**GOOD, "segmentation": {"size": [2, 2], "counts": "é"}}]),
        json.dumps([GOOD]).replace('"score"', '"image_id"'),
        '[{"image_id": 1, "image_id": 2, "category_id": 2, "score": 1}]',
    ],
)
def test_what_is_not_regular_is_left_to_a_full_parser(text):
    assert read(text) is None


def test_pieces_read_on_several_threads_are_one_list():
    note = 'a comma }, {"image_id" within text, and \\ " escapes'
    mask = {"size": [2, 3], "counts": "\\1"}
    entries = [
        {"image_id": i, "category_id": i % 7, "score": i / 7, "segmentation": mask, "note": note}
        for i in range(120_000)
    ]
    one, several = read(entries, num_threads=1), read(entries, num_threads=4)
    assert one is not None
    assert several is not None
    assert np.array_equal(one.images, np.arange(len(entries)))
    assert np.array_equal(one.scores, several.scores)
    assert np.array_equal(one.images, several.images)
    assert all(np.array_equal(a, b) for a, b in zip(one.masks, several.masks, strict=True))


@given(st.lists(MASKS, max_size=6), st.data())
def test_packed_masks_are_selected_and_joined_as_lists_are(masks, data):
    rles = [{**mask, "counts": mask["counts"].encode()} for mask in masks]
    packed = host.pack_rles(rles)
    rows = data.draw(st.lists(st.booleans(), min_size=len(rles), max_size=len(rles)))
    chosen = host.select_packed_rles(packed, np.array(rows, bool))
    wanted = [rle for rle, row in zip(rles, rows, strict=True) if row]
    assert host.unpack_rles(chosen) == wanted
    assert host.unpack_rles(host.join_packed_rles([packed, chosen])) == rles + wanted


@pytest.mark.parametrize("order", ["C", "F"])
def test_masks_are_packed_as_they_are_encoded(order):
    masks = np.random.default_rng(0).random((3, 40, 50)) < 0.01
    masks[1] = True
    stack = masks if order == "C" else masks.transpose(0, 2, 1).copy().transpose(0, 2, 1)
    assert host.unpack_rles(host.pack_masks(stack)) == host.rle_encode(masks)
    with pytest.raises(ValueError, match=r"shape \(N, H, W\)"):
        host.pack_masks(masks[0])
