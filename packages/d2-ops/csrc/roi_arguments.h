// What the operators that pool regions take, and what they ask of it.
#pragma once

#include <optional>
#include <type_traits>
#include <vector>

#include "d2_ops/feature_levels.h"
#include "d2_ops/roi_geometry.h"
#include "roi_checks.h"
#include "tensor_arguments.h"

namespace d2_ops {

// The regions to pool, in one feature map or in several.
struct Regions {
  const Tensor& boxes;
  int64_t columns;                  // of boxes: an image index and a box
  std::vector<double> scales;       // of each feature map
  const Tensor* levels = nullptr;   // the feature map of each box; null: all in the first
};

inline void check_regions(const Regions& regions, const Tensor& beside, const char* op) {
  const auto on_device = [&](const Tensor& t) { return t.get_device_index() == beside.get_device_index(); };
  require_matrix(regions.boxes, regions.columns, op, "boxes");
  require_floating(regions.boxes, op, "boxes");
  require(on_device(regions.boxes), op, ": boxes must be on the device of the features");
  check_level_count(static_cast<int64_t>(regions.scales.size()), op);
  if (regions.levels == nullptr) return;
  require(regions.levels->scalar_type() == ScalarType::Long, op, ": levels must be int64");
  require(regions.levels->dim() == 1 && regions.levels->size(0) == regions.boxes.size(0), op,
          ": levels must have shape (N,), one per box");
  require(on_device(*regions.levels), op, ": levels must be on the device of boxes");
}

inline void check_pooling(const std::vector<Tensor>& features, const Regions& regions, int64_t pooled_height,
                          int64_t pooled_width, const char* op) {
  require(features.size() == regions.scales.size(), op, ": ", features.size(), " feature maps but ",
          regions.scales.size(), " scales");
  require(!features.empty(), op, ": no feature maps");
  for (const Tensor& map : features) {
    require(map.dim() == 4, op, ": features must have 4 dimensions, got ", map.dim());
    require_floating(map, op, "features");
    require(map.scalar_type() == features[0].scalar_type() &&
                map.get_device_index() == features[0].get_device_index() && map.size(0) == features[0].size(0) &&
                map.size(1) == features[0].size(1),
            op, ": feature maps differ in images, channels, type or device");
    check_plane(map.size(2), map.size(3), op);
  }
  check_regions(regions, features[0], op);
  check_output_size(pooled_height, pooled_width, op);
}

// sizes: images and channels, then height and width of every feature map.
inline void check_unpooling(const Tensor& grad, const Regions& regions, int64_t pooled_height, int64_t pooled_width,
                            const std::vector<int64_t>& sizes, const char* op) {
  require(grad.dim() == 4, op, ": grad must have 4 dimensions, got ", grad.dim());
  require_floating(grad, op, "grad");
  check_regions(regions, grad, op);
  check_output_size(pooled_height, pooled_width, op);
  require(sizes.size() == 2 + 2 * regions.scales.size(), op, ": input_sizes must be images, channels and ",
          regions.scales.size(), " heights and widths, got ", sizes.size(), " numbers");
  for (const int64_t size : sizes) require(size >= 0, op, ": negative input size ", size);
  for (size_t i = 2; i < sizes.size(); i += 2) check_plane(sizes[i], sizes[i + 1], op);
  require(grad.size(0) == regions.boxes.size(0) && grad.size(1) == sizes[1] && grad.size(2) == pooled_height &&
              grad.size(3) == pooled_width,
          op, ": grad does not have the shape of the output");
}

// Contiguous, in this type.
inline std::vector<Tensor> contiguous_as(const std::vector<Tensor>& tensors, ScalarType type) {
  std::vector<Tensor> converted;
  for (const Tensor& tensor : tensors) converted.push_back(contiguous_as(tensor, type));
  return converted;
}

inline std::optional<Tensor> contiguous_levels(const Regions& regions) {
  if (regions.levels == nullptr) return std::nullopt;
  return contiguous_as(*regions.levels, ScalarType::Long);
}

// Zeros of these sizes, as check_unpooling takes them.
inline std::vector<Tensor> zero_maps(const Tensor& like, const std::vector<int64_t>& sizes, ScalarType type) {
  std::vector<Tensor> maps;
  for (size_t i = 2; i < sizes.size(); i += 2)
    maps.push_back(torch::stable::new_zeros(like, {sizes[0], sizes[1], sizes[i], sizes[i + 1]}, type));
  return maps;
}

// Contiguous feature maps (and levels) as the kernels take them. T is const where they are only read.
template <class T>
FeatureLevels<T> feature_levels(const std::vector<Tensor>& maps, const std::vector<double>& scales,
                                const std::optional<Tensor>& levels) {
  FeatureLevels<T> result{};
  result.images = maps[0].size(0);
  result.channels = maps[0].size(1);
  result.count = static_cast<int64_t>(maps.size());
  result.of_roi = levels ? data<int64_t>(*levels) : nullptr;
  for (size_t i = 0; i < maps.size(); ++i) {
    FeatureLevel<T>& level = result.level[i];
    level.height = maps[i].size(2);
    level.width = maps[i].size(3);
    level.spatial_scale = scales[i];
    if constexpr (std::is_const_v<T>)
      level.data = data<std::remove_const_t<T>>(maps[i]);
    else
      level.data = mutable_data<T>(maps[i]);
  }
  return result;
}

}  // namespace d2_ops
