"""The part of a scripted detector that is scripted: lists of images in, lists of `Instances` out.

TorchScript compiles this module: annotations are objects, not strings.
"""

import torch
from torch import Tensor, nn

from d2_structures import Boxes, Instances, RotatedBoxes

__all__ = ["ScriptedDetector"]


class ScriptedDetector(nn.Module):
    """Batches images, calls the network, and sorts its detections by image.

    Args:
        network: traced `ExportableModel`.
        output_names: what it gives, in order.
        num_channels: of images.
        is_rotated: whether boxes are rotated.
    """

    __constants__ = (
        "has_keypoints",
        "has_masks",
        "is_rotated",
        "keypoints_at",
        "masks_at",
        "num_channels",
    )

    def __init__(
        self, network: nn.Module, output_names: list[str], num_channels: int, is_rotated: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.num_channels = num_channels
        self.is_rotated = is_rotated
        self.has_masks = "mask_probabilities" in output_names
        self.has_keypoints = "keypoints" in output_names
        self.masks_at = output_names.index("mask_probabilities") if self.has_masks else 0
        self.keypoints_at = output_names.index("keypoints") if self.has_keypoints else 0

    def forward(self, batched_inputs: list[dict[str, Tensor]]) -> list[Instances]:
        """See `inference`."""
        return self.inference(batched_inputs, False)

    @torch.jit.export
    def inference(
        self, batched_inputs: list[dict[str, Tensor]], do_postprocess: bool = False
    ) -> list[Instances]:
        """Detect.

        Args:
            batched_inputs: for each image a dict with ``image``.
            do_postprocess: must be False.

        Returns:
            For each image its detections, in the resolution of the network's input.
        """
        if do_postprocess:
            raise ValueError(
                "a scripted model gives detections as the network sees images: call inference "
                "with do_postprocess=False and detector_postprocess afterwards"
            )
        images, image_sizes = self._batched(batched_inputs)
        outputs = self.network(images, image_sizes)
        results: list[Instances] = []
        for index in range(images.shape[0]):
            rows = torch.nonzero(outputs[3] == index).flatten()
            result = Instances((int(image_sizes[index, 0]), int(image_sizes[index, 1])))
            if self.is_rotated:
                result.pred_boxes = RotatedBoxes(outputs[0][rows])
            else:
                result.pred_boxes = Boxes(outputs[0][rows])
            result.scores = outputs[1][rows]
            result.pred_classes = outputs[2][rows]
            if self.has_masks:
                result.pred_masks = outputs[self.masks_at][rows]
            if self.has_keypoints:
                result.pred_keypoints = outputs[self.keypoints_at][rows]
            results.append(result)
        return results

    def _batched(self, batched_inputs: list[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
        """Pad the images to one size, and say what sizes they have without."""
        if len(batched_inputs) == 0:
            raise ValueError("a batch needs at least one image")
        height, width = 0, 0
        for i in range(len(batched_inputs)):
            image = batched_inputs[i]["image"]
            if image.dim() != 3 or image.shape[0] != self.num_channels:
                raise ValueError(
                    f"input {i} wants a tensor image of shape ({self.num_channels}, H, W), got "
                    f"{image.shape}"
                )
            height, width = max(height, image.shape[1]), max(width, image.shape[2])
        images: list[Tensor] = []
        sizes: list[list[int]] = []
        for entry in batched_inputs:
            image = entry["image"].to(torch.float32)
            padding = [0, width - image.shape[2], 0, height - image.shape[1]]
            images.append(torch.nn.functional.pad(image, padding))
            sizes.append([image.shape[1], image.shape[2]])
        return torch.stack(images), torch.tensor(sizes, device=images[0].device)
