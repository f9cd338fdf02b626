#include "d2_ops/label_pairs.h"

#include <memory>
#include <vector>

#include "arrays.h"
#include "module.h"
#include "threaded_for.h"

namespace nb = nanobind;
using namespace d2_ops;

namespace {

template <class T>
using Labels = Array<const T, nb::ndim<1>>;

// (P, 3): first label, second label, pixels.
template <class A, class B>
nb::object label_pairs(Labels<A> first, Labels<B> second, int64_t threads) {
  auto pairs = std::make_unique<std::vector<LabelPair>>();
  {
    nb::gil_scoped_release unlocked;
    *pairs = count_label_pairs(first.data(), second.data(), static_cast<int64_t>(first.size()), ThreadedFor{threads});
  }
  static_assert(sizeof(LabelPair) == 3 * sizeof(int64_t));
  const size_t count = pairs->size();
  int64_t* rows = reinterpret_cast<int64_t*>(pairs->data());
  nb::capsule owner(pairs.release(), [](void* p) noexcept { delete static_cast<std::vector<LabelPair>*>(p); });
  return nb::ndarray<nb::numpy, int64_t>(rows, {count, 3}, owner).cast();
}

template <class A, class B>
int64_t confusion(Labels<A> first, Labels<B> second, Array<int64_t, nb::ndim<2>> counts, bool has_ignored,
                  int64_t ignored, int64_t threads) {
  nb::gil_scoped_release unlocked;
  return add_confusion(first.data(), second.data(), static_cast<int64_t>(first.size()),
                       {static_cast<int64_t>(counts.shape(0)), has_ignored, ignored}, counts.data(),
                       ThreadedFor{threads});
}

template <class A, class B>
void bind_pair(nb::module_& m) {
  m.def("label_pairs", &label_pairs<A, B>, nb::arg("first"), nb::arg("second"), nb::arg("threads"));
  m.def("confusion", &confusion<A, B>, nb::arg("first"), nb::arg("second"), nb::arg("counts"), nb::arg("has_ignored"),
        nb::arg("ignored"), nb::arg("threads"));
}

template <class A>
void bind_first(nb::module_& m) {
  bind_pair<A, uint8_t>(m);
  bind_pair<A, uint16_t>(m);
  bind_pair<A, int32_t>(m);
  bind_pair<A, int64_t>(m);
}

}  // namespace

void bind_labels(nb::module_& m) {
  bind_first<uint8_t>(m);
  bind_first<uint16_t>(m);
  bind_first<int32_t>(m);
  bind_first<int64_t>(m);
}
