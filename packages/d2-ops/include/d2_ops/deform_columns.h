// Deformable convolution on the CPU: sampling an image into columns, and the derivative of that.
//
// A convolution is a matrix product of its weights with columns: for every output pixel the samples
// under the kernel. Images are read with channels last, so that one tap's samples of all channels
// are four weighted rows of memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "deform_tap.h"

namespace d2_ops {

// Channels with one group and one deformable group.
struct ChannelRun {
  int64_t first, count;
  int64_t group, first_in_group;
  int64_t deformable_group;
};

// All channels in runs of at most `longest`.
inline std::vector<ChannelRun> channel_runs(const DeformGeometry& g, int64_t longest) {
  std::vector<ChannelRun> runs;
  for (int64_t c = 0; c < g.channels; c += runs.back().count) {
    const int64_t in_group = c % g.group_channels(), in_deformable = c % g.deformable_channels();
    const int64_t count =
        std::min({longest, g.group_channels() - in_group, g.deformable_channels() - in_deformable});
    runs.push_back({c, count, c / g.group_channels(), in_group, c / g.deformable_channels()});
  }
  return runs;
}

namespace deform_detail {

constexpr int64_t kEveryChannel = int64_t(1) << 62;
constexpr int64_t kScatteredChannels = 32;  // one thread's share of the image's gradient stays in its cache

// Where output pixels [first, end) sample: taps (pixel, kernel tap, deformable group).
template <class T>
void find_taps(const DeformGeometry& g, const T* offset, const T* mask, int64_t first, int64_t end,
               DeformTap<T>* taps) {
  for (int64_t pixel = first; pixel < end; ++pixel)
    for (int64_t k = 0; k < g.kernel_taps(); ++k)
      for (int64_t d = 0; d < g.deformable_groups; ++d) *taps++ = deform_tap(g, offset, mask, pixel, k, d);
}

// A row of columns: (group, pixel, kernel tap, channel in group).
D2_OPS_INLINE int64_t column_of(const DeformGeometry& g, const ChannelRun& run, int64_t pixels, int64_t pixel,
                                int64_t k) {
  return ((run.group * pixels + pixel) * g.kernel_taps() + k) * g.group_channels() + run.first_in_group;
}

// What a corner holds; zeros outside the image.
template <class T>
D2_OPS_INLINE const T* corner(const DeformGeometry& g, const T* image, const T* zeros, const DeformTap<T>& tap, int i,
                              int64_t channel) {
  return (tap.pixels[i] < 0 ? zeros : image + tap.pixels[i] * g.channels) + channel;
}

template <class T>
D2_OPS_INLINE void sample(const DeformGeometry& g, const T* image, const T* zeros, const DeformTap<T>* taps,
                          const std::vector<ChannelRun>& runs, int64_t pixels, int64_t begin, int64_t end,
                          T* columns) {
  for (int64_t pixel = begin; pixel < end; ++pixel)
    for (int64_t k = 0; k < g.kernel_taps(); ++k)
      for (const ChannelRun& run : runs) {
        const DeformTap<T>& tap = taps[(pixel * g.kernel_taps() + k) * g.deformable_groups + run.deformable_group];
        T* out = columns + column_of(g, run, pixels, pixel, k);
        if (!tap.inside) {
          std::fill(out, out + run.count, T(0));
          continue;
        }
        const T *a = corner(g, image, zeros, tap, 0, run.first), *b = corner(g, image, zeros, tap, 1, run.first);
        const T *c = corner(g, image, zeros, tap, 2, run.first), *d = corner(g, image, zeros, tap, 3, run.first);
        const T wa = tap.weight(0), wb = tap.weight(1), wc = tap.weight(2), wd = tap.weight(3);
        for (int64_t i = 0; i < run.count; ++i) out[i] = wa * a[i] + wb * b[i] + wc * c[i] + wd * d[i];
      }
}

// Adds what the columns' gradient sends to one run of channels of the image.
template <class T>
D2_OPS_INLINE void scatter(const DeformGeometry& g, const DeformTap<T>* taps, const T* grad_columns,
                           const ChannelRun& run, int64_t pixels, T* grad_image) {
  for (int64_t pixel = 0; pixel < pixels; ++pixel)
    for (int64_t k = 0; k < g.kernel_taps(); ++k) {
      const DeformTap<T>& tap = taps[(pixel * g.kernel_taps() + k) * g.deformable_groups + run.deformable_group];
      const T* grad = grad_columns + column_of(g, run, pixels, pixel, k);
      for (int corner = 0; corner < 4; ++corner) {
        const T weight = tap.weight(corner);
        if (tap.pixels[corner] < 0 || weight == 0) continue;
        T* out = grad_image + tap.pixels[corner] * g.channels + run.first;
        for (int64_t i = 0; i < run.count; ++i) out[i] += weight * grad[i];
      }
    }
}

// Sums of products in a fixed number of lanes: every machine adds in the same order.
template <class T>
struct Lanes {
  static constexpr int64_t kCount = 64 / sizeof(T);
  using Vector = typename SixtyFourBytes<T>::Vector;

  static D2_OPS_INLINE Vector load(const T* from) {
    Vector values;
    std::memcpy(&values, from, sizeof values);
    return values;
  }
  static D2_OPS_INLINE T sum(Vector values) {
    T total = 0;
    for (int64_t i = 0; i < kCount; ++i) total += values[i];
    return total;
  }
};

// Adds to sums[corner] the products of a gradient with what the corners hold.
template <class T>
D2_OPS_INLINE void add_products(const T* grad, const T* a, const T* b, const T* c, const T* d, int64_t count,
                                T* sums) {
  using L = Lanes<T>;
  typename L::Vector va{}, vb{}, vc{}, vd{};
  int64_t i = 0;
  for (; i + L::kCount <= count; i += L::kCount) {
    const auto v = L::load(grad + i);
    va += v * L::load(a + i);
    vb += v * L::load(b + i);
    vc += v * L::load(c + i);
    vd += v * L::load(d + i);
  }
  sums[0] += L::sum(va);
  sums[1] += L::sum(vb);
  sums[2] += L::sum(vc);
  sums[3] += L::sum(vd);
  for (; i < count; ++i) {
    sums[0] += grad[i] * a[i];
    sums[1] += grad[i] * b[i];
    sums[2] += grad[i] * c[i];
    sums[3] += grad[i] * d[i];
  }
}

// Writes the gradients of offsets and, where wanted, modulations of some pixels of a block.
template <class T>
D2_OPS_INLINE void tap_gradients(const DeformGeometry& g, const T* image, const T* zeros, const DeformTap<T>* taps,
                                 const std::vector<ChannelRun>& runs, const T* grad_columns, int64_t pixels,
                                 int64_t first_pixel, int64_t begin, int64_t end, T* grad_offset, T* grad_mask) {
  for (int64_t pixel = begin; pixel < end; ++pixel)
    for (int64_t k = 0; k < g.kernel_taps(); ++k)
      for (auto run = runs.begin(); run != runs.end();) {
        const int64_t group = run->deformable_group;
        const DeformTap<T>& tap = taps[(pixel * g.kernel_taps() + k) * g.deformable_groups + group];
        T sums[4] = {};
        for (; run != runs.end() && run->deformable_group == group; ++run)
          add_products(grad_columns + column_of(g, *run, pixels, pixel, k),
                       corner(g, image, zeros, tap, 0, run->first), corner(g, image, zeros, tap, 1, run->first),
                       corner(g, image, zeros, tap, 2, run->first), corner(g, image, zeros, tap, 3, run->first),
                       run->count, sums);
        const DeformTapGradient<T> gradient(tap, sums);
        const int64_t plane = group * g.kernel_taps() + k, at = first_pixel + pixel;
        grad_offset[2 * plane * g.out_pixels() + at] = gradient.y;
        grad_offset[(2 * plane + 1) * g.out_pixels() + at] = gradient.x;
        if (grad_mask) grad_mask[plane * g.out_pixels() + at] = gradient.modulation;
      }
}

#define D2_OPS_DEFORM_CLONES(T)                                                                                    \
  D2_OPS_CLONES static void sample_pixels(                                                        \
      const DeformGeometry& g, const T* image, const T* zeros, const DeformTap<T>* taps,                           \
      const std::vector<ChannelRun>& runs, int64_t pixels, int64_t begin, int64_t end, T* columns) {               \
    sample(g, image, zeros, taps, runs, pixels, begin, end, columns);                                              \
  }                                                                                                                \
  D2_OPS_CLONES static void scatter_run(const DeformGeometry& g, const DeformTap<T>* taps,        \
                                                         const T* grad_columns, const ChannelRun& run,             \
                                                         int64_t pixels, T* grad_image) {                          \
    scatter(g, taps, grad_columns, run, pixels, grad_image);                                                       \
  }                                                                                                                \
  D2_OPS_CLONES static void tap_gradients_of_pixels(                                              \
      const DeformGeometry& g, const T* image, const T* zeros, const DeformTap<T>* taps,                           \
      const std::vector<ChannelRun>& runs, const T* grad_columns, int64_t pixels, int64_t first_pixel,             \
      int64_t begin, int64_t end, T* grad_offset, T* grad_mask) {                                                  \
    tap_gradients(g, image, zeros, taps, runs, grad_columns, pixels, first_pixel, begin, end, grad_offset,         \
                  grad_mask);                                                                                      \
  }
D2_OPS_DEFORM_CLONES(float)
D2_OPS_DEFORM_CLONES(double)
#undef D2_OPS_DEFORM_CLONES

}  // namespace deform_detail

// Samples output pixels [first, end) of one image.
//
// image: (height, width, channels); offset, mask (may be null): see deform_tap;
// columns: (groups, end - first, kernel taps, channels / groups). All contiguous.
template <class T, class ParallelFor>
void deform_columns(const DeformGeometry& g, const T* image, const T* offset, const T* mask, int64_t first,
                    int64_t end, T* columns, const ParallelFor& parallel_for) {
  const int64_t taps_per_pixel = g.kernel_taps() * g.deformable_groups;
  std::vector<DeformTap<T>> taps((end - first) * taps_per_pixel);
  const auto runs = channel_runs(g, deform_detail::kEveryChannel);
  const std::vector<T> zeros(g.channels);
  parallel_for(0, end - first, 8, [&](int64_t begin, int64_t stop) {
    deform_detail::find_taps(g, offset, mask, first + begin, first + stop, taps.data() + begin * taps_per_pixel);
    deform_detail::sample_pixels(g, image, zeros.data(), taps.data(), runs, end - first, begin, stop, columns);
  });
}

// The derivative of deform_columns: adds to grad_image and writes pixels [first, end) of grad_offset
// and, if it is not null, grad_mask. Shapes are those of what they are gradients of.
template <class T, class ParallelFor>
void deform_columns_backward(const DeformGeometry& g, const T* image, const T* offset, const T* mask,
                             const T* grad_columns, int64_t first, int64_t end, T* grad_image, T* grad_offset,
                             T* grad_mask, const ParallelFor& parallel_for) {
  const int64_t taps_per_pixel = g.kernel_taps() * g.deformable_groups;
  std::vector<DeformTap<T>> taps((end - first) * taps_per_pixel);
  const auto runs = channel_runs(g, deform_detail::kEveryChannel);
  const std::vector<T> zeros(g.channels);
  parallel_for(0, end - first, 8, [&](int64_t begin, int64_t stop) {
    deform_detail::find_taps(g, offset, mask, first + begin, first + stop, taps.data() + begin * taps_per_pixel);
    deform_detail::tap_gradients_of_pixels(g, image, zeros.data(), taps.data(), runs, grad_columns, end - first, first,
                                           begin, stop, grad_offset, grad_mask);
  });
  // Pixels are shared by many taps: threads divide the channels instead.
  const auto shares = channel_runs(g, deform_detail::kScatteredChannels);
  parallel_for(0, static_cast<int64_t>(shares.size()), 1, [&](int64_t begin, int64_t stop) {
    for (int64_t i = begin; i < stop; ++i)
      deform_detail::scatter_run(g, taps.data(), grad_columns, shares[i], end - first, grad_image);
  });
}

}  // namespace d2_ops
