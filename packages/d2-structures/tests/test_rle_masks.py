import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from d2_structures import BitMasks, Boxes, Instances, PolygonMasks, RLEMasks
from d2_structures.conversions import instances_to_coco
from d2_structures.visualizer import Visualizer

SQUARE = [2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]
TRIANGLE = [1.0, 1.0, 9.0, 1.0, 5.0, 8.0]


@st.composite
def stacks(draw, least=0):
    count, height, width = (draw(st.integers(least, most)) for most in (4, 30, 40))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    share = draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    return torch.rand(count, height, width, generator=generator) < share


@given(stacks())
def test_masks_of_all_kinds_survive_encoding(masks):
    encoded = RLEMasks.from_bitmasks(masks)
    assert len(encoded) == len(masks)
    assert encoded.image_size == tuple(masks.shape[1:])
    assert torch.equal(encoded.to_bitmasks().tensor, masks)
    assert np.array_equal(np.asarray(encoded), masks.numpy())
    assert RLEMasks.from_bitmasks(BitMasks(masks)).rles == encoded.rles
    assert RLEMasks.from_bitmasks(masks.numpy()).rles == encoded.rles
    assert RLEMasks(encoded.to_rle(), encoded.image_size).rles == encoded.rles


@given(stacks())
def test_areas_and_boxes_are_those_of_the_bitmaps(masks):
    bitmasks, encoded = BitMasks(masks), RLEMasks.from_bitmasks(masks)
    assert torch.equal(encoded.area(), masks.flatten(1).sum(1))
    assert torch.equal(encoded.nonempty(), bitmasks.nonempty())
    boxes = encoded.get_bounding_boxes()
    assert isinstance(boxes, Boxes)
    assert torch.equal(boxes.tensor, bitmasks.get_bounding_boxes().tensor)


@settings(max_examples=60)
@given(stacks(1), st.integers(0, 999), st.sampled_from([1, 7, 28]))
def test_crops_are_those_of_the_bitmaps(masks, seed, size):
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(len(masks), 2, generator=generator) * 60 - 20
    boxes = torch.cat((start, start + torch.rand(len(masks), 2, generator=generator) * 50), 1)
    crops = RLEMasks.from_bitmasks(masks).crop_and_resize(boxes, size)
    assert crops.dtype == torch.bool
    assert torch.equal(crops, BitMasks(masks).crop_and_resize(boxes, size))


@given(stacks(1), stacks(1), st.booleans())
def test_overlaps_are_those_of_pycocotools(masks, others, with_crowds):
    others = torch.nn.functional.interpolate(others[None].float(), masks.shape[1:])[0] > 0
    ours, theirs = RLEMasks.from_bitmasks(masks), RLEMasks.from_bitmasks(others)
    crowd = [i % 2 for i in range(len(theirs))] if with_crowds else [0] * len(theirs)
    expected = coco.iou(ours.to_rle(), theirs.to_rle(), crowd).tolist()
    assert ours.iou(theirs, torch.tensor(crowd)).tolist() == expected
    assert ours.iou(theirs, crowd if with_crowds else None).tolist() == expected


def test_polygons_are_encoded_as_they_are_drawn():
    polygons = PolygonMasks([[SQUARE], [], [SQUARE, TRIANGLE]])
    encoded = RLEMasks.from_polygon_masks(polygons, 12, 14)
    drawn = BitMasks.from_polygon_masks(polygons, 12, 14)
    assert torch.equal(encoded.to_bitmasks().tensor, drawn.tensor)
    assert RLEMasks.from_polygon_masks(polygons.polygons, 12, 14).rles == encoded.rles


def test_counts_may_be_bytes_text_or_plain_lengths():
    plain = {"size": [3, 4], "counts": [2, 5, 5]}
    written = coco.frPyObjects(plain, 3, 4)
    text = {**written, "counts": written["counts"].decode()}
    masks = RLEMasks([plain, written, text])
    assert masks.rles == [written] * 3
    assert masks.image_size == (3, 4)


def test_a_field_of_instances_is_selected_joined_moved_and_written():
    masks = torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(0)) > 0.5
    boxes = Boxes(torch.tensor([[0.0, 0, 9, 8]] * 3))
    classes = torch.tensor([0, 1, 2])
    instances = Instances(
        (8, 9),
        gt_boxes=boxes,
        gt_classes=classes,
        gt_masks=RLEMasks.from_bitmasks(masks),
    )
    picked = instances[torch.tensor([True, False, True])].to("cpu")
    assert torch.equal(picked.gt_masks.to_bitmasks().tensor, masks[[0, 2]])
    joined = Instances.cat([picked, instances[1]])
    assert torch.equal(joined.gt_masks.to_bitmasks().tensor, masks[[0, 2, 1]])
    assert "RLEMasks(num_instances=3, height=8, width=9)" in repr(instances)
    written = [one["segmentation"] for one in instances_to_coco(instances, 1)]
    assert torch.equal(RLEMasks(written).to_bitmasks().tensor, masks)
    assert [one["area"] for one in instances_to_coco(instances, 1)] == masks.sum((1, 2)).tolist()


def test_they_are_drawn_as_bitmaps_are():
    masks = torch.zeros(2, 40, 50, dtype=torch.bool)
    masks[0, 5:20, 10:30] = masks[1, 25:, 20:] = True
    pictures = []
    for kind in (BitMasks(masks), RLEMasks.from_bitmasks(masks)):
        visualizer = Visualizer(np.full((40, 50, 3), 200, np.uint8))
        visualizer.overlay_instances(masks=kind, assigned_colors=["red", "teal"])
        pictures.append(visualizer.output.get_image())
    assert np.array_equal(*pictures)


def test_a_copy_shares_nothing_that_can_be_changed():
    masks = RLEMasks.from_bitmasks(torch.ones(2, 3, 4, dtype=torch.bool))
    for twin in (copy.deepcopy(masks), pickle.loads(pickle.dumps(masks))):
        assert twin.rles == masks.rles
        assert twin.image_size == (3, 4)
    masks.to_rle()[0]["size"][0] = 99
    assert masks.rles[0]["size"] == [3, 4]


def test_no_masks_need_a_size():
    none = RLEMasks([], (5, 6))
    assert len(none) == 0
    assert none.to_bitmasks().tensor.shape == (0, 5, 6)
    assert none.area().shape == (0,)
    assert none.get_bounding_boxes().tensor.shape == (0, 4)
    assert none.crop_and_resize(torch.zeros(0, 4), 7).shape == (0, 7, 7)
    some = RLEMasks.from_bitmasks(torch.ones(2, 5, 6, dtype=torch.bool))
    assert none.iou(some).shape == (0, 2)
    assert some.iou(none).shape == (2, 0)
    assert RLEMasks.cat([none, some]).rles == some.rles
    with pytest.raises(ValueError, match="need an image_size"):
        RLEMasks([])


GOOD = {"size": [3, 4], "counts": [12]}


@pytest.mark.parametrize(
    ("rles", "error", "message"),
    [
        ([GOOD, {"size": [3, 4], "counts": [11]}], ValueError, r"rle\[1\]: run lengths do not add"),
        ([GOOD, {"size": [3, 4]}], KeyError, r"rle\[1\] lacks 'counts'"),
        ([GOOD, 7], TypeError, r"rle\[1\] must be an RLE dict"),
        ([GOOD, {"size": [4, 3], "counts": [12]}], ValueError, r"RLE 1 has size \[4, 3\], wanted"),
        (GOOD, TypeError, "need a list of RLE dicts, got dict"),
        (3, TypeError, "need a list of RLE dicts, got int"),
    ],
)
def test_bad_rles_are_refused_with_their_place(rles, error, message):
    with pytest.raises(error, match=message):
        RLEMasks(rles)


def test_other_bad_input_is_refused():
    masks, small = RLEMasks([GOOD]), RLEMasks([{"size": [2, 2], "counts": [4]}])
    with pytest.raises(ValueError, match=r"RLE 0 has size \[3, 4\], wanted \[4, 4\]"):
        RLEMasks([GOOD], (4, 4))
    with pytest.raises(ValueError, match=r"must be \(height, width\), got 5"):
        RLEMasks([], 5)
    with pytest.raises(ValueError, match="must not be negative"):
        RLEMasks([], (-1, 4))
    with pytest.raises(ValueError, match=r"one image size, got \(3, 4\) and \(2, 2\)"):
        masks.iou(small)
    with pytest.raises(TypeError, match="got BitMasks"):
        masks.iou(masks.to_bitmasks())
    with pytest.raises(ValueError, match=r"iscrowd must have shape \(1,\)"):
        masks.iou(masks, [0, 1])
    with pytest.raises(ValueError, match=r"one image size, got \[\(2, 2\), \(3, 4\)\]"):
        RLEMasks.cat([masks, small])
    with pytest.raises(ValueError, match="at least one"):
        RLEMasks.cat([])
    with pytest.raises(ValueError, match=r"shape \(1, 4\), got \[2, 4\]"):
        masks.crop_and_resize(torch.zeros(2, 4), 7)
    with pytest.raises(TypeError, match="threshold"):
        RLEMasks.from_bitmasks(torch.rand(1, 3, 4))
