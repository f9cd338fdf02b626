"""What every operator promises on a CUDA device, each held against the CPU."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import d2_ops

pytestmark = pytest.mark.gpu

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
SCALES = [0.25, 0.125]


class Case(NamedTuple):
    """An operator as it is called.

    Attributes:
        call: takes the tensors by name.
        tensors: of how many regions, from which generator.
        learned: names of the tensors that have gradients.
        waits: whether the size of the result is known only on the device.
    """

    call: Callable[..., Any]
    tensors: Callable[[int, torch.Generator], dict[str, Tensor]]
    learned: tuple[str, ...] = ()
    waits: bool = False


def corners(n: int, random: torch.Generator) -> Tensor:
    centres = torch.rand(n, 2, generator=random) * 100
    sides = torch.rand(n, 2, generator=random) * 50 + 2
    return torch.cat([centres - sides / 2, centres + sides / 2], 1)


def rotated(n: int, random: torch.Generator) -> Tensor:
    scale = torch.tensor([100.0, 100, 50, 50, 360])
    return torch.rand(n, 5, generator=random) * scale + torch.tensor([0.0, 0, 2, 2, -180])


def scored(boxes: Callable[[int, torch.Generator], Tensor]) -> Callable[..., dict[str, Tensor]]:
    def tensors(n: int, random: torch.Generator) -> dict[str, Tensor]:
        scores = torch.rand(n, generator=random)
        return {"boxes": boxes(n, random), "scores": scores, "idxs": torch.arange(n) % 3}

    return tensors


def two_sets(boxes: Callable[[int, torch.Generator], Tensor]) -> Callable[..., dict[str, Tensor]]:
    return lambda n, random: {"boxes1": boxes(n, random), "boxes2": boxes(7, random)}


def offsets(
    boxes: Callable[[int, torch.Generator], Tensor], columns: int
) -> Callable[..., dict[str, Tensor]]:
    def tensors(n: int, random: torch.Generator) -> dict[str, Tensor]:
        return {
            "deltas": torch.randn(n, 3 * columns, generator=random),
            "boxes": boxes(n, random),
        }

    return tensors


def regions(boxes: Callable[[int, torch.Generator], Tensor]) -> Callable[..., dict[str, Tensor]]:
    def tensors(n: int, random: torch.Generator) -> dict[str, Tensor]:
        fine = torch.randn(2, 3, 26, 30, generator=random)
        coarse = torch.randn(2, 3, 13, 15, generator=random)
        index = torch.randint(0, 2, (n, 1), generator=random)
        rois = torch.cat([index, boxes(n, random)], 1)
        return {"fine": fine, "coarse": coarse, "rois": rois, "levels": torch.arange(n) % 2}

    return tensors


def logits(n: int, random: torch.Generator) -> dict[str, Tensor]:
    targets = (torch.rand(n, 5, generator=random) < 0.2).float()
    return {"inputs": 3 * torch.randn(n, 5, generator=random), "targets": targets}


def convolution(n: int, random: torch.Generator) -> dict[str, Tensor]:
    shapes = {
        "input": (n, 4, 6, 7),
        "offset": (n, 18, 6, 7),
        "weight": (5, 4, 3, 3),
        "bias": (5,),
        "mask": (n, 9, 6, 7),
    }
    return {name: torch.randn(shape, generator=random) for name, shape in shapes.items()}


def masks(n: int, random: torch.Generator) -> dict[str, Tensor]:
    return {"masks": torch.rand(n, 9, 9, generator=random), "boxes": corners(n, random)}


def loss_of_pairs(loss: Callable[..., Tensor]) -> Case:
    def tensors(n: int, random: torch.Generator) -> dict[str, Tensor]:
        return {"boxes1": corners(n, random), "boxes2": corners(n, random)}

    return Case(lambda boxes1, boxes2: loss(boxes1, boxes2), tensors, ("boxes1", "boxes2"))


PAIR = ("boxes1", "boxes2")
MAPS = ("fine", "coarse")
CASES = {
    "nms": Case(
        lambda boxes, scores, **_: d2_ops.nms(boxes, scores, 0.3), scored(corners), (), True
    ),
    "batched_nms": Case(
        lambda boxes, scores, idxs: d2_ops.batched_nms(boxes, scores, idxs, 0.3),
        scored(corners),
        waits=True,
    ),
    "nms_rotated": Case(
        lambda boxes, scores, **_: d2_ops.nms_rotated(boxes, scores, 0.3), scored(rotated), (), True
    ),
    "batched_nms_rotated": Case(
        lambda boxes, scores, idxs: d2_ops.batched_nms_rotated(boxes, scores, idxs, 0.3),
        scored(rotated),
        waits=True,
    ),
    "batched_nms_of_all": Case(
        lambda boxes, scores, idxs: d2_ops.batched_nms_of_all(boxes, scores, idxs, 0.3),
        scored(corners),
    ),
    "batched_nms_rotated_of_all": Case(
        lambda boxes, scores, idxs: d2_ops.batched_nms_rotated_of_all(boxes, scores, idxs, 0.3),
        scored(rotated),
    ),
    "pairwise_iou": Case(
        lambda boxes1, boxes2: d2_ops.pairwise_iou(boxes1, boxes2), two_sets(corners), PAIR
    ),
    "pairwise_ioa": Case(
        lambda boxes1, boxes2: d2_ops.pairwise_ioa(boxes1, boxes2), two_sets(corners), PAIR
    ),
    "pairwise_giou": Case(
        lambda boxes1, boxes2: d2_ops.pairwise_giou(boxes1, boxes2), two_sets(corners), PAIR
    ),
    "box_iou_rotated": Case(
        lambda boxes1, boxes2: d2_ops.box_iou_rotated(boxes1, boxes2), two_sets(rotated)
    ),
    "match_anchors": Case(
        lambda boxes1, boxes2: d2_ops.match_anchors(boxes2, boxes1, [0.3, 0.7], [0, -1, 1], True),
        two_sets(corners),
    ),
    "decode_boxes": Case(
        lambda deltas, boxes: d2_ops.decode_boxes(deltas, boxes, WEIGHTS),
        offsets(corners, 4),
        ("deltas", "boxes"),
    ),
    "decode_and_clip_boxes": Case(
        lambda deltas, boxes: d2_ops.decode_and_clip_boxes(
            deltas, boxes, (80, 90), WEIGHTS, min_size=4.0
        ),
        offsets(corners, 4),
    ),
    "decode_rotated_boxes": Case(
        lambda deltas, boxes: d2_ops.decode_rotated_boxes(deltas, boxes, (*WEIGHTS, 1.0)),
        offsets(rotated, 5),
        ("deltas", "boxes"),
    ),
    "decode_and_clip_rotated_boxes": Case(
        lambda deltas, boxes: d2_ops.decode_and_clip_rotated_boxes(
            deltas, boxes, (80, 90), (*WEIGHTS, 1.0), min_size=4.0
        ),
        offsets(rotated, 5),
    ),
    "sigmoid_focal_loss": Case(
        lambda inputs, targets: d2_ops.sigmoid_focal_loss(inputs, targets, 0.25, 2.0, "none"),
        logits,
        ("inputs",),
    ),
    "sigmoid_focal_loss, summed": Case(
        lambda inputs, targets: d2_ops.sigmoid_focal_loss(inputs, targets, 0.25, 1.5, "sum"),
        logits,
        ("inputs",),
    ),
    "giou_loss": loss_of_pairs(d2_ops.giou_loss),
    "diou_loss": loss_of_pairs(d2_ops.diou_loss),
    "ciou_loss": loss_of_pairs(d2_ops.ciou_loss),
    "smooth_l1_loss": loss_of_pairs(lambda a, b: d2_ops.smooth_l1_loss(a, b, 0.1)),
    "roi_align": Case(
        lambda fine, rois, **_: d2_ops.roi_align(fine, rois, (7, 5), 0.25, 0, True),
        regions(corners),
        ("fine",),
    ),
    "roi_align, twice sampled": Case(
        lambda fine, rois, **_: d2_ops.roi_align(fine, rois, 3, 0.25, 2),
        regions(corners),
        ("fine",),
    ),
    "roi_align_rotated": Case(
        lambda fine, rois, **_: d2_ops.roi_align_rotated(fine, rois, (7, 5), 0.25, 0),
        regions(rotated),
        ("fine",),
    ),
    "roi_pool": Case(
        lambda fine, rois, **_: d2_ops.roi_pool(fine, rois, (7, 5), 0.25),
        regions(corners),
        ("fine",),
    ),
    "multilevel_roi_align": Case(
        lambda fine, coarse, rois, levels: d2_ops.multilevel_roi_align(
            [fine, coarse], rois, 7, SCALES, 0, True, levels=levels
        ),
        regions(corners),
        MAPS,
    ),
    "multilevel_roi_align, by size": Case(
        lambda fine, coarse, rois, **_: d2_ops.multilevel_roi_align(
            [fine, coarse], rois, 7, SCALES, 0, True, canonical_box_size=40, canonical_level=2
        ),
        regions(corners),
        MAPS,
    ),
    "multilevel_roi_align_rotated": Case(
        lambda fine, coarse, rois, levels: d2_ops.multilevel_roi_align_rotated(
            [fine, coarse], rois, 7, SCALES, 0, levels=levels
        ),
        regions(rotated),
        MAPS,
    ),
    "deform_conv2d": Case(
        lambda **tensors: d2_ops.deform_conv2d(**tensors, padding=1),
        convolution,
        ("input", "offset", "weight", "bias", "mask"),
    ),
    "deform_conv2d, not modulated": Case(
        lambda mask, **tensors: d2_ops.deform_conv2d(**tensors, padding=1),
        convolution,
        ("input", "offset", "weight", "bias"),
    ),
    "paste_masks_in_image": Case(
        lambda masks, boxes: d2_ops.paste_masks_in_image(masks, boxes, (90, 100)), masks
    ),
}


def made(case: Case, n: int = 12, seed: int = 0) -> dict[str, Tensor]:
    return case.tensors(n, torch.Generator().manual_seed(seed))


def results(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else list(value)


def outcome(case: Case, tensors: dict[str, Tensor]) -> list[Tensor]:
    """The results, then the gradients of what has some, under fixed weights."""
    leaves = {
        name: tensor.detach().requires_grad_() if name in case.learned else tensor
        for name, tensor in tensors.items()
    }
    found = results(case.call(**leaves))
    wanted = [leaves[name] for name in case.learned]
    if not wanted:
        return found
    random = torch.Generator().manual_seed(1)
    weights = [torch.randn(r.shape, generator=random).to(r) for r in found]
    return [r.detach() for r in found] + list(torch.autograd.grad(found, wanted, weights))


def assert_same(ours: list[Tensor], theirs: list[Tensor], tolerance: float) -> None:
    """Equal up to ``tolerance`` times the largest value; exactly where values are no floats."""
    for got, wanted in zip(ours, theirs, strict=True):
        assert got.shape == wanted.shape
        if not wanted.is_floating_point():
            assert got.cpu().equal(wanted.cpu())
            continue
        scale = float(wanted.abs().max()) if wanted.numel() else 0.0
        torch.testing.assert_close(
            got.double().cpu(), wanted.double().cpu(), atol=tolerance * scale, rtol=tolerance
        )


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def test_single_precision_is_that_of_the_definition_in_double(
    case: Case, device: torch.device
) -> None:
    tensors = made(case)
    exact = {n: t.double() if t.is_floating_point() else t for n, t in tensors.items()}
    on_device = {n: t.to(device) for n, t in tensors.items()}
    ours = outcome(case, on_device)
    assert all(result.device.type == device.type for result in ours)
    assert_same(ours, outcome(case, exact), 2e-5)


def test_double_precision_is_that_of_the_cpu(case: Case, device: torch.device) -> None:
    tensors = {n: t.double() if t.is_floating_point() else t for n, t in made(case, 40, 2).items()}
    on_device = {n: t.to(device) for n, t in tensors.items()}
    assert_same(outcome(case, on_device), outcome(case, tensors), 1e-11)


def test_autocast_changes_nothing(case: Case, device: torch.device) -> None:
    tensors = {n: t.to(device) for n, t in made(case).items()}
    plain = results(case.call(**tensors))
    with torch.autocast(device.type, torch.bfloat16):
        for got, wanted in zip(results(case.call(**tensors)), plain, strict=True):
            assert got.dtype == wanted.dtype
            assert got.equal(wanted)


def test_strides_do_not_matter(case: Case, device: torch.device) -> None:
    tensors = {n: t.to(device) for n, t in made(case).items()}
    apart = {n: torch.stack([t, t.flip(0)], -1)[..., 0] for n, t in tensors.items()}
    last = {
        n: t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t
        for n, t in tensors.items()
    }
    expected = outcome(case, tensors)
    for strided in (apart, last):
        assert_same(outcome(case, strided), expected, 1e-5)


def test_nothing_gives_what_it_gives_on_the_cpu(case: Case, device: torch.device) -> None:
    tensors = made(case, 0)
    ours = outcome(case, {n: t.to(device) for n, t in tensors.items()})
    theirs = outcome(case, tensors)
    assert [t.dtype for t in ours] == [t.dtype for t in theirs]
    assert_same(ours, theirs, 0)


def test_compiles_in_one_graph_with_dynamic_shapes(case: Case, device: torch.device) -> None:
    torch.compiler.reset()
    compiled = case._replace(
        call=torch.compile(case.call, fullgraph=True, dynamic=True, backend="aot_eager")
    )
    for n in (9, 14):
        tensors = {name: t.to(device) for name, t in made(case, n, n).items()}
        assert_same(outcome(compiled, tensors), outcome(case, tensors), 1e-5)


class _Calls(TorchDispatchMode):
    """Keeps the bare operators that are called, with their arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[Any, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func.namespace == "d2_ops":
            self.seen.setdefault(func, (args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def bare_calls(case: Case, device: torch.device) -> dict[Any, Any]:
    tensors = {n: t.to(device) for n, t in made(case).items()}
    with _Calls() as calls:
        case.call(**tensors)  # without gradients other operators are called
        outcome(case, tensors)
    return calls.seen


def detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return [detached(v) for v in value] if isinstance(value, (list, tuple)) else value


def test_opcheck(case: Case, device: torch.device) -> None:
    for operator, (args, kwargs) in bare_calls(case, device).items():
        torch.library.opcheck(operator, tuple(map(detached, args)), kwargs)


@pytest.fixture
def names() -> Iterator[set[str]]:
    d2_ops.load_library()
    return {
        name.partition("::")[2].partition(".")[0]
        for name in torch._C._dispatch_get_all_op_names()
        if name.startswith("d2_ops::")
    }


# A device's operators give the gradients of all maps as `multilevel_roi_align_backward` does.
ON_CPU_ONLY = {"multilevel_roi_align_backward_channels_last"}


def test_no_operator_is_left_out(names: set[str], device: torch.device) -> None:
    called = {op.__name__.partition(".")[0] for c in CASES.values() for op in bare_calls(c, device)}
    assert called == names - ON_CPU_ONLY


WITHOUT_WAITING = [name for name, one in CASES.items() if not one.waits]


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("name", WITHOUT_WAITING)
def test_the_host_does_not_wait_where_sizes_are_known(name: str, cuda: torch.device) -> None:
    case = CASES[name]
    tensors = {n: t.to(cuda) for n, t in made(case).items()}
    case.call(**tensors)  # loads the kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        case.call(**tensors)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", WITHOUT_WAITING)
def test_a_cuda_graph_captures_it_on_any_stream(name: str, cuda: torch.device) -> None:
    case = CASES[name]
    tensors = {n: t.to(cuda) for n, t in made(case).items()}
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        case.call(**tensors)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = results(case.call(**tensors))
    for name_, value in made(case, seed=5).items():
        tensors[name_].copy_(value)
    graph.replay()
    assert_same(captured, results(case.call(**tensors)), 1e-6)
