// How much the detections of a group overlap its ground truths, as pycocotools computes it: the same
// float64 operations in the same order. A crowd is compared by the share of the detection in it.
//
// A source of overlaps has begin(group) and visit(position, least, f), which calls f(i, overlap) for
// the detection at a position and ground truths i of the group in ascending order; it may leave out
// those whose overlap is below `least`. Each thread has a source of its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "coco_groups.h"
#include "mask_spans.h"

namespace d2_ops {

// Boxes are x, y, width, height.
class BoxOverlaps {
 public:
  BoxOverlaps(const CocoGroups& groups, const double* detections, const double* ground_truths, const uint8_t* crowd)
      : groups_(groups), detections_(detections), ground_truths_(ground_truths), crowd_(crowd) {}

  void begin(const CocoGroup& group) {
    wanted_.clear();
    for (int64_t g = group.first_ground_truth; g < group.last_ground_truth; ++g) {
      const int64_t item = groups_.ground_truths[g];
      const double* box = ground_truths_ + 4 * item;
      wanted_.push_back({box[0], box[1], box[2] + box[0], box[3] + box[1], box[2] * box[3], crowd_[item] != 0});
    }
  }

  template <class F>
  void visit(int64_t position, double least, const F& f) const {
    const double* box = detections_ + 4 * groups_.detections[position];
    const double left = box[0], top = box[1], right = box[2] + box[0], bottom = box[3] + box[1];
    const double area = box[2] * box[3];
    for (size_t i = 0; i < wanted_.size(); ++i) {
      const Corners& other = wanted_[i];
      const double width = std::min(right, other.right) - std::max(left, other.left);
      const double height = std::min(bottom, other.bottom) - std::max(top, other.top);
      double overlap = 0;
      if (width > 0 && height > 0) {
        const double common = width * height;
        overlap = common / (other.crowd ? area : area + other.area - common);
      } else if (least > 0) {
        continue;
      }
      f(static_cast<int64_t>(i), overlap);
    }
  }

 private:
  struct Corners {
    double left, top, right, bottom, area;
    bool crowd;
  };

  const CocoGroups& groups_;
  const double *detections_, *ground_truths_;
  const uint8_t* crowd_;
  std::vector<Corners> wanted_;
};

// Run-length encoded masks: all texts in one, with the end of each, and height and width of each.
struct PackedMasks {
  const char* text;
  const int64_t* ends;
  const int64_t* sizes;

  // Errors name the mask as `name`[item].
  void decode(int64_t item, const char* name, MaskSpans* spans) const {
    naming(item, name, [&] { decode_spans(text_of(item), sizes[2 * item], sizes[2 * item + 1], spans); });
  }

  int64_t area(int64_t item, const char* name) const {
    int64_t result = 0;
    naming(item, name, [&] {
      result = area_of_text(text_of(item), checked_pixels(sizes[2 * item], sizes[2 * item + 1]));
    });
    return result;
  }

 private:
  std::string_view text_of(int64_t item) const {
    const int64_t begin = item == 0 ? 0 : ends[item - 1];
    return {text + begin, static_cast<size_t>(ends[item] - begin)};
  }

  template <class F>
  static void naming(int64_t item, const char* name, const F& f) {
    try {
      f();
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(std::string(name) + "[" + std::to_string(item) + "]: " + error.what());
    }
  }
};

// Runs are compared only where areas and boxes of two masks leave it open whether they overlap enough.
class MaskOverlaps {
 public:
  // `areas`: where those of the detections are to be written, or null.
  MaskOverlaps(const CocoGroups& groups, const PackedMasks& detections, const PackedMasks& ground_truths,
               const uint8_t* crowd, double* areas)
      : groups_(groups), detections_(detections), ground_truths_(ground_truths), crowd_(crowd), areas_(areas) {}

  void begin(const CocoGroup& group) {
    first_ = group.first_ground_truth;
    count_ = group.detections() == 0 ? 0 : group.ground_truths();
    if (static_cast<int64_t>(wanted_.size()) < count_) wanted_.resize(count_);
    for (int64_t i = 0; i < count_; ++i)
      ground_truths_.decode(groups_.ground_truths[first_ + i], "ground_truths.masks", &wanted_[i]);
  }

  template <class F>
  void visit(int64_t position, double least, const F& f) {
    const int64_t item = groups_.detections[position];
    if (count_ == 0) {
      if (areas_) areas_[item] = static_cast<double>(detections_.area(item, "detections.masks"));
      return;
    }
    detections_.decode(item, "detections.masks", &found_);
    if (areas_) areas_[item] = static_cast<double>(found_.area);
    for (int64_t i = 0; i < count_; ++i) {
      check_size(item, i);
      const bool crowd = crowd_[groups_.ground_truths[first_ + i]] != 0;
      const int64_t most = std::min({found_.area, wanted_[i].area, box_intersection(found_, wanted_[i])});
      if (ratio(most, i, crowd) < least) continue;
      f(i, ratio(most == 0 ? 0 : intersection(found_, wanted_[i]), i, crowd));
    }
  }

 private:
  // Grows with `common`, also when rounded.
  double ratio(int64_t common, int64_t i, bool crowd) const {
    if (common == 0) return 0;
    const int64_t whole = crowd ? found_.area : found_.area + wanted_[i].area - common;
    return static_cast<double>(common) / static_cast<double>(whole);
  }

  void check_size(int64_t item, int64_t i) const {
    const MaskSpans& other = wanted_[i];
    if (found_.height == other.height && found_.width == other.width) return;
    const auto size = [](const MaskSpans& m) { return std::to_string(m.height) + " x " + std::to_string(m.width); };
    throw std::invalid_argument("detections.masks[" + std::to_string(item) + "] is " + size(found_) +
                                " but ground_truths.masks[" + std::to_string(groups_.ground_truths[first_ + i]) +
                                "] of the same image " + size(other));
  }

  const CocoGroups& groups_;
  PackedMasks detections_, ground_truths_;
  const uint8_t* crowd_;
  double* areas_;
  int64_t first_ = 0, count_ = 0;
  std::vector<MaskSpans> wanted_;
  MaskSpans found_;
};

// Overlaps that the caller has computed, one per pair of each group.
class GivenOverlaps {
 public:
  explicit GivenOverlaps(const double* overlaps) : overlaps_(overlaps) {}

  void begin(const CocoGroup& group) { group_ = group; }

  template <class F>
  void visit(int64_t position, double /*least*/, const F& f) const {
    const int64_t count = group_.ground_truths();
    const double* row = overlaps_ + group_.first_pair + (position - group_.first_detection) * count;
    for (int64_t i = 0; i < count; ++i) f(i, row[i]);
  }

 private:
  const double* overlaps_;
  CocoGroup group_{};
};

}  // namespace d2_ops
