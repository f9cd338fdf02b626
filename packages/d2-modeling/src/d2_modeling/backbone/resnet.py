"""Residual networks."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..initialization import msra_fill, normal_fill
from ..layers import CNNBlockBase, Conv2d, get_norm
from ..layers.convolution import Norm, freeze_stages
from .backbone import Backbone

_PER_BLOCK = "_per_block"
BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Number of blocks of each stage, by depth."""


def conv_norm(in_channels: int, out_channels: int, norm: Norm, **kwargs: Any) -> Conv2d:
    """A convolution without bias and its normalisation, to be filled with `msra_fill`."""
    return Conv2d(
        in_channels, out_channels, bias=False, norm=get_norm(norm, out_channels), **kwargs
    )


class BasicStem(CNNBlockBase):
    """7×7 convolution of stride 2, then 3×3 max pooling of stride 2.

    Args:
        in_channels: channels of the image.
        out_channels: channels of the output.
        norm: normalisation, see `get_norm`.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: Norm = "BN") -> None:
        super().__init__(in_channels, out_channels, 4)
        self.conv1 = conv_norm(in_channels, out_channels, norm, kernel_size=7, stride=2, padding=3)
        msra_fill(self.conv1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / 4, W / 4)."""
        return F.max_pool2d(F.relu_(self.conv1(x)), kernel_size=3, stride=2, padding=1)


class BasicBlock(CNNBlockBase):
    """Two 3×3 convolutions and a shortcut: the block of ResNet-18 and -34.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: stride of the first convolution.
        norm: normalisation, see `get_norm`.

    Source: He et al., "Deep Residual Learning", 2016, figure 5 left.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, norm: Norm = "BN"
    ) -> None:
        super().__init__(in_channels, out_channels, stride)
        self.shortcut = (
            None
            if in_channels == out_channels and stride == 1
            else conv_norm(in_channels, out_channels, norm, kernel_size=1, stride=stride)
        )
        self.conv1 = conv_norm(
            in_channels, out_channels, norm, kernel_size=3, stride=stride, padding=1
        )
        self.conv2 = conv_norm(out_channels, out_channels, norm, kernel_size=3, padding=1)
        msra_fill(self.conv1, self.conv2, self.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        out = self.conv2(F.relu_(self.conv1(x)))
        out += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(out)


class BottleneckBlock(CNNBlockBase):
    """1×1, 3×3, 1×1 convolutions and a shortcut: the block of ResNet-50 and deeper.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        bottleneck_channels: channels of the 3×3 convolution.
        stride: stride of the block.
        num_groups: groups of the 3×3 convolution (ResNeXt if more than 1).
        norm: normalisation, see `get_norm`.
        stride_in_1x1: put the stride into the first 1×1 convolution instead of the 3×3.
        dilation: dilation of the 3×3 convolution.

    Source: He et al., "Deep Residual Learning", 2016, figure 5 right.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: Norm = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
    ) -> None:
        super().__init__(in_channels, out_channels, stride)
        self.shortcut = (
            None
            if in_channels == out_channels and stride == 1
            else conv_norm(in_channels, out_channels, norm, kernel_size=1, stride=stride)
        )
        # The original networks and Caffe2's weights have the stride in the 1×1 layer,
        # torchvision's in the 3×3 one.
        stride_1x1, stride_3x3 = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = conv_norm(
            in_channels, bottleneck_channels, norm, kernel_size=1, stride=stride_1x1
        )
        self.conv2 = conv_norm(
            bottleneck_channels,
            bottleneck_channels,
            norm,
            kernel_size=3,
            stride=stride_3x3,
            padding=dilation,
            groups=num_groups,
            dilation=dilation,
        )
        self.conv3 = conv_norm(bottleneck_channels, out_channels, norm, kernel_size=1)
        msra_fill(self.conv1, self.conv2, self.conv3, self.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H / stride, W / stride)."""
        out = F.relu_(self.conv1(x))
        out = F.relu_(self.convolve_3x3(out))
        out = self.conv3(out)
        out += x if self.shortcut is None else self.shortcut(x)
        return F.relu_(out)

    def convolve_3x3(self, x: Tensor) -> Tensor:
        """What is between the 1×1 convolutions, normalised; deformable blocks replace it."""
        return self.conv2(x)


class ResNet(Backbone):
    """A stem and several residual stages, named ``res2``, ``res3`` and so on.

    Args:
        stem: the first module.
        stages: for each stage its blocks, see `make_stage`.
        num_classes: None, or the number of classes of a linear layer on top.
        out_features: names of the outputs, out of ``"stem"``, ``"linear"``, ``"res2"`` …;
            None for the last one. Stages after the last that is needed are not built.
        freeze_at: see `freeze`.

    Raises:
        ValueError: if an output does not exist or ``stages`` is empty.

    Source: He et al., "Deep Residual Learning", 2016.
    """

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: Sequence[Sequence[CNNBlockBase]],
        num_classes: int | None = None,
        out_features: Sequence[str] | None = None,
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        if not stages:
            raise ValueError("a ResNet wants at least one stage, got none")
        self.stem = stem
        self.num_classes = num_classes
        self._out_feature_strides = {"stem": stem.stride}
        self._out_feature_channels = {"stem": stem.out_channels}
        self.stage_names = self._add_stages(
            stages, out_features, with_classifier=num_classes is not None
        )
        last = self.stage_names[-1]
        if num_classes is not None:
            self.linear = nn.Linear(self._out_feature_channels[last], num_classes)
            normal_fill(self.linear, std=0.01)
            last = "linear"
        self._out_features = [last] if out_features is None else list(out_features)
        self._check_out_features()
        self.freeze(freeze_at)

    def _add_stages(
        self,
        stages: Sequence[Sequence[CNNBlockBase]],
        out_features: Sequence[str] | None,
        *,
        with_classifier: bool,
    ) -> tuple[str, ...]:
        """Add the stages that are needed; returns their names."""
        names = [f"res{number}" for number in range(2, 2 + len(stages))]
        used = len(stages)
        if out_features is not None and not with_classifier and set(out_features) & set(names):
            used = max(names.index(name) + 1 for name in out_features if name in names)
        stride = self.stem.stride
        for name, blocks in zip(names[:used], stages, strict=False):
            for block in blocks:
                if not isinstance(block, CNNBlockBase):
                    raise ValueError(
                        f"blocks of {name} have to be CNNBlockBase, got {type(block).__name__}"
                    )
                stride *= block.stride
            self.add_module(name, nn.Sequential(*blocks))
            self._out_feature_strides[name] = stride
            self._out_feature_channels[name] = blocks[-1].out_channels
        return tuple(names[:used])

    def _check_out_features(self) -> None:
        known = [name for name, _ in self.named_children()]
        for name in self._out_features:
            if name not in known:
                close = difflib.get_close_matches(str(name), known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"out_features has unknown {name!r}{hint} Outputs are {known}")

    @property
    def stages(self) -> list[nn.Module]:
        """The residual stages in order."""
        return [self.get_submodule(name) for name in self.stage_names]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images to the feature maps named in ``out_features``.

        Args:
            x: (N, C, H, W) float.

        Raises:
            ValueError: if ``x`` is not four-dimensional.
        """
        if x.dim() != 4:
            raise ValueError(f"ResNet takes input of shape (N, C, H, W), got {tuple(x.shape)}")
        outputs: dict[str, Tensor] = {}
        x = self.stem(x)
        if "stem" in self._out_features:
            outputs["stem"] = x
        for name, stage in zip(self.stage_names, self.stages, strict=True):
            x = stage(x)
            if name in self._out_features:
                outputs[name] = x
        if self.num_classes is not None:
            x = self.linear(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))
            if "linear" in self._out_features:
                outputs["linear"] = x
        return outputs

    def freeze(self, freeze_at: int = 0) -> Self:
        """Stop training the first stages, as is usual in fine-tuning.

        Args:
            freeze_at: number of stages to freeze, the stem being the first of them.

        Returns:
            This network.
        """
        freeze_stages(self.stem, self.stages, freeze_at)
        return self

    @staticmethod
    def make_stage(
        block_class: type[CNNBlockBase],
        num_blocks: int,
        *,
        in_channels: int,
        out_channels: int,
        **kwargs: Any,
    ) -> list[CNNBlockBase]:
        """Make the blocks of one stage.

        Args:
            block_class: class of the blocks.
            num_blocks: how many.
            in_channels: input channels of the first block.
            out_channels: output channels of every block.
            **kwargs: further arguments of ``block_class``. One called ``x_per_block`` is a
                list with the value of ``x`` for each block.

        Raises:
            ValueError: if a per-block list has another length, or both ``x`` and
                ``x_per_block`` are given.

        Example:
            >>> stage = ResNet.make_stage(
            ...     BottleneckBlock, 3, in_channels=16, out_channels=64,
            ...     bottleneck_channels=16, stride_per_block=[2, 1, 1],
            ... )
        """
        shared = {k: v for k, v in kwargs.items() if not k.endswith(_PER_BLOCK)}
        listed = {
            k.removesuffix(_PER_BLOCK): v for k, v in kwargs.items() if k.endswith(_PER_BLOCK)
        }
        for name, values in listed.items():
            if len(values) != num_blocks:
                raise ValueError(
                    f"{name}{_PER_BLOCK} wants {num_blocks} values, one per block, got {values}"
                )
            if name in shared:
                raise ValueError(f"give either {name} or {name}{_PER_BLOCK}, not both")
        return [
            block_class(
                in_channels if index == 0 else out_channels,
                out_channels,
                **shared,
                **{name: values[index] for name, values in listed.items()},
            )
            for index in range(num_blocks)
        ]

    @staticmethod
    def make_default_stages(
        depth: int, block_class: type[CNNBlockBase] | None = None, **kwargs: Any
    ) -> list[list[CNNBlockBase]]:
        """Make the stages of a standard ResNet.

        Args:
            depth: 18, 34, 50, 101 or 152.
            block_class: class of the blocks; None for `BasicBlock` up to depth 34 and
                `BottleneckBlock` from 50 on. From 50 on it has to take
                ``bottleneck_channels``.
            **kwargs: further arguments of `make_stage`, without strides and channels.

        Raises:
            ValueError: if the depth is not a standard one.
        """
        if depth not in BLOCKS_PER_STAGE:
            raise ValueError(
                f"no default ResNet of depth {depth}; there are {sorted(BLOCKS_PER_STAGE)}. "
                "Use ResNet.make_stage for others"
            )
        bottleneck = depth >= 50
        if block_class is None:
            block_class = BottleneckBlock if bottleneck else BasicBlock
        expansion = 4 if bottleneck else 1
        stages = []
        in_channels = 64
        for index, num_blocks in enumerate(BLOCKS_PER_STAGE[depth]):
            width = 64 * 2**index
            if bottleneck:
                kwargs["bottleneck_channels"] = width
            stages.append(
                ResNet.make_stage(
                    block_class,
                    num_blocks,
                    in_channels=in_channels,
                    out_channels=width * expansion,
                    stride_per_block=[1 if index == 0 else 2] + [1] * (num_blocks - 1),
                    **kwargs,
                )
            )
            in_channels = width * expansion
        return stages
