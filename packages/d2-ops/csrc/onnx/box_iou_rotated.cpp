#include "d2_ops/box_iou_rotated.h"

#include <vector>

#include "kernel.h"
#include "operators.h"

namespace d2_ops {
namespace {

std::vector<double> rows_of(const Input& boxes, const char* op, const char* name) {
  require_matrix(boxes, kRotatedBoxRow, op, name);
  const float* given = boxes.as<float>();
  return {given, given + boxes.size(0) * kRotatedBoxRow};
}

struct BoxIouRotated {
  static constexpr const char* kName = "BoxIouRotated";
  static constexpr Slot kInputs[] = {{ort::kFloat, ort::kRequired}, {ort::kFloat, ort::kRequired}};
  static constexpr int kOutput = ort::kFloat;

  explicit BoxIouRotated(const Attributes&) {}

  void compute(Context& context) const {
    const Input boxes1 = context.input(0), boxes2 = context.input(1);
    const std::vector<double> rows = rows_of(boxes1, kName, "boxes1"), columns = rows_of(boxes2, kName, "boxes2");
    const int64_t n = boxes1.size(0), m = boxes2.size(0);
    box_iou_rotated(rows.data(), n, columns.data(), m, context.output<float>({n, m}), context.parallel_for());
  }
};

}  // namespace

const ort::OrtCustomOp* box_iou_rotated_operator() { return operator_of<BoxIouRotated>(); }

}  // namespace d2_ops
