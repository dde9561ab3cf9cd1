/* SPDX-License-Identifier: Apache-2.0 */
/* Dead letters and decisions; see letter.h for the bytes. */
#include "ingest/letter.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "ingest/digest.h"
#include "ingest/state.h"

enum { PLACE = 24, LETTER_HEAD = 40, DECISION_HEAD = 40, TRIM_LOOKS = 500 };

/* hash, topic, what, partition, offset: the first 24 bytes of both. */
static uint8_t *put_place(uint8_t *value, const struct ingest_event *event,
                          uint8_t what)
{
    value[8] = event->topic;
    value[9] = what;
    base_put_u16(value + 10, 0);
    base_put_u32(value + 12, (uint32_t)event->partition);
    return base_put_i64(value + 16, event->offset);
}

static enum base_status put(struct ingest_store *store, enum ingest_db db,
                            uint64_t serial, uint8_t *value, size_t size,
                            struct base_error *error)
{
    uint8_t key[8];
    base_put_u64_be(key, serial);
    base_put_u64(value, ingest_digest_64(value + 8, size - 8, serial));
    return ingest_store_put(store, db, (struct ingest_bytes){key, sizeof key},
                            (struct ingest_bytes){value, size}, error);
}

static bool decode(struct ingest_bytes key, struct ingest_bytes value,
                   struct ingest_letter *letter)
{
    const uint8_t *data = value.data;
    if (key.size != 8 || value.size < LETTER_HEAD ||
        base_get_u64(data) != ingest_digest_64(data + 8, value.size - 8,
                                               base_get_u64_be(key.data)))
        return false;
    letter->topic = data[8];
    letter->what = data[9];
    letter->partition = (int32_t)base_get_u32(data + 12);
    letter->offset = base_get_i64(data + 16);
    letter->first_ms = base_get_i64(data + PLACE);
    return letter->topic < INGEST_TOPICS;
}

/* ---- dead letters -------------------------------------------------------- */

static enum base_status drop_oldest(struct ingest_store *store,
                                    struct ingest_letter_mark *mark,
                                    struct base_error *error)
{
    struct ingest_cursor cursor;
    uint8_t key[8];
    size_t size = 0;
    enum base_status status = ingest_cursor_open(
        store, NULL, INGEST_DB_DEAD_LETTERS, &cursor, error);
    if (!status)
        status = ingest_cursor_move(&cursor, INGEST_MOVE_FIRST, error);
    if (!status && cursor.key.data && cursor.key.size == sizeof key) {
        memcpy(key, cursor.key.data, sizeof key);
        size = cursor.value.size;
    }
    ingest_cursor_close(&cursor);
    if (status)
        return status;
    if (size == 0) {
        mark->letter_bytes = 0;
        return BASE_OK;
    }
    mark->letter_bytes -= size;
    mark->letters_dropped++;
    return ingest_store_remove(store, INGEST_DB_DEAD_LETTERS,
                               (struct ingest_bytes){key, sizeof key}, error);
}

enum base_status ingest_letter_put(struct ingest_store *store,
                                   struct ingest_letter_mark *mark,
                                   const struct ingest_event *event,
                                   uint64_t max_bytes,
                                   struct base_error *error)
{
    if (max_bytes < LETTER_HEAD) {
        mark->letters_dropped++;
        return BASE_OK;
    }
    uint32_t kept = event->payload ? event->payload_size : 0;
    if (kept > max_bytes - LETTER_HEAD)
        kept = (uint32_t)(max_bytes - LETTER_HEAD);
    size_t size = LETTER_HEAD + (size_t)kept;
    enum base_status status = BASE_OK;
    while (!status && mark->letter_bytes &&
           mark->letter_bytes + size > max_bytes)
        status = drop_oldest(store, mark, error);
    if (status)
        return status;
    uint8_t *value = malloc(size);
    if (!value)
        return base_fail(error, BASE_SYSTEM, "dead letter: no memory");
    uint8_t *at = put_place(value, event, event->reason);
    at = base_put_i64(at, event->kafka_ms);
    at = base_put_u32(at, event->payload_size + event->cut);
    at = base_put_u32(at, kept);
    if (kept)
        memcpy(at, event->payload, kept);
    mark->letter_bytes += size;
    status = put(store, INGEST_DB_DEAD_LETTERS, mark->next_letter++, value,
                 size, error);
    free(value);
    return status;
}

bool ingest_letter_decode(struct ingest_bytes key, struct ingest_bytes value,
                          struct ingest_letter *letter)
{
    const uint8_t *data = value.data;
    if (!decode(key, value, letter) || letter->what >= INGEST_REASON_COUNT)
        return false;
    letter->size = base_get_u32(data + PLACE + 8);
    letter->bytes_kept = base_get_u32(data + PLACE + 12);
    letter->bytes = data + LETTER_HEAD;
    return letter->bytes_kept == value.size - LETTER_HEAD;
}

/* ---- forgetting ---------------------------------------------------------- */

enum { NAME_MAX_BYTES = 1024 }; /* of a user's id that is looked for */

/* Avro's zigzag number at `at`; 0 bytes where there is none. */
static size_t read_number(const uint8_t *at, const uint8_t *end, int64_t *value)
{
    uint64_t raw = 0;
    for (size_t i = 0; i < 10 && at + i < end; i++) {
        raw |= (uint64_t)(at[i] & 0x7f) << (7 * i);
        if (at[i] & 0x80)
            continue;
        *value = (int64_t)(raw >> 1) ^ -(int64_t)(raw & 1);
        return i + 1;
    }
    return 0;
}

/* Whether the id of one of them stands anywhere in the bytes: a string or bytes
 * behind their length, or an integer. */
static bool names_one(const struct base_map *users, const uint8_t *bytes,
                      size_t size)
{
    uint64_t seed = learner_table_seed("user");
    const uint8_t *end = bytes + size;
    for (const uint8_t *at = bytes; at < end; at++) {
        int64_t value;
        size_t used = read_number(at, end, &value);
        if (!used)
            continue;
        if (base_map_get(users, learner_id_of_int(seed, value)))
            return true;
        if (value > 0 && value <= NAME_MAX_BYTES &&
            value <= end - at - (int64_t)used &&
            base_map_get(users, learner_id(seed, at + used, (size_t)value)))
            return true;
    }
    return false;
}

enum base_status ingest_letter_forget(struct ingest_store *store,
                                      struct ingest_letter_mark *mark,
                                      const struct base_map *users,
                                      uint64_t *gone, struct base_error *error)
{
    uint64_t serial = 0;
    for (;;) {
        struct ingest_cursor cursor;
        struct ingest_letter letter;
        uint8_t key[8];
        bool found = false;
        size_t size = 0;
        base_put_u64_be(key, serial);
        enum base_status status = ingest_cursor_open(
            store, NULL, INGEST_DB_DEAD_LETTERS, &cursor, error);
        if (!status)
            status = ingest_cursor_seek(
                &cursor, (struct ingest_bytes){key, sizeof key}, error);
        while (!status && cursor.key.data && !found) {
            serial = base_get_u64_be(cursor.key.data);
            size = cursor.value.size;
            found = ingest_letter_decode(cursor.key, cursor.value, &letter) &&
                    names_one(users, letter.bytes, letter.bytes_kept);
            if (!found)
                status = ingest_cursor_move(&cursor, INGEST_MOVE_NEXT, error);
        }
        ingest_cursor_close(&cursor);
        if (status || !found)
            return status;
        base_put_u64_be(key, serial++);
        mark->letter_bytes -= size;
        ++*gone;
        status = ingest_store_remove(store, INGEST_DB_DEAD_LETTERS,
                                     (struct ingest_bytes){key, sizeof key},
                                     error);
        if (status)
            return status;
    }
}

/* ---- decisions ----------------------------------------------------------- */

enum base_status ingest_decision_put(struct ingest_store *store,
                                     struct ingest_letter_mark *mark,
                                     const struct ingest_event *event,
                                     uint8_t kind, const char *text,
                                     struct base_error *error)
{
    uint8_t value[DECISION_HEAD + 512];
    size_t length = strnlen(text, sizeof value - DECISION_HEAD);
    uint8_t *at = put_place(value, event, kind);
    at = base_put_i64(at, event->own_ms);
    at = base_put_i64(at, event->apply_ms);
    memcpy(at, text, length);
    return put(store, INGEST_DB_DECISIONS, mark->next_decision++, value,
               DECISION_HEAD + length, error);
}

bool ingest_decision_decode(struct ingest_bytes key, struct ingest_bytes value,
                            struct ingest_letter *letter)
{
    if (!decode(key, value, letter))
        return false;
    letter->second_ms =
        base_get_i64((const uint8_t *)value.data + PLACE + 8);
    letter->bytes = (const uint8_t *)value.data + DECISION_HEAD;
    letter->bytes_kept = (uint32_t)(value.size - DECISION_HEAD);
    return true;
}

static bool has_left(const struct ingest_letter *decision,
                     const struct ingest_position *begins, unsigned count)
{
    uint8_t of_records = INGEST_FLOORED | INGEST_CLAMPED | INGEST_AHEAD |
                         INGEST_UNREGISTERED;
    if (decision->what & ~of_records)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (begins[i].topic == decision->topic &&
            begins[i].partition == decision->partition)
            return decision->offset < begins[i].next;
    return false;
}

/* The first serial from `from` on whose record has left; UINT64_MAX: none.
 * *left counts down what may still be looked at; where it ends, *next is where
 * to go on. */
static enum base_status find_left(struct ingest_store *store,
                                  const struct ingest_position *begins,
                                  unsigned count, uint64_t from,
                                  unsigned *left, uint64_t *next, bool *found,
                                  struct base_error *error)
{
    struct ingest_cursor cursor;
    uint8_t key[8];
    base_put_u64_be(key, from);
    *next = UINT64_MAX;
    *found = false;
    enum base_status status = ingest_cursor_open(
        store, NULL, INGEST_DB_DECISIONS, &cursor, error);
    if (!status)
        status = ingest_cursor_seek(
            &cursor, (struct ingest_bytes){key, sizeof key}, error);
    while (!status && !*found && cursor.key.data && cursor.key.size == 8) {
        struct ingest_letter decision;
        *next = base_get_u64_be(cursor.key.data);
        if (*left == 0)
            break;
        --*left;
        *found = ingest_decision_decode(cursor.key, cursor.value, &decision) &&
                 has_left(&decision, begins, count);
        if (*found)
            break;
        *next = UINT64_MAX;
        status = ingest_cursor_move(&cursor, INGEST_MOVE_NEXT, error);
    }
    ingest_cursor_close(&cursor);
    return status;
}

enum base_status ingest_decisions_trim(struct ingest_store *store,
                                       const struct ingest_position *begins,
                                       unsigned count, uint64_t *at,
                                       uint64_t *gone,
                                       struct base_error *error)
{
    unsigned left = TRIM_LOOKS;
    bool found = true;
    *gone = 0;
    while (found) {
        uint8_t key[8];
        enum base_status status = find_left(store, begins, count, *at, &left,
                                            at, &found, error);
        if (status || !found)
            return status;
        base_put_u64_be(key, *at);
        status = ingest_store_remove(store, INGEST_DB_DECISIONS,
                                     (struct ingest_bytes){key, sizeof key},
                                     error);
        if (status)
            return status;
        ++*gone;
    }
    return BASE_OK;
}
