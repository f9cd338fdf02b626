"""Resampling of image arrays, by the methods that Pillow numbers."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from d2_ops.host import resize_picture

NEAREST = int(Image.Resampling.NEAREST)
BILINEAR = int(Image.Resampling.BILINEAR)
BICUBIC = int(Image.Resampling.BICUBIC)

_TORCH_MODES = {NEAREST: "nearest-exact", BILINEAR: "bilinear", BICUBIC: "bicubic"}


def resize(img: np.ndarray, new_h: int, new_w: int, method: int) -> np.ndarray:
    """Resize an image.

    uint8 images are filtered over the support of the output pixel (antialiased), to the bit as
    Pillow does; other types are interpolated between input pixels, without antialiasing. Nearest
    keeps every value, of any type, unmixed.

    Args:
        img: (H, W) or (H, W, C).
        new_h, new_w: wanted size in pixels.
        method: number of a Pillow resampling method.

    Returns:
        (new_h, new_w) or (new_h, new_w, C), same dtype, writable; memory may be planar.
    """
    if method == NEAREST and img.dtype != np.uint8:
        return _resize_nearest(img, new_h, new_w)
    if img.dtype != np.uint8:
        return _interpolate(img, new_h, new_w, method)
    if method == BILINEAR:
        threads = torch.get_num_threads()
        return resize_picture(_upright(img), new_h, new_w, num_threads=threads)

    return by_channel(
        img,
        lambda channel: np.array(
            Image.fromarray(channel).resize((new_w, new_h), Image.Resampling(method))
        ),
    )


def by_channel(img: np.ndarray, op: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a function of (H, W) arrays to an (H, W) or to each channel of an (H, W, C)."""
    if img.ndim == 2:
        return op(np.ascontiguousarray(img))
    channels = [op(np.ascontiguousarray(img[..., c])) for c in range(img.shape[2])]
    return np.stack(channels, axis=-1)


def pillow_plane(channel: np.ndarray) -> np.ndarray:
    """An (H, W) array in a type that Pillow resamples: uint8, int32 or float32."""
    if channel.dtype == np.uint8:
        return channel
    if channel.dtype == bool:
        return channel.astype(np.uint8)
    return channel.astype(np.float32 if np.issubdtype(channel.dtype, np.floating) else np.int32)


def _upright(img: np.ndarray) -> np.ndarray:
    """The same image, not stored backward: torch mirrors many times faster than NumPy copies so."""
    mirrored = tuple(axis for axis in (0, 1) if img.strides[axis] < 0)
    if not mirrored:
        return img
    pixels = np.flip(img, mirrored)
    if not pixels.flags.writeable or min(pixels.strides) < 0:
        pixels = pixels.copy()
    upright: np.ndarray = torch.from_numpy(pixels).flip(mirrored).numpy()
    return upright


def _writable_planes(img: np.ndarray) -> np.ndarray:
    """(C, H, W) contiguous memory that torch may wrap without a warning."""
    planes = np.ascontiguousarray(img.transpose(2, 0, 1))
    return planes if planes.flags.writeable else planes.copy()


def _interpolate(img: np.ndarray, new_h: int, new_w: int, method: int) -> np.ndarray:
    if method not in _TORCH_MODES:
        raise ValueError(
            f"{img.dtype} images are resized by nearest ({NEAREST}), bilinear ({BILINEAR}) or "
            f"bicubic ({BICUBIC}), got method {method}; convert the image to uint8 for others"
        )
    floating = img if img.dtype in (np.float32, np.float64) else img.astype(np.float32)
    planes = torch.from_numpy(_writable_planes(floating.reshape(*img.shape[:2], -1)))[None]
    resized = torch.nn.functional.interpolate(
        planes, (new_h, new_w), mode=_TORCH_MODES[method], align_corners=False
    )
    result = resized[0].numpy().transpose(1, 2, 0).astype(img.dtype, copy=False)
    return result.reshape(new_h, new_w, *img.shape[2:])


def _resize_nearest(img: np.ndarray, new_h: int, new_w: int) -> np.ndarray:
    rows = nearest_indices(img.shape[0], new_h)
    columns = nearest_indices(img.shape[1], new_w)
    return img.take(rows, axis=0).take(columns, axis=1)


def nearest_indices(size: int, new_size: int) -> np.ndarray:
    """Input pixel under the centre of each output pixel, summed in Pillow's order."""
    steps = np.full(new_size, size / new_size)
    steps[0] /= 2
    return np.minimum(np.cumsum(steps).astype(np.int64), size - 1)


def through_nchw(img: np.ndarray, op: Callable[[torch.Tensor], torch.Tensor]) -> np.ndarray:
    """Apply a function of (N, C, H, W) float tensors; shape and dtype of ``img`` come back."""
    batch = img[None, ..., None] if img.ndim == 2 else img[None] if img.ndim == 3 else img
    floating = batch if batch.dtype in (np.float32, np.float64) else batch.astype(np.float32)
    result = op(torch.from_numpy(floating.transpose(0, 3, 1, 2).copy()))
    array = result.numpy().transpose(0, 2, 3, 1).astype(img.dtype, copy=False)
    return array[0, ..., 0] if img.ndim == 2 else array[0] if img.ndim == 3 else array
