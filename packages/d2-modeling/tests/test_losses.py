"""Sums over rows that count, whether the host reads values at once or would have to wait."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from d2_modeling import host_waits
from d2_modeling.losses import summed_where


@pytest.fixture(params=[False, True], ids=["cpu", "device"])
def waits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(host_waits, "_is_read_at_once", lambda device: not request.param)
    return bool(request.param)


def squares(first: Tensor, second: Tensor, *, reduction: str) -> Tensor:
    each = (first.log() - second) ** 2
    return each.sum() if reduction == "sum" else each


@pytest.mark.parametrize("shape", [(0,), (5,), (5, 3), (2, 4, 3)])
@pytest.mark.parametrize("value", [-1.0, 0.0, torch.nan, torch.inf])  # of which none has a loss
def test_rows_that_do_not_count_have_no_part_in_the_sum_or_its_gradient(
    shape: tuple[int, ...], value: float, waits: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(shape, generator=generator).double() + 1 for _ in range(2))
    counted = torch.rand(shape[:2] if len(shape) > 2 else shape[:1], generator=generator) > 0.4
    wanted = float((first.log() - second)[counted].square().sum())
    first[~counted] = value
    first.requires_grad_()
    loss = summed_where(counted, squares, first, second)
    loss.backward()
    assert loss.item() == pytest.approx(wanted)
    assert first.grad is not None
    assert (first.grad[~counted] == 0).all()
    assert (first.grad[counted] != 0).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(0, 6), st.booleans())
def test_rows_that_are_replaced_by_ones_without_loss_are_those_left_out(
    seed: int, count: int, on_a_device: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(count, 3, generator=generator)
    labels = torch.randint(3, (count,), generator=generator)
    counted = torch.rand(count, generator=generator) > 0.5
    wanted = F.cross_entropy(logits[counted], labels[counted], reduction="sum")
    logits[~counted], labels[~counted] = torch.nan, 7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_waits, "_is_read_at_once", lambda device: not on_a_device)
        got = summed_where(counted, F.cross_entropy, logits, labels, instead=(0.0, -100))
    torch.testing.assert_close(got, wanted)


def test_on_the_cpu_only_what_counts_is_computed_and_on_devices_all(waits: bool) -> None:
    seen: list[tuple[int, str]] = []

    def loss(rows: Tensor, *, reduction: str) -> Tensor:
        seen.append((len(rows), reduction))
        return rows if reduction == "none" else rows.sum()

    arguments: Any = (torch.tensor([[True, False], [True, True]]), loss, torch.ones(2, 2))
    assert summed_where(*arguments) == 3
    assert summed_where(*arguments, instead=(0.0,)) == 3
    assert seen == ([(4, "none"), (4, "sum")] if waits else [(3, "sum"), (3, "sum")])
