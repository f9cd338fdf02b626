#include <vector>

#include "arrays.h"
#include "d2_ops/bitmap_box.h"
#include "d2_ops/bitmap_crops.h"
#include "failures.h"
#include "module.h"
#include "rle_arguments.h"
#include "threaded_for.h"

namespace nb = nanobind;
using namespace d2_ops;

namespace {

using Boxes = Array<const float, nb::shape<-1, 4>>;  // x1, y1, x2, y2

// x, y, width, height
void bitmap_boxes(Array<const uint8_t, nb::ndim<3>> masks, Array<double, nb::shape<-1, 4>> boxes, int64_t threads) {
  nb::gil_scoped_release unlocked;
  const int64_t height = masks.shape(1), width = masks.shape(2);
  ThreadedFor{threads}(0, masks.shape(0), 1 + (1 << 20) / (height * width + 1), [&](int64_t from, int64_t to) {
    for (int64_t n = from; n < to; ++n) {
      const PixelBox box = box_of_bitmap(masks.data() + n * height * width, height, width);
      double* out = boxes.data() + 4 * n;
      out[0] = static_cast<double>(box.left);
      out[1] = static_cast<double>(box.top);
      out[2] = static_cast<double>(box.right - box.left);
      out[3] = static_cast<double>(box.bottom - box.top);
    }
  });
}

void crop_bitmaps(Array<const uint8_t, nb::ndim<3>> masks, Boxes boxes, Array<uint8_t, nb::ndim<3>> out,
                  int64_t threads) {
  FirstFailure failure;
  {
    nb::gil_scoped_release unlocked;
    const int64_t height = masks.shape(1), width = masks.shape(2), size = out.shape(1);
    ThreadedFor{threads}(0, masks.shape(0), 4, [&](int64_t from, int64_t to) {
      BitmapCrop crop(height, width, size);
      for (int64_t n = from; n < to; ++n)
        failure.watch(n, [&] {
          const PixelBox window = crop.lay(boxes.data() + 4 * n);
          const uint8_t* mask = masks.data() + n * height * width;
          crop.sample(mask + window.top * width + window.left, width, out.data() + n * size * size);
        });
    });
  }
  failure.raise("masks");
}

void crop_rles(nb::list rles, Boxes boxes, Array<uint8_t, nb::ndim<3>> out, int64_t threads) {
  const std::vector<EncodedMask> masks = read_rles(rles, "rles");
  FirstFailure failure;
  {
    nb::gil_scoped_release unlocked;
    const int64_t size = out.shape(1);
    ThreadedFor{threads}(0, masks.size(), 4, [&](int64_t from, int64_t to) {
      std::vector<uint8_t> pixels;
      for (int64_t n = from; n < to; ++n)
        failure.watch(n, [&] {
          BitmapCrop crop(masks[n].height, masks[n].width, size);
          const PixelBox window = crop.lay(boxes.data() + 4 * n);
          window_of_runs(masks[n].runs(), masks[n].height, window, &pixels);
          crop.sample(pixels.data(), window.right - window.left, out.data() + n * size * size);
        });
    });
  }
  failure.raise("rles");
}

}  // namespace

void bind_bitmasks(nb::module_& m) {
  m.def("bitmap_boxes", &bitmap_boxes, nb::arg("masks"), nb::arg("boxes"), nb::arg("threads"));
  m.def("crop_bitmaps", &crop_bitmaps, nb::arg("masks"), nb::arg("boxes"), nb::arg("out"), nb::arg("threads"));
  m.def("crop_rles", &crop_rles, nb::arg("rles"), nb::arg("boxes"), nb::arg("out"), nb::arg("threads"));
}
