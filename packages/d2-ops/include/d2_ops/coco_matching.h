// COCO's greedy matching, with pycocotools' treatment of crowds, ignored objects and ties.
//
// By decreasing score each detection takes the ground truth that it overlaps most and that is free,
// the last of equals. One to be ignored is taken only where there is no other, a crowd any number of
// times. Up to 32 thresholds are matched at once, one bit of a word each.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "coco_groups.h"

namespace d2_ops {

constexpr int64_t kThresholdsAtOnce = 32;

// One bit per threshold. A detection that is neither is a false positive.
struct CocoVerdict {
  uint32_t hit;      // a true positive
  uint32_t ignored;  // does not count
};

struct AreaRange {
  double low, high;  // both belong to it
  bool contains(double area) const { return !(area < low || area > high); }
};

struct CocoObjects {
  const double* detection_areas;
  const double* ground_truth_areas;
  const uint8_t* crowd;     // per ground truth, as the others
  const uint8_t* ignored;   // in every area range
  const uint8_t* nameless;  // takes part in the matching, but who matches it counts as unmatched
};

namespace coco_detail {

struct Candidate {
  int64_t ground_truth;  // within the group
  double overlap;
  uint32_t reached;  // thresholds
};

// Matches the detections of one group after the other; memory is used again.
class GroupMatcher {
 public:
  // `thresholds`: at most 32, as pycocotools caps them.
  GroupMatcher(const CocoGroups& groups, const CocoObjects& objects, const std::vector<double>& thresholds)
      : groups_(groups), objects_(objects), thresholds_(thresholds) {
    all_ = static_cast<uint32_t>((uint64_t{1} << thresholds.size()) - 1);
    least_ = *std::min_element(thresholds.begin(), thresholds.end());
  }

  template <class Overlaps>
  void begin(const CocoGroup& group, Overlaps* overlaps) {
    group_ = group;
    candidates_.clear();
    candidate_ends_.clear();
    overlaps->begin(group);
    for (int64_t d = group.first_detection; d < group.last_detection; ++d) {
      overlaps->visit(d, least_, [&](int64_t i, double overlap) {
        if (!(overlap < least_)) candidates_.push_back({i, overlap, reached(overlap)});
      });
      candidate_ends_.push_back(candidates_.size());
    }
  }

  // Writes one verdict per detection, gives the number of ground truths that count.
  int64_t match(const AreaRange& range, CocoVerdict* verdicts) {
    int64_t counted = 0;
    state_.clear();
    for (int64_t g = group_.first_ground_truth; g < group_.last_ground_truth; ++g) {
      const int64_t item = groups_.ground_truths[g];
      const bool ignored = objects_.ignored[item] || !range.contains(objects_.ground_truth_areas[item]);
      state_.push_back({0, ignored, objects_.crowd[item] != 0, objects_.nameless[item] != 0});
      counted += !ignored;
    }
    size_t first = 0;
    for (int64_t d = 0; d < group_.detections(); ++d) {
      const size_t last = candidate_ends_[d];
      CocoVerdict verdict{0, 0};
      uint32_t unmatched = all_;
      if (last - first == 1)
        take(candidates_[first].ground_truth, candidates_[first].reached, &verdict, &unmatched);
      else if (last != first)
        take_best(first, last, &verdict, &unmatched);
      first = last;
      const int64_t item = groups_.detections[group_.first_detection + d];
      if (!range.contains(objects_.detection_areas[item])) verdict.ignored |= unmatched;
      verdicts[d] = verdict;
    }
    return counted;
  }

 private:
  struct GroundTruth {
    uint32_t taken;  // one bit per threshold
    bool ignored, crowd, nameless;
  };

  uint32_t reached(double overlap) const {
    uint32_t bits = 0;
    for (size_t t = 0; t < thresholds_.size(); ++t)
      if (!(overlap < thresholds_[t])) bits |= uint32_t{1} << t;
    return bits;
  }

  // Matches at those of the thresholds at which the ground truth is free.
  void take(int64_t ground_truth, uint32_t bits, CocoVerdict* verdict, uint32_t* unmatched) {
    GroundTruth& match = state_[ground_truth];
    if (!match.crowd) bits &= ~match.taken;
    match.taken |= bits;
    if (match.ignored) verdict->ignored |= bits;
    if (match.nameless) return;
    *unmatched &= ~bits;
    if (!match.ignored) verdict->hit |= bits;
  }

  void take_best(size_t first, size_t last, CocoVerdict* verdict, uint32_t* unmatched) {
    uint32_t reached = 0;
    for (size_t c = first; c < last; ++c) reached |= candidates_[c].reached;
    for (uint32_t bit = 1; bit != 0 && bit <= reached; bit <<= 1) {
      int64_t best = best_of(first, last, bit, false);
      if (best < 0) best = best_of(first, last, bit, true);
      if (best >= 0) take(best, bit, verdict, unmatched);
    }
  }

  int64_t best_of(size_t first, size_t last, uint32_t bit, bool ignored) const {
    int64_t best = -1;
    double most = 0;
    for (size_t c = first; c < last; ++c) {
      const Candidate& candidate = candidates_[c];
      const GroundTruth& other = state_[candidate.ground_truth];
      if (!(candidate.reached & bit) || other.ignored != ignored || (other.taken & bit && !other.crowd)) continue;
      if (best >= 0 && candidate.overlap < most) continue;
      most = candidate.overlap;
      best = candidate.ground_truth;
    }
    return best;
  }

  const CocoGroups& groups_;
  const CocoObjects& objects_;
  const std::vector<double>& thresholds_;
  uint32_t all_;
  double least_;
  CocoGroup group_{};
  std::vector<Candidate> candidates_;
  std::vector<size_t> candidate_ends_;  // per detection
  std::vector<GroundTruth> state_;
};

}  // namespace coco_detail

}  // namespace d2_ops
