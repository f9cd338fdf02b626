// COCO's evaluation: matching of all groups, then precision and recall of all categories.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "coco_accumulation.h"
#include "coco_groups.h"
#include "coco_matching.h"
#include "coco_overlaps.h"
#include "free_threads.h"

namespace d2_ops {

struct CocoSettings {
  const double* thresholds;
  int64_t threshold_count;
  const double* recall_thresholds;
  int64_t recall_count;
  const AreaRange* areas;
  int64_t area_count;
  const int64_t* limits;  // on the detections of a category in an image
  int64_t limit_count;
};

// Arrays in the order of pycocotools, filled with -1: (T, R, K, A, M), and (T, K, A, M) for recall.
struct CocoResult {
  double *precision, *recall, *scores;
};

namespace coco_detail {

// What matching gives, for up to 32 thresholds.
struct Matched {
  Matched(int64_t areas, const CocoGroups& groups)
      : verdicts(areas, std::vector<CocoVerdict>(groups.detections.size())),
        counted(areas, std::vector<int32_t>(groups.groups.size())) {}

  std::vector<std::vector<CocoVerdict>> verdicts;  // per area range and position
  std::vector<std::vector<int32_t>> counted;       // ground truths per area range and group
};

template <class MakeOverlaps, class ParallelFor>
void match_all(const CocoGroups& groups, const CocoObjects& objects, const CocoSettings& settings,
               const std::vector<double>& thresholds, const MakeOverlaps& make_overlaps,
               const ParallelFor& parallel_for, Matched* matched) {
  struct Worker {
    GroupMatcher matcher;
    decltype(make_overlaps()) overlaps;
  };
  const int64_t count = static_cast<int64_t>(groups.groups.size());
  for_each_unit(
      parallel_for, (count + kGroupsPerUnit - 1) / kGroupsPerUnit,
      [&] { return Worker{GroupMatcher(groups, objects, thresholds), make_overlaps()}; },
      [&](Worker& worker, int64_t unit) {
        for (int64_t g = unit * kGroupsPerUnit; g < std::min((unit + 1) * kGroupsPerUnit, count); ++g) {
          const CocoGroup& group = groups.groups[g];
          worker.matcher.begin(group, &worker.overlaps);
          for (int64_t a = 0; a < settings.area_count; ++a)
            matched->counted[a][g] = static_cast<int32_t>(
                worker.matcher.match(settings.areas[a], matched->verdicts[a].data() + group.first_detection));
        }
      });
}

// A category's detections in order of score: positions, with rank in the group.
inline std::vector<RankedDetection> rank_category(const CocoGroups& groups, const double* scores, int64_t first_group,
                                                  int64_t last_group, std::vector<int64_t>* positions) {
  struct Ranked {
    uint64_t key;
    int64_t position, rank;
    bool operator<(const Ranked& other) const { return key != other.key ? key < other.key : position < other.position; }
  };
  std::vector<Ranked> ranked;
  for (int64_t g = first_group; g < last_group; ++g) {
    const CocoGroup& group = groups.groups[g];
    for (int64_t d = group.first_detection; d < group.last_detection; ++d)
      ranked.push_back({descending_key(scores[groups.detections[d]]), d, d - group.first_detection});
  }
  std::sort(ranked.begin(), ranked.end());
  std::vector<RankedDetection> detections;
  detections.reserve(ranked.size());
  positions->clear();
  for (const Ranked& r : ranked) {
    detections.push_back({scores[groups.detections[r.position]], r.rank, {0, 0}});
    positions->push_back(r.position);
  }
  return detections;
}

template <class ParallelFor>
void accumulate_all(const CocoGroups& groups, const double* scores, const CocoSettings& settings,
                    int64_t first_threshold, int64_t thresholds, const Matched& matched,
                    const ParallelFor& parallel_for, const CocoResult& result) {
  const int64_t categories = static_cast<int64_t>(groups.category_ends.size());
  const int64_t M = settings.limit_count, AM = settings.area_count * M, KAM = categories * AM;
  const auto accumulate_category = [&](std::vector<int64_t>& positions, int64_t k) {
    const int64_t first = k == 0 ? 0 : groups.category_ends[k - 1], last = groups.category_ends[k];
    std::vector<RankedDetection> detections = rank_category(groups, scores, first, last, &positions);
    for (int64_t a = 0; a < settings.area_count; ++a) {
      int64_t ground_truths = 0;
      for (int64_t g = first; g < last; ++g) ground_truths += matched.counted[a][g];
      if (ground_truths == 0) continue;
      for (size_t i = 0; i < positions.size(); ++i) detections[i].verdict = matched.verdicts[a][positions[i]];
      Accumulator accumulator(thresholds, settings.recall_thresholds, settings.recall_count, ground_truths);
      for (int64_t m = 0; m < M; ++m) {
        const int64_t place = k * AM + a * M + m, curves = first_threshold * settings.recall_count * KAM + place;
        accumulator.accumulate(detections, settings.limits[m],
                               {result.precision + curves, result.recall + first_threshold * KAM + place,
                                result.scores + curves, settings.recall_count * KAM, KAM, KAM});
      }
    }
  };
  for_each_unit(parallel_for, categories, [] { return std::vector<int64_t>(); }, accumulate_category);
}

}  // namespace coco_detail

// make_overlaps() gives a source of overlaps, see coco_overlaps.h. Throws what it throws.
template <class MakeOverlaps, class ParallelFor>
void evaluate_coco(const CocoGroups& groups, const double* scores, const CocoObjects& objects,
                   const CocoSettings& settings, const MakeOverlaps& make_overlaps, const ParallelFor& parallel_for,
                   const CocoResult& result) {
  for (int64_t t = 0; t < settings.threshold_count; t += kThresholdsAtOnce) {
    const int64_t count = std::min(settings.threshold_count - t, kThresholdsAtOnce);
    std::vector<double> thresholds(settings.thresholds + t, settings.thresholds + t + count);
    for (double& threshold : thresholds) threshold = std::min(threshold, 1 - 1e-10);
    coco_detail::Matched matched(settings.area_count, groups);
    coco_detail::match_all(groups, objects, settings, thresholds, make_overlaps, parallel_for, &matched);
    coco_detail::accumulate_all(groups, scores, settings, t, count, matched, parallel_for, result);
  }
}

}  // namespace d2_ops
