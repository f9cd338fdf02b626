"""Shapes: generated photographs of nothing, with every kind of label and no download."""

from d2_data.datasets.shapes.files import ShapesDataset, generate_shapes
from d2_data.datasets.shapes.registration import register_builtin_shapes, register_shapes

__all__ = ["ShapesDataset", "generate_shapes", "register_builtin_shapes", "register_shapes"]
