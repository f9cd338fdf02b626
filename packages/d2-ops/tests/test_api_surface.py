import inspect

import d2_ops


def test_public_names_are_exactly_these() -> None:
    assert sorted(d2_ops.__all__) == [
        "DeformConv",
        "ModulatedDeformConv",
        "ROIAlign",
        "ROIAlignRotated",
        "ROIPool",
        "assign_to_pyramid",
        "batched_nms",
        "batched_nms_of_all",
        "batched_nms_rotated",
        "batched_nms_rotated_of_all",
        "box_iou_rotated",
        "build_info",
        "ciou_loss",
        "cmake_dir",
        "decode_and_clip_boxes",
        "decode_and_clip_rotated_boxes",
        "decode_boxes",
        "decode_rotated_boxes",
        "deform_conv2d",
        "diou_loss",
        "giou_loss",
        "host",
        "load_library",
        "match_anchors",
        "memory",
        "multi_scale_deformable_attention",
        "multilevel_roi_align",
        "multilevel_roi_align_rotated",
        "nms",
        "nms_rotated",
        "onnx_library",
        "overlay",
        "pairwise_giou",
        "pairwise_ioa",
        "pairwise_iou",
        "paste_masks_in_image",
        "pyramid_levels",
        "roi_align",
        "roi_align_rotated",
        "roi_pool",
        "sigmoid_focal_loss",
        "smooth_l1_loss",
    ]


def test_every_public_name_resolves_and_is_listed() -> None:
    for name in d2_ops.__all__:
        assert getattr(d2_ops, name) is not None
        assert name in dir(d2_ops)


def test_documented_parameters_are_kept() -> None:
    def parameters(callable_: object) -> list[str]:
        return list(inspect.signature(callable_).parameters)  # type: ignore[arg-type]  # all are callable

    assert parameters(d2_ops.nms) == ["boxes", "scores", "iou_threshold"]
    assert parameters(d2_ops.batched_nms) == ["boxes", "scores", "idxs", "iou_threshold"]
    assert parameters(d2_ops.batched_nms_of_all) == parameters(d2_ops.batched_nms)
    assert parameters(d2_ops.nms_rotated) == parameters(d2_ops.nms)
    assert parameters(d2_ops.batched_nms_rotated) == parameters(d2_ops.batched_nms)
    assert parameters(d2_ops.box_iou_rotated) == ["boxes1", "boxes2"]
    assert parameters(d2_ops.pairwise_iou) == ["boxes1", "boxes2"]
    assert parameters(d2_ops.pairwise_ioa) == ["boxes1", "boxes2"]
    assert parameters(d2_ops.pairwise_giou) == ["boxes1", "boxes2"]
    matching = ["thresholds", "labels", "allow_low_quality_matches"]
    assert parameters(d2_ops.match_anchors) == ["gt_boxes", "anchors", *matching]
    coding = ["weights", "scale_clamp"]
    assert parameters(d2_ops.decode_boxes) == ["deltas", "boxes", *coding]
    assert parameters(d2_ops.decode_rotated_boxes) == ["deltas", "boxes", *coding]
    clipping = ["deltas", "boxes", "image_size", *coding, "min_size"]
    assert parameters(d2_ops.decode_and_clip_boxes) == clipping
    clipping += ["clip_angle_threshold"]
    assert parameters(d2_ops.decode_and_clip_rotated_boxes) == clipping
    for loss in (d2_ops.giou_loss, d2_ops.diou_loss, d2_ops.ciou_loss):
        assert parameters(loss) == ["boxes1", "boxes2", "reduction", "eps"]
    assert parameters(d2_ops.smooth_l1_loss) == ["input", "target", "beta", "reduction"]
    focal = ["inputs", "targets", "alpha", "gamma", "reduction"]
    assert parameters(d2_ops.sigmoid_focal_loss) == focal
    assert parameters(d2_ops.paste_masks_in_image) == ["masks", "boxes", "image_shape", "threshold"]
    settings = ["output_size", "spatial_scale", "sampling_ratio", "aligned"]
    assert parameters(d2_ops.roi_align) == ["input", "boxes", *settings]
    assert parameters(d2_ops.ROIAlign) == settings
    assert parameters(d2_ops.roi_align_rotated) == ["input", "boxes", *settings[:3]]
    assert parameters(d2_ops.ROIAlignRotated) == settings[:3]
    steps = ["stride", "padding", "dilation"]
    assert parameters(d2_ops.deform_conv2d) == ["input", "offset", "weight", "bias", *steps, "mask"]
    layer = ["in_channels", "out_channels", "kernel_size", *steps, "groups", "deformable_groups"]
    layer += ["bias", "norm", "activation"]
    assert parameters(d2_ops.DeformConv) == parameters(d2_ops.ModulatedDeformConv) == layer
    assert parameters(d2_ops.memory.retry_if_cuda_oom) == ["func"]
