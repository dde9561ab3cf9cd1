/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines: one table a command describes its options; it parses them
 * and prints --help. Long options only: --name VALUE, --name=VALUE, --flag.
 * Texts BORROW from argv. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum option_type {
    OPTION_TEXT,     /* const char ** */
    OPTION_UNSIGNED, /* uint64_t * */
    OPTION_FLAG,     /* bool * */
    OPTION_LIST,     /* struct option_list *: may be given again and again */
};

enum { OPTION_LIST_MAX = 32 };

struct option_list {
    unsigned count;
    const char *values[OPTION_LIST_MAX];
};

struct option {
    const char *name; /* without the dashes */
    enum option_type type;
    void *value;
    const char *argument; /* "FILE"; NULL of a flag */
    bool required;
    const char *doc;
};

struct options {
    const char *usage; /* "interestd run --config FILE ..." */
    const char *about; /* one paragraph */
    const struct option *table;
    unsigned count;
    unsigned positional_max; /* words without dashes; 0: none */
    const char *
        *positional; /* (positional_max), filled; NULL where not given */
};

/* Parses argv[1..]. BASE_STOPPED after --help was printed. */
enum base_status options_parse(const struct options *options, int argc,
                               char **argv,
                               struct base_error *error) BASE_MUST_CHECK;

/* Ends a command: prints "interestd NAME: text" on standard error for an
 * error, nothing for BASE_OK and after --help; returns the exit status. What
 * standard output did not take is an error too. A standard error that nobody
 * reads is not waited for. */
int options_exit(const char *command, enum base_status status,
                 const struct base_error *error);

#endif
