"""What is written one way and read back is the same."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.testing import assert_close

from d2_structures import BitMasks, Boxes, BoxMode, Instances, PolygonMasks, RotatedBoxes

SIZE = (480, 640)
FACTORS = st.floats(0.1, 10)

corners = st.tuples(*[st.floats(-100, 700)] * 4)
boxes = st.lists(
    corners.map(lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])])
)
rotated = st.lists(
    st.tuples(*[st.floats(-100, 700)] * 2, *[st.floats(0.5, 500)] * 2, st.floats(-179, 179))
)
bitmaps = hnp.arrays(bool, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=9))
modes = st.sampled_from(list(BoxMode))


@given(boxes, st.lists(modes, min_size=1, max_size=6))
def test_a_journey_through_any_modes_ends_where_it_began(numbers, journey):
    start = torch.tensor(numbers, dtype=torch.float64).reshape(-1, 4)
    here, mode = start, BoxMode.XYXY_ABS
    for target in [*journey, BoxMode.XYXY_ABS]:
        here = BoxMode.convert(here, mode, target, image_size=SIZE)
        mode = target
    assert_close(here, start, rtol=0, atol=1e-9)


@given(rotated)
def test_rotated_boxes_of_no_angle_are_their_upright_boxes(numbers):
    flat = torch.tensor(numbers, dtype=torch.float64).reshape(-1, 5)
    flat[:, 4] = 0
    upright = BoxMode.convert(flat, BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS)
    assert_close(BoxMode.convert(upright, BoxMode.XYXY_ABS, BoxMode.XYWHA_ABS), flat)


@given(boxes, FACTORS, FACTORS)
def test_scaling_there_and_back_gives_the_boxes(numbers, x, y):
    some = Boxes(numbers)
    before = some.tensor.clone()
    some.scale(x, y)
    assert_close(some.area(), Boxes(before).area() * x * y, rtol=1e-3, atol=1)
    some.scale(1 / x, 1 / y)
    assert_close(some.tensor, before, rtol=1e-4, atol=1e-3)


@given(rotated, FACTORS)
def test_scaling_rotated_boxes_there_and_back_gives_the_boxes(numbers, factor):
    some = RotatedBoxes(numbers)
    before = some.tensor.clone()
    some.scale(factor, factor)
    some.scale(1 / factor, 1 / factor)
    assert_close(some.tensor, before, rtol=1e-3, atol=1e-2)


@given(boxes)
def test_clipped_boxes_are_inside_and_stay(numbers):
    some = Boxes(numbers)
    some.clip(SIZE)
    assert some.inside_box(SIZE).all()
    before = some.tensor.clone()
    some.clip(SIZE)
    assert torch.equal(some.tensor, before)
    again = Boxes(numbers)
    inside = again.inside_box(SIZE)
    assert torch.equal(again.tensor[inside], some.tensor[inside])


@given(bitmaps)
def test_bitmaps_survive_run_lengths(masks):
    some = BitMasks(masks)
    back = BitMasks.from_rle(some.to_rle(), *some.image_size)
    assert torch.equal(back.tensor, some.tensor)


@given(st.lists(st.lists(st.tuples(*[st.integers(0, 12)] * 4), max_size=2), max_size=3))
def test_rectangles_are_the_same_as_polygons_and_as_bitmaps(instances):
    polygons, expected = [], np.zeros((len(instances), 12, 12), bool)
    for bitmap, rectangles in zip(expected, instances, strict=True):
        polygons.append([])
        for a, b, c, d in rectangles:
            x0, x1, y0, y1 = min(a, b), max(a, b), min(c, d), max(c, d)
            if x0 < x1 and y0 < y1:
                bitmap[y0:y1, x0:x1] = True
                polygons[-1].append([x0, y0, x1, y0, x1, y1, x0, y1])
    masks = PolygonMasks(polygons)
    drawn = BitMasks.from_polygon_masks(masks, 12, 12)
    assert np.array_equal(drawn.tensor.numpy(), expected)
    assert torch.equal(drawn.get_bounding_boxes().tensor, masks.get_bounding_boxes().tensor)
    assert torch.equal(drawn.nonempty(), masks.nonempty())


@given(boxes, st.data())
def test_parts_of_instances_join_to_the_whole(numbers, data):
    whole = Instances(SIZE, boxes=Boxes(numbers), numbers=list(range(len(numbers))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(numbers)), max_size=3)))
    bounds = zip([0, *cuts], [*cuts, len(numbers)], strict=True)
    joined = Instances.cat([whole[first:last] for first, last in bounds])
    assert joined.numbers == whole.numbers
    assert torch.equal(joined.boxes.tensor, whole.boxes.tensor)
    order = data.draw(st.permutations(range(len(numbers))))
    shuffled = whole[torch.tensor(order, dtype=torch.int64)]
    back = shuffled[torch.argsort(torch.tensor(order, dtype=torch.int64))]
    assert back.numbers == whole.numbers
