"""Residual networks, one stage of which has several branches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from d2_config import CfgNode

from ..backbone import BACKBONE_REGISTRY, BasicStem, BottleneckBlock, ResNet
from ..backbone.resnet_from_config import (
    STAGE_NAMES,
    Blocks,
    bottleneck_options,
    check_bottleneck_depth,
    resnet_from_stages,
    strides,
)
from ..layers import Conv2d, ShapeSpec


class TridentConv(Conv2d):
    """A 3×3 convolution whose one kernel is applied with a dilation for each branch.

    Args:
        branch_dilations: of the branches.
        args, kwargs: see `Conv2d`; padding goes with the dilations.
    """

    def __init__(self, *args: Any, branch_dilations: Sequence[int], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.branch_dilations = tuple(branch_dilations)

    def branch(self, x: Tensor, index: int) -> Tensor:
        """What branch ``index`` makes of (N, C, H, W)."""
        dilation = self.branch_dilations[index]
        x = F.conv2d(
            *(x, self.weight, self.bias),
            stride=self.stride,
            padding=dilation,
            dilation=dilation,
            groups=self.groups,
        )
        return x if self.norm is None else self.norm(x)


class TridentBottleneckBlock(BottleneckBlock):
    """A bottleneck block on several branches, which differ in the dilation of the 3×3 kernel.

    Args:
        branch_dilations: of the branches.
        test_branch_idx: the branch that inference runs; −1 for all.
        concat_output: join the branches, as the last block of a stage does.
        args, kwargs: see `BottleneckBlock`.
    """

    def __init__(
        self,
        *args: Any,
        branch_dilations: Sequence[int],
        test_branch_idx: int,
        concat_output: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        plain = self.conv2
        self.conv2 = TridentConv(
            *(plain.in_channels, plain.out_channels, plain.kernel_size),
            stride=plain.stride,
            groups=plain.groups,
            bias=False,
            norm=plain.norm,
            branch_dilations=branch_dilations,
        )
        self.conv2.weight = plain.weight
        self.test_branch_idx = test_branch_idx
        self.concat_output = concat_output

    def forward(self, x: Tensor | list[Tensor]) -> Any:
        """Run the branches.

        Args:
            x: (N, C, H, W), or a list of these, one for each branch.

        Returns:
            A list of (N, C', H', W'); or joined, (branches * N, C', H', W'), branch by branch.
        """
        assert isinstance(self.conv2, TridentConv)
        branches = range(len(self.conv2.branch_dilations))
        if not self.training and self.test_branch_idx != -1:
            branches = range(self.test_branch_idx, self.test_branch_idx + 1)
        inputs = x if isinstance(x, list) else [x] * len(branches)
        outputs = []
        for index, branch_input in zip(branches, inputs, strict=True):
            out = F.relu_(self.conv1(branch_input))
            out = self.conv3(F.relu_(self.conv2.branch(out, index)))
            out = out + (branch_input if self.shortcut is None else self.shortcut(branch_input))
            outputs.append(F.relu_(out))
        return torch.cat(outputs) if self.concat_output else outputs


@BACKBONE_REGISTRY.register()
def build_trident_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build the ResNet of ``cfg.MODEL.RESNETS`` with the branches of ``cfg.MODEL.TRIDENT``.

    Args:
        cfg: the whole config.
        input_shape: its ``channels`` are those of the images.

    Raises:
        ValueError: if options do not fit together.
    """
    options, trident = cfg.MODEL.RESNETS, cfg.MODEL.TRIDENT
    _check_options(options, trident)
    stem = BasicStem(input_shape.channels or 3, options.STEM_OUT_CHANNELS, options.NORM)

    def blocks(index: int, num_blocks: int) -> Blocks:
        dilation = options.RES5_DILATION if index == 3 else 1
        shared = {
            "stride_per_block": strides(index, num_blocks, dilation),
            **bottleneck_options(options, index),
        }
        if STAGE_NAMES[index] != trident.TRIDENT_STAGE:
            return BottleneckBlock, {"dilation": dilation, **shared}
        return TridentBottleneckBlock, {
            "branch_dilations": trident.BRANCH_DILATIONS,
            "test_branch_idx": trident.TEST_BRANCH_IDX,
            "concat_output_per_block": [False] * (num_blocks - 1) + [True],
            **shared,
        }

    return resnet_from_stages(cfg, stem, blocks)


def _check_options(options: CfgNode, trident: CfgNode) -> None:
    check_bottleneck_depth(options)
    if trident.TRIDENT_STAGE not in STAGE_NAMES:
        raise ValueError(
            f"MODEL.TRIDENT.TRIDENT_STAGE {trident.TRIDENT_STAGE!r} is not in {list(STAGE_NAMES)}"
        )
    if len(trident.BRANCH_DILATIONS) != trident.NUM_BRANCH:
        raise ValueError(
            f"MODEL.TRIDENT.BRANCH_DILATIONS wants NUM_BRANCH = {trident.NUM_BRANCH} values, got "
            f"{trident.BRANCH_DILATIONS}"
        )
    if trident.TEST_BRANCH_IDX not in range(-1, trident.NUM_BRANCH):
        raise ValueError(
            f"MODEL.TRIDENT.TEST_BRANCH_IDX is -1 or a branch below {trident.NUM_BRANCH}, got "
            f"{trident.TEST_BRANCH_IDX}"
        )
    if any(options.DEFORM_ON_PER_STAGE):
        raise ValueError(
            "TridentNet has no deformable blocks: MODEL.RESNETS.DEFORM_ON_PER_STAGE has to be all "
            "False"
        )
