// A stand-in for ONNX Runtime's header of that name, which no package of an index ships.
//
// It declares what examples/cpp/detect_onnx.cpp calls of ONNX Runtime's C++ interface, over the
// C interface of the library in the Python package. With it the example is compiled and run where
// only the Python package is installed; whoever has ONNX Runtime's own header compiles with that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../../packages/d2-ops/csrc/onnx/onnxruntime_table.h"

extern "C" const onnxruntime_table::OrtApiBase* OrtGetApiBase();

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_WARNING = 2 };
enum OrtAllocatorType { OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };

namespace Ort {

namespace table = onnxruntime_table;

inline table::Table functions() {
  static const table::Table found = OrtGetApiBase()->GetApi(table::kOldest);
  return found;
}

struct Exception : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(table::Status status) {
  if (status != nullptr) {
    const std::string message = table::get_error_message(functions(), status);
    table::release_status(functions(), status);
    throw Exception(message);
  }
}

// release: the function of the table that ends what the pointer stands for.
template <const auto& release>
struct Handle {
  void* pointer = nullptr;
  explicit Handle(std::nullptr_t) {}
  Handle(Handle&& other) noexcept : pointer(std::exchange(other.pointer, nullptr)) {}
  ~Handle() {
    if (pointer != nullptr) {
      release(functions(), pointer);
    }
  }
};

struct Env : Handle<table::release_env> {
  Env(OrtLoggingLevel level, const char* name) : Handle(nullptr) {
    check(table::create_env(functions(), level, name, &pointer));
  }
};

struct SessionOptions : Handle<table::release_session_options> {
  SessionOptions() : Handle(nullptr) { check(table::create_session_options(functions(), &pointer)); }
  SessionOptions& RegisterCustomOpsLibrary(const char* path) {
    check(table::register_custom_ops_library(functions(), pointer, path));
    return *this;
  }
};

struct RunOptions {
  explicit RunOptions(std::nullptr_t) {}
};

struct MemoryInfo : Handle<table::release_memory_info> {
  using Handle::Handle;
  static MemoryInfo CreateCpu(OrtAllocatorType allocator, OrtMemType kind) {
    MemoryInfo info(nullptr);
    check(table::create_cpu_memory_info(functions(), allocator, kind, &info.pointer));
    return info;
  }
};

struct TensorTypeAndShapeInfo : Handle<table::release_tensor_info> {
  using Handle::Handle;
  size_t GetElementCount() const {
    size_t count = 0;
    check(table::get_element_count(functions(), pointer, &count));
    return count;
  }
  std::vector<int64_t> GetShape() const {
    size_t rank = 0;
    check(table::get_rank(functions(), pointer, &rank));
    std::vector<int64_t> shape(rank);
    check(table::get_shape(functions(), pointer, shape.data(), rank));
    return shape;
  }
};

template <typename T>
constexpr int type_of = 0;
template <>
inline constexpr int type_of<float> = table::kFloat;
template <>
inline constexpr int type_of<uint8_t> = table::kUint8;
template <>
inline constexpr int type_of<int64_t> = table::kInt64;

struct Value : Handle<table::release_value> {
  using Handle::Handle;

  template <typename T>
  static Value CreateTensor(const MemoryInfo& memory, T* data, size_t count, const int64_t* shape,
                            size_t rank) {
    Value value(nullptr);
    void* start = data;
    check(table::create_tensor(functions(), memory.pointer, start, count * sizeof(T), shape, rank,
                               type_of<T>, &value.pointer));
    return value;
  }

  template <typename T>
  const T* GetTensorData() const {
    void* data = nullptr;
    check(table::get_tensor_data(functions(), pointer, &data));
    return static_cast<const T*>(data);
  }

  TensorTypeAndShapeInfo GetTensorTypeAndShapeInfo() const {
    TensorTypeAndShapeInfo info(nullptr);
    check(table::get_tensor_info(functions(), pointer, &info.pointer));
    return info;
  }
};

struct Session : Handle<table::release_session> {
  Session(const Env& env, const char* path, const SessionOptions& options) : Handle(nullptr) {
    check(table::create_session(functions(), env.pointer, path, options.pointer, &pointer));
  }

  std::vector<Value> Run(const RunOptions&, const char* const* input_names, const Value* inputs,
                         size_t input_count, const char* const* output_names,
                         size_t output_count) {
    std::vector<const void*> given;
    for (size_t i = 0; i < input_count; ++i) {
      given.push_back(inputs[i].pointer);
    }
    std::vector<void*> found(output_count, nullptr);
    const void* options = nullptr;
    check(table::run(functions(), pointer, options, input_names, given.data(), input_count,
                     output_names, output_count, found.data()));
    std::vector<Value> values;
    for (void* each : found) {
      values.emplace_back(nullptr).pointer = each;
    }
    return values;
  }
};

}  // namespace Ort
