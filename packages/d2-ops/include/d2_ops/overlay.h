// Flat colours blended into a picture that is kept as three planes of bytes.
#pragma once

#include <algorithm>
#include <cstdint>

#include "d2_ops/platform.h"

namespace d2_ops {

constexpr int kOpaque = 256;  // opacities count in 256ths

struct Picture {
  uint8_t* planes;  // 3 x height x width
  int64_t height, width;
};

struct Ink {
  uint16_t rgb[3];
  uint16_t weight;  // 0 invisible .. kOpaque
};

// A colour laid on through a map of how much of each pixel is covered, 255 being all of it, and a
// second one where about half of a pixel is covered: along the rim of a shape.
struct Layer {
  const uint8_t* coverage;  // null: all of every pixel
  int64_t x, y, height, width;
  Ink fill, edge;
};

// A stretch of one row, short enough for buffers on the stack.
constexpr int64_t kStretch = 1024;

// Coverage times opacity in 256ths; full coverage gives the opacity itself.
D2_OPS_INLINE void weigh(const uint8_t* coverage, int64_t count, int weight, uint16_t* weights) {
  if (weight == kOpaque) {
    for (int64_t i = 0; i < count; ++i) weights[i] = static_cast<uint16_t>(coverage[i] + (coverage[i] >> 7));
    return;
  }
  const auto factor = static_cast<uint16_t>((weight * 257 + 128) / 256);
  for (int64_t i = 0; i < count; ++i) weights[i] = static_cast<uint16_t>(coverage[i] * factor + 128) >> 8;
}

D2_OPS_INLINE void mix(uint8_t* pixels, int64_t count, int value, const uint16_t* weights) {
  const auto added = static_cast<uint16_t>(value);
  for (int64_t i = 0; i < count; ++i) {
    const auto kept = static_cast<uint16_t>(kOpaque - weights[i]);
    pixels[i] = static_cast<uint8_t>(static_cast<uint16_t>(pixels[i] * kept + added * weights[i] + 128) >> 8);
  }
}

// Half covered pixels count fully, from a quarter and three quarters on less and less.
D2_OPS_INLINE void rim_of(const uint8_t* coverage, int64_t count, uint8_t* rim) {
  for (int64_t i = 0; i < count; ++i) {
    const auto uncovered = static_cast<uint8_t>(~coverage[i]);
    const uint8_t nearer = coverage[i] < uncovered ? coverage[i] : uncovered;
    rim[i] = static_cast<uint8_t>((nearer < 63 ? nearer : 63) << 2);
  }
}

// `pixels` and `coverage` are the same stretch of a row; `plane` is the distance between planes.
D2_OPS_INLINE void blend_pixels(uint8_t* pixels, int64_t plane, const uint8_t* coverage, int64_t count, const Ink& fill,
                                const Ink& edge) {
  uint16_t weights[kStretch];
  if (fill.weight > 0) {
    if (coverage == nullptr)
      std::fill(weights, weights + count, fill.weight);
    else
      weigh(coverage, count, fill.weight, weights);
    for (int c = 0; c < 3; ++c) mix(pixels + c * plane, count, fill.rgb[c], weights);
  }
  if (edge.weight > 0 && coverage != nullptr) {
    uint8_t rim[kStretch];
    rim_of(coverage, count, rim);
    weigh(rim, count, edge.weight, weights);
    for (int c = 0; c < 3; ++c) mix(pixels + c * plane, count, edge.rgb[c], weights);
  }
}

D2_OPS_CLONES static void blend_stretch(uint8_t* pixels, int64_t plane, const uint8_t* coverage,
                                                         int64_t count, const Ink& fill, const Ink& edge) {
  blend_pixels(pixels, plane, coverage, count, fill, edge);
}

// The sides of a frame: too few pixels for wide registers to pay for the call.
D2_OPS_INLINE void blend_few(uint8_t* pixels, int64_t plane, int64_t count, const Ink& fill) {
  const auto kept = static_cast<uint16_t>(kOpaque - fill.weight);
  for (int c = 0; c < 3; ++c) {
    const auto added = static_cast<uint16_t>(fill.rgb[c] * fill.weight + 128);
    for (int64_t i = 0; i < count; ++i) {
      uint8_t& pixel = pixels[c * plane + i];
      pixel = static_cast<uint8_t>(static_cast<uint16_t>(pixel * kept + added) >> 8);
    }
  }
}

// The rows [first, last) of the picture as far as the layer meets them.
inline void blend_layer(const Picture& picture, const Layer& layer, int64_t first, int64_t last) {
  const int64_t left = std::max<int64_t>(layer.x, 0), right = std::min(layer.x + layer.width, picture.width);
  const int64_t top = std::max(layer.y, first), bottom = std::min(layer.y + layer.height, last);
  const int64_t plane = picture.height * picture.width;
  for (int64_t row = top; row < bottom; ++row) {
    if (layer.coverage == nullptr && right - left < 16) {
      blend_few(picture.planes + row * picture.width + left, plane, right - left, layer.fill);
      continue;
    }
    for (int64_t x = left; x < right; x += kStretch) {
      const uint8_t* coverage =
          layer.coverage ? layer.coverage + (row - layer.y) * layer.width + (x - layer.x) : nullptr;
      blend_stretch(picture.planes + row * picture.width + x, plane, coverage, std::min(kStretch, right - x),
                    layer.fill, layer.edge);
    }
  }
}

// All layers, later ones over earlier ones. Threads take whole rows, so their number changes nothing.
template <class ParallelFor>
void blend_layers(const Picture& picture, const Layer* layers, int64_t count, const ParallelFor& parallel_for) {
  int64_t pixels = 0;
  for (int64_t i = 0; i < count; ++i)
    pixels += std::min(layers[i].height, picture.height) * std::min(layers[i].width, picture.width);
  const int64_t grain = std::max<int64_t>(picture.height * 400000 / std::max<int64_t>(pixels, 1), 1);
  parallel_for(0, picture.height, grain, [&](int64_t first, int64_t last) {
    for (int64_t i = 0; i < count; ++i) blend_layer(picture, layers[i], first, last);
  });
}

}  // namespace d2_ops
