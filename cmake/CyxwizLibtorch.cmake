# Defines the imported target cyxwiz_libtorch from CYXWIZ_LIBTORCH:
#   wheel   the PyTorch wheel that scripts/setup.sh unpacked into ${CYXWIZ_CACHE:-~/.cache/cyxwiz}/libtorch
#   system  Debian's libtorch-dev
#   PATH    a folder that holds lib/libtorch_cpu.so and include/: an unpacked libtorch, or the
#           torch/ folder of any installed PyTorch from 1.13 on, CUDA builds included
#
# PyTorch's own TorchConfig.cmake asks for a whole CUDA toolkit when the release was built with CUDA,
# even where nothing is compiled for a GPU; this module needs only the libraries.
#
# Sets CYXWIZ_GLOO when jobs can be trained over several nodes: the library must hold Gloo, whose headers come from Debian's
# libgloo-dev, for no release of PyTorch has them.

add_library(cyxwiz_libtorch INTERFACE)
set(CYXWIZ_GLOO OFF)

function(cyxwiz_gloo_of library include)
  find_path(CYXWIZ_GLOO_INCLUDE gloo/rendezvous/store.h)
  set(missing "")
  if(NOT CYXWIZ_GLOO_INCLUDE)
    set(missing "no headers of Gloo (libgloo-dev)")
  elseif(NOT EXISTS "${include}/torch/csrc/distributed/c10d/ProcessGroupGloo.hpp")
    set(missing "libtorch has no headers of c10d")
  else()
    execute_process(COMMAND grep -qaF ZN4c10d16ProcessGroupGloo9allreduce "${library}" RESULT_VARIABLE absent)
    if(NOT absent EQUAL 0)
      set(missing "libtorch was built without Gloo")
    endif()
  endif()
  if(missing)
    message(STATUS "libtorch: no training over several nodes: ${missing}")
    return()
  endif()
  set(CYXWIZ_GLOO ON PARENT_SCOPE)
endfunction()

function(cyxwiz_libtorch_from root)
  if(NOT EXISTS "${root}/lib/libtorch_cpu.so")
    message(FATAL_ERROR "libtorch: no lib/libtorch_cpu.so in '${root}'. Run scripts/setup.sh libtorch, "
      "or give -DCYXWIZ_LIBTORCH=system or the path of a libtorch.")
  endif()
  target_include_directories(cyxwiz_libtorch SYSTEM INTERFACE "${root}/include" "${root}/include/torch/csrc/api/include")
  set(libraries "${root}/lib/libtorch_cpu.so" "${root}/lib/libc10.so")
  cyxwiz_gloo_of("${root}/lib/libtorch_cpu.so" "${root}/include")
  set(CYXWIZ_GLOO "${CYXWIZ_GLOO}" PARENT_SCOPE)
  set(rpath "${root}/lib")
  if(EXISTS "${root}/lib/libtorch_cuda.so")
    # Kernels for the GPU register themselves when loaded, so the library stays linked although nothing names it.
    list(APPEND libraries "-Wl,--no-as-needed" "${root}/lib/libtorch_cuda.so" "${root}/lib/libc10_cuda.so" "-Wl,--as-needed")
    target_compile_definitions(cyxwiz_libtorch INTERFACE CYXWIZ_LIBTORCH_CUDA=1)
  endif()
  # CUDA's own libraries lie in folders beside torch/ when it comes from wheels.
  get_filename_component(site "${root}" DIRECTORY)
  file(GLOB cuda_folders LIST_DIRECTORIES true "${site}/nvidia/*/lib" "${site}/nvidia/lib")
  list(APPEND rpath ${cuda_folders})
  # A release built with the old C++ ABI needs us to be built with it too.
  set(abi 1)
  if(EXISTS "${root}/share/cmake/Torch/TorchConfig.cmake")
    file(READ "${root}/share/cmake/Torch/TorchConfig.cmake" config)
    if(config MATCHES "_GLIBCXX_USE_CXX11_ABI=0")
      set(abi 0)
    endif()
  endif()
  target_compile_definitions(cyxwiz_libtorch INTERFACE _GLIBCXX_USE_CXX11_ABI=${abi})
  target_link_libraries(cyxwiz_libtorch INTERFACE ${libraries})
  target_link_options(cyxwiz_libtorch INTERFACE -Wl,--allow-shlib-undefined)
  foreach(folder IN LISTS rpath)
    target_link_options(cyxwiz_libtorch INTERFACE "-Wl,-rpath,${folder}")
  endforeach()
  message(STATUS "libtorch: ${root}")
endfunction()

if(CYXWIZ_LIBTORCH STREQUAL "wheel")
  if(DEFINED ENV{CYXWIZ_CACHE})
    set(cache "$ENV{CYXWIZ_CACHE}")
  elseif(DEFINED ENV{XDG_CACHE_HOME})
    set(cache "$ENV{XDG_CACHE_HOME}/cyxwiz")
  else()
    set(cache "$ENV{HOME}/.cache/cyxwiz")
  endif()
  get_filename_component(unpacked "${cache}/libtorch" REALPATH)
  cyxwiz_libtorch_from("${unpacked}/torch")
elseif(CYXWIZ_LIBTORCH STREQUAL "system")
  find_package(Torch QUIET)
  if(NOT Torch_FOUND)
    message(FATAL_ERROR "libtorch: the system has none. Install libtorch-dev, or give -DCYXWIZ_LIBTORCH=wheel "
      "(after scripts/setup.sh libtorch) or the path of a libtorch.")
  endif()
  target_link_libraries(cyxwiz_libtorch INTERFACE ${TORCH_LIBRARIES})
  target_include_directories(cyxwiz_libtorch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
  list(GET TORCH_INCLUDE_DIRS 0 include)
  find_library(CYXWIZ_TORCH_CPU torch_cpu REQUIRED)
  cyxwiz_gloo_of("${CYXWIZ_TORCH_CPU}" "${include}")
else()
  get_filename_component(path "${CYXWIZ_LIBTORCH}" ABSOLUTE)
  cyxwiz_libtorch_from("${path}")
endif()
