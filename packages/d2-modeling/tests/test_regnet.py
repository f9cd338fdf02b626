"""RegNet: the published networks' shapes, freezing and outputs."""

from typing import Any

import pytest
import torch
from torch import nn

from d2_modeling.backbone import RegNet, ResBottleneckBlock, SimpleStem
from d2_modeling.layers import FrozenBatchNorm2d

# Widths, depths and millions of parameters of the paper's tables and of torchvision's models.
PUBLISHED: list[tuple[dict[str, Any], list[int], list[int], float]] = [
    (
        {"depth": 23, "w_a": 38.65, "w_0": 96, "w_m": 2.43, "group_width": 40},
        [80, 240, 560, 1360],
        [2, 5, 14, 2],
        22.1 - 1.361,  # without the classifier
    ),
    (
        {"depth": 22, "w_a": 31.41, "w_0": 96, "w_m": 2.24, "group_width": 64, "se_ratio": 0.25},
        [128, 192, 512, 1088],
        [2, 6, 12, 2],
        20.6 - 1.089,
    ),
]


def regnet(**options: Any) -> RegNet:
    small = {"depth": 4, "w_a": 8.0, "w_0": 8, "w_m": 2.0, "group_width": 4}
    return RegNet(
        stem_class=SimpleStem,
        block_class=ResBottleneckBlock,
        **{"stem_width": 8, **small, **options},
    )


@pytest.mark.parametrize(("options", "widths", "depths", "millions"), PUBLISHED)
def test_published_networks_have_their_published_shapes(
    options: dict[str, Any], widths: list[int], depths: list[int], millions: float
) -> None:
    with torch.device("meta"):
        network = regnet(stem_width=32, out_features=["s1", "s2", "s3", "s4"], **options)
    shapes = network.output_shape()
    assert [shape.channels for shape in shapes.values()] == widths
    assert [shape.stride for shape in shapes.values()] == [4, 8, 16, 32]
    assert [len(list(stage.children())) for stage in network.stages] == depths
    count = sum(p.numel() for p in network.parameters()) / 1e6
    assert count == pytest.approx(millions, abs=0.06)


def test_outputs_have_the_promised_shapes() -> None:
    network = regnet(out_features=["stem", "s2"])
    outputs = network(torch.randn(2, 3, 32, 32))
    assert set(outputs) == {"stem", "s2"}
    for name, shape in network.output_shape().items():
        assert shape.stride is not None
        size = 32 // shape.stride
        assert outputs[name].shape == (2, shape.channels, size, size)
    sum(x.sum() for x in outputs.values()).backward()


@pytest.mark.parametrize("se_ratio", [0.0, 0.25])
def test_freezing_stops_the_first_stages(se_ratio: float) -> None:
    network = regnet(freeze_at=2, se_ratio=se_ratio)
    frozen = [n for n, p in network.named_parameters() if not p.requires_grad]
    assert {name.split(".")[0] for name in frozen} == {"stem", "s1"}
    assert any(isinstance(m, FrozenBatchNorm2d) for m in network.stages[0].modules())
    assert not any(isinstance(m, FrozenBatchNorm2d) for m in network.stages[1].modules())


def test_a_block_of_equal_widths_keeps_its_input_as_shortcut() -> None:
    block = ResBottleneckBlock(
        8, 8, 1, "", nn.Identity, bottleneck_ratio=1.0, group_width=4, se_ratio=0.0
    )
    assert block.proj is None
    nn.init.zeros_(block.f.c.weight)
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(block(x), x)


def test_impossible_shapes_and_outputs_are_refused() -> None:
    for wrong in ({"w_0": 12}, {"w_m": 1.0}, {"w_a": -1.0}, {"depth": 0}):
        with pytest.raises(ValueError, match="RegNet wants"):
            regnet(**wrong)
    with pytest.raises(ValueError, match=r"unknown \['s9'\]"):
        regnet(out_features=["s9"])
    with pytest.raises(ValueError, match=r"\(N, C, H, W\)"):
        regnet()(torch.zeros(3, 32, 32))
