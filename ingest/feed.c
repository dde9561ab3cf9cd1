/* SPDX-License-Identifier: Apache-2.0 */
/* Reading committed batches of the journal: the learner's source.
 *
 * 1. A read transaction lives for one call only, so a slow trainer never
 *    holds old pages; what a batch needs is copied into arrays that grow and
 *    are kept.
 * 2. Each block's hash is verified when it is first touched in a call, the
 *    chain is carried from record to record and compared with each block's.
 * 3. A place is the byte behind a batch end; the reader remembers the last
 *    one, any other is found through the keys.
 * Thread: train (one thread at a time), each reader its own. */
#include "ingest/feed.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "ingest/state.h"

struct place {
    uint64_t position; /* batch end: the next sample's position */
    uint64_t block_position, block_number;
    size_t at; /* byte of the next record in the block's records */
    struct ingest_digest chain;
};

/* Arrays that grow together: by sample, by group, by behavior, by final. */
struct batch_arrays {
    uint64_t *ids, *user, *history;
    int64_t *event_ms;
    uint8_t *label, *kind;
    uint32_t *group_begin, *history_begin;
    struct learner_final *final;
    struct learner_forget *forget;
    size_t samples, groups, behaviors, finals, forgets;
    size_t samples_max, groups_max, behaviors_max, finals_max, forgets_max;
};

struct ingest_journal {
    struct ingest_feed *feed;
    struct ingest_reader *reader;
    struct batch_arrays arrays;
    bool placed;
    struct place place; /* where the batch at place.position starts */
};

/* ---- life ---------------------------------------------------------------- */

void ingest_feed_init(struct ingest_feed *feed, struct ingest_store *store,
                      unsigned field_count, unsigned item_count)
{
    pthread_condattr_t attributes;
    feed->store = store;
    feed->field_count = field_count;
    feed->item_count = item_count;
    feed->batch_end = 0;
    pthread_mutex_init(&feed->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&feed->committed, &attributes);
    pthread_condattr_destroy(&attributes);
}

void ingest_feed_fini(struct ingest_feed *feed)
{
    pthread_cond_destroy(&feed->committed);
    pthread_mutex_destroy(&feed->mutex);
}

void ingest_feed_signal(struct ingest_feed *feed, uint64_t batch_end)
{
    pthread_mutex_lock(&feed->mutex);
    feed->batch_end = batch_end;
    pthread_cond_broadcast(&feed->committed);
    pthread_mutex_unlock(&feed->mutex);
}

/* True as soon as a batch behind `position` is committed. */
static bool wait_behind(struct ingest_feed *feed, uint64_t position,
                        int timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t nanoseconds = until.tv_nsec + (int64_t)timeout_ms * 1000000;
    until.tv_sec += nanoseconds / 1000000000;
    until.tv_nsec = nanoseconds % 1000000000;
    pthread_mutex_lock(&feed->mutex);
    int code = 0;
    while (feed->batch_end <= position && code == 0 && timeout_ms > 0)
        code = pthread_cond_timedwait(&feed->committed, &feed->mutex, &until);
    bool there = feed->batch_end > position;
    pthread_mutex_unlock(&feed->mutex);
    return there;
}

enum base_status ingest_feed_open(struct ingest_feed *feed,
                                  struct ingest_journal **journal,
                                  struct base_error *error)
{
    struct ingest_journal *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "journal: no memory");
    made->feed = feed;
    enum base_status status =
        ingest_reader_new(feed->store, &made->reader, error);
    if (status)
        free(made);
    else
        *journal = made;
    return status;
}

void ingest_journal_free(struct ingest_journal *journal)
{
    if (!journal)
        return;
    struct batch_arrays *arrays = &journal->arrays;
    ingest_reader_free(journal->reader);
    free(arrays->ids);
    free(arrays->user);
    free(arrays->history);
    free(arrays->event_ms);
    free(arrays->label);
    free(arrays->kind);
    free(arrays->group_begin);
    free(arrays->history_begin);
    free(arrays->final);
    free(arrays->forget);
    free(journal);
}

/* ---- arrays -------------------------------------------------------------- */

struct column {
    void **array;
    size_t element;
};

/* Makes room for `needed` elements in each column. */
static enum base_status reserve(const struct column *columns, unsigned count,
                                size_t needed, size_t *max,
                                struct base_error *error)
{
    if (needed <= *max)
        return BASE_OK;
    size_t size = *max ? *max * 2 : 256;
    while (size < needed)
        size *= 2;
    for (unsigned i = 0; i < count; i++) {
        void *grown = realloc(*columns[i].array, size * columns[i].element);
        if (!grown)
            return base_fail(error, BASE_SYSTEM,
                             "journal: no memory for a batch");
        *columns[i].array = grown;
    }
    *max = size;
    return BASE_OK;
}

#define COLUMN(name, width) \
    {(void **)&arrays->name, sizeof *arrays->name * (width)}

static enum base_status start_group(struct ingest_journal *journal,
                                    const struct ingest_record *record,
                                    struct base_error *error)
{
    struct batch_arrays *arrays = &journal->arrays;
    size_t width = journal->feed->item_count;
    struct column groups[] = {COLUMN(group_begin, 1),
                              COLUMN(history_begin, 1)};
    struct column behaviors[] = {COLUMN(history, width)};
    enum base_status status = reserve(groups, 2, arrays->groups + 2,
                                      &arrays->groups_max, error);
    if (!status)
        status = reserve(behaviors, 1, arrays->behaviors + record->count + 1,
                         &arrays->behaviors_max, error);
    if (status)
        return status;
    arrays->group_begin[arrays->groups] = (uint32_t)arrays->samples;
    arrays->history_begin[arrays->groups] = (uint32_t)arrays->behaviors;
    arrays->groups++;
    memcpy(arrays->history + arrays->behaviors * width, record->history,
           8 * width * record->count);
    arrays->behaviors += record->count;
    return BASE_OK;
}

static enum base_status take_sample(struct ingest_journal *journal,
                                    const struct ingest_record *record,
                                    struct base_error *error)
{
    struct batch_arrays *arrays = &journal->arrays;
    size_t width = journal->feed->field_count, i = arrays->samples;
    struct column columns[] = {COLUMN(ids, width), COLUMN(user, 1),
                               COLUMN(event_ms, 1), COLUMN(label, 1),
                               COLUMN(kind, 1)};
    enum base_status status =
        reserve(columns, 5, i + 1, &arrays->samples_max, error);
    if (!status && record->fresh)
        status = start_group(journal, record, error);
    if (status)
        return status;
    if (arrays->groups == 0)
        return base_fail(error, BASE_CORRUPT,
                         "journal: a batch starts without a history");
    memcpy(arrays->ids + i * width, record->ids, 8 * width);
    arrays->user[i] = record->number;
    arrays->event_ms[i] = record->event_ms;
    arrays->label[i] = record->label;
    arrays->kind[i] = record->kind;
    arrays->samples++;
    return BASE_OK;
}

static enum base_status take_final(struct ingest_journal *journal,
                                   const struct ingest_record *record,
                                   struct base_error *error)
{
    struct batch_arrays *arrays = &journal->arrays;
    struct column columns[] = {COLUMN(final, 1)};
    enum base_status status = reserve(columns, 1, arrays->finals + 1,
                                      &arrays->finals_max, error);
    if (!status)
        arrays->final[arrays->finals++] =
            (struct learner_final){record->number, record->label};
    return status;
}

static enum base_status take_forget(struct ingest_journal *journal,
                                    const struct ingest_record *record,
                                    struct base_error *error)
{
    struct batch_arrays *arrays = &journal->arrays;
    struct column columns[] = {COLUMN(forget, 1)};
    enum base_status status = reserve(columns, 1, arrays->forgets + 1,
                                      &arrays->forgets_max, error);
    if (!status)
        ingest_record_forget(record, &arrays->forget[arrays->forgets++]);
    return status;
}

/* ---- walking ------------------------------------------------------------- */

/* A walk over records, across blocks. */
struct walk {
    struct ingest_cursor cursor;
    struct ingest_journal_block block;
    const uint8_t *at;
    struct ingest_digest chain;
    uint64_t position; /* of the next sample */
};

static enum base_status enter_block(struct walk *walk,
                                    struct base_error *error)
{
    enum base_status status = ingest_journal_block_open(
        walk->cursor.key, walk->cursor.value, &walk->block, error);
    walk->at = walk->block.at;
    return status;
}

/* To the next record; record->size 0 at the end of what is committed. */
static enum base_status step(struct ingest_journal *journal, struct walk *walk,
                             struct ingest_record *record,
                             struct base_error *error)
{
    enum base_status status;
    record->size = 0;
    while (walk->at == walk->block.end) {
        status = ingest_cursor_move(&walk->cursor, INGEST_MOVE_NEXT, error);
        if (status || !walk->cursor.key.data)
            return status;
        if ((status = enter_block(walk, error)))
            return status;
        if (walk->block.chain.low != walk->chain.low ||
            walk->block.chain.high != walk->chain.high ||
            walk->block.position != walk->position)
            return base_fail(error, BASE_CORRUPT,
                             "journal: block %llu does not continue the one "
                             "before it",
                             (unsigned long long)walk->block.number);
    }
    if (!ingest_record_parse(walk->at, walk->block.end,
                             journal->feed->field_count,
                             journal->feed->item_count, record))
        return base_fail(error, BASE_CORRUPT,
                         "journal: block %llu holds no whole record at byte "
                         "%zu",
                         (unsigned long long)walk->block.number,
                         (size_t)(walk->at - walk->block.at));
    walk->chain = ingest_record_chain(walk->chain, walk->at, record->size);
    walk->at += record->size;
    walk->position += ingest_record_positions(record);
    return BASE_OK;
}

static struct place place_of(const struct walk *walk)
{
    return (struct place){.position = walk->position,
                          .block_position = walk->block.position,
                          .block_number = walk->block.number,
                          .at = (size_t)(walk->at - walk->block.at),
                          .chain = walk->chain};
}

/* Goes on at the place where the last batch ended. */
static enum base_status resume(struct ingest_journal *journal,
                               struct walk *walk, struct base_error *error)
{
    const struct place *place = &journal->place;
    uint8_t key[INGEST_JOURNAL_KEY];
    ingest_journal_block_key(key, place->block_position, place->block_number);
    enum base_status status =
        ingest_cursor_seek(&walk->cursor,
                           (struct ingest_bytes){key, sizeof key}, error);
    if (status)
        return status;
    if (!walk->cursor.key.data ||
        memcmp(walk->cursor.key.data, key, sizeof key) != 0)
        return base_fail(error, BASE_DATA,
                         "journal: position %llu was trimmed",
                         (unsigned long long)place->position);
    status = enter_block(walk, error);
    walk->at = walk->block.at + place->at;
    walk->chain = place->chain;
    walk->position = place->position;
    if (!status && walk->at > walk->block.end)
        status = base_fail(error, BASE_CORRUPT,
                           "journal: block %llu became shorter",
                           (unsigned long long)walk->block.number);
    return status;
}

/* The last block that starts below `position`, or the first for 0. */
static enum base_status seek_block(struct walk *walk, uint64_t position,
                                   struct base_error *error)
{
    struct ingest_cursor *cursor = &walk->cursor;
    uint8_t key[INGEST_JOURNAL_KEY];
    enum base_status status;
    ingest_journal_block_key(key, position, 0);
    if (position == 0) {
        status = ingest_cursor_move(cursor, INGEST_MOVE_FIRST, error);
    } else {
        status = ingest_cursor_seek(
            cursor, (struct ingest_bytes){key, sizeof key}, error);
        if (!status)
            status = ingest_cursor_move(cursor,
                                        cursor->key.data
                                            ? INGEST_MOVE_PREVIOUS
                                            : INGEST_MOVE_LAST,
                                        error);
    }
    if (status)
        return status;
    if (cursor->key.data && (status = enter_block(walk, error)))
        return status;
    if (!cursor->key.data || (position == 0 && walk->block.number != 0))
        return base_fail(error, BASE_DATA,
                         "journal: position %llu was trimmed",
                         (unsigned long long)position);
    walk->chain = walk->block.chain;
    walk->position = walk->block.position;
    return BASE_OK;
}

static enum base_status search(struct ingest_journal *journal,
                               struct walk *walk, uint64_t position,
                               struct base_error *error)
{
    struct ingest_record record;
    enum base_status status = seek_block(walk, position, error);
    if (status || position == 0)
        return status;
    while (walk->position <= position) {
        status = step(journal, walk, &record, error);
        if (status)
            return status;
        if (record.size == 0)
            break;
        if (record.type == INGEST_RECORD_BATCH_END &&
            record.number == position)
            return BASE_OK;
    }
    return base_fail(error, BASE_DATA,
                     "journal: no batch ends at position %llu",
                     (unsigned long long)position);
}

/* ---- a batch ------------------------------------------------------------- */

static enum base_status collect(struct ingest_journal *journal,
                                struct walk *walk, bool *whole,
                                struct base_error *error)
{
    struct ingest_record record;
    enum base_status status = BASE_OK;
    *whole = false;
    while (!status) {
        status = step(journal, walk, &record, error);
        if (status || record.size == 0)
            return status;
        switch (record.type) {
        case INGEST_RECORD_SAMPLE:
            status = take_sample(journal, &record, error);
            break;
        case INGEST_RECORD_FINAL:
            status = take_final(journal, &record, error);
            break;
        case INGEST_RECORD_FORGET:
            status = take_forget(journal, &record, error);
            break;
        case INGEST_RECORD_BATCH_END:
            *whole = true;
            if (record.number != walk->position ||
                record.count !=
                    journal->arrays.samples + journal->arrays.forgets)
                status = base_fail(error, BASE_CORRUPT,
                                   "journal: the batch that ends at %llu has "
                                   "other records than its end says",
                                   (unsigned long long)record.number);
            return status;
        }
    }
    return status;
}

static void fill(struct ingest_journal *journal, uint64_t first,
                 struct learner_batch *batch)
{
    struct batch_arrays *arrays = &journal->arrays;
    if (arrays->groups) {
        arrays->group_begin[arrays->groups] = (uint32_t)arrays->samples;
        arrays->history_begin[arrays->groups] = (uint32_t)arrays->behaviors;
    }
    *batch = (struct learner_batch){
        .first = first,
        .end = journal->place.position,
        .journal_hash = {journal->place.chain.low, journal->place.chain.high},
        .samples = (uint32_t)arrays->samples,
        .groups = (uint32_t)arrays->groups,
        .ids = arrays->ids,
        .user = arrays->user,
        .event_ms = arrays->event_ms,
        .label = arrays->label,
        .kind = arrays->kind,
        .group_begin = arrays->group_begin,
        .history_begin = arrays->history_begin,
        .history = arrays->history,
        .finals = (uint32_t)arrays->finals,
        .final = arrays->final,
        .forgets = (uint32_t)arrays->forgets,
        .forget = arrays->forget};
}

static enum base_status read_batch(struct ingest_journal *journal,
                                   uint64_t position,
                                   struct learner_batch *batch,
                                   struct base_error *error)
{
    struct walk walk = {0};
    bool whole = false;
    struct batch_arrays *arrays = &journal->arrays;
    arrays->samples = arrays->groups = arrays->behaviors = 0;
    arrays->finals = arrays->forgets = 0;
    enum base_status status =
        ingest_cursor_open(journal->feed->store, journal->reader,
                           INGEST_DB_JOURNAL, &walk.cursor, error);
    if (!status && journal->placed && journal->place.position == position)
        status = resume(journal, &walk, error);
    else if (!status)
        status = search(journal, &walk, position, error);
    if (!status)
        status = collect(journal, &walk, &whole, error);
    ingest_cursor_close(&walk.cursor);
    if (status)
        return status;
    if (!whole)
        return base_fail(error, BASE_BROKEN,
                         "journal: the batch at %llu has no end",
                         (unsigned long long)position);
    journal->place = place_of(&walk);
    journal->placed = true;
    fill(journal, position, batch);
    return BASE_OK;
}

/* ---- places -------------------------------------------------------------- */

/* The first batch end that is kept, or 0 where nothing has gone. */
static enum base_status find_begin(struct ingest_journal *journal,
                                   struct walk *walk, uint64_t *position,
                                   struct base_error *error)
{
    struct ingest_record record = {.size = 1};
    enum base_status status =
        ingest_cursor_move(&walk->cursor, INGEST_MOVE_FIRST, error);
    *position = 0;
    if (status || !walk->cursor.key.data)
        return status;
    status = enter_block(walk, error);
    if (status || walk->block.number == 0)
        return status;
    walk->chain = walk->block.chain;
    walk->position = walk->block.position;
    while (record.size && !status) {
        status = step(journal, walk, &record, error);
        if (!status && record.size && record.type == INGEST_RECORD_BATCH_END) {
            *position = record.number;
            return BASE_OK;
        }
    }
    return status ? status
                  : base_fail(error, BASE_AGAIN,
                              "journal: no batch ends in it");
}

static enum base_status go_to(struct ingest_journal *journal,
                              struct walk *walk, uint64_t position,
                              struct base_error *error)
{
    uint64_t begin;
    if (find_begin(journal, walk, &begin, error))
        return error->status;
    if (position < begin)
        return base_fail(error, BASE_DATA,
                         "journal: kept from position %llu on, not from %llu",
                         (unsigned long long)begin,
                         (unsigned long long)position);
    if (position == 0) /* found by the first read, once there is a batch */
        return BASE_OK;
    if (search(journal, walk, position, error))
        return error->status;
    journal->place = place_of(walk);
    journal->placed = true;
    return BASE_OK;
}

/* begin NULL: seeks `position`. */
static enum base_status look(struct ingest_journal *journal, uint64_t *begin,
                             uint64_t position, struct base_error *error)
{
    struct walk walk = {0};
    if (ingest_reader_begin(journal->reader, error))
        return error->status;
    enum base_status status =
        ingest_cursor_open(journal->feed->store, journal->reader,
                           INGEST_DB_JOURNAL, &walk.cursor, error);
    if (!status)
        status = begin ? find_begin(journal, &walk, begin, error)
                       : go_to(journal, &walk, position, error);
    ingest_cursor_close(&walk.cursor);
    ingest_reader_end(journal->reader);
    return status;
}

enum base_status ingest_journal_seek(struct ingest_journal *journal,
                                     uint64_t position,
                                     struct base_error *error)
{
    return look(journal, NULL, position, error);
}

void ingest_journal_hash(const struct ingest_journal *journal,
                         uint64_t hash[2])
{
    hash[0] = journal->place.chain.low;
    hash[1] = journal->place.chain.high;
}

enum base_status ingest_journal_begin(struct ingest_journal *journal,
                                      uint64_t *position,
                                      struct base_error *error)
{
    return look(journal, position, 0, error);
}

enum base_status ingest_journal_next(struct ingest_journal *journal,
                                     uint64_t position, int timeout_ms,
                                     struct learner_batch *batch,
                                     struct base_error *error)
{
    if (!wait_behind(journal->feed, position, timeout_ms))
        return base_fail(error, BASE_AGAIN,
                         "journal: nothing committed behind %llu",
                         (unsigned long long)position);
    enum base_status status = ingest_reader_begin(journal->reader, error);
    if (status)
        return status;
    status = read_batch(journal, position, batch, error);
    ingest_reader_end(journal->reader);
    return status;
}
