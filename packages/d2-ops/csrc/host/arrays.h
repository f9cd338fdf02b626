// NumPy arrays as the kernels of this folder take them.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>

namespace d2_ops {

template <class T, class... Shape>
using Array = nanobind::ndarray<T, nanobind::device::cpu, nanobind::c_contig, Shape...>;

}  // namespace d2_ops
