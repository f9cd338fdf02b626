"""What annotations may look like when they enter, and the one form that they get there.

Readers of files, the mapper and the evaluators read annotations through the same pass, so that
each finds the same objects in the same data.
"""

from d2_data.annotations.coco_content import (
    CocoContent,
    in_order_of_ids,
    name_of_file,
    normalized_coco,
    read_coco,
)
from d2_data.annotations.completeness import (
    count_lacking,
    has_any,
    is_crowd,
    with_keypoints,
)
from d2_data.annotations.instance import normalized_annotation
from d2_data.annotations.records import (
    annotation_place,
    image_size_of,
    normalized_annotations,
    normalized_record,
    plain_id,
)
from d2_data.annotations.segmentations import (
    normalized_segmentation,
    segmentation_area,
    segmentation_box,
)

__all__ = [
    "CocoContent",
    "annotation_place",
    "count_lacking",
    "has_any",
    "image_size_of",
    "in_order_of_ids",
    "is_crowd",
    "name_of_file",
    "normalized_annotation",
    "normalized_annotations",
    "normalized_coco",
    "normalized_record",
    "normalized_segmentation",
    "plain_id",
    "read_coco",
    "segmentation_area",
    "segmentation_box",
    "with_keypoints",
]
