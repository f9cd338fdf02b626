#include "d2_ops/rle.h"

#include <string>
#include <vector>

#include "arrays.h"
#include "d2_ops/run_columns.h"
#include "d2_ops/runs_of_columns.h"
#include "failures.h"
#include "module.h"
#include "rle_arguments.h"
#include "texts.h"
#include "threaded_for.h"

namespace nb = nanobind;
using namespace d2_ops;

namespace {

constexpr int64_t kPixelsPerThread = 1 << 18;

int64_t images_per_thread(int64_t height, int64_t width) { return 1 + kPixelsPerThread / (height * width + 1); }

// Of masks in rows of pixels, or in columns: the transposes of masks that lie in memory column after
// column.
std::vector<std::string> texts_of_masks(const Array<const uint8_t, nb::ndim<3>>& masks, bool columns, int64_t threads) {
  const int64_t first = masks.shape(1), second = masks.shape(2), pixels = first * second;
  std::vector<std::string> texts(masks.shape(0));
  FirstFailure failure;
  {
    nb::gil_scoped_release unlocked;
    ThreadedFor{threads}(0, masks.shape(0), images_per_thread(first, second), [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n)
        failure.watch(n, [&] {
          const uint8_t* mask = masks.data() + n * pixels;
          texts[n] = text_of_runs(columns ? runs_of_columns(mask, pixels) : runs_of_mask(mask, first, second), pixels);
        });
    });
  }
  failure.raise("mask");
  return texts;
}

nb::list masks_to_counts(Array<const uint8_t, nb::ndim<3>> masks, bool columns, int64_t threads) {
  return list_of_texts(texts_of_masks(masks, columns, threads));
}

// The texts one after the other.
nb::bytes pack_masks(Array<const uint8_t, nb::ndim<3>> masks, bool columns, Array<int64_t, nb::ndim<1>> ends,
                     int64_t threads) {
  std::string all;
  int64_t n = 0;
  for (const std::string& text : texts_of_masks(masks, columns, threads)) {
    all += text;
    ends.data()[n++] = static_cast<int64_t>(all.size());
  }
  return bytes_of(all);
}

void rles_to_masks(nb::list rles, Array<uint8_t, nb::ndim<3>> out, int64_t threads) {
  const std::vector<EncodedMask> masks = read_rles(rles, "rle");
  FirstFailure failure;
  {
    nb::gil_scoped_release unlocked;
    const int64_t height = out.shape(1), width = out.shape(2);
    ThreadedFor{threads}(0, masks.size(), images_per_thread(height, width), [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n)
        failure.watch(n, [&] {
          masks[n].require_size(height, width);
          mask_of_runs(masks[n].runs(), height, width, out.data() + n * height * width);
        });
    });
  }
  failure.raise("rle");
}

void rle_areas(nb::list rles, Array<int64_t, nb::ndim<1>> areas, int64_t threads) {
  const std::vector<EncodedMask> masks = read_rles(rles, "rle");
  FirstFailure failure;
  {
    nb::gil_scoped_release unlocked;
    ThreadedFor{threads}(0, masks.size(), masks_per_thread(masks), [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n)
        failure.watch(n, [&] { areas.data()[n] = area_of_text(masks[n].counts(), masks[n].pixels()); });
    });
  }
  failure.raise("rle");
}

// x, y, width, height
void rle_boxes(nb::list rles, Array<double, nb::shape<-1, 4>> boxes, int64_t threads) {
  const std::vector<EncodedMask> masks = read_rles(rles, "rle");
  FirstFailure failure;
  {
    nb::gil_scoped_release unlocked;
    ThreadedFor{threads}(0, masks.size(), masks_per_thread(masks), [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n)
        failure.watch(n, [&] {
          BoxFinder finder(masks[n].height);
          for_each_run(masks[n].counts(), masks[n].pixels(), [&](int64_t begin, int64_t end) { finder.add(begin, end); });
          const PixelBox box = finder.box();
          double* out = boxes.data() + 4 * n;
          out[0] = static_cast<double>(box.left);
          out[1] = static_cast<double>(box.top);
          out[2] = static_cast<double>(box.right - box.left);
          out[3] = static_cast<double>(box.bottom - box.top);
        });
    });
  }
  failure.raise("rle");
}

// RLEs with their texts as bytes, once it is known that they are good.
nb::list compress_rles(nb::list rles, int64_t threads) {
  const std::vector<EncodedMask> masks = read_rles(rles, "rle");
  FirstFailure failure;
  {
    nb::gil_scoped_release unlocked;
    ThreadedFor{threads}(0, masks.size(), masks_per_thread(masks), [&](int64_t from, int64_t to) {
      for (int64_t n = from; n < to; ++n)
        failure.watch(n, [&] { area_of_text(masks[n].counts(), masks[n].pixels()); });
    });
  }
  failure.raise("rle");
  nb::list compressed;
  for (const EncodedMask& mask : masks) {
    nb::list size;
    size.append(mask.height);
    size.append(mask.width);
    nb::dict one;
    one["size"] = size;
    one["counts"] = bytes_of(mask.counts());
    compressed.append(one);
  }
  return compressed;
}

// The texts of RLEs, unread, one after the other.
nb::bytes pack_rles(nb::list rles, Array<int64_t, nb::ndim<1>> ends, Array<int64_t, nb::shape<-1, 2>> sizes) {
  std::string text;
  int64_t n = 0;
  for (const EncodedMask& mask : read_rles(rles, "rles")) {
    text += mask.counts();
    ends.data()[n] = static_cast<int64_t>(text.size());
    sizes.data()[2 * n] = mask.height;
    sizes.data()[2 * n++ + 1] = mask.width;
  }
  return bytes_of(text);
}

nb::tuple rle_size(nb::object rle) {
  const EncodedMask mask = read_size(rle, "rle");
  return nb::make_tuple(mask.height, mask.width);
}

}  // namespace

void bind_rle(nb::module_& m) {
  m.def("masks_to_counts", &masks_to_counts, nb::arg("masks"), nb::arg("columns"), nb::arg("threads"));
  m.def("pack_masks", &pack_masks, nb::arg("masks"), nb::arg("columns"), nb::arg("ends"), nb::arg("threads"));
  m.def("rles_to_masks", &rles_to_masks, nb::arg("rles"), nb::arg("masks"), nb::arg("threads"));
  m.def("rle_areas", &rle_areas, nb::arg("rles"), nb::arg("areas"), nb::arg("threads"));
  m.def("rle_boxes", &rle_boxes, nb::arg("rles"), nb::arg("boxes"), nb::arg("threads"));
  m.def("compress_rles", &compress_rles, nb::arg("rles"), nb::arg("threads"));
  m.def("pack_rles", &pack_rles, nb::arg("rles"), nb::arg("ends"), nb::arg("sizes"));
  m.def("rle_size", &rle_size, nb::arg("rle"));
}
