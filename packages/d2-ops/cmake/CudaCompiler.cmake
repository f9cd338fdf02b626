# Decides whether CUDA operators are built. Looks for nvcc where CMake does (CUDACXX, PATH,
# /usr/local/cuda) and then among pip's CUDA compiler packages on sys.path
# (nvidia-cuda-nvcc, -crt, -runtime, -cccl and nvidia-nvvm of one CUDA release).
# Sets D2_OPS_HAVE_CUDA and enables the language.

set(D2_OPS_HAVE_CUDA OFF)
if(D2_OPS_CUDA STREQUAL "OFF")
  message(STATUS "d2-ops: CPU wheel (D2_OPS_CUDA=OFF)")
  return()
endif()

include(CheckLanguage)
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(nvcc nvcc PATHS /usr/local/cuda/bin)
  if(NOT nvcc)
    execute_process(COMMAND "${Python_EXECUTABLE}" "${CMAKE_CURRENT_LIST_DIR}/find_pip_nvcc.py"
        OUTPUT_VARIABLE pip_nvcc OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
    if(pip_nvcc)
      set(nvcc "${pip_nvcc}")
      cmake_path(GET nvcc PARENT_PATH pip_cuda_bin)
      cmake_path(GET pip_cuda_bin PARENT_PATH pip_cuda_root)
      # These packages lay their libraries out in lib/, where nvcc expects lib64/.
      string(APPEND CMAKE_CUDA_FLAGS_INIT " -L${pip_cuda_root}/lib")
    endif()
  endif()
  if(nvcc)
    set(CMAKE_CUDA_COMPILER "${nvcc}")
  endif()
endif()

if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES "${D2_OPS_CUDA_ARCHITECTURES}")
endif()
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  enable_language(CUDA)
  set(D2_OPS_HAVE_CUDA ON)
  message(STATUS "d2-ops: CUDA ${CMAKE_CUDA_COMPILER_VERSION} for ${D2_OPS_CUDA_ARCHITECTURES}")
elseif(D2_OPS_CUDA STREQUAL "ON")
  message(FATAL_ERROR
      "D2_OPS_CUDA=ON but no CUDA compiler was found. Install a CUDA toolkit or pip's compiler "
      "packages (nvidia-cuda-nvcc, nvidia-cuda-crt, nvidia-nvvm, nvidia-cuda-runtime, "
      "nvidia-cuda-cccl), or set CUDACXX.")
else()
  message(WARNING "d2-ops: no CUDA compiler found, this is a CPU-only wheel")
endif()
