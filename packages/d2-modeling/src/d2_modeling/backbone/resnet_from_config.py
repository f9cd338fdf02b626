"""Residual networks and their pyramids as configs describe them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from d2_config import CfgNode

from ..layers import CNNBlockBase, ShapeSpec
from .backbone import Backbone
from .build import BACKBONE_REGISTRY
from .deform_bottleneck import DeformBottleneckBlock
from .fpn import FPN, LastLevelMaxPool, LastLevelP6P7
from .resnet import BLOCKS_PER_STAGE, BasicBlock, BasicStem, BottleneckBlock, ResNet

STAGE_NAMES = ("res2", "res3", "res4", "res5")

Blocks = tuple[type[CNNBlockBase], dict[str, Any]]
"""The class of a stage's blocks, and arguments of `ResNet.make_stage`."""


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build the ResNet or ResNeXt of ``cfg.MODEL.RESNETS``.

    Stages after the last one in ``OUT_FEATURES`` are not built, and the first
    ``cfg.MODEL.BACKBONE.FREEZE_AT`` ones are frozen.

    Args:
        cfg: the whole config.
        input_shape: its ``channels`` are those of the images.

    Raises:
        ValueError: if the depth is unknown or options do not fit together.
    """
    options = cfg.MODEL.RESNETS
    _check_options(options)
    stem = BasicStem(
        in_channels=input_shape.channels or 3,
        out_channels=options.STEM_OUT_CHANNELS,
        norm=options.NORM,
    )
    return resnet_from_stages(cfg, stem, partial(_blocks, options))


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``cfg.MODEL.FPN`` on a ResNet, with a pooled level on top.

    Args:
        cfg: the whole config.
        input_shape: see `build_resnet_backbone`.
    """
    bottom_up = build_resnet_backbone(cfg, input_shape)
    return pyramid_from_config(cfg, bottom_up, LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_retinanet_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``cfg.MODEL.FPN`` on a ResNet, with two convolved levels on top.

    Args:
        cfg: the whole config; ``MODEL.RESNETS.OUT_FEATURES`` has to hold ``"res5"``.
        input_shape: see `build_resnet_backbone`.

    Raises:
        ValueError: if ``res5`` is not an output of the ResNet.
    """
    return pyramid_with_p6_p7(cfg, build_resnet_backbone(cfg, input_shape))


def pyramid_with_p6_p7(cfg: CfgNode, bottom_up: Backbone) -> FPN:
    """Build the pyramid of ``cfg.MODEL.FPN`` on a backbone, with two convolved levels on top.

    Raises:
        ValueError: if ``res5`` is not an output of the backbone.
    """
    shapes = bottom_up.output_shape()
    if "res5" not in shapes:
        raise ValueError(
            f"the backbone's OUT_FEATURES are {list(shapes)}; the top levels need 'res5' in them"
        )
    in_channels = shapes["res5"].channels
    assert in_channels is not None
    top_block = LastLevelP6P7(in_channels, cfg.MODEL.FPN.OUT_CHANNELS)
    return pyramid_from_config(cfg, bottom_up, top_block)


def pyramid_from_config(cfg: CfgNode, bottom_up: Backbone, top_block: Any) -> FPN:
    """Build the pyramid of ``cfg.MODEL.FPN`` on a backbone; for ``top_block`` see `FPN`."""
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def resnet_from_stages(
    cfg: CfgNode, stem: CNNBlockBase, blocks: Callable[[int, int], Blocks]
) -> ResNet:
    """Put the stages of ``cfg.MODEL.RESNETS`` that its outputs need behind a stem.

    Args:
        cfg: the whole config.
        stem: what is before the stages.
        blocks: takes the index and the number of blocks of a stage; returns their class and what
            `ResNet.make_stage` wants for it but channels and norm.
    """
    options = cfg.MODEL.RESNETS
    needed = [STAGE_NAMES.index(n) + 1 for n in options.OUT_FEATURES if n in STAGE_NAMES]
    depths = BLOCKS_PER_STAGE[options.DEPTH][: max(needed, default=len(STAGE_NAMES))]
    stages = []
    in_channels = options.STEM_OUT_CHANNELS
    for index, num_blocks in enumerate(depths):
        out_channels = options.RES2_OUT_CHANNELS * 2**index
        block_class, block_options = blocks(index, num_blocks)
        stages.append(
            ResNet.make_stage(
                block_class,
                num_blocks,
                in_channels=in_channels,
                out_channels=out_channels,
                norm=options.NORM,
                **block_options,
            )
        )
        in_channels = out_channels
    freeze_at = cfg.MODEL.BACKBONE.FREEZE_AT
    return ResNet(stem, stages, out_features=options.OUT_FEATURES, freeze_at=freeze_at)


def bottleneck_options(options: CfgNode, index: int) -> dict[str, Any]:
    """What every bottleneck block of stage ``index`` is made with."""
    return {
        "bottleneck_channels": options.NUM_GROUPS * options.WIDTH_PER_GROUP * 2**index,
        "num_groups": options.NUM_GROUPS,
        "stride_in_1x1": options.STRIDE_IN_1X1,
    }


def strides(index: int, num_blocks: int, dilation: int) -> list[int]:
    """The stride of each block; a dilated stage sees as far without making the map smaller."""
    first = 1 if index == 0 or dilation > 1 else 2
    return [first] + [1] * (num_blocks - 1)


def check_bottleneck_depth(options: CfgNode) -> None:
    """Refuse a depth whose stages are not made of bottleneck blocks.

    Raises:
        ValueError: naming those that are.
    """
    depths = [depth for depth in BLOCKS_PER_STAGE if depth >= 50]
    if options.DEPTH not in depths:
        raise ValueError(f"MODEL.RESNETS.DEPTH {options.DEPTH} is not one of {depths}")


def _blocks(options: CfgNode, index: int, num_blocks: int) -> Blocks:
    dilation = options.RES5_DILATION if index == 3 else 1
    arguments: dict[str, Any] = {"stride_per_block": strides(index, num_blocks, dilation)}
    if options.DEPTH < 50:
        return BasicBlock, arguments
    arguments |= {"dilation": dilation, **bottleneck_options(options, index)}
    if not options.DEFORM_ON_PER_STAGE[index]:
        return BottleneckBlock, arguments
    return DeformBottleneckBlock, {
        **arguments,
        "deform_modulated": options.DEFORM_MODULATED,
        "deform_num_groups": options.DEFORM_NUM_GROUPS,
    }


def _check_options(options: CfgNode) -> None:
    depth = options.DEPTH
    if depth not in BLOCKS_PER_STAGE:
        raise ValueError(f"MODEL.RESNETS.DEPTH {depth} is not one of {sorted(BLOCKS_PER_STAGE)}")
    if options.RES5_DILATION not in (1, 2):
        raise ValueError(f"MODEL.RESNETS.RES5_DILATION can be 1 or 2, got {options.RES5_DILATION}")
    if len(options.DEFORM_ON_PER_STAGE) != len(STAGE_NAMES):
        raise ValueError(
            f"MODEL.RESNETS.DEFORM_ON_PER_STAGE wants a value for each of {STAGE_NAMES}, got "
            f"{options.DEFORM_ON_PER_STAGE}"
        )
    if depth < 50:
        wanted = {
            "RES2_OUT_CHANNELS": 64,
            "RES5_DILATION": 1,
            "NUM_GROUPS": 1,
            "DEFORM_ON_PER_STAGE": [False] * len(STAGE_NAMES),
        }
        wrong = {key: options[key] for key, value in wanted.items() if options[key] != value}
        if wrong:
            raise ValueError(
                f"a ResNet of depth {depth} has basic blocks, which need {wanted} under "
                f"MODEL.RESNETS; got {wrong}"
            )
