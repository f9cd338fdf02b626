"""Images whose pixels are numbers of classes."""

import os

import numpy as np

from d2_structures import NotAPictureError, open_picture

__all__ = ["read_label_map"]

_LABEL_MODES = frozenset({"1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N"})
"""Pillow's modes of one whole number a pixel; that of a palette image is its index."""


def read_label_map(file_name: str | os.PathLike[str]) -> np.ndarray:
    """Read a map of labels, the same in training and in evaluation.

    The label of a pixel is the number that the file stores for it: its grey value of 1, 8, 16 or
    32 bits, or its index in a palette image, whatever colour the palette shows.

    Args:
        file_name: the file.

    Returns:
        (H, W) uint8, or int32 where the file holds more than 8 bits a pixel.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is no image in one of the formats that are read (see
            :func:`d2_structures.open_picture`), or damaged; the message names it.
        ValueError: if its pixels are colours, from which labels cannot be told.
    """
    name = os.fspath(file_name)
    try:
        with open_picture(name) as picture:
            mode = picture.mode
            if mode in _LABEL_MODES:
                labels = np.array(picture)
                return labels.astype(np.uint8 if labels.dtype.itemsize == 1 else np.int32)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"label image {name!r} does not exist; check the folder of semantic labels that the "
            "dataset was registered with"
        ) from None
    except NotAPictureError:
        raise
    except Exception as error:  # a decoder fails in any way on strange content
        raise OSError(
            f"label image {name!r} cannot be read ({error}); it is no image, damaged or cut "
            "short: fetch or make it again"
        ) from error
    raise ValueError(
        f"label image {name!r} is of Pillow's mode {mode!r}: its pixels are colours, not numbers "
        "of classes. Save it as a grey image or one with a palette, whose values are the labels"
    )
