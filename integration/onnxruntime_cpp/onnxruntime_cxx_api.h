// A stand-in for ONNX Runtime's header of that name, which no package of an index ships.
//
// It declares what examples/cpp/detect_onnx.cpp calls of ONNX Runtime's C++ interface, over the
// C interface of the library in the Python package. That one is a table of functions whose places
// never change: new ones are appended. With it the example is compiled and run where only the
// Python package is installed; whoever has ONNX Runtime's own header compiles with that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

struct OrtApiBase {
  const void* const* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};
extern "C" const OrtApiBase* OrtGetApiBase();

enum OrtLoggingLevel { ORT_LOGGING_LEVEL_WARNING = 2 };
enum OrtAllocatorType { OrtArenaAllocator = 1 };
enum OrtMemType { OrtMemTypeDefault = 0 };

namespace Ort {

// Places in the table.
enum class Function : size_t {
  get_error_message = 2,
  create_env = 3,
  create_session = 7,
  run = 9,
  create_session_options = 10,
  create_tensor = 49,
  get_tensor_data = 51,
  get_element_count = 64,
  get_tensor_info = 65,
  create_cpu_memory_info = 69,
  release_env = 92,
  release_status = 93,
  release_memory_info = 94,
  release_session = 95,
  release_value = 96,
  release_tensor_info = 99,
  release_session_options = 100,
};

template <typename Result, typename... Given>
Result call(Function function, Given... given) {
  static const void* const* table = OrtGetApiBase()->GetApi(1);
  const void* entry = table[static_cast<size_t>(function)];
  return reinterpret_cast<Result (*)(Given...)>(const_cast<void*>(entry))(given...);
}

struct Exception : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <typename... Given>
void checked(Function function, Given... given) {
  if (void* status = call<void*>(function, given...)) {
    const std::string message = call<const char*>(Function::get_error_message, status);
    call<void>(Function::release_status, status);
    throw Exception(message);
  }
}

template <Function release>
struct Handle {
  void* pointer = nullptr;
  explicit Handle(std::nullptr_t) {}
  Handle(Handle&& other) noexcept : pointer(std::exchange(other.pointer, nullptr)) {}
  ~Handle() {
    if (pointer != nullptr) {
      call<void>(release, pointer);
    }
  }
};

struct Env : Handle<Function::release_env> {
  Env(OrtLoggingLevel level, const char* name) : Handle(nullptr) {
    checked(Function::create_env, level, name, &pointer);
  }
};

struct SessionOptions : Handle<Function::release_session_options> {
  SessionOptions() : Handle(nullptr) { checked(Function::create_session_options, &pointer); }
};

struct RunOptions {
  explicit RunOptions(std::nullptr_t) {}
};

struct MemoryInfo : Handle<Function::release_memory_info> {
  using Handle::Handle;
  static MemoryInfo CreateCpu(OrtAllocatorType allocator, OrtMemType kind) {
    MemoryInfo info(nullptr);
    checked(Function::create_cpu_memory_info, allocator, kind, &info.pointer);
    return info;
  }
};

struct TensorTypeAndShapeInfo : Handle<Function::release_tensor_info> {
  using Handle::Handle;
  size_t GetElementCount() const {
    size_t count = 0;
    checked(Function::get_element_count, pointer, &count);
    return count;
  }
};

// As ONNX numbers types.
template <typename T>
constexpr int type_of = 0;
template <>
inline constexpr int type_of<float> = 1;
template <>
inline constexpr int type_of<uint8_t> = 2;
template <>
inline constexpr int type_of<int64_t> = 7;

struct Value : Handle<Function::release_value> {
  using Handle::Handle;

  template <typename T>
  static Value CreateTensor(const MemoryInfo& memory, T* data, size_t count, const int64_t* shape,
                            size_t rank) {
    Value value(nullptr);
    void* start = data;
    checked(Function::create_tensor, memory.pointer, start, count * sizeof(T), shape, rank,
            type_of<T>, &value.pointer);
    return value;
  }

  template <typename T>
  const T* GetTensorData() const {
    void* data = nullptr;
    checked(Function::get_tensor_data, pointer, &data);
    return static_cast<const T*>(data);
  }

  TensorTypeAndShapeInfo GetTensorTypeAndShapeInfo() const {
    TensorTypeAndShapeInfo info(nullptr);
    checked(Function::get_tensor_info, pointer, &info.pointer);
    return info;
  }
};

struct Session : Handle<Function::release_session> {
  Session(const Env& env, const char* path, const SessionOptions& options) : Handle(nullptr) {
    checked(Function::create_session, env.pointer, path, options.pointer, &pointer);
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
    checked(Function::run, pointer, options, input_names, given.data(), input_count, output_names,
            output_count, found.data());
    std::vector<Value> values;
    for (void* each : found) {
      values.emplace_back(nullptr).pointer = each;
    }
    return values;
  }
};

}  // namespace Ort
