import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import d2_ops


def oracle(masks: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Sampled values in float64, by torch's own bilinear sampler."""
    pasted = torch.zeros(len(masks), height, width, dtype=torch.float64)
    for i, (x1, y1, x2, y2) in enumerate(boxes.double().tolist()):
        columns = list(range(max(math.floor(x1) - 1, 0), min(math.ceil(x2) + 1, width)))
        rows = list(range(max(math.floor(y1) - 1, 0), min(math.ceil(y2) + 1, height)))
        if x1 >= x2 or y1 >= y2 or not columns or not rows:
            continue
        x = (torch.tensor(columns).double() + 0.5 - x1) / (x2 - x1) * 2 - 1
        y = (torch.tensor(rows).double() + 0.5 - y1) / (y2 - y1) * 2 - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), 2)
        mask = masks[i][None, None].double()
        sampled = torch.nn.functional.grid_sample(mask, grid[None], align_corners=False)
        pasted[i, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = sampled[0, 0]
    return pasted


def random_case(seed: int, n: int, mask_size: tuple[int, int] = (28, 28)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(n, *mask_size, dtype=torch.float64, generator=generator)
    corners = torch.rand(n, 2, dtype=torch.float64, generator=generator) * 60 - 10
    sides = torch.rand(n, 2, dtype=torch.float64, generator=generator) * 50
    return masks, torch.cat([corners, corners + sides], 1)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(0, 4),
    mask_size=st.sampled_from([(28, 28), (1, 1), (5, 9)]),
    image_shape=st.sampled_from([(40, 50), (1, 60), (33, 1)]),
    threshold=st.sampled_from([0.2, 0.5, 0.9]),
)
def test_thresholds_the_sampled_mask(
    seed: int, n: int, mask_size: tuple[int, int], image_shape: tuple[int, int], threshold: float
) -> None:
    masks, boxes = random_case(seed, n, mask_size)
    sampled = oracle(masks, boxes, *image_shape)
    pasted = d2_ops.paste_masks_in_image(masks, boxes, image_shape, threshold)
    assert pasted.dtype == torch.bool
    clear = (sampled - threshold).abs() > 1e-9
    assert pasted[clear].equal((sampled >= threshold)[clear])
    grey = d2_ops.paste_masks_in_image(masks, boxes, image_shape, -1)
    assert grey.dtype == torch.uint8
    whole = (sampled * 255 - (sampled * 255).round()).abs() < 1e-6
    assert grey[~whole].equal((sampled * 255).to(torch.uint8)[~whole])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_smaller_floats_differ_only_next_to_the_threshold(dtype: torch.dtype) -> None:
    masks, boxes = random_case(0, 5)
    masks = masks.to(dtype)
    sampled = oracle(masks, boxes.float(), 40, 50)
    pasted = d2_ops.paste_masks_in_image(masks, boxes.float(), (40, 50), 0.5)
    clear = (sampled - 0.5).abs() > 1e-4
    assert pasted[clear].equal((sampled >= 0.5)[clear])


def test_reference_values(golden: dict[str, Any]) -> None:
    values = golden["paste_masks_in_image"]
    arguments = values["masks"], values["boxes"], values["image_shape"]
    assert d2_ops.paste_masks_in_image(*arguments, 0.5).equal(values["thr05"])
    grey = d2_ops.paste_masks_in_image(*arguments, -1)
    difference = (grey.int() - values["thr_neg_uint8"].int()).abs()
    assert difference.max() <= 1  # values next to a whole grey level
    assert difference.sum() <= 2


def test_nearly_equals_torchvision() -> None:
    pytest.importorskip("torchvision", exc_type=ImportError)
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    masks = torch.zeros(1, 28, 28)
    masks[0, 5:20, 8:22] = 1
    boxes = torch.tensor([[10.0, 12, 66, 68]])  # two pixels a cell: their resizing is exact too
    theirs = paste_masks_in_image(masks[:, None], boxes, (80, 90))[:, 0] >= 0.5
    ours = d2_ops.paste_masks_in_image(masks, boxes, (80, 90))
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.9


def test_a_full_mask_fills_its_box() -> None:
    pasted = d2_ops.paste_masks_in_image(
        torch.ones(1, 28, 28), torch.tensor([[2.0, 3, 7, 9]]), (12, 10)
    )
    expected = torch.zeros(1, 12, 10, dtype=torch.bool)
    expected[:, 3:9, 2:7] = True
    assert pasted.equal(expected)


def test_threshold_zero_sets_the_box_and_one_pixel_around_it() -> None:
    pasted = d2_ops.paste_masks_in_image(
        torch.zeros(1, 4, 4), torch.tensor([[2.0, 3, 5, 6]]), (9, 9), 0
    )
    assert pasted.sum() == 25


def test_boxes_that_are_empty_or_not_finite_paste_nothing() -> None:
    boxes = torch.tensor(
        [
            [5.0, 5, 5, 9],
            [5, 5, 9, 5],
            [9, 9, 5, 5],
            [math.nan, 0, 9, 9],
            [0, 0, math.inf, 9],
            [50, 50, 60, 60],
            [-60, -60, -50, -50],
        ]
    )
    masks = torch.ones(len(boxes), 28, 28)
    assert not d2_ops.paste_masks_in_image(masks, boxes, (20, 20)).any()
    assert not d2_ops.paste_masks_in_image(masks, boxes, (20, 20), -1).any()


def test_values_outside_of_zero_to_one_saturate() -> None:
    masks = torch.tensor([-1.0, 2.0, math.nan])[:, None, None].expand(3, 4, 4)
    boxes = torch.tensor([[0.0, 0, 8, 8]]).repeat(3, 1)
    grey = d2_ops.paste_masks_in_image(masks, boxes, (8, 8), -1)
    assert grey[:, 4, 4].tolist() == [0, 255, 0]
    assert d2_ops.paste_masks_in_image(masks, boxes, (8, 8))[:, 4, 4].tolist() == [
        False,
        True,
        False,
    ]


def test_empty_inputs() -> None:
    none = d2_ops.paste_masks_in_image(torch.zeros(0, 28, 28), torch.zeros(0, 4), (5, 6))
    assert none.shape == (0, 5, 6)
    assert none.dtype == torch.bool
    boxes = torch.tensor([[0.0, 0, 4, 4]])
    assert d2_ops.paste_masks_in_image(torch.ones(1, 28, 28), boxes, (0, 6)).shape == (1, 0, 6)
    assert not d2_ops.paste_masks_in_image(torch.ones(1, 0, 28), boxes, (5, 6)).any()


def test_memory_is_allocated_for_the_result_alone(
    allocated_bytes: Callable[[Callable[[], object]], int],
) -> None:
    masks, boxes = random_case(0, 10)
    pasted = d2_ops.paste_masks_in_image(masks, boxes, (300, 400))
    used = allocated_bytes(lambda: d2_ops.paste_masks_in_image(masks, boxes, (300, 400)))
    assert used == pasted.nbytes == 10 * 300 * 400


def test_objects_with_a_tensor_and_any_strides_are_accepted() -> None:
    masks, boxes = random_case(1, 3)
    expected = d2_ops.paste_masks_in_image(masks, boxes, (40, 50))
    holder = SimpleNamespace(tensor=boxes.t().contiguous().t())
    transposed = masks.transpose(1, 2).contiguous().transpose(1, 2)
    assert d2_ops.paste_masks_in_image(transposed, holder, (40, 50)).equal(expected)


BAD_ARGUMENTS: list[tuple[type[Exception], str, dict[str, Any]]] = [
    (TypeError, "masks must be a floating tensor", {"masks": torch.zeros(2, 4, 4).bool()}),
    (TypeError, "boxes must be a floating tensor", {"boxes": torch.zeros(2, 4).long()}),
    (TypeError, "boxes must be a floating tensor, got .*list", {"boxes": [[0, 0, 1, 1]]}),
    (ValueError, r"masks must have shape \(N, H, W\)", {"masks": torch.zeros(2, 1, 4, 4)}),
    (ValueError, r"boxes must have shape \(N, 4\)", {"boxes": torch.zeros(2, 5)}),
    (ValueError, "2 masks but 3 boxes", {"boxes": torch.zeros(3, 4)}),
    (ValueError, "boxes is on meta", {"boxes": torch.zeros(2, 4, device="meta")}),
    (ValueError, "image_shape must not be negative, got -1 x 5", {"image_shape": (-1, 5)}),
    (TypeError, "image_shape must be height and width, got 5", {"image_shape": 5}),
    (ValueError, r"image_shape must be height and width, got \(5,\)", {"image_shape": (5,)}),
    (ValueError, "threshold is NaN", {"threshold": math.nan}),
]


@pytest.mark.parametrize(("error", "message", "change"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named(
    error: type[Exception], message: str, change: dict[str, Any]
) -> None:
    good = {"masks": torch.zeros(2, 4, 4), "boxes": torch.zeros(2, 4), "image_shape": (5, 5)}
    with pytest.raises(error, match=message):
        d2_ops.paste_masks_in_image(**{**good, **change})


def test_opcheck() -> None:
    d2_ops.load_library()
    masks, boxes = random_case(1, 3)
    bare = torch.ops.d2_ops.paste_masks_in_image.default
    torch.library.opcheck(bare, (masks, boxes, 20, 30, 0.5))
    torch.library.opcheck(bare, (masks, boxes, 20, 30, -1.0))


def test_compiles_in_one_graph_and_exports_with_dynamic_shapes() -> None:
    class Paste(torch.nn.Module):
        def forward(self, masks: Tensor, boxes: Tensor, image: Tensor) -> Tensor:
            height, width = image.shape[-2:]
            return d2_ops.paste_masks_in_image(masks, boxes, (height, width))

    compiled = torch.compile(Paste(), fullgraph=True, dynamic=True, backend="aot_eager")
    n, height, width = (torch.export.Dim(name, min=2) for name in ("n", "height", "width"))
    program = torch.export.export(
        Paste(),
        (*random_case(0, 3), torch.zeros(3, 40, 50)),
        dynamic_shapes=({0: n}, {0: n}, {1: height, 2: width}),
    )
    for arguments in (
        (*random_case(1, 3), torch.zeros(3, 40, 50)),
        (*random_case(2, 5), torch.zeros(3, 30, 60)),
    ):
        expected = Paste()(*arguments)
        assert compiled(*arguments).equal(expected)
        assert program.module()(*arguments).equal(expected)


def test_autocast_changes_nothing() -> None:
    masks, boxes = random_case(3, 4)
    masks = masks.float()
    expected = d2_ops.paste_masks_in_image(masks, boxes, (40, 50))
    with torch.autocast("cpu", torch.bfloat16):
        assert d2_ops.paste_masks_in_image(masks, boxes, (40, 50)).equal(expected)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("threshold", [0.0, 0.5, -1.0])
def test_cuda_equals_the_cpu(device: torch.device, dtype: torch.dtype, threshold: float) -> None:
    masks, boxes = random_case(2, 9)
    boxes[3] = math.nan
    masks = masks.to(dtype)
    for image_shape in ((40, 50), (1, 3), (33, 31)):
        expected = d2_ops.paste_masks_in_image(masks, boxes, image_shape, threshold)
        pasted = d2_ops.paste_masks_in_image(
            masks.to(device), boxes.to(device), image_shape, threshold
        )
        assert pasted.cpu().equal(expected)
