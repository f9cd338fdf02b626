"""The bottleneck block with a deformable convolution."""

import pytest
import torch

from d2_modeling.backbone import BottleneckBlock, DeformBottleneckBlock, ResNet
from d2_modeling.layers import DeformConv, FrozenBatchNorm2d, ModulatedDeformConv


def test_state_dict_keys_are_those_of_published_checkpoints() -> None:
    block = DeformBottleneckBlock(8, 16, bottleneck_channels=4, norm="FrozenBN")
    layers = {key.rsplit(".", 1)[0] for key in block.state_dict()}
    convolutions = ("conv1", "conv2", "conv3", "shortcut")
    assert layers == {*convolutions, *(f"{c}.norm" for c in convolutions), "conv2_offset"}
    assert "conv2.bias" not in block.state_dict()
    assert isinstance(block.conv2, DeformConv)
    assert block.conv2_offset.bias.shape == (18,)


@pytest.mark.parametrize("in_1x1", [False, True])
@pytest.mark.parametrize("modulated", [False, True])
def test_it_starts_as_the_ordinary_block(in_1x1: bool, modulated: bool) -> None:
    """Offsets are zero, and modulation, the sigmoid of zero, one half."""
    settings = {"bottleneck_channels": 4, "stride": 2, "num_groups": 2, "stride_in_1x1": in_1x1}
    deformable = DeformBottleneckBlock(
        8, 16, **settings, dilation=2, norm="", deform_modulated=modulated, deform_num_groups=2
    )
    ordinary = BottleneckBlock(8, 16, **settings, dilation=2, norm="")
    ordinary.load_state_dict(deformable.state_dict(), strict=False)
    if modulated:
        assert isinstance(deformable.conv2, ModulatedDeformConv)
        with torch.no_grad():
            ordinary.conv2.weight.mul_(0.5)
    x = torch.randn(2, 8, 9, 12)
    torch.testing.assert_close(deformable(x), ordinary(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("modulated", [False, True])
def test_gradients_reach_every_parameter(modulated: bool) -> None:
    block = DeformBottleneckBlock(8, 16, bottleneck_channels=4, deform_modulated=modulated)
    block(torch.randn(2, 8, 9, 12)).square().sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_freezing_freezes_the_deformable_layer_and_its_norm() -> None:
    block = DeformBottleneckBlock(8, 16, bottleneck_channels=4).freeze()
    assert not any(p.requires_grad for p in block.parameters())
    assert isinstance(block.conv2.norm, FrozenBatchNorm2d)


def test_stages_can_be_made_of_it() -> None:
    stages = ResNet.make_stage(
        DeformBottleneckBlock,
        2,
        in_channels=8,
        out_channels=16,
        bottleneck_channels=4,
        stride_per_block=[2, 1],
        deform_num_groups=2,
    )
    out = torch.nn.Sequential(*stages)(torch.randn(1, 8, 8, 8))
    assert out.shape == (1, 16, 4, 4)
