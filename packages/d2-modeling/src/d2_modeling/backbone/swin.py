"""Swin transformers: attention within windows that are shifted from block to block."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..initialization import truncated_normal_fill
from ..layers.drop_path import DropPath
from .backbone import Backbone
from .vit import Mlp
from .window_attention import NormLayer, run_block, window_partition, window_unpartition

_FAR = -100.0
"""Added to the logits of pixels that only the shift made neighbours."""


class PaddedPatchEmbed(nn.Module):
    """Turns an image of any size into vectors, one per patch.

    Args:
        patch_size: side of the patches; images are padded with zeros to a multiple of it.
        in_chans: channels of the image.
        embed_dim: length C of the vectors.
        norm: normalises them; None for none.
    """

    def __init__(
        self, patch_size: int, in_chans: int, embed_dim: int, norm: nn.Module | None
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size=patch_size, stride=patch_size)
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_chans, H, W) to (N, H / patch_size, W / patch_size, C), rounded up."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % self.patch_size, 0, -height % self.patch_size))
        patches: Tensor = self.proj(x).permute(0, 2, 3, 1)
        return patches if self.norm is None else self.norm(patches)


class PatchMerging(nn.Module):
    """Halves a map: the four pixels of each 2×2 square become one of twice the channels.

    Args:
        dim: channels C.
        norm_layer: makes normalisations.
    """

    def __init__(self, dim: int, norm_layer: NormLayer) -> None:
        super().__init__()
        self.norm = norm_layer(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to (N, H / 2, W / 2, 2 C), rounded up."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        squares = x.unflatten(1, (-1, 2)).unflatten(3, (-1, 2))  # (N, H / 2, 2, W / 2, 2, C)
        # Pixels of a square column by column, as published weights want them.
        merged = squares.permute(0, 1, 3, 4, 2, 5).flatten(3)
        out: Tensor = self.reduction(self.norm(merged))
        return out


class WindowAttention(nn.Module):
    """Self-attention of several heads between the pixels of a window.

    Args:
        dim: channels C.
        window_size: side S of the windows.
        num_heads: number of heads; divides the channels.
        qkv_bias: whether queries, keys and values have a bias.
        qk_scale: factor of the logits; None for one over the root of the head's channels.
        attn_drop: dropout of attention weights.
        proj_drop: dropout of the result.

    Raises:
        ValueError: if the heads do not divide the channels.
    """

    relative_position_index: Tensor

    def __init__(
        self,
        dim: int,
        window_size: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"{num_heads} heads do not divide {dim} channels")
        self.num_heads = num_heads
        self.scale = qk_scale
        self.attn_drop = attn_drop
        distances = 2 * window_size - 1
        self.relative_position_bias_table = nn.Parameter(torch.zeros(distances**2, num_heads))
        self.register_buffer("relative_position_index", _distance_indices(window_size))
        self.qkv = nn.Linear(dim, dim * 3, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map windows to the same shape.

        Args:
            x: (N * windows, S * S, C), image by image.
            mask: (windows, S * S, S * S), added to the logits of each window.
        """
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (N * windows, heads, S * S, -1)
        bias = self.relative_position_bias_table[self.relative_position_index]
        bias = bias.permute(2, 0, 1)[None].to(q.dtype)  # (1, heads, S * S, S * S)
        if mask is not None:
            # Windows of an image beside its heads: all images share one bias.
            bias = (bias + mask[:, None].to(q.dtype)).flatten(0, 1)[None]
            q, k, v = (part.unflatten(0, (-1, len(mask))).flatten(1, 2) for part in (q, k, v))
        attended = F.scaled_dot_product_attention(
            *(q, k, v),
            attn_mask=bias,
            dropout_p=self.attn_drop if self.training else 0.0,
            scale=self.scale,
        )
        attended = attended.unflatten(1, (-1, self.num_heads)).flatten(0, 1)
        out: Tensor = self.proj_drop(self.proj(attended.transpose(1, 2).flatten(2)))
        return out


class SwinBlock(nn.Module):
    """Attention within windows and a multilayer perceptron, each with a shortcut.

    Args:
        dim: channels C.
        num_heads: heads of the attention.
        window_size: side of the windows.
        shift_size: how far the windows are shifted to the right and down; 0 for not.
        mlp_ratio: hidden channels of the perceptron over C.
        drop: dropout of the perceptron and of the attention's result.
        drop_path: rate of stochastic depth.
        norm_layer: makes normalisations of C channels.
        act_layer: makes activations.
        qkv_bias, qk_scale, attn_drop: see `WindowAttention`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        window_size: int = 7,
        shift_size: int = 0,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop: float = 0.0,
        attn_drop: float = 0.0,
        drop_path: float = 0.0,
        norm_layer: NormLayer = nn.LayerNorm,
        act_layer: Callable[[], nn.Module] = nn.GELU,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift_size = shift_size
        self.norm1 = norm_layer(dim)
        self.attn = WindowAttention(
            *(dim, window_size, num_heads),
            qkv_bias=qkv_bias,
            qk_scale=qk_scale,
            attn_drop=attn_drop,
            proj_drop=drop,
        )
        self.drop_path = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer, drop)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape; ``mask`` is that of `shifted_window_mask`."""
        x = x + self.drop_path(self._attend(self.norm1(x), mask))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        height, width, size = x.shape[1], x.shape[2], self.window_size
        x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
        if self.shift_size:
            x = x.roll((-self.shift_size, -self.shift_size), dims=(1, 2))
        windows, padded = window_partition(x, size)
        attended = self.attn(windows.flatten(1, 2), mask if self.shift_size else None)
        x = window_unpartition(attended, size, padded, padded)
        if self.shift_size:
            x = x.roll((self.shift_size, self.shift_size), dims=(1, 2))
        return x[:, :height, :width]


class SwinStage(nn.Module):
    """Blocks of one resolution; every second one shifts its windows by half their side.

    Args:
        dim: channels C.
        drop_paths: rate of stochastic depth of each block.
        downsample: halves the map behind the blocks; None for the last stage.
        use_checkpoint: recompute blocks in backward instead of keeping their activations.
        window_size: side of the windows.
        block_options: see `SwinBlock`.
    """

    def __init__(
        self,
        dim: int,
        drop_paths: Sequence[float],
        *,
        downsample: nn.Module | None,
        use_checkpoint: bool,
        window_size: int,
        **block_options: object,
    ) -> None:
        super().__init__()
        self.window_size = window_size
        self.use_checkpoint = use_checkpoint
        self.blocks = nn.ModuleList(
            SwinBlock(
                dim,
                window_size=window_size,
                shift_size=window_size // 2 if index % 2 else 0,
                drop_path=drop_path,
                **block_options,  # type: ignore[arg-type]  # checked by SwinBlock
            )
            for index, drop_path in enumerate(drop_paths)
        )
        self.downsample = downsample

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, H, W, C) to the blocks' result and to what goes on to the next stage."""
        mask = shifted_window_mask(x.shape[1], x.shape[2], self.window_size, x)
        for block in self.blocks:
            x = run_block(block, x, mask, recompute=self.use_checkpoint and self.training)
        return x, x if self.downsample is None else self.downsample(x)


class SwinTransformer(Backbone):
    """A pyramid of maps made by attention within shifted windows.

    Outputs are called ``p0`` to ``p3``, with strides 4, 8, 16 and 32 at a patch size of 4.

    Args:
        pretrain_img_size: side of the images that absolute positions were learned for.
        patch_size: side of the patches, the stride of the first stage.
        in_chans: channels of the image.
        embed_dim: channels of the first stage; each further one has twice as many.
        depths: number of blocks of each stage.
        num_heads: heads of the attention in each stage.
        window_size: side of the windows.
        mlp_ratio: hidden channels of a block's perceptron over its channels.
        qkv_bias, qk_scale, attn_drop_rate: see `WindowAttention`.
        drop_rate: dropout behind patches, attention and perceptrons.
        drop_path_rate: rate of stochastic depth of the last block; it grows linearly from 0.
        norm_layer: makes normalisations.
        ape: add learned absolute positions.
        patch_norm: normalise the patches.
        out_indices: stages whose maps are returned, each normalised.
        frozen_stages: 0 freezes the patches, 1 the absolute positions, and from 2 on as many
            stages less one; -1 nothing.
        use_checkpoint: recompute blocks in backward instead of keeping their activations.

    Raises:
        ValueError: if a stage has no number of heads, or is wanted and does not exist.

    Source: Liu et al., "Swin Transformer", 2021.
    """

    def __init__(
        self,
        pretrain_img_size: int = 224,
        patch_size: int = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        num_heads: Sequence[int] = (3, 6, 12, 24),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.2,
        norm_layer: NormLayer = nn.LayerNorm,
        ape: bool = False,
        patch_norm: bool = True,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        use_checkpoint: bool = False,
    ) -> None:
        super().__init__()
        _check_stages(depths, num_heads, out_indices)
        self.frozen_stages = frozen_stages
        self.patch_embed = PaddedPatchEmbed(
            patch_size, in_chans, embed_dim, norm_layer(embed_dim) if patch_norm else None
        )
        self.absolute_pos_embed: nn.Parameter | None = None
        if ape:
            side = pretrain_img_size // patch_size
            self.absolute_pos_embed = nn.Parameter(torch.zeros(1, embed_dim, side, side))
            nn.init.trunc_normal_(self.absolute_pos_embed, std=0.02)
        self.pos_drop = nn.Dropout(drop_rate)
        dims = [embed_dim * 2**stage for stage in range(len(depths))]
        last_block = max(sum(depths) - 1, 1)
        self.layers = nn.ModuleList(
            SwinStage(
                dim,
                [
                    drop_path_rate * (sum(depths[:stage]) + block) / last_block
                    for block in range(depths[stage])
                ],
                downsample=PatchMerging(dim, norm_layer) if dim != dims[-1] else None,
                use_checkpoint=use_checkpoint,
                window_size=window_size,
                num_heads=num_heads[stage],
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                qk_scale=qk_scale,
                drop=drop_rate,
                attn_drop=attn_drop_rate,
                norm_layer=norm_layer,
            )
            for stage, dim in enumerate(dims)
        )
        self.out_indices = tuple(out_indices)
        for stage in self.out_indices:
            self.add_module(f"norm{stage}", norm_layer(dims[stage]))
        self._out_features = [f"p{stage}" for stage in self.out_indices]
        self._out_feature_channels = {f"p{stage}": dims[stage] for stage in self.out_indices}
        self._out_feature_strides = {
            f"p{stage}": patch_size * 2**stage for stage in self.out_indices
        }
        self._size_divisibility = patch_size
        truncated_normal_fill(self)
        self._freeze()

    @property
    def size_divisibility(self) -> int:
        """The patch size; other sizes are padded inside."""
        return self._size_divisibility

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, in_chans, H, W) to maps (N, C, H / stride, W / stride), rounded up."""
        x = self.patch_embed(x)
        if self.absolute_pos_embed is not None:
            positions = F.interpolate(self.absolute_pos_embed, size=x.shape[1:3], mode="bicubic")
            x = x + positions.permute(0, 2, 3, 1)
        x = self.pos_drop(x)
        outputs = {}
        for stage, layer in enumerate(self.layers):
            out, x = layer(x)
            if stage in self.out_indices:
                normalised = self.get_submodule(f"norm{stage}")(out)
                outputs[f"p{stage}"] = normalised.permute(0, 3, 1, 2).contiguous()
        return outputs

    def train(self, mode: bool = True) -> SwinTransformer:
        """Set training or evaluation mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        frozen: list[nn.Module] = []
        if self.frozen_stages >= 0:
            frozen.append(self.patch_embed)
        if self.frozen_stages >= 1 and self.absolute_pos_embed is not None:
            self.absolute_pos_embed.requires_grad = False
        if self.frozen_stages >= 2:
            self.pos_drop.eval()
            frozen += list(self.layers)[: self.frozen_stages - 1]
        for module in frozen:
            module.eval()
            module.requires_grad_(False)


def _check_stages(
    depths: Sequence[int], num_heads: Sequence[int], out_indices: Sequence[int]
) -> None:
    if len(num_heads) < len(depths):
        raise ValueError(
            f"there are {len(depths)} stages in depths {tuple(depths)}, but num_heads is "
            f"{tuple(num_heads)}"
        )
    if not all(0 <= stage < len(depths) for stage in out_indices):
        raise ValueError(
            f"out_indices {tuple(out_indices)}: there are stages 0 to {len(depths) - 1}"
        )


def shifted_window_mask(height: int, width: int, window_size: int, like: Tensor) -> Tensor:
    """What keeps pixels apart that only the shift by half a window made neighbours.

    Args:
        height: of the map.
        width: of the map.
        window_size: side S of the windows.
        like: has the wanted dtype and device.

    Returns:
        (windows, S * S, S * S): 0 where two pixels belong together, else a large negative number.
    """
    sides = [-(-side // window_size) * window_size for side in (height, width)]
    shift = window_size // 2
    rows, columns = (
        (torch.arange(side, device=like.device) >= side - window_size).to(like.dtype)
        + (torch.arange(side, device=like.device) >= side - shift).to(like.dtype)
        for side in sides
    )
    regions = (3 * rows[:, None] + columns[None, :])[None, :, :, None]
    windows = window_partition(regions, window_size)[0].flatten(1)
    return (windows[:, :, None] != windows[:, None, :]).to(like.dtype) * _FAR


def _distance_indices(window_size: int) -> Tensor:
    """Where the table of relative positions has the distance of each two pixels of a window."""
    place = torch.arange(window_size)
    rows, columns = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))
    row_distances = rows[:, None] - rows[None, :] + window_size - 1
    column_distances = columns[:, None] - columns[None, :] + window_size - 1
    return row_distances * (2 * window_size - 1) + column_distances
