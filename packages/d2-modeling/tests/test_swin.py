"""Swin transformers apart from their reference models."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from d2_modeling.backbone import SwinTransformer
from d2_modeling.backbone.swin import (
    PatchMerging,
    SwinBlock,
    WindowAttention,
    shifted_window_mask,
)


def small(**options: object) -> SwinTransformer:
    torch.manual_seed(0)
    given = {"embed_dim": 8, "depths": (2, 1), "num_heads": (2, 4), "window_size": 4} | options
    return SwinTransformer(out_indices=(0, 1), **given)  # type: ignore[arg-type]


def test_maps_have_the_strides_and_channels_that_it_says() -> None:
    backbone = small().eval()
    maps = backbone(torch.randn(1, 3, 50, 61))
    shapes = backbone.output_shape()
    assert {name: shape.stride for name, shape in shapes.items()} == {"p0": 4, "p1": 8}
    for name, size in (("p0", (13, 16)), ("p1", (7, 8))):
        assert maps[name].shape == (1, shapes[name].channels, *size)
    assert backbone.size_divisibility == 4


def test_attention_within_windows_equals_the_formula() -> None:
    attention = WindowAttention(6, 2, 3)
    with torch.no_grad():
        attention.relative_position_bias_table.normal_()
    x = torch.randn(5, 4, 6)
    qkv = attention.qkv(x).view(5, 4, 3, 3, 2)
    q, k, v = (qkv[:, :, i].transpose(1, 2) for i in range(3))  # (windows, heads, pixels, 2)
    logits = q @ k.transpose(2, 3) / 2**0.5
    for first in range(4):
        for second in range(4):
            row = first // 2 - second // 2 + 1
            column = first % 2 - second % 2 + 1
            logits[:, :, first, second] += attention.relative_position_bias_table[3 * row + column]
    wanted = attention.proj((logits.softmax(-1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x), wanted)


def test_a_shift_lets_only_former_neighbours_attend_to_each_other() -> None:
    like = torch.zeros(())
    mask = shifted_window_mask(8, 8, 4, like)
    assert mask.shape == (4, 16, 16)
    assert (mask[0] == 0).all()  # the first window lies within the map
    apart = (mask[3] != 0).view(4, 4, 4, 4)
    for row in range(4):
        for column in range(4):
            same = [
                [(row < 2) == (r < 2) and (column < 2) == (c < 2) for c in range(4)]
                for r in range(4)
            ]
            assert torch.equal(~apart[row, column], torch.tensor(same))
    assert (mask[mask != 0] <= -100).all()


def test_what_is_beyond_a_shifted_window_has_no_influence() -> None:
    torch.manual_seed(0)
    block = SwinBlock(4, 2, window_size=4, shift_size=2).eval()
    x = torch.randn(1, 8, 8, 4)
    other = x.clone()
    other[0, 0, 0, 0] += 1.0  # in the corner window, which the shift cut off
    mask = shifted_window_mask(8, 8, 4, x)
    changed = (block(x, mask) - block(other, mask)).abs().sum(-1)[0] > 1e-6
    assert changed[:2, :2].all()
    assert not changed[2:].any()
    assert not changed[:, 2:].any()


def test_merging_takes_the_four_pixels_of_a_square() -> None:
    merging = PatchMerging(1, lambda channels: nn.Identity())
    with torch.no_grad():
        merging.reduction.weight.copy_(torch.tensor([[1.0, 10, 100, 1000], [0, 0, 0, 1]]))
    squares = merging(torch.tensor([[1.0, 2], [3, 4]]).view(1, 2, 2, 1))
    assert squares.flatten().tolist() == [4231.0, 4.0]  # column by column
    assert merging(torch.randn(1, 3, 5, 1)).shape == (1, 2, 3, 2)


def test_stages_may_be_frozen_and_stay_so() -> None:
    backbone = small(frozen_stages=2, ape=True).train()
    trained = {name.split(".")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"layers", "norm0", "norm1"}
    assert not any(p.requires_grad for p in backbone.layers[0].parameters())
    assert all(p.requires_grad for p in backbone.layers[1].parameters())
    assert not backbone.patch_embed.training
    assert not backbone.layers[0].training
    assert backbone.layers[1].training


def test_recomputing_blocks_changes_neither_outputs_nor_gradients() -> None:
    x = torch.randn(1, 3, 32, 32)
    results = []
    for use_checkpoint in (False, True):
        backbone = small(use_checkpoint=use_checkpoint, drop_path_rate=0.0).train()
        total = sum(feature.square().sum() for feature in backbone(x).values())
        total.backward()
        results.append([total.detach(), *(p.grad for p in backbone.parameters())])
    torch.testing.assert_close(results[0], results[1])


def test_heads_have_to_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="3 heads do not divide 8 channels"):
        WindowAttention(8, 4, 3)


def test_images_of_a_batch_share_the_bias_of_shifted_windows() -> None:
    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.shape[-2:] == (16, 16):
                self.elements = max(self.elements, out.numel())
            return out

    torch.manual_seed(0)
    attention = WindowAttention(12, window_size=4, num_heads=3).eval()
    windows, mask = torch.randn(6 * 5, 16, 12), torch.randn(5, 16, 16)
    with torch.no_grad(), Largest() as largest:
        together = attention(windows, mask)
    assert largest.elements <= 5 * 3 * 16 * 16
    with torch.no_grad():
        apart = [attention(image, mask) for image in windows.split(5)]
    torch.testing.assert_close(together, torch.cat(apart))
