#include "d2_ops/nms_rotated.h"

#include <cmath>
#include <vector>

#include "kernel.h"
#include "operators.h"

namespace d2_ops {
namespace {

struct NmsRotated {
  static constexpr const char* kName = "NmsRotated";
  static constexpr Slot kInputs[] = {{ort::kFloat, ort::kRequired},
                                     {ort::kFloat, ort::kRequired},
                                     {ort::kDouble, ort::kRequired},
                                     {ort::kInt64, ort::kOptional}};
  static constexpr int kOutput = ort::kInt64;

  explicit NmsRotated(const Attributes&) {}

  void compute(Context& context) const {
    const Input boxes = context.input(0), scores = context.input(1), threshold = context.input(2);
    require_matrix(boxes, kRotatedBoxRow, kName, "boxes");
    const int64_t count = boxes.size(0);
    require(count < (int64_t(1) << 31), kName, ": boxes has 2^31 rows or more");
    const auto require_row_each = [&](const Input& input, const char* name) {
      require(input.dim() == 1 && input.size(0) == count, kName, ": ", name, " must have shape (N,), one per box");
    };
    require_row_each(scores, "scores");
    require(threshold.dim() == 0, kName, ": iou_threshold must be a scalar");
    const double iou_threshold = *threshold.as<double>();
    require(!std::isnan(iou_threshold), kName, ": iou_threshold is NaN");
    const int64_t* classes = nullptr;
    if (context.has_input(3)) {
      const Input idxs = context.input(3);
      require_row_each(idxs, "idxs");
      classes = idxs.as<int64_t>();
    }
    const float* given = boxes.as<float>();
    const std::vector<double> rows(given, given + count * kRotatedBoxRow);
    const std::vector<int64_t> kept =
        nms_rotated(rows.data(), scores.as<float>(), classes, count, iou_threshold, context.parallel_for());
    std::copy(kept.begin(), kept.end(), context.output<int64_t>({static_cast<int64_t>(kept.size())}));
  }
};

}  // namespace

const ort::OrtCustomOp* nms_rotated_operator() { return operator_of<NmsRotated>(); }

}  // namespace d2_ops
