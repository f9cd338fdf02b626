"""All operators at once."""

from __future__ import annotations

# Importing these registers shape functions and derivatives.
from . import (  # noqa: F401 - imported for that effect
    _box_iou_rotated,
    _decode_boxes,
    _deform_conv,
    _match_anchors,
    _multilevel_roi_align,
    _nms,
    _pairwise_boxes,
    _paste_masks,
    _roi_align,
    _roi_align_rotated,
    _roi_pool,
    _sigmoid_focal_loss,
)
from ._library import LoadedLibraries, load


def load_library() -> LoadedLibraries:
    """Register every operator with torch, once, with its shape function and derivative.

    Using any function of the package registers what it needs. Call this yourself only to run a
    saved program (``torch.export``, AOTInductor) that names ``torch.ops.d2_ops``.

    Returns:
        The libraries' paths, and why CUDA operators are missing where they are.

    Raises:
        ImportError: if this package was not built, or not for this machine.
    """
    return load()
