"""Files that some built-in datasets need beside those that are downloaded."""

from d2_data.preparation.ade20k import prepare_ade20k
from d2_data.preparation.builtin import PREPARATIONS, prepare_builtin
from d2_data.preparation.cityscapes import prepare_cityscapes
from d2_data.preparation.cocofied_lvis import prepare_cocofied_lvis
from d2_data.preparation.file_by_file import Prepared, Progress
from d2_data.preparation.panoptic_semantics import (
    prepare_panoptic_fpn_semantics,
    semantic_map_of_segments,
)

__all__ = [
    "PREPARATIONS",
    "Prepared",
    "Progress",
    "prepare_ade20k",
    "prepare_builtin",
    "prepare_cityscapes",
    "prepare_cocofied_lvis",
    "prepare_panoptic_fpn_semantics",
    "semantic_map_of_segments",
]
