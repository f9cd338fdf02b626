"""Folders of photographs beside folders of label images."""

import logging
import os
from typing import Any

__all__ = ["load_sem_seg"]

_logger = logging.getLogger(__name__)


def load_sem_seg(
    gt_root: str | os.PathLike[str],
    image_root: str | os.PathLike[str],
    gt_ext: str = "png",
    image_ext: str = "jpg",
) -> list[dict[str, Any]]:
    """Match label images with photographs of the same path below their folders.

    Subfolders are searched too. What lacks a counterpart is left out with a warning. No file is
    opened; :func:`d2_data.formats.read_label_map` says what the pixels of label images mean.

    Args:
        gt_root: folder of the label images.
        image_root: folder of the photographs.
        gt_ext: extension of the label images; capital letters do not matter.
        image_ext: extension of the photographs.

    Returns:
        Dicts with ``file_name`` and ``sem_seg_file_name``, in the order of their paths.

    Raises:
        FileNotFoundError: if a folder is absent, or holds no file with the extension.
        ValueError: if no file of one folder has a counterpart in the other.
    """
    labels = _files(gt_root, gt_ext, "label images", "gt_ext")
    images = _files(image_root, image_ext, "photographs", "image_ext")
    common = sorted(labels.keys() & images.keys())
    if not common:
        raise ValueError(
            f"no label image below {os.fspath(gt_root)!r} has the path of a photograph below "
            f"{os.fspath(image_root)!r}, extensions aside: {min(labels)!r} and {min(images)!r} are "
            "the first of each; correct the folders or rename the files"
        )
    for found, other, folder in ((labels, images, gt_root), (images, labels, image_root)):
        alone = sorted(found.keys() - other.keys())
        if alone:
            _logger.warning(
                "%d of %d files below %s have no counterpart and are left out, e.g. %s",
                len(alone),
                len(found),
                os.fspath(folder),
                found[alone[0]],
            )
    _logger.info("Found %d images with semantic labels in %s", len(common), os.fspath(gt_root))
    return [{"file_name": images[path], "sem_seg_file_name": labels[path]} for path in common]


def _files(
    root: str | os.PathLike[str], extension: str, what: str, argument: str
) -> dict[str, str]:
    """Files with an extension by their path below ``root`` without it."""
    top = os.fspath(root)
    if not os.path.isdir(top):
        raise FileNotFoundError(f"the folder of {what} {top!r} does not exist")
    ending = f".{extension.lstrip('.').lower()}"
    files = {
        os.path.relpath(os.path.join(folder, name), top)[: -len(ending)]: os.path.join(folder, name)
        for folder, _, names in os.walk(top, followlinks=True)
        for name in names
        if name.lower().endswith(ending)
    }
    if not files:
        raise FileNotFoundError(
            f"the folder of {what} {top!r} holds no file *{ending}; if theirs have another "
            f"extension, pass it as {argument}"
        )
    return files
