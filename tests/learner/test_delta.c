/* SPDX-License-Identifier: Apache-2.0 */
/* The delta's cut beside a checkpoint's, both under updates, new rows and
 * removals: each is its own position's state, against deep copies; and a reader
 * that applies the deltas has all rows, whatever was held on the way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/random.h"
#include "learner/cut.h"
#include "learner/delta.h"
#include "stream.h"

enum { KEYS = 3000 };

struct world {
    char folder[256], path[1200];
    struct learner_model *model;
    struct learner_table *tables[LEARNER_TABLES_MAX];
    unsigned table_count;
    struct learner_cut *cut;
    struct learner_delta_cut *delta;
    struct learner_checkpoint_info info;
    float *dense;
    uint64_t draws, step;
};

struct watch {
    struct world *world;
    unsigned table;
};
static struct watch watches[LEARNER_TABLES_MAX];

static void before(void *self, uint32_t slot)
{
    const struct watch *watch = self;
    learner_cut_touch(watch->world->cut, watch->table, slot);
}

static void gone(void *self, uint32_t slot)
{
    const struct watch *watch = self;
    learner_delta_gone(watch->world->delta, watch->table, slot);
}

static void written(void *self, const char *path, uint64_t position,
                    uint64_t oldest_kept, uint64_t request)
{
    struct world *world = self;
    (void)position, (void)oldest_kept, (void)request;
    snprintf(world->path, sizeof world->path, "%s", path);
}

static void make_tables(struct world *world)
{
    struct base_error error;
    struct learner_schema schema;
    struct learner_model_config config;
    stream_schema(&schema);
    learner_model_config_default(&config);
    assert_int_equal(learner_model_new(&schema, &config, &world->model, &error),
                     BASE_OK);
    world->table_count = learner_model_tables(world->model);
    assert_in_range(world->table_count, 3, 8);
    for (unsigned t = 0; t < world->table_count; t++) {
        struct learner_table_config table;
        learner_table_configure(&table, world->model, t);
        assert_int_equal(learner_table_new(&world->tables[t], &table, &error),
                         BASE_OK);
        watches[t] = (struct watch){world, t};
        learner_table_watch(world->tables[t], before, &watches[t]);
        learner_table_on_remove(world->tables[t], gone, &watches[t]);
        world->info.tables[t] = *learner_model_table(world->model, t);
        world->info.row_state[t] = (uint16_t)table.state;
    }
    world->info.table_count = world->table_count;
}

static void set_up(struct world *world)
{
    struct base_error error;
    const char *base = getenv("TMPDIR");
    *world = (struct world){.draws = 1};
    snprintf(world->folder, sizeof world->folder, "%s/test_delta.XXXXXX",
             base ? base : "/tmp");
    assert_non_null(mkdtemp(world->folder));
    make_tables(world);
    const struct learner_cut_config config = {
        .tables = world->tables, .table_count = world->table_count,
        .folder = world->folder, .kept = 1, .slice_bytes = 2000,
        .written = written, .written_self = world};
    assert_int_equal(learner_cut_new(&config, &world->cut, &error), BASE_OK);
    assert_int_equal(learner_delta_new(world->model, world->tables,
                                       &world->delta, &error),
                     BASE_OK);
    world->dense = calloc(learner_dense_size(world->model), sizeof(float));
    assert_non_null(world->dense);
}

static void tear_down(struct world *world)
{
    struct base_error error;
    learner_cut_free(world->cut);
    learner_delta_free(world->delta);
    for (unsigned t = 0; t < world->table_count; t++)
        learner_table_free(world->tables[t]);
    learner_model_free(world->model);
    free(world->dense);
    assert_int_equal(base_file_remove(world->folder, &error), BASE_OK);
}

static uint64_t draw(struct world *world)
{
    return base_random_u64(4, 4, 4, world->draws++);
}

/* A batch: updates, new rows, now and then a removal. */
static void change(struct world *world, unsigned changes)
{
    struct base_error error;
    world->step++;
    for (unsigned i = 0; i < changes; i++) {
        unsigned t = (unsigned)(draw(world) % world->table_count);
        struct learner_table *table = world->tables[t];
        uint64_t key = 1 + draw(world) % KEYS;
        uint32_t slot = learner_table_find(table, key);
        bool fresh = !slot;
        if (slot && draw(world) % 20 == 0) {
            learner_table_remove(table, slot);
            continue;
        }
        assert_int_equal(learner_table_create(table, key, &slot, &error),
                         BASE_OK);
        learner_cut_touch(world->cut, t, slot);
        learner_delta_touch(world->delta, t, slot, fresh);
        struct learner_row *row = learner_table_row(table, slot);
        row->touched = (uint32_t)world->step;
        row->values[0] = base_random_unit(draw(world));
    }
}

/* ---- what a reader has ---------------------------------------------------- */

struct copy {
    float *value[LEARNER_TABLES_MAX]; /* (KEYS + 1), values[0] of a row */
    bool *there[LEARNER_TABLES_MAX];
};

static struct copy copy_new(const struct world *world)
{
    struct copy copy = {0};
    for (unsigned t = 0; t < world->table_count; t++) {
        copy.value[t] = calloc(KEYS + 1, sizeof(float));
        copy.there[t] = calloc(KEYS + 1, sizeof(bool));
    }
    return copy;
}

static void copy_take(const struct world *world, struct copy *copy)
{
    for (unsigned t = 0; t < world->table_count; t++)
        for (uint64_t key = 0; key <= KEYS; key++) {
            uint32_t slot = learner_table_find(world->tables[t], key);
            copy->there[t][key] = slot || !key;
            copy->value[t][key] =
                copy->there[t][key]
                    ? learner_table_row(world->tables[t], slot)->values[0]
                    : 0;
        }
}

static void copy_free(struct copy *copy)
{
    for (unsigned t = 0; t < LEARNER_TABLES_MAX; t++) {
        free(copy->value[t]);
        free(copy->there[t]);
    }
}

static void check_equal(const struct world *world, const struct copy *a,
                        const struct copy *b)
{
    for (unsigned t = 0; t < world->table_count; t++) {
        assert_memory_equal(a->there[t], b->there[t], KEYS + 1);
        assert_memory_equal(a->value[t], b->value[t],
                            (KEYS + 1) * sizeof(float));
    }
}

struct walk {
    struct copy *copy;
    unsigned table;
    uint64_t rows;
};

static enum base_status set_row(void *self, uint64_t key, const float *weights)
{
    struct walk *walk = self;
    assert_in_range(key, 0, KEYS);
    walk->copy->there[walk->table][key] = true;
    walk->copy->value[walk->table][key] = weights[0];
    walk->rows++;
    return BASE_OK;
}

static uint64_t apply(struct world *world, struct copy *copy)
{
    struct learner_delta *delta = learner_delta_get(world->delta);
    struct base_error error;
    uint64_t rows = 0;
    assert_true(learner_delta_get_info(delta)->complete);
    assert_int_equal(learner_delta_sort(delta, &error), BASE_OK);
    for (unsigned t = 0; t < world->table_count; t++) {
        uint64_t count;
        const uint64_t *keys = learner_delta_keys_gone(delta, t, &count);
        struct walk walk = {copy, t, 0};
        for (uint64_t i = 0; i < count; i++) {
            assert_true(keys[i] && copy->there[t][keys[i]]);
            copy->there[t][keys[i]] = false;
            copy->value[t][keys[i]] = 0;
        }
        assert_int_equal(learner_delta_rows(delta, t, set_row, &walk, &error),
                         BASE_OK);
        rows += walk.rows;
    }
    return rows;
}

/* ---- both cuts ------------------------------------------------------------ */

static void begin_cut(struct world *world, uint64_t position)
{
    struct base_error error;
    uint8_t head[LEARNER_CHECKPOINT_HEAD_MAX];
    const uint64_t dense[2 + 6] = {9, 4, 1, 2, 3, 4, 5, 6};
    world->info.position = position;
    for (unsigned t = 0; t < world->table_count; t++)
        world->info.rows[t] = learner_table_rows(world->tables[t]);
    size_t size = learner_checkpoint_encode(&world->info, head);
    assert_int_equal(learner_cut_begin(world->cut, position, 0,
                                       size + sizeof dense + 5, &error),
                     BASE_OK);
    memcpy(learner_cut_part(world->cut, LEARNER_CUT_HEAD, size), head, size);
    memcpy(learner_cut_part(world->cut, LEARNER_CUT_DENSE, sizeof dense),
           dense, sizeof dense);
    memcpy(learner_cut_part(world->cut, LEARNER_CUT_METRICS, 5), "abcde", 5);
}

static void begin_delta(struct world *world)
{
    const struct learner_delta_info info = {.position = world->step};
    learner_delta_begin(world->delta, &info, world->dense, world->step);
}

static void check_checkpoint(struct world *world, const struct copy *expected)
{
    struct learner_checkpoint *checkpoint;
    struct base_error error;
    struct copy got = copy_new(world);
    if (learner_checkpoint_open(world->path, &checkpoint, &error))
        fail_msg("%s", error.text);
    for (unsigned t = 0; t < world->table_count; t++) {
        struct walk walk = {&got, t, 0};
        assert_int_equal(learner_checkpoint_rows(checkpoint, t, set_row, &walk,
                                                 &error),
                         BASE_OK);
    }
    check_equal(world, &got, expected);
    copy_free(&got);
    learner_checkpoint_free(checkpoint);
}

static void two_cuts_at_once_are_each_its_own_state(void **state)
{
    (void)state;
    struct world world;
    struct base_error error;
    set_up(&world);
    change(&world, 6000);
    struct copy reader = copy_new(&world), at_cut = copy_new(&world);
    struct copy at_delta = copy_new(&world);
    copy_take(&world, &reader);
    const uint64_t hash[2] = {0, 0};
    learner_delta_start(world.delta, world.step, hash, world.step);
    unsigned slices = 0, held = 0;
    for (unsigned round = 1; round <= 12; round++) {
        change(&world, 300);
        copy_take(&world, &at_cut);
        begin_cut(&world, world.step);
        change(&world, 100);
        copy_take(&world, &at_delta);
        begin_delta(&world);
        change(&world, 150); /* before the first slice, too */
        while (learner_delta_step(world.delta, 10) |
               learner_cut_step(world.cut, true)) {
            change(&world, 20);
            slices++;
        }
        assert_int_equal(learner_cut_outcome(world.cut, true, &error),
                         LEARNER_CUT_DONE);
        check_checkpoint(&world, &at_cut);
        bool commit = round % 3 != 0;
        held += !commit;
        if (commit) {
            uint64_t rows = apply(&world, &reader);
            assert_in_range(rows, 300, world.table_count * (KEYS + 1));
            check_equal(&world, &reader, &at_delta);
        }
        learner_delta_settle(world.delta, commit);
    }
    assert_true(slices > 500 && held == 4);
    copy_free(&reader);
    copy_free(&at_cut);
    copy_free(&at_delta);
    tear_down(&world);
}

/* A key that came and went, or went and came again, between two versions. */
static void keys_that_come_and_go(void **state)
{
    (void)state;
    struct world world;
    struct base_error error;
    uint32_t slot;
    set_up(&world);
    struct learner_table *table = world.tables[1];
    const uint64_t hash[2] = {0, 0};
    assert_int_equal(learner_table_create(table, 7, &slot, &error), BASE_OK);
    assert_int_equal(learner_table_create(table, 8, &slot, &error), BASE_OK);
    struct copy reader = copy_new(&world);
    copy_take(&world, &reader);
    learner_delta_start(world.delta, 1, hash, 1);
    for (unsigned i = 0; i < 3; i++) { /* 7: went and came, 9: came and went */
        learner_table_remove(table, learner_table_find(table, 7));
        assert_int_equal(learner_table_create(table, 7, &slot, &error),
                         BASE_OK);
        learner_delta_touch(world.delta, 1, slot, true);
        assert_int_equal(learner_table_create(table, 9, &slot, &error),
                         BASE_OK);
        learner_delta_touch(world.delta, 1, slot, true);
        learner_table_remove(table, slot);
    }
    learner_table_remove(table, learner_table_find(table, 8));
    begin_delta(&world);
    while (learner_delta_step(world.delta, 1))
        ;
    uint64_t count;
    assert_int_equal(apply(&world, &reader), world.table_count + 1);
    const uint64_t *keys = learner_delta_keys_gone(
        learner_delta_get(world.delta), 1, &count);
    assert_true(count == 1 && keys[0] == 8);
    learner_delta_settle(world.delta, true);
    begin_delta(&world); /* nothing but the OOV rows */
    while (learner_delta_step(world.delta, 1))
        ;
    assert_int_equal(apply(&world, &reader), world.table_count);
    learner_delta_settle(world.delta, true);
    copy_free(&reader);
    tear_down(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_cuts_at_once_are_each_its_own_state),
        cmocka_unit_test(keys_that_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
