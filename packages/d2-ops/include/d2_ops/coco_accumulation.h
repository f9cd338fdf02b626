// Precision over recall from matched detections.
//
// pycocotools walks over all detections of a category in order of score. What it reports changes
// only at true positives: precision falls between them, and recall r is first reached at the k-th of
// them, k the least with k / ground truths >= r. So they are all that is kept here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "coco_matching.h"

namespace d2_ops {

// A detection of a category; they come by decreasing score, equal ones by image and rank.
struct RankedDetection {
  double score;
  int64_t rank;  // in its image, from 0
  CocoVerdict verdict;
};

// Where the results of one (category, area range, detection limit) go; thresholds are apart by the
// strides, recall thresholds by `recall_stride`.
struct CurveOutput {
  double *precision, *recall, *scores;
  int64_t curve_stride, recall_stride, threshold_stride;
};

namespace coco_detail {

struct TruePositive {
  double precision, score;
};

class Accumulator {
 public:
  // `ground_truths` > 0: so many count.
  Accumulator(int64_t thresholds, const double* recall_thresholds, int64_t count, int64_t ground_truths)
      : ground_truths_(ground_truths), needed_(count), hits_(thresholds) {
    for (int64_t r = 0; r < count; ++r) needed_[r] = hits_needed(recall_thresholds[r]);
  }

  void accumulate(const std::vector<RankedDetection>& detections, int64_t limit, const CurveOutput& output) {
    collect(detections, limit);
    for (size_t t = 0; t < hits_.size(); ++t) write(static_cast<int64_t>(t), output);
  }

 private:
  int64_t hits_needed(double recall) const {
    int64_t low = 0, high = ground_truths_ + 1;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (static_cast<double>(middle) / static_cast<double>(ground_truths_) < recall)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

  void collect(const std::vector<RankedDetection>& detections, int64_t limit) {
    const size_t thresholds = hits_.size();
    const uint32_t all = static_cast<uint32_t>((uint64_t{1} << thresholds) - 1);
    for (auto& hits : hits_) hits.clear();
    int64_t misses = 0;  // at every threshold
    std::vector<int64_t> more_misses(thresholds, 0);
    any_ = false;
    for (const RankedDetection& detection : detections) {
      if (detection.rank >= limit) continue;
      if (!any_) {
        any_ = true;
        first_score_ = detection.score;
      }
      const CocoVerdict verdict = detection.verdict;
      if ((verdict.hit | verdict.ignored) == 0) {
        ++misses;
        continue;
      }
      if (verdict.ignored == all) continue;
      for (size_t t = 0; t < thresholds; ++t) {
        if (verdict.ignored >> t & 1) continue;
        if (!(verdict.hit >> t & 1)) {
          ++more_misses[t];
          continue;
        }
        const double true_positives = static_cast<double>(hits_[t].size() + 1);
        const double false_positives = static_cast<double>(misses + more_misses[t]);
        constexpr double tiny = std::numeric_limits<double>::epsilon();  // numpy.spacing(1)
        hits_[t].push_back({true_positives / (false_positives + true_positives + tiny), detection.score});
      }
    }
  }

  void write(int64_t t, const CurveOutput& output) {
    std::vector<TruePositive>& hits = hits_[t];
    const int64_t count = static_cast<int64_t>(hits.size());
    for (int64_t k = count - 1; k > 0; --k)
      if (hits[k].precision > hits[k - 1].precision) hits[k - 1].precision = hits[k].precision;
    output.recall[t * output.threshold_stride] =
        any_ ? static_cast<double>(count) / static_cast<double>(ground_truths_) : 0;
    double* precision = output.precision + t * output.curve_stride;
    double* scores = output.scores + t * output.curve_stride;
    bool reached = any_;
    for (size_t r = 0; r < needed_.size(); ++r, precision += output.recall_stride, scores += output.recall_stride) {
      reached = reached && needed_[r] <= count;  // after the first that is not, pycocotools gives up
      *precision = reached && count > 0 ? hits[std::max<int64_t>(needed_[r] - 1, 0)].precision : 0;
      *scores = !reached ? 0 : needed_[r] == 0 ? first_score_ : hits[needed_[r] - 1].score;
    }
  }

  int64_t ground_truths_;
  std::vector<int64_t> needed_;  // true positives, per recall threshold
  std::vector<std::vector<TruePositive>> hits_;
  bool any_ = false;
  double first_score_ = 0;
};

}  // namespace coco_detail

}  // namespace d2_ops
