"""What every backbone promises."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from ..layers import ShapeSpec


class Backbone(nn.Module, metaclass=ABCMeta):
    """Base class of networks that turn images into named feature maps.

    A subclass fills ``_out_features``, ``_out_feature_channels`` and
    ``_out_feature_strides``, or overrides `output_shape`.
    """

    _out_features: Sequence[str]
    _out_feature_channels: dict[str, int]
    _out_feature_strides: dict[str, int]

    @abstractmethod
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (N, C, H, W) to feature maps by name, e.g. ``"res2"``."""

    @property
    def size_divisibility(self) -> int:
        """What input height and width have to be divisible by; 0 for no demand."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """Further demands on the padded input, as in ``ImageList.from_tensors``."""
        return {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature map that forward returns."""
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }
