#include <cstdint>
#include <string>
#include <vector>

#include "arrays.h"
#include "d2_ops/mask_boundary.h"
#include "d2_ops/mask_iou.h"
#include "d2_ops/rle.h"
#include "d2_ops/run_sets.h"
#include "failures.h"
#include "module.h"
#include "rle_arguments.h"
#include "texts.h"
#include "threaded_for.h"

namespace nb = nanobind;
using namespace d2_ops;

namespace {

using Flags = Array<const uint8_t, nb::ndim<1>>;

// What `use` makes of the runs of each mask, on several threads.
template <class Result, class Use>
std::vector<Result> of_each(const std::vector<EncodedMask>& masks, FirstFailure* failure, int64_t threads,
                            const Use& use) {
  std::vector<Result> results(masks.size());
  ThreadedFor{threads}(0, masks.size(), masks_per_thread(masks), [&](int64_t from, int64_t to) {
    for (int64_t n = from; n < to; ++n) failure->watch(n, [&] { results[n] = use(masks[n]); });
  });
  return results;
}

nb::bytes merge_rles(nb::list rles, bool intersect, int64_t threads) {
  const std::vector<EncodedMask> masks = read_rles(rles, "rles");
  if (masks.empty()) return nb::bytes("", 0);
  FirstFailure failure;
  std::string text;
  {
    nb::gil_scoped_release unlocked;
    auto runs = of_each<Runs>(masks, &failure, threads, [&](const EncodedMask& mask) {
      mask.require_size(masks[0].height, masks[0].width);
      return mask.runs();
    });
    text = text_of_runs(merge_runs(std::move(runs), intersect), masks[0].pixels());
  }
  failure.raise("rles");
  return bytes_of(text);
}

Runs boundary_of(const EncodedMask& mask, double ratio) {
  return boundary_of_runs(mask.runs(), mask.height, boundary_distance(mask.height, mask.width, ratio));
}

nb::list rle_boundaries(nb::list rles, double ratio, int64_t threads) {
  const std::vector<EncodedMask> masks = read_rles(rles, "rle");
  FirstFailure failure;
  std::vector<std::string> texts;
  {
    nb::gil_scoped_release unlocked;
    texts = of_each<std::string>(masks, &failure, threads, [&](const EncodedMask& mask) {
      return text_of_runs(boundary_of(mask, ratio), mask.pixels());
    });
  }
  failure.raise("rle");
  return list_of_texts(texts);
}

// (N, H, W) to (N, H, W).
void mask_boundaries(Array<const uint8_t, nb::ndim<3>> masks, double ratio, Array<uint8_t, nb::ndim<3>> out,
                     int64_t threads) {
  FirstFailure failure;
  {
    nb::gil_scoped_release unlocked;
    const int64_t height = masks.shape(1), width = masks.shape(2), distance = boundary_distance(height, width, ratio);
    ThreadedFor{threads}(0, masks.shape(0), 1, [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n)
        failure.watch(n, [&] {
          const Runs runs = runs_of_mask(masks.data() + n * height * width, height, width);
          mask_of_runs(boundary_of_runs(runs, height, distance), height, width, out.data() + n * height * width);
        });
    });
  }
  failure.raise("mask");
}

// Overlaps of masks, or with a ratio of at least 0 of their boundaries.
void rle_ious(nb::list detections, nb::list truths, Flags crowd, double ratio, Array<double, nb::ndim<2>> out,
              int64_t threads) {
  const std::vector<EncodedMask> rows = read_rles(detections, "detections");
  const std::vector<EncodedMask> columns = read_rles(truths, "ground_truths");
  FirstFailure bad_rows, bad_columns;
  {
    nb::gil_scoped_release unlocked;
    const auto measure = [&](const EncodedMask& mask) {
      if (!columns.empty()) mask.require_size(columns[0].height, columns[0].width);
      if (ratio >= 0.0) return spans_of_runs(boundary_of(mask, ratio), mask.height, mask.width);
      MaskSpans spans;
      decode_spans(mask.counts(), mask.height, mask.width, &spans);
      return spans;
    };
    const auto from_rows = of_each<MaskSpans>(rows, &bad_rows, threads, measure);
    const auto from_columns = of_each<MaskSpans>(columns, &bad_columns, threads, measure);
    const int64_t count = columns.size(), grain = 1 + 4096 / (count + 1);
    ThreadedFor{threads}(0, rows.size(), grain, [&](int64_t from, int64_t to) {
      for (int64_t d = from; d < to; ++d)
        for (int64_t g = 0; g < count; ++g)
          out.data()[d * count + g] = mask_iou(from_rows[d], from_columns[g], crowd.data()[g]);
    });
  }
  bad_rows.raise("detections");
  bad_columns.raise("ground_truths");
}

// boxes: x, y, width, height; truths: the same, transposed.
void box_ious(Array<const double, nb::shape<-1, 4>> boxes, Array<const double, nb::shape<4, -1>> truths, Flags crowd,
              Array<double, nb::ndim<2>> out, int64_t threads) {
  nb::gil_scoped_release unlocked;
  crowd_box_iou(boxes.data(), boxes.shape(0), truths.data(), crowd.data(), truths.shape(1), out.data(),
                ThreadedFor{threads});
}

}  // namespace

void bind_mask_overlaps(nb::module_& m) {
  m.def("merge_rles", &merge_rles, nb::arg("rles"), nb::arg("intersect"), nb::arg("threads"));
  m.def("rle_boundaries", &rle_boundaries, nb::arg("rles"), nb::arg("ratio"), nb::arg("threads"));
  m.def("mask_boundaries", &mask_boundaries, nb::arg("masks"), nb::arg("ratio"), nb::arg("out"), nb::arg("threads"));
  m.def("rle_ious", &rle_ious, nb::arg("detections"), nb::arg("truths"), nb::arg("crowd"), nb::arg("ratio"),
        nb::arg("out"), nb::arg("threads"));
  m.def("box_ious", &box_ious, nb::arg("boxes"), nb::arg("truths"), nb::arg("crowd"), nb::arg("out"),
        nb::arg("threads"));
}
