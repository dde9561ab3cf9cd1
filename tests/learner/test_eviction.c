/* SPDX-License-Identifier: Apache-2.0 */
/* Eviction against a list of each row's last event time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "learner/eviction.h"

enum { AGE = 100000, KEYS = 3000, SWEEP = LEARNER_EVICTION_SLICES * 64 };

struct world {
    struct learner_table *tables[2];
    struct learner_eviction eviction;
    int64_t touched_ms[2][KEYS + 1]; /* by key; -1: no row */
    uint64_t number;
    int64_t now_ms;
    unsigned told;
};

/* The row goes, and not too early: it was last trained AGE ago. */
static void gone(void *self, unsigned table, uint64_t key)
{
    struct world *world = self;
    assert_true(key >= 1 && key <= KEYS);
    assert_true(world->touched_ms[table][key] >= 0);
    assert_true(world->now_ms - world->touched_ms[table][key] >= AGE);
    world->touched_ms[table][key] = -1;
    world->told++;
}

static struct learner_table *make_table(unsigned t)
{
    struct learner_table *table;
    struct base_error error;
    const struct learner_table_config config = {
        .width = 2, .embedding = 2, .seed = 1, .purpose = t};
    assert_int_equal(learner_table_new(&table, &config, &error), BASE_OK);
    return table;
}

static void set_up(struct world *world, int64_t age_ms)
{
    memset(world, 0, sizeof *world);
    memset(world->touched_ms, 0xff, sizeof world->touched_ms);
    for (unsigned t = 0; t < 2; t++)
        world->tables[t] = make_table(t);
    learner_eviction_init(&world->eviction, 2, age_ms);
    world->eviction.gone = gone;
    world->eviction.gone_self = world;
}

static void tear_down(struct world *world)
{
    for (unsigned t = 0; t < 2; t++)
        learner_table_free(world->tables[t]);
}

static void touch(struct world *world, unsigned t, uint64_t key)
{
    struct base_error error;
    uint32_t slot;
    assert_int_equal(
        learner_table_create(world->tables[t], key, &slot, &error), BASE_OK);
    learner_table_row(world->tables[t], slot)->touched =
        (uint32_t)world->number;
    world->touched_ms[t][key] = world->now_ms;
}

/* The next batch: a few keys, of which low ones come often. */
static void batch(struct world *world, int64_t pass_ms)
{
    world->number++;
    world->now_ms += pass_ms;
    for (unsigned i = 0; i < 12; i++) {
        uint64_t bits = base_random_u64(4, 4, world->number, i);
        uint64_t most = bits >> 63 ? 20 : KEYS;
        touch(world, i & 1, 1 + bits % most);
    }
    learner_eviction_advance(&world->eviction, world->tables, world->number,
                             world->now_ms);
}

static unsigned live(const struct world *world, unsigned t)
{
    unsigned rows = 1;
    for (unsigned key = 1; key <= KEYS; key++) {
        bool has = learner_table_find(world->tables[t], key) != 0;
        assert_true(has == (world->touched_ms[t][key] >= 0));
        rows += has;
    }
    return rows;
}

/* Batches from the one behind `first` on. */
static void check_ages(uint64_t first)
{
    struct world world;
    set_up(&world, AGE);
    world.number = first;
    for (unsigned n = 0; n < 20000; n++)
        batch(&world, (int64_t)(base_random_u64(5, 5, 5, n) % 200));
    assert_true(world.told > 5000);
    for (unsigned t = 0; t < 2; t++) {
        assert_int_equal(live(&world, t), learner_table_rows(world.tables[t]));
        assert_true(learner_table_find(world.tables[t], 0) == 0);
        assert_int_equal(learner_table_row(world.tables[t], 0)->live, 1);
        assert_true(learner_table_slots(world.tables[t]) < KEYS + 2);
    }
    assert_int_equal(world.told,
                     world.eviction.evicted[0] + world.eviction.evicted[1]);
    /* None stays for long: a mark's distance, and one sweep of these few
     * slots, 3 slices of 64 batches. */
    int64_t slack_ms = AGE / LEARNER_EVICTION_MARKS + 4 * 64 * 200 + 1;
    for (unsigned t = 0; t < 2; t++)
        for (unsigned key = 1; key <= KEYS; key++)
            assert_true(world.touched_ms[t][key] < 0 ||
                        world.now_ms - world.touched_ms[t][key] <
                            AGE + slack_ms);
    tear_down(&world);
}

static void rows_go_when_old_and_not_before(void **state)
{
    (void)state;
    check_ages(0);
}

/* A year of many batches a second: the rows' half of the number starts over. */
static void batch_2_to_the_32nd_is_like_the_others(void **state)
{
    (void)state;
    check_ages(((uint64_t)1 << 32) - 10000);
}

static void a_leap_in_time_takes_all_but_the_newest(void **state)
{
    (void)state;
    struct world world;
    set_up(&world, AGE);
    for (unsigned n = 0; n < 1000; n++)
        batch(&world, 1);
    assert_int_equal(world.told, 0);
    batch(&world, 50 * AGE);
    uint64_t newest = world.number;
    while (world.number % 64 || world.number < newest + 4 * 64)
        learner_eviction_advance(&world.eviction, world.tables,
                                 ++world.number, world.now_ms);
    for (unsigned t = 0; t < 2; t++)
        for (unsigned key = 1; key <= KEYS; key++)
            assert_true(world.touched_ms[t][key] < 0 ||
                        world.touched_ms[t][key] == world.now_ms);
    assert_true(learner_table_rows(world.tables[0]) <= 7);
    /* Time that goes back is no time. */
    uint32_t rows = learner_table_rows(world.tables[0]);
    for (unsigned n = 0; n < 640; n++)
        learner_eviction_advance(&world.eviction, world.tables,
                                 ++world.number, n);
    assert_int_equal(learner_table_rows(world.tables[0]), rows);
    tear_down(&world);
}

static void never_is_never(void **state)
{
    (void)state;
    struct world world;
    struct base_error error;
    set_up(&world, 0);
    for (unsigned n = 0; n < 1000; n++)
        batch(&world, 10 * AGE);
    assert_int_equal(world.told, 0);
    assert_int_equal(learner_eviction_size(&world.eviction), 0);
    learner_eviction_save(&world.eviction, NULL);
    assert_int_equal(learner_eviction_load(&world.eviction, NULL, 0, &error),
                     BASE_OK);
    assert_int_equal(learner_eviction_load(&world.eviction, "x", 1, &error),
                     BASE_CORRUPT);
    tear_down(&world);
}

/* A copy of the tables by slots, as a checkpoint has them. */
static void copy_tables(const struct world *from, struct world *to)
{
    struct base_error error;
    for (unsigned t = 0; t < 2; t++) {
        learner_table_clear(to->tables[t]);
        for (uint32_t i = 0; i < learner_table_slots(from->tables[t]); i++)
            assert_int_equal(
                learner_table_restore(to->tables[t],
                                      learner_table_row(from->tables[t], i),
                                      &error),
                BASE_OK);
    }
    memcpy(to->touched_ms, from->touched_ms, sizeof to->touched_ms);
    to->number = from->number;
    to->now_ms = from->now_ms;
}

/* Stopped at any batch and resumed, the same rows go in the same batches, and
 * new ones take the same slots. */
static void a_resumed_run_evicts_alike(void **state)
{
    (void)state;
    for (unsigned stop = 3000; stop < 3400; stop += 67) {
        struct world one, two;
        struct base_error error;
        set_up(&one, AGE);
        set_up(&two, AGE);
        for (unsigned n = 0; n < stop; n++)
            batch(&one, 100);
        copy_tables(&one, &two);
        size_t size = learner_eviction_size(&one.eviction);
        uint8_t *bytes = malloc(size);
        learner_eviction_save(&one.eviction, bytes);
        assert_int_equal(
            learner_eviction_load(&two.eviction, bytes, size - 8, &error),
            BASE_CORRUPT);
        assert_int_equal(
            learner_eviction_load(&two.eviction, bytes, size, &error),
            BASE_OK);
        free(bytes);
        for (unsigned n = 0; n < 3000; n++) {
            batch(&one, 100);
            batch(&two, 100);
        }
        assert_true(one.told > two.told && two.told > 500);
        for (unsigned t = 0; t < 2; t++) {
            uint32_t slots = learner_table_slots(one.tables[t]);
            assert_int_equal(slots, learner_table_slots(two.tables[t]));
            for (uint32_t i = 0; i < slots; i++)
                assert_memory_equal(learner_table_row(one.tables[t], i),
                                    learner_table_row(two.tables[t], i),
                                    learner_table_stride(one.tables[t]));
            assert_int_equal(one.eviction.evicted[t], two.eviction.evicted[t]);
        }
        tear_down(&one);
        tear_down(&two);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_go_when_old_and_not_before),
        cmocka_unit_test(batch_2_to_the_32nd_is_like_the_others),
        cmocka_unit_test(a_leap_in_time_takes_all_but_the_newest),
        cmocka_unit_test(never_is_never),
        cmocka_unit_test(a_resumed_run_evicts_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
