"""A model's semantic segmentation as a map of classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def predicted_labels(
    output: Mapping[str, Any] | torch.Tensor, num_classes: int, where: str
) -> np.ndarray:
    """Return the class of each pixel.

    Args:
        output: a dict with ``sem_seg``, or that itself: (C, H, W) scores of the classes, or (H, W)
            classes as whole numbers.
        num_classes: C.
        where: names the image in errors.

    Returns:
        (H, W) int64 within 0 … C − 1.

    Raises:
        ValueError: if there is no ``sem_seg``, or its shape, its type or a class does not fit.
    """
    if isinstance(output, Mapping):
        if "sem_seg" not in output:
            raise ValueError(f"the output for {where!r} has no 'sem_seg'; it has {sorted(output)}")
        output = output["sem_seg"]
    prediction = torch.as_tensor(output)
    if prediction.ndim == 3:
        if prediction.shape[0] != num_classes:
            raise ValueError(
                f"the output for {where!r} has scores of {prediction.shape[0]} classes, the "
                f"dataset has {num_classes}; the model was built for another dataset"
            )
        return prediction.argmax(dim=0).cpu().numpy()
    if prediction.ndim != 2 or prediction.is_floating_point() or prediction.is_complex():
        raise ValueError(
            f"the output for {where!r} has the shape {tuple(prediction.shape)} and the type "
            f"{prediction.dtype}; wanted (C, H, W) scores or (H, W) whole numbers of classes"
        )
    labels: np.ndarray = prediction.cpu().numpy().astype(np.int64)
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        worst = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(
            f"the output for {where!r} has the class {worst}, outside 0 … {num_classes - 1}"
        )
    return labels
