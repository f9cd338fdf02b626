"""Multiscale vision transformers: attention between pooled queries, keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..initialization import truncated_normal_fill
from ..layers.drop_path import DropPath
from .backbone import Backbone
from .relative_attention import relative_attention
from .vit import Mlp
from .window_attention import (
    NormLayer,
    PatchEmbed,
    absolute_positions,
    run_block,
    window_partition,
    window_unpartition,
)


class MultiScaleAttention(nn.Module):
    """Self-attention whose queries, keys and values are pooled by depthwise convolutions.

    Args:
        dim: channels of the input.
        dim_out: channels C of the output.
        num_heads: number of heads; divides C.
        qkv_bias: whether queries, keys and values have a bias.
        norm_layer: makes normalisations.
        pool_kernel: (height, width) of the convolutions.
        stride_q: by which the output is smaller.
        stride_kv: by which keys and values are smaller.
        residual_pooling: add the pooled queries to the result.
        window_size: side of the windows, in pixels of the input; 0 for attention over the map.
        use_rel_pos: add relative positions, see `relative_attention`.
        rel_pos_zero_init: start them at zero.
        input_size: (height, width) of the map that they are learned for; a square.

    Raises:
        ValueError: if the heads do not divide the channels, or relative positions are wanted
            without a square size.
    """

    rel_pos_h: nn.Parameter
    rel_pos_w: nn.Parameter

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        norm_layer: NormLayer = nn.LayerNorm,
        pool_kernel: tuple[int, int] = (3, 3),
        stride_q: int = 1,
        stride_kv: int = 1,
        residual_pooling: bool = True,
        window_size: int = 0,
        use_rel_pos: bool = False,
        rel_pos_zero_init: bool = True,
        input_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if dim_out % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {dim_out} channels")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, dim_out * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim_out, dim_out)
        channels = dim_out // num_heads
        for name, stride in (("q", stride_q), ("k", stride_kv), ("v", stride_kv)):
            pool = nn.Conv2d(
                *(channels, channels, pool_kernel),
                stride=stride,
                padding=(pool_kernel[0] // 2, pool_kernel[1] // 2),
                groups=channels,
                bias=False,
            )
            self.add_module(f"pool_{name}", pool)
            self.add_module(f"norm_{name}", norm_layer(channels))
        self.q_window_size = window_size // stride_q
        self.kv_window_size = window_size // stride_kv
        self.residual_pooling = residual_pooling
        self.use_rel_pos = use_rel_pos
        if use_rel_pos:
            if input_size is None or input_size[0] != input_size[1]:
                raise ValueError(f"use_rel_pos needs a square input_size, got {input_size}")
            distances = 2 * max(input_size[0] // stride_q, input_size[0] // stride_kv) - 1
            for name in ("rel_pos_h", "rel_pos_w"):
                positions = torch.zeros(distances, channels)
                if not rel_pos_zero_init:
                    nn.init.trunc_normal_(positions, std=0.02)
                self.register_parameter(name, nn.Parameter(positions))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, dim) to (N, H / stride_q, W / stride_q, dim_out), rounded up."""
        qkv = self.qkv(x).unflatten(3, (3, self.num_heads, -1))
        maps = qkv.permute(3, 0, 4, 1, 2, 5).flatten(1, 2)  # (3, N * heads, H, W, C / heads)
        pooled_q, k, v = (
            self._pooled(one, m) for one, m in zip("qkv", maps.unbind(0), strict=True)
        )
        q = pooled_q
        if self.q_window_size:
            q, padded = window_partition(q, self.q_window_size)
            k, _ = window_partition(k, self.kv_window_size)
            v, _ = window_partition(v, self.kv_window_size)
        attended = self._attend(q, k, v)
        if self.q_window_size:
            size = (pooled_q.shape[1], pooled_q.shape[2])
            attended = window_unpartition(attended, self.q_window_size, padded, size)
        if self.residual_pooling:
            attended = attended + pooled_q
        by_head = attended.unflatten(0, (-1, self.num_heads))
        out: Tensor = self.proj(by_head.permute(0, 2, 3, 1, 4).flatten(3))
        return out

    def _pooled(self, name: str, x: Tensor) -> Tensor:
        pool, norm = self.get_submodule(f"pool_{name}"), self.get_submodule(f"norm_{name}")
        return attention_pool(x, pool, norm)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention between maps (B, h, w, C / heads), which may be of different sizes."""
        q_size, k_size = (q.shape[1], q.shape[2]), (k.shape[1], k.shape[2])
        # Each head of each window has a map of its own: the kernels want batch and heads apart.
        q, k, v = (one.flatten(1, 2)[:, None] for one in (q, k, v))
        if self.use_rel_pos:
            attended = relative_attention(q, k, v, self.rel_pos_h, self.rel_pos_w, q_size, k_size)
        else:
            attended = F.scaled_dot_product_attention(q, k, v)
        return attended[:, 0].unflatten(1, q_size)


class MultiScaleBlock(nn.Module):
    """Pooling attention and a multilayer perceptron, each with a shortcut.

    Args:
        dim: channels of the input.
        dim_out: channels C of the output.
        num_heads: heads of the attention.
        mlp_ratio: hidden channels of the perceptron over C.
        drop_path: rate of stochastic depth.
        norm_layer: makes normalisations.
        act_layer: makes activations.
        qkv_pool_kernel: see `MultiScaleAttention`.
        stride_q: by which the output is smaller.
        attention_options: see `MultiScaleAttention`.
    """

    def __init__(
        self,
        dim: int,
        dim_out: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        norm_layer: NormLayer = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        qkv_pool_kernel: tuple[int, int] = (3, 3),
        stride_q: int = 1,
        **attention_options: object,
    ) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = MultiScaleAttention(
            *(dim, dim_out, num_heads),
            norm_layer=norm_layer,
            pool_kernel=qkv_pool_kernel,
            stride_q=stride_q,
            **attention_options,  # type: ignore[arg-type]  # checked by MultiScaleAttention
        )
        self.drop_path = DropPath(drop_path)
        self.norm2 = norm_layer(dim_out)
        self.mlp = Mlp(dim_out, int(dim_out * mlp_ratio), act_layer)
        self.proj: nn.Module | None = nn.Linear(dim, dim_out) if dim != dim_out else None
        self.pool_skip: nn.Module | None = None
        if stride_q > 1:
            kernel_size = stride_q + 1
            self.pool_skip = nn.MaxPool2d(kernel_size, stride_q, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, dim) to (N, H / stride_q, W / stride_q, dim_out), rounded up."""
        normalised = self.norm1(x)
        attended = self.attn(normalised)
        if self.proj is not None:
            x = self.proj(normalised)
        if self.pool_skip is not None:
            x = attention_pool(x, self.pool_skip)
        x = x + self.drop_path(attended)
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out


class MViT(Backbone):
    """A pyramid of maps made by attention whose queries shrink from stage to stage.

    Outputs are called ``scale2`` to ``scale5``, where level k has stride 2**k. Within a stage
    blocks attend within windows; the last ones of all but the first stage attend globally.

    Args:
        img_size: side of the input that relative positions are learned for.
        patch_kernel, patch_stride, patch_padding: of the first convolution.
        in_chans: channels of the image.
        embed_dim: channels of the first stage; each further one has twice as many.
        depth: number of blocks.
        num_heads: heads of the first stage; each further one has twice as many.
        last_block_indexes: the last block of each stage.
        qkv_pool_kernel: see `MultiScaleAttention`.
        adaptive_kv_stride: stride of keys and values in the first stage; halved from stage to
            stage, at least 1.
        adaptive_window_size: side of the windows in the first stage; halved from stage to stage.
        residual_pooling: see `MultiScaleAttention`.
        mlp_ratio: see `MultiScaleBlock`.
        qkv_bias: see `MultiScaleAttention`.
        drop_path_rate: rate of stochastic depth of the last block; it grows linearly from 0.
        norm_layer: makes normalisations.
        act_layer: makes activations.
        use_abs_pos: add learned absolute positions.
        use_rel_pos: add relative positions in every attention.
        rel_pos_zero_init: start them at zero.
        use_act_checkpoint: recompute blocks in backward instead of keeping their activations.
        pretrain_img_size: side of the images that absolute positions were learned for.
        pretrain_use_cls_token: whether these hold one for a class token too.
        out_features: the outputs wanted.

    Raises:
        ValueError: if the last blocks do not ascend, or an output does not exist.

    Source: Li et al., "MViTv2: Improved Multiscale Vision Transformers", 2022.
    """

    def __init__(
        self,
        img_size: int = 224,
        patch_kernel: tuple[int, int] = (7, 7),
        patch_stride: tuple[int, int] = (4, 4),
        patch_padding: tuple[int, int] = (3, 3),
        in_chans: int = 3,
        embed_dim: int = 96,
        depth: int = 16,
        num_heads: int = 1,
        last_block_indexes: Sequence[int] = (0, 2, 11, 15),
        qkv_pool_kernel: tuple[int, int] = (3, 3),
        adaptive_kv_stride: int = 4,
        adaptive_window_size: int = 56,
        residual_pooling: bool = True,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        drop_path_rate: float = 0.0,
        norm_layer: NormLayer = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
        use_abs_pos: bool = False,
        use_rel_pos: bool = True,
        rel_pos_zero_init: bool = True,
        use_act_checkpoint: bool = False,
        pretrain_img_size: int = 224,
        pretrain_use_cls_token: bool = True,
        out_features: Sequence[str] = ("scale2", "scale3", "scale4", "scale5"),
    ) -> None:
        super().__init__()
        _check_stages(depth, last_block_indexes, out_features)
        self.patch_embed = PatchEmbed(
            patch_kernel, patch_stride, patch_padding, in_chans=in_chans, embed_dim=embed_dim
        )
        self.pretrain_use_cls_token = pretrain_use_cls_token
        self.pos_embed: nn.Parameter | None = None
        if use_abs_pos:
            sides = [pretrain_img_size // stride for stride in patch_stride]
            positions = sides[0] * sides[1] + int(pretrain_use_cls_token)
            self.pos_embed = nn.Parameter(torch.zeros(1, positions, embed_dim))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.use_act_checkpoint = use_act_checkpoint
        self._last_block_indexes = tuple(last_block_indexes)
        self._out_features = list(out_features)
        self._out_feature_channels = {}
        self._out_feature_strides = {}

        stage, dim, stride, side = 0, embed_dim, patch_stride[0], img_size // patch_stride[0]
        self.blocks = nn.ModuleList()
        for index in range(depth):
            begins = index - 1 in last_block_indexes  # a stage: its first block halves the map
            kv_stride = max(adaptive_kv_stride >> stage, 1)
            # The last blocks of the second and the third stage look at everything; fewer keys do.
            globally = index in last_block_indexes[1:]
            self.blocks.append(
                MultiScaleBlock(
                    dim if not begins else dim // 2,
                    dim,
                    num_heads << stage,
                    mlp_ratio=mlp_ratio,
                    qkv_bias=qkv_bias,
                    drop_path=drop_path_rate * index / max(depth - 1, 1),
                    norm_layer=norm_layer,
                    act_layer=act_layer,
                    qkv_pool_kernel=qkv_pool_kernel,
                    stride_q=2 if begins else 1,
                    stride_kv=kv_stride * 2 if index in last_block_indexes[1:3] else kv_stride,
                    residual_pooling=residual_pooling,
                    window_size=0 if globally else _halved(adaptive_window_size, stage, begins),
                    use_rel_pos=use_rel_pos,
                    rel_pos_zero_init=rel_pos_zero_init,
                    input_size=(_halved(side, stage, begins),) * 2,
                )
            )
            if index in last_block_indexes:
                name = f"scale{stage + 2}"
                if name in out_features:
                    self._out_feature_channels[name] = dim
                    self._out_feature_strides[name] = stride
                    self.add_module(f"{name}_norm", norm_layer(dim))
                stage, dim, stride = stage + 1, dim * 2, stride * 2
        truncated_normal_fill(self)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, in_chans, H, W) to maps (N, C, H / stride, W / stride), rounded up."""
        x = self.patch_embed(x)
        if self.pos_embed is not None:
            size = (x.shape[1], x.shape[2])
            x = x + absolute_positions(self.pos_embed, self.pretrain_use_cls_token, size)
        outputs = {}
        stage = 2
        for index, block in enumerate(self.blocks):
            x = run_block(block, x, recompute=self.use_act_checkpoint and self.training)
            if index in self._last_block_indexes:
                name = f"scale{stage}"
                if name in self._out_feature_channels:
                    normalised = self.get_submodule(f"{name}_norm")(x)
                    outputs[name] = normalised.permute(0, 3, 1, 2).contiguous()
                stage += 1
        return outputs


def _check_stages(
    depth: int, last_block_indexes: Sequence[int], out_features: Sequence[str]
) -> None:
    last = list(last_block_indexes)
    if last != sorted(set(last)):
        raise ValueError(f"last_block_indexes {tuple(last)} have to ascend")
    names = [f"scale{stage}" for stage in range(2, 2 + sum(index < depth for index in last))]
    unknown = [name for name in out_features if name not in names]
    if unknown:
        raise ValueError(f"out_features has unknown {unknown}; outputs are {names}")


def attention_pool(x: Tensor, pool: nn.Module, norm: nn.Module | None = None) -> Tensor:
    """Pool maps (N, H, W, C), and maybe normalise the result."""
    pooled: Tensor = pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return pooled if norm is None else norm(pooled)


def _halved(length: int, stage: int, begins: bool) -> int:
    """A length of the first stage in units of a later one.

    The block with which a stage begins sees the map of the stage before.
    """
    return length >> (stage - int(begins))
