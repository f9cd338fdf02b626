// The part of ONNX Runtime's C interface that is used here, which no package of Python's index ships
// a header of. A library of operators gets it from the runtime that loads it, and links nothing.
//
// The interface is a table of functions whose places never change: new ones are appended. Objects are
// opaque pointers. A function that can fail returns a status, null if it did not.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onnxruntime_table {

using Table = const void* const*;

extern "C" {
struct OrtApiBase {
  Table (*GetApi)(uint32_t version);  // null where the runtime is older
  const char* (*GetVersionString)();
};
}

template <size_t kPlace, class Signature>
struct Entry;

template <size_t kPlace, class Result, class... Parameters>
struct Entry<kPlace, Result(Parameters...)> {
  Result operator()(Table table, Parameters... given) const {
    return reinterpret_cast<Result (*)(Parameters...)>(const_cast<void*>(table[kPlace]))(given...);
  }
};

using Status = void*;

// Codes of statuses, types of elements and kinds of arguments as the interface numbers them.
inline constexpr int kFail = 1, kInvalidArgument = 2;
inline constexpr int kFloat = 1, kUint8 = 2, kInt64 = 7, kDouble = 11;
inline constexpr int kRequired = 0, kOptional = 1, kVariadic = 2;

inline constexpr Entry<0, Status(int code, const char* message)> create_status{};
inline constexpr Entry<2, const char*(const void* status)> get_error_message{};
inline constexpr Entry<3, Status(int level, const char* name, void** env)> create_env{};
inline constexpr Entry<7, Status(void* env, const char* path, const void* options, void** session)> create_session{};
inline constexpr Entry<9, Status(void* session, const void* options, const char* const* input_names,
                                 const void* const* inputs, size_t input_count, const char* const* output_names,
                                 size_t output_count, void** outputs)>
    run{};
inline constexpr Entry<10, Status(void** options)> create_session_options{};
inline constexpr Entry<26, Status(const char* name, void** domain)> create_custom_op_domain{};
inline constexpr Entry<27, Status(void* domain, const void* op)> add_to_domain{};
inline constexpr Entry<28, Status(void* options, void* domain)> add_domain{};
inline constexpr Entry<49, Status(const void* memory_info, void* data, size_t bytes, const int64_t* shape, size_t rank,
                           int type, void** value)>
    create_tensor{};
inline constexpr Entry<51, Status(void* value, void** data)> get_tensor_data{};
inline constexpr Entry<61, Status(const void* info, size_t* rank)> get_rank{};
inline constexpr Entry<62, Status(const void* info, int64_t* shape, size_t rank)> get_shape{};
inline constexpr Entry<64, Status(const void* info, size_t* count)> get_element_count{};
inline constexpr Entry<65, Status(const void* value, void** info)> get_tensor_info{};
inline constexpr Entry<69, Status(int allocator, int kind, void** memory_info)> create_cpu_memory_info{};
inline constexpr Entry<85, Status(const void* kernel_info, const char* name, float* value)> get_float{};
inline constexpr Entry<86, Status(const void* kernel_info, const char* name, int64_t* value)> get_int64{};
inline constexpr Entry<88, Status(const void* context, size_t* count)> get_input_count{};
inline constexpr Entry<90, Status(const void* context, size_t index, const void** value)> get_input{};
inline constexpr Entry<91, Status(void* context, size_t index, const int64_t* shape, size_t rank, void** value)>
    get_output{};
inline constexpr Entry<92, void(void* env)> release_env{};
inline constexpr Entry<93, void(Status status)> release_status{};
inline constexpr Entry<94, void(void* memory_info)> release_memory_info{};
inline constexpr Entry<95, void(void* session)> release_session{};
inline constexpr Entry<96, void(void* value)> release_value{};
inline constexpr Entry<99, void(void* info)> release_tensor_info{};
inline constexpr Entry<100, void(void* options)> release_session_options{};
inline constexpr Entry<162, Status(const void* kernel_info, const char* name, float* values, size_t* count)> get_floats{};
inline constexpr Entry<163, Status(const void* kernel_info, const char* name, int64_t* values, size_t* count)> get_int64s{};
inline constexpr Entry<228, Status(void* options, const char* path)> register_custom_ops_library{};
// Calls f(data, 0 <= i < total) on the runtime's threads; 0 batches: as many as there are threads.
inline constexpr Entry<274, Status(const void* context, void (*f)(void* data, size_t i), size_t total, size_t batches,
                            void* data)>
    parallel_for{};

inline constexpr uint32_t kOldest = 17;  // the version of the interface that has all of these

// An operator as the runtime asks for it. What is null is not asked for.
struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, Table, const void* kernel_info);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  int (*GetInputType)(const OrtCustomOp*, size_t index);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  int (*GetOutputType)(const OrtCustomOp*, size_t index);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void* kernel, void* context);
  void (*KernelDestroy)(void* kernel);
  int (*GetInputCharacteristic)(const OrtCustomOp*, size_t index);
  int (*GetOutputCharacteristic)(const OrtCustomOp*, size_t index);
  int (*GetInputMemoryType)(const OrtCustomOp*, size_t index);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  Status (*CreateKernelV2)(const OrtCustomOp*, Table, const void* kernel_info, void** kernel);
  Status (*KernelComputeV2)(void* kernel, void* context);
  Status (*InferOutputShapeFn)(const OrtCustomOp*, void* context);
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
};

}  // namespace onnxruntime_table
