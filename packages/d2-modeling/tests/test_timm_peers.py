"""Our plain vision transformers with the weights of timm's."""

from typing import Any

import pytest
import torch
from torch import nn

from d2_modeling.backbone import ViT, transformer_layer_norm

pytest.importorskip("timm", reason="timm is not installed: an extra")
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_sam import VisionTransformerSAM

SHAPE: dict[str, Any] = {"img_size": 32, "patch_size": 4, "embed_dim": 12, "depth": 3}


def randomised(model: Any) -> Any:
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.double().eval()


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_global_attention_gives_timms_map(qkv_bias: bool) -> None:
    options = {**SHAPE, "num_heads": 3, "qkv_bias": qkv_bias}
    theirs = randomised(
        VisionTransformer(
            class_token=False, global_pool="avg", num_classes=0, fc_norm=False, **options
        )
    )
    theirs.norm = nn.Identity()
    ours = ViT(
        **options,
        norm_layer=transformer_layer_norm,
        pretrain_img_size=32,
        pretrain_use_cls_token=False,
    )
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        wanted = theirs.forward_features(x).transpose(1, 2).unflatten(2, (8, 8))
        torch.testing.assert_close(ours.double().eval()(x)["last_feat"], wanted)


@pytest.mark.parametrize("size", [(32, 32), (40, 24)])
@pytest.mark.parametrize("window_size", [3, 4])
def test_windows_and_relative_positions_give_timms_map(
    size: tuple[int, int], window_size: int
) -> None:
    """The encoder of Segment Anything is the same network; other sizes interpolate positions."""
    theirs = randomised(
        VisionTransformerSAM(
            **SHAPE,
            num_heads=2,
            use_rel_pos=True,
            window_size=window_size,
            global_attn_indexes=(1,),
            neck_chans=8,
            num_classes=0,
        )
    )
    ours = ViT(
        **SHAPE,
        num_heads=2,
        use_rel_pos=True,
        window_size=window_size,
        window_block_indexes=(0, 2),
        pretrain_img_size=32,
        pretrain_use_cls_token=False,
    )
    state = {n: v for n, v in theirs.state_dict().items() if not n.startswith(("neck", "head"))}
    state["pos_embed"] = state["pos_embed"].flatten(1, 2)
    ours.load_state_dict(state)
    ours = ours.double().eval()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        tokens = theirs.patch_embed(x)
        resized = ours(x)["last_feat"]
        if size == (32, 32):
            tokens = theirs.blocks(tokens + theirs.pos_embed)
            torch.testing.assert_close(resized, tokens.permute(0, 3, 1, 2))
        else:
            nn.init.zeros_(ours.pos_embed)  # type: ignore[arg-type]  # timm resizes it otherwise
            wanted = theirs.blocks(tokens).permute(0, 3, 1, 2)
            torch.testing.assert_close(ours(x)["last_feat"], wanted)
