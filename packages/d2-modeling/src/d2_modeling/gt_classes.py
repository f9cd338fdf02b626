"""Comparison of the ground truth's classes and labels with a model's number of classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from d2_structures import Instances


def check_gt_classes(targets: Sequence[Instances], num_classes: int) -> None:
    """Require that every class of the ground truth is one of the model's.

    Nothing waits for an accelerator's answer: there torch stops the program later, with a
    message that lacks the class. Models therefore compare before they move ground truth.

    Args:
        targets: for each image its ground truth; without ``gt_classes`` there is nothing to
            compare.
        num_classes: number of classes K of the model.

    Raises:
        ValueError: if a class on the host is not in 0 … K−1.
    """
    for index, image in enumerate(targets):
        if not image.has("gt_classes"):
            continue
        classes = image.gt_classes
        wrong = (classes < 0) | (classes >= num_classes)
        if classes.device.type == "cpu":
            if bool(wrong.any()):
                raise ValueError(_message(index, int(classes[wrong][0]), num_classes))
        elif classes.device.type == "cuda":
            torch._assert_async(
                ~wrong.any(), f"ground truth has a class that is not in 0 to {num_classes - 1}"
            )


def check_pixel_labels(
    labels: Sequence[Tensor | None], num_classes: int, ignore_value: int
) -> None:
    """Require that the label of every pixel is one of the model's, or the one that is ignored.

    Nothing waits for an accelerator's answer, see `check_gt_classes`.

    Args:
        labels: for each image (H, W) integers; None has nothing to compare.
        num_classes: number of classes K of the model.
        ignore_value: label of pixels that do not count.

    Raises:
        ValueError: if a label on the host is another.
    """
    for index, image in enumerate(labels):
        if not isinstance(image, Tensor) or image.device.type != "cpu":
            continue
        values = image.long()  # bytes know neither -1 nor 300
        wrong = values[((values < 0) | (values >= num_classes)) & (values != ignore_value)]
        if len(wrong) > 0:
            raise ValueError(
                f"input {index} has pixels of label {int(wrong[0])} in 'sem_seg', but the "
                f"model was built for the labels 0 to {num_classes - 1} and ignores "
                f"{ignore_value}: set num_classes and ignore_value (NUM_CLASSES and IGNORE_VALUE "
                "of MODEL.SEM_SEG_HEAD in a yacs-style config), or map the labels to these"
            )


def _message(image: int, got: int, num_classes: int) -> str:
    fault = (
        f"image {image} of the batch has ground truth of class {got}, but the model was built for "
        f"the classes 0 to {num_classes - 1}, num_classes={num_classes}"
    )
    if got < 0:
        return (
            f"{fault}; no negative class makes instances ignored: leave them out of the ground "
            "truth, or give their annotations iscrowd=1"
        )
    return (
        f"{fault}; set num_classes (NUM_CLASSES in a yacs-style config) to the dataset's number of "
        "classes, or, if its ids begin with 1 or have gaps, map them to 0, 1, 2, ..."
    )
