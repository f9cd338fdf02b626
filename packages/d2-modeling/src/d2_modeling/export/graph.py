"""A model as a function of tensors: what every exported format holds.

Inputs, in this order:

* ``images``: (N, C, H, W) float32 or uint8, N images of any size, padded at the right and the
  bottom to one size, as a dataset mapper gives them (not normalised);
* ``image_sizes``: (N, 2) int64, height and width of each image without padding. An artefact with
  preprocessing inside has no such input: its images, uint8, are all H × W.

Outputs are flat tensors, in the order of ``OUTPUT_NAMES[kind]``. The D detections of all images
stand below each other, by image, and within an image by decreasing score:

* ``boxes``: (D, 4) float32 XYXY, or (D, 5) rotated boxes, in pixels of the input image, clipped;
* ``scores``: (D,) float32;
* ``classes``: (D,) int64;
* ``batch_index``: (D,) int64, the image of each detection; D may be 0, and images may be missing;
* ``mask_probabilities``: (D, 1, S, S) float32 in [0, 1] of the mask within its box; paste it with
  `d2_modeling.postprocessing.detector_postprocess`;
* ``keypoints``: (D, K, 3) float32 of x, y in pixels of the input image, and score;
* ``sem_seg``: (N, C, H', W') float32 logits. Without preprocessing H' × W' is H × W padded to what
  the backbone divides by; `d2_modeling.postprocessing.sem_seg_postprocess` crops and resizes them.
  With preprocessing it is H × W.

A panoptic model gives the detections with masks and ``sem_seg``; merge them with
`combine_semantic_and_instance_outputs` after both post-processing functions.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

INPUT_NAMES: tuple[str, ...] = ("images", "image_sizes")
"""Inputs of `ExportableModel`, in order; with preprocessing inside only the first."""

_DETECTIONS = ("boxes", "scores", "classes", "batch_index")

OUTPUT_NAMES: dict[str, tuple[str, ...]] = {
    "boxes": _DETECTIONS,
    "masks": (*_DETECTIONS, "mask_probabilities"),
    "keypoints": (*_DETECTIONS, "keypoints"),
    "masks_and_keypoints": (*_DETECTIONS, "mask_probabilities", "keypoints"),
    "sem_seg": ("sem_seg",),
    "panoptic": (*_DETECTIONS, "mask_probabilities", "sem_seg"),
}
"""Outputs of `ExportableModel` by kind of model, in order."""


def output_kind(model: nn.Module) -> str:
    """The key of `OUTPUT_NAMES` for what a model predicts.

    Raises:
        TypeError: if the model is none that can be exported.
    """
    if hasattr(model, "sem_seg_head") and hasattr(model, "predict_tensors"):
        return "panoptic" if hasattr(model, "roi_heads") else "sem_seg"
    if not hasattr(model, "roi_heads"):
        if hasattr(model, "head") and hasattr(model, "head_in_features"):
            return "boxes"
        raise TypeError(
            f"{type(model).__name__} cannot be exported: it is neither a dense detector nor a "
            "GeneralizedRCNN, PanopticFPN or SemanticSegmentor"
        )
    heads: Any = model.roi_heads
    masks, keypoints = getattr(heads, "mask_on", False), getattr(heads, "keypoint_on", False)
    if masks:
        return "masks_and_keypoints" if keypoints else "masks"
    return "keypoints" if keypoints else "boxes"


class ExportableModel(nn.Module):
    """A model in evaluation mode whose inputs and outputs are flat tensors.

    Args:
        model: the model; it is put into evaluation mode.

    Attributes:
        kind: key of `OUTPUT_NAMES`.
        input_names: names of the inputs, in order.
        output_names: names of the outputs, in order.

    Raises:
        TypeError: see `output_kind`.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.kind = output_kind(model)
        self.input_names = INPUT_NAMES
        self.output_names = OUTPUT_NAMES[self.kind]
        self.model: Any = model.eval()

    def forward(self, images: Tensor, image_sizes: Tensor) -> tuple[Tensor, ...]:
        """See the module's description.

        Args:
            images: (N, C, H, W).
            image_sizes: (N, 2) int64.
        """
        outputs: dict[str, Tensor] = self.model.predict_tensors(images, image_sizes)
        return tuple(outputs[name] for name in self.output_names)

    def expected(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What a file of this graph has to give: see `forward`."""
        outputs: tuple[Tensor, ...] = self(*inputs)
        return outputs
