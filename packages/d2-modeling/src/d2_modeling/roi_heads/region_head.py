"""What the heads of regions give, and the base of those that add something to known regions."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from d2_structures import Instances

from ..batched_selection import Detections

Losses = dict[str, Tensor]

RegionOutput = Losses | list[Instances]
"""Losses by name in training, otherwise the instances of each image."""


class HeadOutputs(NamedTuple):
    """What ROI heads predict for the regions of all images."""

    detections: Detections
    mask_probabilities: Tensor | None  # (D, 1, S, S)
    keypoints: Tensor | None  # (D, K, 3) of x, y and score


class RegionHead(nn.Module, metaclass=ABCMeta):
    """Losses of labelled regions, or one more field of detected ones.

    One that also has ``predict_tensors(x, detections)`` can be exported.
    """

    def forward(self, x: Any, instances: list[Instances]) -> RegionOutput:
        """`losses` in training, `inference` otherwise."""
        return self.losses(x, instances) if self.training else self.inference(x, instances)

    @abstractmethod
    def losses(self, x: Any, instances: list[Instances]) -> Losses:
        """The losses by name.

        Args:
            x: what the ROI heads give: region features, or feature maps by name.
            instances: for each image the regions with ``proposal_boxes`` and ground truth.
        """

    @abstractmethod
    def inference(self, x: Any, instances: list[Instances]) -> list[Instances]:
        """The instances with one more field.

        Args:
            x: see `losses`.
            instances: for each image the regions with ``pred_boxes`` and ``pred_classes``.
        """


def as_losses(output: RegionOutput, source: str) -> Losses:
    """What has to be losses.

    Args:
        output: what a method gave that subclasses may overwrite.
        source: its name.

    Raises:
        TypeError: if it gave something else.
    """
    if not isinstance(output, Mapping):
        raise TypeError(
            f"{source} has to return a dict of losses in training, got {type(output).__name__}"
        )
    return output


def as_instances(output: RegionOutput, source: str) -> list[Instances]:
    """What has to be the instances of each image, see `as_losses`."""
    if isinstance(output, Mapping):
        raise TypeError(
            f"{source} has to return a list of Instances in evaluation, got a dict of "
            f"{sorted(output)}"
        )
    return output
