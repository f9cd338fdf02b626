"""A detector small enough to be exported within a second."""

from typing import Any

import torch
from torch import Tensor

import d2_ops
from d2_modeling.image_input import ImageInput
from d2_modeling.postprocessing import detector_postprocess
from d2_structures import Boxes, Instances


class BrightColumns(ImageInput):
    """Finds the columns of pixels that are bright enough: a detector without weights."""

    head: Any = None
    head_in_features = ("p3",)

    def __init__(self) -> None:
        super().__init__([100.0, 100.0, 100.0], [50.0, 50.0, 50.0])
        self.eval()

    def predict_tensors(self, images: Tensor, image_sizes: Tensor) -> dict[str, Tensor]:
        scores = ((images.to(torch.float32) - self.pixel_mean) / self.pixel_std).amax(dim=(1, 2))
        batch_index, x = (scores > 0.5).nonzero().unbind(1)
        sizes = image_sizes[batch_index].to(torch.float32)
        left = x.to(torch.float32)
        boxes = torch.stack([left, torch.zeros_like(left), left + 1, sizes[:, 0]], dim=1)
        return {
            "boxes": boxes,
            "scores": scores[batch_index, x],
            "classes": x % 2,
            "batch_index": batch_index,
        }

    def forward(self, batched_inputs: Any) -> list[dict[str, Instances]]:
        self.normalized_images(batched_inputs)
        results = []
        for entry in batched_inputs:
            image = entry["image"]
            size = (image.shape[1], image.shape[2])
            found = self.predict_tensors(image[None], torch.tensor([size]))
            instances = Instances(
                size,
                pred_boxes=Boxes(found["boxes"]),
                scores=found["scores"],
                pred_classes=found["classes"],
            )
            wanted = entry.get("height", size[0]), entry.get("width", size[1])
            results.append({"instances": detector_postprocess(instances, *wanted)})
        return results


class TurnedColumns(BrightColumns):
    """Finds them by rotated boxes three columns wide, of which those that overlap are dropped."""

    def predict_tensors(self, images: Tensor, image_sizes: Tensor) -> dict[str, Tensor]:
        found = super().predict_tensors(images, image_sizes)
        left, _, right, height = found["boxes"].unbind(1)
        centre_x, centre_y, width = (left + right) / 2, height / 2, right - left + 2
        boxes = torch.stack([centre_x, centre_y, height, width, 90 + torch.zeros_like(left)], dim=1)
        kept = d2_ops.batched_nms_rotated(boxes, found["scores"], found["batch_index"], 0.1)
        return {name: part[kept] for name, part in (found | {"boxes": boxes}).items()}
