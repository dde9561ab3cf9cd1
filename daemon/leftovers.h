/* SPDX-License-Identifier: Apache-2.0 */
/* What models leave behind in the state's folders and nobody reads any more:
 * checkpoints set aside as damaged, and the folder of a shadow that started
 * anew. An operator may want to look at them; a user who is forgotten with
 * --purge must not stay in them. Any thread. */
#ifndef DAEMON_LEFTOVERS_H
#define DAEMON_LEFTOVERS_H

#include <stdint.h>

#include "base/status.h"
#include "daemon/config.h"

/* Removes them; *removed grows by how many. */
enum base_status daemon_leftovers_remove(const struct daemon_config *config,
                                         uint64_t *removed,
                                         struct base_error *error)
    BASE_MUST_CHECK;

#endif
