# SPDX-License-Identifier: Apache-2.0
# Run by cpack over the files it has gathered: manual pages and changelogs are
# compressed as Debian wants them, the library is found where the system's
# are, and pkg-config looks where it does for every architecture.
file(GLOB_RECURSE pages ${CPACK_TEMPORARY_DIRECTORY}/*.[13])
list(FILTER pages INCLUDE REGEX /man/)
file(GLOB_RECURSE changelogs ${CPACK_TEMPORARY_DIRECTORY}/*/changelog)
foreach(changelog ${changelogs})
  file(RENAME ${changelog} ${changelog}.Debian)
  list(APPEND pages ${changelog}.Debian)
endforeach()
foreach(page ${pages})
  execute_process(COMMAND gzip -9nf ${page} COMMAND_ERROR_IS_FATAL ANY)
endforeach()
file(GLOB programs ${CPACK_TEMPORARY_DIRECTORY}/*/usr/bin/interestd)
foreach(program ${programs})
  file(RPATH_REMOVE FILE ${program})
endforeach()
file(GLOB folders ${CPACK_TEMPORARY_DIRECTORY}/*/usr/lib/pkgconfig)
foreach(folder ${folders})
  string(REPLACE /lib/pkgconfig /share/pkgconfig to ${folder})
  file(RENAME ${folder} ${to})
endforeach()
