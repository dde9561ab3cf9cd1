/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes of the demo: this same executable with another command. A
 * child dies with its parent, is in a process group of its own (Ctrl-C on the
 * terminal reaches only the parent), writes its log to a file, and its
 * standard output is read line by line. One thread. */
#ifndef DAEMON_CHILD_H
#define DAEMON_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/status.h"

enum { CHILD_LINE_MAX = 16384, CHILD_ARGUMENTS_MAX = 24 };

struct child {
    const char *name; /* the command, for texts */
    pid_t pid;        /* 0: not started */
    int output;       /* its standard output, -1: closed */
    bool ended;
    int exit_status; /* where ended; 128 + signal where it was killed */
    size_t used;
    char line[CHILD_LINE_MAX];
};

/* arguments: the words after the program's name, ends with NULL. */
enum base_status child_start(struct child *child, const char *log_path,
                             const char *const *arguments,
                             struct base_error *error) BASE_MUST_CHECK;
/* Copies the next whole line, without its end, into line[CHILD_LINE_MAX];
 * false where there is none yet. Does not wait. */
bool child_read_line(struct child *child, char *line);
/* Sends a signal; nothing happens where it is gone. */
void child_signal(struct child *child, int signal_number);
/* Waits until it has ended, at most timeout_ms; true where it has. */
bool child_wait(struct child *child, int timeout_ms);
/* SIGKILLs what still runs, closes the pipe. */
void child_fini(struct child *child);

#endif
