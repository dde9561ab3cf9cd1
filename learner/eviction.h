/* SPDX-License-Identifier: Apache-2.0 */
/* Eviction by age in event time: a row goes whose last trained batch is
 * older than eviction_ms. Whenever 64 more batches were trained, the next
 * slice of each table's slots is looked at, 1 / 512 of them and at least 1,024,
 * so a sweep takes at most 32,768 batches.
 *
 * How old a batch is, a ring of marks (number of the batch, event time then)
 * tells; one is set whenever event time moved on by 1 / 256 of eviction_ms, so
 * a row may stay by so much longer, never shorter. Event time is the running
 * maximum of what advance() is given. All of it is a function of the journal.
 *
 * The OOV row is never evicted. A table's watch (the cut) sees each row
 * before it goes. Train thread. */
#ifndef LEARNER_EVICTION_H
#define LEARNER_EVICTION_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "learner/learner.h"
#include "learner/table.h"

enum {
    LEARNER_EVICTION_EVERY = 64, /* batches */
    LEARNER_EVICTION_SLICES = 512,
    LEARNER_EVICTION_SLOTS = 1024, /* of a slice, at least */
    LEARNER_EVICTION_MARKS = 256,
    LEARNER_EVICTION_ROOM = 3 * LEARNER_EVICTION_MARKS,
};

struct learner_eviction_mark {
    uint64_t number;
    int64_t event_ms;
};

/* Marks in order, the oldest first, in a ring. */
struct learner_eviction {
    int64_t eviction_ms; /* 0: nothing is ever evicted */
    unsigned table_count;
    int64_t event_ms; /* now */
    uint32_t first, count;
    struct learner_eviction_mark marks[LEARNER_EVICTION_ROOM];
    uint32_t cursor[LEARNER_TABLES_MAX]; /* next slot */
    uint64_t evicted[LEARNER_TABLES_MAX]; /* rows, ever */
    /* NULL, or told each key that goes. */
    void (*gone)(void *self, unsigned table, uint64_t key);
    void *gone_self;
};

void learner_eviction_init(struct learner_eviction *eviction,
                           unsigned table_count, int64_t eviction_ms);
/* Batch `number` (1, 2, ..) was trained; its newest event is event_ms. */
void learner_eviction_advance(struct learner_eviction *eviction,
                              struct learner_table *const *tables,
                              uint64_t number, int64_t event_ms);

/* Bytes of the state; 0 where eviction_ms is 0. */
size_t learner_eviction_size(const struct learner_eviction *eviction);
/* A row leaves its table for good, for its age or with its user: the one way
 * for a row to go. `gone` is told before. */
void learner_eviction_remove(struct learner_eviction *eviction, unsigned t,
                             struct learner_table *table, uint32_t slot);
void learner_eviction_save(const struct learner_eviction *eviction,
                           void *bytes);
/* BASE_CORRUPT where it does not fit. */
enum base_status learner_eviction_load(struct learner_eviction *eviction,
                                       const void *bytes, size_t size,
                                       struct base_error *error)
    BASE_MUST_CHECK;

#endif
