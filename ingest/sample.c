/* SPDX-License-Identifier: Apache-2.0 */
/* Parsing, chaining and sealing of the journal's bytes; see sample.h. */
#include "ingest/sample.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL /* the streaming state on the stack */
#include <xxhash.h>

#include "base/bytes.h"

size_t ingest_sample_max(unsigned field_count, unsigned item_count,
                         uint32_t history_max)
{
    return INGEST_SAMPLE_HEAD + 8 * (size_t)field_count +
           8 * (size_t)item_count * history_max;
}

static bool parse_sample(const uint8_t *at, size_t left, unsigned field_count,
                         unsigned item_count, struct ingest_record *record)
{
    if (left < INGEST_SAMPLE_HEAD)
        return false;
    record->kind = at[1];
    record->label = at[2];
    record->fresh = at[3] == 1;
    record->count = base_get_u32(at + 4);
    record->event_ms = base_get_i64(at + 8);
    record->number = base_get_u64(at + 16);
    if (record->count > LEARNER_HISTORY_MAX || record->label > 1 ||
        record->kind > LEARNER_FNW_POSITIVE || at[3] > 1 ||
        (!record->fresh && record->count))
        return false;
    record->ids = at + INGEST_SAMPLE_HEAD;
    record->history = record->ids + 8 * (size_t)field_count;
    record->size =
        ingest_sample_max(field_count, item_count, record->count);
    return record->size <= left;
}

bool ingest_record_parse(const uint8_t *at, const uint8_t *end,
                         unsigned field_count, unsigned item_count,
                         struct ingest_record *record)
{
    size_t left = (size_t)(end - at);
    memset(record, 0, sizeof *record);
    if (left < INGEST_MARK_SIZE || at[0] < INGEST_RECORD_SAMPLE ||
        at[0] > INGEST_RECORD_FORGET)
        return false;
    record->type = (enum ingest_record_type)at[0];
    if (record->type == INGEST_RECORD_SAMPLE)
        return parse_sample(at, left, field_count, item_count, record);
    record->size = INGEST_MARK_SIZE;
    record->label = at[1];
    record->count = base_get_u32(at + 4);
    record->number = base_get_u64(at + 8);
    if (record->type != INGEST_RECORD_FORGET)
        return record->label <= 1;
    record->rows = at + INGEST_MARK_SIZE;
    if (record->label || record->count > LEARNER_FORGET_ROWS)
        return false;
    record->size += (size_t)record->count * INGEST_FORGET_ROW;
    return record->size <= left;
}

void ingest_record_forget(const struct ingest_record *record,
                          struct learner_forget *forget)
{
    *forget = (struct learner_forget){.user = record->number,
                                      .rows = record->count};
    const uint8_t *at = record->rows;
    for (uint32_t i = 0; i < record->count; i++, at += INGEST_FORGET_ROW) {
        forget->row[i].table = (uint32_t)base_get_u64(at);
        forget->row[i].key = base_get_u64(at + 8);
    }
}

size_t ingest_record_put_forget(uint8_t *bytes,
                                const struct learner_forget *forget)
{
    uint8_t *at = bytes;
    *at++ = INGEST_RECORD_FORGET;
    at = base_put_u16(at, 0);
    *at++ = 0;
    at = base_put_u32(at, forget->rows);
    at = base_put_u64(at, forget->user);
    for (uint32_t i = 0; i < forget->rows; i++) {
        at = base_put_u64(at, forget->row[i].table);
        at = base_put_u64(at, forget->row[i].key);
    }
    return (size_t)(at - bytes);
}

struct ingest_digest ingest_record_chain(struct ingest_digest before,
                                       const uint8_t *record, size_t size)
{
    XXH3_state_t state;
    uint64_t start[2] = {before.low, before.high};
    XXH3_128bits_reset(&state);
    XXH3_128bits_update(&state, start, sizeof start);
    XXH3_128bits_update(&state, record, size);
    XXH128_hash_t hash = XXH3_128bits_digest(&state);
    return (struct ingest_digest){hash.low64, hash.high64};
}

void ingest_journal_block_key(uint8_t key[INGEST_JOURNAL_KEY],
                              uint64_t position, uint64_t number)
{
    base_put_u64_be(base_put_u64_be(key, position), number);
}

enum base_status ingest_journal_block_open(struct ingest_bytes key,
                                           struct ingest_bytes value,
                                           struct ingest_journal_block *block,
                                           struct base_error *error)
{
    const uint8_t *data = value.data;
    uint8_t wanted[INGEST_JOURNAL_KEY];
    if (key.size != INGEST_JOURNAL_KEY || value.size < INGEST_JOURNAL_HEAD)
        return base_fail(error, BASE_CORRUPT,
                         "journal: a block of %zu bytes is too short",
                         value.size);
    block->records = base_get_u32(data + 12);
    block->position = base_get_u64(data + 16);
    block->number = base_get_u64(data + 24);
    block->chain.low = base_get_u64(data + 32);
    block->chain.high = base_get_u64(data + 40);
    block->at = data + INGEST_JOURNAL_HEAD;
    block->end = data + value.size;
    ingest_journal_block_key(wanted, block->position, block->number);
    if (base_get_u16(data + 8) != INGEST_JOURNAL_FORMAT ||
        base_get_u64(data) != ingest_digest_64(data + 8, value.size - 8, 0) ||
        memcmp(wanted, key.data, sizeof wanted) != 0)
        return base_fail(error, BASE_CORRUPT,
                         "journal: block %llu at position %llu does not "
                         "verify",
                         (unsigned long long)base_get_u64_be(
                             (const uint8_t *)key.data + 8),
                         (unsigned long long)base_get_u64_be(key.data));
    return BASE_OK;
}

void ingest_journal_block_close(uint8_t *value, size_t size,
                                const struct ingest_journal_block *block)
{
    uint8_t *at = base_put_u16(value + 8, INGEST_JOURNAL_FORMAT);
    at = base_put_u16(at, 0);
    at = base_put_u32(at, block->records);
    at = base_put_u64(at, block->position);
    at = base_put_u64(at, block->number);
    at = base_put_u64(at, block->chain.low);
    base_put_u64(at, block->chain.high);
    base_put_u64(value, ingest_digest_64(value + 8, size - 8, 0));
}
