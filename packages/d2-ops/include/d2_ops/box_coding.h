// How boxes are encoded as offsets from other boxes, and what becomes of them in an image.
//
// Deltas are (dx, dy, dw, dh) and, of rotated boxes, da: the shift of the centre over the size,
// the logarithm of the size ratio, and the turn in radians, each times a weight. Operations and
// their order are those of the plain formulas.
// Source: Girshick et al., "Rich feature hierarchies", 2014, appendix C.
#pragma once

#include <cmath>
#include <cstdint>

#include "elementary.h"
#include "platform.h"

namespace d2_ops {

template <class T>
struct CodingOptions {
  T weights[5];
  T scale_clamp;  // of dw and dh
};

template <class T>
struct ImageBounds {
  T height, width;
  T min_size;    // sides have to be longer
  T most_angle;  // degrees; rotated boxes turned further are not clipped
};

template <class T>
D2_OPS_HOST_DEVICE T within(T x, T most) {
  const T above = x < T(0) ? T(0) : x;
  return above > most ? most : above;
}

// 0, or NaN for what is not finite.
template <class T>
D2_OPS_HOST_DEVICE T residue(T x) {
  return x - x;
}

// The factor on a side.
template <class T>
D2_OPS_HOST_DEVICE T side_ratio(T delta, T weight, T scale_clamp) {
  const T scaled = delta / weight;
  return exponential(scaled > scale_clamp ? scale_clamp : scaled);
}

// x1, y1, x2, y2.
struct UprightCoding {
  static constexpr int64_t kRow = 4;

  template <class T>
  static D2_OPS_HOST_DEVICE void decode(const T* delta, const T* box, const CodingOptions<T>& options, T* out) {
    const T width = box[2] - box[0], height = box[3] - box[1];
    const T x = delta[0] / options.weights[0] * width + (box[0] + T(0.5) * width);
    const T y = delta[1] / options.weights[1] * height + (box[1] + T(0.5) * height);
    const T half_width = T(0.5) * side_ratio(delta[2], options.weights[2], options.scale_clamp) * width;
    const T half_height = T(0.5) * side_ratio(delta[3], options.weights[3], options.scale_clamp) * height;
    out[0] = x - half_width;
    out[1] = y - half_height;
    out[2] = x + half_width;
    out[3] = y + half_height;
  }

  // Whether the box was finite and still has sides.
  template <class T>
  static D2_OPS_HOST_DEVICE bool clip(const ImageBounds<T>& image, T* box) {
    const bool finite = residue(box[0]) + residue(box[1]) + residue(box[2]) + residue(box[3]) == T(0);
    box[0] = within(box[0], image.width);
    box[1] = within(box[1], image.height);
    box[2] = within(box[2], image.width);
    box[3] = within(box[3], image.height);
    return finite & (box[2] - box[0] > image.min_size) & (box[3] - box[1] > image.min_size);
  }
};

// Degrees in [-180, 180).
template <class T>
D2_OPS_HOST_DEVICE T normal_angle(T degrees) {
  const T turned = static_cast<T>(fmod(degrees + T(180), T(360)));
  return (turned < T(0) ? turned + T(360) : turned) - T(180);
}

// Centre x, centre y, width, height, degrees counter-clockwise.
struct RotatedCoding {
  static constexpr int64_t kRow = 5;

  template <class T>
  static D2_OPS_HOST_DEVICE void decode(const T* delta, const T* box, const CodingOptions<T>& options, T* out) {
    constexpr T kDegrees = static_cast<T>(57.29577951308232);
    const T width = box[2], height = box[3];
    out[0] = delta[0] / options.weights[0] * width + box[0];
    out[1] = delta[1] / options.weights[1] * height + box[1];
    out[2] = side_ratio(delta[2], options.weights[2], options.scale_clamp) * width;
    out[3] = side_ratio(delta[3], options.weights[3], options.scale_clamp) * height;
    out[4] = normal_angle(delta[4] / options.weights[4] * kDegrees + box[4]);
  }

  // Clips nearly upright boxes alone: what is left of others is no rectangle.
  template <class T>
  static D2_OPS_HOST_DEVICE bool clip(const ImageBounds<T>& image, T* box) {
    T residues = 0;
    for (int k = 0; k < kRow; ++k) residues += residue(box[k]);
    const bool finite = residues == T(0);
    if (finite && (box[4] < T(0) ? -box[4] : box[4]) <= image.most_angle) {
      clip_axis(image.width, box, box + 2);
      clip_axis(image.height, box + 1, box + 3);
    }
    return finite && box[2] > image.min_size && box[3] > image.min_size;
  }

 private:
  template <class T>
  static D2_OPS_HOST_DEVICE void clip_axis(T most, T* centre, T* side) {
    const T low = within(*centre - *side / T(2), most), high = within(*centre + *side / T(2), most);
    *centre = (low + high) / T(2);
    *side = high - low < *side ? high - low : *side;  // rounding must not make it longer
  }
};

}  // namespace d2_ops
