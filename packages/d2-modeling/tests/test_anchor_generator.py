"""Anchors."""

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2_modeling.anchor_generator import DefaultAnchorGenerator


def maps(*sizes: tuple[int, int]) -> list[torch.Tensor]:
    return [torch.zeros(1, 1, *size) for size in sizes]


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_anchors_equal_the_reference(golden_modeling: Any, offset: float) -> None:
    golden = golden_modeling["anchors"]
    generator = DefaultAnchorGenerator(
        sizes=[[32, 64], [128]],
        aspect_ratios=[[0.5, 1.0, 2.0]],
        strides=[8, 16],
        offset=offset,
    )
    anchors = generator(maps(*golden["feature_sizes"]))
    for got, wanted in zip(anchors, golden[f"default_{offset}"], strict=True):
        torch.testing.assert_close(got.tensor, wanted, rtol=0, atol=0)


def test_retinanet_cells_equal_the_reference(golden_modeling: Any) -> None:
    sizes = [[x, x * 2 ** (1.0 / 3), x * 2 ** (2.0 / 3)] for x in (32, 64, 128, 256, 512)]
    generator = DefaultAnchorGenerator(
        sizes=sizes, aspect_ratios=[0.5, 1.0, 2.0], strides=[8, 16, 32, 64, 128], offset=0.0
    )
    wanted = golden_modeling["anchors"]["retinanet_cells"]
    for got, cell in zip(generator.cell_anchors, wanted, strict=True):
        torch.testing.assert_close(got, cell)


def test_cell_anchors_have_the_asked_areas_and_ratios_around_the_origin() -> None:
    cells = DefaultAnchorGenerator.generate_cell_anchors((32, 64), (0.5, 1, 2))
    size = cells[:, 2:] - cells[:, :2]
    torch.testing.assert_close(size.prod(1), torch.tensor([32.0**2] * 3 + [64.0**2] * 3))
    torch.testing.assert_close(size[:, 1] / size[:, 0], torch.tensor([0.5, 1, 2] * 2))
    torch.testing.assert_close(cells[:, :2], -cells[:, 2:])


def test_flat_lists_serve_every_feature_map() -> None:
    generator = DefaultAnchorGenerator(sizes=[16, 32], aspect_ratios=[1.0], strides=[4, 8])
    assert generator.num_anchors == generator.num_cell_anchors == [2, 2]
    assert generator.box_dim == 4


def test_anchors_are_not_part_of_the_state() -> None:
    generator = DefaultAnchorGenerator(sizes=[16], aspect_ratios=[1.0], strides=[4])
    assert generator.state_dict() == {}


def test_a_repeated_size_reuses_its_grid_even_after_inference_mode() -> None:
    generator = DefaultAnchorGenerator(sizes=[16], aspect_ratios=[1.0], strides=[4])
    with torch.inference_mode():
        first = generator(maps((3, 4)))[0].tensor
    second = generator(maps((3, 4)))[0].tensor
    assert first.data_ptr() == second.data_ptr()
    assert not second.is_inference()
    assert generator(maps((4, 3)))[0].tensor.shape == (12, 4)


def test_a_copy_starts_without_a_cache() -> None:
    generator = DefaultAnchorGenerator(sizes=[16], aspect_ratios=[1.0], strides=[4])
    generator(maps((3, 4)))
    twin = copy.deepcopy(generator)
    torch.testing.assert_close(twin(maps((3, 4)))[0].tensor, generator(maps((3, 4)))[0].tensor)


def test_many_sizes_do_not_fill_the_memory() -> None:
    generator = DefaultAnchorGenerator(sizes=[16], aspect_ratios=[1.0], strides=[4])
    for width in range(1, 200):
        generator(maps((1, width)))
    assert len(generator._grids) <= 64


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        DefaultAnchorGenerator(sizes=[16], aspect_ratios=[1.0], strides=[4], offset=1.0)
    with pytest.raises(ValueError, match="sizes has 2 lists for 3"):
        DefaultAnchorGenerator(sizes=[[16], [32]], aspect_ratios=[1.0], strides=[4, 8, 16])
    generator = DefaultAnchorGenerator(sizes=[16], aspect_ratios=[1.0], strides=[4])
    with pytest.raises(ValueError, match="2 feature maps"):
        generator(maps((1, 1), (1, 1)))


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.sampled_from([4, 8, 10]),
    st.sampled_from([0.0, 0.25, 0.5]),
    st.lists(st.floats(1, 64), min_size=1, max_size=3),
    st.lists(st.floats(0.25, 4), min_size=1, max_size=3),
)
def test_anchors_stand_on_every_pixel_by_row_column_size_and_ratio(
    size: tuple[int, int],
    stride: int,
    offset: float,
    sizes: list[float],
    ratios: list[float],
) -> None:
    generator = DefaultAnchorGenerator(
        sizes=[sizes], aspect_ratios=[ratios], strides=[stride], offset=offset
    )
    (anchors,) = generator([torch.zeros(1, 1, *size)])
    wanted = []
    for row in range(size[0]):
        for column in range(size[1]):
            x, y = (column + offset) * stride, (row + offset) * stride
            for length in sizes:
                for ratio in ratios:
                    width = math.sqrt(length * length / ratio)
                    height = ratio * width
                    wanted.append([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
    expected = torch.tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(anchors.tensor.double(), expected, rtol=1e-5, atol=1e-4)


def test_grids_follow_the_model_to_its_device_and_stay_single_precision() -> None:
    generator = DefaultAnchorGenerator(sizes=[[8]], aspect_ratios=[1.0], strides=[4])
    feature = torch.zeros(1, 1, 3, 3)
    assert generator([feature])[0].tensor.dtype == torch.float32
    assert generator.double()([feature])[0].tensor.dtype == torch.float32  # as boxes are
    assert generator.to("meta")([feature])[0].tensor.device.type == "meta"
    assert generator.state_dict() == {}
