/* SPDX-License-Identifier: Apache-2.0 */
/* A user's behaviors; see sequence.h for the layout and its invariants. The
 * behaviors stay in their stored form: what is read is what is written back,
 * and a history is a copy of item ids out of it. */
#include "ingest/sequence.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "ingest/digest.h"

static size_t stride(const struct ingest_sequence *sequence)
{
    return 12 + 8 * (size_t)sequence->item_count;
}

static uint8_t *behavior(const struct ingest_sequence *sequence,
                         uint32_t index)
{
    return sequence->value + INGEST_SEQUENCE_HEAD + index * stride(sequence);
}

enum base_status ingest_sequence_init(struct ingest_sequence *sequence,
                                      uint32_t item_count, uint32_t capacity,
                                      struct base_error *error)
{
    *sequence = (struct ingest_sequence){.item_count = item_count,
                                         .capacity = capacity};
    size_t size = INGEST_SEQUENCE_HEAD + (capacity + 1) * stride(sequence);
    sequence->value = malloc(size);
    if (!sequence->value)
        return base_fail(error, BASE_SYSTEM, "sequence: no memory");
    return BASE_OK;
}

void ingest_sequence_fini(struct ingest_sequence *sequence)
{
    free(sequence->value);
    sequence->value = NULL;
}

void ingest_sequence_clear(struct ingest_sequence *sequence, uint64_t user)
{
    sequence->user = user;
    sequence->present = false;
    sequence->count = sequence->next_ordinal = sequence->dropped = 0;
    sequence->flags = 0;
    sequence->partition = 0;
    sequence->last_ms = 0;
}

static bool verifies(const struct ingest_sequence *sequence, uint64_t user,
                     const uint8_t *data, size_t size)
{
    if (size < INGEST_SEQUENCE_HEAD ||
        base_get_u16(data + 4) != INGEST_SEQUENCE_FORMAT)
        return false;
    size_t count = base_get_u16(data + 6);
    if (size != INGEST_SEQUENCE_HEAD + count * stride(sequence))
        return false;
    return base_get_u32(data) ==
           (uint32_t)ingest_digest_64(data + 4, size - 4, user);
}

bool ingest_sequence_decode(struct ingest_sequence *sequence, uint64_t user,
                            const void *data, size_t size)
{
    const uint8_t *from = data;
    ingest_sequence_clear(sequence, user);
    if (!verifies(sequence, user, from, size))
        return false;
    uint32_t count = base_get_u16(from + 6);
    uint32_t over =
        count > sequence->capacity ? count - sequence->capacity : 0;
    sequence->present = true;
    sequence->count = count - over;
    sequence->next_ordinal = base_get_u32(from + 8);
    sequence->dropped = base_get_u32(from + 12) + over;
    sequence->partition = (int32_t)base_get_u32(from + 16);
    sequence->flags = base_get_u32(from + 20);
    sequence->last_ms = base_get_i64(from + 24);
    memcpy(sequence->value + INGEST_SEQUENCE_HEAD,
           from + INGEST_SEQUENCE_HEAD + over * stride(sequence),
           sequence->count * stride(sequence));
    return true;
}

size_t ingest_sequence_encode(struct ingest_sequence *sequence)
{
    size_t size = INGEST_SEQUENCE_HEAD + sequence->count * stride(sequence);
    uint8_t *at = sequence->value + 4;
    at = base_put_u16(at, INGEST_SEQUENCE_FORMAT);
    at = base_put_u16(at, (uint16_t)sequence->count);
    at = base_put_u32(at, sequence->next_ordinal);
    at = base_put_u32(at, sequence->dropped);
    at = base_put_u32(at, (uint32_t)sequence->partition);
    at = base_put_u32(at, sequence->flags);
    base_put_i64(at, sequence->last_ms);
    uint64_t hash =
        ingest_digest_64(sequence->value + 4, size - 4, sequence->user);
    base_put_u32(sequence->value, (uint32_t)hash);
    return size;
}

void ingest_sequence_add(struct ingest_sequence *sequence, int64_t event_ms,
                         const uint64_t *ids)
{
    size_t step = stride(sequence);
    uint32_t place = sequence->count;
    while (place > 0 &&
           base_get_i64(behavior(sequence, place - 1)) > event_ms)
        place--;
    uint8_t *at = behavior(sequence, place);
    memmove(at + step, at, (sequence->count - place) * step);
    at = base_put_i64(at, event_ms);
    at = base_put_u32(at, sequence->next_ordinal++);
    memcpy(at, ids, 8 * (size_t)sequence->item_count);
    sequence->present = true;
    sequence->count++;
    if (sequence->count > sequence->capacity) {
        memmove(behavior(sequence, 0), behavior(sequence, 1),
                sequence->capacity * step);
        sequence->count = sequence->capacity;
        sequence->dropped++;
    }
    sequence->last_ms = base_get_i64(behavior(sequence, sequence->count - 1));
}

/* Number of behaviors with a time below `event_ms`. */
static uint32_t before(const struct ingest_sequence *sequence,
                       int64_t event_ms)
{
    uint32_t low = 0, high = sequence->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (base_get_i64(behavior(sequence, middle)) < event_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

uint32_t ingest_sequence_history(const struct ingest_sequence *sequence,
                                 int64_t event_ms, uint32_t ordinal,
                                 int64_t ttl_ms, uint32_t history_max,
                                 uint64_t *ids, bool *cut)
{
    int64_t oldest_ms = INT64_MIN;
    if (ttl_ms > 0 && __builtin_sub_overflow(event_ms, ttl_ms, &oldest_ms))
        oldest_ms = INT64_MIN;
    uint32_t end = before(sequence, event_ms), begin = end, found = 0;
    while (begin > 0 && found < history_max) {
        const uint8_t *at = behavior(sequence, begin - 1);
        if (base_get_i64(at) < oldest_ms)
            break;
        found += base_get_u32(at + 8) < ordinal;
        begin--;
    }
    *cut = found < history_max && begin == 0 && sequence->dropped > 0;
    size_t bytes = 8 * (size_t)sequence->item_count;
    for (uint32_t i = begin; i < end; i++) {
        const uint8_t *at = behavior(sequence, i);
        if (base_get_u32(at + 8) >= ordinal)
            continue;
        memcpy(ids, at + 12, bytes);
        ids += sequence->item_count;
    }
    return found;
}

void ingest_sequence_at(const struct ingest_sequence *sequence,
                        uint32_t index, int64_t *event_ms, uint32_t *ordinal,
                        uint64_t *ids)
{
    const uint8_t *at = behavior(sequence, index);
    *event_ms = base_get_i64(at);
    *ordinal = base_get_u32(at + 8);
    memcpy(ids, at + 12, 8 * (size_t)sequence->item_count);
}
