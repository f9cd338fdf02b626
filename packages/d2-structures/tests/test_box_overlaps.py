import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from d2_structures import (
    Boxes,
    matched_boxlist_iou,
    matched_pairwise_iou,
    pairwise_intersection,
    pairwise_ioa,
    pairwise_iou,
    pairwise_point_box_distance,
)


def some_boxes(count, seed):
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(count, 2, generator=generator) * 50
    return Boxes(torch.cat((start, start + torch.rand(count, 2, generator=generator) * 40), dim=1))


def iou_of_two(a, b):
    """The definition, in float64."""
    a, b = a.double(), b.double()
    width = max(0.0, (min(a[2], b[2]) - max(a[0], b[0])).item())
    height = max(0.0, (min(a[3], b[3]) - max(a[1], b[1])).item())
    area = lambda box: ((box[2] - box[0]) * (box[3] - box[1])).item()  # noqa: E731 - one use
    both = width * height
    return both / (area(a) + area(b) - both) if both else 0.0


@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 1000))
def test_iou_is_its_definition_for_every_pair(n, m, seed):
    first, second = some_boxes(n, seed), some_boxes(m, seed + 1)
    expected = torch.tensor([[iou_of_two(a, b) for b in second] for a in first]).reshape(n, m)
    assert_close(pairwise_iou(first, second), expected.float(), atol=1e-5, rtol=1e-5)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_iou_is_symmetric_and_one_with_itself(count, seed):
    first, second = some_boxes(count, seed), some_boxes(3, seed + 1)
    assert_close(pairwise_iou(first, second), pairwise_iou(second, first).T)
    assert_close(pairwise_iou(first, first).diagonal(), torch.ones(count))


def test_values_agree_with_the_original_system(golden):
    values = golden["boxes"]
    first, second = Boxes(values["b1"]), Boxes(values["b2"])
    assert_close(pairwise_iou(first, second), values["iou"])
    assert_close(pairwise_ioa(first, second), values["ioa"])
    assert_close(pairwise_intersection(first, second), values["inter"])
    assert_close(pairwise_point_box_distance(values["points"], first), values["point_dist"])
    known = values["matched"].isfinite()  # the original divides 0 by 0 for two empty boxes
    matched = matched_pairwise_iou(first, second[:40])
    assert_close(matched[known], values["matched"][known])


def test_matched_iou_is_the_diagonal_of_all_pairs():
    first, second = some_boxes(9, 0), some_boxes(9, 1)
    expected = pairwise_iou(first, second).diagonal()
    assert_close(matched_pairwise_iou(first, second), expected)
    assert_close(matched_boxlist_iou(first, second), expected)


def test_boxes_without_area_overlap_nothing_and_have_finite_gradients():
    tensor = torch.tensor([[1.0, 1.0, 1.0, 1.0]], requires_grad=True)
    iou = pairwise_iou(Boxes(tensor), Boxes(tensor))
    iou.sum().backward()
    assert iou.item() == 0
    assert tensor.grad.isfinite().all()


def test_ioa_is_the_share_of_the_second_box():
    large, small = Boxes([[0, 0, 10, 10]]), Boxes([[5, 5, 15, 15], [1, 1, 2, 2]])
    assert_close(pairwise_ioa(large, small), torch.tensor([[0.25, 1.0]]))


def test_distances_are_positive_exactly_inside():
    box = Boxes([[0, 0, 10, 20]])
    points = torch.tensor([[4.0, 5.0], [11.0, 5.0]])
    distances = pairwise_point_box_distance(points, box)
    assert distances[:, 0].tolist() == [[4, 5, 6, 15], [11, 5, -1, 15]]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="3 and 2 boxes"):
        matched_pairwise_iou(some_boxes(3, 0), some_boxes(2, 0))
    with pytest.raises(ValueError, match=r"\(N, 2\), got \[4, 3\]"):
        pairwise_point_box_distance(torch.zeros(4, 3), some_boxes(1, 0))


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_scripting_gives_the_same():
    def overlaps(first: torch.Tensor, second: torch.Tensor):
        a, b = Boxes(first), Boxes(second)
        return pairwise_iou(a, b), pairwise_ioa(a, b), matched_pairwise_iou(a, a)

    first, second = some_boxes(4, 0).tensor, some_boxes(5, 1).tensor
    assert_close(torch.jit.script(overlaps)(first, second), overlaps(first, second))
