"""Residual networks and their pyramids as configs describe them."""

from __future__ import annotations

from typing import Any

from d2_config import CfgNode

from ..layers import CNNBlockBase, ShapeSpec
from .build import BACKBONE_REGISTRY
from .deform_bottleneck import DeformBottleneckBlock
from .fpn import FPN, LastLevelMaxPool, LastLevelP6P7
from .resnet import BLOCKS_PER_STAGE, BasicBlock, BasicStem, BottleneckBlock, ResNet

STAGE_NAMES = ("res2", "res3", "res4", "res5")


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
    stages = []
    in_channels = options.STEM_OUT_CHANNELS
    for index, num_blocks in enumerate(
        BLOCKS_PER_STAGE[options.DEPTH][: number_of_stages(options)]
    ):
        out_channels = options.RES2_OUT_CHANNELS * 2**index
        block_class, block_options = _block(options, index)
        stages.append(
            ResNet.make_stage(
                block_class,
                num_blocks,
                in_channels=in_channels,
                out_channels=out_channels,
                stride_per_block=[_first_stride(options, index)] + [1] * (num_blocks - 1),
                norm=options.NORM,
                **block_options,
            )
        )
        in_channels = out_channels
    return ResNet(
        stem,
        stages,
        out_features=options.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``cfg.MODEL.FPN`` on a ResNet, with a pooled level on top.

    Args:
        cfg: the whole config.
        input_shape: see `build_resnet_backbone`.
    """
    bottom_up = build_resnet_backbone(cfg, input_shape)
    return _fpn(cfg, bottom_up, LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_retinanet_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """Build the pyramid of ``cfg.MODEL.FPN`` on a ResNet, with two convolved levels on top.

    Args:
        cfg: the whole config; ``MODEL.RESNETS.OUT_FEATURES`` has to hold ``"res5"``.
        input_shape: see `build_resnet_backbone`.

    Raises:
        ValueError: if ``res5`` is not an output of the ResNet.
    """
    bottom_up = build_resnet_backbone(cfg, input_shape)
    shapes = bottom_up.output_shape()
    if "res5" not in shapes:
        raise ValueError(
            f"MODEL.RESNETS.OUT_FEATURES is {list(shapes)}; the top levels need 'res5' in it"
        )
    in_channels = shapes["res5"].channels
    assert in_channels is not None
    return _fpn(cfg, bottom_up, LastLevelP6P7(in_channels, cfg.MODEL.FPN.OUT_CHANNELS))


def _fpn(cfg: CfgNode, bottom_up: ResNet, top_block: Any) -> FPN:
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def _block(options: CfgNode, index: int) -> tuple[type[CNNBlockBase], dict[str, Any]]:
    """The class of the blocks of stage ``index`` and its further arguments."""
    if options.DEPTH < 50:
        return BasicBlock, {}
    arguments = {
        "bottleneck_channels": options.NUM_GROUPS * options.WIDTH_PER_GROUP * 2**index,
        "num_groups": options.NUM_GROUPS,
        "stride_in_1x1": options.STRIDE_IN_1X1,
        "dilation": options.RES5_DILATION if index == 3 else 1,
    }
    if not options.DEFORM_ON_PER_STAGE[index]:
        return BottleneckBlock, arguments
    return DeformBottleneckBlock, {
        **arguments,
        "deform_modulated": options.DEFORM_MODULATED,
        "deform_num_groups": options.DEFORM_NUM_GROUPS,
    }


def _first_stride(options: CfgNode, index: int) -> int:
    """A dilated res5 sees as far as one of stride 2, without making the map smaller."""
    dilated = index == 3 and options.RES5_DILATION == 2
    return 1 if index == 0 or dilated else 2


def number_of_stages(options: CfgNode) -> int:
    """How many stages are needed for the outputs."""
    used = [STAGE_NAMES.index(n) + 1 for n in options.OUT_FEATURES if n in STAGE_NAMES]
    return max(used, default=len(STAGE_NAMES))


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
