# How every target of the project is built, and the three functions that declare them.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # Precompiled headers are cached too when the time macros they may hold are declared harmless.
  set(launcher "${CMAKE_COMMAND}" -E env "CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime" "${CCACHE_PROGRAM}")
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
endif()

add_library(cyxwiz_flags INTERFACE)
# -Wrestrict of g++ 12 warns of plain std::string concatenation, -Wmaybe-uninitialized of moved std::variant (GCC bugs 105651, 80635).
target_compile_options(cyxwiz_flags INTERFACE -Wall -Wextra -Werror -Wno-missing-field-initializers -Wno-restrict -Wno-maybe-uninitialized -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  target_compile_options(cyxwiz_flags INTERFACE -Wno-unknown-warning-option)  # g++'s, above
endif()
target_include_directories(cyxwiz_flags INTERFACE "${CMAKE_SOURCE_DIR}/src")
target_compile_definitions(cyxwiz_flags INTERFACE CYXWIZ_VERSION="${PROJECT_VERSION}")
if(CYXWIZ_SANITIZE)
  add_compile_options(-fsanitize=${CYXWIZ_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CYXWIZ_SANITIZE})
endif()

# cyxwiz_library(NAME SOURCES a.cc ... DEPENDS cyxwiz_base ...)
function(cyxwiz_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  target_link_libraries(${name} PUBLIC cyxwiz_flags ${arg_DEPENDS})
endfunction()

# cyxwiz_program(NAME SOURCES main.cc DEPENDS ...): lands in build/bin/NAME
function(cyxwiz_program name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE cyxwiz_flags ${arg_DEPENDS})
endfunction()

# cyxwiz_precompiled(NAME LIBRARY): NAME takes the precompiled header of LIBRARY: gRPC and the generated messages of cyxwiz_wire, or libtorch of cyxwiz_runner.
function(cyxwiz_precompiled name library)
  if(NOT TARGET ${name})
    return()
  endif()
  target_precompile_headers(${name} REUSE_FROM ${library})
  # GCC takes a precompiled header only with the flags that it was made with: -fPIC of the library, not -fPIE of a program;
  # and ccache knows of it only with -fpch-preprocess. From a precompiled header g++ 12 does not know std::string for a system's
  # class, and lets its false warnings about string concatenation (GCC bugs 105329, 105651) out.
  target_compile_options(${name} PRIVATE -fPIC -fpch-preprocess -Winvalid-pch -Wno-stringop-overflow -Wno-array-bounds)
endfunction()

# cyxwiz_test(NAME SOURCES x_test.cc ... DEPENDS ...): a GoogleTest program, run by ctest under label "unit"
function(cyxwiz_test name)
  if(NOT CYXWIZ_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/test")
  target_link_libraries(${name} PRIVATE cyxwiz_flags ${arg_DEPENDS} GTest::gtest GTest::gtest_main)
  # What is tested is optimized in full; the tests themselves compile faster so.
  target_compile_options(${name} PRIVATE $<$<CONFIG:Release>:-O1>)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES LABELS unit TIMEOUT 900)
  if(CYXWIZ_SANITIZE)
    set(folder "${CMAKE_SOURCE_DIR}/tests/sanitizers")
    set_tests_properties(${name} PROPERTIES ENVIRONMENT
      "LSAN_OPTIONS=suppressions=${folder}/leaks.supp;TSAN_OPTIONS=suppressions=${folder}/races.supp")
  endif()
endfunction()
