// Suppression on the CPU, whatever the boxes are.
#pragma once

#include <algorithm>
#include <cstring>
#include <tuple>
#include <vector>

#include "../tensor_arguments.h"
#include "d2_ops/greedy_nms.h"

namespace d2_ops {

// suppress(scores, classes or null) -> Suppression, for contiguous float or double scores.
template <class Suppress>
Suppression suppression(const Tensor& scores, const Tensor* idxs, const Suppress& suppress) {
  const ScalarType score_type = compute_type(scores.scalar_type());
  const Tensor scores_in = contiguous_as(scores, score_type);
  const Tensor idxs_in = idxs == nullptr ? Tensor() : contiguous_as(*idxs, ScalarType::Long);
  const int64_t* classes = idxs == nullptr ? nullptr : data<int64_t>(idxs_in);
  Suppression all;
  dispatch_compute(score_type, [&](auto zero) {
    using S = decltype(zero);
    all = suppress(data<S>(scores_in), classes);
  });
  return all;
}

inline Tensor indices(const Tensor& like, const std::vector<int64_t>& values) {
  Tensor out = torch::stable::new_empty(like, {static_cast<int64_t>(values.size())}, ScalarType::Long);
  if (!values.empty()) std::memcpy(out.mutable_data_ptr(), values.data(), values.size() * sizeof(int64_t));
  return out;
}

inline Tensor kept(const Tensor& like, const Suppression& all) { return indices(like, kept_of(all)); }

// All boxes by decreasing score, and whether each of them, in that order, is kept.
inline std::tuple<Tensor, Tensor> order_and_kept(const Tensor& like, const Suppression& all) {
  Tensor keep = torch::stable::new_empty(like, {static_cast<int64_t>(all.order.size())}, ScalarType::Bool);
  std::transform(all.dropped.begin(), all.dropped.end(), mutable_data<bool>(keep), [](uint8_t d) { return d == 0; });
  return {indices(like, all.order), keep};
}

}  // namespace d2_ops
