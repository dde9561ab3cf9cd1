/* SPDX-License-Identifier: Apache-2.0 */
/* The offset ledger, dead letters, decisions and configuration lines: what is
 * stored comes back, and what is damaged is noticed. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "ingest/ledger.h"
#include "ingest/letter.h"
#include "ingest/stream.h"

struct fixture {
    char folder[200];
    struct ingest_store *store;
    struct ingest_ledger ledger;
    struct base_error error;
};

static void must(struct fixture *fixture, enum base_status status)
{
    if (status)
        fail_msg("%s", fixture->error.text);
}

static void open_all(struct fixture *fixture)
{
    struct base_error *error = &fixture->error;
    must(fixture, ingest_store_open(fixture->folder, 1 << 24, &fixture->store,
                                    error));
    must(fixture, ingest_store_begin(fixture->store, error));
    must(fixture, ingest_ledger_init(&fixture->ledger, fixture->store, error));
    must(fixture, ingest_ledger_load(&fixture->ledger, error));
}

static void close_all(struct fixture *fixture)
{
    ingest_ledger_fini(&fixture->ledger);
    ingest_store_free(fixture->store);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    const char *base = getenv("TMPDIR");
    snprintf(fixture->folder, sizeof fixture->folder, "%s/ledger-XXXXXX",
             base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(fixture->folder));
    open_all(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    close_all(fixture);
    assert_int_equal(base_file_remove(fixture->folder, NULL), BASE_OK);
    free(fixture);
    return 0;
}

static struct ingest_event event_at(int64_t offset, int64_t own_ms)
{
    return (struct ingest_event){.topic = INGEST_CLICKS,
                                 .partition = 3,
                                 .offset = offset,
                                 .kafka_ms = own_ms + 1,
                                 .crc = 0xabcd,
                                 .own_ms = own_ms,
                                 .apply_ms = own_ms + 2};
}

static void positions_come_back(void **state)
{
    struct fixture *fixture = *state;
    struct ingest_event event = event_at(12, 500);
    must(fixture, ingest_ledger_start(&fixture->ledger, INGEST_CLICKS, 3, 10,
                                      &fixture->error));
    must(fixture, ingest_ledger_start(&fixture->ledger, INGEST_IMPRESSIONS,
                                      3, 0, &fixture->error));
    struct ingest_partition *partition =
        ingest_ledger_find(&fixture->ledger, INGEST_CLICKS, 3);
    assert_int_equal(partition->position.own_ms, INT64_MIN);
    must(fixture, ingest_ledger_advance(partition, &event, &fixture->error));
    assert_int_equal(ingest_ledger_unaccounted(&fixture->ledger), 1);
    ingest_ledger_count(partition, INGEST_WAITING);
    must(fixture, ingest_ledger_flush(&fixture->ledger, &fixture->error));
    must(fixture, ingest_store_commit(fixture->store, &fixture->error));
    close_all(fixture);
    open_all(fixture);
    assert_int_equal(fixture->ledger.count, 2);
    partition = ingest_ledger_find(&fixture->ledger, INGEST_CLICKS, 3);
    assert_non_null(partition);
    const struct ingest_position *position = &partition->position;
    assert_int_equal(position->start, 10);
    assert_int_equal(position->next, 13);
    assert_int_equal(position->own_ms, 500);
    assert_int_equal(position->apply_ms, 502);
    assert_int_equal(position->anchor_offset, 12);
    assert_int_equal(position->anchor_ms, 501);
    assert_int_equal(position->anchor_crc, 0xabcd);
    assert_int_equal(partition->buckets[INGEST_CONTROL], 2); /* 10, 11 */
    ingest_ledger_settle(&fixture->ledger, INGEST_CLICKS, 3, INGEST_ORGANIC);
    assert_int_equal(partition->buckets[INGEST_WAITING], 0);
    assert_int_equal(partition->buckets[INGEST_ORGANIC], 1);
    assert_int_equal(ingest_ledger_unaccounted(&fixture->ledger), 0);
    assert_int_equal(
        ingest_ledger_own(&fixture->ledger, INGEST_IMPRESSIONS, 9),
        INT64_MIN);
}

static void time_never_runs_backwards(void **state)
{
    struct fixture *fixture = *state;
    struct ingest_event event = event_at(0, 500);
    must(fixture, ingest_ledger_start(&fixture->ledger, INGEST_CLICKS, 3, 0,
                                      &fixture->error));
    struct ingest_partition *partition =
        ingest_ledger_find(&fixture->ledger, INGEST_CLICKS, 3);
    must(fixture, ingest_ledger_advance(partition, &event, &fixture->error));
    event = event_at(1, 0); /* a dead letter */
    must(fixture, ingest_ledger_advance(partition, &event, &fixture->error));
    assert_int_equal(partition->position.own_ms, 500);
    assert_int_equal(partition->position.apply_ms, 502);
    assert_int_equal(
        ingest_ledger_advance(partition, &event, &fixture->error),
        BASE_BROKEN);
}

static void a_partition_too_many_is_refused(void **state)
{
    struct fixture *fixture = *state;
    for (int32_t i = 0; i < INGEST_PARTITIONS_MAX; i++)
        must(fixture, ingest_ledger_start(&fixture->ledger, i % 2, i / 2, 0,
                                          &fixture->error));
    assert_int_equal(ingest_ledger_start(&fixture->ledger, 0, 99999, 0,
                                         &fixture->error),
                     BASE_LIMIT);
    assert_int_equal(
        ingest_ledger_start(&fixture->ledger, 2, 0, 0, &fixture->error),
        BASE_BROKEN);
    assert_int_equal(
        ingest_ledger_start(&fixture->ledger, 0, 5, 0, &fixture->error),
        BASE_BROKEN);
    assert_non_null(strstr(fixture->error.text, "started before"));
}

/* First entry of a database, copied. */
static void first_of(struct fixture *fixture, enum ingest_db db,
                     uint8_t *key, size_t *key_size, uint8_t *value,
                     size_t *size)
{
    struct ingest_cursor cursor;
    must(fixture, ingest_cursor_open(fixture->store, NULL, db, &cursor,
                                     &fixture->error));
    must(fixture, ingest_cursor_move(&cursor, INGEST_MOVE_FIRST,
                                     &fixture->error));
    assert_non_null(cursor.key.data);
    *key_size = cursor.key.size;
    *size = cursor.value.size;
    memcpy(key, cursor.key.data, *key_size);
    memcpy(value, cursor.value.data, *size);
    ingest_cursor_close(&cursor);
}

static void every_flipped_bit_is_seen(void **state)
{
    struct fixture *fixture = *state;
    static const enum ingest_db dbs[] = {
        INGEST_DB_PARTITIONS, INGEST_DB_DEAD_LETTERS, INGEST_DB_DECISIONS};
    struct ingest_letter_mark mark = {0};
    struct ingest_event event = event_at(7, 1000);
    struct ingest_partition partition;
    struct ingest_letter letter;
    uint8_t key[16], value[1000];
    size_t key_size, size;
    event.reason = INGEST_REASON_WIRE;
    event.payload = (const uint8_t *)"payload";
    event.payload_size = 7;
    event.cut = 1000;
    must(fixture, ingest_ledger_start(&fixture->ledger, 1, 3, 0,
                                      &fixture->error));
    must(fixture, ingest_ledger_flush(&fixture->ledger, &fixture->error));
    must(fixture, ingest_letter_put(fixture->store, &mark, &event, 1000,
                                    &fixture->error));
    must(fixture, ingest_decision_put(fixture->store, &mark, &event,
                                      INGEST_FLOORED, "why",
                                      &fixture->error));
    for (unsigned i = 0; i < 3; i++) {
        first_of(fixture, dbs[i], key, &key_size, value, &size);
        struct ingest_bytes k = {key, key_size}, v = {value, size};
        for (size_t bit = 0; bit <= size * 8; bit++) {
            if (bit) /* the first round is undamaged */
                value[(bit - 1) / 8] ^= (uint8_t)(1 << (bit - 1) % 8);
            bool good =
                i == 0   ? !ingest_ledger_decode(k, v, &partition,
                                                 &fixture->error)
                : i == 1 ? ingest_letter_decode(k, v, &letter)
                         : ingest_decision_decode(k, v, &letter);
            assert_int_equal(good, bit == 0);
            if (i == 1 && good) { /* of the record; what is kept is less */
                assert_int_equal(letter.size, 1007);
                assert_int_equal(letter.bytes_kept, 7);
            }
            if (bit)
                value[(bit - 1) / 8] ^= (uint8_t)(1 << (bit - 1) % 8);
        }
    }
    assert_true(ingest_decision_decode((struct ingest_bytes){key, key_size},
                                       (struct ingest_bytes){value, size},
                                       &letter));
    assert_int_equal(letter.offset, 7);
    assert_int_equal(letter.first_ms, 1000);
    assert_int_equal(letter.second_ms, 1002);
    assert_int_equal(letter.bytes_kept, 3);
    assert_memory_equal(letter.bytes, "why", 3);
}

static void lines_are_compared_by_name(void **state)
{
    char value[32], changes[200];
    struct base_error error;
    const char *stored = "label_mode=window\nwindow_ms=100\nbatch_size=4\n";
    (void)state;
    ingest_stream_value(stored, "window_ms", value, sizeof value);
    assert_string_equal(value, "100");
    ingest_stream_value(stored, "window", value, sizeof value);
    assert_string_equal(value, "");
    assert_int_equal(ingest_stream_compare(stored, stored, changes,
                                           sizeof changes, &error),
                     BASE_OK);
    assert_string_equal(changes, "");
    assert_int_equal(
        ingest_stream_compare(
            stored, "label_mode=window\nwindow_ms=7\nbatch_size=4\n", changes,
            sizeof changes, &error),
        BASE_OK);
    assert_string_equal(changes, "window_ms: 100 -> 7");
    assert_int_equal(
        ingest_stream_compare(
            stored,
            "label_mode=window\nwindow_ms=100\nbatch_size=4\nfield.9=x\n",
            changes, sizeof changes, &error),
        BASE_CONFIG);
    assert_non_null(strstr(error.text, "field.9 was \"\" and is now \"x\""));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(positions_come_back),
        TEST(time_never_runs_backwards),
        TEST(a_partition_too_many_is_refused),
        TEST(every_flipped_bit_is_seen),
        cmocka_unit_test(lines_are_compared_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
