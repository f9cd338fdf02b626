#include "d2_ops/roi_align_rotated.h"

#include <vector>

#include "../roi_checks.h"
#include "kernel.h"
#include "operators.h"

namespace d2_ops {
namespace {

struct RoiAlignRotated {
  static constexpr const char* kName = "RoiAlignRotated";
  static constexpr Slot kInputs[] = {
      {ort::kFloat, ort::kRequired}, {ort::kInt64, ort::kRequired}, {ort::kFloat, ort::kVariadic}};
  static constexpr int kOutput = ort::kFloat;
  static constexpr size_t kFirstMap = 2;

  std::vector<double> scales;
  RoiAlignOptions options{};

  explicit RoiAlignRotated(const Attributes& attributes) : scales(attributes.numbers("spatial_scales")) {
    const std::vector<int64_t> size = attributes.integers("output_size", 2);
    options = {size[0], size[1], attributes.integer("sampling_ratio"), true};
    check_output_size(options.pooled_height, options.pooled_width, kName);
    check_sampling_ratio(options.sampling_ratio, kName);
    check_level_count(static_cast<int64_t>(scales.size()), kName);
  }

  void compute(Context& context) const {
    const Input boxes = context.input(0), levels = context.input(1);
    require_matrix(boxes, kRotatedRoiRow, kName, "boxes");
    const int64_t count = boxes.size(0);
    require(levels.dim() == 1 && levels.size(0) == count, kName, ": levels must have shape (N,), one per box");
    const FeatureLevels<const float> maps = feature_levels(context, levels.as<int64_t>());
    require_images_and_levels(maps, boxes.as<float>(), kRotatedRoiRow, count, kName);
    float* out = context.output<float>({count, maps.channels, options.pooled_height, options.pooled_width});
    roi_align_rotated(maps, boxes.as<float>(), count, options, out, context.parallel_for());
  }

  FeatureLevels<const float> feature_levels(const Context& context, const int64_t* of_roi) const {
    require(context.input_count() == kFirstMap + scales.size(), kName, ": ", context.input_count() - kFirstMap,
            " feature maps but ", scales.size(), " scales");
    FeatureLevels<const float> maps{};
    maps.count = static_cast<int64_t>(scales.size());
    maps.of_roi = of_roi;
    for (size_t i = 0; i < scales.size(); ++i) {
      const Input map = context.input(kFirstMap + i);
      require(map.dim() == 4, kName, ": features must have 4 dimensions, got ", map.dim());
      if (i == 0) maps.images = map.size(0), maps.channels = map.size(1);
      require(map.size(0) == maps.images && map.size(1) == maps.channels, kName,
              ": feature maps differ in images or channels");
      check_plane(map.size(2), map.size(3), kName);
      FeatureLevel<const float>& level = maps.level[i];
      level.height = map.size(2), level.width = map.size(3);
      level.spatial_scale = scales[i];
      level.data = map.as<float>();
    }
    return maps;
  }
};

}  // namespace

const ort::OrtCustomOp* roi_align_rotated_operator() { return operator_of<RoiAlignRotated>(); }

}  // namespace d2_ops
