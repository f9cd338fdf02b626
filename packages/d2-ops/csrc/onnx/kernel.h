// From ONNX Runtime's calls to kernels and back.
//
// Kernel is an operator: it has kName, kInputs, kOutput, is made of its Attributes, and its
// compute(Context&) fills the output. What it throws arrives as the runtime's error.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "../require.h"
#include "onnxruntime_table.h"

namespace d2_ops {

namespace ort = onnxruntime_table;

inline void check(ort::Table table, ort::Status status) {
  if (status == nullptr) return;
  const std::string message = ort::get_error_message(table, status);
  ort::release_status(table, status);
  throw std::runtime_error(message);
}

// What f throws, as a status.
template <class F>
ort::Status status_of(ort::Table table, const F& f) noexcept {
  try {
    f();
    return nullptr;
  } catch (const std::invalid_argument& error) {
    return ort::create_status(table, ort::kInvalidArgument, error.what());
  } catch (const std::bad_alloc&) {
    return ort::create_status(table, ort::kFail, "there is no memory for it");
  } catch (const std::exception& error) {
    return ort::create_status(table, ort::kFail, error.what());
  } catch (...) {
    return ort::create_status(table, ort::kFail, "an unknown exception");
  }
}

// The runtime's thread pool, in the form the kernels take.
class OrtFor {
 public:
  OrtFor(ort::Table table, const void* context) : table_(table), context_(context) {}

  template <class F>
  void operator()(int64_t begin, int64_t end, int64_t grain, const F& f) const {
    constexpr int64_t kMostParts = 64;
    const int64_t parts = std::min((end - begin) / std::max<int64_t>(grain, 1), kMostParts);
    if (begin >= end) return;
    if (parts <= 1) return f(begin, end);  // not worth entering the pool
    Work<F> work{f, begin, end, parts};
    check(table_, ort::parallel_for(table_, context_, &Work<F>::run, static_cast<size_t>(parts), 0, &work));
    if (work.error) std::rethrow_exception(work.error);
  }

 private:
  template <class F>
  struct Work {
    const F& f;
    int64_t begin, end, parts;
    std::mutex guard{};
    std::exception_ptr error{};

    static void run(void* data, size_t part) noexcept {
      Work& work = *static_cast<Work*>(data);
      const int64_t items = work.end - work.begin, i = static_cast<int64_t>(part);
      try {
        work.f(work.begin + items * i / work.parts, work.begin + items * (i + 1) / work.parts);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(work.guard);
        work.error = std::current_exception();
      }
    }
  };

  ort::Table table_;
  const void* context_;
};

// Numbers that stand in the graph.
class Attributes {
 public:
  Attributes(ort::Table table, const void* kernel_info) : table_(table), info_(kernel_info) {}

  int64_t integer(const char* name) const {
    int64_t value = 0;
    check(table_, ort::get_int64(table_, info_, name, &value));
    return value;
  }

  double number(const char* name) const {
    float value = 0;
    check(table_, ort::get_float(table_, info_, name, &value));
    return value;
  }

  std::vector<double> numbers(const char* name) const {
    const std::vector<float> found = all<float>(ort::get_floats, name);
    return {found.begin(), found.end()};
  }

  // As many as `wanted`.
  std::vector<int64_t> integers(const char* name, size_t wanted) const {
    std::vector<int64_t> found = all<int64_t>(ort::get_int64s, name);
    require(found.size() == wanted, name, " must have ", wanted, " values, got ", found.size());
    return found;
  }

 private:
  template <class T, class Get>
  std::vector<T> all(const Get& get, const char* name) const {
    size_t count = 0;
    check(table_, get(table_, info_, name, static_cast<T*>(nullptr), &count));
    std::vector<T> values(count);
    check(table_, get(table_, info_, name, values.data(), &count));
    return values;
  }

  ort::Table table_;
  const void* info_;
};

// A tensor that goes in; contiguous, as all of the runtime's are.
struct Input {
  std::vector<int64_t> shape;
  const void* data;

  int64_t dim() const { return static_cast<int64_t>(shape.size()); }
  int64_t size(size_t dimension) const { return shape[dimension]; }

  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

inline void require_matrix(const Input& input, int64_t columns, const char* op, const char* name) {
  require(input.dim() == 2 && input.size(1) == columns, op, ": ", name, " must have shape (N, ", columns, ")");
}

class Context {
 public:
  Context(ort::Table table, void* context) : table_(table), context_(context) {}

  size_t input_count() const {
    size_t count = 0;
    check(table_, ort::get_input_count(table_, context_, &count));
    return count;
  }

  bool has_input(size_t index) const { return index < input_count() && value_of(index) != nullptr; }

  Input input(size_t index) const {
    const void* value = value_of(index);
    void* info = nullptr;
    check(table_, ort::get_tensor_info(table_, value, &info));
    const struct Released {
      ort::Table table;
      void* info;
      ~Released() { ort::release_tensor_info(table, info); }
    } released{table_, info};
    size_t rank = 0;
    check(table_, ort::get_rank(table_, info, &rank));
    Input found{std::vector<int64_t>(rank), nullptr};
    check(table_, ort::get_shape(table_, info, found.shape.data(), rank));
    void* data = nullptr;
    check(table_, ort::get_tensor_data(table_, const_cast<void*>(value), &data));
    found.data = data;
    return found;
  }

  // Memory for the output, of this shape.
  template <class T>
  T* output(const std::vector<int64_t>& shape) {
    void *value = nullptr, *data = nullptr;
    check(table_, ort::get_output(table_, context_, 0, shape.data(), shape.size(), &value));
    check(table_, ort::get_tensor_data(table_, value, &data));
    return static_cast<T*>(data);
  }

  OrtFor parallel_for() const { return {table_, context_}; }

 private:
  const void* value_of(size_t index) const {
    const void* value = nullptr;
    check(table_, ort::get_input(table_, context_, index, &value));
    return value;
  }

  ort::Table table_;
  void* context_;
};

// How an input is typed, and whether it may be missing or several.
struct Slot {
  int type, kind;
};

namespace onnx_detail {

template <class Kernel>
struct Held {
  ort::Table table;
  Kernel kernel;
};

template <class Kernel>
constexpr size_t input_count() {
  return sizeof(Kernel::kInputs) / sizeof(Slot);
}

template <class Kernel>
ort::OrtCustomOp custom_op() {
  using Op = const ort::OrtCustomOp*;
  ort::OrtCustomOp op{};
  op.version = ort::kOldest;
  op.GetName = [](Op) { return Kernel::kName; };
  op.GetExecutionProviderType = [](Op) -> const char* { return nullptr; };  // the processor
  op.GetInputType = [](Op, size_t index) { return Kernel::kInputs[index].type; };
  op.GetInputTypeCount = [](Op) { return input_count<Kernel>(); };
  op.GetOutputType = [](Op, size_t) { return Kernel::kOutput; };
  op.GetOutputTypeCount = [](Op) -> size_t { return 1; };
  op.GetInputCharacteristic = [](Op, size_t index) { return Kernel::kInputs[index].kind; };
  op.GetOutputCharacteristic = [](Op, size_t) { return ort::kRequired; };
  op.GetInputMemoryType = [](Op, size_t) { return 0; };
  op.GetVariadicInputMinArity = [](Op) { return 1; };
  op.GetVariadicInputHomogeneity = [](Op) { return 1; };
  op.GetVariadicOutputMinArity = [](Op) { return 1; };
  op.GetVariadicOutputHomogeneity = [](Op) { return 1; };
  op.GetStartVersion = [](Op) { return 1; };
  op.GetEndVersion = [](Op) { return 0x7fffffff; };
  op.CreateKernelV2 = [](Op, ort::Table table, const void* info, void** kernel) {
    return status_of(table,
                     [&] { *kernel = new Held<Kernel>{table, Kernel(Attributes(table, info))}; });
  };
  op.KernelComputeV2 = [](void* kernel, void* context) {
    const auto& held = *static_cast<Held<Kernel>*>(kernel);
    return status_of(held.table, [&] {
      Context inputs_and_output(held.table, context);
      held.kernel.compute(inputs_and_output);
    });
  };
  op.KernelDestroy = [](void* kernel) { delete static_cast<Held<Kernel>*>(kernel); };
  return op;
}

}  // namespace onnx_detail

// The operator, which lives as long as the library.
template <class Kernel>
const ort::OrtCustomOp* operator_of() {
  static const ort::OrtCustomOp op = onnx_detail::custom_op<Kernel>();
  return &op;
}

}  // namespace d2_ops
