# kvpareto_isa_flags(SOURCES...): files named *_avx2.cc, *_avx512.cc, *_avx512bf16.cc and *_amx.cc are compiled for that
# instruction set; they are entered only after a run-time check, and hold nothing that another translation unit could be
# merged with.
function(kvpareto_isa_flags)
  set(avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vbmi -mavx512vnni -mfma -mf16c -mavx2 -mbmi2)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    list(APPEND avx512 -Wno-maybe-uninitialized -Wno-uninitialized)  # its own AVX-512 headers
  endif()
  set(avx512bf16 ${avx512} -mavx512bf16)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 17)
    list(APPEND avx512bf16 -O0)  # optimizing a broadcast of bf16 pairs, it crashes
  endif()
  foreach(source ${ARGN})
    if(source MATCHES "_(avx2|avx512|avx512bf16|amx)\\.cc$")
      set_source_files_properties(${source} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
    endif()
    if(source MATCHES "_avx2\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-mbmi2")
    elseif(source MATCHES "_avx512\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${avx512}")
    elseif(source MATCHES "_avx512bf16\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${avx512bf16}")
    elseif(source MATCHES "_amx\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "${avx512};-mavx512bf16;-mamx-tile;-mamx-bf16;-mamx-int8")
    endif()
  endforeach()
endfunction()

# kvpareto_precompile(TARGET HEADERS...): with KVPARETO_PCH, what nearly every file includes, and HEADERS, is parsed once
# for all files of the target, if they are enough for that to pay. Every file still includes what it uses, as builds
# without it show.
function(kvpareto_precompile target)
  get_target_property(sources ${target} SOURCES)
  list(LENGTH sources count)
  if(KVPARETO_PCH AND count GREATER 3)
    target_precompile_headers(${target} PRIVATE
      <algorithm> <array> <chrono> <cmath> <cstdint> <cstring> <functional> <map> <memory> <optional> <set> <span>
      <string> <string_view> <utility> <variant> <vector> <absl/status/statusor.h> <absl/strings/str_cat.h> ${ARGN})
  endif()
endfunction()

# kvpareto_layer(NAME [DEPS...]): the static library of one engine folder, from all its .cc files.
function(kvpareto_layer name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  if(sources)
    add_library(kvpareto_${name} STATIC ${sources})
    target_link_libraries(kvpareto_${name} PUBLIC ${ARGN})
    if(NOT name STREQUAL "kv")  # it sees no Abseil
      kvpareto_precompile(kvpareto_${name})
    endif()
  else()
    add_library(kvpareto_${name} INTERFACE)
    target_link_libraries(kvpareto_${name} INTERFACE ${ARGN})
  endif()
  kvpareto_isa_flags(${sources})
endfunction()

# kvpareto_test(NAME [ONE_PROCESS] [DEPS...]): one test binary from all *_test.cc (and helpers) of the current folder. Each
# test is a process and a case of ctest; with ONE_PROCESS all of them are one, for a thousand processes start for longer
# than their tests run. Release compiles what is tested at -O3, but the tests, a third of the build, at -O1: a quarter of
# their time. Not those with ONE_PROCESS, which compute for long themselves.
function(kvpareto_test name)
  cmake_parse_arguments(ARG "ONE_PROCESS" "" "" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  if(NOT sources)
    return()
  endif()
  add_executable(${name}_test ${sources})
  target_link_libraries(${name}_test PRIVATE ${ARG_UNPARSED_ARGUMENTS} GTest::gmock GTest::gtest_main)
  kvpareto_precompile(${name}_test <gtest/gtest.h> <gmock/gmock.h>)
  if(ARG_ONE_PROCESS)
    add_test(NAME ${name}/all COMMAND ${name}_test --gtest_brief=1)
  else()
    target_compile_options(${name}_test PRIVATE $<$<CONFIG:Release>:-O1>)
    gtest_discover_tests(${name}_test DISCOVERY_MODE PRE_TEST TEST_PREFIX ${name}/)
  endif()
endfunction()
