# SPDX-License-Identifier: Apache-2.0
# cpack -G DEB: interestd, libinterest0, libinterest-dev, python3-interest.
# In any build folder. configs/debian has what a package needs beside its files.
set(INTERESTD_MAINTAINER "interestd maintainers <maintainers@interestd.invalid>"
  CACHE STRING "who answers for the packages")
set(revision 1~deb12)
set(debian ${PROJECT_SOURCE_DIR}/configs/debian)
configure_file(${debian}/changelog.in changelog @ONLY)
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/shlibs
  "libinterest 0 libinterest0 (>= ${PROJECT_VERSION})\n")

# The daemon's configuration as a package has it: nothing beside its own folder.
file(READ ${PROJECT_SOURCE_DIR}/configs/interestd.yaml sample)
foreach(pair "state: ../state|state: /var/lib/interestd/state"
    "model_folder: ../model|model_folder: /var/lib/interestd/model"
    "schema: ../schemas/|schema: /usr/share/interestd/schemas/")
  string(REPLACE "|" ";" pair ${pair})
  list(GET pair 0 from)
  list(GET pair 1 to)
  string(FIND "${sample}" "${from}" at)
  if(at EQUAL -1)
    message(FATAL_ERROR "configs/interestd.yaml has no \"${from}\"")
  endif()
  string(REPLACE "${from}" "${to}" sample "${sample}")
endforeach()
file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/package/interestd.yaml
  CONTENT "${sample}")

set(packages interestd libinterest0 libinterest-dev python3-interest)
set(components interestd libinterest libinterest-dev python)
foreach(package component IN ZIP_LISTS packages components)
  install(FILES ${debian}/copyright ${CMAKE_CURRENT_BINARY_DIR}/changelog
    DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/${package}
    COMPONENT ${component} EXCLUDE_FROM_ALL)
endforeach()
install(FILES ${PROJECT_BINARY_DIR}/package/interestd.yaml
  DESTINATION ../etc/interestd COMPONENT interestd EXCLUDE_FROM_ALL)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME interestd)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")
set(CPACK_PACKAGE_CONTACT ${INTERESTD_MAINTAINER})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL ${components})
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/stage.cmake)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE
  OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE ${revision})
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR}/snapshot)

# The last arguments are the lines of the long description.
function(package component name section depends summary)
  string(TOUPPER ${component} key)
  string(JOIN "\n" text ${summary} ${ARGN})
  set(CPACK_DEBIAN_${key}_PACKAGE_NAME ${name} PARENT_SCOPE)
  set(CPACK_DEBIAN_${key}_PACKAGE_SECTION ${section} PARENT_SCOPE)
  set(CPACK_DEBIAN_${key}_PACKAGE_DEPENDS ${depends} PARENT_SCOPE)
  set(CPACK_DEBIAN_${key}_DESCRIPTION ${text} PARENT_SCOPE)
endfunction()
set(same "(= ${PROJECT_VERSION}-${revision})")
package(interestd interestd misc "libinterest0 ${same}, adduser"
  "streaming click-through-rate learning on Kafka"
  "A daemon that turns a stream of impressions and clicks into a DIN or DIEN"
  "model and publishes it, every second anew, to the rankers that serve it.")
# By hand: with what dpkg-shlibdeps finds, cpack also calls ldconfig in scripts,
# which Debian leaves to the trigger.
package(libinterest libinterest0 libs
  "libc6 (>= 2.36), libjansson4 (>= 2.13), libxxhash0 (>= 0.8)"
  "library of rankers that serve interestd's models"
  "Follows the models that interestd publishes and scores candidates with the"
  "newest, which it maps into memory.")
package(libinterest-dev libinterest-dev libdevel "libinterest0 ${same}"
  "library of rankers that serve interestd's models (development)"
  "Header, CMake package and pkg-config file of libinterest, with its manual.")
package(python python3-interest python "libinterest0 ${same}, python3"
  "library of rankers that serve interestd's models (Python)"
  "The module interest, which calls libinterest.")
set(CPACK_DEBIAN_PYTHON_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_INTERESTD_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_INTERESTD_PACKAGE_CONTROL_EXTRA ${debian}/postinst
  ${debian}/prerm ${debian}/postrm ${debian}/conffiles)
set(CPACK_DEBIAN_LIBINTEREST_PACKAGE_CONTROL_EXTRA ${debian}/triggers
  ${CMAKE_CURRENT_BINARY_DIR}/shlibs)
include(CPack)
