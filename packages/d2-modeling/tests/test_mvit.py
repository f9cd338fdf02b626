"""Multiscale vision transformers apart from their reference models."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from d2_modeling.backbone import MViT
from d2_modeling.backbone.mvit import MultiScaleAttention, MultiScaleBlock


def small(**options: object) -> MViT:
    torch.manual_seed(0)
    given = {"img_size": 64, "embed_dim": 4, "depth": 3, "last_block_indexes": (0, 1, 2)}
    given |= {"adaptive_window_size": 8, "out_features": ("scale2", "scale4")} | options
    return MViT(**given)  # type: ignore[arg-type]


def test_only_the_wanted_levels_come_with_their_strides_and_channels() -> None:
    backbone = small().eval()
    maps = backbone(torch.randn(1, 3, 64, 96))
    assert {name: tuple(m.shape) for name, m in maps.items()} == {
        "scale2": (1, 4, 16, 24),
        "scale4": (1, 16, 4, 6),
    }
    shapes = backbone.output_shape()
    assert [(s.channels, s.stride) for s in shapes.values()] == [(4, 4), (16, 16)]
    assert not hasattr(backbone, "scale3_norm")


def test_attention_equals_the_formula_without_pooling() -> None:
    attention = MultiScaleAttention(4, 6, 3, residual_pooling=False).double()
    with torch.no_grad():
        for name in "qkv":  # the identity
            attention.get_submodule(f"pool_{name}").weight.zero_()
            attention.get_submodule(f"pool_{name}").weight[:, :, 1, 1] = 1
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    qkv = attention.qkv(x).view(2, 15, 3, 3, 2)
    q, k, v = (
        attention.get_submodule(f"norm_{name}")(qkv[:, :, index]).transpose(1, 2)
        for index, name in enumerate("qkv")
    )
    weights = (q @ k.transpose(2, 3) / 2**0.5).softmax(-1)
    wanted = attention.proj((weights @ v).transpose(1, 2).reshape(2, 3, 5, 6))
    torch.testing.assert_close(attention(x), wanted)


def test_the_first_block_of_a_stage_halves_the_map() -> None:
    block = MultiScaleBlock(4, 8, 2, stride_q=2, window_size=4)
    assert block(torch.randn(1, 6, 9, 4)).shape == (1, 3, 5, 8)
    plain = MultiScaleBlock(4, 4, 2, stride_kv=2)
    assert plain(torch.randn(1, 6, 9, 4)).shape == (1, 6, 9, 4)
    assert plain.proj is None
    assert plain.pool_skip is None


def test_windows_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    attention = MultiScaleAttention(4, 4, 1, window_size=4, residual_pooling=False).eval()
    x = torch.randn(1, 8, 8, 4)
    other = x.clone()
    other[0, 7, 7] += 1.0
    changed = (attention(x) - attention(other)).abs().sum(-1)[0] > 1e-7
    assert changed[4:, 4:].all()
    # Pooling reaches one pixel into the other windows' keys.
    assert not changed[:3, :3].any()


def test_relative_positions_make_places_differ() -> None:
    torch.manual_seed(0)
    options = {"use_rel_pos": True, "rel_pos_zero_init": False, "input_size": (4, 4)}
    attention = MultiScaleAttention(4, 4, 2, **options)  # type: ignore[arg-type]
    x = torch.randn(1, 4, 4, 4)
    with_positions = attention(x)
    with torch.no_grad():
        attention.rel_pos_h.zero_()
        attention.rel_pos_w.zero_()
    assert not torch.allclose(with_positions, attention(x))
    with pytest.raises(ValueError, match=r"use_rel_pos needs a square input_size, got \(4, 5\)"):
        MultiScaleAttention(4, 4, 2, use_rel_pos=True, input_size=(4, 5))
    with pytest.raises(ValueError, match="3 heads do not divide 4 channels"):
        MultiScaleAttention(4, 4, 3)


def test_absolute_positions_are_resized_to_the_map() -> None:
    backbone = small(use_abs_pos=True, pretrain_img_size=32).eval()
    assert backbone.pos_embed is not None
    assert backbone.pos_embed.shape == (1, 65, 4)
    x = torch.randn(1, 3, 64, 64)
    before = backbone(x)["scale2"]
    with torch.no_grad():
        backbone.pos_embed.zero_()
    assert not torch.allclose(before, backbone(x)["scale2"])


def test_recomputing_blocks_changes_neither_outputs_nor_gradients() -> None:
    x = torch.randn(1, 3, 32, 32)
    results = []
    for use_act_checkpoint in (False, True):
        backbone = small(use_act_checkpoint=use_act_checkpoint).train()
        total = sum(F.gelu(feature).sum() for feature in backbone(x).values())
        total.backward()
        results.append([total.detach(), *(p.grad for p in backbone.parameters())])
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("stride_q", [1, 2])
@pytest.mark.parametrize("stride_kv", [1, 2])
@pytest.mark.parametrize("residual", [True, False])
def test_attention_is_between_pooled_maps(stride_q: int, stride_kv: int, residual: bool) -> None:
    """Each head's map is pooled by a convolution of each channel, and normalised."""
    torch.manual_seed(0)
    attention = MultiScaleAttention(
        *(4, 6, 3), stride_q=stride_q, stride_kv=stride_kv, residual_pooling=residual
    ).double()
    x = torch.randn(2, 5, 4, 4, dtype=torch.float64)
    qkv = attention.qkv(x).view(2, 5, 4, 3, 3, 2)
    out = []
    for head in range(3):
        maps = {}
        for index, (name, stride) in enumerate(
            (("q", stride_q), ("k", stride_kv), ("v", stride_kv))
        ):
            weight = attention.get_submodule(f"pool_{name}").weight
            channels = qkv[..., index, head, :].permute(0, 3, 1, 2)
            pooled = F.conv2d(channels, weight, stride=stride, padding=1, groups=2)  # type: ignore[arg-type]  # a parameter
            maps[name] = attention.get_submodule(f"norm_{name}")(pooled.permute(0, 2, 3, 1))
        q, k, v = (maps[name].flatten(1, 2) for name in "qkv")
        attended = (q @ k.mT / 2**0.5).softmax(-1) @ v
        out.append(attended.view(maps["q"].shape) + (maps["q"] if residual else 0))
    torch.testing.assert_close(attention(x), attention.proj(torch.cat(out, dim=-1)))


@pytest.mark.parametrize("size", [(8, 8), (7, 5)])
def test_queries_of_a_window_see_the_pooled_keys_of_theirs(size: tuple[int, int]) -> None:
    """With pooling that looks at one pixel only, each window is a map of its own."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"window_size": 4, "stride_kv": 2, "residual_pooling": False}
    attention = MultiScaleAttention(4, 4, 2, **options).double()
    with torch.no_grad():
        for name in "qkv":
            weight = attention.get_parameter(f"pool_{name}.weight")
            weight[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
    x = torch.randn(1, 8, 8, 4, dtype=torch.float64)[:, : size[0], : size[1]]
    whole = attention(x)
    assert whole.shape == (1, *size, 4)
    first = attention(x[:, :4, :4])
    torch.testing.assert_close(whole[:, :4, :4], first)


def test_a_stage_halves_the_map_and_doubles_channels_and_heads() -> None:
    backbone = small(out_features=("scale2", "scale3", "scale4"), num_heads=1)
    blocks: Any = backbone.blocks
    assert [block.attn.num_heads for block in blocks] == [1, 2, 4]
    assert [block.attn.qkv.in_features for block in blocks] == [4, 4, 8]
    assert [block.attn.proj.out_features for block in blocks] == [4, 8, 16]
    assert [block.attn.pool_q.stride for block in blocks] == [(1, 1), (2, 2), (2, 2)]


def test_keys_keep_their_number_as_the_map_shrinks() -> None:
    """Of the last blocks of the second and third stage, which attend globally, half of them."""
    backbone = MViT(
        img_size=64, embed_dim=4, depth=7, last_block_indexes=(0, 2, 4, 6), adaptive_window_size=8
    )
    blocks: Any = backbone.blocks
    assert [block.attn.pool_k.stride[0] for block in blocks] == [4, 2, 4, 1, 2, 1, 1]
    assert [block.attn.pool_v.stride[0] for block in blocks] == [4, 2, 4, 1, 2, 1, 1]
    # The first block of a stage sees the map of the stage before, and its windows.
    assert [block.attn.q_window_size for block in blocks] == [8, 4, 0, 2, 0, 1, 0]
    lengths = [(block.attn.rel_pos_h.shape[0] + 1) // 2 for block in blocks]
    assert lengths == [16, 8, 8, 8, 4, 4, 2]


def test_a_shortcut_is_pooled_and_projected_like_the_attention() -> None:
    torch.manual_seed(0)
    block: Any = MultiScaleBlock(4, 6, 2, stride_q=2).double()
    for parameter in (*block.attn.proj.parameters(), *block.mlp.fc2.parameters()):
        torch.nn.init.zeros_(parameter)
    x = torch.randn(1, 5, 7, 4, dtype=torch.float64)
    projected = block.proj(block.norm1(x)).permute(0, 3, 1, 2)
    padded = F.pad(projected, (1, 1, 1, 1), value=-torch.inf)
    wanted = padded.unfold(2, 3, 2).unfold(3, 3, 2).amax(dim=(4, 5)).permute(0, 2, 3, 1)
    torch.testing.assert_close(block(x), wanted)


def test_maps_are_normalised_and_lie_in_memory_in_their_order() -> None:
    backbone = small().eval()
    for value in backbone(torch.randn(2, 3, 64, 64)).values():
        assert value.is_contiguous()
        torch.testing.assert_close(value.mean(1), torch.zeros_like(value[:, 0]), atol=1e-4, rtol=0)
        spread = value.var(1, correction=0)
        torch.testing.assert_close(spread, torch.ones_like(spread), atol=2e-2, rtol=0)


def test_the_map_of_a_block_is_its_last_blocks_normalised() -> None:
    backbone = small(out_features=("scale3",)).eval()
    taken: list[torch.Tensor] = []
    backbone.blocks[1].register_forward_hook(lambda module, args, out: taken.append(out))
    outputs = backbone(torch.randn(1, 3, 32, 32))
    wanted = backbone.get_submodule("scale3_norm")(taken[0]).permute(0, 3, 1, 2)
    assert list(outputs) == ["scale3"]
    torch.testing.assert_close(outputs["scale3"], wanted)
