# SPDX-License-Identifier: Apache-2.0
# interestd_options: what every target of the project is compiled with.
add_library(interestd_options INTERFACE)
target_include_directories(interestd_options INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
target_compile_definitions(interestd_options INTERFACE _GNU_SOURCE)
target_compile_options(interestd_options INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -Wpointer-arith -Wwrite-strings -Wformat=2 -fno-common
  -fvisibility=hidden -fstack-protector-strong
  # The same bits everywhere: no contraction behind our back (STYLE, Build).
  -ffp-contract=off)
if(INTERESTD_WERROR)
  target_compile_options(interestd_options INTERFACE -Werror)
endif()
if(INTERESTD_THREAD_SAFETY)
  target_compile_options(interestd_options INTERFACE
    -Wthread-safety -Werror=thread-safety)
endif()
if(INTERESTD_SANITIZE)
  target_compile_options(interestd_options INTERFACE
    -fsanitize=${INTERESTD_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(interestd_options INTERFACE
    -fsanitize=${INTERESTD_SANITIZE})
endif()
if(INTERESTD_COVERAGE)
  target_compile_options(interestd_options INTERFACE --coverage)
  target_link_options(interestd_options INTERFACE --coverage)
endif()
set(CMAKE_C_FLAGS_RELEASE "-O3 -DNDEBUG")
find_package(Threads REQUIRED)
