# SPDX-License-Identifier: Apache-2.0
# cmake -DINTERESTD=PROGRAM -DOUTPUT=DIR -P pages.cmake: writes the manual page
# of every command and the shell completion, as the program says them.
function(say file)
  execute_process(COMMAND ${INTERESTD} help ${ARGN} OUTPUT_FILE ${file}
    COMMAND_ERROR_IS_FATAL ANY)
endfunction()
file(REMOVE_RECURSE ${OUTPUT})
file(MAKE_DIRECTORY ${OUTPUT}/man1)
execute_process(COMMAND ${INTERESTD} help --commands
  OUTPUT_VARIABLE commands COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL "[^\n]+" commands "${commands}")
foreach(command ${commands})
  say(${OUTPUT}/man1/interestd-${command}.1 --man ${command})
endforeach()
say(${OUTPUT}/man1/interestd.1 --man interestd)
say(${OUTPUT}/interestd --completion bash)
