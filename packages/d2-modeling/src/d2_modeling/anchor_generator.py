"""Anchors: the boxes of fixed sizes and shapes that are centred on every feature map pixel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2_config import CfgNode, configurable
from d2_config.registry import Registry
from d2_structures import Boxes, RotatedBoxes

from .layers import ShapeSpec

ANCHOR_GENERATOR_REGISTRY: Registry[Any] = Registry("ANCHOR_GENERATOR")
"""Callables ``(cfg, input_shape: list[ShapeSpec]) -> nn.Module`` that make anchors."""


def build_anchor_generator(cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> Any:
    """Build the anchor generator that ``cfg.MODEL.ANCHOR_GENERATOR.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: shape of each feature map; strides are needed.

    Raises:
        KeyError: if no generator of that name is registered.
    """
    return ANCHOR_GENERATOR_REGISTRY.get(cfg.MODEL.ANCHOR_GENERATOR.NAME)(cfg, input_shape)


def anchors_per_pixel(generator: Any, wanted_by: str) -> int:
    """How many anchors a generator puts on every pixel, for a head that all feature maps share.

    Args:
        generator: see `build_anchor_generator`.
        wanted_by: who asks; for the error.

    Raises:
        ValueError: if feature maps have different numbers.
    """
    counts: list[int] = list(generator.num_anchors)
    if len(set(counts)) != 1:
        raise ValueError(
            f"{wanted_by} wants as many anchors on every feature map, got {counts}; "
            "see MODEL.ANCHOR_GENERATOR"
        )
    return counts[0]


# Training at several image sizes meets some dozens of shapes per level.
_MAX_CACHED_GRIDS = 64


class _GridAnchors(nn.Module):
    """Anchors around the origin for each feature map, repeated at every pixel.

    Grids are kept by feature map size, so repeated sizes cost nothing.

    Args:
        cell_anchors: for each feature map (A, box_dim), whose first columns are x and y.
        strides: stride of each feature map in image pixels.
        offset: see `DefaultAnchorGenerator`.
        shift_columns: for each column of an anchor 0 if it moves with x, 1 with y, 2 if it
            stays.
    """

    def __init__(
        self,
        cell_anchors: Sequence[Tensor],
        strides: Sequence[int],
        offset: float,
        shift_columns: Sequence[int],
    ) -> None:
        super().__init__()
        if not 0.0 <= offset < 1.0:
            raise ValueError(f"offset has to be in [0, 1), got {offset}")
        self.strides = list(strides)
        self.num_features = len(self.strides)
        self.offset = offset
        self._shift_columns = list(shift_columns)
        for index, anchors in enumerate(cell_anchors):
            self.register_buffer(f"_cell_anchors_{index}", anchors, persistent=False)
        self._grids: dict[tuple[Any, ...], Tensor] = {}

    @property
    def cell_anchors(self) -> list[Tensor]:
        """For each feature map the (A, box_dim) anchors around the origin."""
        return [self.get_buffer(f"_cell_anchors_{index}") for index in range(self.num_features)]

    @property
    def num_anchors(self) -> list[int]:
        """Number of anchors on each pixel of each feature map."""
        return [len(anchors) for anchors in self.cell_anchors]

    @property
    def num_cell_anchors(self) -> list[int]:
        """The same as `num_anchors`."""
        return self.num_anchors

    def _grids_of(self, features: Sequence[Tensor]) -> list[Tensor]:
        """For each feature map its (H * W * A, box_dim) anchors."""
        if len(features) != self.num_features:
            raise ValueError(
                f"the anchor generator has {self.num_features} strides, "
                f"got {len(features)} feature maps"
            )
        return [
            self._grid(index, (feature.shape[-2], feature.shape[-1]))
            for index, feature in enumerate(features)
        ]

    def _grid(self, index: int, size: tuple[int, int]) -> Tensor:
        cell_anchors = self.get_buffer(f"_cell_anchors_{index}")
        if torch.jit.is_tracing() or torch.compiler.is_compiling():
            return self._make_grid(cell_anchors, size, self.strides[index])
        key = (index, *size, cell_anchors.device, cell_anchors.dtype)
        grid = self._grids.pop(key, None)
        if grid is None:
            # A tensor made under inference mode could not serve training later.
            with torch.inference_mode(False):
                grid = self._make_grid(cell_anchors, size, self.strides[index])
            if len(self._grids) >= _MAX_CACHED_GRIDS:
                del self._grids[next(iter(self._grids))]
        self._grids[key] = grid
        return grid

    def _make_grid(self, cell_anchors: Tensor, size: tuple[int, int], stride: int) -> Tensor:
        height, width = size
        like: dict[str, Any] = {"dtype": cell_anchors.dtype, "device": cell_anchors.device}
        x, y = ((torch.arange(count, **like) + self.offset) * stride for count in (width, height))
        shift_y, shift_x = torch.meshgrid(y, x, indexing="ij")
        shift = (shift_x, shift_y, torch.zeros_like(shift_x))
        shifts = torch.stack([shift[column] for column in self._shift_columns], dim=2)
        grid: Tensor = (shifts.reshape(-1, 1, len(self._shift_columns)) + cell_anchors).flatten(
            0, 1
        )
        return grid

    def __getstate__(self) -> dict[str, Any]:
        """The module without its cache."""
        return {**self.__dict__, "_grids": {}}


@ANCHOR_GENERATOR_REGISTRY.register()
class DefaultAnchorGenerator(_GridAnchors):
    """Anchors of given sizes and aspect ratios on every pixel of each feature map.

    Grids are kept by feature map size, so repeated sizes cost nothing. The returned boxes
    share memory with that cache and must not be changed in place.

    Args:
        sizes: for each feature map the sizes (square roots of the anchors' areas, in image
            pixels); a single list, or a flat list of numbers, serves all feature maps.
        aspect_ratios: for each feature map the ratios height / width; likewise.
        strides: stride of each feature map in image pixels.
        offset: position of the first anchor's centre, in strides from the image's corner,
            in [0, 1). 0 is what Detectron1 used, 0.5 centres anchors on their cells.

    Raises:
        ValueError: if the lists do not fit the number of strides or the offset is out of
            range.
    """

    box_dim = 4
    """Number of values per anchor."""

    @configurable
    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]] | Sequence[float],
        aspect_ratios: Sequence[Sequence[float]] | Sequence[float],
        strides: Sequence[int],
        offset: float = 0.5,
    ) -> None:
        count = len(strides)
        cell_anchors = [
            self.generate_cell_anchors(*pair)
            for pair in zip(
                _per_feature_map(sizes, count, "sizes"),
                _per_feature_map(aspect_ratios, count, "aspect_ratios"),
                strict=True,
            )
        ]
        super().__init__(cell_anchors, strides, offset, shift_columns=(0, 1, 0, 1))

    @staticmethod
    def generate_cell_anchors(
        sizes: Sequence[float] = (32, 64, 128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1, 2),
    ) -> Tensor:
        """Anchors centred on the origin for every pair of size and ratio.

        Returns:
            (len(sizes) * len(aspect_ratios), 4) XYXY float32; ratios vary fastest.
        """
        anchors = []
        for width, height in _anchor_shapes(sizes, aspect_ratios):
            anchors.append([-width / 2, -height / 2, width / 2, height / 2])
        return torch.tensor(anchors)

    def forward(self, features: Sequence[Tensor]) -> list[Boxes]:
        """Make the anchors of all feature maps.

        Args:
            features: feature maps (N, C, H, W), in the order of ``strides``.

        Returns:
            For each feature map its H * W * A anchors: rows, then columns, then the
            anchors of one pixel. They are the same for every image.

        Raises:
            ValueError: if the number of feature maps is another than that of strides.
        """
        return [Boxes(grid) for grid in self._grids_of(features)]

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments out of a config and the shapes of the feature maps."""
        return {
            "sizes": cfg.MODEL.ANCHOR_GENERATOR.SIZES,
            "aspect_ratios": cfg.MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS,
            "strides": [shape.stride for shape in input_shape],
            "offset": cfg.MODEL.ANCHOR_GENERATOR.OFFSET,
        }


@ANCHOR_GENERATOR_REGISTRY.register()
class RotatedAnchorGenerator(_GridAnchors):
    """Anchors of given sizes, aspect ratios and angles on every pixel of each feature map.

    As `DefaultAnchorGenerator` in all else.

    Args:
        sizes: see there.
        aspect_ratios: see there.
        strides: see there.
        angles: for each feature map the angles in degrees, counter-clockwise; a single
            list, or a flat list of numbers, serves all feature maps.
        offset: see there.

    Raises:
        ValueError: see there.

    Source: Ma et al., "Arbitrary-Oriented Scene Text Detection via Rotation Proposals", 2018.
    """

    box_dim = 5
    """Number of values per anchor."""

    @configurable
    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]] | Sequence[float],
        aspect_ratios: Sequence[Sequence[float]] | Sequence[float],
        strides: Sequence[int],
        angles: Sequence[Sequence[float]] | Sequence[float],
        offset: float = 0.5,
    ) -> None:
        count = len(strides)
        cell_anchors = [
            self.generate_cell_anchors(*values)
            for values in zip(
                _per_feature_map(sizes, count, "sizes"),
                _per_feature_map(aspect_ratios, count, "aspect_ratios"),
                _per_feature_map(angles, count, "angles"),
                strict=True,
            )
        ]
        super().__init__(cell_anchors, strides, offset, shift_columns=(0, 1, 2, 2, 2))

    @staticmethod
    def generate_cell_anchors(
        sizes: Sequence[float] = (32, 64, 128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1, 2),
        angles: Sequence[float] = (-90, -60, -30, 0, 30, 60, 90),
    ) -> Tensor:
        """Anchors centred on the origin for every triple of size, ratio and angle.

        Returns:
            (len(sizes) * len(aspect_ratios) * len(angles), 5) float32 rows (x, y, width,
            height, angle); angles vary fastest, then ratios.
        """
        anchors: list[list[float]] = []
        for width, height in _anchor_shapes(sizes, aspect_ratios):
            anchors.extend([0.0, 0.0, width, height, float(angle)] for angle in angles)
        return torch.tensor(anchors)

    def forward(self, features: Sequence[Tensor]) -> list[RotatedBoxes]:
        """Make the anchors of all feature maps, see `DefaultAnchorGenerator.forward`."""
        return [RotatedBoxes(grid) for grid in self._grids_of(features)]

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Sequence[ShapeSpec]) -> dict[str, Any]:
        """The constructor's arguments out of a config and the shapes of the feature maps."""
        return {
            **DefaultAnchorGenerator.from_config(cfg, input_shape),
            "angles": cfg.MODEL.ANCHOR_GENERATOR.ANGLES,
        }


def _anchor_shapes(
    sizes: Sequence[float], aspect_ratios: Sequence[float]
) -> Iterator[tuple[float, float]]:
    """Width and height of the anchors; ratios vary fastest."""
    for size in sizes:
        for ratio in aspect_ratios:
            width = math.sqrt(size**2 / ratio)
            yield width, ratio * width


def _per_feature_map(values: Any, count: int, name: str) -> list[list[float]]:
    """One list of numbers per feature map."""
    if len(values) == 0:
        raise ValueError(f"{name} is empty")
    if not isinstance(values[0], Sequence):
        return [list(values)] * count
    if len(values) == 1:
        return [list(values[0])] * count
    if len(values) != count:
        raise ValueError(
            f"{name} has {len(values)} lists for {count} feature maps; give one per map or one"
        )
    return [list(row) for row in values]
