import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import d2_ops

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
CLAMP = math.log(1000 / 16)
WEIGHTS = {4: (10.0, 10.0, 5.0, 5.0), 5: (10.0, 10.0, 5.0, 5.0, 2.0)}
DECODE: dict[int, Callable[..., Tensor]] = {
    4: d2_ops.decode_boxes,
    5: d2_ops.decode_rotated_boxes,
}
CLIP: dict[int, Callable[..., tuple[Tensor, Tensor]]] = {
    4: d2_ops.decode_and_clip_boxes,
    5: d2_ops.decode_and_clip_rotated_boxes,
}


def oracle(delta: list[float], box: list[float], weights: tuple[float, ...]) -> list[float]:
    """The definitions, of one box."""
    dx, dy, dw, dh = (d / w for d, w in zip(delta[:4], weights, strict=False))
    rotated = len(box) == 5
    width, height = box[2:4] if rotated else (box[2] - box[0], box[3] - box[1])
    x, y = box[:2] if rotated else (box[0] + width / 2, box[1] + height / 2)
    x, y = x + dx * width, y + dy * height
    width, height = width * math.exp(min(dw, CLAMP)), height * math.exp(min(dh, CLAMP))
    if rotated:
        angle = box[4] + math.degrees(delta[4] / weights[4])
        return [x, y, width, height, (angle + 180) % 360 - 180]
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]


def deltas_and_boxes(n: int, k: int, columns: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    corner, sides = rand(n, 2) * 200, rand(n, 2) * 80 + 1
    deltas = torch.randn(n, k * columns, generator=generator, dtype=torch.float64) * 5
    if columns == 5:
        return deltas, torch.cat([corner, sides, rand(n, 1) * 360 - 180], 1)
    return deltas, torch.cat([corner, corner + sides], 1)


def expected_boxes(deltas: Tensor, boxes: Tensor) -> Tensor:
    n, columns = boxes.shape
    k = deltas.shape[1] // columns
    rows = deltas.reshape(n, k, columns).tolist()
    decoded = [
        [oracle(delta, box, WEIGHTS[columns]) for delta in row]
        for row, box in zip(rows, boxes.tolist(), strict=True)
    ]
    return torch.tensor(decoded, dtype=torch.float64).reshape(n, k * columns)


@pytest.mark.parametrize("columns", [4, 5])
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 6), st.integers(0, 4), st.integers(0, 2**32))
def test_every_box_has_its_definition(columns: int, n: int, k: int, seed: int) -> None:
    deltas, boxes = deltas_and_boxes(n, k, columns, seed)
    decoded = DECODE[columns](deltas, boxes, WEIGHTS[columns])
    torch.testing.assert_close(decoded, expected_boxes(deltas, boxes), rtol=0, atol=1e-9)
    single = DECODE[columns](deltas.float(), boxes.float(), WEIGHTS[columns])
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), decoded, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sizes_are_exponentials_and_bounded(dtype: torch.dtype) -> None:
    logs = torch.linspace(-90, 90, 4001, dtype=torch.float64)
    deltas = torch.stack([torch.zeros_like(logs)] * 2 + [logs] * 2, 1)
    unit = torch.tensor([[-0.5, -0.5, 0.5, 0.5]], dtype=torch.float64).expand(len(logs), 4)
    for clamp in (CLAMP, 80.0):
        decoded = d2_ops.decode_boxes(deltas.to(dtype), unit, scale_clamp=clamp)
        sides = decoded[:, 2] - decoded[:, 0]
        expected = logs.to(dtype).double().clamp(max=clamp).exp()
        torch.testing.assert_close(sides.double(), expected, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("columns", [4, 5])
def test_no_offset_gives_the_boxes_back(columns: int) -> None:
    deltas, boxes = deltas_and_boxes(6, 3, columns)
    decoded = DECODE[columns](torch.zeros_like(deltas), boxes)
    torch.testing.assert_close(decoded, boxes.repeat(1, 3))


def test_angles_are_normal() -> None:
    boxes = torch.tensor([[5.0, 5, 4, 2, 170]]).expand(4, 5)
    turns = torch.tensor([0.0, 20, -700, 10]).deg2rad()
    deltas = torch.cat([torch.zeros(4, 4), turns[:, None]], 1)
    angles = d2_ops.decode_rotated_boxes(deltas, boxes)[:, 4]
    assert ((angles >= -180) & (angles < 180)).all()
    torch.testing.assert_close(angles[:3], torch.tensor([170.0, -170, -170]), atol=1e-3, rtol=0)
    torch.testing.assert_close(angles[3].abs(), torch.tensor(180.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("columns", [4, 5])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_decodes_in_single(columns: int, dtype: torch.dtype) -> None:
    deltas, boxes = deltas_and_boxes(5, 2, columns)
    decoded = DECODE[columns](deltas.to(dtype), boxes.float())
    assert decoded.dtype == torch.float32
    assert decoded.equal(DECODE[columns](deltas.to(dtype).float(), boxes.float()))


@pytest.mark.parametrize("columns", [4, 5])
def test_gradients_are_those_of_finite_differences(columns: int) -> None:
    deltas, boxes = deltas_and_boxes(3, 2, columns)
    deltas[0, 2] = 1000  # clamped
    arguments = deltas.requires_grad_(), boxes.requires_grad_()

    def decode(deltas: Tensor, boxes: Tensor) -> Tensor:
        return DECODE[columns](deltas, boxes, WEIGHTS[columns])

    assert torch.autograd.gradcheck(decode, arguments)
    assert torch.autograd.gradgradcheck(decode, arguments)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 8), st.integers(1, 3), st.integers(0, 2**32), st.floats(0, 60))
def test_clipped_boxes_stay_in_the_image(n: int, k: int, seed: int, min_size: float) -> None:
    deltas, boxes = deltas_and_boxes(n, k, 4, seed)
    height, width = 120, 90
    clipped, keep = d2_ops.decode_and_clip_boxes(
        deltas, boxes, (height, width), WEIGHTS[4], min_size=min_size
    )
    corners = d2_ops.decode_boxes(deltas, boxes, WEIGHTS[4]).reshape(n, k, 2, 2)
    most = torch.tensor([width, height], dtype=torch.float64)
    expected = torch.minimum(corners.clamp(min=0), most)
    assert clipped.equal(expected.reshape(n, k * 4))
    assert keep.equal((expected[:, :, 1] - expected[:, :, 0] > min_size).all(2))


def test_only_nearly_upright_rotated_boxes_are_clipped() -> None:
    boxes = torch.tensor(
        [[5.0, 5, 20, 4, 0.5], [5, 5, 20, 4, -1], [5, 5, 20, 4, 1.5], [50, 50, 4, 4, 0]]
    )
    clipped, keep = d2_ops.decode_and_clip_rotated_boxes(
        torch.zeros(4, 5), boxes, (40, 12), clip_angle_threshold=1.0
    )
    expected = torch.tensor([[6.0, 5, 12, 4, 0.5], [6, 5, 12, 4, -1], [5, 5, 20, 4, 1.5]])
    torch.testing.assert_close(clipped[:3], expected)
    assert keep[:, 0].tolist() == [True, True, True, False]
    wide = d2_ops.decode_and_clip_rotated_boxes(
        torch.zeros(4, 5), boxes, (40, 12), min_size=5, clip_angle_threshold=2.0
    )
    torch.testing.assert_close(wide.boxes[2], torch.tensor([6.0, 5, 12, 4, 1.5]))
    assert not wide.keep.any()


@pytest.mark.parametrize("columns", [4, 5])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_boxes_that_are_not_finite_are_not_kept(columns: int, value: float) -> None:
    deltas, boxes = deltas_and_boxes(columns, 1, columns)
    deltas[range(columns), range(columns)] = value
    bounded = {2, 3} if value < 0 else set()  # exp(-inf) is 0, a box without area
    if value > 0:
        bounded = {2, 3}  # the clamp applies
    _, keep = CLIP[columns](deltas / 5, boxes, (10**6, 10**6), WEIGHTS[columns], min_size=-1)
    assert {i for i, kept in enumerate(keep[:, 0].tolist()) if kept} <= bounded
    spoiled = boxes.clone()
    spoiled[:, 0] = value
    zeros = torch.zeros_like(deltas)
    assert not CLIP[columns](zeros, spoiled, (100, 100), WEIGHTS[columns])[1].any()


@pytest.mark.parametrize("columns", [4, 5])
def test_inputs_of_any_stride(columns: int) -> None:
    deltas, boxes = deltas_and_boxes(7, 3, columns)
    turned = deltas.t().contiguous().t(), boxes.t().contiguous().t()
    assert DECODE[columns](*turned).equal(DECODE[columns](deltas, boxes))


@pytest.mark.parametrize("columns", [4, 5])
def test_autocast_changes_nothing(columns: int) -> None:
    deltas, boxes = (tensor.float() for tensor in deltas_and_boxes(6, 2, columns))
    decoded, clipped = DECODE[columns](deltas, boxes), CLIP[columns](deltas, boxes, (90, 120))
    with torch.autocast("cpu", torch.bfloat16):
        assert DECODE[columns](deltas, boxes).equal(decoded)
        assert CLIP[columns](deltas, boxes, (90, 120))[0].equal(clipped[0])


def test_torchvision_agrees() -> None:
    detection = pytest.importorskip("torchvision.models.detection._utils")
    deltas, boxes = deltas_and_boxes(20, 3, 4)
    expected = detection.BoxCoder(WEIGHTS[4]).decode_single(deltas, boxes)
    torch.testing.assert_close(d2_ops.decode_boxes(deltas, boxes, WEIGHTS[4]), expected)


@pytest.mark.parametrize("columns", [4, 5])
@pytest.mark.parametrize(
    ("error", "message", "changed"),
    [
        (TypeError, "deltas must be a floating tensor", {"deltas": torch.zeros(2, 20).long()}),
        (ValueError, r"deltas must have shape \(2, k \* ", {"deltas": torch.zeros(2, 6)}),
        (ValueError, r"deltas must have shape \(2, k \* ", {"deltas": torch.zeros(3, 20)}),
        (ValueError, r"boxes must have shape \(N, ", {"boxes": torch.zeros(2, 3)}),
        (ValueError, "deltas is on meta", {"deltas": torch.zeros(2, 20, device="meta")}),
        (ValueError, "weights must be", {"weights": (1.0, 1.0)}),
        (ValueError, "weights must be", {"weights": (0.0,) * 5}),
        (ValueError, "weights must be", {"weights": (math.nan,) * 5}),
        (ValueError, "scale_clamp is NaN", {"scale_clamp": math.nan}),
    ],
)
def test_a_bad_argument_is_named(
    columns: int, error: type[Exception], message: str, changed: dict[str, object]
) -> None:
    arguments = {"deltas": torch.zeros(2, 20), "boxes": torch.zeros(2, columns), **changed}
    with pytest.raises(error, match=message):
        DECODE[columns](**arguments)
    with pytest.raises(error, match=message):
        CLIP[columns](**arguments, image_size=(10, 10))


@pytest.mark.parametrize("columns", [4, 5])
def test_bad_bounds_are_named(columns: int) -> None:
    boxes = torch.zeros(2, columns)
    with pytest.raises(ValueError, match="image_size must not be negative, got -1 x 4"):
        CLIP[columns](boxes, boxes, (-1, 4))
    with pytest.raises(ValueError, match=r"image_size must be height and width, got \(4, 4, 3\)"):
        CLIP[columns](boxes, boxes, (4, 4, 3))
    with pytest.raises(ValueError, match="min_size is NaN"):
        CLIP[columns](boxes, boxes, (4, 4), min_size=math.nan)


def test_the_bare_operators_check_their_arguments_too(bare_error: type[Exception]) -> None:
    d2_ops.load_library()
    bare, boxes = torch.ops.d2_ops, torch.zeros(2, 4)
    with pytest.raises(bare_error, match=r"deltas must have shape \(N, k \* 4\)"):
        bare.decode_boxes(torch.zeros(2, 6), boxes, [1.0] * 4, CLAMP)
    with pytest.raises(bare_error, match="weights must have 4 values, got 3"):
        bare.decode_boxes(boxes, boxes, [1.0] * 3, CLAMP)
    with pytest.raises(bare_error, match="weights must be finite and not 0"):
        bare.decode_boxes(boxes, boxes, [1.0, 1, 1, 0], CLAMP)
    with pytest.raises(bare_error, match="image_size must not be negative"):
        bare.decode_and_clip_boxes(boxes, boxes, [1.0] * 4, CLAMP, -1, 3, 0.0)


# opcheck itself looks at gradients of tensors that are not leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("columns", [4, 5])
def test_opcheck(columns: int) -> None:
    d2_ops.load_library()
    bare = torch.ops.d2_ops
    decode = (bare.decode_boxes, bare.decode_rotated_boxes)[columns - 4].default
    clip = (bare.decode_and_clip_boxes, bare.decode_and_clip_rotated_boxes)[columns - 4].default
    deltas, boxes = deltas_and_boxes(3, 2, columns)
    coding = [*WEIGHTS[columns]], CLAMP
    torch.library.opcheck(
        decode, (deltas.clone().requires_grad_(), boxes.clone().requires_grad_(), *coding)
    )
    bounds = (50, 60, 1.0, 1.0)[: columns - 1]
    torch.library.opcheck(clip, (deltas.half(), boxes.half(), *coding, *bounds))


def test_compiles_in_one_graph_and_exports_with_dynamic_shapes() -> None:
    columns = 4

    class Decode(torch.nn.Module):
        def forward(self, deltas: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
            decoded = DECODE[columns](deltas * 2, boxes, WEIGHTS[columns])
            keep = CLIP[columns](deltas, boxes, (50, 60), WEIGHTS[columns])[1]
            return decoded, keep

    module = Decode()
    compiled = torch.compile(module, fullgraph=True, dynamic=True, backend="aot_eager")
    for n in (4, 7):
        deltas, boxes = deltas_and_boxes(n, 3, columns)
        ours, theirs = (deltas.clone().requires_grad_() for _ in range(2))
        compiled(ours, boxes)[0].sum().backward()
        module(theirs, boxes)[0].sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)
    rows = torch.export.Dim("rows", min=2)
    program = torch.export.export(
        module, deltas_and_boxes(4, 3, columns), dynamic_shapes=({0: rows}, {0: rows})
    )
    more = deltas_and_boxes(11, 3, columns)
    for got, wanted in zip(program.module()(*more), module(*more), strict=True):
        assert got.equal(wanted)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("columns", [4, 5])
def test_cuda_equals_the_cpu(device: torch.device, dtype: torch.dtype, columns: int) -> None:
    for n, k in ((300, 1), (20, 80), (0, 3), (5, 0)):
        deltas, boxes = (t.to(dtype) for t in deltas_and_boxes(n, k, columns))
        there = deltas.to(device), boxes.to(device)
        expected = DECODE[columns](deltas, boxes, WEIGHTS[columns])
        decoded = DECODE[columns](*there, WEIGHTS[columns])
        torch.testing.assert_close(decoded.cpu(), expected, rtol=1e-5, atol=1e-3)
        clipped = CLIP[columns](*there, (100, 120), WEIGHTS[columns])
        expected_clipped = CLIP[columns](deltas, boxes, (100, 120), WEIGHTS[columns])
        torch.testing.assert_close(clipped[0].cpu(), expected_clipped[0], rtol=1e-5, atol=1e-3)
        assert clipped[1].shape == expected_clipped[1].shape
