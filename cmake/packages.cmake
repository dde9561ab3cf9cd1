# SPDX-License-Identifier: Apache-2.0
# Third-party libraries; what is missing is named with its Debian package.
find_package(PkgConfig QUIET)
if(NOT PkgConfig_FOUND)
  message(FATAL_ERROR "pkg-config is missing: apt-get install pkg-config")
endif()

set(interestd_missing "")
function(interestd_package target module version debian)
  pkg_check_modules(${target} QUIET IMPORTED_TARGET "${module}>=${version}")
  if(${target}_FOUND)
    add_library(interestd::${target} ALIAS PkgConfig::${target})
  else()
    set(interestd_missing ${interestd_missing} ${debian} PARENT_SCOPE)
    message(WARNING "${module} >= ${version} not found: Debian package ${debian}")
  endif()
endfunction()

interestd_package(rdkafka rdkafka 2.0.2 librdkafka-dev)
interestd_package(avro avro-c 1.11 libavro-dev)
interestd_package(lmdb lmdb 0.9.24 liblmdb-dev)
interestd_package(jansson jansson 2.13 libjansson-dev)
interestd_package(microhttpd libmicrohttpd 0.9.70 libmicrohttpd-dev)
interestd_package(curl libcurl 7.88 libcurl4-openssl-dev)
interestd_package(yaml yaml-0.1 0.2 libyaml-dev)
interestd_package(xxhash libxxhash 0.8 libxxhash-dev)
if(INTERESTD_TESTS)
  interestd_package(cmocka cmocka 1.1.5 libcmocka-dev)
endif()

# libev has no pkg-config file.
find_path(EV_INCLUDE_DIR ev.h)
find_library(EV_LIBRARY ev)
if(EV_INCLUDE_DIR AND EV_LIBRARY)
  add_library(interestd::ev UNKNOWN IMPORTED)
  set_target_properties(interestd::ev PROPERTIES
    IMPORTED_LOCATION "${EV_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${EV_INCLUDE_DIR}")
else()
  list(APPEND interestd_missing libev-dev)
endif()

# Draws the curves of the daemon's page; the executable carries it.
find_file(CHART_JS chart.min.js PATHS /usr/share/javascript/chart.js
  /usr/local/share/javascript/chart.js)
if(NOT CHART_JS)
  message(WARNING "The daemon's page will show numbers, but no curves: "
    "chart.min.js not found: Debian package libjs-chart.js")
endif()

if(interestd_missing)
  string(REPLACE ";" " " interestd_missing "${interestd_missing}")
  message(FATAL_ERROR
    "Libraries are missing. Install them with:\n  apt-get install ${interestd_missing}\nor run configs/install.sh, which does it.")
endif()
