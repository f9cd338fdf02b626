"""Files that datasets are made of: COCO's JSON, label maps, panoptic PNGs, outlines of masks."""

from d2_data.annotation_file import read_json
from d2_data.formats.coco_annotation import coco_annotation
from d2_data.formats.coco_file import CocoFile
from d2_data.formats.label_image import read_label_map
from d2_data.formats.mask_outlines import mask_polygons
from d2_data.formats.panoptic_png import (
    decode_panoptic_png,
    encode_panoptic_png,
    panoptic_colors,
)

__all__ = [
    "CocoFile",
    "coco_annotation",
    "decode_panoptic_png",
    "encode_panoptic_png",
    "mask_polygons",
    "panoptic_colors",
    "read_json",
    "read_label_map",
]
