/* SPDX-License-Identifier: Apache-2.0 */
/* `interestd help`: the list of commands, manual pages and shell completion,
 * all out of the tables that the commands parse with. */
#ifndef DAEMON_MANUAL_H
#define DAEMON_MANUAL_H

#include <stdio.h>

struct daemon_command {
    const char *name;
    int (*main)(int argc, char **argv);
    const char *doc;
};

/* The list that --help prints. */
void daemon_manual_list(const struct daemon_command *commands, unsigned count,
                        FILE *out);

/* argv[0] is "help". Returns the exit status. */
int daemon_manual_main(const struct daemon_command *commands, unsigned count,
                       int argc, char **argv);

#endif
