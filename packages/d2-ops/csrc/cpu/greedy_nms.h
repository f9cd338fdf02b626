// Suppression on the CPU, whatever the boxes are.
#pragma once

#include <cstring>
#include <vector>

#include "../tensor_arguments.h"

namespace d2_ops {

// keep(scores, classes or null) -> indices of the kept boxes, for contiguous float or double scores.
template <class Keep>
Tensor greedy_nms(const Tensor& scores, const Tensor* idxs, const Keep& keep) {
  const ScalarType score_type = compute_type(scores.scalar_type());
  const Tensor scores_in = contiguous_as(scores, score_type);
  const Tensor idxs_in = idxs == nullptr ? Tensor() : contiguous_as(*idxs, ScalarType::Long);
  const int64_t* classes = idxs == nullptr ? nullptr : data<int64_t>(idxs_in);
  std::vector<int64_t> kept;
  dispatch_compute(score_type, [&](auto zero) {
    using S = decltype(zero);
    kept = keep(data<S>(scores_in), classes);
  });
  Tensor out = torch::stable::new_empty(scores, {static_cast<int64_t>(kept.size())}, ScalarType::Long);
  if (!kept.empty()) std::memcpy(out.mutable_data_ptr(), kept.data(), kept.size() * sizeof(int64_t));
  return out;
}

}  // namespace d2_ops
