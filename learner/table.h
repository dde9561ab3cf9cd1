/* SPDX-License-Identifier: Apache-2.0 */
/* One growing table: 64-bit key -> row of W parameters, the optimizer's state
 * and its counters. Train thread only.
 *
 * 1. A row keeps its address and its slot number as long as it lives.
 * 2. Slot 0 is the OOV row with key 0; it is always there.
 * 3. A new row's weights are a function of (seed, purpose, key) alone.
 * 4. The next free slot is the lowest one: it follows from the content.
 * Growing never copies rows: a slab of about 4 MiB is added; index.h says how
 * the index grows. Does not evict by itself; learner_table_remove() is there
 * for it. */
#ifndef LEARNER_TABLE_H
#define LEARNER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { LEARNER_TABLE_SLAB = 4 << 20 }; /* bytes of its rows, at most */

/* As it lies in memory and, byte for byte, in a checkpoint's slice. */
struct learner_row {
    uint64_t key;
    uint32_t step;    /* batches that trained it; lazy Adam's t .. */
    uint32_t count;   /* .. and occurrences trained: 2^32 - 1 at most */
    uint32_t touched; /* last batch that trained it: number modulo 2^32 */
    uint32_t live;    /* 1; 0: the slot is free */
    float values[];   /* (W) weights, then the optimizer's state */
};

/* Bytes of a row with `floats` values: a multiple of 8. */
static inline size_t learner_row_stride(size_t floats)
{
    return (sizeof(struct learner_row) + floats * sizeof(float) + 7) &
           ~(size_t)7;
}

struct learner_table_config {
    unsigned width;     /* W */
    unsigned embedding; /* the first so many start uniform in +-row_limit,
                           the others (first-order weights) at 0 */
    unsigned state;     /* floats behind them, which start at 0 */
    uint64_t seed, purpose;
    float row_limit;
};
struct learner_model;
/* What `model` says of its table `table`. */
void learner_table_configure(struct learner_table_config *config,
                             const struct learner_model *model,
                             unsigned table);

struct learner_table; /* OWNS its rows */

enum base_status learner_table_new(struct learner_table **table,
                                   const struct learner_table_config *config,
                                   struct base_error *error) BASE_MUST_CHECK;
void learner_table_free(struct learner_table *table);

unsigned learner_table_width(const struct learner_table *table); /* W */
/* Bytes from one row to the next, a multiple of 8. */
size_t learner_table_stride(const struct learner_table *table);
/* Slots ever used; slots [0, this) can be asked for. */
uint32_t learner_table_slots(const struct learner_table *table);
/* Live rows, the OOV row included. */
uint32_t learner_table_rows(const struct learner_table *table);
/* Memory held: slabs as far as used, index. */
size_t learner_table_bytes(const struct learner_table *table);

/* BORROWS for as long as the row lives. */
struct learner_row *learner_table_row(const struct learner_table *table,
                                      uint32_t slot);
/* How many rows from `slot` on lie behind each other, `slot` included. */
uint32_t learner_table_run(const struct learner_table *table, uint32_t slot);

/* Slot of `key`; 0, the OOV row, where there is none. */
uint32_t learner_table_find(const struct learner_table *table, uint64_t key);
/* The same in three steps, for many keys at a time, each with some others
 * between: prefetch brings the index cell of `key` near; guess reads it and
 * brings the row near that it names first; settle says the slot, given what
 * guess said. */
void learner_table_prefetch(const struct learner_table *table, uint64_t key);
uint32_t learner_table_guess(const struct learner_table *table, uint64_t key);
uint32_t learner_table_settle(const struct learner_table *table, uint64_t key,
                              uint32_t guess);

/* Slot of `key`, its row made where there was none. BASE_SYSTEM where memory
 * is refused, BASE_LIMIT at 2^32 - 1 slots; the table is unchanged then. */
enum base_status learner_table_create(struct learner_table *table,
                                      uint64_t key, uint32_t *slot,
                                      struct base_error *error)
    BASE_MUST_CHECK;
/* Frees the slot of a live row, not slot 0; it is used again by a create. */
void learner_table_remove(struct learner_table *table, uint32_t slot);

/* Takes back a create() that made a row, the newest first: the table is as it
 * was before it. `slots` as they were before the first of them. */
void learner_table_undo(struct learner_table *table, uint32_t slot,
                        uint32_t slots);

/* before(self, slot) is called ahead of every change that create and remove
 * make to a slot that was used before; NULL ends it. */
void learner_table_watch(struct learner_table *table,
                         void (*before)(void *self, uint32_t slot),
                         void *self);

/* gone(self, slot) is called ahead of each learner_table_remove(), which is the
 * one place where rows go; NULL ends it. */
void learner_table_on_remove(struct learner_table *table,
                             void (*gone)(void *self, uint32_t slot),
                             void *self);

/* Empties the table, its OOV row too: a restore must follow. */
void learner_table_clear(struct learner_table *table);
/* Appends the next slot with the content of `row` (stride bytes), as read
 * from a checkpoint; live rows enter the index. BASE_CORRUPT where the key
 * is there already or slot 0 is not the OOV row. */
enum base_status learner_table_restore(struct learner_table *table,
                                       const struct learner_row *row,
                                       struct base_error *error)
    BASE_MUST_CHECK;

#endif
