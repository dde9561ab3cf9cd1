/* SPDX-License-Identifier: Apache-2.0 */
/* The unique rows of a batch against a plain list of its cells: what id each
 * should have in prediction and in training, how often it occurs, and where
 * its row should be afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/random.h"
#include "learner/gather.h"
#include "learner/model.h"
#include "learner/regularizer.h"
#include "learner/step.h"

/* The stream has six fields, the model uses all but the second. */
enum {
    STREAM = 6, /* gender, (off), goods, genre, genre', pid */
    ITEMS = 3,  /* goods, genre, genre' */
    FIELDS = 5, /* of the model */
    TABLES = 4, /* gender, goods and pid, genre, crosses */
    GOODS = 2,  /* its column in the stream */
    CROSS = 3,
    B = 24,
    T_MAX = 6,
    CELLS = 8192,
    PURPOSE = 11,
};

struct cell {
    unsigned table;
    uint64_t id; /* training: 0 where dropped out */
    uint32_t at;
    bool negative;
};

struct world {
    struct learner_model model;
    struct learner_table *tables[TABLES];
    struct learner_gather gather;
    struct learner_updater updater;
    struct learner_cut *cut; /* never begun: it has nothing to save */
    struct base_map *counts[TABLES]; /* occurrences of ids without a row */
    struct learner_batch batch;
    uint64_t ids[B][STREAM], history[B * T_MAX][ITEMS];
    uint64_t negatives[B * T_MAX][ITEMS];
    uint32_t group_begin[B + 1], history_begin[B + 1];
    struct cell cells[CELLS];
    unsigned count;
};

static struct world world;

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

static void set_up(struct learner_model_config config)
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

static void tear_down(void)
{
    learner_cut_free(world.cut);
    learner_gather_fini(&world.gather);
    for (unsigned t = 0; t < TABLES; t++) {
        learner_table_free(world.tables[t]);
        base_map_free(world.counts[t]);
    }
}

static struct learner_model_config settings(void)
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

static void list(bool training, bool negatives)
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
static void check_cells(bool unique)
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

static void find(uint64_t n)
{
    struct base_error error;
    make_batch(n);
    assert_int_equal(learner_gather_find(&world.gather, &world.batch, &error),
                     BASE_OK);
    assert_null(world.gather.negative_index);
}

static void train(bool negatives)
{
    struct base_error error;
    assert_int_equal(
        learner_gather_train(&world.gather, &world.batch,
                             negatives ? &world.negatives[0][0] : NULL,
                             &error),
        BASE_OK);
}

static float gradient(unsigned t, uint32_t at, unsigned i)
{
    return base_random_unit(base_random_u64(t, PURPOSE, at, i)) - 0.5f;
}

static void put_gradients(void)
{
    for (unsigned t = 0; t < TABLES; t++) {
        unsigned W = world.model.tables[t].dimension;
        for (uint32_t k = 0; k < world.gather.row_count[t]; k++)
            for (unsigned i = 0; i < W; i++)
                world.gather.drows[t][k * W + i] = gradient(t, k, i);
    }
}

static void apply(uint32_t number)
{
    put_gradients();
    learner_gather_apply(&world.gather, &world.updater, world.cut, number, 0);
}

/* ---- prediction and creation --------------------------------------------- */

static void each_id_has_one_place_with_its_row(void **state)
{
    (void)state;
    set_up(settings());
    for (uint32_t n = 1; n <= 10; n++) {
        find(n);
        list(false, false);
        check_cells(false); /* new ids: the OOV row's content */
        train(n % 2);
        list(true, n % 2);
        check_cells(true); /* new ids: their start values */
        apply(n);
    }
    assert_int_equal(learner_table_find(world.tables[0], 999), 0);
    assert_true(learner_table_rows(world.tables[1]) > 80);
    assert_true(learner_table_rows(world.tables[CROSS]) > 300);
    tear_down();
}

static void a_negative_makes_no_row(void **state)
{
    (void)state;
    set_up(settings());
    find(1);
    train(true);
    list(true, true);
    unsigned unknown = 0;
    for (unsigned i = 0; i < world.count; i++) {
        const struct cell *cell = &world.cells[i];
        if (!cell->negative || cell->id == 0)
            continue;
        bool occurs = false;
        for (unsigned k = 0; k < world.count; k++)
            occurs = occurs || (!world.cells[k].negative &&
                                world.cells[k].table == cell->table &&
                                world.cells[k].id == cell->id);
        bool found = learner_table_find(world.tables[cell->table], cell->id);
        assert_true(found == occurs);
        unknown += !found;
    }
    assert_true(unknown > 5);
    check_cells(true);
    tear_down();
}

static void an_empty_batch_has_no_rows(void **state)
{
    (void)state;
    struct base_error error;
    set_up(settings());
    struct learner_batch batch = {.first = 7, .end = 7};
    assert_int_equal(learner_gather_find(&world.gather, &batch, &error),
                     BASE_OK);
    for (unsigned t = 0; t < TABLES; t++)
        assert_int_equal(world.gather.row_count[t], 0);
    learner_gather_discard(&world.gather);
    tear_down();
}

/* ---- discard ------------------------------------------------------------- */

struct image {
    uint8_t *rows[TABLES], *admission;
    uint32_t slots[TABLES], live[TABLES];
};

static void take_image(struct image *image)
{
    for (unsigned t = 0; t < TABLES; t++) {
        size_t stride = learner_table_stride(world.tables[t]);
        image->slots[t] = learner_table_slots(world.tables[t]);
        image->live[t] = learner_table_rows(world.tables[t]);
        image->rows[t] = malloc(image->slots[t] * stride);
        for (uint32_t i = 0; i < image->slots[t]; i++)
            memcpy(image->rows[t] + i * stride,
                   learner_table_row(world.tables[t], i), stride);
    }
    size_t size = learner_admission_size(world.gather.admission);
    image->admission = malloc(size + 1);
    learner_admission_save(world.gather.admission, image->admission);
}

static void free_image(struct image *image)
{
    for (unsigned t = 0; t < TABLES; t++)
        free(image->rows[t]);
    free(image->admission);
}

static void check_image(const struct image *was)
{
    struct image now;
    take_image(&now);
    for (unsigned t = 0; t < TABLES; t++) {
        assert_int_equal(now.slots[t], was->slots[t]);
        assert_int_equal(now.live[t], was->live[t]);
        assert_memory_equal(now.rows[t], was->rows[t],
                            now.slots[t] *
                                learner_table_stride(world.tables[t]));
    }
    assert_memory_equal(now.admission, was->admission,
                        learner_admission_size(world.gather.admission));
    free_image(&now);
}

static void discard_leaves_everything_as_it_was(void **state)
{
    (void)state;
    for (int r = LEARNER_REGULARIZER_NONE; r <= LEARNER_MBA; r++) {
        struct learner_model_config config = settings();
        struct image image;
        config.regularizer = (enum learner_regularizer)r;
        config.admission = 3;
        set_up(config);
        for (uint32_t n = 1; n <= 6; n++) {
            find(n);
            train(true);
            apply(n);
        }
        /* A hole: one of the rows to come takes it, and leaves it again. */
        learner_table_remove(world.tables[1], 5);
        learner_table_remove(world.tables[1], 9);
        take_image(&image);
        find(9);
        train(true);
        bool grown = false;
        for (unsigned t = 0; t < TABLES; t++)
            grown = grown || learner_table_rows(world.tables[t]) >
                                 image.live[t];
        assert_true(grown);
        learner_gather_discard(&world.gather);
        check_image(&image);
        find(9); /* the prediction was all right, the batch not */
        learner_gather_discard(&world.gather);
        check_image(&image);
        find(9);
        list(false, false);
        check_cells(false);
        free_image(&image);
        tear_down();
    }
}

/* ---- apply --------------------------------------------------------------- */

struct expected {
    uint32_t occurrences;
    bool touched;
    float *values; /* (W + state) afterwards */
    struct learner_row before;
};

/* What row `slot` of table t should be after the batch. */
static void expect(unsigned t, uint32_t slot, uint32_t number,
                   struct expected *expected)
{
    const struct learner_model_config *config = &world.model.config;
    unsigned W = world.model.tables[t].dimension;
    const struct learner_row *row = learner_table_row(world.tables[t], slot);
    float g[16];
    uint32_t at = 0;
    expected->occurrences = 0;
    expected->touched = false;
    memcpy(&expected->before, row, sizeof *row);
    memcpy(expected->values, row->values,
           learner_table_stride(world.tables[t]) - sizeof *row);
    for (unsigned i = 0; i < world.count; i++) {
        const struct cell *cell = &world.cells[i];
        if (cell->table != t ||
            learner_table_find(world.tables[t], cell->id) != slot)
            continue;
        expected->occurrences += !cell->negative;
        expected->touched = true;
        at = cell->at;
    }
    if (!expected->touched) {
        if (config->adam_every_row && row->live)
            learner_optimizer_rest(&world.updater, expected->values, W,
                                   number);
        return;
    }
    uint32_t n = row->count + expected->occurrences;
    float factor =
        learner_regularizer_factor(config, n, expected->occurrences);
    for (unsigned i = 0; i < W; i++)
        g[i] = gradient(t, at, i) + factor * row->values[i];
    learner_optimizer_row(&world.updater, expected->values, g, W,
                          config->adam_every_row ? number : row->step + 1);
}

static void check_apply(uint32_t number)
{
    static struct expected expected[TABLES][CELLS];
    static float values[TABLES][CELLS][32];
    for (unsigned t = 0; t < TABLES; t++)
        for (uint32_t i = 0; i < learner_table_slots(world.tables[t]); i++) {
            expected[t][i].values = values[t][i];
            expect(t, i, number, &expected[t][i]);
        }
    apply(number);
    for (unsigned t = 0; t < TABLES; t++)
        for (uint32_t i = 0; i < learner_table_slots(world.tables[t]); i++) {
            const struct expected *e = &expected[t][i];
            const struct learner_row *row =
                learner_table_row(world.tables[t], i);
            assert_memory_equal(row->values, e->values,
                                learner_table_stride(world.tables[t]) -
                                    sizeof *row);
            assert_int_equal(row->step, e->before.step + e->touched);
            assert_int_equal(row->count, e->before.count + e->occurrences);
            assert_int_equal(row->touched,
                             e->touched ? number : e->before.touched);
        }
}

static void run(struct learner_model_config config)
{
    set_up(config);
    for (uint32_t n = 1; n <= 8; n++) {
        find(n);
        train(n % 3);
        list(true, n % 3);
        check_apply(n);
    }
    tear_down();
}

static void apply_moves_each_row_once(void **state)
{
    (void)state;
    for (int o = LEARNER_ADAM; o <= LEARNER_SGD; o++)
        for (int r = LEARNER_REGULARIZER_NONE; r <= LEARNER_MBA; r++) {
            struct learner_model_config config = settings();
            config.optimizer = (enum learner_optimizer)o;
            config.regularizer = (enum learner_regularizer)r;
            config.lambda = 0.5f;
            run(config);
        }
}

static void every_row_moves_where_adam_is_not_lazy(void **state)
{
    (void)state;
    struct learner_model_config config = settings();
    config.adam_every_row = true;
    run(config);
}

/* Where step and count cannot go on they stay, and Adam goes on as before. */
static void counters_stay_at_their_most(void **state)
{
    (void)state;
    set_up(settings());
    for (uint32_t n = 1; n <= 2; n++) {
        find(1);
        train(false);
        if (n == 2)
            for (unsigned t = 0; t < TABLES; t++)
                for (uint32_t i = 0; i < learner_table_slots(world.tables[t]);
                     i++) {
                    struct learner_row *row =
                        learner_table_row(world.tables[t], i);
                    row->step = row->count = UINT32_MAX;
                }
        apply(n);
    }
    for (unsigned t = 0; t < TABLES; t++)
        for (uint32_t i = 0; i < learner_table_slots(world.tables[t]); i++) {
            const struct learner_row *row =
                learner_table_row(world.tables[t], i);
            assert_true(row->step == UINT32_MAX && row->count == UINT32_MAX);
            for (unsigned j = 0; j < world.model.tables[t].dimension; j++)
                assert_true(row->values[j] > -1 && row->values[j] < 1);
        }
    tear_down();
}

/* ---- admission and dropout ----------------------------------------------- */

/* Counts the batch's occurrences of ids without a row; afterwards an id has a
 * row just where it came to k. */
static void count_batch(void)
{
    struct base_error error;
    for (unsigned i = 0; i < world.count; i++) {
        const struct cell *cell = &world.cells[i];
        if (cell->id == 0 ||
            learner_table_find(world.tables[cell->table], cell->id))
            continue;
        uint64_t *had = base_map_get(world.counts[cell->table], cell->id);
        assert_int_equal(base_map_put(world.counts[cell->table], cell->id,
                                      had ? *had + 1 : 1, &error),
                         BASE_OK);
    }
}

static void rows_come_with_the_kth_occurrence(void **state)
{
    (void)state;
    for (uint16_t k = 2; k <= 15; k += 13) {
        struct learner_model_config config = settings();
        unsigned waiting = 0, admitted = 0;
        config.regularizer = LEARNER_FILTER;
        config.admission = k;
        set_up(config);
        for (uint32_t n = 1; n <= 12; n++) {
            find(n);
            list(false, false);
            count_batch();
            train(false);
            list(true, false);
            check_cells(true);
            apply(n);
        }
        for (unsigned t = 0; t < TABLES; t++) {
            size_t cursor = 0;
            uint64_t id, count;
            while (base_map_next(world.counts[t], &cursor, &id, &count)) {
                bool found = learner_table_find(world.tables[t], id);
                assert_true(found == (count >= k));
                waiting += !found;
                admitted += found;
            }
        }
        assert_true(waiting > 10 && admitted > 10);
        assert_int_equal(learner_admission_waiting(world.gather.admission),
                         waiting);
        tear_down();
    }
}

static void dropout_takes_half_and_makes_no_row(void **state)
{
    (void)state;
    struct learner_model_config config = settings();
    unsigned item_cells = 0, kept = 0;
    config.regularizer = LEARNER_DROPOUT;
    set_up(config);
    for (uint32_t n = 1; n <= 10; n++) {
        find(n);
        list(false, false);
        for (unsigned i = 0; i < world.count; i++)
            item_cells += world.cells[i].table == 1 && world.cells[i].id &&
                          world.cells[i].id < 100;
        train(false);
        list(true, false);
        check_cells(true);
        for (unsigned i = 0; i < world.count; i++) {
            const struct cell *cell = &world.cells[i];
            kept += cell->table == 1 && cell->id && cell->id < 100;
            /* What is trained under its own id has a row. */
            assert_true(!cell->id || learner_table_find(
                                         world.tables[cell->table], cell->id));
        }
        check_apply(n);
        for (unsigned t = 0; t < TABLES; t++) /* and nothing else has one */
            for (uint32_t slot = 1; slot < learner_table_slots(world.tables[t]);
                 slot++)
                assert_true(learner_table_row(world.tables[t], slot)->count);
    }
    assert_true(item_cells > 400);
    assert_true(kept > item_cells * 2 / 5 && kept < item_cells * 3 / 5);
    for (uint64_t id = 100; id < 105; id++) /* the scene is never dropped */
        assert_true(learner_table_find(world.tables[1], id) > 0);
    tear_down();
}

static void old_rows_leave_by_event_time(void **state)
{
    (void)state;
    struct learner_model_config config = settings();
    config.eviction_ms = 1000;
    set_up(config);
    find(1);
    train(false);
    put_gradients();
    learner_gather_apply(&world.gather, &world.updater, world.cut, 1, 5000);
    uint32_t rows = learner_table_rows(world.tables[1]);
    assert_true(rows > 25);
    for (uint32_t n = 2; n <= 128; n++) {
        find(2);
        train(false);
        put_gradients();
        learner_gather_apply(&world.gather, &world.updater, world.cut, n,
                             n < 100 ? 5000 : 6100);
        assert_true(n == 128 || world.gather.eviction.evicted[1] == 0);
    }
    find(2);
    list(false, false);
    for (unsigned t = 0; t < TABLES; t++) {
        uint32_t left = 1;
        for (uint32_t i = 1; i < learner_table_slots(world.tables[t]); i++)
            left += learner_table_row(world.tables[t], i)->live;
        assert_int_equal(left, learner_table_rows(world.tables[t]));
    }
    for (unsigned i = 0; i < world.count; i++) /* those in use have stayed */
        assert_true(!world.cells[i].id ||
                    learner_table_find(world.tables[world.cells[i].table],
                                       world.cells[i].id));
    assert_true(world.gather.eviction.evicted[1] > 10);
    tear_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_id_has_one_place_with_its_row),
        cmocka_unit_test(a_negative_makes_no_row),
        cmocka_unit_test(an_empty_batch_has_no_rows),
        cmocka_unit_test(discard_leaves_everything_as_it_was),
        cmocka_unit_test(apply_moves_each_row_once),
        cmocka_unit_test(every_row_moves_where_adam_is_not_lazy),
        cmocka_unit_test(counters_stay_at_their_most),
        cmocka_unit_test(rows_come_with_the_kth_occurrence),
        cmocka_unit_test(dropout_takes_half_and_makes_no_row),
        cmocka_unit_test(old_rows_leave_by_event_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
