/* SPDX-License-Identifier: Apache-2.0 */
/* One user's sequence: the latest `capacity` behaviors, and the one LMDB value
 * it is kept in.
 *
 * Value, little-endian, format 1:
 *    0  u32  XXH3-64 of bytes 4.. with the user id as seed, low half
 *    4  u16  format
 *    6  u16  count n
 *    8  u32  next ordinal: behaviors of this user applied so far
 *   12  u32  dropped: behaviors pushed out by newer ones
 *   16  i32  partition of the click that made the record
 *   20  u32  flags: 1 = the user was seen in another partition too
 *   24  i64  time of the newest behavior
 *   32  n x {i64 event_ms, u32 ordinal, f x u64 item ids}
 * A change of this layout raises the format; format 1 must stay readable.
 *
 * 1. Behaviors stand in the order (event_ms, ordinal); ordinals are unique.
 * 2. An ordinal is consumed by every behavior, also by one that is dropped.
 * Thread: store. It does not know where the value lies. */
#ifndef INGEST_SEQUENCE_H
#define INGEST_SEQUENCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    INGEST_SEQUENCE_FORMAT = 1,
    INGEST_SEQUENCE_HEAD = 32,
    INGEST_SEQUENCE_CROSSED = 1,
};

struct ingest_sequence {
    uint64_t user;
    uint32_t item_count; /* f */
    uint32_t capacity;   /* history_max + history_slack */
    bool present;        /* has a record, or will have one */
    uint32_t count, next_ordinal, dropped, flags;
    int32_t partition;
    int64_t last_ms;
    uint8_t *value; /* OWNS: head and capacity + 1 behaviors */
};

enum base_status ingest_sequence_init(struct ingest_sequence *sequence,
                                      uint32_t item_count, uint32_t capacity,
                                      struct base_error *error) BASE_MUST_CHECK;
void ingest_sequence_fini(struct ingest_sequence *sequence);

/* An empty sequence of `user`, not present. */
void ingest_sequence_clear(struct ingest_sequence *sequence, uint64_t user);
/* Takes the value of `user`; false, and cleared, where it does not verify. A
 * record of a larger capacity keeps its newest behaviors. */
bool ingest_sequence_decode(struct ingest_sequence *sequence, uint64_t user,
                            const void *data, size_t size);
/* Fills head and hash; the value is sequence->value, its size is returned. */
size_t ingest_sequence_encode(struct ingest_sequence *sequence);

/* Adds a behavior with the next ordinal; the oldest is dropped when there are
 * more than `capacity`. ids (f). */
void ingest_sequence_add(struct ingest_sequence *sequence, int64_t event_ms,
                         const uint64_t *ids);

/* What an impression at event_ms that saw `ordinal` behaviors may know: the
 * latest history_max with time in [event_ms - ttl_ms, event_ms) and a smaller
 * ordinal, oldest first (ttl_ms 0: no lower bound). ids (history_max, f).
 * Returns their number; *cut says whether dropped ones may be missing. */
uint32_t ingest_sequence_history(const struct ingest_sequence *sequence,
                                 int64_t event_ms, uint32_t ordinal,
                                 int64_t ttl_ms, uint32_t history_max,
                                 uint64_t *ids, bool *cut);

/* Behavior `index`, 0 is the oldest. ids (f). */
void ingest_sequence_at(const struct ingest_sequence *sequence,
                        uint32_t index, int64_t *event_ms, uint32_t *ordinal,
                        uint64_t *ids);

#endif
