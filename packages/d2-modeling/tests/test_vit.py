"""Vision transformers and the pyramid on top of them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from d2_modeling.backbone import (
    LastLevelMaxPool,
    SimpleFeaturePyramid,
    ViT,
    get_vit_lr_decay_rate,
    transformer_layer_norm,
)
from d2_modeling.backbone.relative_attention import relative_positions
from d2_modeling.backbone.vit import Attention
from d2_modeling.backbone.window_attention import (
    absolute_positions,
    window_partition,
    window_unpartition,
)
from d2_modeling.layers import get_norm
from d2_modeling.layers.drop_path import DropPath


def small_vit(**options: Any) -> ViT:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {
        "img_size": 32,
        "patch_size": 4,
        "embed_dim": 16,
        "depth": 3,
        "num_heads": 2,
        "use_rel_pos": True,
        "rel_pos_zero_init": False,
        "window_size": 3,
        "window_block_indexes": (0, 2),
        "residual_block_indexes": (1,),
        "pretrain_img_size": 16,
    }
    return ViT(**{**defaults, **options})


def test_attention_is_the_papers_formula() -> None:
    torch.manual_seed(0)
    height, width, heads, dim = 3, 4, 2, 8
    module = Attention(
        dim, heads, use_rel_pos=True, rel_pos_zero_init=False, input_size=(height, width)
    ).double()
    x = torch.randn(1, height, width, dim, dtype=torch.float64)
    q, k, v = module.qkv(x).view(height * width, 3, heads, dim // heads).unbind(1)
    expected = torch.zeros(height * width, heads, dim // heads, dtype=torch.float64)
    for head in range(heads):
        for i in range(height * width):
            logits = []
            for j in range(height * width):
                rows = i // width - j // width + height - 1
                columns = i % width - j % width + width - 1
                place = module.rel_pos_h[rows] + module.rel_pos_w[columns]
                scaled = q[i, head] @ k[j, head] / (dim // heads) ** 0.5
                logits.append(scaled + q[i, head] @ place)
            expected[i, head] = torch.stack(logits).softmax(dim=0) @ v[:, head]
    wanted = module.proj(expected.flatten(1)).view(1, height, width, dim)
    torch.testing.assert_close(module(x), wanted)


def test_relative_positions_are_interpolated_to_other_sizes() -> None:
    rel_pos = torch.arange(7.0)[:, None]
    same = relative_positions(4, 4, rel_pos)
    assert same[..., 0].tolist() == [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]
    assert relative_positions(6, 6, rel_pos).shape == (6, 6, 1)
    coarse = relative_positions(2, 4, rel_pos)[..., 0]
    assert coarse.tolist() == [[3, 2, 1, 0], [5, 4, 3, 2]]


@pytest.mark.parametrize("size", [(6, 6), (7, 4), (1, 1)])
def test_windows_come_apart_and_together_again(size: tuple[int, int]) -> None:
    x = torch.randn(2, *size, 5)
    windows, padded = window_partition(x, 3)
    assert windows.shape[1:] == (3, 3, 5)
    assert all(side % 3 == 0 for side in padded)
    assert torch.equal(window_unpartition(windows, 3, padded, size), x)
    rows, columns = min(3, size[0]), min(3, size[1])
    assert torch.equal(windows[0, :rows, :columns], x[0, :3, :3])


def test_absolute_positions_lose_their_class_token_and_follow_the_size() -> None:
    positions = torch.randn(1, 17, 3)
    same = absolute_positions(positions, True, (4, 4))
    assert torch.equal(same.flatten(1, 2), positions[:, 1:])
    assert absolute_positions(positions, True, (6, 5)).shape == (1, 6, 5, 3)
    with pytest.raises(ValueError, match="form a square"):
        absolute_positions(positions, False, (4, 4))


def test_windows_do_not_see_each_other() -> None:
    network = small_vit(depth=1, window_block_indexes=(0,), residual_block_indexes=()).eval()
    image = torch.randn(1, 3, 24, 24)
    changed = image.clone()
    changed[..., 12:] += 1.0
    with torch.no_grad():
        before, after = (network(x)["last_feat"] for x in (image, changed))
    torch.testing.assert_close(before[..., :3], after[..., :3])
    assert not torch.allclose(before[..., 3:], after[..., 3:])


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("recompute", [False, True])
def test_every_parameter_is_trained_on_any_size(size: tuple[int, int], recompute: bool) -> None:
    network = small_vit(use_act_checkpoint=recompute, drop_path_rate=0.1).train()
    (output,) = network(torch.randn(2, 3, *size)).values()
    assert output.shape == (2, 16, size[0] // 4, size[1] // 4)
    output.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_residual_blocks_start_as_the_identity() -> None:
    plain, residual = small_vit(residual_block_indexes=()).eval(), small_vit().eval()
    residual.load_state_dict(plain.state_dict(), strict=False)
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(residual(image), plain(image))


def test_the_pyramid_has_the_promised_shapes() -> None:
    pyramid = SimpleFeaturePyramid(
        small_vit(),
        in_feature="last_feat",
        out_channels=6,
        scale_factors=(4.0, 2.0, 1.0, 0.5),
        top_block=None,
        square_pad=64,
    )
    outputs = pyramid(torch.randn(1, 3, 32, 48))
    assert {name: tuple(x.shape) for name, x in outputs.items()} == {
        "p0": (1, 6, 32, 48),
        "p1": (1, 6, 16, 24),
        "p2": (1, 6, 8, 12),
        "p3": (1, 6, 4, 6),
    }
    assert pyramid.padding_constraints == {"size_divisibility": 8, "square_size": 64}
    sum(x.square().sum() for x in outputs.values()).backward()
    assert [name for name, p in pyramid.named_parameters() if p.grad is None] == []


def test_vitdets_weights_have_the_published_names_and_shapes(
    load_golden: Callable[[str], Any],
) -> None:
    reference = load_golden("state_dict_keys.json")
    table = reference["tables"][reference["configs"]["common/models/mask_rcnn_vitdet.py"]]
    with torch.device("meta"):
        pyramid = SimpleFeaturePyramid(
            ViT(
                drop_path_rate=0.1,
                window_size=14,
                norm_layer=transformer_layer_norm,
                window_block_indexes=[0, 1, 3, 4, 6, 7, 9, 10],
                use_rel_pos=True,
            ),
            in_feature="last_feat",
            out_channels=256,
            scale_factors=(4.0, 2.0, 1.0, 0.5),
            top_block=LastLevelMaxPool(),
            square_pad=1024,
        )
    got = {f"backbone.{name}": list(x.shape) for name, x in pyramid.state_dict().items()}
    assert got == {name: shape for name, shape in table.items() if name.startswith("backbone.")}
    assert list(pyramid.output_shape()) == ["p2", "p3", "p4", "p5", "p6"]


@pytest.mark.parametrize(
    ("name", "power"),
    [
        ("backbone.net.pos_embed", 13),
        ("backbone.net.patch_embed.proj.weight", 13),
        ("backbone.net.blocks.0.norm1.weight", 12),
        ("backbone.net.blocks.11.attn.qkv.bias", 1),
        ("backbone.net.blocks.2.residual.conv1.weight", 0),
        ("backbone.simfp_2.0.weight", 0),
        ("roi_heads.box_head.fc1.weight", 0),
    ],
)
def test_earlier_layers_learn_more_slowly(name: str, power: int) -> None:
    assert get_vit_lr_decay_rate(name, 0.7, 12) == pytest.approx(0.7**power)


def test_dropped_paths_keep_the_mean() -> None:
    torch.manual_seed(0)
    module = DropPath(0.25).train()
    x = torch.ones(4000, 2, 3)
    dropped = module(x)
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert torch.equal(dropped[:, :1, :1].expand_as(x), dropped)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(module.eval()(x), x)
    with pytest.raises(ValueError, match="drop_prob"):
        DropPath(1.0)


def test_layer_norm_looks_at_the_channels_of_each_pixel() -> None:
    module = get_norm("LN", 5)
    assert module is not None
    x = torch.randn(2, 5, 3, 4)
    mean, var = x.mean(dim=1, keepdim=True), x.var(dim=1, keepdim=True, correction=0)
    torch.testing.assert_close(module(x), (x - mean) / (var + 1e-6).sqrt())


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="do not divide"):
        Attention(8, 3)
    with pytest.raises(ValueError, match="input_size"):
        Attention(8, 2, use_rel_pos=True)
    vit = small_vit()
    for options, message in (
        ({"in_feature": "res5", "scale_factors": [1.0]}, "gives only"),
        ({"in_feature": "last_feat", "scale_factors": [3.0]}, "got 3.0"),
        ({"in_feature": "last_feat", "scale_factors": []}, "empty"),
    ):
        with pytest.raises(ValueError, match=message):
            SimpleFeaturePyramid(vit, out_channels=4, **options)  # type: ignore[arg-type]  # wrong on purpose


def test_attention_without_positions_is_attention() -> None:
    torch.manual_seed(0)
    module = Attention(6, 3, qkv_bias=False).double()
    x = torch.randn(2, 3, 2, 6, dtype=torch.float64)
    q, k, v = module.qkv(x).view(2, 6, 3, 3, 2).permute(2, 0, 3, 1, 4)
    weights = (q @ k.mT / 2**0.5).softmax(-1)
    wanted = module.proj((weights @ v).transpose(1, 2).reshape(2, 3, 2, 6))
    torch.testing.assert_close(module(x), wanted)
    assert not hasattr(module, "rel_pos_h")


@pytest.mark.parametrize("zero", [True, False])
def test_relative_positions_start_at_zero_unless_told_otherwise(zero: bool) -> None:
    module = Attention(64, 1, use_rel_pos=True, rel_pos_zero_init=zero, input_size=(30, 20))
    assert (module.rel_pos_h.shape, module.rel_pos_w.shape) == ((59, 64), (39, 64))
    if zero:
        assert not module.rel_pos_h.any()
    else:
        assert module.rel_pos_w.std().item() == pytest.approx(0.02, rel=0.1)


def test_zero_positions_change_nothing() -> None:
    plain, positioned = (
        small_vit(use_rel_pos=False).eval(),
        small_vit(rel_pos_zero_init=True).eval(),
    )
    positioned.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(positioned(x), plain(x))


def test_the_size_of_windows_or_of_the_map_decides_about_positions() -> None:
    network = small_vit()
    lengths = [block.attn.rel_pos_h.shape[0] for block in network.blocks]  # type: ignore[union-attr]  # blocks
    assert lengths == [2 * 3 - 1, 2 * 8 - 1, 2 * 3 - 1]


def test_a_map_that_windows_divide_is_treated_window_by_window() -> None:
    network = small_vit(window_size=4, window_block_indexes=(0,), depth=1, use_abs_pos=False)
    network = network.double().eval()
    x = torch.randn(1, 3, 32, 48, dtype=torch.float64)
    with torch.no_grad():
        whole = network(x)["last_feat"]
        for top in range(0, 32, 16):
            for left in range(0, 48, 16):
                part = network(x[..., top : top + 16, left : left + 16])["last_feat"]
                wanted = whole[..., top // 4 : top // 4 + 4, left // 4 : left // 4 + 4]
                torch.testing.assert_close(part, wanted)


def test_positions_without_class_token_are_one_fewer() -> None:
    for token, count in ((True, 17), (False, 16)):
        embedded = small_vit(pretrain_use_cls_token=token).pos_embed
        assert embedded is not None
        assert embedded.shape == (1, count, 16)
    assert small_vit(use_abs_pos=False).pos_embed is None


def test_the_output_has_the_name_stride_and_width_asked_for() -> None:
    network = small_vit(out_feature="res3", patch_size=8, pretrain_img_size=32).eval()
    (name,) = network(torch.zeros(1, 3, 32, 32))
    shape = network.output_shape()["res3"]
    assert (name, shape.stride, shape.channels) == ("res3", 8, 16)


def test_a_trained_residual_block_adds_three_convolutions() -> None:
    torch.manual_seed(0)
    block: Any = small_vit().blocks[1].residual  # type: ignore[union-attr]  # a block with one
    block = block.double()
    torch.nn.init.normal_(block.norm3.weight)
    x = torch.randn(2, 16, 5, 4, dtype=torch.float64)
    out = x
    for number in (1, 2, 3):
        conv, norm = getattr(block, f"conv{number}"), getattr(block, f"norm{number}")
        assert conv.bias is None
        out = torch.nn.functional.conv2d(out, conv.weight, padding=conv.kernel_size[0] // 2)
        mean, var = out.mean(1, keepdim=True), out.var(1, keepdim=True, correction=0)
        out = (out - mean) / (var + 1e-6).sqrt() * norm.weight[:, None, None]
        out = out + norm.bias[:, None, None]
        out = out if number == 3 else torch.nn.functional.gelu(out)
    torch.testing.assert_close(block(x), x + out)
    assert block.conv2.in_channels == 8
