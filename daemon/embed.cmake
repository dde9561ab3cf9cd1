# SPDX-License-Identifier: Apache-2.0
# Writes ${OUTPUT}: the bytes of ${FILES} as one C table named ${TABLE}
# (embedded.h).
set(text "/* Made by embed.cmake. */\n#include \"daemon/embedded.h\"\n\n")
set(rows "")
set(number 0)
foreach(path IN LISTS FILES)
  get_filename_component(name "${path}" NAME)
  file(READ "${path}" bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(REGEX REPLACE "(.{60})" "\\1\n" bytes "${bytes}")
  string(APPEND text "static const unsigned char file_${number}[] = {\n${bytes}};\n\n")
  string(APPEND rows "    {\"${name}\", file_${number}, sizeof file_${number}},\n")
  math(EXPR number "${number} + 1")
endforeach()
string(APPEND text "const struct daemon_embedded ${TABLE}[] = {\n${rows}    {0, 0, 0},\n};\n")
file(WRITE "${OUTPUT}" "${text}")
