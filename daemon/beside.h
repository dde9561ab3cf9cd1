/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that writes bases beside published deltas, from checkpoints of
 * the same position, while deltas go on: a base of millions of rows takes
 * seconds. One at a time; a failed one is logged, the next comes in its turn. */
#ifndef DAEMON_BESIDE_H
#define DAEMON_BESIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "snapshot/snapshot.h"

struct daemon_beside;

/* BORROWS the publisher until free. */
enum base_status daemon_beside_start(struct snapshot_publisher *publisher,
                                     struct daemon_beside **beside,
                                     struct base_error *error) BASE_MUST_CHECK;
/* Waits for the base that is being written. */
void daemon_beside_free(struct daemon_beside *beside);
/* False where one is being written. */
bool daemon_beside_write(struct daemon_beside *beside, const char *path,
                         const struct snapshot_announcement *version);
struct daemon_beside_status {
    bool busy;
    uint64_t written, failed; /* by this process */
    uint64_t version;         /* newest with a base beside it; 0: none */
    uint64_t last_us;
};
void daemon_beside_get(struct daemon_beside *beside,
                       struct daemon_beside_status *status);

#endif
