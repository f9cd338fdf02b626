# Finds the torch package whose headers we compile against, without importing it.
# Sets D2_OPS_TORCH_DIR, TORCH_VERSION and TORCH_CPU_LIBRARY; defines the target torch_stable.

if(NOT D2_OPS_TORCH_DIR)
  execute_process(COMMAND "${Python_EXECUTABLE}" -c
      "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE D2_OPS_TORCH_DIR OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
endif()
if(NOT EXISTS "${D2_OPS_TORCH_DIR}/include/torch/csrc/stable/ops.h")
  message(FATAL_ERROR
      "d2-ops compiles against the headers of torch >= 2.10 and found none (looked in "
      "'${D2_OPS_TORCH_DIR}'). Build with `pip install --no-build-isolation`, where torch, "
      "scikit-build-core, nanobind, cmake and ninja are installed, or name torch's folder: "
      "D2_OPS_TORCH_DIR=.../site-packages/torch in the environment.")
endif()

file(STRINGS "${D2_OPS_TORCH_DIR}/version.py" TORCH_VERSION REGEX "^__version__ = ")
string(REGEX REPLACE ".*'(.*)'" "\\1" TORCH_VERSION "${TORCH_VERSION}")
message(STATUS "d2-ops: headers of torch ${TORCH_VERSION} in ${D2_OPS_TORCH_DIR}")

# The version named here, not the version of the headers, is the oldest torch the wheel runs on.
add_library(torch_stable INTERFACE)
target_include_directories(torch_stable SYSTEM INTERFACE "${D2_OPS_TORCH_DIR}/include")
target_compile_definitions(torch_stable INTERFACE
    TORCH_TARGET_VERSION=0x020a000000000000 D2_OPS_NAMESPACE=${D2_OPS_NAMESPACE})

set(TORCH_CPU_LIBRARY "${D2_OPS_TORCH_DIR}/lib/libtorch_cpu.so")
if(APPLE)
  set(TORCH_CPU_LIBRARY "${D2_OPS_TORCH_DIR}/lib/libtorch_cpu.dylib")
elseif(WIN32)
  set(TORCH_CPU_LIBRARY "${D2_OPS_TORCH_DIR}/lib/torch_cpu.lib")
endif()
