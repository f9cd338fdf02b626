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


@pytest.mark.parametrize(
    ("frozen_stages", "frozen"),
    [
        (-1, set()),
        (0, {"patch_embed"}),
        (1, {"patch_embed", "absolute_pos_embed"}),
        (2, {"patch_embed", "absolute_pos_embed", "layers.0"}),
        (3, {"patch_embed", "absolute_pos_embed", "layers.0", "layers.1"}),
    ],
)
def test_what_is_frozen_follows_from_the_number_of_stages(
    frozen_stages: int, frozen: set[str]
) -> None:
    backbone = small(frozen_stages=frozen_stages, ape=True, drop_rate=0.5)
    for mode in (True, False, True):
        backbone.train(mode)
    found = {
        ".".join(name.split(".")[: 2 if name.startswith("layers") else 1])
        for name, p in backbone.named_parameters()
        if not p.requires_grad
    }
    assert found == frozen
    for name in frozen - {"absolute_pos_embed"}:
        assert not any(m.training for m in backbone.get_submodule(name).modules())
    assert backbone.pos_drop.training == (frozen_stages < 2)
    assert backbone.get_submodule("norm0").training


def test_absolute_positions_of_another_size_are_interpolated() -> None:
    backbone = small(ape=True, pretrain_img_size=32, depths=(0, 0)).eval()
    assert backbone.absolute_pos_embed is not None
    assert backbone.absolute_pos_embed.shape == (1, 8, 8, 8)
    with torch.no_grad():
        backbone.absolute_pos_embed.copy_(torch.arange(8.0).view(1, 1, 8, 1).expand(1, 8, 8, 8))
        nn.init.zeros_(backbone.patch_embed.proj.weight)
        backbone.patch_embed.norm, backbone.norm0 = None, nn.Identity()  # type: ignore[assignment]  # to see what is added
        bias = backbone.patch_embed.proj.bias
        assert bias is not None
        bias.zero_()
        same = backbone(torch.zeros(1, 3, 32, 48))["p0"]
    assert same.shape == (1, 8, 8, 12)
    torch.testing.assert_close(same[0, :, :, 0], torch.arange(8.0).expand(8, 8))
    torch.testing.assert_close(same, same[..., :1].expand_as(same))


def test_images_are_padded_with_zeros_to_whole_patches() -> None:
    backbone = small().eval()
    x = torch.randn(1, 3, 30, 33)
    padded = torch.zeros(1, 3, 32, 36)
    padded[..., :30, :33] = x
    with torch.no_grad():
        for name, value in backbone(x).items():
            torch.testing.assert_close(value, backbone(padded)[name])


@pytest.mark.parametrize(("height", "width"), [(8, 8), (4, 8), (3, 3), (7, 10)])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_pixels_attend_where_the_shift_leaves_them_together(
    height: int, width: int, size: int
) -> None:
    """Two pixels of a shifted window belong together unless the map's end is between them.

    Those behind it were at the map's beginning before the shift.
    """
    mask = shifted_window_mask(height, width, size, torch.zeros((), dtype=torch.float64))
    sides = [-(-side // size) * size for side in (height, width)]
    shift = size // 2
    rows, columns = (side // size for side in sides)
    assert mask.shape == (rows * columns, size * size, size * size)
    assert mask.dtype == torch.float64
    for window in range(rows * columns):
        top, left = window // columns * size, window % columns * size
        beyond = [
            (top + i + shift >= sides[0], left + j + shift >= sides[1])
            for i in range(size)
            for j in range(size)
        ]
        together = [[one == other for other in beyond] for one in beyond]
        assert torch.equal(mask[window] == 0, torch.tensor(together))


def test_a_shifted_block_is_the_block_on_a_rolled_map() -> None:
    """With one window over the whole map and no mask, a shift changes nothing but places."""
    torch.manual_seed(0)
    block = SwinBlock(4, 2, window_size=4, shift_size=2).double().eval()
    x = torch.randn(1, 4, 4, 4, dtype=torch.float64)
    mask = torch.zeros(1, 16, 16, dtype=torch.float64)
    shifted = block(x, mask)
    block.shift_size = 0
    rolled = block(x.roll((-2, -2), (1, 2)), mask).roll((2, 2), (1, 2))
    torch.testing.assert_close(shifted, rolled)


def test_the_scale_of_logits_may_be_given() -> None:
    torch.manual_seed(0)
    plain = WindowAttention(8, 2, 2)
    same, sharper = (WindowAttention(8, 2, 2, qk_scale=scale) for scale in (0.5, 5.0))
    for other in (same, sharper):
        other.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 8)
    torch.testing.assert_close(same(x), plain(x))
    assert not torch.allclose(sharper(x), plain(x))


@pytest.mark.parametrize("option", ["attn_drop_rate", "drop_rate"])
def test_dropout_works_in_training_only(option: str) -> None:
    backbone = small(**{option: 0.5, "drop_path_rate": 0.0})
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert not torch.equal(backbone.train()(x)["p1"], backbone(x)["p1"])
        plain = small(drop_path_rate=0.0).eval()
        torch.testing.assert_close(backbone.eval()(x)["p1"], plain(x)["p1"])


def test_patches_may_go_without_a_norm() -> None:
    assert small(patch_norm=False).patch_embed.norm is None
    assert small().patch_embed.norm is not None


def test_another_size_of_patches_gives_other_strides() -> None:
    backbone = small(patch_size=2).eval()
    assert [s.stride for s in backbone.output_shape().values()] == [2, 4]
    assert backbone.size_divisibility == 2
    assert backbone(torch.zeros(1, 3, 16, 24))["p1"].shape == (1, 16, 4, 6)


def test_maps_may_be_wanted_in_any_order_and_number() -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"embed_dim": 8, "depths": (1, 1), "num_heads": (2, 2)}
    backbone = SwinTransformer(**options, window_size=4, out_indices=(1,)).eval()
    assert list(backbone(torch.zeros(1, 3, 32, 32))) == list(backbone.output_shape()) == ["p1"]
    assert not hasattr(backbone, "norm0")


def test_positions_start_as_small_noise() -> None:
    torch.manual_seed(0)
    tables = [WindowAttention(64, 7, 8).relative_position_bias_table]
    tables.append(small(ape=True, embed_dim=64).absolute_pos_embed)
    for table in tables:
        assert table is not None
        assert table.std().item() == pytest.approx(0.02, rel=0.1)
