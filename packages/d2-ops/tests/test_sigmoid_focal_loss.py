import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import d2_ops

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def oracle(logit: float, target: float, alpha: float, gamma: float) -> float:
    """The definition, with 1 - p and logarithms that do not cancel."""
    p, complement = (1 / (1 + math.exp(-x)) for x in (logit, -logit))
    log_p, log_complement = (-math.log1p(math.exp(-abs(x))) + min(x, 0) for x in (logit, -logit))
    cross_entropy = -target * log_p - (1 - target) * log_complement
    miss = p * (1 - target) + complement * target
    weight = alpha * target + (1 - alpha) * (1 - target) if alpha >= 0 else 1.0
    return weight * miss**gamma * cross_entropy


def plain(inputs: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """The formula in torch, as it is usually written."""
    p = inputs.sigmoid()
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        inputs, targets, reduction="none"
    )
    p_t = p * targets + (1 - p) * (1 - targets)
    weight = alpha * targets + (1 - alpha) * (1 - targets) if alpha >= 0 else 1.0
    return weight * cross_entropy * (1 - p_t) ** gamma


def logits_and_targets(
    *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * 3
    hits = torch.rand(shape, generator=generator) < 0.3
    return logits.to(dtype), hits.to(dtype)


logit = st.floats(-80, 80, width=32)
target = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32))
alpha = st.sampled_from([-1.0, 0.0, 0.25, 1.0])
gamma = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 5.0])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(logit, target), max_size=40), alpha, gamma)
def test_every_loss_has_its_definition(
    dtype: torch.dtype,
    tolerance: float,
    pairs: list[tuple[float, float]],
    alpha: float,
    gamma: float,
) -> None:
    inputs, targets = torch.tensor(pairs, dtype=dtype).reshape(-1, 2).unbind(1)
    losses = d2_ops.sigmoid_focal_loss(inputs, targets, alpha, gamma)
    expected = torch.tensor([oracle(*pair, alpha, gamma) for pair in pairs], dtype=dtype)
    # A soft target's loss may be the small difference of large numbers.
    torch.testing.assert_close(losses, expected, rtol=tolerance, atol=tolerance)


def test_single_precision_is_exact_to_a_few_units_for_hard_targets() -> None:
    logits = torch.linspace(-80, 80, 20001)
    for target in (0.0, 1.0):
        targets = torch.full_like(logits, target)
        for gamma in (0.0, 2.0):
            exact = [oracle(x, target, 0.25, gamma) for x in logits.tolist()]
            losses = d2_ops.sigmoid_focal_loss(logits, targets, 0.25, gamma)
            torch.testing.assert_close(
                losses.double(), torch.tensor(exact).double(), rtol=1e-6, atol=1e-37
            )


@pytest.mark.parametrize("gamma", [0.0, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("alpha", [-1.0, 0.25])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_gradients_are_those_of_finite_differences(
    gamma: float, alpha: float, reduction: str
) -> None:
    logits, hard = logits_and_targets(3, 7)
    for targets in (hard, torch.rand_like(hard)):
        assert torch.autograd.gradcheck(
            lambda x, t=targets: d2_ops.sigmoid_focal_loss(x, t, alpha, gamma, reduction),
            logits.clone().requires_grad_(),
        )


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_single_precision_gradients_equal_those_of_the_plain_formula(gamma: float) -> None:
    logits, targets = logits_and_targets(50, 80)
    ours = logits.float().requires_grad_()
    theirs = logits.clone().requires_grad_()
    d2_ops.sigmoid_focal_loss(ours, targets.float(), 0.25, gamma, "sum").backward()
    plain(theirs, targets, 0.25, gamma).sum().backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-5, atol=1e-7)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 9000), st.integers(0, 1000))
def test_sum_and_mean_are_those_of_the_losses(count: int, seed: int) -> None:
    logits, targets = logits_and_targets(count, seed=seed)
    losses = d2_ops.sigmoid_focal_loss(logits, targets, 0.25)
    total = d2_ops.sigmoid_focal_loss(logits, targets, 0.25, reduction="sum")
    torch.testing.assert_close(total, losses.sum())
    mean = d2_ops.sigmoid_focal_loss(logits, targets, 0.25, reduction="mean")
    torch.testing.assert_close(mean, losses.sum() / max(count, 1))


def test_large_logits_neither_overflow_nor_vanish() -> None:
    logits = torch.tensor([1e30, -1e30, 500.0, -500.0, 0.0], requires_grad=True)
    losses = d2_ops.sigmoid_focal_loss(logits, torch.tensor([0.0, 1, 0, 1, 1]), gamma=2)
    assert losses.tolist() == pytest.approx([1e30, 1e30, 500, 500, math.log(2) / 4])
    losses.sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == pytest.approx([1, -1, 1, -1, -0.25 * math.log(2) - 0.125])


def test_nan_logits_show_in_the_loss() -> None:
    logits = torch.tensor([math.nan, 1.0])
    for target in (0.0, 1.0):
        targets = torch.full((2,), target)
        assert d2_ops.sigmoid_focal_loss(logits, targets).isnan().tolist() == [True, False]
        assert d2_ops.sigmoid_focal_loss(logits, targets, reduction="sum").isnan()


def test_torchvision_agrees() -> None:
    loss = pytest.importorskip("torchvision").ops.sigmoid_focal_loss
    logits, targets = logits_and_targets(20, 9)
    for reduction in ("none", "mean", "sum"):
        for gamma in (2.0, 1.5):
            ours = d2_ops.sigmoid_focal_loss(logits, targets, 0.25, gamma, reduction)
            theirs = loss(logits, targets, 0.25, gamma, reduction)
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_single(dtype: torch.dtype) -> None:
    logits, targets = logits_and_targets(300, dtype=dtype)
    half, single = logits.clone().requires_grad_(), logits.float().requires_grad_()
    loss = d2_ops.sigmoid_focal_loss(half, targets, 0.25, reduction="sum")
    expected = d2_ops.sigmoid_focal_loss(single, targets.float(), 0.25, reduction="sum")
    assert loss.dtype == torch.float32
    assert loss.equal(expected)
    loss.backward()
    expected.backward()
    assert half.grad is not None
    assert single.grad is not None
    assert half.grad.equal(single.grad.to(dtype))


def test_inputs_of_any_stride_and_shape() -> None:
    logits, targets = logits_and_targets(6, 5, 4)
    turned = logits.permute(2, 0, 1), targets.permute(2, 0, 1)
    expected = d2_ops.sigmoid_focal_loss(logits, targets)
    assert d2_ops.sigmoid_focal_loss(*turned).equal(expected.permute(2, 0, 1))
    alone = d2_ops.sigmoid_focal_loss(logits[0, 0, 0], targets[0, 0, 0])
    assert alone.equal(expected[0, 0, 0])


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    logits, targets = logits_and_targets(400, 333, dtype=torch.float32)
    threads = torch.get_num_threads()
    try:
        sums = []
        for count in (1, 3, 4):
            torch.set_num_threads(count)
            sums.append(d2_ops.sigmoid_focal_loss(logits, targets, 0.25, reduction="sum").item())
    finally:
        torch.set_num_threads(threads)
    assert len(set(sums)) == 1


def test_autocast_changes_nothing() -> None:
    logits, targets = logits_and_targets(9, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        losses = d2_ops.sigmoid_focal_loss(logits, targets)
    assert losses.equal(d2_ops.sigmoid_focal_loss(logits, targets))


@pytest.mark.parametrize(
    ("error", "message", "changed"),
    [
        (TypeError, "inputs must be a floating tensor", {"inputs": torch.zeros(3).long()}),
        (TypeError, "targets must be a floating tensor", {"targets": torch.zeros(3).long()}),
        (ValueError, r"shape of inputs, \(3,\), got \(4,\)", {"targets": torch.zeros(4)}),
        (ValueError, "targets is on meta", {"targets": torch.zeros(3, device="meta")}),
        (ValueError, r"targets.detach\(\)", {"targets": torch.zeros(3, requires_grad=True)}),
        (ValueError, "alpha must be", {"alpha": 1.5}),
        (ValueError, "alpha must be", {"alpha": math.nan}),
        (ValueError, "gamma must not be negative", {"gamma": -1}),
        (ValueError, "gamma must not be negative", {"gamma": math.nan}),
        (ValueError, "reduction must be 'none', 'mean' or 'sum', got 'max'", {"reduction": "max"}),
    ],
)
def test_a_bad_argument_is_named(
    error: type[Exception], message: str, changed: dict[str, object]
) -> None:
    arguments = {"inputs": torch.zeros(3), "targets": torch.zeros(3), **changed}
    with pytest.raises(error, match=message):
        d2_ops.sigmoid_focal_loss(**arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_the_bare_operators_check_their_arguments_too(bare_error: type[Exception]) -> None:
    d2_ops.load_library()
    bare, three = torch.ops.d2_ops, torch.zeros(3)
    with pytest.raises(bare_error, match="targets must have the shape of inputs"):
        bare.sigmoid_focal_loss(three, torch.zeros(3, 1), 0.25, 2.0)
    with pytest.raises(bare_error, match="gamma"):
        bare.sigmoid_focal_loss_sum(three, three, 0.25, math.nan)
    with pytest.raises(bare_error, match="grad must have one element"):
        bare.sigmoid_focal_loss_backward(torch.zeros(2), three, three, 0.25, 2.0)


# opcheck itself looks at gradients of tensors that are not leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_opcheck(dtype: torch.dtype) -> None:
    d2_ops.load_library()
    bare = torch.ops.d2_ops
    logits, targets = logits_and_targets(4, 5, dtype=dtype)
    for operator in (bare.sigmoid_focal_loss, bare.sigmoid_focal_loss_sum):
        arguments = (logits.clone().requires_grad_(), targets, 0.25, 2.0)
        torch.library.opcheck(operator.default, arguments)
    backward = bare.sigmoid_focal_loss_backward.default
    for grad in (torch.randn(4, 5), torch.randn(())):
        torch.library.opcheck(backward, (grad, logits, targets, 0.25, 2.0))


def test_compiles_in_one_graph_and_exports_with_dynamic_shapes() -> None:
    def total(logits: Tensor, targets: Tensor) -> Tensor:
        return d2_ops.sigmoid_focal_loss(logits * 2, targets, 0.25, 2, "mean")

    compiled = torch.compile(total, fullgraph=True, dynamic=True, backend="aot_eager")
    for rows in (4, 9):
        logits, targets = logits_and_targets(rows, 5)
        ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
        compiled(ours, targets).backward()
        total(theirs, targets).backward()
        torch.testing.assert_close(ours.grad, theirs.grad)

    class Total(torch.nn.Module):
        def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
            return total(logits, targets)

    rows = torch.export.Dim("rows", min=2)
    program = torch.export.export(
        Total(), logits_and_targets(4, 5), dynamic_shapes=({0: rows}, {0: rows})
    )
    more = logits_and_targets(11, 5)
    assert program.module()(*more).equal(total(*more))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("gamma", [2.0, 1.5])
def test_cuda_equals_the_cpu(device: torch.device, dtype: torch.dtype, gamma: float) -> None:
    logits, targets = logits_and_targets(700, 80, dtype=dtype)
    for count in (700, 0):
        for reduction in ("none", "mean", "sum"):
            host = logits[:count].clone().requires_grad_()
            there = logits[:count].to(device).requires_grad_()
            expected = d2_ops.sigmoid_focal_loss(host, targets[:count], 0.25, gamma, reduction)
            loss = d2_ops.sigmoid_focal_loss(
                there, targets[:count].to(device), 0.25, gamma, reduction
            )
            torch.testing.assert_close(loss.cpu(), expected, rtol=1e-5, atol=1e-6)
            expected.sum().backward()
            loss.sum().backward()
            assert there.grad is not None
            torch.testing.assert_close(there.grad.cpu(), host.grad)
