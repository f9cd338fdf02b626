// Deformable convolution and its derivatives as matrix products with columns, a block of output
// pixels of one image at a time. Columns is how a device makes them:
//
//   Columns::storage_type(dtype)   what images, weights and columns are kept in
//   Columns::kBlockBytes           how much memory a block of columns may take
//   Columns::DeviceGuard           makes the device of this index the current one
//   Columns::sample, backward      see DeformImage
#pragma once

#include <algorithm>
#include <array>
#include <tuple>
#include <vector>

#include "deform_conv2d_arguments.h"

namespace d2_ops {

// One image with its channels last, (pixels, channels), and what it is sampled with.
struct DeformImage {
  Tensor pixels, offset;
  std::optional<Tensor> mask;
};

template <class T>
const T* data_or_null(const std::optional<Tensor>& tensor) {
  return tensor ? data<T>(*tensor) : nullptr;
}

// out = a @ b for matrices of any strides. Autocast, which would change types, leaves this overload alone.
inline void multiply_into(const Tensor& out, const Tensor& a, const Tensor& b) {
  using torch::stable::detail::from, torch::stable::detail::to;
  std::array<StableIValue, 3> stack{from(a), from(b), from(out)};
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::mm", "out", stack.data(), TORCH_ABI_VERSION));
  to<Tensor>(stack[0]);  // takes over the reference that was returned
}

inline Tensor slice(Tensor tensor, int64_t dim, int64_t first, int64_t count) {
  return torch::stable::narrow(tensor, dim, first, count);
}

inline Tensor transposed(const Tensor& matrix) { return torch::stable::transpose(matrix, 0, 1); }

template <class Columns>
class DeformConv2d {
 public:
  DeformConv2d(const Tensor& input, const Tensor& offset, const std::optional<Tensor>& mask, const Tensor& weight,
               const DeformSettings& settings, const char* op)
      : geometry_(check_deform_arguments(input, offset, mask, weight, settings, op)),
        filters_(weight.size(0)),
        type_(Columns::storage_type(input.scalar_type())),
        input_(torch::stable::to(input, type_)),
        offset_(contiguous_as(offset, compute_type(type_))),
        weight_(taps_before_channels(torch::stable::to(weight, type_))) {
    if (mask) mask_ = contiguous_as(*mask, compute_type(type_));
  }

  // In the type that is computed in, as are the gradients.
  Tensor output() const {
    const DeformGeometry& g = geometry_;
    const Tensor out = torch::stable::new_empty(input_, {input_.size(0), filters_, g.out_height, g.out_width});
    const Tensor buffer = block_buffer();
    for (int64_t i = 0; i < input_.size(0); ++i) {
      const DeformImage image = image_at(i);
      const Tensor planes = planes_of(out, i);
      for (int64_t first = 0; first < g.out_pixels(); first += block_pixels()) {
        const int64_t end = std::min(first + block_pixels(), g.out_pixels());
        const Tensor columns = block_of(buffer, end - first);
        Columns::sample(g, image, first, end, columns);
        for (int64_t group = 0; group < g.groups; ++group)
          multiply_into(slice(of_group(planes, group), 1, first, end - first), of_group(weight_, group),
                        transposed(torch::stable::select(columns, 0, group)));
      }
    }
    return out;
  }

  // Of input, offset and mask (empty without one).
  std::tuple<Tensor, Tensor, Tensor> sampling_gradients(const Tensor& grad) const {
    const DeformGeometry& g = geometry_;
    require_output_shape(grad);
    const Tensor grad_out = contiguous_as(grad, type_);
    const Tensor grad_input = torch::stable::new_empty(input_, {input_.size(0), g.channels, g.height, g.width});
    const Tensor grad_offset = torch::stable::empty_like(offset_);
    const Tensor grad_mask = mask_ ? torch::stable::empty_like(*mask_) : torch::stable::new_empty(offset_, {0});
    const Tensor buffer = block_buffer();
    for (int64_t i = 0; i < input_.size(0); ++i) {
      const DeformImage image = image_at(i);
      DeformImage gradient{torch::stable::new_zeros(offset_, {g.height * g.width, g.channels}),
                           torch::stable::select(grad_offset, 0, i), std::nullopt};
      if (mask_) gradient.mask = torch::stable::select(grad_mask, 0, i);
      const Tensor planes = planes_of(grad_out, i);
      for (int64_t first = 0; first < g.out_pixels(); first += block_pixels()) {
        const int64_t end = std::min(first + block_pixels(), g.out_pixels());
        const Tensor grad_columns = block_of(buffer, end - first);
        for (int64_t group = 0; group < g.groups; ++group)
          multiply_into(torch::stable::select(grad_columns, 0, group),
                        transposed(slice(of_group(planes, group), 1, first, end - first)), of_group(weight_, group));
        Columns::backward(g, image, first, end, grad_columns, gradient);
      }
      Tensor grad_planes = torch::stable::reshape(torch::stable::select(grad_input, 0, i), {g.channels, -1});
      torch::stable::copy_(grad_planes, transposed(gradient.pixels));
    }
    return {grad_input, grad_offset, grad_mask};
  }

  Tensor weight_gradient(const Tensor& grad) const {
    const DeformGeometry& g = geometry_;
    require_output_shape(grad);
    const Tensor grad_out = contiguous_as(grad, type_);
    Tensor sum = torch::stable::new_zeros(weight_, {filters_, weight_.size(1)}, compute_type(type_));
    const Tensor of_block = torch::stable::empty_like(weight_);
    const Tensor buffer = block_buffer();
    for (int64_t i = 0; i < input_.size(0); ++i) {
      const DeformImage image = image_at(i);
      const Tensor planes = planes_of(grad_out, i);
      for (int64_t first = 0; first < g.out_pixels(); first += block_pixels()) {
        const int64_t end = std::min(first + block_pixels(), g.out_pixels());
        const Tensor columns = block_of(buffer, end - first);
        Columns::sample(g, image, first, end, columns);
        for (int64_t group = 0; group < g.groups; ++group)
          multiply_into(of_group(of_block, group), slice(of_group(planes, group), 1, first, end - first),
                        torch::stable::select(columns, 0, group));
        sum = torch::stable::subtract(sum, of_block, -1);  // the stable ABI has no addition
      }
    }
    const Tensor taps_first = torch::stable::reshape(sum, {filters_, g.kernel_taps(), g.group_channels()});
    return torch::stable::reshape(torch::stable::transpose(taps_first, 1, 2),
                                  {filters_, g.group_channels(), g.kernel_height, g.kernel_width});
  }

 private:
  void require_output_shape(const Tensor& grad) const {
    require_floating(grad, "deform_conv2d_backward", "grad");
    require(grad.dim() == 4 && grad.size(0) == input_.size(0) && grad.size(1) == filters_ &&
                grad.size(2) == geometry_.out_height && grad.size(3) == geometry_.out_width &&
                grad.get_device_index() == input_.get_device_index(),
            "deform_conv2d_backward: grad must have the shape and be on the device of the output");
  }

  // (filters, channels of a group, kernel) -> (filters, taps x channels): the order of columns.
  Tensor taps_before_channels(const Tensor& weight) const {
    const Tensor channels_first =
        torch::stable::reshape(weight, {filters_, geometry_.group_channels(), geometry_.kernel_taps()});
    return torch::stable::reshape(torch::stable::contiguous(torch::stable::transpose(channels_first, 1, 2)),
                                  {filters_, geometry_.kernel_taps() * geometry_.group_channels()});
  }

  DeformImage image_at(int64_t i) const {
    const Tensor planes = torch::stable::reshape(torch::stable::select(input_, 0, i),
                                                 {geometry_.channels, geometry_.height * geometry_.width});
    DeformImage image{torch::stable::contiguous(transposed(planes)), torch::stable::select(offset_, 0, i),
                      std::nullopt};
    if (mask_) image.mask = torch::stable::select(*mask_, 0, i);
    return image;
  }

  // (filters, output pixels) of one image of a contiguous output.
  Tensor planes_of(const Tensor& out, int64_t i) const {
    return torch::stable::view(torch::stable::select(out, 0, i), {filters_, geometry_.out_pixels()});
  }

  Tensor of_group(const Tensor& rows_of_filters, int64_t group) const {
    const int64_t per_group = filters_ / geometry_.groups;
    return slice(rows_of_filters, 0, group * per_group, per_group);
  }

  int64_t values_per_pixel() const { return geometry_.kernel_taps() * geometry_.channels; }

  int64_t block_pixels() const {
    const int64_t bytes = values_per_pixel() * (type_ == ScalarType::Double ? 8 : 4);
    return std::min(std::max<int64_t>(Columns::kBlockBytes / bytes, 64), geometry_.out_pixels());
  }

  // Memory for the columns of any block: fresh pages for every block would cost more than sampling.
  Tensor block_buffer() const { return torch::stable::new_empty(weight_, {block_pixels() * values_per_pixel()}); }

  Tensor block_of(const Tensor& buffer, int64_t pixels) const {
    return torch::stable::view(slice(buffer, 0, 0, pixels * values_per_pixel()),
                               {geometry_.groups, pixels, values_per_pixel() / geometry_.groups});
  }

  DeformGeometry geometry_;
  int64_t filters_;
  ScalarType type_;
  Tensor input_, offset_, weight_;
  std::optional<Tensor> mask_;
};

// The operators: results come in the types of what they belong to.

template <class Columns>
Tensor deform_conv2d(const Tensor& input, const Tensor& offset, const std::optional<Tensor>& mask,
                     const Tensor& weight, int64_t stride_y, int64_t stride_x, int64_t padding_y, int64_t padding_x,
                     int64_t dilation_y, int64_t dilation_x) {
  const DeformSettings settings{stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x};
  const typename Columns::DeviceGuard guard(input.get_device_index());
  const DeformConv2d<Columns> convolution(input, offset, mask, weight, settings, "deform_conv2d");
  return contiguous_as(convolution.output(), input.scalar_type());
}

template <class Columns>
std::tuple<Tensor, Tensor, Tensor> deform_conv2d_backward_sampling(
    const Tensor& grad, const Tensor& input, const Tensor& offset, const std::optional<Tensor>& mask,
    const Tensor& weight, int64_t stride_y, int64_t stride_x, int64_t padding_y, int64_t padding_x,
    int64_t dilation_y, int64_t dilation_x) {
  const DeformSettings settings{stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x};
  const typename Columns::DeviceGuard guard(input.get_device_index());
  const DeformConv2d<Columns> convolution(input, offset, mask, weight, settings, "deform_conv2d_backward");
  const auto [grad_input, grad_offset, grad_mask] = convolution.sampling_gradients(grad);
  return {contiguous_as(grad_input, input.scalar_type()), contiguous_as(grad_offset, offset.scalar_type()),
          contiguous_as(grad_mask, mask ? mask->scalar_type() : offset.scalar_type())};
}

template <class Columns>
Tensor deform_conv2d_backward_weight(const Tensor& grad, const Tensor& input, const Tensor& offset,
                                     const std::optional<Tensor>& mask, const Tensor& weight, int64_t stride_y,
                                     int64_t stride_x, int64_t padding_y, int64_t padding_x, int64_t dilation_y,
                                     int64_t dilation_x) {
  const DeformSettings settings{stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x};
  const typename Columns::DeviceGuard guard(input.get_device_index());
  const DeformConv2d<Columns> convolution(input, offset, mask, weight, settings, "deform_conv2d_backward");
  return contiguous_as(convolution.weight_gradient(grad), weight.scalar_type());
}

template <class Columns, class Library>
void register_deform_conv2d(Library& m) {
  m.impl("deform_conv2d", D2_OPS_BOX(&deform_conv2d<Columns>));
  m.impl("deform_conv2d_backward_sampling", D2_OPS_BOX(&deform_conv2d_backward_sampling<Columns>));
  m.impl("deform_conv2d_backward_weight", D2_OPS_BOX(&deform_conv2d_backward_weight<Columns>));
}

}  // namespace d2_ops
