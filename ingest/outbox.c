/* SPDX-License-Identifier: Apache-2.0 */
/* Rows to announce; see outbox.h. */
#include "ingest/outbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum { KEY_SIZE = 16, SENT_KEPT = 64 };

static void make_key(uint8_t key[KEY_SIZE], uint64_t epoch, uint64_t version)
{
    base_put_u64_be(base_put_u64_be(key, epoch), version);
}

static enum base_status put(struct ingest_store *store,
                            const uint8_t key[KEY_SIZE], bool sent,
                            const void *row, size_t size,
                            struct base_error *error)
{
    uint8_t *value = malloc(size + 1);
    if (!value)
        return base_fail(error, BASE_SYSTEM, "outbox: no memory");
    value[0] = sent;
    if (size)
        memcpy(value + 1, row, size);
    enum base_status status = ingest_store_put(
        store, INGEST_DB_OUTBOX, (struct ingest_bytes){key, KEY_SIZE},
        (struct ingest_bytes){value, size + 1}, error);
    free(value);
    return status;
}

enum base_status ingest_outbox_put(struct ingest_store *store, uint64_t epoch,
                                   uint64_t version, const void *row,
                                   size_t size, struct base_error *error)
{
    uint8_t key[KEY_SIZE];
    make_key(key, epoch, version);
    return put(store, key, false, row, size, error);
}

/* Oldest sent mark; false where fewer than SENT_KEPT rows are kept. */
static enum base_status find_old_mark(struct ingest_store *store,
                                      uint8_t key[KEY_SIZE], bool *found,
                                      struct base_error *error)
{
    struct ingest_cursor cursor;
    *found = false;
    if (ingest_store_count(store, INGEST_DB_OUTBOX) <= SENT_KEPT)
        return BASE_OK;
    enum base_status status =
        ingest_cursor_open(store, NULL, INGEST_DB_OUTBOX, &cursor, error);
    if (!status)
        status = ingest_cursor_move(&cursor, INGEST_MOVE_FIRST, error);
    while (!status && cursor.key.data) {
        if (*(const uint8_t *)cursor.value.data) {
            memcpy(key, cursor.key.data, KEY_SIZE);
            *found = true;
            break;
        }
        status = ingest_cursor_move(&cursor, INGEST_MOVE_NEXT, error);
    }
    ingest_cursor_close(&cursor);
    return status;
}

enum base_status ingest_outbox_sent(struct ingest_store *store, uint64_t epoch,
                                    uint64_t version, struct base_error *error)
{
    uint8_t key[KEY_SIZE];
    bool found;
    make_key(key, epoch, version);
    enum base_status status = put(store, key, true, NULL, 0, error);
    if (!status)
        status = find_old_mark(store, key, &found, error);
    if (!status && found)
        status = ingest_store_remove(store, INGEST_DB_OUTBOX,
                                     (struct ingest_bytes){key, KEY_SIZE},
                                     error);
    return status;
}

static enum base_status copy_row(const struct ingest_cursor *cursor,
                                 void **row, size_t *size,
                                 struct base_error *error)
{
    *size = cursor->value.size - 1;
    *row = malloc(*size + 1);
    if (!*row)
        return base_fail(error, BASE_SYSTEM, "outbox: no memory");
    memcpy(*row, (const uint8_t *)cursor->value.data + 1, *size);
    ((uint8_t *)*row)[*size] = 0;
    return BASE_OK;
}

enum base_status ingest_outbox_next(struct ingest_store *store,
                                    uint64_t *epoch, uint64_t *version,
                                    void **row, size_t *size,
                                    struct base_error *error)
{
    struct ingest_cursor cursor;
    enum base_status status =
        ingest_cursor_open(store, NULL, INGEST_DB_OUTBOX, &cursor, error);
    if (!status)
        status = ingest_cursor_move(&cursor, INGEST_MOVE_FIRST, error);
    while (!status && cursor.key.data &&
           *(const uint8_t *)cursor.value.data)
        status = ingest_cursor_move(&cursor, INGEST_MOVE_NEXT, error);
    if (!status && !cursor.key.data) {
        status = base_fail(error, BASE_AGAIN, "outbox: no row waits");
    } else if (!status) {
        *epoch = base_get_u64_be(cursor.key.data);
        *version = base_get_u64_be((const uint8_t *)cursor.key.data + 8);
        status = copy_row(&cursor, row, size, error);
    }
    ingest_cursor_close(&cursor);
    return status;
}

enum base_status ingest_outbox_announced(struct ingest_store *store,
                                         uint64_t epoch, uint64_t version,
                                         bool *announced,
                                         struct base_error *error)
{
    uint8_t key[KEY_SIZE];
    struct ingest_bytes value;
    make_key(key, epoch, version);
    enum base_status status =
        ingest_store_get(store, INGEST_DB_OUTBOX,
                         (struct ingest_bytes){key, KEY_SIZE}, &value, error);
    *announced = !status && value.data && *(const uint8_t *)value.data;
    return status;
}
