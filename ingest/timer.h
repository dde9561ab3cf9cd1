/* SPDX-License-Identifier: Apache-2.0 */
/* Timers of waiting events: a binary heap in the order in which they fire,
 * (due, partition, user, event_ms, offset). Refs grow with the offset within
 * a partition, so they stand for it. 40 bytes each, in memory only: they are
 * rebuilt from the blocks at open (pending.h). Thread: store. */
#ifndef INGEST_TIMER_H
#define INGEST_TIMER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct ingest_timer {
    int64_t due_ms;
    uint64_t user;
    int64_t event_ms;
    uint64_t ref;
    int32_t partition;
} __attribute__((packed, aligned(4)));

struct ingest_timers {
    struct ingest_timer *heap; /* OWNS */
    size_t count, capacity;
};

void ingest_timers_fini(struct ingest_timers *timers);
enum base_status ingest_timers_push(struct ingest_timers *timers,
                                    const struct ingest_timer *timer,
                                    struct base_error *error) BASE_MUST_CHECK;
/* The first one to fire, or NULL. BORROWS until push or pop. */
const struct ingest_timer *
ingest_timers_first(const struct ingest_timers *timers);
void ingest_timers_pop(struct ingest_timers *timers);

#endif
