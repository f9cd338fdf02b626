"""Instances that know their image, as a picture."""

from collections.abc import Mapping
from typing import Any

from .array_input import as_array
from .captions import instance_captions
from .drawing import Visualizer
from .vis_image import VisImage

__all__ = ["draw_instances"]


def draw_instances(instances: Any, image_rgb: Any, metadata: Any) -> VisImage:
    """Draw predictions, ground truth or proposals over their image.

    Args:
        instances: `Instances`. Drawn are the documented fields of predictions where there are
            any, else those of ground truth, else ``proposal_boxes``.
        image_rgb: (H, W, 3) image in RGB order, range 0..255.
        metadata: as for `Visualizer`.
    """
    visualizer = Visualizer(as_array(image_rgb), metadata)
    fields: Mapping[str, Any] = instances.get_fields()
    if any(name.startswith("pred_") for name in fields):
        return visualizer.draw_instance_predictions(instances)
    classes = fields.get("gt_classes")
    names = getattr(visualizer.metadata, "thing_classes", None)
    return visualizer.overlay_instances(
        boxes=fields.get("gt_boxes", fields.get("proposal_boxes")),
        masks=fields.get("gt_masks"),
        keypoints=fields.get("gt_keypoints"),
        labels=None
        if classes is None
        else instance_captions(as_array(classes).tolist(), None, names, fields.get("gt_iscrowd")),
    )
