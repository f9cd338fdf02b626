"""``detectron2.projects`` and ``detectron2.export``."""

from d2_engine.compat.module_map import each, home

_DEEPLAB = "d2_modeling.deeplab"
_PANOPTIC_DEEPLAB = "d2_modeling.panoptic_deeplab"
_POINT_REND = "d2_modeling.point_rend"
_COLORS = each(".shims.color_augmentation", "ColorAugSSDTransform")
_SCHEDULES = each(".shims.polynomial_schedule", "WarmupPolyLR") | each(
    "d2_engine.solver", "build_lr_scheduler"
)

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
    "detectron2.export": home(
        names=each(".shims.caffe2_export", "Caffe2Model", "Caffe2Tracer", "add_export_config"),
        absent=dict.fromkeys(
            (
                *("TracingAdapter", "dump_torchscript_IR", "scripting_with_instances"),
                *("STABLE_ONNX_OPSET_VERSION", "flatten", "torchscript", "torchscript_patch"),
            ),
            "d2 exports no models yet; torch.export and torch.onnx take the parts of a model that "
            "have plain tensors as inputs and outputs, such as its backbone",
        ),
    ),
}
