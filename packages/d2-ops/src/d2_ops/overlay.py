"""Drawing kernels for NumPy pictures. Imports no torch, holds no lock while it computes.

A picture is (3, H, W) uint8, C-contiguous: three planes that are written in place. An ink is red,
green, blue in 0..255 and an opacity in 0..256, 256 being opaque. Coverage is uint8: 0 leaves a
pixel alone, 255 gives it the ink's colour at the ink's opacity. What lies outside the picture is
left out. Everything is computed in integers from the coverage on, so results depend neither on the
number of threads nor on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._host_kernels import kernels as _host

__all__ = ["OPAQUE", "blend_maps", "fill_rectangles", "soften_mask", "stroke_paths"]

OPAQUE = 256
"""The opacity of an ink that hides what is under it."""

_FAR = 2**31  # whole pixels beyond any picture, so that sums of two stay in range


def blend_maps(
    picture: NDArray[np.uint8],
    maps: Sequence[ArrayLike],
    corners: ArrayLike,
    fills: ArrayLike,
    edges: ArrayLike | None = None,
    *,
    num_threads: int = 0,
) -> None:
    """Blend inks through coverage maps, one over the other.

    Args:
        picture: (3, H, W) uint8, written to.
        maps: N maps of (h, w) uint8.
        corners: (N, 2) whole pixels x, y of the maps' upper left corners.
        fills: (N, 4) inks.
        edges: (N, 4) inks for the rim, laid on each map's own fill: fully where the coverage is a
            half, less and less towards 0 and 255. None for no rims.
        num_threads: at most so many; 0 takes one per core where there is work for them.

    Raises:
        TypeError: for a picture or maps that are not uint8 arrays.
        ValueError: for other shapes, differing lengths or inks out of range.
    """
    _check_picture(picture)
    checked = [_coverage_map(one, i) for i, one in enumerate(maps)]
    count = len(checked)
    inks = _inks(fills, count, "fills")
    rims = np.zeros((count, 4), np.uint16) if edges is None else _inks(edges, count, "edges")
    _host.blend_maps(
        picture, checked, _whole(corners, count, 2, "corners"), inks, rims, num_threads
    )


def fill_rectangles(
    picture: NDArray[np.uint8], rectangles: ArrayLike, inks: ArrayLike, *, num_threads: int = 0
) -> None:
    """Blend inks evenly over rectangles of whole pixels, one over the other.

    Args:
        picture: (3, H, W) uint8, written to.
        rectangles: (N, 4) x0, y0, x1, y1: columns x0 <= x < x1, rows y0 <= y < y1.
        inks: (N, 4).
        num_threads: as for ``blend_maps``.

    Raises:
        TypeError: for a picture that is no uint8 array.
        ValueError: for other shapes, differing lengths or inks out of range.
    """
    _check_picture(picture)
    corners = _whole(
        rectangles, np.shape(rectangles)[0] if np.ndim(rectangles) else 0, 4, "rectangles"
    )
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2])
    _host.fill_rectangles(picture, corners, _inks(inks, len(corners), "inks"), num_threads)


def stroke_paths(
    picture: NDArray[np.uint8],
    paths: Sequence[ArrayLike],
    widths: ArrayLike,
    inks: ArrayLike,
    *,
    num_threads: int = 0,
) -> None:
    """Draw anti-aliased lines with round ends and joins, one path over the other.

    The coverage of a pixel is one minus the distance by which its centre misses the line. Where
    segments of one path overlap the ink is laid on once.

    Args:
        picture: (3, H, W) uint8, written to.
        paths: N paths, each (S, 4) segments x0, y0, x1, y1 in continuous pixel coordinates, (0, 0)
            being the corner of the first pixel.
        widths: (N,) positive line widths in pixels.
        inks: (N, 4).
        num_threads: as for ``blend_maps``.

    Raises:
        TypeError: for a picture that is no uint8 array.
        ValueError: for other shapes, differing lengths, numbers that are not finite, or inks out
            of range.
    """
    _check_picture(picture)
    segments = [_segments(path, i) for i, path in enumerate(paths)]
    lines = np.ascontiguousarray(widths, np.float64)
    if lines.shape != (len(segments),) or not (np.isfinite(lines) & (lines > 0)).all():
        raise ValueError(f"widths must be {len(segments)} positive numbers, got {widths!r:.100}")
    ends = np.cumsum([len(path) for path in segments], dtype=np.int64)
    joined = segments[0] if len(segments) == 1 else np.concatenate([np.empty((0, 4)), *segments])
    _host.stroke_paths(
        picture, joined, ends, lines, _inks(inks, len(segments), "inks"), num_threads
    )


def soften_mask(
    mask: NDArray[np.bool_], x0: int, y0: int, height: int, width: int
) -> tuple[int, int, NDArray[np.uint8]]:
    """Spread the stairs of a binary mask over a pixel, by a binomial 3 x 3 average.

    Args:
        mask: (h, w) bool, a part of an image.
        x0, y0: column and row of the image at which the mask begins.
        height, width: of the image. Where the mask touches its border, it is taken to go on.

    Returns:
        Column and row of the upper left corner, and the coverage: a pixel more than the mask on
        each side on which the image has one.

    Raises:
        TypeError: if the mask is not a bool array.
        ValueError: if it has not two dimensions or is not inside the image.
    """
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        raise TypeError(f"mask must be a bool array, got {getattr(mask, 'dtype', type(mask))}")
    if mask.ndim != 2 or not (
        0 <= x0 <= width - mask.shape[1] and 0 <= y0 <= height - mask.shape[0]
    ):
        raise ValueError(
            f"mask of shape {mask.shape} at x {x0}, y {y0} must lie in an image of "
            f"{height} x {width}"
        )
    rows, columns = mask.shape
    if not rows or not columns:
        return x0, y0, np.zeros(mask.shape, np.uint8)
    left, top = min(x0, 1), min(y0, 1)
    right, bottom = min(width - x0 - columns, 1), min(height - y0 - rows, 1)
    coverage = np.empty((top + rows + bottom, left + columns + right), np.uint8)
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    _host.soften_mask(pixels, coverage, bool(left), bool(top))
    return x0 - left, y0 - top, coverage


def _check_picture(picture: NDArray[np.uint8]) -> None:
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        raise TypeError(
            f"picture must be a uint8 array, got {getattr(picture, 'dtype', type(picture))}"
        )
    if picture.ndim != 3 or picture.shape[0] != 3:
        raise ValueError(f"picture must have shape (3, H, W), got {picture.shape}")
    if not picture.flags.c_contiguous or not picture.flags.writeable:
        raise ValueError("picture must be C-contiguous and writeable: it is drawn on in place")


def _coverage_map(coverage: ArrayLike, position: int) -> NDArray[np.uint8]:
    array = np.asarray(coverage)
    if array.dtype != np.uint8:
        raise TypeError(f"maps[{position}] must be uint8, got {array.dtype}")
    if array.ndim != 2:
        raise ValueError(f"maps[{position}] must have shape (h, w), got {array.shape}")
    return np.ascontiguousarray(array)


def _whole(numbers: ArrayLike, count: int, columns: int, name: str) -> NDArray[np.int64]:
    array = np.asarray(numbers)
    if array.shape != (count, columns) and array.size + count:
        raise ValueError(f"{name} must have shape ({count}, {columns}), got {array.shape}")
    if array.dtype.kind not in "iu" and array.size:
        raise ValueError(f"{name} must be whole numbers, got {array.dtype}")
    return array.reshape(count, columns).clip(-_FAR, _FAR).astype(np.int64)


def _inks(inks: ArrayLike, count: int, name: str) -> NDArray[np.uint16]:
    array = np.asarray(inks)
    if array.shape != (count, 4) and array.size + count:
        raise ValueError(f"{name} must be {count} inks of shape ({count}, 4), got {array.shape}")
    array = array.reshape(count, 4)
    highest = np.array([255, 255, 255, OPAQUE])
    if not ((array >= 0) & (array <= highest)).all():  # a comparison with NaN is false
        raise ValueError(
            f"{name} must be red, green, blue in 0..255 and an opacity in 0..{OPAQUE}, got values "
            f"from {array.min()} to {array.max()}"
        )
    return np.ascontiguousarray(array, np.uint16)


def _segments(path: ArrayLike, position: int) -> NDArray[np.float64]:
    array = np.ascontiguousarray(path, np.float64)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"paths[{position}] must hold segments of shape (S, 4), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"paths[{position}] holds NaN or infinity")
    return array
