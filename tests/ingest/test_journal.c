/* SPDX-License-Identifier: Apache-2.0 */
/* The journal: groups, batches, blocks, restarts, readers, trim, cap. */
#include <pthread.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/random.h"
#include "ingest/feed.h"
#include "ingest/state.h"

enum { FIELDS = 3, ITEMS = 2, HISTORY = 200, BATCH = 32 };

struct fixture {
    char folder[200];
    struct ingest_config config;
    struct ingest_store *store;
    struct ingest_journal_writer writer;
    struct ingest_feed feed;
    struct ingest_journal *reader;
    struct base_error error;
    uint64_t history[HISTORY * ITEMS];
};

static void must(struct fixture *fixture, enum base_status status)
{
    if (status)
        fail_msg("%s", fixture->error.text);
}

static void open_all(struct fixture *fixture,
                     const struct ingest_journal_mark *mark)
{
    struct base_error *error = &fixture->error;
    must(fixture, ingest_store_open(fixture->folder, 1 << 28, &fixture->store,
                                    error));
    must(fixture, ingest_journal_init(&fixture->writer, fixture->store,
                                      &fixture->config, error));
    must(fixture, ingest_store_begin(fixture->store, error));
    if (mark)
        fixture->writer.mark = *mark;
    must(fixture, ingest_journal_load(&fixture->writer, error));
    ingest_feed_init(&fixture->feed, fixture->store, FIELDS, ITEMS);
    ingest_feed_signal(&fixture->feed, fixture->writer.mark.batch_first);
    must(fixture, ingest_feed_open(&fixture->feed, &fixture->reader, error));
}

static void close_all(struct fixture *fixture)
{
    ingest_journal_free(fixture->reader);
    ingest_feed_fini(&fixture->feed);
    ingest_journal_fini(&fixture->writer);
    ingest_store_free(fixture->store);
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    const char *base = getenv("TMPDIR");
    snprintf(fixture->folder, sizeof fixture->folder, "%s/journal-XXXXXX",
             base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(fixture->folder));
    fixture->config.schema.field_count = FIELDS;
    fixture->config.schema.item_count = ITEMS;
    fixture->config.batch_size = BATCH;
    fixture->config.history_max = HISTORY;
    fixture->config.journal_max_bytes = 1 << 26;
    for (unsigned i = 0; i < HISTORY * ITEMS; i++)
        fixture->history[i] = i + 1;
    open_all(fixture, NULL);
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

static void commit(struct fixture *fixture)
{
    must(fixture, ingest_journal_flush(&fixture->writer, &fixture->error));
    must(fixture, ingest_store_commit(fixture->store, &fixture->error));
    ingest_feed_signal(&fixture->feed, fixture->writer.mark.batch_first);
    must(fixture, ingest_store_begin(fixture->store, &fixture->error));
}

static void restart(struct fixture *fixture)
{
    struct ingest_journal_mark mark = fixture->writer.mark;
    close_all(fixture);
    open_all(fixture, &mark);
}

/* Sample of `user` with the first `count` behaviors. */
static void put(struct fixture *fixture, uint64_t user, uint32_t count)
{
    uint64_t position = fixture->writer.mark.position;
    uint64_t ids[FIELDS] = {position, user, 3};
    struct ingest_sample sample = {.kind = LEARNER_WINDOW,
                                   .label = position % 5 == 0,
                                   .user = user,
                                   .event_ms = (int64_t)position + 1000,
                                   .ids = ids,
                                   .history = fixture->history,
                                   .history_count = count};
    must(fixture,
         ingest_journal_sample(&fixture->writer, &sample, &fixture->error));
}

static enum base_status next(struct fixture *fixture, uint64_t position,
                             struct learner_batch *batch)
{
    return ingest_journal_next(fixture->reader, position, 0, batch,
                               &fixture->error);
}

static void groups_share_user_and_history(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        uint64_t user;
        uint32_t history;
    } samples[] = {{1, 2}, {1, 2}, {1, 3}, {2, 3}, {2, 3}, {2, 0}, {3, 0}};
    static const uint32_t begins[] = {0, 2, 3, 5, 6, 7};
    struct learner_batch batch;
    for (unsigned i = 0; i < 7; i++)
        put(fixture, samples[i].user, samples[i].history);
    must(fixture, ingest_journal_final(&fixture->writer, 1, 1,
                                       &fixture->error));
    must(fixture,
         ingest_journal_end_batch(&fixture->writer, &fixture->error));
    commit(fixture);
    must(fixture, next(fixture, 0, &batch));
    assert_int_equal(batch.samples, 7);
    assert_int_equal(batch.groups, 5);
    assert_memory_equal(batch.group_begin, begins, sizeof begins);
    assert_int_equal(batch.history_begin[5], 2 + 3 + 3);
    assert_int_equal(batch.history[ITEMS * 2], 1); /* second group's oldest */
    assert_int_equal(batch.ids[6 * FIELDS + 1], 3);
    assert_int_equal(batch.label[5], 1);
    assert_int_equal(batch.event_ms[6], 1006);
    assert_int_equal(batch.finals, 1);
    assert_int_equal(batch.final[0].position, 1);
    assert_int_equal(batch.final[0].label, 1);
}

static void a_group_ends_at_64_and_at_the_batch(void **state)
{
    struct fixture *fixture = *state;
    struct learner_batch batch;
    close_all(fixture);
    fixture->config.batch_size = 100;
    open_all(fixture, NULL);
    for (unsigned i = 0; i < 200; i++)
        put(fixture, 1, 2);
    commit(fixture);
    for (uint64_t first = 0; first < 200; first += 100) {
        must(fixture, next(fixture, first, &batch));
        assert_int_equal(batch.samples, 100);
        assert_int_equal(batch.groups, 2);
        assert_int_equal(batch.group_begin[1], LEARNER_GROUP_MAX);
    }
}

static void an_empty_batch_does_not_end(void **state)
{
    struct fixture *fixture = *state;
    struct ingest_digest before = fixture->writer.mark.chain;
    must(fixture,
         ingest_journal_end_batch(&fixture->writer, &fixture->error));
    assert_int_equal(before.low, fixture->writer.mark.chain.low);
    put(fixture, 1, 0);
    must(fixture,
         ingest_journal_end_batch(&fixture->writer, &fixture->error));
    assert_int_equal(fixture->writer.mark.batch_first, 1);
}

/* Pseudo-random samples, with histories large enough to fill blocks. */
static void put_many(struct fixture *fixture, unsigned from, unsigned to,
                     unsigned commit_every, bool restarts)
{
    for (unsigned i = from; i < to; i++) {
        uint64_t bits = base_random_u64(5, 0, i, 0);
        put(fixture, 1 + bits % 3, (uint32_t)((bits >> 8) % HISTORY));
        if (bits % 11 == 0)
            must(fixture, ingest_journal_final(&fixture->writer, i / 2,
                                               bits >> 20 & 1,
                                               &fixture->error));
        if (commit_every && i % commit_every == 0) {
            commit(fixture);
            if (restarts)
                restart(fixture);
        }
    }
    commit(fixture);
}

static void bytes_do_not_depend_on_commits(void **state)
{
    struct fixture *fixture = *state;
    struct ingest_journal_mark marks[3];
    static const unsigned every[] = {0, 7, 40};
    for (unsigned i = 0; i < 3; i++) {
        put_many(fixture, 0, 700, every[i], i == 2);
        marks[i] = fixture->writer.mark;
        close_all(fixture);
        assert_int_equal(base_file_remove(fixture->folder, NULL), BASE_OK);
        open_all(fixture, NULL);
    }
    assert_memory_equal(&marks[0], &marks[1], sizeof marks[0]);
    assert_memory_equal(&marks[0], &marks[2], sizeof marks[0]);
    assert_true(marks[0].block_number > 5);
}

static void reads_from_every_batch_end(void **state)
{
    struct fixture *fixture = *state;
    struct learner_batch batch;
    put_many(fixture, 0, 700, 50, false);
    for (uint64_t first = 0; first + BATCH <= 700; first += BATCH) {
        uint64_t jump = (first * 7 / BATCH) % 21 * BATCH;
        must(fixture, next(fixture, jump, &batch));
        assert_int_equal(batch.end, jump + BATCH);
        must(fixture, next(fixture, first, &batch));
        assert_int_equal(batch.first, first);
        assert_int_equal(batch.samples, BATCH);
        for (uint32_t i = 0; i < batch.samples; i++)
            assert_int_equal(batch.ids[i * FIELDS], first + i);
        for (uint32_t i = 0; i < batch.groups; i++)
            if (batch.history_begin[i] < batch.history_begin[i + 1])
                assert_int_equal(
                    batch.history[batch.history_begin[i] * ITEMS], 1);
    }
    assert_int_equal(next(fixture, 5, &batch), BASE_DATA);
    assert_non_null(strstr(fixture->error.text, "no batch ends"));
    assert_int_equal(next(fixture, 672, &batch), BASE_AGAIN);
    assert_true(fixture->error.retriable);
}

static void a_record_larger_than_a_block(void **state)
{
    struct fixture *fixture = *state;
    struct learner_batch batch;
    uint32_t many = LEARNER_HISTORY_MAX;
    close_all(fixture);
    fixture->config.schema.item_count = 12;
    fixture->config.history_max = many;
    fixture->config.batch_size = 2;
    must(fixture, ingest_store_open(fixture->folder, 1 << 28, &fixture->store,
                                    &fixture->error));
    must(fixture, ingest_journal_init(&fixture->writer, fixture->store,
                                      &fixture->config, &fixture->error));
    must(fixture, ingest_store_begin(fixture->store, &fixture->error));
    ingest_feed_init(&fixture->feed, fixture->store, FIELDS, 12);
    must(fixture, ingest_feed_open(&fixture->feed, &fixture->reader,
                                   &fixture->error));
    uint64_t *history = calloc((size_t)many * 12, sizeof *history);
    uint64_t ids[FIELDS] = {1, 2, 3};
    for (uint64_t i = 0; i < 4; i++) {
        struct ingest_sample sample = {.user = i, .ids = ids,
                                       .history = history,
                                       .history_count = many};
        history[(size_t)many * 12 - 1] = i;
        must(fixture, ingest_journal_sample(&fixture->writer, &sample,
                                            &fixture->error));
    }
    free(history);
    commit(fixture);
    for (uint64_t first = 0; first < 4; first += 2) {
        must(fixture, next(fixture, first, &batch));
        assert_int_equal(batch.history_begin[2], 2 * many);
        assert_int_equal(batch.history[2 * (size_t)many * 12 - 1], first + 1);
    }
}

static void trim_keeps_what_a_reader_needs(void **state)
{
    struct fixture *fixture = *state;
    struct learner_batch batch;
    struct ingest_journal_mark *mark = &fixture->writer.mark;
    put_many(fixture, 0, 3000, 0, false);
    uint64_t bytes = mark->bytes, position = BATCH * 50;
    must(fixture, ingest_journal_trim(&fixture->writer, position,
                                      &fixture->error));
    commit(fixture);
    assert_true(mark->begin > 0 && mark->begin < position);
    assert_true(mark->bytes < bytes);
    restart(fixture);
    for (uint64_t first = position; first + BATCH <= 3000; first += BATCH)
        must(fixture, next(fixture, first, &batch));
    assert_int_equal(next(fixture, 0, &batch), BASE_DATA);
    assert_non_null(strstr(fixture->error.text, "trimmed"));
    /* Never more than the closed batches, whatever is asked. */
    for (int i = 0; i < 10; i++)
        must(fixture, ingest_journal_trim(&fixture->writer, UINT64_MAX,
                                          &fixture->error));
    put_many(fixture, 3000, 3100, 0, false);
    must(fixture, next(fixture, 3000 / BATCH * BATCH, &batch));
    /* The sum of bytes is the sum of what is stored. */
    struct ingest_cursor cursor;
    uint64_t sum = 0;
    must(fixture, ingest_cursor_open(fixture->store, NULL, INGEST_DB_JOURNAL,
                                     &cursor, &fixture->error));
    must(fixture, ingest_cursor_move(&cursor, INGEST_MOVE_FIRST,
                                     &fixture->error));
    while (cursor.key.data) {
        sum += cursor.value.size;
        must(fixture, ingest_cursor_move(&cursor, INGEST_MOVE_NEXT,
                                         &fixture->error));
    }
    ingest_cursor_close(&cursor);
    assert_int_equal(sum, fixture->writer.mark.bytes);
}

static void journal_keep_trims_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct learner_batch batch;
    fixture->writer.keep = true;
    put_many(fixture, 0, 1000, 0, false);
    must(fixture,
         ingest_journal_trim(&fixture->writer, 900, &fixture->error));
    commit(fixture);
    must(fixture, next(fixture, 0, &batch));
}

static void the_cap_is_never_passed(void **state)
{
    struct fixture *fixture = *state;
    close_all(fixture);
    fixture->config.journal_max_bytes = 1 << 21;
    open_all(fixture, NULL);
    enum base_status status;
    while (!(status = ingest_journal_room(&fixture->writer, &fixture->error)))
        put(fixture, fixture->writer.mark.position, HISTORY);
    assert_int_equal(status, BASE_AGAIN);
    assert_true(fixture->error.retriable);
    assert_true(fixture->writer.mark.bytes <= 1 << 21);
    assert_true(fixture->writer.mark.bytes > (1 << 21) * 9 / 10);
    commit(fixture);
    must(fixture, ingest_journal_trim(&fixture->writer, BATCH * 5,
                                      &fixture->error));
    must(fixture, ingest_journal_room(&fixture->writer, &fixture->error));
    fixture->config.journal_max_bytes = 1000;
    struct ingest_journal_writer small;
    assert_int_equal(ingest_journal_init(&small, fixture->store,
                                         &fixture->config, &fixture->error),
                     BASE_CONFIG);
    assert_non_null(strstr(fixture->error.text, "ingest.journal_max_mb"));
    ingest_journal_fini(&small);
}

/* Puts back the block at `index` with one byte changed. */
static void damage(struct fixture *fixture, unsigned index, size_t at)
{
    struct ingest_cursor cursor;
    struct base_error *error = &fixture->error;
    uint8_t key[INGEST_JOURNAL_KEY];
    must(fixture, ingest_cursor_open(fixture->store, NULL, INGEST_DB_JOURNAL,
                                     &cursor, error));
    must(fixture, ingest_cursor_move(&cursor, INGEST_MOVE_FIRST, error));
    for (unsigned i = 0; i < index; i++)
        must(fixture, ingest_cursor_move(&cursor, INGEST_MOVE_NEXT, error));
    size_t size = cursor.value.size;
    uint8_t *copy = malloc(size);
    memcpy(copy, cursor.value.data, size);
    memcpy(key, cursor.key.data, sizeof key);
    ingest_cursor_close(&cursor);
    copy[at % size] ^= 1;
    must(fixture, ingest_store_put(fixture->store, INGEST_DB_JOURNAL,
                                   (struct ingest_bytes){key, sizeof key},
                                   (struct ingest_bytes){copy, size}, error));
    free(copy);
}

static void a_damaged_block_is_named(void **state)
{
    struct fixture *fixture = *state;
    struct learner_batch batch;
    put_many(fixture, 0, 700, 0, false);
    for (unsigned round = 0; round < 40; round++) {
        enum base_status status = BASE_OK;
        size_t at = (size_t)base_random_u64(9, 0, round, 0);
        damage(fixture, 3, at);
        commit(fixture);
        uint64_t first = 0;
        while (!status && first + BATCH <= 700) {
            status = next(fixture, first, &batch);
            first += BATCH;
        }
        assert_int_equal(status, BASE_CORRUPT);
        assert_non_null(strstr(fixture->error.text, "block 3"));
        damage(fixture, 3, at); /* flips it back */
        commit(fixture);
    }
    must(fixture, next(fixture, 0, &batch));
}

static void a_missing_block_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    struct learner_batch batch;
    struct ingest_cursor cursor;
    struct base_error *error = &fixture->error;
    uint8_t key[INGEST_JOURNAL_KEY];
    enum base_status status = BASE_OK;
    put_many(fixture, 0, 700, 0, false);
    must(fixture, ingest_cursor_open(fixture->store, NULL, INGEST_DB_JOURNAL,
                                     &cursor, error));
    must(fixture, ingest_cursor_move(&cursor, INGEST_MOVE_FIRST, error));
    must(fixture, ingest_cursor_move(&cursor, INGEST_MOVE_NEXT, error));
    memcpy(key, cursor.key.data, sizeof key);
    ingest_cursor_close(&cursor);
    must(fixture,
         ingest_store_remove(fixture->store, INGEST_DB_JOURNAL,
                             (struct ingest_bytes){key, sizeof key}, error));
    commit(fixture);
    for (uint64_t first = 0; !status && first + BATCH <= 700; first += BATCH)
        status = next(fixture, first, &batch);
    assert_int_equal(status, BASE_CORRUPT);
    assert_non_null(strstr(error->text, "does not continue"));
}

static void a_damaged_open_block_stops_the_start(void **state)
{
    struct fixture *fixture = *state;
    struct ingest_journal_writer writer;
    put_many(fixture, 0, 20, 0, false);
    damage(fixture, 0, 70);
    must(fixture, ingest_journal_init(&writer, fixture->store,
                                      &fixture->config, &fixture->error));
    writer.mark = fixture->writer.mark;
    assert_int_equal(ingest_journal_load(&writer, &fixture->error),
                     BASE_CORRUPT);
    ingest_journal_fini(&writer);
}

/* ---- two threads --------------------------------------------------------- */

struct follower {
    struct fixture *fixture;
    struct ingest_journal *reader;
    uint64_t position, chain[2], waits;
    struct base_error error;
    enum base_status status;
};

static void *follow(void *self)
{
    struct follower *follower = self;
    struct learner_batch batch;
    while (follower->position < 3200) {
        follower->status =
            ingest_journal_next(follower->reader, follower->position, 10000,
                                &batch, &follower->error);
        if (follower->status)
            break;
        follower->position = batch.end;
        memcpy(follower->chain, batch.journal_hash, sizeof batch.journal_hash);
    }
    return NULL;
}

static void a_waiting_reader_wakes_with_each_commit(void **state)
{
    struct fixture *fixture = *state;
    struct follower follower = {.fixture = fixture};
    pthread_t thread;
    must(fixture, ingest_feed_open(&fixture->feed, &follower.reader,
                                   &fixture->error));
    assert_int_equal(pthread_create(&thread, NULL, follow, &follower), 0);
    put_many(fixture, 0, 3200, 33, false);
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (follower.status)
        fail_msg("%s", follower.error.text);
    assert_int_equal(follower.position, 3200);
    struct learner_batch batch;
    must(fixture, next(fixture, 3200 - BATCH, &batch));
    assert_memory_equal(follower.chain, batch.journal_hash,
                        sizeof follower.chain);
    ingest_journal_free(follower.reader);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(groups_share_user_and_history),
        TEST(a_group_ends_at_64_and_at_the_batch),
        TEST(an_empty_batch_does_not_end),
        TEST(bytes_do_not_depend_on_commits),
        TEST(reads_from_every_batch_end),
        TEST(a_record_larger_than_a_block),
        TEST(trim_keeps_what_a_reader_needs),
        TEST(journal_keep_trims_nothing),
        TEST(the_cap_is_never_passed),
        TEST(a_damaged_block_is_named),
        TEST(a_missing_block_is_noticed),
        TEST(a_damaged_open_block_stops_the_start),
        TEST(a_waiting_reader_wakes_with_each_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
