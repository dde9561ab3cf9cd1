/* SPDX-License-Identifier: Apache-2.0 */
/* Several readers of one journal: each sees the same batches, on threads of
 * their own while the store commits; the journal is kept from the smallest
 * mark on; who starts late begins at a batch end; and a follower that holds a
 * full journal is let go once the main model starves, never before. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "ingest/follower.h"
#include "kafka_fixture.h"
#include "state_fixture.h"

enum { FOLLOWERS = 3, PAGES = 400, PAGE = 12 };

/* ---- over a state, without Kafka ---------------------------------------- */

/* Impressions of pages, each page one second after the other; all but the
 * newest window is closed, so its samples are in the journal. */
static void write_pages(struct state_fixture *fixture, unsigned first,
                        unsigned pages)
{
    state_fixture_begin(fixture);
    for (unsigned page = first; page < first + pages; page++) {
        for (unsigned i = 0; i < PAGE; i++) {
            struct fixture_event made;
            unsigned number = page * PAGE + i;
            fixture_impression(&made, number, 1000 * (int64_t)(page + 1),
                               fixture_id(page % 7), fixture_id(1000 + number),
                               number % 50);
            state_fixture_apply(fixture, &made.event);
        }
    }
    state_fixture_commit(fixture);
}

static void open_state(struct state_fixture *fixture)
{
    state_fixture_init(fixture);
    state_fixture_open(fixture);
    state_fixture_begin(fixture);
    state_fixture_start(fixture, 1);
    state_fixture_commit(fixture);
}

/* Trims up to `position`, as far as it goes. */
static void trim(struct state_fixture *fixture, uint64_t position)
{
    for (int i = 0; i < 20; i++) {
        state_fixture_begin(fixture);
        assert_int_equal(
            ingest_state_trim(fixture->state, position, &fixture->error),
            BASE_OK);
        state_fixture_commit(fixture);
    }
}

static struct ingest_follower *add(struct ingest_followers *followers,
                                   struct state_fixture *fixture,
                                   uint64_t position)
{
    struct ingest_follower *follower = NULL;
    if (ingest_followers_add(followers, fixture->state, "shadow", position,
                             &follower, &fixture->error))
        fail_msg("%s", fixture->error.text);
    return follower;
}

struct reading {
    struct learner_source source;
    uint64_t begin, end; /* reads batches from begin up to end */
    uint64_t batches, hash[2];
    enum base_status status;
};

static void *read_all(void *argument)
{
    struct reading *reading = argument;
    struct learner_batch batch;
    struct base_error error;
    uint64_t position = reading->begin;
    while (position < reading->end && !reading->status) {
        reading->status = reading->source.next(
            reading->source.self, position, 20000, &batch, &error);
        if (reading->status)
            break;
        if (batch.first != position || batch.samples != batch.end - batch.first)
            reading->status = BASE_BROKEN;
        position = batch.end;
        reading->batches++;
        memcpy(reading->hash, batch.journal_hash, sizeof reading->hash);
    }
    return NULL;
}

static void test_equal_batches_on_threads(void **unused)
{
    (void)unused;
    struct state_fixture fixture;
    struct ingest_followers followers;
    struct ingest_follower *follower[FOLLOWERS];
    struct reading reading[FOLLOWERS];
    pthread_t thread[FOLLOWERS];
    open_state(&fixture);
    ingest_followers_init(&followers);
    for (int i = 0; i < FOLLOWERS; i++) {
        follower[i] = add(&followers, &fixture, 0);
        reading[i] = (struct reading){
            .source = ingest_follower_source(follower[i]),
            .end = (PAGES - 2) * PAGE};
        assert_int_equal(
            pthread_create(&thread[i], NULL, read_all, &reading[i]), 0);
    }
    for (unsigned page = 0; page < PAGES; page += 20)
        write_pages(&fixture, page, 20);
    for (int i = 0; i < FOLLOWERS; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(reading[i].status, BASE_OK);
        assert_int_equal(reading[i].batches, reading[0].batches);
        assert_true(reading[i].batches >= (PAGES - 2) * PAGE / 4);
        assert_memory_equal(reading[i].hash, reading[0].hash,
                            sizeof reading[0].hash);
    }
    static struct ingest_status status;
    ingest_followers_status(&followers, &status);
    assert_int_equal(status.follower_count, FOLLOWERS);
    assert_string_equal(status.followers[1].name, "shadow");
    assert_true(status.followers[1].position > 0);
    assert_int_equal(status.followers[1].kept_from, 0);
    for (int i = 0; i < FOLLOWERS; i++)
        ingest_follower_free(follower[i]);
    ingest_followers_fini(&followers);
    state_fixture_fini(&fixture);
}

static void test_marks(void **unused)
{
    (void)unused;
    struct state_fixture fixture;
    struct ingest_followers followers;
    open_state(&fixture);
    write_pages(&fixture, 0, 20);
    ingest_followers_init(&followers);
    assert_int_equal(ingest_followers_oldest(&followers, 50), 50);
    assert_false(ingest_followers_let_go(&followers, 50));
    struct ingest_follower *a = add(&followers, &fixture, 0);
    struct ingest_follower *b = add(&followers, &fixture, 8);
    assert_int_equal(ingest_followers_oldest(&followers, 50), 0);
    ingest_follower_trim(a, 40);
    assert_int_equal(ingest_followers_oldest(&followers, 50), 8);
    assert_int_equal(ingest_followers_oldest(&followers, 4), 4);
    ingest_follower_trim(b, 4); /* a mark never goes back */
    assert_int_equal(ingest_followers_oldest(&followers, 50), 8);
    /* The one furthest behind goes first, and only those behind the mark. */
    assert_false(ingest_followers_let_go(&followers, 8));
    assert_true(ingest_followers_let_go(&followers, 50));
    assert_true(ingest_follower_detached(b));
    assert_false(ingest_follower_detached(a));
    assert_int_equal(ingest_followers_oldest(&followers, 50), 40);
    struct learner_source source = ingest_follower_source(b);
    struct learner_batch batch;
    assert_int_equal(source.next(source.self, 8, 0, &batch, &fixture.error),
                     BASE_STOPPED);
    assert_non_null(strstr(fixture.error.text, "shadow was detached"));
    ingest_follower_detach(a);
    assert_int_equal(ingest_followers_oldest(&followers, 50), 50);
    ingest_follower_free(b);
    ingest_follower_free(a);
    ingest_follower_free(NULL);
    assert_int_equal(followers.count, 0);
    ingest_followers_fini(&followers);
    state_fixture_fini(&fixture);
}

static void test_too_many(void **unused)
{
    (void)unused;
    struct state_fixture fixture;
    struct ingest_followers followers;
    struct ingest_follower *list[INGEST_FOLLOWERS_MAX], *more = NULL;
    open_state(&fixture);
    ingest_followers_init(&followers);
    for (int i = 0; i < INGEST_FOLLOWERS_MAX; i++)
        list[i] = add(&followers, &fixture, 0);
    assert_int_equal(ingest_followers_add(&followers, fixture.state, "one",
                                          0, &more, &fixture.error),
                     BASE_LIMIT);
    ingest_follower_free(list[3]);
    list[3] = add(&followers, &fixture, 0);
    for (int i = 0; i < INGEST_FOLLOWERS_MAX; i++)
        ingest_follower_free(list[i]);
    ingest_followers_fini(&followers);
    state_fixture_fini(&fixture);
}

/* A journal whose beginning has gone: no one starts before it, and who starts
 * at its first batch end reads what the others read. */
static void test_late_start(void **unused)
{
    (void)unused;
    struct state_fixture fixture;
    struct ingest_followers followers;
    struct ingest_follower *late = NULL;
    struct ingest_journal *journal = NULL;
    uint64_t begin = 99;
    open_state(&fixture);
    ingest_followers_init(&followers);
    assert_int_equal(
        ingest_journal_new(fixture.state, &journal, &fixture.error), BASE_OK);
    assert_int_equal(ingest_journal_begin(journal, &begin, &fixture.error),
                     BASE_OK);
    assert_int_equal(begin, 0); /* empty */
    write_pages(&fixture, 0, PAGES);
    assert_int_equal(ingest_journal_begin(journal, &begin, &fixture.error),
                     BASE_OK);
    assert_int_equal(begin, 0); /* whole */
    uint64_t end = (PAGES - 2) * PAGE;
    struct ingest_follower *first = add(&followers, &fixture, 0);
    struct reading whole = {.source = ingest_follower_source(first),
                            .end = end};
    read_all(&whole);
    assert_int_equal(whole.status, BASE_OK);
    trim(&fixture, end - 40);
    assert_int_equal(ingest_journal_begin(journal, &begin, &fixture.error),
                     BASE_OK);
    assert_in_range(begin, 1, end - 40);
    assert_int_equal(begin % 4, 0);
    static const uint64_t gone[] = {0, 4};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ingest_followers_add(&followers, fixture.state,
                                              "late", gone[i], &late,
                                              &fixture.error),
                         BASE_DATA);
        assert_non_null(strstr(fixture.error.text, "model late: journal: kept "
                                                   "from position"));
    }
    /* Inside a batch. */
    assert_int_equal(ingest_followers_add(&followers, fixture.state, "late",
                                          end - 39, &late, &fixture.error),
                     BASE_DATA);
    assert_int_equal(followers.count, 1);
    late = add(&followers, &fixture, begin);
    struct reading rest = {.source = ingest_follower_source(late),
                           .begin = begin, .end = end};
    read_all(&rest);
    assert_int_equal(rest.status, BASE_OK);
    assert_true(rest.batches > 0 && rest.batches < whole.batches);
    assert_memory_equal(rest.hash, whole.hash, sizeof whole.hash);
    ingest_follower_free(late);
    ingest_follower_free(first);
    ingest_journal_free(journal);
    ingest_followers_fini(&followers);
    state_fixture_fini(&fixture);
}

/* ---- all of ingest ------------------------------------------------------- */

enum { PARTITIONS = 2, IMPRESSIONS = 24000 };

struct scene {
    struct kafka_fixture kafka;
    char folder[64];
    struct ingest_config config;
    struct ingest *ingest;
};

static struct ingest_status status;

static void send_impressions(struct kafka_fixture *kafka)
{
    uint8_t bytes[256];
    char id[32], user[32], goods[32];
    int64_t begin_ms = base_wall_ms() - 3600000;
    for (int i = 0; i < IMPRESSIONS; i++) {
        snprintf(id, sizeof id, "i%d", i);
        snprintf(user, sizeof user, "u%d", i % 97);
        snprintf(goods, sizeof goods, "g%d", i % 50);
        int64_t now = begin_ms + 2 * (int64_t)i;
        size_t size = kafka_fixture_impression(bytes, id, user, now, goods);
        kafka_fixture_send(kafka, "impressions", i % PARTITIONS, bytes, size,
                           now);
    }
    kafka_fixture_flush(kafka);
}

static void unexpected(void *self, const struct base_error *error)
{
    (void)self;
    fprintf(stderr, "ingest failed: %s\n", error->text);
    abort();
}

static void open_scene(struct scene *scene)
{
    memset(scene, 0, sizeof *scene);
    strcpy(scene->folder, "/tmp/interestd-follower-XXXXXX");
    assert_non_null(mkdtemp(scene->folder));
    kafka_fixture_open(&scene->kafka, PARTITIONS);
    send_impressions(&scene->kafka);
    kafka_fixture_config(&scene->kafka, &scene->config, scene->folder);
    scene->config.journal_keep = false;
    scene->config.journal_max_bytes = 1 << 20;
    struct base_error error = {.text = ""};
    if (ingest_open(&scene->config, &scene->ingest, &error))
        fail_msg("%s", error.text);
}

static void close_scene(struct scene *scene)
{
    struct base_error error;
    assert_int_equal(ingest_stop(scene->ingest, &error), BASE_OK);
    ingest_free(scene->ingest);
    kafka_fixture_close(&scene->kafka);
    assert_int_equal(base_file_remove(scene->folder, NULL), BASE_OK);
}

/* One try to read on; true where there was a batch. */
static bool read_one(struct learner_source source, uint64_t *position)
{
    struct learner_batch batch;
    struct base_error error;
    enum base_status code =
        source.next(source.self, *position, 20, &batch, &error);
    if (!code)
        *position = batch.end;
    else if (code != BASE_AGAIN)
        fail_msg("%s", error.text);
    return !code;
}

/* Until the journal is at its cap: nothing is committed any more. */
static void await_full(struct ingest *ingest)
{
    uint64_t commits;
    do {
        ingest_get_status(ingest, &status);
        commits = status.commits;
        usleep(200000);
        ingest_get_status(ingest, &status);
    } while (status.journal_bytes < 900 << 10 || status.commits != commits);
}

static void test_let_go_at_the_cap(void **unused)
{
    (void)unused;
    struct scene scene;
    struct ingest_follower *kept, *slow;
    struct base_error error;
    open_scene(&scene);
    struct ingest *ingest = scene.ingest;
    assert_int_equal(ingest_follower_new(ingest, "kept", 0, &kept, &error),
                     BASE_OK);
    assert_int_equal(ingest_follower_new(ingest, "slow", 0, &slow, &error),
                     BASE_OK);
    assert_int_equal(ingest_start(ingest, unexpected, NULL, &error), BASE_OK);
    struct learner_source main_source = ingest_source(ingest);
    struct learner_source kept_source = ingest_follower_source(kept);
    struct learner_source slow_source = ingest_follower_source(slow);
    uint64_t main_at = 0, kept_at = 0, slow_at = 0;
    /* Full, and the main model has something to read: all stay. */
    await_full(ingest);
    for (int i = 0; i < 5; i++)
        assert_true(read_one(main_source, &main_at));
    ingest_trim(ingest, main_at);
    assert_true(read_one(slow_source, &slow_at));
    usleep(1500000);
    assert_false(ingest_follower_detached(kept));
    assert_false(ingest_follower_detached(slow));
    /* `slow` reads no more; the others go on to the end. */
    do {
        if (read_one(main_source, &main_at))
            ingest_trim(ingest, main_at);
        if (kept_at < main_at && read_one(kept_source, &kept_at))
            ingest_follower_trim(kept, kept_at);
        ingest_get_status(ingest, &status);
    } while (status.events < IMPRESSIONS || !status.at_end);
    assert_true(ingest_follower_detached(slow));
    assert_false(ingest_follower_detached(kept));
    assert_true(status.journal_begin > slow_at);
    assert_int_equal(status.follower_count, 2);
    assert_string_equal(status.followers[1].name, "slow");
    assert_true(status.followers[1].detached);
    assert_false(status.followers[0].detached);
    assert_int_equal(status.followers[1].position, 0);
    assert_int_equal(status.unaccounted, 0);
    struct learner_batch batch;
    assert_int_equal(slow_source.next(slow_source.self, slow_at, 0, &batch,
                                      &error),
                     BASE_STOPPED);
    while (read_one(kept_source, &kept_at))
        continue;
    while (read_one(main_source, &main_at))
        continue;
    assert_int_equal(kept_at, main_at);
    /* A new one begins where the journal does. */
    ingest_follower_free(slow);
    assert_int_equal(ingest_follower_new(ingest, "slow", slow_at, &slow,
                                         &error),
                     BASE_DATA);
    uint64_t begin = 0;
    assert_int_equal(ingest_follower_begin(ingest, &begin, &error), BASE_OK);
    assert_true(begin > slow_at);
    assert_int_equal(ingest_follower_new(ingest, "slow", begin, &slow, &error),
                     BASE_OK);
    ingest_follower_free(slow);
    ingest_follower_free(kept);
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_batches_on_threads),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_late_start),
        cmocka_unit_test(test_let_go_at_the_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
