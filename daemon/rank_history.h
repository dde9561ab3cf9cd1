/* SPDX-License-Identifier: Apache-2.0 */
/* A ranking request that names a user ("user": "u81") instead of giving
 * behaviors: they are taken from the state of the daemon, running or not, as of
 * its newest commit. Of the model's item fields each behavior gets the ids
 * that the stream's field of the same name had. One thread. */
#ifndef DAEMON_RANK_HISTORY_H
#define DAEMON_RANK_HISTORY_H

#include <stddef.h>

#include "base/status.h"
#include "snapshot/interest.h"

/* Replaces *text (OWNS, malloc'd) by the same request with the behaviors that
 * were before its time_ms (all where it has none); unchanged where it names no
 * user. `config`: the daemon's configuration file, or NULL. BASE_USAGE where a
 * user is named without it; BASE_DATA where it names a user and gives
 * behaviors. A user that the daemon does not know has no behaviors. */
enum base_status rank_history_fill(const struct interest_model *model,
                                   const char *config, char **text,
                                   size_t *size, struct base_error *error)
    BASE_MUST_CHECK;

#endif
