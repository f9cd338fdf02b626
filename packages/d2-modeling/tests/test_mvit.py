"""Multiscale vision transformers apart from their reference models."""

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
