"""``detectron2.structures``."""

from d2_engine.compat.module_map import each, home

MODULES = {
    "detectron2.structures": home("d2_structures"),
    "detectron2.structures.boxes": home("d2_structures"),
    "detectron2.structures.image_list": home("d2_structures"),
    "detectron2.structures.instances": home("d2_structures"),
    "detectron2.structures.keypoints": home(
        "d2_structures", names=each(".shims.ground_truth_forms", "_keypoints_to_heatmap")
    ),
    "detectron2.structures.masks": home(
        "d2_structures",
        names=each(".shims.masks", "polygon_area")
        | each(".shims.ground_truth_forms", "rasterize_polygons_within_box"),
    ),
    # One function here tells the kinds of boxes apart.
    "detectron2.structures.rotated_boxes": home("d2_structures"),
}
