/* SPDX-License-Identifier: Apache-2.0 */
/* The state over a store that is damaged, of another format, full, or on a
 * disk that is: what is dropped is counted, all else is said, and the last
 * commit stays. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "ingest/store.h"
#include "state_cases.h"

/* Changes the value of `key` (NULL: the first) through its own store. */
static void change(struct state_fixture *fixture, enum ingest_db db,
                   const char *key, size_t at, uint8_t with)
{
    struct ingest_store *store;
    struct ingest_cursor cursor;
    struct base_error *error = &fixture->error;
    uint8_t kept_key[16];
    assert_int_equal(ingest_store_open(fixture->config.folder, 1 << 28, &store,
                                       error),
                     BASE_OK);
    assert_int_equal(ingest_store_begin(store, error), BASE_OK);
    assert_int_equal(ingest_cursor_open(store, NULL, db, &cursor, error),
                     BASE_OK);
    struct ingest_bytes wanted = {key ? key : "", key ? strlen(key) : 0};
    assert_int_equal(
        key ? ingest_cursor_seek(&cursor, wanted, error)
            : ingest_cursor_move(&cursor, INGEST_MOVE_FIRST, error),
        BASE_OK);
    size_t size = cursor.value.size, key_size = cursor.key.size;
    assert_true(at < size && key_size <= sizeof kept_key);
    uint8_t *copy = malloc(size);
    memcpy(copy, cursor.value.data, size);
    memcpy(kept_key, cursor.key.data, key_size);
    ingest_cursor_close(&cursor);
    copy[at] ^= with;
    assert_int_equal(
        ingest_store_put(store, db, (struct ingest_bytes){kept_key, key_size},
                         (struct ingest_bytes){copy, size}, error),
        BASE_OK);
    assert_int_equal(ingest_store_commit(store, error), BASE_OK);
    ingest_store_free(store);
    free(copy);
}

static void a_damaged_sequence_is_dropped_and_counted(void **state)
{
    struct state_fixture *fixture = *state;
    static struct ingest_status status;
    start(fixture);
    click(fixture, 0, 1000, 1, 0, 1);
    show(fixture, 0, 1001, 1, 1, 1);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    change(fixture, INGEST_DB_SEQUENCES, NULL, 45, 0x40);
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(ingest_inspect(fixture->config.folder,
                                    INGEST_INSPECT_SEQUENCES, out,
                                    &fixture->error),
                     BASE_CORRUPT);
    fclose(out);
    free(text);
    state_fixture_open(fixture);
    state_fixture_begin(fixture);
    click(fixture, 1, 1000, 1, 0, 2); /* not known to impression 1 */
    show(fixture, 1, 2000, 1, 2, 2);  /* closes impression 1 */
    state_fixture_commit(fixture);
    get_status(fixture, &status);
    assert_int_equal(status.damaged_sequences, 1);
    assert_int_equal(status.unaccounted, 0);
    state_fixture_close(fixture);
    assert_int_equal(
        lines_with(fixture, INGEST_INSPECT_SAMPLES, "\"history\":[]"), 1);
    assert_int_equal(
        lines_with(fixture, INGEST_INSPECT_SEQUENCES, "[[1000,2147483648,"),
        1);
}

static void other_damage_stops_the_start(void **state)
{
    static const struct {
        enum ingest_db db;
        const char *key, *says;
    } cases[] = {
        {INGEST_DB_META, "state", "totals"},
        {INGEST_DB_PARTITIONS, NULL, "partition 0"},
        {INGEST_DB_IMPRESSIONS, NULL, "block 0 of impressions"},
        {INGEST_DB_CLICKS, NULL, "block 0 of clicks"},
    };
    struct state_fixture *fixture = *state;
    start(fixture);
    show(fixture, 0, 1000, 1, 1, 1);
    click(fixture, 0, 1000, 1, 9, 1);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        change(fixture, cases[i].db, cases[i].key, 40, 0x04);
        assert_int_equal(ingest_state_open(&fixture->config, &fixture->state,
                                           &fixture->error),
                         BASE_CORRUPT);
        assert_non_null(strstr(fixture->error.text, cases[i].says));
        change(fixture, cases[i].db, cases[i].key, 40, 0x04);
    }
    state_fixture_open(fixture);
}

static void a_newer_format_is_refused(void **state)
{
    struct state_fixture *fixture = *state;
    start(fixture);
    state_fixture_commit(fixture);
    state_fixture_close(fixture);
    change(fixture, INGEST_DB_META, "state", 8, 0x02); /* 1 becomes 3 */
    expect_refusal(fixture, "written by a newer interestd");
}

static void a_full_map_keeps_the_last_commit(void **state)
{
    struct state_fixture *fixture = *state;
    struct fixture_event made;
    enum base_status status = BASE_OK;
    unsigned count;
    int64_t i = 0, committed = 0;
    fixture->config.map_bytes = 1 << 21;
    fixture->config.pending_max = 1000000;
    start(fixture);
    for (; !status && i < 100000; i++) {
        fixture_impression(&made, i, 1000, (uint64_t)i, (uint64_t)i + 1, 1);
        status = ingest_state_apply(fixture->state, &made.event,
                                    &fixture->error);
        if (!status && i % 700 == 699) {
            status = ingest_state_commit(fixture->state, &fixture->error);
            if (!status) {
                committed = i + 1;
                state_fixture_begin(fixture);
            }
        }
    }
    assert_int_equal(status, BASE_LIMIT);
    assert_non_null(strstr(fixture->error.text, "MDB_MAP_FULL"));
    assert_non_null(strstr(fixture->error.text, "raise ingest.map_mb"));
    assert_int_equal(ingest_state_begin(fixture->state, &fixture->error),
                     BASE_BROKEN);
    state_fixture_close(fixture);
    fixture->config.map_bytes = 1 << 26;
    state_fixture_open(fixture);
    assert_true(committed > 0);
    assert_int_equal(ingest_state_positions(fixture->state, &count)[0].next,
                     committed);
}

/* The file may not grow: as on a full disk, the commit's write fails. */
static void a_failed_write_keeps_the_last_commit(void **state)
{
    struct state_fixture *fixture = *state;
    struct rlimit before, limit;
    struct stat file;
    char path[1100];
    unsigned count;
    start(fixture);
    show(fixture, 0, 1000, 1, 1, 1);
    state_fixture_commit(fixture);
    state_fixture_begin(fixture);
    for (int64_t i = 1; i < 2000; i++)
        show(fixture, i, 1000, (uint64_t)i, (uint64_t)i + 1, 1);
    snprintf(path, sizeof path, "%s/data.mdb", fixture->config.folder);
    assert_int_equal(stat(path, &file), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = (rlim_t)file.st_size;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum base_status status =
        ingest_state_commit(fixture->state, &fixture->error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, BASE_IO);
    assert_non_null(strstr(fixture->error.text, "state: commit: store: "));
    assert_int_equal(ingest_state_begin(fixture->state, &fixture->error),
                     BASE_BROKEN);
    state_fixture_close(fixture);
    state_fixture_open(fixture);
    assert_int_equal(ingest_state_positions(fixture->state, &count)[0].next,
                     1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_damaged_sequence_is_dropped_and_counted),
        TEST(other_damage_stops_the_start),
        TEST(a_newer_format_is_refused),
        TEST(a_full_map_keeps_the_last_commit),
        TEST(a_failed_write_keeps_the_last_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
