"""Detections while `torch.jit.trace` records, so that the trace holds for other sizes."""

from __future__ import annotations

from typing import Any

import torch

from d2_structures import ImageList, Instances

from .detection_fields import INSTANCE_FIELDS, instances_of
from .image_checks import image_of
from .image_input import BatchedInputs


def traced_instances(model: Any, batched_inputs: BatchedInputs) -> list[Instances]:
    """What ``predict_tensors`` finds, by image.

    Args:
        model: a detector with ``predict_tensors``.
        batched_inputs: for each image a dict with ``image``. Their number is fixed by the trace,
            their sizes are not.

    Returns:
        For each image its detections in the resolution of the network's input; ``image_size`` is a
        pair of tensors.
    """
    channels = len(model.pixel_mean)
    images = ImageList.from_tensors(
        [image_of(entry, i, channels).to(model.device) for i, entry in enumerate(batched_inputs)]
    )
    sizes: Any = images.image_sizes
    outputs = model.predict_tensors(images.tensor.to(torch.float32), torch.stack(sizes))
    batch_index = outputs.pop("batch_index")
    results = []
    for index, size in enumerate(sizes):
        rows = (batch_index == index).nonzero().flatten()
        of_image = {name: outputs[name][rows] for name in INSTANCE_FIELDS if name in outputs}
        results.append(instances_of(of_image, size.unbind(0)))
    return results
