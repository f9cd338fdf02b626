"""Blocks that are computed again give what they gave."""

import copy

import pytest
import torch
from torch import nn

from d2_engine.activation_checkpointing import checkpoint_activations
from d2_modeling.backbone import (
    FPN,
    BasicStem,
    RegNet,
    ResBottleneckBlock,
    ResNet,
    SimpleFeaturePyramid,
    SimpleStem,
    ViT,
)


def resnet_fpn(norm="BN", freeze_at=0) -> nn.Module:
    stages = ResNet.make_default_stages(18, norm=norm)
    network = ResNet(
        BasicStem(norm=norm), stages, out_features=["res2", "res3"], freeze_at=freeze_at
    )
    return nn.ModuleDict({"backbone": FPN(network, ["res2", "res3"], 8)})


def regnet() -> nn.Module:
    return RegNet(
        stem_class=SimpleStem,
        stem_width=8,
        block_class=ResBottleneckBlock,
        depth=4,
        w_a=8.0,
        w_0=8,
        w_m=2.0,
        group_width=8,
        out_features=["s1", "s2"],
    )


def vit(**options) -> nn.Module:
    net = ViT(
        *(32, 8, 3, 16, 3, 2),
        window_size=2,
        window_block_indexes=[0, 2],
        drop_path_rate=0.5,
        use_rel_pos=True,
        **options,
    )
    return SimpleFeaturePyramid(net, "last_feat", 8, [1.0, 0.5], square_pad=32)


class SwinLike(nn.Module):
    """Stages in a list, each with a list of blocks and a layer between."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.mlp = nn.Sequential(nn.Conv2d(3, 3, 1), nn.GELU(), nn.Dropout(0.5))

        def forward(self, x):
            return x + self.mlp(x)

    class Stage(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList(SwinLike.Block() for _ in range(2))
            self.downsample = nn.Conv2d(3, 3, 2, 2)

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.downsample(x)

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(SwinLike.Stage() for _ in range(2))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return {"out": x}


NETWORKS = {
    "resnet": (resnet_fpn, 4),
    "frozen": (lambda: resnet_fpn("FrozenBN", freeze_at=2), 2),
    "regnet": (regnet, 4),
    "vit": (vit, 3),
    "swin": (SwinLike, 4),
}


def run(model: nn.Module) -> dict[str, torch.Tensor]:
    """Do one training step; returns outputs, gradients, state and the generator's next number."""
    torch.manual_seed(1)
    network = model["backbone"] if isinstance(model, nn.ModuleDict) else model
    images = torch.rand(2, 3, 32, 32, requires_grad=True)
    outputs = network(images)
    sum(value.square().mean() for value in outputs.values()).backward()
    found = {f"output {name}": value.detach() for name, value in outputs.items()}
    found |= {f"grad {n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    found |= {f"state {name}": value for name, value in model.state_dict().items()}
    return {**found, "image": images.grad, "random": torch.rand(())}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_the_same_as_without_to_the_last_bit(name):
    make, expected = NETWORKS[name]
    torch.manual_seed(0)
    plain = make()
    saving = copy.deepcopy(plain)
    assert checkpoint_activations(saving) == expected
    assert list(saving.state_dict()) == list(plain.state_dict())
    first, second = run(plain), run(saving)
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def count_passes(model, block, *, train):
    passes = []
    block.register_forward_pre_hook(lambda *_: passes.append("called"))
    inner = next(m for m in block.modules() if isinstance(m, nn.Conv2d))
    inner.register_forward_pre_hook(lambda *_: passes.append("computed"))
    run(model.train(train))
    return passes


def test_blocks_are_computed_twice_in_training_and_once_in_evaluation():
    model = resnet_fpn()
    checkpoint_activations(model)
    block = model["backbone"].bottom_up.res3[0]
    assert count_passes(model, block, train=True) == ["called", "computed", "computed"]
    model = resnet_fpn()
    checkpoint_activations(model)
    block = model["backbone"].bottom_up.res3[0]
    assert count_passes(model, block, train=False) == ["called", "computed"]


def test_blocks_keep_their_class_their_copies_and_are_changed_once():
    model = resnet_fpn()
    block = model["backbone"].bottom_up.res3[0]
    kind = type(block)
    checkpoint_activations(model)
    checkpoint_activations(model)
    assert isinstance(block, kind)
    assert type(block).__mro__[2] is kind
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert run(twin)["output p2"].abs().sum() > 0


def test_the_switch_of_the_vision_transformer_is_not_applied_on_top():
    model = vit(use_act_checkpoint=True)
    assert checkpoint_activations(model) == 3
    assert not model.net.use_act_checkpoint


@pytest.mark.parametrize("norm", ["FrozenBN", "BN"])
def test_a_compiled_backbone_gives_the_same_gradients_and_statistics(norm):
    torch.manual_seed(0)
    plain = resnet_fpn(norm)["backbone"].bottom_up
    saving = copy.deepcopy(plain)
    checkpoint_activations(saving)
    saving.compile(backend="aot_eager")
    first, second = run(plain), run(saving)
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, msg=key)


def test_a_backbone_without_blocks_to_train_is_refused():
    with pytest.raises(ValueError, match="Conv2d has none"):
        checkpoint_activations(nn.Conv2d(1, 1, 1))
    with pytest.raises(ValueError, match="ResNet has none"):
        checkpoint_activations(resnet_fpn(freeze_at=5))
