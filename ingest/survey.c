/* SPDX-License-Identifier: Apache-2.0 */
/* What a stored state says of itself, for whoever compares it with the files
 * beside it, and a copy of it; see ingest.h. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "ingest/schema.h"
#include "ingest/view.h"

enum { SCHEMA_MAX = 1 << 24, OUTBOX_KEY = 16 };

/* The last key of a database; size 0 where it is empty. */
static enum base_status last_key(struct ingest_view *view, enum ingest_db db,
                                 uint8_t *key, size_t *size,
                                 struct base_error *error)
{
    struct ingest_cursor cursor;
    enum base_status status =
        ingest_cursor_open(view->store, view->reader, db, &cursor, error);
    if (!status)
        status = ingest_cursor_move(&cursor, INGEST_MOVE_LAST, error);
    *size = !status && cursor.key.data ? cursor.key.size : 0;
    if (*size > OUTBOX_KEY)
        status =
            base_fail(error, BASE_CORRUPT, "survey: a key of %zu bytes", *size);
    else if (*size)
        memcpy(key, cursor.key.data, *size);
    ingest_cursor_close(&cursor);
    return status;
}

static enum base_status look(struct ingest_view *view,
                             struct ingest_survey *survey,
                             struct base_error *error)
{
    uint8_t key[OUTBOX_KEY];
    size_t size;
    enum base_status status =
        last_key(view, INGEST_DB_DECISIONS, key, &size, error);
    if (!status && size == 8 && base_get_u64_be(key) >= survey->decisions)
        status = base_fail(error, BASE_CORRUPT,
                           "decisions: the last one is %llu, the state has "
                           "made %llu",
                           (unsigned long long)base_get_u64_be(key),
                           (unsigned long long)survey->decisions);
    if (!status)
        status = last_key(view, INGEST_DB_OUTBOX, key, &size, error);
    if (!status && size == OUTBOX_KEY) {
        survey->announced_epoch = base_get_u64_be(key);
        survey->announced_version = base_get_u64_be(key + 8);
        if (survey->announced_epoch > survey->epoch)
            status = base_fail(error, BASE_CORRUPT,
                               "outbox: epoch %llu was announced, the state "
                               "knows %llu",
                               (unsigned long long)survey->announced_epoch,
                               (unsigned long long)survey->epoch);
    }
    return status;
}

enum base_status ingest_survey(const char *folder, struct ingest_survey *survey,
                               struct base_error *error)
{
    struct ingest_view view;
    struct ingest_store_readers readers;
    enum base_status status = ingest_view_open(&view, folder, error);
    if (!status) {
        const struct ingest_totals *totals = &view.totals;
        ingest_store_get_readers(view.store, &readers);
        *survey = (struct ingest_survey){
            .events = totals->events,
            .commits = totals->commits,
            .epoch = totals->epoch,
            .decisions = totals->letters.next_decision,
            .journal_begin = totals->journal.begin,
            .batch_end = totals->journal.batch_first,
            .journal_end = totals->journal.position,
            .used_bytes = ingest_store_used(view.store),
            .sequences_bytes =
                ingest_reader_bytes(view.reader, INGEST_DB_SEQUENCES),
            .reader_slots = readers.slots ? readers.slots - 1 : 0,
            .reader_lag_commits = readers.lag_commits};
        status = look(&view, survey, error);
    }
    ingest_view_close(&view);
    return status;
}

enum base_status ingest_survey_hash(const char *folder, uint64_t position,
                                    uint64_t hash[2], struct base_error *error)
{
    struct ingest_view view;
    struct ingest_feed feed;
    struct ingest_journal *journal = NULL;
    hash[0] = hash[1] = 0;
    enum base_status status = ingest_view_open(&view, folder, error);
    if (!status) {
        ingest_feed_init(&feed, view.store, view.field_count, view.item_count);
        ingest_reader_end(view.reader);
        status = ingest_feed_open(&feed, &journal, error);
        if (!status)
            status = ingest_journal_seek(journal, position, error);
        if (!status)
            ingest_journal_hash(journal, hash);
        ingest_journal_free(journal);
        ingest_feed_fini(&feed);
    }
    ingest_view_close(&view);
    return status;
}

enum base_status ingest_backup(const char *folder, const char *to, bool compact,
                               struct base_error *error)
{
    struct ingest_store *store = NULL;
    enum base_status status = ingest_store_open_read(folder, &store, error);
    if (!status)
        status = ingest_store_copy(store, to, compact, error);
    ingest_store_free(store);
    return status;
}

enum base_status ingest_survey_schema(const char *path,
                                      struct base_error *error)
{
    char *text = NULL;
    size_t size;
    struct ingest_schema *schema = NULL;
    enum base_status status =
        base_file_read(path, SCHEMA_MAX, &text, &size, error);
    if (!status && ingest_schema_new(text, size, &schema, error))
        status = base_wrap(error, "%s", path);
    ingest_schema_free(schema);
    free(text);
    return status;
}
