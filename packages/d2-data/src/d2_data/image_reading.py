"""Image files to arrays, and the colour formats that models ask for."""

import io
import os
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, TypeVar

import numpy as np
import torch
from PIL import Image

from d2_data.jpeg_files import decode_jpeg
from d2_data.located_errors import locate
from d2_structures import NotAPictureError, check_picture_file, open_picture

__all__ = ["convert_PIL_to_numpy", "convert_image_to_rgb", "read_image"]

T = TypeVar("T")

_YUV = "YUV-BT.601"
_FORMATS = ("BGR", "RGB", "L", _YUV)

# ITU-R BT.601, analogue form, for components in [0, 1].
_RGB_TO_YUV = np.array(
    [[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]]
)
_YUV_TO_RGB = np.array([[1.0, 0.0, 1.13983], [1.0, -0.39465, -0.58060], [1.0, 2.03211, 0.0]])

_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_WHITE_OF_16_BITS = 65535

_JPEGS = ("JPEG", "MPO")
"""What Pillow calls JPEG files of one picture, and of several."""

_EXIF_ORIENTATION = 0x0112
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(file_name: str | os.PathLike[str], format: str | None = None) -> np.ndarray:
    """Read an image, upright as its EXIF orientation says.

    Args:
        file_name: the file.
        format: "BGR", "RGB", "L" (grey), "YUV-BT.601", a Pillow mode, or None for the
            file's own mode.

    Returns:
        (H, W, C) uint8 in [0, 255], C == 1 for "L"; float64 for YUV; (H, W) for
        single-channel Pillow modes and None. Contiguous and writable.

        In all formats of 8 bits a file means the same, wherever it is read: of 16 bits of grey
        65535 is 255, whatever the image's own brightest value is; alpha is left out, what is
        transparent keeps its colour; a palette gives its colours; CMYK is converted without a
        profile.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is no ordinary file, no image in one of the formats that are read (see
            :func:`d2_structures.open_picture`), cut short, or larger than Pillow's limit; the
            message names it.
        ValueError: if ``format`` is unknown, or the file's numbers have no known brightness.
    """
    return ImageSource(file_name, format).read()


class ImageSource:
    """An image file of which the size is known before its pixels are read.

    Of a JPEG the head is looked at first; any other file is decoded at once, as what turns it may
    stand at its end.

    Args:
        file_name: the file.
        format: see :func:`read_image`.

    Attributes:
        shape: of what :meth:`read` gives in full.

    Raises:
        OSError: as :func:`read_image`; where a JPEG is damaged behind its head, :meth:`read` does.
        ValueError: as :func:`read_image`.
    """

    def __init__(self, file_name: str | os.PathLike[str], format: str | None) -> None:
        self._name = os.fspath(file_name)
        self._format = format
        self._pixels: np.ndarray | None = None
        with _naming_unreadable(self._name):
            self._content = _in_either_spelling(_content, self._name)
        with opened_image(self._name, io.BytesIO(self._content)) as picture:
            if picture.format not in _JPEGS:
                self._pixels = self._decoded(picture)
                self.shape = self._pixels.shape
                return
            orientation = orientation_of(picture)
            self._is_ordinary = picture.mode in ("RGB", "L") and orientation == 1
            self._is_on_its_side = orientation >= 5
            sides = (picture.height, picture.width)[:: -1 if self._is_on_its_side else 1]
            self.shape = (*sides, *_bands(picture, format))

    def read(self, at_least: tuple[int, int] | None = None) -> np.ndarray:
        """The pixels.

        Args:
            at_least: the smallest (height, width) that will do. A JPEG is then decoded at a smaller
                size that is not less, where it offers one: faster, and not the same as decoding in
                full and shrinking. In full if None.
        """
        if self._pixels is not None:
            return self._pixels
        if self._is_ordinary and self._format in ("BGR", "RGB"):
            pixels = decode_jpeg(self._content, self._format, at_least)
            if pixels is not None:
                return pixels
        with opened_image(self._name, io.BytesIO(self._content)) as picture:
            if at_least is not None:
                height, width = at_least[:: -1 if self._is_on_its_side else 1]
                picture.draft(None, (width, height))
            return self._decoded(picture)

    def _decoded(self, picture: Image.Image) -> np.ndarray:
        load_pixels(picture, self._name)
        try:
            return convert_PIL_to_numpy(_upright(picture), self._format)
        except ValueError as error:
            locate(error, f"image file {self._name!r}")
            raise


def _content(name: str) -> bytes:
    check_picture_file(name)
    with open(name, "rb") as file:
        return file.read()


def _bands(picture: Image.Image, format: str | None) -> tuple[int, ...]:
    """The axis of colours that an array of an image has in a format, if any."""
    if format == "L":
        return (1,)
    bands = Image.getmodebands(picture.mode if format is None else _mode(format))
    return () if bands == 1 else (bands,)


def read_image_size(file_name: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of the upright image, read from the head of its file.

    Raises:
        OSError: as :func:`read_image`.
    """
    name = os.fspath(file_name)
    with opened_image(name) as picture:
        height, width = picture.height, picture.width
        return (width, height) if orientation_of(picture) >= 5 else (height, width)


@contextmanager
def opened_image(name: str, file: BinaryIO | None = None) -> Iterator[Image.Image]:
    """An image whose pixels are not read yet; see :func:`load_pixels`.

    Args:
        name: of the file.
        file: the open file, if it is open already.

    Raises:
        OSError: as :func:`read_image`.
    """
    with _naming_unreadable(name):
        if file is None:
            picture = _in_either_spelling(open_picture, name)
        else:
            picture = open_picture(name, file)
    with picture:
        yield picture


def load_pixels(picture: Image.Image, name: str) -> None:
    """Decode an opened image.

    Raises:
        OSError: as :func:`read_image`.
    """
    with _naming_unreadable(name):
        picture.load()


def _in_either_spelling(read: Callable[[str], T], name: str) -> T:
    """What a file is read as, if need be under its name as another system writes it."""
    try:
        return read(name)
    except FileNotFoundError:
        other = other_spelling(name)
        if other is None:
            raise
        return read(other)


def other_spelling(name: str) -> str | None:
    """The same name as another system writes it: accents as one character or two."""
    for form in ("NFC", "NFD"):
        spelling = unicodedata.normalize(form, name)
        if spelling != name and os.path.exists(spelling):
            return spelling
    return None


@contextmanager
def _naming_unreadable(name: str) -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError) as error:
        raise OSError(
            f"image file {name!r} is not decoded, as it could exhaust the memory ({error}). If it "
            "is meant to be so large, raise PIL.Image.MAX_IMAGE_PIXELS before loading; otherwise "
            "remove it from the dataset"
        ) from error
    except FileNotFoundError:
        raise FileNotFoundError(
            f"image file {name!r} does not exist; check the image folder of the dataset"
        ) from None
    except NotAPictureError:
        raise
    except PermissionError as error:
        raise PermissionError(
            f"image file {name!r} may not be read by this user; change its permissions"
        ) from error
    except Exception as error:  # a decoder fails in any way on strange content
        raise OSError(
            f"image file {name!r} cannot be decoded ({error}); it is damaged or cut short: "
            "fetch it again or remove it from the dataset"
        ) from error


def orientation_of(picture: Image.Image) -> int:
    """EXIF's number of how an image is to be turned; 1 where it is stored upright."""
    # A damaged EXIF block says nothing about the pixels, which have been read.
    try:
        return int(picture.getexif().get(_EXIF_ORIENTATION, 1))
    except (SyntaxError, TypeError, ValueError, KeyError, OSError):
        return 1


def _upright(picture: Image.Image) -> Image.Image:
    transposition = _TRANSPOSITIONS.get(orientation_of(picture))
    return picture if transposition is None else picture.transpose(transposition)


def convert_PIL_to_numpy(image: Image.Image, format: str | None) -> np.ndarray:
    """A Pillow image as an array in a format that :func:`read_image` names."""
    if format is None:
        return np.array(image)
    mode = _mode(format)
    if mode not in _DEEP_MODES:
        image = _eight_bits(image)
    image = image if image.mode == mode else image.convert(mode)
    if format == "BGR":
        packed = bytearray(image.tobytes("raw", "BGR"))
        return np.frombuffer(packed, np.uint8).reshape(image.height, image.width, 3)
    array = np.array(image)
    if format == "L":
        return array[..., np.newaxis]
    if format == _YUV:
        return np.dot(array / 255.0, _RGB_TO_YUV.T)
    return array


def _mode(format: str) -> str:
    """Pillow's mode that has the colours of a format."""
    if format not in _FORMATS and format not in Image.MODES:
        raise ValueError(f"unknown image format {format!r}; known: {', '.join(_FORMATS)}")
    return "RGB" if format in ("BGR", _YUV) else format


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits as 8, where Pillow's own conversion makes white of all over 255."""
    if image.mode not in _DEEP_MODES:
        return image
    array = np.asarray(image)
    if image.mode == "F":
        if not (array.size and array.min() >= 0 and array.max() <= 255):
            raise ValueError(
                "holds fractions outside 0 … 255, of which it is not known what is white; save it "
                "with 8 or 16 bits"
            )
        return image
    if array.size and (array.min() < 0 or array.max() > _WHITE_OF_16_BITS):
        raise ValueError(
            f"holds whole numbers from {array.min()} to {array.max()}, of which it is not known "
            "what is white; save it with 8 or 16 bits"
        )
    return Image.fromarray(((array.astype(np.uint32) + 128) // 257).astype(np.uint8))


def convert_image_to_rgb(image: np.ndarray | torch.Tensor, format: str) -> np.ndarray:
    """Convert an image to RGB.

    Args:
        image: (H, W, C), array or tensor on any device, in ``format``.
        format: see :func:`read_image`.

    Returns:
        (H, W, 3) in [0, 255], dtype of the input; uint8 for YUV.
    """
    array: np.ndarray = image.cpu().numpy() if isinstance(image, torch.Tensor) else image
    if format == "BGR":
        return array[:, :, ::-1]
    if format == _YUV:
        rgb = np.dot(array, _YUV_TO_RGB.T) * 255.0
        return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
    if format == "RGB":
        return array
    if format == "L":
        grey = array if array.ndim == 3 else array[..., np.newaxis]
        return np.repeat(grey, 3, axis=2)
    return np.asarray(Image.fromarray(array, mode=format).convert("RGB"))


def image_to_tensor(image: np.ndarray) -> torch.Tensor:
    """An (H, W, C) or (H, W) array of any strides as a contiguous (C, H, W) tensor.

    Copies at most once, and never shares memory with a read-only array.
    """
    planes = image.transpose(2, 0, 1) if image.ndim == 3 else image[np.newaxis]
    mirrored = tuple(axis for axis, stride in enumerate(planes.strides) if stride < 0)
    if mirrored:
        # torch mirrors much faster than NumPy copies backward.
        planes = np.flip(planes, mirrored)
    if not planes.flags.writeable:
        planes = planes.copy()
    tensor = torch.from_numpy(planes)
    return (tensor.flip(mirrored) if mirrored else tensor).contiguous()
