/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks of waiting events, their memory of ids, timers and early clicks. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"
#include "ingest/early.h"
#include "ingest/pending.h"

enum { IDS = 3, LATENESS = 10 };

struct fixture {
    char folder[200];
    struct ingest_store *store;
    struct ingest_ledger ledger;
    struct ingest_pending pending;
    struct base_error error;
    unsigned loaded; /* calls of each() */
    uint64_t last_ref;
};

static void must(struct fixture *fixture, enum base_status status)
{
    if (status)
        fail_msg("%s", fixture->error.text);
}

static enum base_status each(void *self, const struct ingest_waiting *waiting,
                             uint64_t ref, struct base_error *error)
{
    struct fixture *fixture = self;
    (void)error;
    assert_true(fixture->loaded == 0 || ref > fixture->last_ref);
    assert_true(waiting->id > 0);
    fixture->last_ref = ref;
    fixture->loaded++;
    return BASE_OK;
}

/* Opens and begins; partition 0 and 1 of clicks are known. */
static enum base_status open_all(struct fixture *fixture)
{
    struct base_error *error = &fixture->error;
    must(fixture, ingest_store_open(fixture->folder, 1 << 26, &fixture->store,
                                    error));
    must(fixture, ingest_ledger_init(&fixture->ledger, fixture->store, error));
    must(fixture,
         ingest_pending_init(&fixture->pending, fixture->store,
                             &fixture->ledger, INGEST_CLICKS, IDS, LATENESS,
                             error));
    must(fixture, ingest_store_begin(fixture->store, error));
    must(fixture, ingest_ledger_load(&fixture->ledger, error));
    fixture->loaded = 0;
    return ingest_pending_load(&fixture->pending, each, fixture, error);
}

static void close_all(struct fixture *fixture)
{
    ingest_pending_fini(&fixture->pending);
    ingest_ledger_fini(&fixture->ledger);
    ingest_store_free(fixture->store);
    fixture->store = NULL;
}

static void commit(struct fixture *fixture)
{
    must(fixture, ingest_pending_flush(&fixture->pending, &fixture->error));
    must(fixture, ingest_ledger_flush(&fixture->ledger, &fixture->error));
    must(fixture, ingest_store_commit(fixture->store, &fixture->error));
}

static void reopen(struct fixture *fixture)
{
    commit(fixture);
    close_all(fixture);
    must(fixture, open_all(fixture));
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    const char *base = getenv("TMPDIR");
    snprintf(fixture->folder, sizeof fixture->folder, "%s/pending-XXXXXX",
             base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(fixture->folder));
    must(fixture, open_all(fixture));
    for (int32_t i = 0; i < 2; i++)
        must(fixture, ingest_ledger_start(&fixture->ledger, INGEST_CLICKS, i,
                                          0, &fixture->error));
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

static uint64_t add(struct fixture *fixture, uint64_t id, int64_t ms,
                    int32_t partition, bool waits)
{
    struct ingest_waiting waiting = {.id = id,
                                     .user = id * 3,
                                     .event_ms = ms,
                                     .due_ms = ms + 100,
                                     .offset = (int64_t)id,
                                     .link = id + 5,
                                     .partition = partition,
                                     .ordinal = (uint32_t)id};
    uint64_t ids[IDS] = {id, id + 1, id + 2}, ref;
    must(fixture, ingest_pending_add(&fixture->pending, &waiting, ids, waits,
                                     &ref, &fixture->error));
    return ref;
}

static void set_own(struct fixture *fixture, int32_t partition, int64_t ms)
{
    struct ingest_partition *found =
        ingest_ledger_find(&fixture->ledger, INGEST_CLICKS, partition);
    assert_non_null(found);
    found->position.own_ms = ms;
    found->dirty = true;
}

static bool remembers(struct fixture *fixture, uint64_t id)
{
    bool yes;
    must(fixture, ingest_pending_remembers(&fixture->pending, id, &yes,
                                           &fixture->error));
    return yes;
}

static void events_come_back_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    enum { COUNT = 1300 }; /* two full blocks and a tail */
    static uint64_t refs[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        refs[i] = add(fixture, i + 1, i, 0, i % 3 != 0);
    for (unsigned i = 1; i < COUNT; i += 6)
        if (i % 3)
            ingest_pending_resolve(&fixture->pending, refs[i]);
    ingest_pending_click(&fixture->pending, refs[2]);
    uint64_t open = fixture->pending.open;
    reopen(fixture);
    assert_int_equal(fixture->pending.open, open);
    assert_int_equal(fixture->loaded, open);
    for (unsigned i = 0; i < COUNT; i++) {
        struct ingest_waiting waiting;
        uint64_t ids[IDS], ref;
        bool waits = i % 3 != 0 && i % 6 != 1;
        must(fixture, ingest_pending_get(&fixture->pending, refs[i], &waiting,
                                         ids, &fixture->error));
        assert_int_equal(waiting.id, i + 1);
        assert_int_equal(waiting.user, 3 * (i + 1));
        assert_int_equal(waiting.link, i + 6);
        assert_int_equal(ids[2], i + 3);
        assert_int_equal(ingest_pending_waits(&fixture->pending, refs[i]),
                         waits);
        assert_int_equal(ingest_pending_find(&fixture->pending, i + 1, &ref),
                         waits);
        assert_int_equal(ingest_pending_clicked(&fixture->pending, refs[i]),
                         i == 2);
    }
}

static void uncommitted_events_are_gone(void **state)
{
    struct fixture *fixture = *state;
    uint64_t ref;
    add(fixture, 1, 0, 0, true);
    reopen(fixture);
    add(fixture, 2, 0, 0, true);
    close_all(fixture);
    must(fixture, open_all(fixture));
    assert_true(ingest_pending_find(&fixture->pending, 1, &ref));
    assert_false(ingest_pending_find(&fixture->pending, 2, &ref));
}

static void ids_are_forgotten_by_their_own_partition(void **state)
{
    struct fixture *fixture = *state;
    add(fixture, 1, 100, 0, false);
    add(fixture, 2, 100, 1, true); /* waiting does not keep a click's id */
    set_own(fixture, 0, 110);
    assert_true(remembers(fixture, 1));
    set_own(fixture, 0, 111);
    assert_false(remembers(fixture, 1));
    assert_true(remembers(fixture, 2));
    set_own(fixture, 1, 111);
    assert_false(remembers(fixture, 2));
    assert_false(remembers(fixture, 3));
    /* Again under the same id: the newer one counts. */
    add(fixture, 1, 105, 0, false);
    assert_true(remembers(fixture, 1));
    reopen(fixture);
    assert_true(remembers(fixture, 1));
    assert_false(remembers(fixture, 2));
}

static void times_near_the_end_do_not_wrap(void **state)
{
    struct fixture *fixture = *state;
    struct ingest_waiting waiting = {.id = 9, .event_ms = INT64_MAX};
    uint64_t ids[IDS] = {0}, ref;
    must(fixture, ingest_pending_add(&fixture->pending, &waiting, ids, false,
                                     &ref, &fixture->error));
    set_own(fixture, 0, INT64_MAX);
    assert_true(remembers(fixture, 9));
}

static void blocks_go_when_resolved_and_forgotten(void **state)
{
    struct fixture *fixture = *state;
    uint64_t held = 0;
    for (unsigned i = 0; i < INGEST_PENDING_BLOCK; i++)
        if (i == 7)
            held = add(fixture, i + 1, 50, 1, true);
        else
            add(fixture, i + 1, 50, i % 2, false);
    struct ingest_store *store = fixture->store;
    must(fixture, ingest_pending_flush(&fixture->pending, &fixture->error));
    assert_int_equal(ingest_store_count(store, INGEST_DB_CLICKS), 1);
    set_own(fixture, 0, 1000);
    ingest_pending_resolve(&fixture->pending, held);
    must(fixture, ingest_pending_flush(&fixture->pending, &fixture->error));
    /* Resolved, but partition 1 still remembers. */
    assert_int_equal(ingest_store_count(store, INGEST_DB_CLICKS), 1);
    assert_true(remembers(fixture, 8));
    reopen(fixture);
    store = fixture->store;
    assert_true(remembers(fixture, 8));
    set_own(fixture, 1, 61);
    must(fixture, ingest_pending_flush(&fixture->pending, &fixture->error));
    assert_int_equal(ingest_store_count(store, INGEST_DB_CLICKS), 0);
    assert_int_equal(ingest_store_count(store, INGEST_DB_CLICK_BITS), 0);
    assert_false(remembers(fixture, 8));
    assert_int_equal(base_map_size(fixture->pending.index), 0);
    /* The next block takes the next number and works. */
    add(fixture, 900, 2000, 0, true);
    reopen(fixture);
    assert_int_equal(fixture->loaded, 1);
}

/* Flips one byte of the value at the first key of a database. */
static void damage(struct fixture *fixture, enum ingest_db db, size_t at)
{
    struct ingest_cursor cursor;
    uint8_t key[8], *copy;
    struct base_error *error = &fixture->error;
    must(fixture, ingest_cursor_open(fixture->store, NULL, db, &cursor,
                                     error));
    must(fixture, ingest_cursor_move(&cursor, INGEST_MOVE_FIRST, error));
    size_t size = cursor.value.size;
    copy = malloc(size);
    memcpy(copy, cursor.value.data, size);
    memcpy(key, cursor.key.data, sizeof key);
    ingest_cursor_close(&cursor);
    copy[at % size] ^= 0x10;
    must(fixture, ingest_store_put(fixture->store, db,
                                   (struct ingest_bytes){key, sizeof key},
                                   (struct ingest_bytes){copy, size}, error));
    free(copy);
}

static void damaged_blocks_and_bits_are_refused(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < 20; i++)
        add(fixture, i + 1, 50, 0, i % 2);
    reopen(fixture);
    for (unsigned round = 0; round < 60; round++) {
        bool bits = round % 2;
        damage(fixture, bits ? INGEST_DB_CLICK_BITS : INGEST_DB_CLICKS,
               (size_t)round * 37);
        ingest_pending_fini(&fixture->pending);
        must(fixture,
             ingest_pending_init(&fixture->pending, fixture->store,
                                 &fixture->ledger, INGEST_CLICKS, IDS,
                                 LATENESS, &fixture->error));
        fixture->loaded = 0;
        assert_int_equal(ingest_pending_load(&fixture->pending, each, fixture,
                                             &fixture->error),
                         BASE_CORRUPT);
        assert_non_null(strstr(fixture->error.text, "block 0"));
        close_all(fixture); /* not committed */
        must(fixture, open_all(fixture));
    }
}

static void walk_finds_all_that_waits(void **state)
{
    struct fixture *fixture = *state;
    unsigned found = 0, waits = 0;
    for (unsigned i = 0; i < 1100; i++) {
        bool one = base_random_below(base_random_u64(1, 0, i, 0), 5) == 0;
        add(fixture, i + 1, 50, 0, one);
        waits += one;
    }
    for (uint64_t ref = 0; ingest_pending_next(&fixture->pending, &ref);
         ref++) {
        assert_true(ingest_pending_waits(&fixture->pending, ref));
        found++;
    }
    assert_int_equal(found, waits);
}

static int by_order(const void *a, const void *b)
{
    const struct ingest_timer *x = a, *y = b;
    int64_t xs[] = {x->due_ms, x->partition}, ys[] = {y->due_ms, y->partition};
    for (int i = 0; i < 2; i++)
        if (xs[i] != ys[i])
            return xs[i] < ys[i] ? -1 : 1;
    if (x->user != y->user)
        return x->user < y->user ? -1 : 1;
    if (x->event_ms != y->event_ms)
        return x->event_ms < y->event_ms ? -1 : 1;
    return x->ref < y->ref ? -1 : x->ref > y->ref;
}

static void timers_fire_in_order(void **state)
{
    enum { COUNT = 3000 };
    static struct ingest_timer all[COUNT];
    struct ingest_timers timers = {0};
    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        uint64_t bits = base_random_u64(3, 0, i, 0);
        all[i] = (struct ingest_timer){.due_ms = (int64_t)(bits % 40),
                                       .user = (bits >> 8) % 3 << 62,
                                       .event_ms = (int64_t)(bits >> 16) % 4,
                                       .partition = (int32_t)(bits >> 40) % 2,
                                       .ref = i};
        assert_int_equal(ingest_timers_push(&timers, &all[i], NULL), BASE_OK);
    }
    qsort(all, COUNT, sizeof *all, by_order);
    for (unsigned i = 0; i < COUNT; i++) {
        const struct ingest_timer *first = ingest_timers_first(&timers);
        assert_non_null(first);
        assert_int_equal(first->ref, all[i].ref);
        ingest_timers_pop(&timers);
    }
    assert_null(ingest_timers_first(&timers));
    ingest_timers_fini(&timers);
}

static void early_clicks_leave_in_order_of_arrival(void **state)
{
    struct ingest_early early;
    uint64_t ref;
    (void)state;
    assert_int_equal(ingest_early_init(&early, NULL), BASE_OK);
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < 900; i++)
            assert_int_equal(
                ingest_early_add(&early, 1 + i % 7, round * 1000 + i, NULL),
                BASE_OK);
        for (uint64_t id = 1; id <= 7; id++) {
            for (uint64_t i = id - 1; i < 900; i += 7) {
                assert_true(ingest_early_peek(&early, id, &ref));
                assert_true(ingest_early_take(&early, id, &ref));
                assert_int_equal(ref, round * 1000 + i);
            }
            assert_false(ingest_early_take(&early, id, &ref));
            assert_false(ingest_early_peek(&early, id, &ref));
        }
    }
    assert_true(early.count <= 900); /* nodes are used again */
    ingest_early_fini(&early);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(events_come_back_after_a_restart),
        TEST(uncommitted_events_are_gone),
        TEST(ids_are_forgotten_by_their_own_partition),
        TEST(times_near_the_end_do_not_wrap),
        TEST(blocks_go_when_resolved_and_forgotten),
        TEST(damaged_blocks_and_bits_are_refused),
        TEST(walk_finds_all_that_waits),
        cmocka_unit_test(timers_fire_in_order),
        cmocka_unit_test(early_clicks_leave_in_order_of_arrival),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
