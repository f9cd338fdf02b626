"""What plain, shifted-window and multiscale transformers have in common."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from d2_modeling.backbone import (
    Backbone,
    MViT,
    SwinTransformer,
    ViT,
    get_vit_lr_decay_rate,
    transformer_layer_norm,
)
from d2_modeling.layers.drop_path import DropPath


def vit(**options: Any) -> Backbone:
    given = {"img_size": 32, "patch_size": 4, "embed_dim": 8, "depth": 4, "num_heads": 2}
    given |= {"pretrain_img_size": 16, "window_size": 3, "window_block_indexes": (0, 2)}
    return ViT(**(given | {"use_rel_pos": True, "rel_pos_zero_init": False} | options))


def swin(**options: Any) -> Backbone:
    given = {"embed_dim": 4, "depths": (2, 2), "num_heads": (2, 4), "window_size": 3}
    return SwinTransformer(**(given | {"out_indices": (0, 1), "drop_path_rate": 0.0} | options))


def mvit(**options: Any) -> Backbone:
    given = {"img_size": 64, "embed_dim": 4, "depth": 4, "last_block_indexes": (0, 1, 3)}
    given |= {"adaptive_window_size": 8, "out_features": ("scale2", "scale3", "scale4")}
    return MViT(**(given | {"rel_pos_zero_init": False} | options))


MODELS: dict[str, Callable[..., Backbone]] = {"vit": vit, "swin": swin, "mvit": mvit}
CHECKPOINTED = {"vit": "use_act_checkpoint", "swin": "use_checkpoint", "mvit": "use_act_checkpoint"}
every_kind = pytest.mark.parametrize("kind", MODELS)


def built(kind: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return MODELS[kind](**options)


@every_kind
@pytest.mark.parametrize("size", [(32, 32), (36, 20), (4, 4), (40, 4)])
def test_maps_have_the_promised_shapes_whatever_the_windows(
    kind: str, size: tuple[int, int]
) -> None:
    model = built(kind).eval()
    with torch.no_grad():
        outputs = model(torch.randn(2, 3, *size))
    assert list(outputs) == list(model.output_shape())
    for name, shape in model.output_shape().items():
        wanted = [-(-side // shape.stride) for side in size]
        assert list(outputs[name].shape) == [2, shape.channels, *wanted]


@pytest.mark.parametrize("size", [(33, 35), (30, 31), (1, 1)])
@pytest.mark.parametrize("kind", ["swin", "mvit"])
def test_sizes_that_patches_do_not_divide_are_rounded_up(kind: str, size: tuple[int, int]) -> None:
    model = built(kind).eval()
    with torch.no_grad():
        outputs = model(torch.randn(1, 3, *size))
    for name, shape in model.output_shape().items():
        assert list(outputs[name].shape[2:]) == [-(-side // shape.stride) for side in size]
        assert outputs[name].isfinite().all()


@every_kind
def test_images_of_a_batch_do_not_see_each_other(kind: str) -> None:
    model = built(kind).double().eval()
    x = torch.randn(3, 3, 36, 28, dtype=torch.float64)
    with torch.no_grad():
        together = model(x)
        for index in range(3):
            for name, value in model(x[index : index + 1]).items():
                torch.testing.assert_close(together[name][index : index + 1], value)


@every_kind
def test_half_precision_gives_about_the_same(kind: str) -> None:
    model = built(kind).eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        wanted = model(x)
        got = model.to(torch.bfloat16)(x.to(torch.bfloat16))
    for name, value in wanted.items():
        assert got[name].dtype == torch.bfloat16
        torch.testing.assert_close(got[name].float(), value, rtol=0.1, atol=0.15)


@every_kind
def test_images_may_have_any_number_of_channels(kind: str) -> None:
    model = built(kind, in_chans=5).eval()
    assert model(torch.randn(1, 5, 16, 16))
    with pytest.raises(RuntimeError, match="expected input.* to have 5 channels"):
        model(torch.randn(1, 3, 16, 16))


@every_kind
@pytest.mark.parametrize("training", [True, False])
def test_blocks_are_recomputed_while_training_only(
    kind: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = built(kind, **{CHECKPOINTED[kind]: True}).train(training)
    calls: list[nn.Module] = []

    def checkpoint(block: nn.Module, *inputs: Any, use_reentrant: bool) -> Any:
        assert not use_reentrant
        calls.append(block)
        return block(*inputs)

    monkeypatch.setattr("d2_modeling.backbone.window_attention.checkpoint", checkpoint)
    model(torch.randn(1, 3, 16, 16))
    blocks = [m for m in model.modules() if re.search("Block$", type(m).__name__)]
    assert len(blocks) == 4
    assert calls == (blocks if training else [])


@every_kind
def test_the_rate_of_dropped_paths_grows_linearly_to_that_of_the_last_block(kind: str) -> None:
    model = built(kind, drop_path_rate=0.3)
    rates = [m.drop_prob for m in model.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3])


@every_kind
def test_a_single_block_drops_nothing(kind: str) -> None:
    one = {"vit": {"depth": 1}, "mvit": {"depth": 1, "last_block_indexes": (0,)}}
    one |= {"swin": {"depths": (1,), "num_heads": (2,), "out_indices": (0,)}}
    outputs = {} if kind != "mvit" else {"out_features": ("scale2",)}
    model = built(kind, drop_path_rate=0.5, **one[kind], **outputs)
    assert [m.drop_prob for m in model.modules() if isinstance(m, DropPath)] == [0.0]
    assert len(model.eval()(torch.randn(1, 3, 16, 16))) == 1


@every_kind
def test_dropped_paths_are_drawn_anew_in_training_and_not_in_evaluation(kind: str) -> None:
    model = built(kind, drop_path_rate=0.9)
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        drawn = [list(model.train()(x).values())[-1] for _ in range(8)]
        fixed = [list(model.eval()(x).values())[-1] for _ in range(2)]
    assert not all(torch.equal(one, drawn[0]) for one in drawn)
    assert torch.equal(*fixed)


@every_kind
def test_linear_layers_start_with_small_weights_and_no_bias(kind: str) -> None:
    for module in built(kind, embed_dim=48).modules():
        if isinstance(module, nn.Linear):
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.15)
            assert module.bias is None or not module.bias.any()


@every_kind
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_queries_keys_and_values_may_have_no_bias(kind: str, qkv_bias: bool) -> None:
    names = [name for name, _ in built(kind, qkv_bias=qkv_bias).named_parameters()]
    assert any("qkv.weight" in name for name in names)
    assert any("qkv.bias" in name for name in names) == qkv_bias


@every_kind
def test_norms_activations_and_width_of_perceptrons_are_as_asked_for(kind: str) -> None:
    options: dict[str, Any] = {"mlp_ratio": 3.0, "norm_layer": transformer_layer_norm}
    if kind != "swin":
        options["act_layer"] = nn.SiLU
    model = built(kind, **options)
    norms = [m for m in model.modules() if isinstance(m, nn.LayerNorm)]
    assert norms
    assert all(norm.eps == 1e-6 for norm in norms)
    for name, module in model.named_modules():
        if name.endswith(".mlp"):
            assert module.fc1.out_features == 3 * module.fc1.in_features
            assert isinstance(module.act, nn.GELU if kind == "swin" else nn.SiLU)


# Published sizes, from which the classifier and what else detectors do not have is taken away


@pytest.mark.parametrize(
    ("width", "depth", "heads", "patch", "published"),
    [
        (768, 12, 12, 16, 86_567_656),
        (1024, 24, 16, 16, 304_326_632),
        (1280, 32, 16, 14, 632_045_800),
    ],
)
def test_plain_transformers_have_their_published_number_of_parameters(
    width: int, depth: int, heads: int, patch: int, published: int
) -> None:
    with torch.device("meta"):
        model = ViT(patch_size=patch, embed_dim=width, depth=depth, num_heads=heads)
    classifier, last_norm, class_token = 1000 * width + 1000, 2 * width, width
    count = sum(p.numel() for p in model.parameters())
    assert count == published - classifier - last_norm - class_token


@pytest.mark.parametrize(
    ("width", "depths", "published"),
    [
        (96, (2, 2, 6, 2), 28_288_354),
        (96, (2, 2, 18, 2), 49_606_258),
        (128, (2, 2, 18, 2), 87_768_224),
    ],
)
def test_swin_transformers_have_their_published_number_of_parameters(
    width: int, depths: tuple[int, ...], published: int
) -> None:
    heads = [width // 32 * 2**stage for stage in range(4)]
    with torch.device("meta"):
        model = SwinTransformer(embed_dim=width, depths=depths, num_heads=heads)
    classifier = 1000 * 8 * width + 1000
    norms_of_other_outputs = 2 * width * (1 + 2 + 4)
    count = sum(p.numel() for p in model.parameters())
    assert count == published - classifier + norms_of_other_outputs


@pytest.mark.parametrize(
    ("default", "written_out"),
    [
        (
            SwinTransformer,
            lambda: SwinTransformer(224, 4, 3, 96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 4.0, True),
        ),
        (ViT, lambda: ViT(1024, 16, 3, 768, 12, 12, mlp_ratio=4.0, pretrain_img_size=224)),
    ],
)
def test_the_smallest_published_variant_is_the_default(default: Any, written_out: Any) -> None:
    with torch.device("meta"):
        states = [make().state_dict() for make in (default, written_out)]
    assert list(states[0]) == list(states[1])
    assert [v.shape for v in states[0].values()] == [v.shape for v in states[1].values()]


@pytest.mark.parametrize(
    ("width", "depth", "last", "millions"),
    [(96, 10, (0, 2, 7, 9), 24.0), (96, 16, (0, 2, 13, 15), 35.0), (96, 24, (1, 4, 20, 23), 52.0)],
)
def test_multiscale_transformers_have_about_their_published_number_of_parameters(
    width: int, depth: int, last: tuple[int, ...], millions: float
) -> None:
    """Those of Li et al. are rounded, and of classifiers of 1000 classes."""
    with torch.device("meta"):
        model = MViT(embed_dim=width, depth=depth, last_block_indexes=last)
    count = sum(p.numel() for p in model.parameters()) + 1000 * 8 * width + 1000
    assert count / 1e6 == pytest.approx(millions, rel=0.03)


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out_indices": (0, 2)}, r"out_indices \(0, 2\): there are stages 0 to 1"),
        ({"out_indices": (-1,)}, r"out_indices \(-1,\): there are stages 0 to 1"),
        ({"num_heads": (2,)}, r"2 stages in depths \(2, 2\), but num_heads is \(2,\)"),
        ({"num_heads": (3, 3)}, "3 heads do not divide 4 channels"),
    ],
)
def test_stages_that_a_swin_transformer_does_not_have_are_named(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        swin(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out_features": ("scale2", "scale5")}, r"unknown \['scale5'\]; outputs are \['scale2', "),
        ({"last_block_indexes": (0, 9)}, r"\['scale3', 'scale4'\]; outputs are \['scale2'\]"),
        ({"last_block_indexes": (1, 0)}, r"last_block_indexes \(1, 0\) have to ascend"),
        ({"num_heads": 3}, "3 heads do not divide 4 channels"),
    ],
)
def test_stages_that_a_multiscale_transformer_does_not_have_are_named(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mvit(**options)


# Learning rates of layers


def test_the_rate_of_every_parameter_grows_from_patches_to_heads() -> None:
    model = nn.ModuleDict({"backbone": nn.ModuleDict({"net": vit(residual_block_indexes=(1,))})})
    rates: dict[str, float] = {}
    for name, _ in model.named_parameters():
        part = re.search(r"pos_embed|patch_embed|residual|blocks\.\d", name)
        assert part is not None
        if "residual" in name:
            assert get_vit_lr_decay_rate(name, 0.5, 4) == 1.0
        else:
            rates.setdefault(part[0], get_vit_lr_decay_rate(name, 0.5, 4))
            assert rates[part[0]] == get_vit_lr_decay_rate(name, 0.5, 4)
    assert rates == {
        "pos_embed": 2**-5,
        "patch_embed": 2**-5,
        **{f"blocks.{index}": 2.0 ** (index - 4) for index in range(4)},
    }


def test_without_a_rate_all_layers_learn_alike() -> None:
    for name in ("backbone.net.pos_embed", "backbone.net.blocks.0.norm1.weight", "head.weight"):
        assert get_vit_lr_decay_rate(name) == 1.0


def test_blocks_outside_of_a_backbone_learn_at_the_full_rate() -> None:
    assert get_vit_lr_decay_rate("decoder.blocks.0.norm1.weight", 0.5, 4) == 1.0
