#include "d2_ops/deform_columns.h"

#include <optional>
#include <vector>

#include "../deform_geometry.h"
#include "kernel.h"
#include "operators.h"

namespace d2_ops {
namespace {

struct DeformColumns {
  static constexpr const char* kName = "DeformColumns";
  static constexpr Slot kInputs[] = {
      {ort::kFloat, ort::kRequired}, {ort::kFloat, ort::kRequired}, {ort::kFloat, ort::kOptional}};
  static constexpr int kOutput = ort::kFloat;

  std::vector<int64_t> kernel;  // height and width
  DeformSettings settings;
  int64_t groups;

  explicit DeformColumns(const Attributes& attributes)
      : kernel(attributes.integers("kernel", 2)), groups(attributes.integer("groups")) {
    const std::vector<int64_t> stride = attributes.integers("stride", 2), padding = attributes.integers("padding", 2);
    const std::vector<int64_t> dilation = attributes.integers("dilation", 2);
    settings = {stride[0], stride[1], padding[0], padding[1], dilation[0], dilation[1]};
    require(groups > 0, kName, ": groups must be positive, got ", groups);
  }

  void compute(Context& context) const {
    const Input images = context.input(0), offset = context.input(1);
    std::optional<Input> mask;
    if (context.has_input(2)) mask = context.input(2);
    const auto planes = [&](const Input& input, const char* name) {
      require(input.dim() == 4, kName, ": ", name, " must have 4 dimensions, got ", input.dim());
      return FourSizes{input.size(0), input.size(1), input.size(2), input.size(3)};
    };
    const FourSizes last = planes(images, "images");
    require(last[3] % groups == 0, kName, ": ", last[3], " channels cannot be divided into ", groups, " groups");
    std::optional<FourSizes> of_mask;
    if (mask) of_mask = planes(*mask, "mask");
    const DeformGeometry g =
        deform_geometry({last[0], last[3], last[1], last[2]}, planes(offset, "offset"), of_mask,
                        {groups, last[3] / groups, kernel[0], kernel[1]}, settings, kName);
    const int64_t pixels = g.out_pixels(), values = g.kernel_taps() * g.channels;
    float* out = context.output<float>({last[0], groups, pixels, values / groups});
    for (int64_t i = 0; i < last[0]; ++i)
      deform_columns(g, images.as<float>() + i * g.channels * g.height * g.width,
                     offset.as<float>() + i * offset.size(1) * pixels,
                     mask ? mask->as<float>() + i * mask->size(1) * pixels : nullptr, 0, pixels,
                     out + i * pixels * values, context.parallel_for());
  }
};

}  // namespace

const ort::OrtCustomOp* deform_columns_operator() { return operator_of<DeformColumns>(); }

}  // namespace d2_ops
