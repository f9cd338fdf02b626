"""Grids of anchors: their place, order and number, and what generators are built from."""

import math
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_config import CfgNode, get_cfg
from d2_modeling import ShapeSpec
from d2_modeling.anchor_generator import (
    ANCHOR_GENERATOR_REGISTRY,
    DefaultAnchorGenerator,
    RotatedAnchorGenerator,
    anchors_per_pixel,
    build_anchor_generator,
)
from d2_modeling.export.quiet import quiet_torchscript
from d2_structures import RotatedBoxes


def maps(*sizes: tuple[int, int], images: int = 1) -> list[Tensor]:
    return [torch.zeros(images, 2, *size) for size in sizes]


def straight(**options: Any) -> DefaultAnchorGenerator:
    settings: dict[str, Any] = {
        "sizes": [[8.0, 16.0], [32.0]],
        "aspect_ratios": [0.5, 2.0],
        "strides": [4, 8],
    }
    return DefaultAnchorGenerator(**{**settings, **options})


def rotated(**options: Any) -> RotatedAnchorGenerator:
    settings: dict[str, Any] = {
        "sizes": [[8.0, 16.0], [32.0]],
        "aspect_ratios": [0.5, 2.0],
        "strides": [4, 8],
        "angles": [-30.0, 0.0, 90.0],
    }
    return RotatedAnchorGenerator(**{**settings, **options})


KINDS = [straight, rotated]


@settings(deadline=None, max_examples=20)
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.sampled_from([4, 10]),
    st.sampled_from([0.0, 0.25, 0.5]),
    st.lists(st.floats(1, 64), min_size=1, max_size=2),
    st.lists(st.floats(0.25, 4), min_size=1, max_size=2),
    st.lists(st.integers(-180, 179), min_size=1, max_size=3),
)
def test_rotated_anchors_stand_by_row_column_size_ratio_and_angle(
    size: tuple[int, int],
    stride: int,
    offset: float,
    sizes: list[float],
    ratios: list[float],
    angles: list[int],
) -> None:
    generator = RotatedAnchorGenerator(
        sizes=[sizes], aspect_ratios=[ratios], angles=[angles], strides=[stride], offset=offset
    )
    (anchors,) = generator(maps(size))
    wanted = []
    for row in range(size[0]):
        for column in range(size[1]):
            for length in sizes:
                for ratio in ratios:
                    width = math.sqrt(length * length / ratio)
                    place = [(column + offset) * stride, (row + offset) * stride]
                    wanted += [[*place, width, ratio * width, angle] for angle in angles]
    assert isinstance(anchors, RotatedBoxes)
    expected = torch.tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(anchors.tensor.double(), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("build", KINDS)
def test_each_map_has_its_sizes_and_number(build: Any) -> None:
    generator = build()
    per_pixel = 2 if build is straight else 6
    assert generator.num_anchors == generator.num_cell_anchors == [2 * per_pixel, per_pixel]
    first, second = generator(maps((3, 5), (2, 3)))
    assert len(first) == 3 * 5 * 2 * per_pixel
    assert len(second) == 2 * 3 * per_pixel
    areas = [sorted(set(anchors.area().round().tolist())) for anchors in (first, second)]
    assert areas == [[64, 256], [1024]]


@pytest.mark.parametrize("build", KINDS)
def test_maps_of_one_size_have_anchors_of_their_own(build: Any) -> None:
    first, second = build()(maps((3, 5), (3, 5)))
    alone, _ = build()(maps((3, 5), (1, 1)))
    _, other = build()(maps((1, 1), (3, 5)))
    assert first.tensor.equal(alone.tensor)
    assert second.tensor.equal(other.tensor)
    assert len(first) == 2 * len(second)


@pytest.mark.parametrize("build", KINDS)
def test_anchors_depend_neither_on_images_nor_on_channels_nor_on_their_layout(build: Any) -> None:
    generator = build()
    wanted = generator(maps((3, 5), (2, 3)))
    many = [each.contiguous(memory_format=torch.channels_last) for each in maps((3, 5), (2, 3))]
    for other in (maps((3, 5), (2, 3), images=0), maps((3, 5), (2, 3), images=7), many):
        for got, expected in zip(generator(other), wanted, strict=True):
            assert got.tensor.equal(expected.tensor)


@pytest.mark.parametrize("build", KINDS)
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_images_of_twice_the_size_have_anchors_of_twice_the_size(build: Any, offset: float) -> None:
    plain = build(offset=offset)(maps((3, 5), (2, 3)))
    double = build(offset=offset, sizes=[[16.0, 32.0], [64.0]], strides=[8, 16])
    for got, wanted in zip(double(maps((3, 5), (2, 3))), plain, strict=True):
        factor = torch.tensor([2.0, 2, 2, 2, 1])[: got.tensor.shape[1]]
        torch.testing.assert_close(got.tensor, wanted.tensor * factor)


@pytest.mark.parametrize("build", KINDS)
def test_a_smaller_map_has_the_first_rows_and_columns_of_a_larger(build: Any) -> None:
    generator = build()
    large, _ = generator(maps((4, 6), (1, 1)))
    small, _ = generator(maps((2, 3), (1, 1)))
    per_pixel = generator.num_anchors[0]
    grid = large.tensor.view(4, 6, per_pixel, -1)[:2, :3]
    assert small.tensor.equal(grid.reshape(len(small), -1))


@pytest.mark.parametrize("offset", [0.0, 0.5])
@pytest.mark.parametrize("build", KINDS)
@pytest.mark.parametrize("size", [(0, 3), (3, 0), (0, 0)])
def test_a_map_without_pixels_has_no_anchors(
    build: Any, offset: float, size: tuple[int, int]
) -> None:
    generator = build(offset=offset)
    none, some = generator(maps(size, (1, 1)))
    assert none.tensor.shape == (0, generator.box_dim)
    assert len(some) == generator.num_anchors[1]


def test_offsets_move_all_anchors_by_that_share_of_their_stride() -> None:
    at_corner, shifted = (straight(offset=offset)(maps((3, 5), (2, 3))) for offset in (0.0, 0.25))
    for got, wanted, stride in zip(shifted, at_corner, (4, 8), strict=True):
        torch.testing.assert_close(got.tensor, wanted.tensor + 0.25 * stride)


def test_the_default_offset_centres_anchors_on_their_cells() -> None:
    generator = DefaultAnchorGenerator(sizes=[8], aspect_ratios=[1.0], strides=[8])
    (anchors,) = generator(maps((2, 2)))
    assert anchors.tensor.tolist() == [[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16]]


def test_default_cells_are_those_of_the_published_models() -> None:
    cells = DefaultAnchorGenerator.generate_cell_anchors()
    assert cells.shape == (15, 4)
    areas = ((cells[:, 2:] - cells[:, :2]).prod(dim=1)).sqrt().round()
    assert areas.tolist() == [size for size in (32, 64, 128, 256, 512) for _ in range(3)]
    turned = RotatedAnchorGenerator.generate_cell_anchors()
    assert turned.shape == (105, 5)
    assert turned[:7, 4].tolist() == [-90, -60, -30, 0, 30, 60, 90]
    assert not turned[:, :2].any()


@pytest.mark.parametrize("build", KINDS)
def test_what_was_pickled_makes_the_same_anchors(build: Any) -> None:
    generator = build()
    wanted = generator(maps((3, 5), (2, 3)))
    loaded = pickle.loads(pickle.dumps(generator))
    assert len(pickle.dumps(loaded)) == len(pickle.dumps(build()))  # no grid was in it
    for got, expected in zip(loaded(maps((3, 5), (2, 3))), wanted, strict=True):
        assert got.tensor.equal(expected.tensor)


@pytest.mark.parametrize("build", KINDS)
def test_a_trace_makes_the_anchors_of_other_sizes_too(build: Any) -> None:
    generator = build()

    def rows(first: Tensor, second: Tensor) -> tuple[Tensor, ...]:
        return tuple(boxes.tensor for boxes in generator([first, second]))

    with quiet_torchscript():
        traced = torch.jit.trace(rows, tuple(maps((3, 5), (2, 3))), check_trace=False)
    for sizes in (((3, 5), (2, 3)), ((4, 6), (3, 2))):
        for got, wanted in zip(traced(*maps(*sizes)), generator(maps(*sizes)), strict=True):
            torch.testing.assert_close(got, wanted.tensor)


@pytest.mark.parametrize("build", KINDS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": []}, "sizes is empty"),
        ({"aspect_ratios": []}, "aspect_ratios is empty"),
        ({"sizes": [[8], [8], [8]]}, "sizes has 3 lists for 2 feature maps; give one per map or"),
        ({"aspect_ratios": [[1.0]] * 4}, "aspect_ratios has 4 lists for 2 feature maps"),
        ({"offset": 1.0}, r"offset has to be in \[0, 1\), got 1\.0"),
        ({"offset": -0.1}, r"offset has to be in \[0, 1\), got -0\.1"),
    ],
)
def test_lists_and_offsets_that_do_not_fit_are_named(
    build: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_angles_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="angles is empty"):
        rotated(angles=[])
    with pytest.raises(ValueError, match="angles has 3 lists for 2 feature maps"):
        rotated(angles=[[0], [0], [0]])


@pytest.mark.parametrize("build", KINDS)
def test_another_number_of_maps_is_named(build: Any) -> None:
    with pytest.raises(ValueError, match="has 2 strides, got 1 feature maps"):
        build()(maps((3, 5)))


def test_a_shared_head_needs_one_number_of_anchors() -> None:
    assert anchors_per_pixel(straight(sizes=[8, 16]), "the head") == 4
    with pytest.raises(
        ValueError, match=r"the head wants as many anchors .* got \[4, 2\]; see MODEL\.ANCHOR_GENE"
    ):
        anchors_per_pixel(straight(), "the head")


def config(**options: Any) -> CfgNode:
    cfg = get_cfg()
    for key, value in options.items():
        setattr(cfg.MODEL.ANCHOR_GENERATOR, key, value)
    return cfg


SHAPES = [ShapeSpec(channels=4, stride=4), ShapeSpec(channels=4, stride=8)]


def test_a_config_names_the_generator_and_its_lists() -> None:
    cfg = config(SIZES=[[8.0, 16.0], [32.0]], ASPECT_RATIOS=[[0.5, 2.0]], OFFSET=0.5)
    turned = cfg.clone()
    turned.MODEL.ANCHOR_GENERATOR.NAME = "RotatedAnchorGenerator"
    turned.MODEL.ANCHOR_GENERATOR.ANGLES = [[-30.0, 0.0, 90.0]]
    for each, wanted in ((cfg, straight()), (turned, rotated())):
        generator = build_anchor_generator(each, SHAPES)
        assert type(generator) is type(wanted)
        pairs = zip(generator(maps((3, 5), (2, 3))), wanted(maps((3, 5), (2, 3))), strict=True)
        for got, expected in pairs:
            assert got.tensor.equal(expected.tensor)


def test_an_unknown_generator_is_named() -> None:
    with pytest.raises(KeyError, match="NoAnchors"):
        build_anchor_generator(config(NAME="NoAnchors"), SHAPES)


def test_a_registered_callable_is_called_with_config_and_shapes() -> None:
    @ANCHOR_GENERATOR_REGISTRY.register()
    def one_anchor_of_mine(cfg: CfgNode, input_shape: list[ShapeSpec]) -> tuple[float, int]:
        return cfg.MODEL.ANCHOR_GENERATOR.OFFSET, len(input_shape)

    cfg = config(NAME="one_anchor_of_mine", OFFSET=0.25)
    assert build_anchor_generator(cfg, SHAPES) == (0.25, 2)
