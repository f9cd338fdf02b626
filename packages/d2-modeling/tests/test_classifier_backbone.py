"""Any network that returns maps becomes a backbone."""

import pytest
import torch
from torch import Tensor, nn

from d2_modeling.backbone import FPN, ClassifierBackbone, SimpleFeaturePyramid


class Pyramid(nn.Module):
    """Maps of strides 2, 4, 8 and 16, of 2, 4, 8 and 16 channels."""

    def __init__(self, *, padding: int = 1, channels_last: bool = False) -> None:
        super().__init__()
        self.channels_last = channels_last
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(3 if k == 0 else 2**k, 2 ** (k + 1), 3, stride=2, padding=padding),
                nn.BatchNorm2d(2 ** (k + 1)),
                nn.Dropout(0.5),
            )
            for k in range(4)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x.permute(0, 2, 3, 1) if self.channels_last else x)
        return maps


class Patches(nn.Module):
    """One map whose stride is the side of the patches; refuses any other size of images."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.proj = nn.Conv2d(3, 8, side, stride=side)

    def forward(self, x: Tensor) -> list[Tensor]:
        if x.shape[2] % self.side or x.shape[3] % self.side:
            raise ValueError(f"{tuple(x.shape[2:])} is no multiple of {self.side}")
        return [self.proj(x)]


class OneSize(nn.Module):
    """Takes images of 32 × 32 pixels only."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, 3, 32, 32))
        self.conv = nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.conv(x + self.positions)]


def test_outputs_of_strides_4_to_32_are_named_by_them() -> None:
    shapes = ClassifierBackbone(Pyramid()).output_shape()
    found = {name: (one.stride, one.channels) for name, one in shapes.items()}
    assert found == {"res2": (4, 4), "res3": (8, 8), "res4": (16, 16)}


def test_maps_are_those_of_the_network() -> None:
    net = Pyramid().eval()
    x = torch.randn(2, 3, 32, 48)
    outputs = ClassifierBackbone(net, ["res1", "res3"]).eval()(x)
    maps = net(x)
    assert list(outputs) == ["res1", "res3"]
    assert torch.equal(outputs["res1"], maps[0])
    assert torch.equal(outputs["res3"], maps[2])


def test_channels_that_come_last_are_moved() -> None:
    net = Pyramid(channels_last=True).eval()
    backbone = ClassifierBackbone(net).eval()
    x = torch.randn(1, 3, 32, 64)
    assert backbone.output_shape()["res3"].channels == 8
    assert torch.equal(backbone(x)["res3"], net(x)[2].permute(0, 3, 1, 2))


@pytest.mark.parametrize("size", [(64, 96), (50, 71)])
def test_maps_without_padding_get_the_size_of_their_stride(size: tuple[int, int]) -> None:
    backbone = ClassifierBackbone(Pyramid(padding=0)).eval()
    for name, value in backbone(torch.randn(1, 3, *size)).items():
        stride = backbone.output_shape()[name].stride
        assert stride is not None
        assert value.shape[-2:] == (-(-size[0] // stride), -(-size[1] // stride))


def test_patches_of_14_pixels_give_a_map_of_stride_16() -> None:
    backbone = ClassifierBackbone(Patches(14), patch_size=14)
    assert backbone.output_shape()["res4"].stride == 16
    assert backbone(torch.randn(1, 3, 32, 64))["res4"].shape == (1, 8, 2, 4)
    pyramid = SimpleFeaturePyramid(backbone, "res4", 6, (4.0, 2.0, 1.0, 0.5))
    assert {k: v.stride for k, v in pyramid.output_shape().items()} == {
        "p2": 4,
        "p3": 8,
        "p4": 16,
        "p5": 32,
    }
    assert pyramid(torch.randn(1, 3, 32, 64))["p2"].shape == (1, 6, 8, 16)


@pytest.mark.parametrize(("side", "stride"), [(8, 8), (12, 16), (14, 16), (16, 16), (17, 32)])
def test_patches_of_any_side_have_the_next_power_of_two_as_stride(side: int, stride: int) -> None:
    name = f"res{stride.bit_length() - 1}"
    backbone = ClassifierBackbone(Patches(side), [name], patch_size=side)
    assert backbone.output_shape()[name].stride == stride
    assert backbone(torch.zeros(1, 3, 64, 128))[name].shape == (1, 8, 64 // stride, 128 // stride)


def test_freeze_at_freezes_what_the_maps_up_to_a_stride_depend_on() -> None:
    backbone = ClassifierBackbone(Pyramid(), freeze_at=2)
    frozen = [n for n, p in backbone.named_parameters() if not p.requires_grad]
    assert {name.split(".")[2] for name in frozen} == {"0", "1"}
    assert len(frozen) == 8


def test_frozen_stages_stay_in_evaluation_mode_and_keep_their_statistics() -> None:
    net = Pyramid()
    backbone = ClassifierBackbone(net, freeze_at=2).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    backbone(torch.randn(2, 3, 32, 32))
    changed = {n.split(".")[1] for n, v in net.state_dict().items() if not v.equal(before[n])}
    assert changed == {"2", "3"}
    assert [stage.training for stage in net.stages] == [False, False, True, True]


def test_freeze_norms_keeps_every_batch_norm_and_trains_the_rest() -> None:
    net = Pyramid()
    backbone = ClassifierBackbone(net, freeze_norms=True).train()
    backbone(torch.randn(2, 3, 32, 32))
    for stage in net.stages:
        conv, norm, dropout = stage.children()
        assert not norm.training
        assert dropout.training
        assert norm.get_buffer("running_mean").eq(0).all()
        assert not norm.get_parameter("weight").requires_grad
        assert conv.get_parameter("weight").requires_grad


def test_a_network_that_takes_one_size_says_how_to_give_it() -> None:
    with pytest.raises(ValueError, match="OneSize does not take images of 512x640.*square_size"):
        ClassifierBackbone(OneSize())
    backbone = ClassifierBackbone(OneSize(), square_size=32)
    assert backbone.padding_constraints == {"square_size": 32}
    assert backbone(torch.randn(1, 3, 32, 32))["res2"].shape == (1, 4, 8, 8)


def test_an_output_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match=r"\['res5'\]: the network has only \['res1', 'res2'"):
        ClassifierBackbone(Pyramid(), ["res5"])


def test_a_network_that_returns_no_list_is_refused() -> None:
    with pytest.raises(ValueError, match="Conv2d has to return a list of maps, got Tensor"):
        ClassifierBackbone(nn.Conv2d(3, 4, 1))


def test_the_dry_run_changes_nothing() -> None:
    net = Pyramid().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    ClassifierBackbone(net)
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    assert all(module.training for module in net.modules())


def test_a_pyramid_stands_on_it() -> None:
    fpn = FPN(ClassifierBackbone(Pyramid(padding=0)), ["res2", "res3", "res4"], 8)
    assert fpn(torch.randn(1, 3, 64, 64))["p4"].shape == (1, 8, 4, 4)
