"""``detectron2.layers``."""

from d2_engine.compat.module_map import each, home

_WRAPPERS = each(
    ".shims.layer_wrappers",
    "disable_torch_compiler",
    "empty_input_loss_func_wrapper",
    "move_device_like",
    "shapes_to_tensor",
)
_OLDER = each(
    ".shims.older_layers", "CycleBatchNormList", "LayerNorm", "deform_conv", "modulated_deform_conv"
)
_MASKS = each(".shims.masks", "pad_masks", "paste_mask_in_image_old", "scale_boxes")
_ROTATED = {"pairwise_iou_rotated": "d2_structures:pairwise_iou_rotated"}

MODULES = {
    "detectron2.layers": home("d2_modeling.layers", names=_OLDER | _WRAPPERS | _ROTATED),
    "detectron2.layers.aspp": home("d2_modeling.layers"),
    "detectron2.layers.batch_norm": home("d2_modeling.layers", names=_OLDER),
    "detectron2.layers.blocks": home("d2_modeling.layers"),
    "detectron2.layers.deform_conv": home("d2_modeling.layers", names=_OLDER),
    "detectron2.layers.losses": home("d2_modeling.layers"),
    "detectron2.layers.mask_ops": home(
        "d2_modeling.layers", names=_MASKS | each(".shims.older_layers", "BYTES_PER_FLOAT")
    ),
    "detectron2.layers.nms": home("d2_modeling.layers"),
    "detectron2.layers.roi_align": home("d2_modeling.layers"),
    "detectron2.layers.roi_align_rotated": home("d2_modeling.layers"),
    "detectron2.layers.rotated_boxes": home(names=_ROTATED),
    "detectron2.layers.shape_spec": home("d2_modeling.layers"),
    "detectron2.layers.wrappers": home("d2_modeling.layers", names=_WRAPPERS),
    "detectron2._C": home(".shims.compiled_operators"),
}
