"""Learning rates that fall from layer to layer."""

import pytest
from torch import nn

from d2_engine.bottom_up import find_bottom_up
from d2_engine.solver import get_default_optimizer_params, layer_decay_factor
from d2_modeling.backbone import (
    FPN,
    BasicStem,
    ResNet,
    SimpleFeaturePyramid,
    ViT,
    get_vit_lr_decay_rate,
)


def resnet(depth=18) -> ResNet:
    stages = ResNet.make_default_stages(depth, norm="BN")
    return ResNet(BasicStem(), stages, out_features=["res2", "res3", "res4", "res5"])


def detector(backbone: nn.Module) -> nn.Module:
    return nn.ModuleDict({"backbone": backbone, "head": nn.Linear(2, 2)})


def vit(**options) -> ViT:
    return ViT(img_size=32, patch_size=8, embed_dim=16, depth=3, num_heads=2, **options)


def vit_detector() -> nn.Module:
    net = vit(residual_block_indexes=[1])
    return detector(SimpleFeaturePyramid(net, "last_feat", 8, [1.0, 0.5], square_pad=32))


def test_stages_of_a_residual_network_decay_from_the_last_to_the_stem():
    model = detector(FPN(resnet(), ["res2", "res3"], 8))
    factor = layer_decay_factor(model, 0.5)
    by_stage = {
        name: factor(f"backbone.bottom_up.{name}.weight")
        for name in (
            "res5.1.conv2",
            "res4.0.conv1.norm",
            "res3.0.shortcut",
            "res2.0.conv1",
            "stem.x",
        )
    }
    assert list(by_stage.values()) == [0.5**k for k in (1, 2, 3, 4, 5)]
    assert factor("backbone.fpn_lateral2.weight") == factor("head.weight") == 1.0


def test_every_block_can_be_a_layer():
    model = detector(FPN(resnet(), ["res2", "res3"], 8))
    factor = layer_decay_factor(model, 0.9, blocks=True)
    names = [f"res{stage}.{block}" for stage in (2, 3, 4, 5) for block in (0, 1)]
    factors = [factor(f"backbone.bottom_up.{name}.conv1.weight") for name in ["stem", *names]]
    assert factors == pytest.approx([0.9**k for k in range(9, 0, -1)])


def test_a_vision_transformer_has_the_rates_of_its_own_function():
    model = vit_detector()
    factor = layer_decay_factor(model, 0.7)
    for name, _ in model.named_parameters():
        assert factor(name) == get_vit_lr_decay_rate(name, 0.7, 3), name
    assert factor("backbone.net.blocks.2.attn.qkv.weight") == pytest.approx(0.7)
    assert factor("backbone.net.pos_embed") == factor("backbone.net.patch_embed.proj.bias")
    assert factor("backbone.net.pos_embed") == pytest.approx(0.7**4)


class Transformer(nn.Module):
    """A foreign one: blocks in a list, positions at its root, a pool without parameters."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(nn.Linear(1, 1).weight)
        self.patches = nn.Linear(1, 1)
        self.pool = nn.MaxPool2d(2)
        self.layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(11))


def test_any_other_network_decays_by_the_order_of_its_parts():
    factor = layer_decay_factor(detector(Transformer()), 0.5)
    assert factor("backbone.positions") == factor("backbone.patches.weight") == 0.5**12
    assert factor("backbone.layers.1.weight") == 0.5**10
    assert factor("backbone.layers.10.weight") == 0.5


def test_the_factors_make_the_groups_of_an_optimizer():
    model = vit_detector()
    groups = get_default_optimizer_params(
        model, base_lr=1.0, lr_factor_func=layer_decay_factor(model, 0.5)
    )
    assert sorted(group["lr"] for group in groups) == [0.5**k for k in (4, 3, 2, 1, 0)]
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_a_decay_out_of_range_and_a_model_without_backbone_are_refused():
    with pytest.raises(ValueError, match="got 1.5"):
        layer_decay_factor(detector(resnet()), 1.5)
    with pytest.raises(ValueError, match="Linear has none"):
        layer_decay_factor(nn.Linear(1, 1), 0.5)


def test_the_bottom_up_network_is_found_below_pyramids():
    model = detector(FPN(resnet(), ["res2", "res3"], 8))
    assert find_bottom_up(model) == ("backbone.bottom_up", model["backbone"].bottom_up)
    model = vit_detector()
    assert find_bottom_up(model) == ("backbone.net", model["backbone"].net)
    network = resnet()
    assert find_bottom_up(network) == ("", network)
