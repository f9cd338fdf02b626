"""The registries of everything that works on regions."""

from typing import Any

from d2_config.registry import Registry

ROI_HEADS_REGISTRY: Registry[Any] = Registry("ROI_HEADS")
"""Callables ``(cfg, input_shape: dict[str, ShapeSpec]) -> ROIHeads``."""

ROI_BOX_HEAD_REGISTRY: Registry[Any] = Registry("ROI_BOX_HEAD")
"""Callables ``(cfg, input_shape: ShapeSpec) -> nn.Module`` on pooled features of boxes."""

ROI_MASK_HEAD_REGISTRY: Registry[Any] = Registry("ROI_MASK_HEAD")
"""Callables ``(cfg, input_shape: ShapeSpec) -> nn.Module`` that predict masks."""

ROI_KEYPOINT_HEAD_REGISTRY: Registry[Any] = Registry("ROI_KEYPOINT_HEAD")
"""Callables ``(cfg, input_shape: ShapeSpec) -> nn.Module`` that predict keypoints."""
