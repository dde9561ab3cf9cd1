/* SPDX-License-Identifier: Apache-2.0 */
/* Eviction; see eviction.h. Saved, little-endian: i64 event time, u64 marks,
 * u64 tables, then for each mark u64 number and i64 event time, for each table
 * u64 cursor and u64 rows evicted. */
#include "learner/eviction.h"

#include <string.h>

#include "base/bytes.h"

enum { ROOM = LEARNER_EVICTION_ROOM, AHEAD = 8 };

void learner_eviction_init(struct learner_eviction *eviction,
                           unsigned table_count, int64_t eviction_ms)
{
    *eviction = (struct learner_eviction){
        .eviction_ms = eviction_ms,
        .table_count = table_count,
        .event_ms = INT64_MIN,
    };
}

static struct learner_eviction_mark *
mark_at(struct learner_eviction *eviction, uint32_t i)
{
    return &eviction->marks[(eviction->first + i) % ROOM];
}

/* Event time goes on to event_ms; `number` is the last batch before. It is
 * this one that gets the mark, so that a leap in time makes it old. Two marks
 * in a row are more than `apart` from the one before them. */
static void set_mark(struct learner_eviction *eviction, uint64_t number,
                     int64_t event_ms)
{
    int64_t apart = eviction->eviction_ms / LEARNER_EVICTION_MARKS + 1;
    if (number == 0 || eviction->event_ms == INT64_MIN ||
        (eviction->count &&
         event_ms < mark_at(eviction, eviction->count - 1)->event_ms + apart))
        return;
    BASE_ASSERT(eviction->count < ROOM);
    *mark_at(eviction, eviction->count++) =
        (struct learner_eviction_mark){number, eviction->event_ms};
}

/* Rows that were last trained in this batch or before are too old; 0: none.
 * Older marks are of no use any more. */
static uint64_t oldest_kept(struct learner_eviction *eviction)
{
    int64_t horizon = eviction->event_ms - eviction->eviction_ms;
    while (eviction->count > 1 && mark_at(eviction, 1)->event_ms <= horizon) {
        eviction->first = (eviction->first + 1) % ROOM;
        eviction->count--;
    }
    if (!eviction->count || mark_at(eviction, 0)->event_ms > horizon)
        return 0;
    return mark_at(eviction, 0)->number;
}

void learner_eviction_remove(struct learner_eviction *eviction, unsigned t,
                             struct learner_table *table, uint32_t slot)
{
    if (eviction->gone)
        eviction->gone(eviction->gone_self, t,
                       learner_table_row(table, slot)->key);
    learner_table_remove(table, slot);
}

/* Rows go that were last trained `age` batches ago or earlier. A row knows the
 * low half of that batch's number, which is enough to tell how long ago. */
static void sweep(struct learner_eviction *eviction, unsigned t,
                  struct learner_table *table, uint64_t number, uint64_t age)
{
    uint32_t slots = learner_table_slots(table);
    uint32_t slice = slots / LEARNER_EVICTION_SLICES + 1;
    if (slice < LEARNER_EVICTION_SLOTS)
        slice = LEARNER_EVICTION_SLOTS;
    uint32_t slot = eviction->cursor[t] < slots ? eviction->cursor[t] : 0;
    uint32_t end = slots - slot < slice ? slots : slot + slice;
    for (; slot < end; slot++) {
        if (slot + AHEAD < end)
            __builtin_prefetch(learner_table_row(table, slot + AHEAD));
        const struct learner_row *row = learner_table_row(table, slot);
        if (!slot || !row->live || (uint32_t)number - row->touched < age)
            continue;
        learner_eviction_remove(eviction, t, table, slot);
        eviction->evicted[t]++;
    }
    eviction->cursor[t] = end == slots ? 0 : end;
}

void learner_eviction_advance(struct learner_eviction *eviction,
                              struct learner_table *const *tables,
                              uint64_t number, int64_t event_ms)
{
    if (eviction->eviction_ms <= 0)
        return;
    if (event_ms > eviction->event_ms) {
        set_mark(eviction, number - 1, event_ms);
        eviction->event_ms = event_ms;
    }
    uint64_t limit = oldest_kept(eviction);
    if (number % LEARNER_EVICTION_EVERY)
        return;
    for (unsigned t = 0; t < eviction->table_count; t++)
        sweep(eviction, t, tables[t], number, number - limit);
}

size_t learner_eviction_size(const struct learner_eviction *eviction)
{
    if (eviction->eviction_ms <= 0)
        return 0;
    return 24 + 16 * (eviction->count + (size_t)eviction->table_count);
}

void learner_eviction_save(const struct learner_eviction *eviction,
                           void *bytes)
{
    if (eviction->eviction_ms <= 0)
        return;
    uint8_t *at = base_put_i64(bytes, eviction->event_ms);
    at = base_put_u64(at, eviction->count);
    at = base_put_u64(at, eviction->table_count);
    for (uint32_t i = 0; i < eviction->count; i++) {
        const struct learner_eviction_mark *mark =
            &eviction->marks[(eviction->first + i) % ROOM];
        at = base_put_u64(at, mark->number);
        at = base_put_i64(at, mark->event_ms);
    }
    for (unsigned t = 0; t < eviction->table_count; t++) {
        at = base_put_u64(at, eviction->cursor[t]);
        at = base_put_u64(at, eviction->evicted[t]);
    }
}

enum base_status learner_eviction_load(struct learner_eviction *eviction,
                                       const void *bytes, size_t size,
                                       struct base_error *error)
{
    const uint8_t *at = bytes;
    if (eviction->eviction_ms <= 0 && size == 0)
        return BASE_OK;
    uint64_t count = size >= 24 ? base_get_u64(at + 8) : ROOM;
    if (eviction->eviction_ms <= 0 || count >= ROOM ||
        base_get_u64(at + 16) != eviction->table_count ||
        size != 24 + 16 * (count + eviction->table_count))
        return base_fail(error, BASE_CORRUPT,
                         "eviction: %zu bytes do not fit", size);
    eviction->event_ms = base_get_i64(at);
    eviction->first = 0;
    eviction->count = (uint32_t)count;
    at += 24;
    for (uint32_t i = 0; i < count; i++, at += 16)
        eviction->marks[i] = (struct learner_eviction_mark){
            base_get_u64(at), base_get_i64(at + 8)};
    for (unsigned t = 0; t < eviction->table_count; t++, at += 16) {
        eviction->cursor[t] = (uint32_t)base_get_u64(at);
        eviction->evicted[t] = base_get_u64(at + 8);
    }
    return BASE_OK;
}
