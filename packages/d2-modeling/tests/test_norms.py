"""Norms beside their definitions in double precision."""

import io
import pickle
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from d2_modeling.layers import FrozenBatchNorm2d, NaiveSyncBatchNorm, get_norm

LEAVES = ("weight", "bias", "running_mean", "running_var")


def frozen(channels: int, eps: float = 1e-5, seed: int = 0) -> FrozenBatchNorm2d:
    generator = torch.Generator().manual_seed(seed)
    norm = FrozenBatchNorm2d(channels, eps)
    norm.weight.copy_(torch.rand(channels, generator=generator) * 4 - 2)
    norm.bias.copy_(torch.randn(channels, generator=generator))
    norm.running_mean.copy_(torch.randn(channels, generator=generator) * 3)
    norm.running_var.copy_(torch.rand(channels, generator=generator) * 9)
    return norm


def by_definition(norm: FrozenBatchNorm2d, x: Tensor) -> Tensor:
    """Element by element, in double precision."""
    out = torch.empty(x.shape, dtype=torch.float64)
    for channel in range(x.shape[1]):
        weight, bias, mean, var = (getattr(norm, leaf)[channel].item() for leaf in LEAVES)
        scale = weight / (var + norm.eps) ** 0.5
        out[:, channel] = (x[:, channel].double() - mean) * scale + bias
    return out


@settings(deadline=None, max_examples=25)
@given(
    shape=st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(0, 4), st.integers(1, 4)),
    eps=st.sampled_from([1e-5, 1e-3, 0.5]),
    seed=st.integers(0, 99),
)
def test_a_frozen_norm_is_its_definition(
    shape: tuple[int, int, int, int], eps: float, seed: int
) -> None:
    norm, x = frozen(shape[1], eps, seed), torch.randn(shape)
    out = norm(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out.double(), by_definition(norm, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-5), (torch.float16, 4e-2), (torch.bfloat16, 0.3)],
)
@pytest.mark.parametrize("move", [False, True])
def test_the_result_has_the_type_of_the_input(
    dtype: torch.dtype, tolerance: float, move: bool
) -> None:
    norm = frozen(3)
    if move:
        norm = norm.to(dtype)
    x = torch.randn(2, 3, 4, 5).to(dtype)
    out = norm(x)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), by_definition(norm, x), rtol=tolerance, atol=tolerance)


def test_scale_and_shift_say_what_the_norm_does() -> None:
    norm, x = frozen(4).double(), torch.randn(1, 4, 2, 2, dtype=torch.float64)
    scale, shift = norm.scale_and_shift()
    assert scale.shape == shift.shape == (4,)
    torch.testing.assert_close(norm(x), x * scale[:, None, None] + shift[:, None, None])


def test_a_new_norm_has_the_identity_whatever_its_epsilon() -> None:
    x = torch.randn(1, 2, 3, 3)
    for eps in (1e-5, 1e-2, 0.5):
        norm = FrozenBatchNorm2d(2, eps)
        torch.testing.assert_close(norm(x), x)
        torch.testing.assert_close(norm.running_var + eps, torch.ones(2))


def test_training_changes_nothing() -> None:
    norm = frozen(3).train()
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(norm(x), norm.eval()(x))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert set(before) == set(LEAVES)
    assert list(norm.parameters()) == []


@pytest.mark.parametrize("moves", [["half"], ["bfloat16", "half"], ["half", "double", "half"]])
def test_buffers_never_become_half_precision(moves: list[str]) -> None:
    norm = frozen(3)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), norm)
    before = {leaf: getattr(norm, leaf).clone() for leaf in LEAVES}
    for move in moves:
        model = getattr(model, move)()
    assert model[0].weight.dtype in (torch.float16, torch.bfloat16)
    for leaf in LEAVES:
        value = getattr(norm, leaf)
        assert value.dtype == (torch.float64 if "double" in moves else torch.float32)
        assert torch.equal(value.float(), before[leaf])


def test_buffers_move_to_another_device_whatever_their_type() -> None:
    norm = frozen(3).to("meta", torch.float16)
    assert {getattr(norm, leaf).device.type for leaf in LEAVES} == {"meta"}
    assert {getattr(norm, leaf).dtype for leaf in LEAVES} == {torch.float32}


@settings(deadline=None, max_examples=20)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e12))
def test_statistics_beyond_half_precision_do_not_overflow(mean: float, var: float) -> None:
    norm = FrozenBatchNorm2d(1)
    norm.running_mean.fill_(mean)
    norm.running_var.fill_(var)
    norm.weight.copy_((norm.running_var + norm.eps).sqrt())  # together the identity
    norm.bias.fill_(mean)
    x = torch.tensor([-2.0, 0.0, 3.0]).view(1, 1, 1, 3).half()
    rounding = abs(mean) * 2**-22
    torch.testing.assert_close(norm.half()(x), x, rtol=1e-3, atol=rounding + 1e-3)


def test_a_norm_survives_being_saved_and_pickled() -> None:
    norm, x = frozen(3), torch.randn(1, 3, 2, 2)
    file = io.BytesIO()
    torch.save(norm.state_dict(), file)
    file.seek(0)
    again = FrozenBatchNorm2d(3)
    again.load_state_dict(torch.load(file, weights_only=True))
    for other in (again, pickle.loads(pickle.dumps(norm))):
        assert torch.equal(other(x), norm(x))


def test_its_text_names_channels_and_epsilon() -> None:
    assert repr(FrozenBatchNorm2d(7, 0.001)) == "FrozenBatchNorm2d(num_features=7, eps=0.001)"


# Loading


def test_loading_into_a_part_of_a_model_leaves_the_given_weights_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), FrozenBatchNorm2d(3))
    given = {name: value for name, value in model.state_dict().items() if "running" not in name}
    given["1.num_batches_tracked"] = torch.tensor(5)
    before = list(given)
    result = model.load_state_dict(given)
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    assert list(given) == before


def test_a_weight_that_is_missing_or_has_another_shape_is_named() -> None:
    norm = FrozenBatchNorm2d(3)
    with pytest.raises(RuntimeError, match='Missing key.*"bias"'):
        norm.load_state_dict({"weight": torch.ones(3)})
    with pytest.raises(RuntimeError, match="size mismatch for running_var"):
        norm.load_state_dict({**norm.state_dict(), "running_var": torch.ones(4)})


# Converting


def trained(channels: int, **options: Any) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, **options)
    norm.train()(torch.randn(4, channels, 3, 3) * 3 + 1)
    if norm.affine:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return norm.eval()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eps", [1e-5, 1e-2])
def test_a_converted_norm_does_what_the_trained_one_did(affine: bool, eps: float) -> None:
    norm = trained(3, affine=affine, eps=eps)
    x = torch.randn(2, 3, 4, 4)
    converted = FrozenBatchNorm2d.convert_frozen_batchnorm(norm)
    assert isinstance(converted, FrozenBatchNorm2d)
    assert converted.eps == eps
    torch.testing.assert_close(converted.train()(x), norm(x))


def test_a_converted_norm_owns_its_values_and_keeps_the_counter() -> None:
    norm = trained(3)
    converted: Any = FrozenBatchNorm2d.convert_frozen_batchnorm(norm)
    assert list(converted.state_dict()) == list(norm.state_dict())
    assert int(converted.num_batches_tracked) == 1
    before = converted.running_mean.clone()
    assert norm.running_mean is not None
    norm.running_mean.add_(1)
    assert torch.equal(converted.running_mean, before)


def test_a_norm_without_statistics_becomes_scale_and_shift() -> None:
    norm = nn.BatchNorm2d(2, track_running_stats=False)
    nn.init.constant_(norm.weight, 3.0)
    x = torch.randn(1, 2, 3, 3)
    torch.testing.assert_close(FrozenBatchNorm2d.convert_frozen_batchnorm(norm)(x), 3 * x)


@pytest.mark.parametrize(
    "norm",
    [nn.GroupNorm(1, 4), nn.InstanceNorm2d(4), nn.BatchNorm1d(4), nn.LayerNorm(4), nn.Identity()],
)
def test_other_norms_are_left_as_they_are(norm: nn.Module) -> None:
    model = nn.ModuleDict({"a": nn.Sequential(norm)})
    assert FrozenBatchNorm2d.convert_frozen_batchnorm(model) is model
    assert model["a"][0] is norm  # type: ignore[index]  # a Sequential
    assert FrozenBatchNorm2d.convert_frozen_batchnorm(norm) is norm


def test_a_subclass_converts_to_itself() -> None:
    class Mine(FrozenBatchNorm2d):
        pass

    model = nn.Sequential(nn.Sequential(nn.BatchNorm2d(2)))
    Mine.convert_frozen_batchnorm(model)
    assert type(model[0][0]) is Mine


def test_norms_of_synchronised_kinds_are_converted_in_place() -> None:
    model = nn.Sequential(NaiveSyncBatchNorm(2), nn.SyncBatchNorm(2))
    FrozenBatchNorm2d.convert_frozen_batchnorm(model)
    assert [type(m) for m in model] == [FrozenBatchNorm2d, FrozenBatchNorm2d]


# By name


def test_a_norm_of_groups_is_its_definition() -> None:
    norm: Any = get_norm("GN", 64)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, 64, 3, 5)
    groups = x.double().view(2, 32, -1)
    mean, var = groups.mean(2, keepdim=True), groups.var(2, keepdim=True, correction=0)
    flat = ((groups - mean) / (var + norm.eps).sqrt()).view(x.shape)
    wanted = flat * norm.weight.double()[:, None, None] + norm.bias.double()[:, None, None]
    torch.testing.assert_close(norm(x).double(), wanted, rtol=1e-4, atol=1e-4)


@given(st.integers(1, 600))
def test_groups_divide_any_number_of_channels(channels: int) -> None:
    norm = get_norm("GN", channels)
    assert isinstance(norm, nn.GroupNorm)
    assert channels % norm.num_groups == 0
    assert 1 <= norm.num_groups <= 32
    if channels % 32 == 0:
        assert norm.num_groups == 32
    elif norm.num_groups > 1:
        assert channels // norm.num_groups >= 2


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 6), st.integers(1, 3), st.floats(0.1, 50.0))
def test_a_norm_over_channels_is_its_definition(channels: int, batch: int, spread: float) -> None:
    norm: Any = get_norm("LN", channels)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(batch, channels, 2, 3) * spread + 1
    d = x.double()
    mean, var = d.mean(1, keepdim=True), d.var(1, keepdim=True, correction=0)
    scaled = (d - mean) / (var + 1e-6).sqrt() * norm.weight.double()[:, None, None]
    wanted = scaled + norm.bias.double()[:, None, None]
    torch.testing.assert_close(norm(x).double(), wanted, rtol=1e-3, atol=1e-3)


def test_a_norm_over_channels_takes_no_images() -> None:
    norm: Any = get_norm("LN", 4)
    assert norm(torch.zeros(0, 4, 3, 2)).shape == (0, 4, 3, 2)


def test_a_norm_over_channels_looks_at_nothing_but_its_pixel() -> None:
    norm: Any = get_norm("LN", 4)
    x = torch.randn(1, 4, 3, 3)
    other = x.clone()
    other[0, 2, 1, 0] += 5
    changed = (norm(x) - norm(other)).abs().amax(1)[0] > 0
    assert changed.nonzero().tolist() == [[1, 0]]


def test_synchronised_norms_weigh_processes_as_their_names_say() -> None:
    plain, by_size = get_norm("naiveSyncBN", 4), get_norm("naiveSyncBN_N", 4)
    assert isinstance(plain, NaiveSyncBatchNorm)
    assert isinstance(by_size, NaiveSyncBatchNorm)
    assert (plain._stats_mode, by_size._stats_mode) == ("", "N")


def test_a_callable_gets_the_number_of_channels() -> None:
    norm = get_norm(FrozenBatchNorm2d, 6)
    assert isinstance(norm, FrozenBatchNorm2d)
    assert norm.num_features == 6


@pytest.mark.parametrize("name", ["bn", "LayerNorm", "Frozen", "?"])
def test_an_unknown_name_is_answered_with_all_known_ones(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown norm .* Known are \['BN', 'FrozenBN', 'GN', "):
        get_norm(name, 8)
