"""Plain vision transformers as backbones of detectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..initialization import msra_fill, truncated_normal_fill
from ..layers import CNNBlockBase, Conv2d, get_norm
from ..layers.drop_path import DropPath
from ..layers.fused_linear import activated
from .backbone import Backbone
from .relative_attention import relative_attention
from .window_attention import (
    NormLayer,
    PatchEmbed,
    absolute_positions,
    run_block,
    window_partition,
    window_unpartition,
)


def transformer_layer_norm(num_channels: int) -> nn.LayerNorm:
    """Layer normalisation with the epsilon of 1e-6 that published transformers have."""
    return nn.LayerNorm(num_channels, eps=1e-6)


class Attention(nn.Module):
    """Self-attention of several heads between the pixels of a map.

    Args:
        dim: channels C.
        num_heads: number of heads; divides the channels.
        qkv_bias: whether queries, keys and values have a bias.
        use_rel_pos: add relative positions, see `relative_attention`.
        rel_pos_zero_init: start them at zero.
        input_size: (height, width) of the map that they are learned for.

    Raises:
        ValueError: if relative positions are wanted without a size, or the heads do not divide
            the channels.
    """

    rel_pos_h: nn.Parameter
    rel_pos_w: nn.Parameter

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        qkv_bias: bool = True,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {dim} channels")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.use_rel_pos = use_rel_pos
        if use_rel_pos:
            if input_size is None:
                raise ValueError("use_rel_pos needs input_size")
            for name, side in zip(("rel_pos_h", "rel_pos_w"), input_size, strict=True):
                positions = torch.zeros(2 * side - 1, dim // num_heads)
                if not rel_pos_zero_init:
                    nn.init.trunc_normal_(positions, std=0.02)
                self.register_parameter(name, nn.Parameter(positions))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        size = (x.shape[1], x.shape[2])
        qkv = self.qkv(x).flatten(1, 2).unflatten(2, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (N, heads, H * W, C / heads)
        if self.use_rel_pos:
            attended = relative_attention(q, k, v, self.rel_pos_h, self.rel_pos_w, size, size)
        else:
            attended = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out.view(x.shape)


class Mlp(nn.Module):
    """Two linear layers with an activation between them.

    Args:
        dim: channels of input and output.
        hidden_dim: channels between.
        act_layer: makes the activation.
        drop: dropout behind both layers.
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        act_layer: Callable[[], nn.Module],
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.act = act_layer()
        self.fc2 = nn.Linear(hidden_dim, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to the same shape."""
        out: Tensor = self.drop(self.fc2(self.drop(activated(self.fc1, self.act, x))))
        return out


class ConvResidualBlock(CNNBlockBase):
    """1×1, 3×3, 1×1 convolutions whose result is added; the identity when untrained.

    Args:
        channels: of input and output.
        bottleneck_channels: of the 3×3 convolution.
        act_layer: makes the activations.

    Source: Li et al., "Exploring Plain Vision Transformer Backbones", 2022, appendix.
    """

    def __init__(
        self, channels: int, bottleneck_channels: int, act_layer: Callable[[], nn.Module]
    ) -> None:
        super().__init__(channels, channels, 1)
        self.conv1 = Conv2d(channels, bottleneck_channels, 1, bias=False)
        self.norm1 = get_norm("LN", bottleneck_channels)
        self.act1 = act_layer()
        self.conv2 = Conv2d(bottleneck_channels, bottleneck_channels, 3, padding=1, bias=False)
        self.norm2 = get_norm("LN", bottleneck_channels)
        self.act2 = act_layer()
        self.conv3 = Conv2d(bottleneck_channels, channels, 1, bias=False)
        self.norm3 = get_norm("LN", channels)
        for layer in (self.conv1, self.conv2, self.conv3):
            msra_fill(layer)
        assert self.norm3 is not None
        nn.init.zeros_(self.norm3.get_parameter("weight"))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        out = x
        for layer in self.children():
            out = layer(out)
        return x + out


class Block(nn.Module):
    """Attention, maybe within windows, and a multilayer perceptron, each with a shortcut.

    Args:
        dim: channels C.
        num_heads: heads of the attention.
        mlp_ratio: hidden channels of the perceptron over C.
        qkv_bias: see `Attention`.
        drop_path: rate of stochastic depth.
        norm_layer: makes normalisations of C channels.
        act_layer: makes activations.
        use_rel_pos: see `Attention`.
        rel_pos_zero_init: see `Attention`.
        window_size: side of the windows; 0 for attention over the whole map.
        use_residual_block: add a `ConvResidualBlock` at the end.
        input_size: (height, width) of the whole map that relative positions are learned for.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path: float = 0.0,
        norm_layer: NormLayer = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        window_size: int = 0,
        use_residual_block: bool = False,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = Attention(
            dim,
            num_heads,
            qkv_bias,
            use_rel_pos,
            rel_pos_zero_init,
            (window_size, window_size) if window_size > 0 else input_size,
        )
        self.drop_path = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer)
        self.window_size = window_size
        self.residual: nn.Module | None = None
        if use_residual_block:
            self.residual = ConvResidualBlock(dim, dim // 2, act_layer)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        x = x + self.drop_path(self._attend(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        if self.residual is not None:
            x = self.residual(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x

    def _attend(self, x: Tensor) -> Tensor:
        if self.window_size == 0:
            everywhere: Tensor = self.attn(x)
            return everywhere
        windows, padded = window_partition(x, self.window_size)
        attended = self.attn(windows)
        return window_unpartition(attended, self.window_size, padded, (x.shape[1], x.shape[2]))


class ViT(Backbone):
    """A vision transformer that keeps one map of constant stride.

    Args:
        img_size: side of the input that global relative positions are learned for.
        patch_size: side of the patches, which is the stride of the output.
        in_chans: channels of the image.
        embed_dim: channels of the map.
        depth: number of blocks.
        num_heads: heads of each attention.
        mlp_ratio: see `Block`.
        qkv_bias: see `Attention`.
        drop_path_rate: rate of stochastic depth of the last block; it grows linearly from 0.
        norm_layer: makes normalisations.
        act_layer: makes activations.
        use_abs_pos: add learned absolute positions.
        use_rel_pos: see `Attention`.
        rel_pos_zero_init: see `Attention`.
        window_size: side of the windows, in patches.
        window_block_indexes: blocks that attend within windows; the others do globally.
        residual_block_indexes: blocks that end with a `ConvResidualBlock`.
        use_act_checkpoint: recompute blocks in backward instead of keeping their activations.
        pretrain_img_size: side of the images that absolute positions were learned for.
        pretrain_use_cls_token: whether these hold one for a class token too.
        out_feature: name of the output.

    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021; Li et al., "Exploring
    Plain Vision Transformer Backbones for Object Detection", 2022.
    """

    def __init__(
        self,
        img_size: int = 1024,
        patch_size: int = 16,
        in_chans: int = 3,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        norm_layer: NormLayer = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        use_abs_pos: bool = True,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        window_size: int = 0,
        window_block_indexes: Sequence[int] = (),
        residual_block_indexes: Sequence[int] = (),
        use_act_checkpoint: bool = False,
        pretrain_img_size: int = 224,
        pretrain_use_cls_token: bool = True,
        out_feature: str = "last_feat",
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(
            (patch_size, patch_size),
            (patch_size, patch_size),
            in_chans=in_chans,
            embed_dim=embed_dim,
        )
        self.pretrain_use_cls_token = pretrain_use_cls_token
        self.pos_embed: nn.Parameter | None = None
        if use_abs_pos:
            positions = (pretrain_img_size // patch_size) ** 2 + int(pretrain_use_cls_token)
            self.pos_embed = nn.Parameter(torch.zeros(1, positions, embed_dim))
        self.blocks = nn.ModuleList(
            Block(
                embed_dim,
                num_heads,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                drop_path=drop_path_rate * index / max(depth - 1, 1),
                norm_layer=norm_layer,
                act_layer=act_layer,
                use_rel_pos=use_rel_pos,
                rel_pos_zero_init=rel_pos_zero_init,
                window_size=window_size if index in window_block_indexes else 0,
                use_residual_block=index in residual_block_indexes,
                input_size=(img_size // patch_size, img_size // patch_size),
            )
            for index in range(depth)
        )
        self.use_act_checkpoint = use_act_checkpoint
        self._out_features = [out_feature]
        self._out_feature_channels = {out_feature: embed_dim}
        self._out_feature_strides = {out_feature: patch_size}
        if self.pos_embed is not None:
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        truncated_normal_fill(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, in_chans, H, W) to (N, embed_dim, H / patch_size, W / patch_size)."""
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            size = (x.shape[1], x.shape[2])
            x = x + absolute_positions(self.pos_embed, self.pretrain_use_cls_token, size)
        for block in self.blocks:
            x = run_block(block, x, recompute=self.use_act_checkpoint and self.training)
        return {self._out_features[0]: x.permute(0, 3, 1, 2)}


def get_vit_lr_decay_rate(name: str, lr_decay_rate: float = 1.0, num_layers: int = 12) -> float:
    """The factor on the learning rate of a parameter: smaller for earlier layers.

    Args:
        name: of the parameter in a model whose ``backbone`` contains a `ViT`.
        lr_decay_rate: factor from one block to the one before.
        num_layers: number of blocks.

    Returns:
        ``lr_decay_rate`` to the power of the number of blocks that follow, plus one; 1 outside
        of the backbone's blocks.

    Source: Bao et al., "BEiT", 2022, section 3.2.
    """
    layer = num_layers + 1
    if name.startswith("backbone"):
        if ".pos_embed" in name or ".patch_embed" in name:
            layer = 0
        elif ".blocks." in name and ".residual." not in name:
            layer = int(name.split(".blocks.")[1].split(".")[0]) + 1
    return lr_decay_rate ** (num_layers + 1 - layer)
