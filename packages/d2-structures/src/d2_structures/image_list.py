"""Images of differing sizes in one tensor.

TorchScript compiles this module when a scripted model uses `ImageList`.
"""

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch import device as Device
from torch.nn import functional as F

from .tensor_input import is_recording

__all__ = ["ImageList"]

if TYPE_CHECKING:
    ImageIndex = int | slice
else:
    # TorchScript reads the same annotation and knows no slices.
    ImageIndex = int


class ImageList:
    """A batch of images, padded at the right and the bottom to one size.

    Attributes:
        tensor: (N, H, W) or (N, C_1, …, C_K, H, W), the padded images.
        image_sizes: N pairs (h, w) in pixels, the sizes before padding. While `torch.jit.trace`
            records, each pair is a tensor of shape (2,) instead.
    """

    def __init__(self, tensor: Tensor, image_sizes: list[tuple[int, int]]) -> None:
        """Wrap images that are padded already.

        Args:
            tensor: (N, H, W) or (N, C_1, …, C_K, H, W).
            image_sizes: (h, w) of each image, at most (H, W).

        Raises:
            ValueError: if there is not one size per image, or one is larger than the tensor.
        """
        if not torch.jit.is_scripting():
            _check_sizes(tensor, image_sizes)
        self.tensor = tensor
        self.image_sizes = image_sizes

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, idx: ImageIndex) -> Tensor:
        """One image in its original size.

        Args:
            idx: the image's number, or a slice, which gives a list of images.

        Returns:
            (H, W) or (C_1, …, C_K, H, W), sharing storage with ``tensor``.
        """
        if not torch.jit.is_scripting():  # noqa: SIM102 - scripting drops this form only
            if isinstance(idx, slice):
                images: Any = [self[i] for i in range(len(self))[idx]]
                return images
        size = self.image_sizes[idx]
        return self.tensor[idx, ..., : size[0], : size[1]]

    @torch.jit.unused
    def to(self, *args: Any, **kwargs: Any) -> "ImageList":
        """The same images after ``tensor.to(*args, **kwargs)``."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    @property
    def device(self) -> Device:
        """Where the images live."""
        return self.tensor.device

    def __repr__(self) -> str:
        return f"ImageList(shape={list(self.tensor.shape)}, image_sizes={self.image_sizes})"

    @staticmethod
    def from_tensors(
        tensors: list[Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: dict[str, int] | None = None,
    ) -> "ImageList":
        """Pad images at the right and the bottom to the size of the largest, and stack them.

        Args:
            tensors: images of shape (H_i, W_i) or (C_1, …, C_K, H_i, W_i), alike but for their
                last two dimensions, in one dtype and on one device.
            size_divisibility: if positive, height and width of the result are multiples of it.
            pad_value: what the padding is filled with.
            padding_constraints: further wishes of a backbone. ``"size_divisibility"`` overrides
                the argument of that name; a positive ``"square_size"`` makes the result a
                square with at least that side.

        Returns:
            An ImageList with its own storage.

        Raises:
            TypeError: if ``tensors`` is not a list or tuple of tensors.
            ValueError: if it is empty, the images do not belong together, a size is negative, or
                a constraint is unknown.
        """
        if not torch.jit.is_scripting():
            _check_images(tensors)
            _check_constraints(padding_constraints)
        square_size = 0
        if padding_constraints is not None:
            square_size = padding_constraints.get("square_size", 0)
            size_divisibility = padding_constraints.get("size_divisibility", size_divisibility)
        if size_divisibility < 0 or square_size < 0:
            raise ValueError(
                "size_divisibility and square_size must not be negative, got "
                f"{size_divisibility} and {square_size}"
            )
        if not torch.jit.is_scripting() and torch.jit.is_tracing():
            return _pad_traced(tensors, size_divisibility, pad_value, square_size)

        image_sizes = [(image.shape[-2], image.shape[-1]) for image in tensors]
        height, width = image_sizes[0]
        for size in image_sizes[1:]:
            height, width = max(height, size[0]), max(width, size[1])
        if square_size > 0:
            height = width = max(height, width, square_size)
        if size_divisibility > 1:
            height = (height + size_divisibility - 1) // size_divisibility * size_divisibility
            width = (width + size_divisibility - 1) // size_divisibility * size_divisibility

        shape = list(tensors[0].shape)
        shape[-2], shape[-1] = height, width
        shape.insert(0, len(tensors))
        batch = tensors[0].new_full(shape, pad_value)
        for i, image in enumerate(tensors):
            batch[i, ..., : image.shape[-2], : image.shape[-1]].copy_(image)
        return ImageList(batch, image_sizes)


def _pad_traced(
    tensors: list[Tensor], size_divisibility: int, pad_value: float, square_size: int
) -> ImageList:
    """`ImageList.from_tensors` in tensor arithmetic, so that a trace holds for other sizes."""
    # In a trace the elements of a shape are tensors.
    sizes: list[Any] = [torch.stack((t.shape[-2], t.shape[-1])) for t in cast(Any, tensors)]
    padded: Any = torch.stack(sizes).amax(dim=0)
    if square_size > 0:
        padded = padded.amax().clamp(min=square_size).expand(2)
    if size_divisibility > 1:
        padded = (padded + size_divisibility - 1).div(size_divisibility, rounding_mode="floor")
        padded = padded * size_divisibility
    images = [
        F.pad(image, [0, padded[1] - size[1], 0, padded[0] - size[0]], value=pad_value)
        for image, size in zip(tensors, sizes, strict=True)
    ]
    return ImageList(torch.stack(images), sizes)


@torch.jit.unused
def _check_sizes(tensor: Tensor, image_sizes: Any) -> None:
    if is_recording():
        return
    if tensor.dim() < 3 or len(image_sizes) != tensor.shape[0]:
        raise ValueError(
            f"an ImageList needs a tensor of shape (N, …, H, W) and N image sizes, got shape "
            f"{list(tensor.shape)} and {len(image_sizes)} sizes"
        )
    for i, (height, width) in enumerate(image_sizes):
        if not (0 <= height <= tensor.shape[-2] and 0 <= width <= tensor.shape[-1]):
            raise ValueError(
                f"image {i} of size {(height, width)} does not fit a batch of shape "
                f"{list(tensor.shape)}"
            )


def _check_constraints(constraints: dict[str, int] | None) -> None:
    unknown = set(constraints or ()) - {"size_divisibility", "square_size"}
    if unknown:
        raise ValueError(
            f"padding_constraints has {sorted(unknown)}; known are size_divisibility, square_size"
        )


def _check_images(tensors: Any) -> None:
    if not isinstance(tensors, (list, tuple)):
        raise TypeError(f"images must come as a list of tensors, got {type(tensors).__name__}")
    if len(tensors) == 0:
        raise ValueError("an ImageList needs at least one image")
    for i, image in enumerate(tensors):
        if not isinstance(image, Tensor):
            raise TypeError(f"image {i} must be a tensor, got {type(image).__name__}")
        alike = torch.jit.is_tracing() or image.shape[:-2] == tensors[0].shape[:-2]
        if image.dim() < 2 or not alike:
            raise ValueError(
                f"images must be (..., H, W) and alike in all dimensions before, but image {i} "
                f"has shape {list(image.shape)} and image 0 {list(tensors[0].shape)}"
            )
        if image.dtype != tensors[0].dtype or image.device != tensors[0].device:
            raise ValueError(
                f"images must be alike in dtype and device, but image {i} is {image.dtype} on "
                f"{image.device} and image 0 {tensors[0].dtype} on {tensors[0].device}"
            )
