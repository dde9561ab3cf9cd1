/* SPDX-License-Identifier: Apache-2.0 */
/* Made-up batches and the plain list of their cells; see gather_world.h. */
#include "tests/learner/gather_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "learner/step.h"

struct world world;

static void make_model(struct learner_model_config *config)
{
    struct learner_model *model = &world.model;
    static const uint8_t columns[FIELDS] = {0, 2, 3, 4, 5};
    static const uint16_t tables[FIELDS] = {0, 1, 2, 2, 1};
    static const uint16_t widths[TABLES] = {4, 9, 5, 1};
    model->config = *config;
    model->schema = (struct learner_schema){
        .field_count = FIELDS, .profile_count = 1, .item_count = ITEMS,
        .context_count = 1, .table_count = CROSS};
    for (unsigned j = 0; j < FIELDS; j++) {
        model->schema.fields[j].table = tables[j];
        model->schema.fields[j].group =
            j == 0 ? LEARNER_PROFILE : j < 4 ? LEARNER_ITEM : LEARNER_CONTEXT;
        model->column[j] = columns[j];
    }
    model->schema.fields[2].more = 1;
    model->schema.fields[3].continues = true;
    model->stream_fields = STREAM;
    model->stream_profile = 2;
    model->stream_items = ITEMS;
    model->table_count = TABLES;
    for (unsigned t = 0; t < TABLES; t++) {
        snprintf(model->tables[t].name, LEARNER_NAME_MAX, "t%u", t);
        model->tables[t].dimension = widths[t];
        model->embedding[t] = widths[t] - 1u; /* and a first-order weight */
    }
}

void world_set_up(struct learner_model_config config)
{
    struct base_error error;
    memset(&world, 0, sizeof world);
    make_model(&config);
    for (unsigned t = 0; t < TABLES; t++) {
        struct learner_table_config table;
        learner_table_configure(&table, &world.model, t);
        assert_int_equal(learner_table_new(&world.tables[t], &table, &error),
                         BASE_OK);
        assert_int_equal(base_map_new(&world.counts[t], 3, &error), BASE_OK);
    }
    assert_int_equal(learner_gather_init(&world.gather, &world.model,
                                         world.tables, &error),
                     BASE_OK);
    learner_optimizer_init(&world.updater, &config);
    struct learner_cut_config cut = {.tables = world.tables,
                                     .table_count = TABLES,
                                     .folder = "/nonexistent",
                                     .kept = 1,
                                     .slice_bytes = 4096};
    assert_int_equal(learner_cut_new(&cut, &world.cut, &error), BASE_OK);
}

void world_tear_down(void)
{
    learner_cut_free(world.cut);
    learner_gather_fini(&world.gather);
    for (unsigned t = 0; t < TABLES; t++) {
        learner_table_free(world.tables[t]);
        base_map_free(world.counts[t]);
    }
}

struct learner_model_config world_settings(void)
{
    struct learner_model_config config;
    learner_model_config_default(&config);
    config.learning_rate = 0.01f;
    config.auxiliary = LEARNER_AUXILIARY_NETWORK;
    return config;
}

/* ---- batches ------------------------------------------------------------- */

static uint64_t draw(uint64_t n, unsigned row, unsigned i, uint64_t below)
{
    return base_random_below(base_random_u64(n, PURPOSE, row, i), below);
}

/* goods 0 .. 89, two genres of which each may be absent */
static void put_item(uint64_t *item, uint64_t n, unsigned row)
{
    item[0] = draw(n, row, 20, 90);
    for (unsigned j = 1; j < ITEMS; j++)
        item[j] = draw(n, row, 20 + j, 3) ? draw(n, row, 30 + j, 7)
                                          : LEARNER_ABSENT;
}

/* Batch n: groups of 1 to 4 samples, histories of 0 to T_MAX behaviors. */
static void make_batch(uint64_t n)
{
    uint32_t groups = 0, samples = 0, behaviors = 0;
    while (samples < B) {
        uint32_t size = 1 + (uint32_t)draw(n, groups, 1, 4);
        uint32_t length = (uint32_t)draw(n, groups, 2, T_MAX + 1);
        world.group_begin[groups] = samples;
        world.history_begin[groups++] = behaviors;
        samples += size < B - samples ? size : B - samples;
        for (uint32_t k = 0; k < length; k++, behaviors++) {
            put_item(world.history[behaviors], n, 1000 + behaviors);
            put_item(world.negatives[behaviors], n, 2000 + behaviors);
            if (draw(n, behaviors, 3, 4) == 0) /* left out */
                memset(world.negatives[behaviors], 0xff,
                       sizeof world.negatives[0]);
        }
    }
    world.group_begin[groups] = samples;
    world.history_begin[groups] = behaviors;
    for (unsigned i = 0; i < B; i++) {
        put_item(world.ids[i] + GOODS, n, 3000 + i);
        world.ids[i][0] = draw(n, i, 4, 3);
        world.ids[i][1] = 999; /* no row may come of it */
        world.ids[i][5] = 100 + draw(n, i, 5, 5);
    }
    world.batch = (struct learner_batch){
        .first = n * B, .end = n * B + B, .samples = B, .groups = groups,
        .ids = &world.ids[0][0], .history = &world.history[0][0],
        .group_begin = world.group_begin,
        .history_begin = world.history_begin};
}

/* ---- the plain list ------------------------------------------------------ */

static bool dropped(uint64_t position, unsigned column, unsigned behavior)
{
    return world.model.config.regularizer == LEARNER_DROPOUT &&
           base_random_u64(world.model.config.seed,
                           UINT64_C(0x64726f706f7574), position,
                           column + 64 * behavior) >> 63;
}

static void add(unsigned table, uint64_t id, uint32_t at, bool negative)
{
    if (id == LEARNER_ABSENT) {
        assert_true(at == LEARNER_NO_ROW);
        return;
    }
    assert_true(world.count < CELLS);
    world.cells[world.count++] = (struct cell){table, id, at, negative};
}

/* An item's three cells; `behavior` 0 for a candidate. */
static void add_item(const uint64_t *item, const uint32_t *index,
                     uint64_t position, unsigned behavior, bool training)
{
    for (unsigned j = 0; j < ITEMS; j++) {
        uint64_t id = item[j];
        if (j == 1 && item[1] == LEARNER_ABSENT && item[2] == LEARNER_ABSENT)
            id = 0;
        if (training && id != LEARNER_ABSENT &&
            dropped(position, GOODS + j, behavior))
            id = 0;
        add(j ? 2 : 1, id, index[j], false);
    }
}

static void add_samples(bool training)
{
    for (unsigned i = 0; i < B; i++) {
        const uint32_t *index = world.gather.index + i * FIELDS;
        add(0, world.ids[i][0], index[0], false);
        add_item(world.ids[i] + GOODS, index + 1, world.batch.first + i, 0,
                 training);
        add(1, world.ids[i][5], index[4], false);
    }
}

static void add_histories(bool training)
{
    const uint32_t *cross = world.gather.cross_index;
    for (uint32_t g = 0; g < world.batch.groups; g++) {
        uint32_t begin = world.history_begin[g];
        uint32_t end = world.history_begin[g + 1];
        uint64_t first = world.batch.first + world.group_begin[g];
        for (uint32_t k = begin; k < end; k++)
            add_item(world.history[k],
                     world.gather.history_index + k * ITEMS, first,
                     k - begin + 1, training);
        for (uint32_t i = world.group_begin[g]; i < world.group_begin[g + 1];
             i++)
            for (uint32_t k = begin; k < end; k++) {
                uint64_t id =
                    learner_cross_id(world.history[k][0], world.ids[i][GOODS]);
                if (training &&
                    (dropped(first, GOODS, k - begin + 1) ||
                     dropped(world.batch.first + i, GOODS, 0)))
                    id = 0;
                add(CROSS, id, *cross++, false);
            }
    }
}

static void add_negatives(void)
{
    for (uint32_t g = 0; g < world.batch.groups; g++)
        for (uint32_t k = world.history_begin[g];
             k < world.history_begin[g + 1]; k++) {
            const uint64_t *item = world.negatives[k];
            const uint32_t *index = world.gather.negative_index + k * ITEMS;
            bool out = k == world.history_begin[g] ||
                       (item[0] & item[1] & item[2]) == LEARNER_ABSENT;
            for (unsigned j = 0; j < ITEMS; j++) {
                uint64_t id = out ? LEARNER_ABSENT : item[j];
                if (!out && j == 1 && (item[1] & item[2]) == LEARNER_ABSENT)
                    id = 0;
                add(j ? 2 : 1, id, index[j], true);
            }
        }
}

void world_list(bool training, bool negatives)
{
    world.count = 0;
    add_samples(training);
    add_histories(training);
    if (negatives)
        add_negatives();
}

static struct learner_row *row_of(unsigned t, uint64_t id)
{
    return learner_table_row(world.tables[t],
                             learner_table_find(world.tables[t], id));
}

/* Each cell's packed row is its table's row now; with `unique` two cells share
 * a place just where they share a row. */
void world_check_cells(bool unique)
{
    static uint64_t owner[TABLES][CELLS];
    static uint32_t place[TABLES][CELLS];
    memset(owner, 0xff, sizeof owner);
    memset(place, 0xff, sizeof place);
    for (unsigned i = 0; i < world.count; i++) {
        const struct cell *cell = &world.cells[i];
        unsigned t = cell->table, W = world.model.tables[t].dimension;
        uint32_t slot = learner_table_find(world.tables[t], cell->id);
        uint64_t key = unique ? slot : cell->id;
        assert_true(cell->at < world.gather.row_count[t]);
        assert_memory_equal(world.gather.rows[t] + cell->at * W,
                            row_of(t, cell->id)->values, W * sizeof(float));
        assert_true(owner[t][cell->at] == UINT64_MAX ||
                    owner[t][cell->at] == key);
        owner[t][cell->at] = key;
        if (unique) {
            assert_true(place[t][slot] == UINT32_MAX ||
                        place[t][slot] == cell->at);
            place[t][slot] = cell->at;
        }
    }
}

void world_find(uint64_t n)
{
    struct base_error error;
    make_batch(n);
    assert_int_equal(learner_gather_find(&world.gather, &world.batch, &error),
                     BASE_OK);
    assert_null(world.gather.negative_index);
}

void world_train(bool negatives)
{
    struct base_error error;
    assert_int_equal(
        learner_gather_train(&world.gather, &world.batch,
                             negatives ? &world.negatives[0][0] : NULL,
                             &error),
        BASE_OK);
}

float world_gradient(unsigned t, uint32_t at, unsigned i)
{
    return base_random_unit(base_random_u64(t, PURPOSE, at, i)) - 0.5f;
}

void world_put_gradients(void)
{
    for (unsigned t = 0; t < TABLES; t++) {
        unsigned W = world.model.tables[t].dimension;
        for (uint32_t k = 0; k < world.gather.row_count[t]; k++)
            for (unsigned i = 0; i < W; i++)
                world.gather.drows[t][k * W + i] = world_gradient(t, k, i);
    }
}

void world_apply(uint32_t number)
{
    world_put_gradients();
    learner_gather_apply(&world.gather, &world.updater, world.cut, NULL, number, 0);
}
