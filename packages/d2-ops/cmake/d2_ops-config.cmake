# find_package(d2_ops CONFIG) gives the target d2_ops::kernels: the kernels as headers, templates on
# raw pointers that need neither torch nor Python.

if(NOT TARGET d2_ops::kernels)
  add_library(d2_ops::kernels INTERFACE IMPORTED)
  set_target_properties(d2_ops::kernels PROPERTIES
      INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_LIST_DIR}/../include"
      INTERFACE_COMPILE_FEATURES cxx_std_17
      # No fused multiply-add behind our back: the same bits as from Python.
      INTERFACE_COMPILE_OPTIONS "$<$<COMPILE_LANG_AND_ID:CXX,GNU,Clang,AppleClang>:-ffp-contract=off;-fno-trapping-math>")
endif()
