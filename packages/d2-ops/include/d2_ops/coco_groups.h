// Detections and ground truths of one category in one image, brought together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "free_threads.h"
#include "score_order.h"

namespace d2_ops {

// Where objects are: indices from 0.
struct CocoPlaces {
  const int64_t* images;
  const int64_t* categories;
  int64_t count;
};

// Ranges are half open and of positions in CocoGroups::detections and ::ground_truths.
struct CocoGroup {
  int64_t category;
  int64_t first_detection, last_detection;
  int64_t first_ground_truth, last_ground_truth;
  int64_t first_pair;  // pairs are counted detection by detection

  int64_t detections() const { return last_detection - first_detection; }
  int64_t ground_truths() const { return last_ground_truth - first_ground_truth; }
};

struct CocoGroups {
  std::vector<int64_t> detections;     // input indices by category, image and decreasing score
  std::vector<int64_t> ground_truths;  // input indices by category and image, as they came
  std::vector<CocoGroup> groups;       // by category and image; each has something in it
  std::vector<int64_t> category_ends;  // in `groups`
  int64_t pairs = 0;
};

namespace coco_detail {

constexpr int64_t kGroupsPerUnit = 128;

inline std::vector<int64_t> stably_sorted(const std::vector<int64_t>& items, const int64_t* keys, int64_t bins) {
  std::vector<int64_t> next(bins + 1, 0), sorted(items.size());
  for (int64_t item : items) ++next[keys[item] + 1];
  std::partial_sum(next.begin(), next.end(), next.begin());
  for (int64_t item : items) sorted[next[keys[item]]++] = item;
  return sorted;
}

// Objects by category and image; where categories do not count they are all 0, but still order the
// objects of an image.
struct ByPlace {
  ByPlace(const CocoPlaces& places, int64_t images, int64_t categories, bool use_categories)
      : places(places), use_categories(use_categories), items(places.count) {
    std::iota(items.begin(), items.end(), int64_t{0});
    if (!use_categories) items = stably_sorted(items, places.categories, categories);
    items = stably_sorted(items, places.images, images);
    if (use_categories) items = stably_sorted(items, places.categories, categories);
  }

  bool has(int64_t position) const { return position < places.count; }
  int64_t image(int64_t position) const { return places.images[items[position]]; }
  int64_t category(int64_t position) const { return use_categories ? places.categories[items[position]] : 0; }

  // The end of the objects that are in the same place as the one given.
  int64_t last_beside(int64_t position, int64_t category_wanted, int64_t image_wanted) const {
    while (has(position) && category(position) == category_wanted && image(position) == image_wanted) ++position;
    return position;
  }

  CocoPlaces places;
  bool use_categories;
  std::vector<int64_t> items;
};

// Equal scores stay in order.
inline void sort_by_score(const double* scores, int64_t* first, int64_t* last) {
  struct Ranked {
    uint64_t key;
    int64_t position, item;
    bool operator<(const Ranked& other) const { return key != other.key ? key < other.key : position < other.position; }
  };
  if (last - first < 2) return;
  std::vector<Ranked> ranked;
  ranked.reserve(last - first);
  for (int64_t* item = first; item != last; ++item)
    ranked.push_back({descending_key(scores[*item]), item - first, *item});
  std::sort(ranked.begin(), ranked.end());
  std::transform(ranked.begin(), ranked.end(), first, [](const Ranked& r) { return r.item; });
}

inline std::vector<CocoGroup> groups_of(const ByPlace& detections, const ByPlace& ground_truths) {
  std::vector<CocoGroup> groups;
  for (int64_t d = 0, g = 0; detections.has(d) || ground_truths.has(g);) {
    const bool by_detection =
        detections.has(d) && (!ground_truths.has(g) || detections.category(d) < ground_truths.category(g) ||
                              (detections.category(d) == ground_truths.category(g) &&
                               detections.image(d) <= ground_truths.image(g)));
    const int64_t category = by_detection ? detections.category(d) : ground_truths.category(g);
    const int64_t image = by_detection ? detections.image(d) : ground_truths.image(g);
    const int64_t last_d = detections.last_beside(d, category, image);
    const int64_t last_g = ground_truths.last_beside(g, category, image);
    groups.push_back({category, d, last_d, g, last_g, 0});
    d = last_d;
    g = last_g;
  }
  return groups;
}

}  // namespace coco_detail

// Keeps the `limit` best detections of each group. Scores must not be NaN.
template <class ParallelFor>
CocoGroups group_for_coco(const CocoPlaces& detections, const double* scores, const CocoPlaces& ground_truths,
                          int64_t images, int64_t categories, bool use_categories, int64_t limit,
                          const ParallelFor& parallel_for) {
  using namespace coco_detail;
  ByPlace found(detections, images, categories, use_categories);
  ByPlace wanted(ground_truths, images, categories, use_categories);
  CocoGroups result;
  result.groups = groups_of(found, wanted);
  parallel_for(0, static_cast<int64_t>(result.groups.size()), kGroupsPerUnit, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      const CocoGroup& group = result.groups[i];
      sort_by_score(scores, found.items.data() + group.first_detection, found.items.data() + group.last_detection);
    }
  });
  result.category_ends.assign(use_categories ? categories : 1, 0);
  int64_t kept = 0;
  for (CocoGroup& group : result.groups) {
    const int64_t count = std::min(group.detections(), limit);
    std::copy_n(found.items.begin() + group.first_detection, count, found.items.begin() + kept);
    group.first_detection = kept;
    group.last_detection = kept += count;
    group.first_pair = result.pairs;
    result.pairs += count * group.ground_truths();
    ++result.category_ends[group.category];
  }
  found.items.resize(kept);
  std::partial_sum(result.category_ends.begin(), result.category_ends.end(), result.category_ends.begin());
  result.detections = std::move(found.items);
  result.ground_truths = std::move(wanted.items);
  return result;
}

}  // namespace d2_ops
