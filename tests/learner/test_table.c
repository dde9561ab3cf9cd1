/* SPDX-License-Identifier: Apache-2.0 */
/* The embedding table against a base_map: growth over many slabs, stable
 * slots, start values that depend on the key alone, removal and reuse. */
#include <math.h>
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
#include "learner/model.h"
#include "learner/table.h"

static struct learner_table *make(unsigned dimension)
{
    struct learner_table *table;
    struct base_error error;
    const struct learner_table_config config = {.width = dimension,
                                                .embedding = dimension,
                                                .state = 2 * dimension,
                                                .seed = 7,
                                                .purpose = 11,
                                                .row_limit = 0.05f};
    assert_int_equal(learner_table_new(&table, &config, &error), BASE_OK);
    return table;
}

static uint32_t create(struct learner_table *table, uint64_t key)
{
    struct base_error error;
    uint32_t slot;
    assert_int_equal(learner_table_create(table, key, &slot, &error),
                     BASE_OK);
    return slot;
}

static void the_oov_row_is_always_there(void **state)
{
    (void)state;
    struct learner_table *table = make(18);
    assert_int_equal(learner_table_slots(table), 1);
    assert_int_equal(learner_table_rows(table), 1);
    assert_int_equal(learner_table_find(table, 0), 0);
    assert_int_equal(learner_table_find(table, 12345), 0);
    assert_int_equal(create(table, 0), 0);
    assert_true(learner_table_row(table, 0)->key == 0);
    assert_int_equal(learner_table_row(table, 0)->live, 1);
    learner_table_free(table);
}

static void rows_keep_slot_address_and_content(void **state)
{
    (void)state;
    enum { KEYS = 60000 };
    struct learner_table *table = make(18);
    struct base_map *model;
    struct base_error error;
    struct learner_row **rows = calloc(KEYS + 1, sizeof *rows);
    assert_int_equal(base_map_new(&model, 3, &error), BASE_OK);
    for (uint32_t i = 0; i < 3 * KEYS; i++) {
        uint64_t key = 1 + base_random_u64(1, 2, 3, i) % KEYS;
        uint64_t *known = base_map_get(model, key);
        assert_int_equal(learner_table_find(table, key),
                         known ? (uint32_t)*known : 0);
        uint32_t slot = create(table, key);
        if (known) {
            assert_int_equal(slot, *known);
            assert_ptr_equal(learner_table_row(table, slot), rows[slot]);
        } else {
            assert_int_equal(slot, base_map_size(model) + 1);
            assert_int_equal(base_map_put(model, key, slot, &error), BASE_OK);
            rows[slot] = learner_table_row(table, slot);
            rows[slot]->count = (uint32_t)key;
        }
    }
    assert_int_equal(learner_table_rows(table), base_map_size(model) + 1);
    size_t cursor = 0;
    uint64_t key, slot;
    while (base_map_next(model, &cursor, &key, &slot)) {
        assert_int_equal(learner_table_find(table, key), slot);
        assert_true(rows[slot]->key == key);
        assert_int_equal(rows[slot]->count, (uint32_t)key);
    }
    free(rows);
    base_map_free(model);
    learner_table_free(table);
}

static void start_values_depend_on_the_key_alone(void **state)
{
    (void)state;
    struct learner_table *one = make(18), *two = make(18), *other;
    struct base_error error;
    const struct learner_table_config config = {.width = 18, .embedding = 18,
                                                .state = 36, .seed = 7,
                                                .purpose = 12,
                                                .row_limit = 0.05f};
    assert_int_equal(learner_table_new(&other, &config, &error), BASE_OK);
    double sum = 0.0, largest = 0.0;
    for (uint64_t key = 1; key <= 1000; key++)
        create(one, key);
    for (uint64_t key = 1000; key >= 1; key--)
        create(two, key);
    for (uint64_t key = 1; key <= 1000; key++) {
        struct learner_row *a =
            learner_table_row(one, learner_table_find(one, key));
        struct learner_row *b =
            learner_table_row(two, learner_table_find(two, key));
        struct learner_row *c = learner_table_row(other, create(other, key));
        assert_memory_equal(a, b, learner_table_stride(one));
        assert_memory_not_equal(a->values, c->values, 18 * sizeof(float));
        for (unsigned i = 0; i < 18; i++) {
            sum += (double)a->values[i];
            largest = fmax(largest, fabs((double)a->values[i]));
        }
        for (unsigned i = 18; i < 54; i++)
            assert_true(a->values[i] == 0.0f);
    }
    assert_true(largest <= 0.05 && largest > 0.0499);
    assert_true(fabs(sum / 18000.0) < 0.001);
    learner_table_free(one);
    learner_table_free(two);
    learner_table_free(other);
}

/* Embedding columns random, first-order weights and state 0; the limit from
 * the configuration or, as the authors have it, from the vocabulary. */
static void a_model_says_how_rows_start(void **state)
{
    (void)state;
    static struct learner_model model;
    struct learner_table_config config;
    struct base_error error;
    for (unsigned k = 0; k < 3; k++) {
        learner_model_config_default(&model.config);
        model.config.seed = 7;
        model.config.row_vocabulary = k == 1 ? 582 : 0;
        model.config.optimizer = k == 2 ? LEARNER_SGD : LEARNER_ADAGRAD;
        model.tables[1] = (struct learner_table_spec){"goods", 19};
        model.embedding[1] = 18;
        learner_table_configure(&config, &model, 1);
        struct learner_table *table;
        assert_int_equal(learner_table_new(&table, &config, &error), BASE_OK);
        assert_int_equal(learner_table_width(table), 19);
        assert_int_equal(learner_table_stride(table),
                         k == 2 ? 24 + 80 : 24 + 152);
        double largest = 0;
        for (uint64_t key = 0; key <= 1000; key++) {
            const float *w =
                learner_table_row(table, create(table, key))->values;
            for (unsigned i = 0; i < 18; i++)
                largest = fmax(largest, fabs((double)w[i]));
            for (unsigned i = 18; i < (k == 2 ? 20 : 38); i++)
                assert_true(w[i] == 0.0f);
        }
        double limit = k == 1 ? 0.1 : 0.05; /* sqrt(6 / 600) */
        assert_true(largest <= limit * 1.000001 && largest > 0.99 * limit);
        learner_table_free(table);
    }
    /* The name alone tells tables of one model apart. */
    struct learner_table_config other;
    snprintf(model.tables[0].name, LEARNER_NAME_MAX, "shop");
    learner_table_configure(&other, &model, 0);
    assert_true(other.purpose != config.purpose);
    assert_true(config.purpose == learner_table_seed("goods"));
}

static void memory_is_close_to_the_content(void **state)
{
    (void)state;
    const unsigned dimensions[] = {4, 18, 64, 128};
    for (unsigned d = 0; d < 4; d++) {
        struct learner_table *table = make(dimensions[d]);
        for (uint64_t key = 1; key <= 100000; key++)
            create(table, base_random_mix(key));
        double content = 100001.0 * (24 + 12.0 * dimensions[d]);
        assert_true((double)learner_table_bytes(table) < 1.2 * content);
        learner_table_free(table);
    }
}

struct seen {
    uint32_t slots[64];
    unsigned count;
};

static void note(void *self, uint32_t slot)
{
    struct seen *seen = self;
    assert_true(seen->count < 64);
    seen->slots[seen->count++] = slot;
}

static void removed_slots_are_used_again_and_watched(void **state)
{
    (void)state;
    struct learner_table *table = make(4);
    struct seen seen = {.count = 0};
    for (uint64_t key = 1; key <= 100; key++)
        create(table, key);
    learner_table_watch(table, note, &seen);
    learner_table_remove(table, learner_table_find(table, 50));
    learner_table_remove(table, learner_table_find(table, 60));
    assert_int_equal(learner_table_find(table, 50), 0);
    assert_int_equal(learner_table_rows(table), 99);
    assert_int_equal(create(table, 1000), 50); /* the lowest first */
    assert_int_equal(create(table, 1001), 60);
    assert_int_equal(create(table, 1002), 101); /* new: nobody to tell */
    assert_int_equal(seen.count, 4);
    const uint32_t expected[] = {50, 60, 50, 60};
    assert_memory_equal(seen.slots, expected, sizeof expected);
    learner_table_free(table);
}

/* The lowest free slot is next, over many slabs, whatever the order in which
 * slots became free; and a batch taken back has never been. */
static void free_slots_are_used_lowest_first(void **state)
{
    (void)state;
    enum { KEYS = 30000 };
    struct learner_table *table = make(128);
    bool *used = calloc(2 * KEYS, sizeof *used);
    for (uint64_t key = 1; key <= KEYS; key++)
        used[create(table, key)] = true;
    for (uint32_t i = 0; i < KEYS; i++) {
        uint32_t slot =
            1 + (uint32_t)(base_random_u64(3, 3, 3, i) % KEYS);
        if (used[slot])
            learner_table_remove(table, slot);
        used[slot] = false;
    }
    uint32_t rows = learner_table_rows(table), begin = KEYS + 1, lowest = 1;
    assert_true(rows < KEYS / 2 && learner_table_slots(table) == begin);
    uint32_t *made = calloc(KEYS, sizeof *made);
    for (uint32_t i = 0; i < KEYS; i++) { /* fills all holes and goes on */
        while (used[lowest])
            lowest++;
        made[i] = create(table, 100000 + i);
        assert_int_equal(made[i], lowest);
        used[lowest] = true;
    }
    assert_true(learner_table_slots(table) > begin);
    for (uint32_t i = KEYS; i-- > 0;)
        learner_table_undo(table, made[i], begin);
    assert_int_equal(learner_table_rows(table), rows);
    assert_int_equal(learner_table_slots(table), begin);
    for (uint32_t i = 0; i < KEYS / 3; i++) { /* the same slots again */
        assert_int_equal(create(table, 200000 + i), made[i]);
        assert_int_equal(learner_table_find(table, 100000 + i), 0);
    }
    free(made);
    free(used);
    learner_table_free(table);
}

/* Random creations and removals against the map. */
static void removal_keeps_the_others_findable(void **state)
{
    (void)state;
    struct learner_table *table = make(4);
    struct base_map *model;
    struct base_error error;
    assert_int_equal(base_map_new(&model, 5, &error), BASE_OK);
    for (uint32_t i = 0; i < 200000; i++) {
        uint64_t bits = base_random_u64(9, 9, 9, i);
        uint64_t key = 1 + bits % 3000;
        uint32_t slot = learner_table_find(table, key);
        uint64_t *known = base_map_get(model, key);
        assert_int_equal(slot, known ? (uint32_t)*known : 0);
        if (bits >> 63 && slot) {
            learner_table_remove(table, slot);
            assert_true(base_map_remove(model, key));
        } else if (!slot) {
            slot = create(table, key);
            assert_int_equal(base_map_put(model, key, slot, &error), BASE_OK);
        }
    }
    assert_int_equal(learner_table_rows(table), base_map_size(model) + 1);
    assert_true(learner_table_slots(table) <= 3001);
    base_map_free(model);
    learner_table_free(table);
}

static void restore_brings_back_rows_and_holes(void **state)
{
    (void)state;
    struct learner_table *from = make(18), *to = make(18);
    struct base_error error;
    for (uint64_t key = 1; key <= 20000; key++)
        create(from, base_random_mix(key));
    for (uint64_t key = 1; key <= 20000; key += 7)
        learner_table_remove(
            from, learner_table_find(from, base_random_mix(key)));
    learner_table_clear(to);
    for (uint32_t i = 0; i < learner_table_slots(from); i++)
        assert_int_equal(
            learner_table_restore(to, learner_table_row(from, i), &error),
            BASE_OK);
    assert_int_equal(learner_table_rows(to), learner_table_rows(from));
    for (uint64_t key = 1; key <= 20000; key++)
        assert_int_equal(learner_table_find(to, base_random_mix(key)),
                         learner_table_find(from, base_random_mix(key)));
    uint32_t slots = learner_table_slots(to);
    assert_true(create(to, 77777777) < slots); /* into a hole */
    /* A key that is there already is refused, and nothing changes. */
    assert_int_equal(
        learner_table_restore(to, learner_table_row(to, 3), &error),
        BASE_CORRUPT);
    assert_int_equal(learner_table_slots(to), slots);
    learner_table_free(from);
    learner_table_free(to);
}

static void runs_end_with_slabs_and_slots(void **state)
{
    (void)state;
    struct learner_table *table = make(128);
    for (uint64_t key = 1; key <= 5000; key++)
        create(table, key);
    uint32_t slot = 0, slots = learner_table_slots(table);
    while (slot < slots) {
        uint32_t run = learner_table_run(table, slot);
        assert_true(run > 0);
        assert_true(run * learner_table_stride(table) <= LEARNER_TABLE_SLAB);
        const uint8_t *first = (void *)learner_table_row(table, slot);
        for (uint32_t i = 0; i < run; i++)
            assert_ptr_equal(learner_table_row(table, slot + i),
                             first + i * learner_table_stride(table));
        slot += run;
    }
    assert_int_equal(slot, slots);
    learner_table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oov_row_is_always_there),
        cmocka_unit_test(rows_keep_slot_address_and_content),
        cmocka_unit_test(start_values_depend_on_the_key_alone),
        cmocka_unit_test(a_model_says_how_rows_start),
        cmocka_unit_test(memory_is_close_to_the_content),
        cmocka_unit_test(removed_slots_are_used_again_and_watched),
        cmocka_unit_test(free_slots_are_used_lowest_first),
        cmocka_unit_test(removal_keeps_the_others_findable),
        cmocka_unit_test(restore_brings_back_rows_and_holes),
        cmocka_unit_test(runs_end_with_slabs_and_slots),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
