#include <vector>

#include "../coding_options.h"
#include "d2_ops/decode_boxes.h"
#include "kernel.h"
#include "operators.h"

namespace d2_ops {
namespace {

struct DecodeRotatedBoxes {
  static constexpr const char* kName = "DecodeRotatedBoxes";
  static constexpr Slot kInputs[] = {{ort::kFloat, ort::kRequired}, {ort::kFloat, ort::kRequired}};
  static constexpr int kOutput = ort::kFloat;

  CodingOptions<float> options;

  explicit DecodeRotatedBoxes(const Attributes& attributes) {
    const std::vector<double> weights = attributes.numbers("weights");
    const double scale_clamp = attributes.number("scale_clamp");
    check_coding_options<RotatedCoding>(weights, scale_clamp, kName);
    options = coding_options<float>(weights, scale_clamp);
  }

  void compute(Context& context) const {
    const Input deltas = context.input(0), boxes = context.input(1);
    require_matrix(boxes, RotatedCoding::kRow, kName, "boxes");
    require(deltas.dim() == 2 && deltas.size(0) == boxes.size(0) && deltas.size(1) % RotatedCoding::kRow == 0, kName,
            ": deltas must have shape (N, k * ", RotatedCoding::kRow, ") for N boxes");
    decode_boxes(RotatedCoding{}, deltas.as<float>(), boxes.as<float>(), boxes.size(0),
                 deltas.size(1) / RotatedCoding::kRow, options, context.output<float>(deltas.shape),
                 context.parallel_for());
  }
};

}  // namespace

const ort::OrtCustomOp* decode_rotated_boxes_operator() { return operator_of<DecodeRotatedBoxes>(); }

}  // namespace d2_ops
