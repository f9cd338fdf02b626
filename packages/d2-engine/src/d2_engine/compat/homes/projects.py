"""``detectron2.projects`` and ``detectron2.export``."""

from d2_engine.compat.module_map import each, home

_DEEPLAB = "d2_modeling.deeplab"
_PANOPTIC_DEEPLAB = "d2_modeling.panoptic_deeplab"
_POINT_REND = "d2_modeling.point_rend"
_COLORS = each(".shims.color_augmentation", "ColorAugSSDTransform")
_SCHEDULES = each(".shims.polynomial_schedule", "WarmupPolyLR") | each(
    "d2_engine.solver", "build_lr_scheduler"
)
_EXPORT = "d2_modeling.export"
_PATCHES = each(".shims.recorded_lengths", "patch_builtin_len")
_OPSET = {"STABLE_ONNX_OPSET_VERSION": f"{_EXPORT}:OPSET"}

MODULES = {
    "detectron2.projects": home(),
    "detectron2.projects.deeplab": home(_DEEPLAB, names=_SCHEDULES),
    "detectron2.projects.deeplab.build_solver": home(names=_SCHEDULES),
    "detectron2.projects.deeplab.config": home(_DEEPLAB),
    "detectron2.projects.deeplab.loss": home(_DEEPLAB),
    "detectron2.projects.deeplab.lr_scheduler": home(names=_SCHEDULES),
    "detectron2.projects.deeplab.resnet": home(_DEEPLAB),
    "detectron2.projects.deeplab.semantic_seg": home(_DEEPLAB),
    "detectron2.projects.panoptic_deeplab": home(_PANOPTIC_DEEPLAB),
    "detectron2.projects.point_rend": home(_POINT_REND, names=_COLORS),
    "detectron2.projects.point_rend.color_augmentation": home(names=_COLORS),
    "detectron2.projects.point_rend.config": home(_POINT_REND),
    "detectron2.projects.point_rend.mask_head": home(_POINT_REND),
    "detectron2.projects.point_rend.point_features": home(_POINT_REND),
    "detectron2.projects.point_rend.point_head": home(_POINT_REND),
    "detectron2.projects.point_rend.semantic_seg": home(_POINT_REND),
    "detectron2.export": home(_EXPORT, names=_OPSET),
    "detectron2.export.api": home(_EXPORT),
    "detectron2.export.flatten": home(_EXPORT),
    "detectron2.export.torchscript": home(_EXPORT),
    "detectron2.export.torchscript_patch": home(_EXPORT, names=_PATCHES),
}
