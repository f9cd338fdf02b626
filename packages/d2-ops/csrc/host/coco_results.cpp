#include "d2_ops/coco_results.h"

#include <thread>
#include <utility>

#include "arrays.h"
#include "module.h"
#include "threaded_for.h"

namespace nb = nanobind;
using namespace d2_ops;

namespace {

// Hands numbers to NumPy without copying them.
template <class T>
nb::object array_of(std::vector<T>&& numbers, size_t rows, size_t columns) {
  auto* kept = new std::vector<T>(std::move(numbers));
  nb::capsule owner(kept, [](void* pointer) noexcept { delete static_cast<std::vector<T>*>(pointer); });
  const size_t shape[2] = {rows, columns};
  return nb::cast(nb::ndarray<nb::numpy, T>(kept->data(), columns == 0 ? 1 : 2, shape, owner));
}

nb::object array_of_text(std::string&& text) {
  auto* kept = new std::string(std::move(text));
  nb::capsule owner(kept, [](void* pointer) noexcept { delete static_cast<std::string*>(pointer); });
  const size_t shape[1] = {kept->size()};
  return nb::cast(nb::ndarray<nb::numpy, uint8_t>(reinterpret_cast<uint8_t*>(kept->data()), 1, shape, owner));
}

// A dict of the columns that there are, or None.
nb::object coco_results_of(Array<const uint8_t, nb::ndim<1>> json, int64_t threads) {
  std::optional<CocoResultColumns> read;
  {
    nb::gil_scoped_release unlocked;
    const std::string_view text(reinterpret_cast<const char*>(json.data()), json.size());
    const int64_t most = threads > 0 ? threads : std::max<int64_t>(std::thread::hardware_concurrency(), 1);
    read = read_coco_results(text, most, ThreadedFor{threads});
  }
  if (!read) return nb::none();
  const size_t count = read->images.size(), box = read->box, points = read->points;
  nb::dict columns;
  columns["images"] = array_of(std::move(read->images), count, 0);
  columns["categories"] = array_of(std::move(read->categories), count, 0);
  columns["scores"] = array_of(std::move(read->scores), count, 0);
  if (box > 0) columns["boxes"] = array_of(std::move(read->boxes), count, box);
  if (points > 0) columns["keypoints"] = array_of(std::move(read->keypoints), count, points);
  if (read->has_masks())
    columns["masks"] = nb::make_tuple(array_of_text(std::move(read->counts)), array_of(std::move(read->ends), count, 0),
                                      array_of(std::move(read->sizes), count, 2));
  return columns;
}

}  // namespace

void bind_coco_results(nb::module_& m) {
  m.def("coco_results_of", &coco_results_of, nb::arg("json"), nb::arg("threads"));
}
