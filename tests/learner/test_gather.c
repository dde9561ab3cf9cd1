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

#include "tests/learner/gather_world.h"

/* ---- prediction and creation --------------------------------------------- */

static void each_id_has_one_place_with_its_row(void **state)
{
    (void)state;
    world_set_up(world_settings());
    for (uint32_t n = 1; n <= 10; n++) {
        world_find(n);
        world_list(false, false);
        world_check_cells(false); /* new ids: the OOV row's content */
        world_train(n % 2);
        world_list(true, n % 2);
        world_check_cells(true); /* new ids: their start values */
        world_apply(n);
    }
    assert_int_equal(learner_table_find(world.tables[0], 999), 0);
    assert_true(learner_table_rows(world.tables[1]) > 80);
    assert_true(learner_table_rows(world.tables[CROSS]) > 300);
    world_tear_down();
}

static void a_negative_makes_no_row(void **state)
{
    (void)state;
    world_set_up(world_settings());
    world_find(1);
    world_train(true);
    world_list(true, true);
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
    world_check_cells(true);
    world_tear_down();
}

static void an_empty_batch_has_no_rows(void **state)
{
    (void)state;
    struct base_error error;
    world_set_up(world_settings());
    struct learner_batch batch = {.first = 7, .end = 7};
    assert_int_equal(learner_gather_find(&world.gather, &batch, &error),
                     BASE_OK);
    for (unsigned t = 0; t < TABLES; t++)
        assert_int_equal(world.gather.row_count[t], 0);
    learner_gather_discard(&world.gather);
    world_tear_down();
}

static bool lacks_row(unsigned t, uint64_t id)
{
    return id && id != LEARNER_ABSENT &&
           !learner_table_find(world.tables[t], id);
}

static bool item_lacks_row(const uint64_t *item)
{
    return lacks_row(1, item[0]) || lacks_row(2, item[1]) ||
           lacks_row(2, item[2]);
}

static bool group_lacks_row(uint32_t g)
{
    bool lacks = false;
    for (uint32_t i = world.group_begin[g]; i < world.group_begin[g + 1]; i++)
        lacks = lacks || lacks_row(0, world.ids[i][0]) ||
                item_lacks_row(world.ids[i] + GOODS) ||
                lacks_row(1, world.ids[i][5]);
    for (uint32_t k = world.history_begin[g]; k < world.history_begin[g + 1];
         k++)
        lacks = lacks || item_lacks_row(world.history[k]);
    return lacks;
}

static void a_group_with_a_new_row_is_fresh(void **state)
{
    (void)state;
    struct base_error error;
    unsigned fresh = 0, kept = 0;
    world_set_up(world_settings());
    learner_gather_fini(&world.gather);
    world.model.table_count = CROSS; /* crosses change every group */
    assert_int_equal(learner_gather_init(&world.gather, &world.model,
                                         world.tables, &error),
                     BASE_OK);
    for (uint32_t n = 0; n < 12; n++) {
        bool expected[B];
        world_find(n);
        assert_null(world.gather.fresh);
        for (uint32_t g = 0; g < world.batch.groups; g++)
            expected[g] = group_lacks_row(g);
        world_train(true);
        for (uint32_t g = 0; g < world.batch.groups; g++) {
            assert_int_equal(world.gather.fresh[g], expected[g]);
            fresh += expected[g];
            kept += !expected[g];
        }
        world_apply(n + 1);
    }
    assert_true(fresh > 20 && kept > 20);
    world_tear_down();
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
        struct learner_model_config config = world_settings();
        struct image image;
        config.regularizer = (enum learner_regularizer)r;
        config.admission = 3;
        world_set_up(config);
        for (uint32_t n = 1; n <= 6; n++) {
            world_find(n);
            world_train(true);
            world_apply(n);
        }
        /* A hole: one of the rows to come takes it, and leaves it again. */
        learner_table_remove(world.tables[1], 5);
        learner_table_remove(world.tables[1], 9);
        take_image(&image);
        world_find(9);
        world_train(true);
        bool grown = false;
        for (unsigned t = 0; t < TABLES; t++)
            grown = grown || learner_table_rows(world.tables[t]) >
                                 image.live[t];
        assert_true(grown);
        learner_gather_discard(&world.gather);
        check_image(&image);
        world_find(9); /* the prediction was all right, the batch not */
        learner_gather_discard(&world.gather);
        check_image(&image);
        world_find(9);
        world_list(false, false);
        world_check_cells(false);
        free_image(&image);
        world_tear_down();
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
        g[i] = world_gradient(t, at, i) + factor * row->values[i];
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
    world_apply(number);
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
    world_set_up(config);
    for (uint32_t n = 1; n <= 8; n++) {
        world_find(n);
        world_train(n % 3);
        world_list(true, n % 3);
        check_apply(n);
    }
    world_tear_down();
}

static void apply_moves_each_row_once(void **state)
{
    (void)state;
    for (int o = LEARNER_ADAM; o <= LEARNER_SGD; o++)
        for (int r = LEARNER_REGULARIZER_NONE; r <= LEARNER_MBA; r++) {
            struct learner_model_config config = world_settings();
            config.optimizer = (enum learner_optimizer)o;
            config.regularizer = (enum learner_regularizer)r;
            config.lambda = 0.5f;
            run(config);
        }
}

static void every_row_moves_where_adam_is_not_lazy(void **state)
{
    (void)state;
    struct learner_model_config config = world_settings();
    config.adam_every_row = true;
    run(config);
}

/* Where step and count cannot go on they stay, and Adam goes on as before. */
static void counters_stay_at_their_most(void **state)
{
    (void)state;
    world_set_up(world_settings());
    for (uint32_t n = 1; n <= 2; n++) {
        world_find(1);
        world_train(false);
        if (n == 2)
            for (unsigned t = 0; t < TABLES; t++)
                for (uint32_t i = 0; i < learner_table_slots(world.tables[t]);
                     i++) {
                    struct learner_row *row =
                        learner_table_row(world.tables[t], i);
                    row->step = row->count = UINT32_MAX;
                }
        world_apply(n);
    }
    for (unsigned t = 0; t < TABLES; t++)
        for (uint32_t i = 0; i < learner_table_slots(world.tables[t]); i++) {
            const struct learner_row *row =
                learner_table_row(world.tables[t], i);
            assert_true(row->step == UINT32_MAX && row->count == UINT32_MAX);
            for (unsigned j = 0; j < world.model.tables[t].dimension; j++)
                assert_true(row->values[j] > -1 && row->values[j] < 1);
        }
    world_tear_down();
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
        struct learner_model_config config = world_settings();
        unsigned waiting = 0, admitted = 0;
        config.regularizer = LEARNER_FILTER;
        config.admission = k;
        world_set_up(config);
        for (uint32_t n = 1; n <= 12; n++) {
            world_find(n);
            world_list(false, false);
            count_batch();
            world_train(false);
            world_list(true, false);
            world_check_cells(true);
            world_apply(n);
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
        world_tear_down();
    }
}

static void dropout_takes_half_and_makes_no_row(void **state)
{
    (void)state;
    struct learner_model_config config = world_settings();
    unsigned item_cells = 0, kept = 0;
    config.regularizer = LEARNER_DROPOUT;
    world_set_up(config);
    for (uint32_t n = 1; n <= 10; n++) {
        world_find(n);
        world_list(false, false);
        for (unsigned i = 0; i < world.count; i++)
            item_cells += world.cells[i].table == 1 && world.cells[i].id &&
                          world.cells[i].id < 100;
        world_train(false);
        world_list(true, false);
        world_check_cells(true);
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
    world_tear_down();
}

static void old_rows_leave_by_event_time(void **state)
{
    (void)state;
    struct learner_model_config config = world_settings();
    config.eviction_ms = 1000;
    world_set_up(config);
    world_find(1);
    world_train(false);
    world_put_gradients();
    learner_gather_apply(&world.gather, &world.updater, world.cut, NULL, 1, 5000);
    uint32_t rows = learner_table_rows(world.tables[1]);
    assert_true(rows > 25);
    for (uint32_t n = 2; n <= 128; n++) {
        world_find(2);
        world_train(false);
        world_put_gradients();
        learner_gather_apply(&world.gather, &world.updater, world.cut, NULL, n,
                             n < 100 ? 5000 : 6100);
        assert_true(n == 128 || world.gather.eviction.evicted[1] == 0);
    }
    world_find(2);
    world_list(false, false);
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
    world_tear_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_id_has_one_place_with_its_row),
        cmocka_unit_test(a_negative_makes_no_row),
        cmocka_unit_test(an_empty_batch_has_no_rows),
        cmocka_unit_test(a_group_with_a_new_row_is_fresh),
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
