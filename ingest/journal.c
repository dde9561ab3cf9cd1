/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the journal; see journal.h for the invariants, sample.h for the
 * bytes. */
#include "ingest/journal.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"

enum { TRIM_BLOCKS = 100, RECORDS_OF_AN_EVENT = 4 };

static size_t record_max(const struct ingest_journal_writer *journal)
{
    return ingest_sample_max(journal->field_count, journal->item_count,
                             journal->history_max);
}

/* What one event or timer may add at most: a few samples, their batch ends,
 * and the head of a new block. */
static uint64_t event_max(const struct ingest_journal_writer *journal)
{
    return RECORDS_OF_AN_EVENT *
           (record_max(journal) + INGEST_MARK_SIZE + INGEST_JOURNAL_HEAD);
}

enum base_status ingest_journal_init(struct ingest_journal_writer *journal,
                                     struct ingest_store *store,
                                     const struct ingest_config *config,
                                     struct base_error *error)
{
    *journal = (struct ingest_journal_writer){
        .store = store,
        .field_count = config->schema.field_count,
        .item_count = config->schema.item_count,
        .batch_size = config->batch_size,
        .history_max = config->history_max,
        .max_bytes = config->journal_max_bytes,
        .keep = config->journal_keep};
    journal->mark.block_size = INGEST_JOURNAL_HEAD;
    journal->mark.bytes = INGEST_JOURNAL_HEAD;
    /* A quarter between two checkpoints, and training never moves on where
     * batches and the blocks around them leave no room for the rest. */
    uint64_t least = 8 * (uint64_t)config->batch_size *
                         (record_max(journal) + INGEST_MARK_SIZE) +
                     4 * INGEST_JOURNAL_BLOCK + event_max(journal);
    if (config->batch_size == 0 || journal->max_bytes < least)
        return base_fail(error, BASE_CONFIG,
                         "journal: a cap of %llu bytes is too small for "
                         "batches of %u; raise ingest.journal_max_mb to at "
                         "least %llu",
                         (unsigned long long)journal->max_bytes,
                         config->batch_size,
                         (unsigned long long)(least >> 20) + 1);
    journal->block = malloc(INGEST_JOURNAL_HEAD + INGEST_JOURNAL_BLOCK +
                            record_max(journal));
    journal->record = malloc(record_max(journal) + INGEST_FORGET_MAX);
    if (!journal->block || !journal->record)
        return base_fail(error, BASE_SYSTEM, "journal: no memory");
    return BASE_OK;
}

void ingest_journal_fini(struct ingest_journal_writer *journal)
{
    free(journal->block);
    free(journal->record);
    journal->block = journal->record = NULL;
}

/* ---- load ---------------------------------------------------------------- */

static enum base_status check_chain(const struct ingest_journal_writer *journal,
                                    const struct ingest_journal_block *block,
                                    struct base_error *error)
{
    struct ingest_digest chain = block->chain;
    struct ingest_record record;
    for (const uint8_t *at = block->at; at < block->end; at += record.size) {
        if (!ingest_record_parse(at, block->end, journal->field_count,
                                 journal->item_count, &record))
            return base_fail(error, BASE_CORRUPT,
                             "journal: block %llu holds no whole record at "
                             "byte %zu",
                             (unsigned long long)block->number,
                             (size_t)(at - block->at));
        chain = ingest_record_chain(chain, at, record.size);
    }
    if (chain.low != journal->mark.chain.low ||
        chain.high != journal->mark.chain.high)
        return base_fail(error, BASE_CORRUPT,
                         "journal: the chain of block %llu does not end "
                         "where the writer stopped",
                         (unsigned long long)block->number);
    return BASE_OK;
}

enum base_status ingest_journal_load(struct ingest_journal_writer *journal,
                                     struct base_error *error)
{
    struct ingest_journal_mark *mark = &journal->mark;
    uint8_t key[INGEST_JOURNAL_KEY];
    struct ingest_bytes value;
    struct ingest_journal_block block;
    journal->open_since_ms =
        mark->position > mark->batch_first ? base_monotonic_ms() : 0;
    if (mark->block_records == 0)
        return BASE_OK;
    ingest_journal_block_key(key, mark->block_position, mark->block_number);
    struct ingest_bytes k = {key, sizeof key};
    enum base_status status = ingest_store_get(
        journal->store, INGEST_DB_JOURNAL, k, &value, error);
    if (status)
        return status;
    if (value.size != mark->block_size ||
        value.size > INGEST_JOURNAL_BLOCK + record_max(journal))
        return base_fail(error, BASE_CORRUPT,
                         "journal: open block %llu has %zu bytes, not %llu",
                         (unsigned long long)mark->block_number, value.size,
                         (unsigned long long)mark->block_size);
    status = ingest_journal_block_open(k, value, &block, error);
    if (!status)
        status = check_chain(journal, &block, error);
    if (!status)
        memcpy(journal->block, value.data, value.size);
    return status;
}

/* ---- records ------------------------------------------------------------- */

enum base_status
ingest_journal_room(const struct ingest_journal_writer *journal,
                    struct base_error *error)
{
    if (journal->mark.bytes + event_max(journal) <= journal->max_bytes)
        return BASE_OK;
    return base_fail(error, BASE_AGAIN,
                     "journal: %llu of %llu bytes are in use%s",
                     (unsigned long long)journal->mark.bytes,
                     (unsigned long long)journal->max_bytes,
                     journal->keep ? "; ingest.journal_keep forbids to trim"
                                   : "; waiting for the trainer");
}

enum base_status ingest_journal_flush(struct ingest_journal_writer *journal,
                                      struct base_error *error)
{
    const struct ingest_journal_mark *mark = &journal->mark;
    uint8_t key[INGEST_JOURNAL_KEY];
    if (!journal->dirty)
        return BASE_OK;
    struct ingest_journal_block block = {
        .records = (uint32_t)mark->block_records,
        .position = mark->block_position,
        .number = mark->block_number,
        .chain = mark->block_chain};
    ingest_journal_block_close(journal->block, mark->block_size, &block);
    ingest_journal_block_key(key, block.position, block.number);
    journal->dirty = false;
    return ingest_store_put(
        journal->store, INGEST_DB_JOURNAL,
        (struct ingest_bytes){key, sizeof key},
        (struct ingest_bytes){journal->block, mark->block_size}, error);
}

static void start_block(struct ingest_journal_mark *mark)
{
    mark->block_position = mark->position;
    mark->block_number++;
    mark->block_records = 0;
    mark->block_size = INGEST_JOURNAL_HEAD;
    mark->block_chain = mark->chain;
    mark->bytes += INGEST_JOURNAL_HEAD;
}

/* What follows goes into another block. */
static enum base_status break_block(struct ingest_journal_writer *journal,
                                    struct base_error *error)
{
    if (journal->mark.block_records == 0)
        return BASE_OK;
    enum base_status status = ingest_journal_flush(journal, error);
    if (!status)
        start_block(&journal->mark);
    return status;
}

/* `positions` is 1 for a sample, which advances the position. */
static enum base_status append(struct ingest_journal_writer *journal,
                               size_t size, unsigned positions,
                               struct base_error *error)
{
    struct ingest_journal_mark *mark = &journal->mark;
    if (mark->block_size + size > INGEST_JOURNAL_BLOCK &&
        break_block(journal, error))
        return error->status;
    memcpy(journal->block + mark->block_size, journal->record, size);
    mark->chain = ingest_record_chain(mark->chain, journal->record, size);
    mark->block_size += size;
    mark->bytes += size;
    mark->block_records++;
    mark->position += positions;
    journal->dirty = true;
    return BASE_OK;
}

static enum base_status put_mark(struct ingest_journal_writer *journal,
                                 enum ingest_record_type type, uint8_t label,
                                 uint32_t count, uint64_t number,
                                 struct base_error *error)
{
    uint8_t *at = journal->record;
    at[0] = (uint8_t)type;
    at[1] = label;
    at[2] = at[3] = 0;
    base_put_u64(base_put_u32(at + 4, count), number);
    return append(journal, INGEST_MARK_SIZE, 0, error);
}

enum base_status ingest_journal_end_batch(struct ingest_journal_writer *journal,
                                          struct base_error *error)
{
    struct ingest_journal_mark *mark = &journal->mark;
    uint64_t positions = mark->position - mark->batch_first;
    if (positions == 0)
        return BASE_OK;
    mark->batch_first = mark->position;
    mark->group_size = 0;
    journal->open_since_ms = 0;
    return put_mark(journal, INGEST_RECORD_BATCH_END, 0, (uint32_t)positions,
                    mark->position, error);
}

enum base_status ingest_journal_forget(struct ingest_journal_writer *journal,
                                       const struct learner_forget *forget,
                                       struct base_error *error)
{
    struct ingest_journal_mark *mark = &journal->mark;
    enum base_status status = ingest_journal_end_batch(journal, error);
    if (!status)
        status = break_block(journal, error);
    if (!status)
        status = append(journal,
                        ingest_record_put_forget(journal->record, forget), 1,
                        error);
    if (!status)
        status = ingest_journal_end_batch(journal, error);
    /* The mark of the last sample's group names its user. */
    mark->group_user = 0;
    mark->group_history = (struct ingest_digest){0};
    return status;
}

/* True where the sample starts a group and so carries its history. */
static bool starts_group(struct ingest_journal_mark *mark,
                         const struct ingest_sample *sample,
                         struct ingest_digest history)
{
    bool same = mark->group_size > 0 &&
                mark->group_size < LEARNER_GROUP_MAX &&
                mark->group_user == sample->user &&
                mark->group_history.low == history.low &&
                mark->group_history.high == history.high;
    mark->group_size = same ? mark->group_size + 1 : 1;
    mark->group_user = sample->user;
    mark->group_history = history;
    return !same;
}

enum base_status ingest_journal_sample(struct ingest_journal_writer *journal,
                                       const struct ingest_sample *sample,
                                       struct base_error *error)
{
    struct ingest_journal_mark *mark = &journal->mark;
    size_t bytes =
        8 * (size_t)sample->history_count * journal->item_count;
    bool fresh =
        starts_group(mark, sample, ingest_digest_128(sample->history, bytes));
    uint8_t *at = journal->record;
    *at++ = INGEST_RECORD_SAMPLE;
    *at++ = (uint8_t)sample->kind;
    *at++ = sample->label;
    *at++ = fresh;
    at = base_put_u32(at, fresh ? sample->history_count : 0);
    at = base_put_i64(at, sample->event_ms);
    at = base_put_u64(at, sample->user);
    memcpy(at, sample->ids, 8 * (size_t)journal->field_count);
    at += 8 * (size_t)journal->field_count;
    if (fresh && bytes) {
        memcpy(at, sample->history, bytes);
        at += bytes;
    }
    if (journal->open_since_ms == 0)
        journal->open_since_ms = base_monotonic_ms();
    enum base_status status =
        append(journal, (size_t)(at - journal->record), 1, error);
    if (!status &&
        mark->position - mark->batch_first >= journal->batch_size)
        status = ingest_journal_end_batch(journal, error);
    return status;
}

enum base_status ingest_journal_final(struct ingest_journal_writer *journal,
                                      uint64_t position, uint8_t label,
                                      struct base_error *error)
{
    return put_mark(journal, INGEST_RECORD_FINAL, label, 0, position, error);
}

/* ---- trim ---------------------------------------------------------------- */

/* A block may go where the next one starts below `position`: the batch end at
 * `position` is then not in it. */
enum base_status ingest_journal_trim(struct ingest_journal_writer *journal,
                                     uint64_t position,
                                     struct base_error *error)
{
    struct ingest_journal_mark *mark = &journal->mark;
    uint8_t oldest[INGEST_JOURNAL_KEY];
    if (journal->keep)
        return BASE_OK;
    if (position > mark->batch_first)
        position = mark->batch_first;
    for (unsigned i = 0; i < TRIM_BLOCKS; i++) {
        struct ingest_cursor cursor;
        size_t size = 0;
        bool go = false;
        enum base_status status = ingest_cursor_open(
            journal->store, NULL, INGEST_DB_JOURNAL, &cursor, error);
        if (!status)
            status = ingest_cursor_move(&cursor, INGEST_MOVE_FIRST, error);
        if (!status && cursor.key.data) {
            memcpy(oldest, cursor.key.data, sizeof oldest);
            size = cursor.value.size;
            status = ingest_cursor_move(&cursor, INGEST_MOVE_NEXT, error);
        }
        if (!status && cursor.key.data) {
            uint64_t next = base_get_u64_be(cursor.key.data);
            go = next < position;
            if (go)
                mark->begin = next;
        }
        ingest_cursor_close(&cursor);
        if (status || !go)
            return status;
        mark->bytes -= size;
        status = ingest_store_remove(
            journal->store, INGEST_DB_JOURNAL,
            (struct ingest_bytes){oldest, sizeof oldest}, error);
        if (status)
            return status;
    }
    return BASE_OK;
}
