"""Atrous spatial pyramid pooling, branch by branch in double precision."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from d2_modeling.layers import ASPP

Convolved = Callable[[Tensor, Any], Tensor]


def aspp(**options: Any) -> ASPP:
    torch.manual_seed(0)
    given = {"norm": "", "activation": nn.ReLU(), **options}
    layer = ASPP(3, 4, [1, 2, 3], **given)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer.double()


@pytest.mark.parametrize("norm", ["", "BN"])
@pytest.mark.parametrize("separable", [False, True])
def test_branches_of_all_dilations_and_the_mean_are_projected_together(
    norm: str, separable: bool, convolved: Convolved
) -> None:
    layer = aspp(norm=norm, use_depthwise_separable_conv=separable).eval()
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64)
    branches: Any = layer.convs

    def one(part: Any, x: Tensor) -> Tensor:
        assert (part.bias is None) == (part.norm is not None) == (norm != "")
        out = convolved(x, part)
        return (out if part.norm is None else part.norm(out)).relu()

    outputs = [one(branches[0], x)]
    for index, dilation in enumerate((1, 2, 3), start=1):
        branch = branches[index]
        parts = [branch.depthwise, branch.pointwise] if separable else [branch]
        assert parts[0].dilation == parts[0].padding == (dilation, dilation)
        out = x
        for part in parts:
            out = one(part, out)
        outputs.append(out)
    mean = convolved(x.mean(dim=(2, 3), keepdim=True), branches[4][1]).relu()
    assert branches[4][1].norm is None
    outputs.append(mean.expand(-1, -1, 7, 6))
    torch.testing.assert_close(layer(x), one(layer.project, torch.cat(outputs, 1)))


def test_a_pooling_window_of_the_size_of_the_map_pools_everything() -> None:
    everything, windowed = aspp(), aspp(pool_kernel_size=(6, 4))
    x = torch.randn(1, 3, 6, 4, dtype=torch.float64)
    torch.testing.assert_close(windowed(x), everything(x))


def test_a_smaller_window_sees_what_is_near(convolved: Convolved) -> None:
    layer = aspp(pool_kernel_size=[2, 2])
    x = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    branch: Any = layer.convs[4]
    means = x.unfold(2, 2, 1).unfold(3, 2, 1).mean(dim=(4, 5))
    torch.testing.assert_close(branch(x), convolved(means, branch[1]).relu())


@pytest.mark.parametrize("size", [(5, 4), (4, 6)])
def test_a_window_that_does_not_divide_the_map_is_named_with_it(size: tuple[int, int]) -> None:
    layer = aspp(pool_kernel_size=(2, 4))
    message = rf"pool_kernel_size \(2, 4\) does not divide the input \({size[0]}, {size[1]}\)"
    with pytest.raises(ValueError, match=message):
        layer(torch.zeros(1, 3, *size, dtype=torch.float64))


@pytest.mark.parametrize("count", [0, 2, 4])
def test_another_number_of_dilations_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=r"ASPP wants 3 dilations, got \["):
        ASPP(3, 4, list(range(1, 1 + count)), norm="", activation=nn.ReLU())


def test_a_single_image_trains_with_batch_norm() -> None:
    """Its pooled map is one pixel, of which there are no statistics."""
    layer = aspp(norm="BN").train()
    layer(torch.randn(1, 3, 4, 4, dtype=torch.float64)).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_outputs_are_dropped_in_training_only() -> None:
    layer, plain = aspp(dropout=0.5), aspp()
    x = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    dropped, kept = layer.train()(x), plain(x)
    alive = kept != 0
    zeros = (dropped == 0) & alive
    assert 0.3 < zeros.double().sum() / alive.sum() < 0.7
    torch.testing.assert_close(dropped[alive & ~zeros], 2 * kept[alive & ~zeros])
    torch.testing.assert_close(layer.eval()(x), kept)


def test_an_activation_with_weights_is_not_shared() -> None:
    layer = aspp(activation=nn.PReLU())
    assert sum(isinstance(m, nn.PReLU) for m in layer.modules()) == 6
