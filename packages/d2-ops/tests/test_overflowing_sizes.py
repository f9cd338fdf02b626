"""Sizes that no tensor can have, or no memory hold, are named; native errors tell no build path."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import d2_ops
from d2_ops import _host

MAP = torch.zeros(1, 2, 8, 8)
BOX = torch.tensor([[0.0, 0, 0, 4, 4]])
TURNED = torch.zeros(1, 6)

POOLING: dict[str, Callable[[Any], Tensor]] = {
    "roi_align": lambda size: d2_ops.roi_align(MAP, BOX, size),
    "roi_pool": lambda size: d2_ops.roi_pool(MAP, BOX, size),
    "roi_align_rotated": lambda size: d2_ops.roi_align_rotated(MAP, TURNED, size),
    "multilevel_roi_align": lambda size: d2_ops.multilevel_roi_align([MAP], BOX, size, [1.0]),
    "multilevel_roi_align_rotated": lambda size: d2_ops.multilevel_roi_align_rotated(
        [MAP], TURNED, size, [1.0]
    ),
}


@pytest.mark.parametrize("operator", POOLING.values(), ids=list(POOLING))
@pytest.mark.parametrize("size", [2**31, 2**62, 2**63, 10**30, (1, 2**63), (2**40, 2**40)])
def test_a_pooled_size_that_overflows_is_a_named_error(
    operator: Callable[[Any], Tensor], size: Any
) -> None:
    with pytest.raises(ValueError, match=r"pooled regions would have 1 x 2 x \d+ x \d+ elements"):
        operator(size)


@pytest.mark.parametrize("operator", POOLING.values(), ids=list(POOLING))
def test_a_result_that_no_memory_holds_is_named_with_its_shape(
    operator: Callable[[Any], Tensor],
) -> None:
    shape = r"a result cannot be made, .*no memory.*shape \(1, 2, 33554432, 33554432\), type"
    with pytest.raises(RuntimeError, match=shape):
        operator(2**25)


@pytest.mark.parametrize("operator", POOLING.values(), ids=list(POOLING))
@pytest.mark.parametrize("size", [(2.5, 3), "22", ("2", "2")])
def test_a_size_that_is_no_whole_number_is_named(
    operator: Callable[[Any], Tensor], size: Any
) -> None:
    with pytest.raises(TypeError, match="output_size must be"):
        operator(size)


@pytest.mark.parametrize("ratio", [2**17, 2**31, 2**63, 10**30])
def test_too_many_samples_are_refused_by_every_operator_that_takes_them(ratio: int) -> None:
    said = rf"sampling_ratio must be at most 65536, got {ratio}"
    for call in (
        lambda: d2_ops.roi_align(MAP, BOX, 2, 1.0, ratio),
        lambda: d2_ops.roi_align_rotated(MAP, TURNED, 2, 1.0, ratio),
        lambda: d2_ops.multilevel_roi_align([MAP], BOX, 2, [1.0], ratio),
        lambda: d2_ops.multilevel_roi_align_rotated([MAP], TURNED, 2, [1.0], ratio),
    ):
        with pytest.raises(ValueError, match=said):
            call()


@pytest.mark.parametrize("name", ["stride", "padding", "dilation"])
@pytest.mark.parametrize("value", [2**31, 2**63, 10**30, (1, 2**32)])
def test_settings_of_a_convolution_that_overflow_are_named(name: str, value: Any) -> None:
    offset, weight = torch.zeros(1, 2, 8, 8), torch.zeros(3, 2, 1, 1)
    with pytest.raises(ValueError, match=rf"{name} must be at least \d and at most 2147483647"):
        d2_ops.deform_conv2d(MAP, offset, weight, **{name: value})


def test_a_kernel_that_overflows_is_named() -> None:
    with pytest.raises(ValueError, match="the weight would have 2 x 2 x 2147483648 x 2147483648"):
        d2_ops.DeformConv(2, 2, 2**31)


@pytest.mark.parametrize("shape", [(2**63, 1), (2**31, 2**31), (10**30, 10**30)])
def test_an_image_that_overflows_is_named(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="the pasted masks would have 1 x"):
        d2_ops.paste_masks_in_image(torch.zeros(1, 4, 4), torch.zeros(1, 4), shape)


def test_an_expanded_argument_that_no_memory_holds_is_named_with_its_shape() -> None:
    boxes = torch.zeros(1, 4).expand(2**40, 4)
    with pytest.raises(RuntimeError, match=r"a copy of an argument .*shape \(1099511627776, 4\)"):
        d2_ops.pairwise_iou(boxes, boxes)


def test_native_errors_and_libraries_hold_no_build_path() -> None:
    with pytest.raises(RuntimeError) as caught:
        d2_ops.roi_align(MAP, BOX, 2**25)
    assert not re.search(r"/\w+/", str(caught.value))
    assert "torch_call_dispatcher" not in str(caught.value)
    info = d2_ops.build_info()
    libraries = {info["cpu_library"], info["cuda_library"], _host.__file__} - {None}
    assert len(libraries) >= 2
    for library in libraries:
        content = Path(str(library)).read_bytes()
        sources = set(re.findall(rb"[\w./+-]+\.(?:h|hpp|cuh|cpp|cu)\b", content))
        assert [source for source in sources if source.startswith(b"/")] == []
