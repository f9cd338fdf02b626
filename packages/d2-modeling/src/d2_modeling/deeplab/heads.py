"""Heads that label pixels from dilated features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2_config import CfgNode, configurable

from ..initialization import normal_fill, xavier_fill
from ..layers import ASPP, Conv2d, DepthwiseSeparableConv2d, ShapeSpec, get_norm
from ..layers.convolution import Norm
from ..layers.shape_spec import select_shapes
from ..meta_arch.sem_seg_head import SEM_SEG_HEADS_REGISTRY, SemSegHead, enlarged
from .losses import pixel_loss


class PixelHead(SemSegHead):
    """What the heads of DeepLab share: the loss.

    Args:
        loss_type: ``"cross_entropy"``, or ``"hard_pixel_mining"`` for `DeepLabCE` over a fifth
            of the pixels.
        common_stride, loss_weight, ignore_value: see `SemSegHead`.
    """

    def __init__(
        self, common_stride: int, loss_weight: float, loss_type: str, ignore_value: int
    ) -> None:
        super().__init__(common_stride, loss_weight, ignore_value)
        self.loss = pixel_loss(loss_type, ignore_value)

    def losses(
        self, predictions: Tensor, targets: Tensor, weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``loss_sem_seg``, weighted.

        Args:
            predictions: what `layers` returned.
            targets: (N, H, W) int64.
            weights: (N, H, W) factor of each pixel, which only `DeepLabCE` knows.

        Raises:
            ValueError: if another loss is given weights.
        """
        logits = enlarged(predictions, self.common_stride)
        given = (targets,) if weights is None else (targets, weights)
        return {"loss_sem_seg": self.loss(logits, *given) * self.loss_weight}


@SEM_SEG_HEADS_REGISTRY.register()
class DeepLabV3Head(PixelHead):
    """Atrous spatial pyramid pooling of one feature map, and a predictor.

    Args:
        input_shape: shape of the feature map to use.
        num_classes: number of classes K.
        aspp_channels: channels of the pooling.
        aspp_dilations: its three dilations.
        aspp_dropout: dropout behind it.
        common_stride: stride of the feature map.
        loss_weight, loss_type, ignore_value: see `PixelHead`.
        norm: normalisation of the convolutions, see `get_norm`.
        train_size: (height, width) of the images that it is trained on; given, the pooling covers
            as much of larger images in inference, not all.
        use_depthwise_separable_conv: make the pooling's 3×3 convolutions depthwise separable.

    Raises:
        ValueError: if there are several feature maps, or the stride does not fit.
    """

    @configurable
    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        num_classes: int,
        aspp_channels: int,
        aspp_dilations: Sequence[int],
        aspp_dropout: float,
        common_stride: int,
        loss_weight: float = 1.0,
        loss_type: str = "cross_entropy",
        ignore_value: int = -1,
        norm: Norm = "",
        train_size: tuple[int, int] | None = None,
        use_depthwise_separable_conv: bool = False,
    ) -> None:
        super().__init__(common_stride, loss_weight, loss_type, ignore_value)
        if len(input_shape) != 1:
            raise ValueError(f"DeepLabV3Head wants one feature map, got {list(input_shape)}")
        ((name, shape),) = input_shape.items()
        if shape.stride != common_stride:
            raise ValueError(
                f"the stride of feature {name!r} is {shape.stride}, and common_stride is "
                f"{common_stride}: for DeepLabV3Head they have to be the same"
            )
        self.in_features = [name]
        self.aspp = ASPP(
            shape.channels or 0,
            aspp_channels,
            aspp_dilations,
            norm=norm,
            activation=F.relu,
            pool_kernel_size=pooling_window(train_size, common_stride),
            dropout=aspp_dropout,
            use_depthwise_separable_conv=use_depthwise_separable_conv,
        )
        self.num_classes = num_classes
        self.predictor = predictor(aspp_channels, num_classes)

    def layers(self, features: Mapping[str, Tensor]) -> Tensor:
        """The (N, K, H / common_stride, W / common_stride) logits."""
        logits: Tensor = self.predictor(self.aspp(features[self.in_features[0]]))
        return logits

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments out of a config and the backbone's output shapes."""
        options = cfg.MODEL.SEM_SEG_HEAD
        return {
            "input_shape": selected(input_shape, options.IN_FEATURES, "SEM_SEG_HEAD"),
            "num_classes": options.NUM_CLASSES,
            "aspp_channels": options.ASPP_CHANNELS,
            "aspp_dilations": options.ASPP_DILATIONS,
            "aspp_dropout": options.ASPP_DROPOUT,
            "common_stride": options.COMMON_STRIDE,
            "loss_weight": options.LOSS_WEIGHT,
            "loss_type": options.LOSS_TYPE,
            "ignore_value": options.IGNORE_VALUE,
            "norm": options.NORM,
            "train_size": train_size(cfg),
            "use_depthwise_separable_conv": options.USE_DEPTHWISE_SEPARABLE_CONV,
        }


class Decoder(nn.ModuleDict):
    """From the coarsest to the finest feature map: pool the first, merge each next one.

    Args:
        shapes: shape of each feature map, by name.
        project_channels: channels that each but the coarsest map is projected to.
        decoder_channels: channels behind each map, finest first; the last are the pooling's.
        aspp_dilations, aspp_dropout, norm, use_depthwise_separable_conv: see `DeepLabV3Head`.
        train_size: see `DeepLabV3Head`.

    Raises:
        ValueError: if the channels do not go with the feature maps.
    """

    def __init__(
        self,
        shapes: Mapping[str, ShapeSpec],
        *,
        project_channels: Sequence[int],
        decoder_channels: Sequence[int],
        aspp_dilations: Sequence[int],
        aspp_dropout: float,
        norm: Norm,
        train_size: tuple[int, int] | None,
        use_depthwise_separable_conv: bool,
    ) -> None:
        super().__init__()
        names = sorted(shapes, key=lambda name: shapes[name].stride or 0)
        if len(project_channels) != len(names) - 1 or len(decoder_channels) != len(names):
            raise ValueError(
                f"features {names} want {len(names) - 1} project_channels and {len(names)} "
                f"decoder_channels, got {list(project_channels)} and {list(decoder_channels)}"
            )
        coarsest = names[-1]
        for index, name in enumerate(names[:-1]):
            projected = conv(shapes[name].channels or 0, project_channels[index], 1, norm)
            merged = project_channels[index] + decoder_channels[index + 1]
            fuse = two_convolutions(
                *(merged, decoder_channels[index], decoder_channels[index]),
                norm=norm,
                separable=use_depthwise_separable_conv,
            )
            self[name] = nn.ModuleDict({"project_conv": projected, "fuse_conv": fuse})
        pooling = ASPP(
            shapes[coarsest].channels or 0,
            decoder_channels[-1],
            aspp_dilations,
            norm=norm,
            activation=F.relu,
            pool_kernel_size=pooling_window(train_size, shapes[coarsest].stride or 1),
            dropout=aspp_dropout,
            use_depthwise_separable_conv=use_depthwise_separable_conv,
        )
        self[coarsest] = nn.ModuleDict({"project_conv": pooling})
        self._names = names

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """The merged map, at the resolution of the finest feature."""
        *finer, coarsest = self._names
        merged: Tensor = self._stage(coarsest)["project_conv"](features[coarsest])
        for name in reversed(finer):
            stage = self._stage(name)
            projected = stage["project_conv"](features[name])
            size = projected.shape[-2:]
            merged = F.interpolate(merged, size=size, mode="bilinear", align_corners=False)
            merged = stage["fuse_conv"](torch.cat([projected, merged], dim=1))
        return merged

    def _stage(self, name: str) -> nn.ModuleDict:
        stage = self[name]
        assert isinstance(stage, nn.ModuleDict)
        return stage


@SEM_SEG_HEADS_REGISTRY.register()
class DeepLabV3PlusHead(PixelHead):
    """Atrous pooling of the coarsest feature map, a decoder that merges finer ones, a predictor.

    Args:
        input_shape: shapes of the feature maps to use.
        project_channels: channels that each but the coarsest map is projected to.
        aspp_dilations: the three dilations of the pooling.
        aspp_dropout: dropout behind it.
        decoder_channels: channels behind each map, finest first; the last are the pooling's.
        common_stride: stride of the finest feature map.
        norm: normalisation of the convolutions, see `get_norm`.
        train_size: see `DeepLabV3Head`.
        loss_weight, loss_type, ignore_value: see `PixelHead`.
        num_classes: number of classes K; None for a head that ends with the decoder.
        use_depthwise_separable_conv: make convolutions of the pooling and the decoder depthwise
            separable.

    Raises:
        ValueError: if the channels do not go with the feature maps.
    """

    @configurable
    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        project_channels: Sequence[int],
        aspp_dilations: Sequence[int],
        aspp_dropout: float,
        decoder_channels: Sequence[int],
        common_stride: int,
        norm: Norm,
        train_size: tuple[int, int] | None = None,
        loss_weight: float = 1.0,
        loss_type: str = "cross_entropy",
        ignore_value: int = -1,
        num_classes: int | None = None,
        use_depthwise_separable_conv: bool = False,
    ) -> None:
        super().__init__(common_stride, loss_weight, loss_type, ignore_value)
        self.decoder = Decoder(
            input_shape,
            project_channels=project_channels,
            decoder_channels=decoder_channels,
            aspp_dilations=aspp_dilations,
            aspp_dropout=aspp_dropout,
            norm=norm,
            train_size=train_size,
            use_depthwise_separable_conv=use_depthwise_separable_conv,
        )
        self.in_features = sorted(input_shape, key=lambda name: input_shape[name].stride or 0)
        self.num_classes = num_classes
        self.predictor: nn.Module | None = None
        if num_classes is not None:
            self.predictor = predictor(decoder_channels[0], num_classes)

    def layers(self, features: Mapping[str, Tensor]) -> Tensor:
        """The logits, or what the decoder returns if there is no predictor."""
        merged: Tensor = self.decoder(features)
        return merged if self.predictor is None else self.predictor(merged)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments out of a config and the backbone's output shapes."""
        options = cfg.MODEL.SEM_SEG_HEAD
        return decoder_options(cfg, options, input_shape, "SEM_SEG_HEAD") | {
            "loss_weight": options.LOSS_WEIGHT,
            "loss_type": options.LOSS_TYPE,
            "ignore_value": options.IGNORE_VALUE,
            "num_classes": options.NUM_CLASSES,
        }


def decoder_options(
    cfg: CfgNode, options: CfgNode, input_shape: Mapping[str, ShapeSpec], section: str
) -> dict[str, Any]:
    """The arguments of `DeepLabV3PlusHead` that every head with a decoder reads from a config."""
    names = options.IN_FEATURES
    return {
        "input_shape": selected(input_shape, names, section),
        "project_channels": options.PROJECT_CHANNELS,
        "aspp_dilations": options.ASPP_DILATIONS,
        "aspp_dropout": options.ASPP_DROPOUT,
        "decoder_channels": [options.CONVS_DIM] * (len(names) - 1) + [options.ASPP_CHANNELS],
        "common_stride": options.COMMON_STRIDE,
        "norm": options.NORM,
        "train_size": train_size(cfg),
        "use_depthwise_separable_conv": cfg.MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV,
    }


def selected(
    input_shape: Mapping[str, ShapeSpec], names: Sequence[str], section: str
) -> dict[str, ShapeSpec]:
    """The shapes of the features that a section of the config asks for."""
    shapes = select_shapes(input_shape, names, f"MODEL.{section}.IN_FEATURES")
    return dict(zip(names, shapes, strict=True))


def train_size(cfg: CfgNode) -> tuple[int, int] | None:
    """(height, width) of the crops that a config trains on; None without crops.

    Raises:
        ValueError: if crops have no fixed size.
    """
    crop = cfg.INPUT.CROP
    if not crop.ENABLED:
        return None
    if crop.TYPE != "absolute":
        raise ValueError(
            f"DeepLab heads pool over the size of the crops, which INPUT.CROP.TYPE {crop.TYPE!r} "
            "does not fix: use 'absolute'"
        )
    return crop.SIZE[0], crop.SIZE[1]


def pooling_window(train_size: tuple[int, int] | None, stride: int) -> tuple[int, int] | None:
    """The window of image pooling that covers a training image, in pixels of a feature map.

    Raises:
        ValueError: if the stride does not divide the size.
    """
    if train_size is None:
        return None
    if train_size[0] % stride or train_size[1] % stride:
        raise ValueError(f"the crop size {tuple(train_size)} has to be divisible by {stride}")
    return train_size[0] // stride, train_size[1] // stride


def predictor(in_channels: int, num_classes: int) -> Conv2d:
    """A 1×1 convolution to the logits."""
    layer = Conv2d(in_channels, num_classes, kernel_size=1)
    normal_fill(layer, std=0.001)
    return layer


def conv(in_channels: int, out_channels: int, kernel_size: int, norm: Norm) -> Conv2d:
    """A convolution of stride 1 with normalisation and ReLU."""
    layer = Conv2d(
        *(in_channels, out_channels, kernel_size),
        padding=kernel_size // 2,
        bias=norm == "",
        norm=get_norm(norm, out_channels),
        activation=F.relu,
    )
    xavier_fill(layer)
    return layer


def two_convolutions(
    in_channels: int, between: int, out_channels: int, *, norm: Norm, separable: bool
) -> nn.Module:
    """Two 3×3 convolutions, or one depthwise separable 5×5 one, with normalisation and ReLU."""
    if separable:
        return DepthwiseSeparableConv2d(
            *(in_channels, out_channels),
            kernel_size=5,
            padding=2,
            norm1=norm,
            activation1=F.relu,
            norm2=norm,
            activation2=F.relu,
        )
    return nn.Sequential(conv(in_channels, between, 3, norm), conv(between, out_channels, 3, norm))
