// The operators' schemas. Python registers their shape functions and derivatives.
#include "../tensor_arguments.h"

D2_OPS_LIBRARY(m) {
  m.def("nms(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor");
  m.def("batched_nms(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) -> Tensor");
  // Of all boxes: the indices by decreasing score, and whether each, in that order, is kept.
  m.def("batched_nms_of_all(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) -> (Tensor, Tensor)");
  m.def("nms_rotated(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor");
  m.def("batched_nms_rotated(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) -> Tensor");
  m.def(
      "batched_nms_rotated_of_all(Tensor boxes, Tensor scores, Tensor idxs, float iou_threshold) "
      "-> (Tensor, Tensor)");
  m.def("box_iou_rotated(Tensor boxes1, Tensor boxes2) -> Tensor");
  m.def("pairwise_iou(Tensor boxes1, Tensor boxes2) -> Tensor");
  m.def("pairwise_ioa(Tensor boxes1, Tensor boxes2) -> Tensor");
  m.def("pairwise_giou(Tensor boxes1, Tensor boxes2) -> Tensor");
  m.def(
      "match_anchors(Tensor gt_boxes, Tensor anchors, float[] thresholds, int[] labels, "
      "bool allow_low_quality_matches) -> (Tensor, Tensor, Tensor)");
  // Pooling: with a derivative; without, cheaper to call; the derivative, whose input_sizes are images and
  // channels, then height and width of every feature map.
  m.def(
      "roi_align(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
      "int sampling_ratio, bool aligned) -> Tensor");
  m.def(
      "roi_align_forward(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
      "int sampling_ratio, bool aligned) -> Tensor");
  m.def(
      "roi_align_backward(Tensor grad, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
      "int sampling_ratio, bool aligned, SymInt[] input_sizes) -> Tensor");
  m.def(
      "roi_align_rotated(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width, "
      "int sampling_ratio) -> Tensor");
  m.def(
      "roi_align_rotated_forward(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width, int sampling_ratio) -> Tensor");
  m.def(
      "roi_align_rotated_backward(Tensor grad, Tensor boxes, float spatial_scale, SymInt pooled_height, "
      "SymInt pooled_width, int sampling_ratio, SymInt[] input_sizes) -> Tensor");
  m.def(
      "multilevel_roi_align(Tensor[] features, Tensor boxes, Tensor levels, float[] spatial_scales, "
      "SymInt pooled_height, SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor");
  m.def(
      "multilevel_roi_align_forward(Tensor[] features, Tensor boxes, Tensor levels, float[] spatial_scales, "
      "SymInt pooled_height, SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor");
  m.def(
      "multilevel_roi_align_backward(Tensor grad, Tensor boxes, Tensor levels, float[] spatial_scales, "
      "SymInt pooled_height, SymInt pooled_width, int sampling_ratio, bool aligned, SymInt[] input_sizes) -> Tensor[]");
  // The gradients of maps whose channels lie beside each other, as they are.
  m.def(
      "multilevel_roi_align_backward_channels_last(Tensor grad, Tensor boxes, Tensor levels, float[] spatial_scales, "
      "SymInt pooled_height, SymInt pooled_width, int sampling_ratio, bool aligned, SymInt[] input_sizes) -> Tensor[]");
  m.def(
      "multilevel_roi_align_rotated(Tensor[] features, Tensor boxes, Tensor levels, float[] spatial_scales, "
      "SymInt pooled_height, SymInt pooled_width, int sampling_ratio) -> Tensor");
  m.def(
      "multilevel_roi_align_rotated_forward(Tensor[] features, Tensor boxes, Tensor levels, float[] spatial_scales, "
      "SymInt pooled_height, SymInt pooled_width, int sampling_ratio) -> Tensor");
  m.def(
      "multilevel_roi_align_rotated_backward(Tensor grad, Tensor boxes, Tensor levels, float[] spatial_scales, "
      "SymInt pooled_height, SymInt pooled_width, int sampling_ratio, SymInt[] input_sizes) -> Tensor[]");
  // Also gives the offset in its plane of each value, -1 for none.
  m.def(
      "roi_pool(Tensor input, Tensor boxes, float spatial_scale, SymInt pooled_height, SymInt pooled_width) "
      "-> (Tensor, Tensor)");
  m.def("roi_pool_backward(Tensor grad, Tensor argmax, Tensor boxes, SymInt[] input_sizes) -> Tensor");
  m.def(
      "deform_conv2d(Tensor input, Tensor offset, Tensor? mask, Tensor weight, int stride_h, int stride_w, "
      "int pad_h, int pad_w, int dilation_h, int dilation_w) -> Tensor");
  // Gradients of input, offset and mask (empty without a mask).
  m.def(
      "deform_conv2d_backward_sampling(Tensor grad, Tensor input, Tensor offset, Tensor? mask, Tensor weight, "
      "int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w) -> "
      "(Tensor, Tensor, Tensor)");
  m.def(
      "deform_conv2d_backward_weight(Tensor grad, Tensor input, Tensor offset, Tensor? mask, Tensor weight, "
      "int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w) -> Tensor");
  m.def("paste_masks_in_image(Tensor masks, Tensor boxes, SymInt height, SymInt width, float threshold) -> Tensor");
  m.def("sigmoid_focal_loss(Tensor inputs, Tensor targets, float alpha, float gamma) -> Tensor");
  m.def("sigmoid_focal_loss_sum(Tensor inputs, Tensor targets, float alpha, float gamma) -> Tensor");
  m.def(
      "sigmoid_focal_loss_backward(Tensor grad, Tensor inputs, Tensor targets, float alpha, float gamma) -> Tensor");
  m.def("decode_boxes(Tensor deltas, Tensor boxes, float[] weights, float scale_clamp) -> Tensor");
  m.def("decode_rotated_boxes(Tensor deltas, Tensor boxes, float[] weights, float scale_clamp) -> Tensor");
  m.def(
      "decode_and_clip_boxes(Tensor deltas, Tensor boxes, float[] weights, float scale_clamp, SymInt height, "
      "SymInt width, float min_size) -> (Tensor, Tensor)");
  m.def(
      "decode_and_clip_rotated_boxes(Tensor deltas, Tensor boxes, float[] weights, float scale_clamp, SymInt height, "
      "SymInt width, float min_size, float clip_angle_threshold) -> (Tensor, Tensor)");
}
