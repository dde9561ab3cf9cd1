/* SPDX-License-Identifier: Apache-2.0 */
/* The unique rows of a batch against one look-up per id. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "learner/gather.h"
#include "stream.h"

enum { B = 48, TABLES = 5 };

struct world {
    struct learner_schema schema;
    struct learner_table *tables[TABLES];
    struct learner_gather gather;
    struct learner_adam adam;
    struct learner_cut *cut; /* never begun: it has nothing to save */
    struct stream *stream;
    struct learner_batch batch;
};

static void set_up(struct world *world)
{
    const struct stream_config config = {
        .seed = 3, .batch_size = B, .group_max = 4,
        .lengths = STREAM_UNIFORM, .history_mean = 5, .history_max = 12,
        .users = 50, .goods = 60, .cates = 7, .interests = 3,
    };
    struct base_error error;
    memset(world, 0, sizeof *world);
    stream_schema(&world->schema);
    /* Two fields of one table, as a schema may have it. */
    world->schema.fields[4].table = 3;
    for (unsigned t = 0; t < TABLES; t++)
        assert_int_equal(
            learner_table_new(&world->tables[t],
                              world->schema.tables[t].dimension, 1, t, 0.05f,
                              &error),
            BASE_OK);
    assert_int_equal(learner_gather_init(&world->gather, &world->schema,
                                         world->tables, &error),
                     BASE_OK);
    learner_adam_init(&world->adam, 0.01f);
    struct learner_cut_config cut = {.tables = world->tables,
                                     .table_count = TABLES,
                                     .folder = "/nonexistent",
                                     .kept = 1,
                                     .slice_bytes = 4096};
    assert_int_equal(learner_cut_new(&cut, &world->cut, &error), BASE_OK);
    world->stream = stream_new(&config);
    stream_set_limit(world->stream, 1 << 20);
}

static void tear_down(struct world *world)
{
    learner_cut_free(world->cut);
    learner_gather_fini(&world->gather);
    for (unsigned t = 0; t < TABLES; t++)
        learner_table_free(world->tables[t]);
    stream_free(world->stream);
}

static void find(struct world *world, uint64_t position)
{
    struct base_error error;
    struct learner_source source = stream_source(world->stream);
    assert_int_equal(
        source.next(source.self, position, 0, &world->batch, &error),
        BASE_OK);
    assert_int_equal(
        learner_gather_find(&world->gather, &world->batch, &error), BASE_OK);
}

static void create(struct world *world)
{
    struct base_error error;
    assert_int_equal(learner_gather_create(&world->gather, &error), BASE_OK);
}

/* Calls each(world, table, id, place among the unique rows) for every cell. */
static void each_cell(struct world *world,
                      void (*each)(struct world *, unsigned, uint64_t,
                                   uint32_t))
{
    const struct learner_batch *batch = &world->batch;
    const struct learner_schema *schema = &world->schema;
    unsigned F = schema->field_count, f = schema->item_count;
    for (uint32_t i = 0; i < batch->samples; i++)
        for (unsigned j = 0; j < F; j++)
            each(world, schema->fields[j].table, batch->ids[i * F + j],
                 world->gather.index[i * F + j]);
    for (uint32_t i = 0; i < batch->history_begin[batch->groups]; i++)
        for (unsigned j = 0; j < f; j++)
            each(world, schema->fields[schema->profile_count + j].table,
                 batch->history[i * f + j],
                 world->gather.history_index[i * f + j]);
}

static const float *packed(const struct world *world, unsigned t, uint32_t at)
{
    return world->gather.rows[t] +
           (size_t)at * world->schema.tables[t].dimension;
}

/* The packed row is what a look-up gives now: its own, or the OOV row. */
static void check_cell(struct world *world, unsigned t, uint64_t id,
                       uint32_t at)
{
    const struct learner_table *table = world->tables[t];
    const struct learner_row *row =
        learner_table_row(table, learner_table_find(table, id));
    assert_true(at < world->gather.row_count[t]);
    assert_memory_equal(packed(world, t, at), row->values,
                        world->schema.tables[t].dimension * sizeof(float));
}

static unsigned seen[TABLES][4096]; /* occurrences of each place */
static uint64_t owner[TABLES][4096];

static void check_unique(struct world *world, unsigned t, uint64_t id,
                         uint32_t at)
{
    (void)world;
    assert_true(seen[t][at] == 0 || owner[t][at] == id);
    seen[t][at]++;
    owner[t][at] = id;
}

static void check_places(struct world *world)
{
    memset(seen, 0, sizeof seen);
    each_cell(world, check_unique);
    for (unsigned t = 0; t < TABLES; t++)
        for (uint32_t i = 0; i < world->gather.row_count[t]; i++) {
            assert_true(seen[t][i] > 0);
            for (uint32_t k = 0; k < i; k++)
                assert_true(owner[t][k] != owner[t][i]);
        }
}

static void each_id_has_one_place_with_its_row(void **state)
{
    (void)state;
    struct world world;
    set_up(&world);
    for (uint64_t position = 0; position < 10 * B; position += B) {
        find(&world, position);
        check_places(&world);
        each_cell(&world, check_cell); /* new ids: the OOV row */
        create(&world);
        each_cell(&world, check_cell); /* new ids: their start values */
    }
    assert_int_equal(world.gather.row_count[4], 0); /* no field uses it */
    assert_true(learner_table_rows(world.tables[1]) > 40);
    tear_down(&world);
}

static void discard_takes_back_what_was_created(void **state)
{
    (void)state;
    struct world world;
    uint32_t before[TABLES];
    set_up(&world);
    find(&world, 0);
    create(&world);
    for (unsigned t = 0; t < TABLES; t++)
        before[t] = learner_table_rows(world.tables[t]);
    find(&world, 5 * B);
    create(&world);
    assert_true(learner_table_rows(world.tables[1]) > before[1]);
    learner_gather_discard(&world.gather);
    for (unsigned t = 0; t < TABLES; t++)
        assert_int_equal(learner_table_rows(world.tables[t]), before[t]);
    find(&world, 0); /* and the rows of before are untouched */
    each_cell(&world, check_cell);
    tear_down(&world);
}

static float gradient(unsigned t, uint64_t id, unsigned i)
{
    return base_random_unit(base_random_u64(t, 1, id, i)) - 0.5f;
}

/* One row, as textbook Adam has it after `steps` steps of one gradient. */
static void check_row(const struct world *world, unsigned t, uint64_t id,
                      const struct learner_row *row, uint32_t steps)
{
    unsigned E = world->schema.tables[t].dimension;
    struct learner_table *fresh;
    struct base_error error;
    uint32_t slot;
    assert_int_equal(learner_table_new(&fresh, E, 1, t, 0.05f, &error),
                     BASE_OK);
    assert_int_equal(learner_table_create(fresh, id, &slot, &error), BASE_OK);
    float *w = learner_table_row(fresh, slot)->values, g[64];
    for (unsigned i = 0; i < E; i++)
        g[i] = gradient(t, id, i);
    for (uint32_t step = 1; step <= steps; step++)
        learner_adam_step(w, w + E, w + 2 * E, g, E,
                          learner_adam_rate(&world->adam, step));
    assert_memory_equal(row->values, w, 3 * E * sizeof(float));
    learner_table_free(fresh);
}

static void put_gradients(struct world *world)
{
    for (unsigned t = 0; t < TABLES; t++)
        for (uint32_t k = 0; k < world->gather.row_count[t]; k++) {
            unsigned E = world->schema.tables[t].dimension;
            for (unsigned i = 0; i < E; i++)
                world->gather.drows[t][k * E + i] =
                    gradient(t, owner[t][k], i);
        }
}

static void apply_moves_each_row_once_by_its_own_step(void **state)
{
    (void)state;
    struct world world;
    set_up(&world);
    for (uint32_t n = 1; n <= 6; n++) {
        uint32_t steps[4096], counts[4096];
        find(&world, n * B);
        create(&world);
        check_places(&world);
        put_gradients(&world);
        for (unsigned t = 0; t < TABLES; t++) {
            const struct learner_table *table = world.tables[t];
            uint32_t U = world.gather.row_count[t];
            for (uint32_t k = 0; k < U; k++) {
                const struct learner_row *row = learner_table_row(
                    table, learner_table_find(table, owner[t][k]));
                steps[k] = row->step;
                counts[k] = row->count;
            }
            if (t != 1)
                continue;
            learner_gather_apply(&world.gather, &world.adam, world.cut, n);
            for (uint32_t k = 0; k < U; k++) {
                const struct learner_row *row = learner_table_row(
                    table, learner_table_find(table, owner[t][k]));
                assert_int_equal(row->step, steps[k] + 1);
                assert_int_equal(row->count, counts[k] + seen[t][k]);
                assert_int_equal(row->touched, n);
                check_row(&world, t, owner[t][k], row, row->step);
            }
        }
    }
    tear_down(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_id_has_one_place_with_its_row),
        cmocka_unit_test(discard_takes_back_what_was_created),
        cmocka_unit_test(apply_moves_each_row_once_by_its_own_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
