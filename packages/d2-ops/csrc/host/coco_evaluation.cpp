#include "d2_ops/coco_evaluation.h"

#include "arrays.h"
#include "module.h"
#include "threaded_for.h"

namespace nb = nanobind;
using namespace d2_ops;

namespace {

using Ints = Array<const int64_t, nb::ndim<1>>;
using Doubles = Array<const double, nb::ndim<1>>;
using Flags = Array<const uint8_t, nb::ndim<1>>;
using Boxes = Array<const double, nb::shape<-1, 4>>;
using Sizes = Array<const int64_t, nb::shape<-1, 2>>;

// Groups with the scores that they were sorted by, for as long as both are needed.
struct ScoredGroups {
  CocoGroups groups;
  Doubles scores;
  int64_t threads;
};

void make_groups(ScoredGroups* self, Ints images, Ints categories, Doubles scores, Ints truth_images,
                 Ints truth_categories, int64_t image_count, int64_t category_count, bool use_categories, int64_t limit,
                 int64_t threads) {
  const CocoPlaces found{images.data(), categories.data(), static_cast<int64_t>(images.size())};
  const CocoPlaces wanted{truth_images.data(), truth_categories.data(), static_cast<int64_t>(truth_images.size())};
  CocoGroups groups;
  {
    nb::gil_scoped_release unlocked;
    groups = group_for_coco(found, scores.data(), wanted, image_count, category_count, use_categories, limit,
                            ThreadedFor{threads});
  }
  new (self) ScoredGroups{std::move(groups), scores, threads};
}

// Input indices of the detection and the ground truth of every pair, in the order of GivenOverlaps.
void fill_pairs(const ScoredGroups& scored, Array<int64_t, nb::ndim<1>> detections,
                Array<int64_t, nb::ndim<1>> ground_truths) {
  nb::gil_scoped_release unlocked;
  int64_t *detection = detections.data(), *ground_truth = ground_truths.data();
  for (const CocoGroup& group : scored.groups.groups) {
    for (int64_t d = group.first_detection; d < group.last_detection; ++d) {
      for (int64_t g = group.first_ground_truth; g < group.last_ground_truth; ++g) {
        *detection++ = scored.groups.detections[d];
        *ground_truth++ = scored.groups.ground_truths[g];
      }
    }
  }
}

// The arguments that all kinds of objects have in common.
struct Evaluation {
  Array<double, nb::ndim<1>> areas;
  Doubles truth_areas;
  Flags crowd, ignored, nameless;
  Doubles thresholds, recall_thresholds;
  Array<const double, nb::shape<-1, 2>> area_ranges;
  Ints limits;
  Array<double, nb::ndim<5>> precision;
  Array<double, nb::ndim<4>> recall;
  Array<double, nb::ndim<5>> scores;
};

void make_evaluation(Evaluation* self, Array<double, nb::ndim<1>> areas, Doubles truth_areas,
                     Flags crowd, Flags ignored, Flags nameless,
                     Doubles thresholds, Doubles recall_thresholds, Array<const double, nb::shape<-1, 2>> area_ranges,
                     Ints limits, Array<double, nb::ndim<5>> precision, Array<double, nb::ndim<4>> recall,
                     Array<double, nb::ndim<5>> scores) {
  new (self) Evaluation{areas,       truth_areas, crowd,     ignored, nameless, thresholds, recall_thresholds,
                        area_ranges, limits,      precision, recall,  scores};
}

template <class MakeOverlaps>
void evaluate(const ScoredGroups& scored, const Evaluation& e, const MakeOverlaps& make_overlaps) {
  std::vector<AreaRange> areas;
  for (size_t a = 0; a < e.area_ranges.shape(0); ++a) areas.push_back({e.area_ranges(a, 0), e.area_ranges(a, 1)});
  const CocoObjects objects{e.areas.data(), e.truth_areas.data(), e.crowd.data(), e.ignored.data(), e.nameless.data()};
  const CocoSettings settings{e.thresholds.data(),
                              static_cast<int64_t>(e.thresholds.size()),
                              e.recall_thresholds.data(),
                              static_cast<int64_t>(e.recall_thresholds.size()),
                              areas.data(),
                              static_cast<int64_t>(areas.size()),
                              e.limits.data(),
                              static_cast<int64_t>(e.limits.size())};
  const CocoResult result{e.precision.data(), e.recall.data(), e.scores.data()};
  nb::gil_scoped_release unlocked;
  evaluate_coco(scored.groups, scored.scores.data(), objects, settings, make_overlaps, ThreadedFor{scored.threads},
                result);
}

void evaluate_boxes(const ScoredGroups& scored, const Evaluation& evaluation, Boxes boxes, Boxes truth_boxes) {
  evaluate(scored, evaluation, [&, crowd = evaluation.crowd.data()] {
    return BoxOverlaps(scored.groups, boxes.data(), truth_boxes.data(), crowd);
  });
}

// Writes the areas of the detections that take part into those of the evaluation, unless they are given.
void evaluate_masks(const ScoredGroups& scored, const Evaluation& evaluation, bool areas_given, Flags text, Ints ends,
                    Sizes sizes, Flags truth_text, Ints truth_ends, Sizes truth_sizes) {
  const auto packed = [](const Flags& bytes, const Ints& last, const Sizes& size) {
    return PackedMasks{reinterpret_cast<const char*>(bytes.data()), last.data(), size.data()};
  };
  double* areas = areas_given ? nullptr : evaluation.areas.data();
  evaluate(scored, evaluation, [&, areas, crowd = evaluation.crowd.data()] {
    return MaskOverlaps(scored.groups, packed(text, ends, sizes), packed(truth_text, truth_ends, truth_sizes), crowd,
                        areas);
  });
}

void evaluate_overlaps(const ScoredGroups& scored, const Evaluation& evaluation, Doubles overlaps) {
  evaluate(scored, evaluation, [&] { return GivenOverlaps(overlaps.data()); });
}

void mask_areas(Flags text, Ints ends, Sizes sizes, Array<int64_t, nb::ndim<1>> areas, int64_t threads) {
  const PackedMasks masks{reinterpret_cast<const char*>(text.data()), ends.data(), sizes.data()};
  constexpr int64_t kMasksPerUnit = 256;
  const int64_t count = static_cast<int64_t>(areas.size());
  nb::gil_scoped_release unlocked;
  const auto measure = [&](int64_t /*state*/, int64_t unit) {
    for (int64_t i = unit * kMasksPerUnit; i < std::min((unit + 1) * kMasksPerUnit, count); ++i)
      areas.data()[i] = masks.area(i, "masks");
  };
  for_each_unit(ThreadedFor{threads}, (count + kMasksPerUnit - 1) / kMasksPerUnit, [] { return int64_t{0}; }, measure);
}

}  // namespace

void bind_coco_evaluation(nb::module_& m) {
  nb::class_<ScoredGroups>(m, "CocoGroups")
      .def("__init__", &make_groups, nb::arg("images"), nb::arg("categories"), nb::arg("scores"),
           nb::arg("truth_images"), nb::arg("truth_categories"), nb::arg("image_count"), nb::arg("category_count"),
           nb::arg("use_categories"), nb::arg("limit"), nb::arg("threads"))
      .def_prop_ro("pairs", [](const ScoredGroups& scored) { return scored.groups.pairs; })
      .def("fill_pairs", &fill_pairs, nb::arg("detections"), nb::arg("ground_truths"))
      .def("evaluate_boxes", &evaluate_boxes, nb::arg("evaluation"), nb::arg("boxes"), nb::arg("truth_boxes"))
      .def("evaluate_masks", &evaluate_masks, nb::arg("evaluation"), nb::arg("areas_given"), nb::arg("text"),
           nb::arg("ends"), nb::arg("sizes"), nb::arg("truth_text"), nb::arg("truth_ends"), nb::arg("truth_sizes"))
      .def("evaluate_overlaps", &evaluate_overlaps, nb::arg("evaluation"), nb::arg("overlaps"));
  nb::class_<Evaluation>(m, "CocoEvaluation")
      .def("__init__", &make_evaluation, nb::arg("areas"), nb::arg("truth_areas"), nb::arg("crowd"),
           nb::arg("ignored"), nb::arg("nameless"), nb::arg("thresholds"), nb::arg("recall_thresholds"),
           nb::arg("area_ranges"), nb::arg("limits"), nb::arg("precision"), nb::arg("recall"), nb::arg("scores"));
  m.def("mask_areas", &mask_areas, nb::arg("text"), nb::arg("ends"), nb::arg("sizes"), nb::arg("areas"),
        nb::arg("threads"));
}
