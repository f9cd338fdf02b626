"""The pre-defined styles in which instances are coloured."""

import enum

__all__ = ["ColorMode"]


class ColorMode(enum.Enum):
    """How :class:`Visualizer` chooses the colours and the opacity of instances."""

    IMAGE = 0
    """Another colour for every instance, masks laid over with low opacity."""

    SEGMENTATION = 1
    """Similar colours within a category (``metadata.thing_colors``), high opacity."""

    IMAGE_BW = 2
    """As ``IMAGE``, with everything outside the masks in shades of grey."""
