"""Drawing what a model found, whichever kind of output it has."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from d2_data import Metadata
from d2_structures.visualizer import ColorMode, VideoVisualizer, VisImage, Visualizer

Draw = Callable[[npt.NDArray[np.uint8], Any], VisImage]
"""Makes a picture of an (H, W, 3) RGB image and the outputs of a model."""


def kept(outputs: Any, confidence: float) -> dict[str, Any]:
    """Return a model's outputs with the instances that are sure enough, on the CPU.

    Args:
        outputs: of one image.
        confidence: the lowest score that is kept.

    Raises:
        ValueError: if there is nothing in them that can be drawn.
    """
    if not {"instances", "panoptic_seg", "sem_seg"} & set(outputs):
        raise ValueError(
            "instances, panoptic_seg and sem_seg can be drawn, but this model gives "
            f"{', '.join(outputs)}: use DefaultPredictor in Python"
        )
    result = dict(outputs)
    if "instances" in outputs:
        instances = outputs["instances"].to("cpu")
        result["instances"] = instances[instances.scores >= confidence]
    return result


def told(outputs: Any) -> str:
    """Return how much was found, in words."""
    if "panoptic_seg" in outputs:
        segments = outputs["panoptic_seg"][1]
        return _counted(len(segments), "segment") if segments is not None else "segments"
    if "instances" in outputs:
        return _counted(len(outputs["instances"]), "object")
    return _counted(len(outputs["sem_seg"].argmax(dim=0).unique()), "class", "classes")


def picture_drawing(metadata: Metadata, scale: float) -> Draw:
    """Return what draws single pictures.

    Args:
        metadata: names and colours of the classes.
        scale: size of the drawn picture relative to the image.
    """

    def draw(image_rgb: npt.NDArray[np.uint8], outputs: Any) -> VisImage:
        visualizer = Visualizer(image_rgb, metadata, scale)
        if "panoptic_seg" not in outputs and "instances" in outputs:
            return visualizer.draw_instance_predictions(outputs["instances"])
        return _drawn_map(visualizer, outputs)

    return draw


def video_drawing(metadata: Metadata) -> Draw:
    """Return what draws the frames of a video, each class in one colour from frame to frame."""
    following = VideoVisualizer(metadata, ColorMode.SEGMENTATION)

    def draw(frame_rgb: npt.NDArray[np.uint8], outputs: Any) -> VisImage:
        if "panoptic_seg" not in outputs and "instances" in outputs:
            return following.draw_instance_predictions(frame_rgb, outputs["instances"])
        return _drawn_map(Visualizer(frame_rgb, metadata), outputs)

    return draw


def _drawn_map(visualizer: Visualizer, outputs: Any) -> VisImage:
    if "panoptic_seg" in outputs:
        ids, segments = outputs["panoptic_seg"]
        return visualizer.draw_panoptic_seg_predictions(ids.to("cpu"), segments)
    return visualizer.draw_sem_seg(outputs["sem_seg"].argmax(dim=0).to("cpu"))


def _counted(number: int, one: str, several: str = "") -> str:
    return f"{number} {one if number == 1 else several or one + 's'}"
