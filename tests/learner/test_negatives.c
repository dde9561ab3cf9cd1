/* SPDX-License-Identifier: Apache-2.0 */
/* The pool of negatives: what it holds, what it never shows, and that a draw
 * is a function of its position alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "learner/negatives.h"

enum { F = 4, ITEMS = 2, MOST = 4096 }; /* gender; goods, cate; hour */

/* A batch that owns its arrays. */
struct data {
    struct learner_batch batch;
    uint64_t ids[MOST * F], history[MOST * ITEMS];
    uint8_t label[MOST];
    uint32_t group_begin[MOST + 1], history_begin[MOST + 1];
};

static void make_schema(struct learner_schema *schema)
{
    const char *const names[F] = {"gender", "goods", "cate", "hour"};
    memset(schema, 0, sizeof *schema);
    schema->field_count = schema->table_count = F;
    schema->profile_count = schema->context_count = 1;
    schema->item_count = ITEMS;
    for (uint16_t i = 0; i < F; i++) {
        strcpy(schema->fields[i].name, names[i]);
        strcpy(schema->tables[i].name, names[i]);
        schema->fields[i].group = i == 0   ? LEARNER_PROFILE
                                  : i == 3 ? LEARNER_CONTEXT
                                           : LEARNER_ITEM;
        schema->fields[i].table = i;
        schema->tables[i].dimension = 4;
    }
}

static struct learner_negatives *make(uint64_t seed, bool any,
                                      uint64_t fields_off)
{
    struct learner_schema schema;
    struct learner_model_config config;
    struct learner_model *model;
    struct learner_negatives *negatives;
    struct base_error error;
    make_schema(&schema);
    learner_model_config_default(&config);
    config.seed = seed;
    config.auxiliary_any = any;
    config.fields_off = fields_off;
    if (learner_model_new(&schema, &config, &model, &error) ||
        learner_negatives_new(model, &schema, &negatives, &error))
        fail_msg("%s", error.text);
    learner_model_free(model);
    return negatives;
}

static struct data *empty(uint64_t first)
{
    struct data *data = calloc(1, sizeof *data);
    data->batch = (struct learner_batch){
        .first = first, .end = first, .ids = data->ids,
        .history = data->history, .label = data->label,
        .group_begin = data->group_begin,
        .history_begin = data->history_begin};
    return data;
}

/* One group of one sample; its behaviors are the goods [from, from + T). */
static void add_group(struct data *data, uint64_t goods, bool clicked,
                      uint64_t from, uint32_t T)
{
    struct learner_batch *batch = &data->batch;
    uint32_t i = batch->samples++, g = batch->groups++;
    uint32_t behaviors = data->history_begin[g];
    assert_true(behaviors + T <= MOST && i < MOST);
    batch->end++;
    data->ids[i * F + 1] = goods;
    data->ids[i * F + 2] = goods + 1000000;
    data->label[i] = clicked;
    for (uint32_t t = 0; t < T; t++) {
        data->history[(behaviors + t) * ITEMS] = from + t;
        data->history[(behaviors + t) * ITEMS + 1] = from + t + 1000000;
    }
    data->group_begin[g + 1] = i + 1;
    data->history_begin[g + 1] = behaviors + T;
}

/* The goods [from, from + n) enter the pool, in one batch. */
static void fill(struct learner_negatives *negatives, uint64_t from,
                 uint32_t n)
{
    struct data *data = empty(0);
    for (uint32_t i = 0; i < n; i++)
        add_group(data, from + i, true, 0, 0);
    learner_negatives_add(negatives, &data->batch);
    free(data);
}

static const uint64_t *draw(struct learner_negatives *negatives,
                            const struct data *data)
{
    const uint64_t *ids;
    struct base_error error;
    assert_int_equal(
        learner_negatives_draw(negatives, &data->batch, &ids, &error),
        BASE_OK);
    return ids;
}

static void only_positives_enter_and_256_are_needed(void **state)
{
    (void)state;
    struct learner_negatives *negatives = make(1, false, 0);
    struct data *data = empty(0), *query = empty(900);
    add_group(query, 1, false, 5000, 10);
    for (unsigned i = 0; i < 255; i++) {
        add_group(data, 1 + i, true, 0, 0);
        add_group(data, 9000 + i, false, 0, 0);
    }
    learner_negatives_add(negatives, &data->batch);
    assert_int_equal(learner_negatives_count(negatives), 255);
    assert_null(draw(negatives, query));
    fill(negatives, 256, 1);
    const uint64_t *ids = draw(negatives, query);
    assert_non_null(ids);
    assert_true(ids[0] == LEARNER_ABSENT && ids[1] == LEARNER_ABSENT);
    for (unsigned t = 1; t < 10; t++) {
        assert_in_range(ids[t * 2], 1, 256);
        assert_int_equal(ids[t * 2 + 1], ids[t * 2] + 1000000);
    }
    free(data);
    free(query);
    learner_negatives_free(negatives);
}

/* Half of the pool stands in each history. */
static void never_from_the_users_own_sequence(void **state)
{
    (void)state;
    struct learner_negatives *negatives = make(2, false, 0);
    struct data *data = empty(77);
    unsigned shown = 0, left_out = 0;
    fill(negatives, 1, 300);
    for (unsigned g = 0; g < 20; g++)
        add_group(data, 1, false, 1 + 7 * g, 150);
    const uint64_t *ids = draw(negatives, data);
    for (unsigned g = 0; g < 20; g++)
        for (unsigned t = 1; t < 150; t++) {
            uint64_t item = ids[(g * 150 + t) * 2];
            uint64_t from = 1 + 7 * g;
            if (item == LEARNER_ABSENT) {
                assert_true(ids[(g * 150 + t) * 2 + 1] == LEARNER_ABSENT);
                left_out++;
                continue;
            }
            assert_true(item < from || item >= from + 150);
            shown++;
        }
    /* Eight tries miss with 2^-8. */
    assert_in_range(left_out, 1, 40);
    assert_int_equal(shown + left_out, 20 * 149);
    free(data);
    learner_negatives_free(negatives);
}

static void any_only_avoids_the_next_behavior(void **state)
{
    (void)state;
    struct learner_negatives *negatives = make(2, true, 0);
    struct data *data = empty(77);
    unsigned own = 0;
    fill(negatives, 1, 300);
    add_group(data, 1, false, 1, 300);
    const uint64_t *ids = draw(negatives, data);
    for (unsigned t = 1; t < 300; t++) {
        assert_in_range(ids[t * 2], 1, 300);
        assert_true(ids[t * 2] != 1 + t);
        own++;
    }
    assert_int_equal(own, 299);
    free(data);
    learner_negatives_free(negatives);
}

static void without_another_item_the_cell_is_left_out(void **state)
{
    (void)state;
    for (unsigned any = 0; any < 2; any++) {
        struct learner_negatives *negatives = make(3, any, 0);
        struct data *pool = empty(0), *data = empty(5);
        for (unsigned i = 0; i < 300; i++)
            add_group(pool, 42, true, 0, 0); /* the same item, always */
        learner_negatives_add(negatives, &pool->batch);
        add_group(data, 1, false, 41, 3); /* 41 42 43 */
        add_group(data, 1, false, 50, 2);
        const uint64_t *ids = draw(negatives, data);
        assert_true(ids[1 * 2] == LEARNER_ABSENT); /* 42 is next */
        assert_true(ids[2 * 2] == (any ? 42 : LEARNER_ABSENT));
        assert_true(ids[3 * 2] == LEARNER_ABSENT); /* a first one */
        assert_true(ids[4 * 2] == 42);
        free(pool);
        free(data);
        learner_negatives_free(negatives);
    }
}

/* Positions 100 .. 109 in one batch, and each in a batch of its own. */
static void draws_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    struct learner_negatives *negatives = make(4, false, 0);
    struct data *all = empty(100);
    uint64_t together[10 * 20 * 2];
    fill(negatives, 1, 400);
    for (unsigned g = 0; g < 10; g++)
        add_group(all, 1, false, 30 * g + 1, 20);
    memcpy(together, draw(negatives, all), sizeof together);
    for (unsigned g = 10; g-- > 0;) {
        struct data *one = empty(100 + g);
        add_group(one, 1, false, 30 * g + 1, 20);
        assert_memory_equal(draw(negatives, one), together + g * 40,
                            40 * sizeof together[0]);
        free(one);
    }
    struct learner_negatives *other = make(5, false, 0);
    fill(other, 1, 400);
    assert_memory_not_equal(draw(other, all), together, sizeof together);
    struct data *moved = empty(101);
    add_group(moved, 1, false, 1, 20);
    assert_memory_not_equal(draw(negatives, moved), together,
                            40 * sizeof together[0]);
    free(moved);
    free(all);
    learner_negatives_free(other);
    learner_negatives_free(negatives);
}

static void all_entries_are_drawn_alike(void **state)
{
    (void)state;
    struct learner_negatives *negatives = make(6, false, 0);
    unsigned count[257] = {0}, draws = 0;
    fill(negatives, 1, 256);
    for (unsigned i = 0; i < 20; i++) {
        struct data *data = empty(1000 * i);
        add_group(data, 1, false, 100000, 1001);
        const uint64_t *ids = draw(negatives, data);
        for (unsigned t = 1; t <= 1000; t++, draws++)
            count[ids[t * 2]]++;
        free(data);
    }
    /* 78 each, standard deviation 9 */
    for (unsigned i = 1; i <= 256; i++)
        assert_in_range(count[i], 78 - 45, 78 + 45);
    assert_int_equal(draws, 20000);
    learner_negatives_free(negatives);
}

static void the_pool_forgets_the_oldest(void **state)
{
    (void)state;
    struct learner_negatives *negatives = make(7, false, 0);
    for (unsigned i = 0; i < 17; i++) /* 69,632, of which 4,096 are gone */
        fill(negatives, 1 + i * 4096, 4096);
    assert_int_equal(learner_negatives_count(negatives),
                     LEARNER_NEGATIVES_POOL);
    uint64_t least = UINT64_MAX, most = 0;
    for (unsigned i = 0; i < 50; i++) {
        struct data *data = empty(i);
        add_group(data, 1, false, 1000000, 1000);
        const uint64_t *ids = draw(negatives, data);
        for (unsigned t = 1; t < 1000; t++) {
            least = ids[t * 2] < least ? ids[t * 2] : least;
            most = ids[t * 2] > most ? ids[t * 2] : most;
        }
        free(data);
    }
    assert_in_range(least, 4097, 4097 + 60);
    assert_in_range(most, 69632 - 60, 69632);
    learner_negatives_free(negatives);
}

/* The model without goods: its items are categories. */
static void a_part_of_the_fields_is_enough(void **state)
{
    (void)state;
    struct learner_negatives *negatives = make(8, false, 2);
    struct data *data = empty(9);
    fill(negatives, 1, 300);
    add_group(data, 1, false, 1, 100);
    const uint64_t *ids = draw(negatives, data); /* (N,1) */
    assert_true(ids[0] == LEARNER_ABSENT);
    for (unsigned t = 1; t < 100; t++)
        assert_true(ids[t] == LEARNER_ABSENT ||
                    (ids[t] > 1000100 && ids[t] <= 1000300));
    free(data);
    learner_negatives_free(negatives);
}

/* An item whose name is absent is the unknown one, never a cell left out. */
static void an_absent_name_is_unknown(void **state)
{
    (void)state;
    struct learner_negatives *negatives = make(9, false, 0);
    struct data *data = empty(9);
    for (unsigned i = 0; i < 256; i++) {
        struct data *one = empty(0);
        add_group(one, LEARNER_ABSENT, true, 0, 0);
        learner_negatives_add(negatives, &one->batch);
        free(one);
    }
    add_group(data, 1, false, 1, 2);
    assert_int_equal(draw(negatives, data)[2], 0);
    free(data);
    learner_negatives_free(negatives);
}

/* The first item field has two places; either may be absent, both never make
 * a cell that looks left out. */
static void a_multi_hot_name_is_its_first_value(void **state)
{
    (void)state;
    struct learner_schema schema;
    struct learner_model_config config;
    struct learner_model *model;
    struct learner_negatives *negatives;
    struct base_error error;
    make_schema(&schema);
    schema.fields[1].more = 1;
    schema.fields[2].continues = true;
    schema.fields[2].table = 1;
    schema.fields[3].table = 2;
    schema.table_count = 3;
    learner_model_config_default(&config);
    if (learner_model_new(&schema, &config, &model, &error) ||
        learner_negatives_new(model, &schema, &negatives, &error))
        fail_msg("%s", error.text);
    learner_model_free(model);
    struct data *pool = empty(0), *data = empty(5);
    for (unsigned i = 0; i < 300; i++) {
        add_group(pool, LEARNER_ABSENT, true, 0, 0);
        pool->ids[i * F + 2] = i < 150 ? 7 : LEARNER_ABSENT;
    }
    learner_negatives_add(negatives, &pool->batch);
    add_group(data, 1, false, 7, 30); /* 7 is in its history */
    add_group(data, 1, false, 100, 30);
    const uint64_t *ids = draw(negatives, data);
    unsigned sevens = 0;
    for (unsigned t = 1; t < 30; t++)
        assert_true((ids[t * 2] == 0 || t == 0) &&
                    ids[t * 2 + 1] == LEARNER_ABSENT);
    for (unsigned t = 31; t < 60; t++)
        sevens += ids[t * 2] == LEARNER_ABSENT && ids[t * 2 + 1] == 7;
    assert_in_range(sevens, 5, 24);
    free(pool);
    free(data);
    learner_negatives_free(negatives);
}

static void what_was_saved_draws_the_same(void **state)
{
    (void)state;
    struct base_error error;
    struct data *data = empty(5);
    add_group(data, 1, false, 1000000, 500);
    const uint32_t sizes[] = {0, 300, 4096};
    for (unsigned i = 0; i < 3; i++) {
        struct learner_negatives *saved = make(10, false, 0);
        struct learner_negatives *loaded = make(10, false, 0);
        for (unsigned k = 0; k < (i == 2 ? 17u : 1u); k++)
            fill(saved, 1 + k * 4096, sizes[i]);
        size_t size = learner_negatives_size(saved);
        uint8_t *bytes = malloc(size + 1);
        learner_negatives_save(saved, bytes);
        fill(loaded, 7, 100); /* what was there goes */
        assert_int_equal(
            learner_negatives_load(loaded, bytes, size, &error), BASE_OK);
        for (unsigned k = 0; k < 2; k++) {
            const uint64_t *ids = draw(saved, data);
            if (ids)
                assert_memory_equal(draw(loaded, data), ids, 500 * 2 * 8);
            else
                assert_null(draw(loaded, data));
            fill(saved, 100000, 300); /* and goes on the same */
            fill(loaded, 100000, 300);
        }
        for (size_t wrong = 0; wrong < size; wrong = wrong * 2 + 1)
            assert_int_equal(
                learner_negatives_load(loaded, bytes, wrong, &error),
                BASE_CORRUPT);
        assert_int_equal(
            learner_negatives_load(loaded, bytes, size + 1, &error),
            BASE_CORRUPT);
        bytes[8]++;
        assert_int_equal(learner_negatives_load(loaded, bytes, size, &error),
                         BASE_CORRUPT);
        assert_int_equal(learner_negatives_count(loaded),
                         learner_negatives_count(saved));
        free(bytes);
        learner_negatives_free(saved);
        learner_negatives_free(loaded);
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_positives_enter_and_256_are_needed),
        cmocka_unit_test(never_from_the_users_own_sequence),
        cmocka_unit_test(any_only_avoids_the_next_behavior),
        cmocka_unit_test(without_another_item_the_cell_is_left_out),
        cmocka_unit_test(draws_do_not_depend_on_the_batch),
        cmocka_unit_test(all_entries_are_drawn_alike),
        cmocka_unit_test(the_pool_forgets_the_oldest),
        cmocka_unit_test(a_part_of_the_fields_is_enough),
        cmocka_unit_test(an_absent_name_is_unknown),
        cmocka_unit_test(a_multi_hot_name_is_its_first_value),
        cmocka_unit_test(what_was_saved_draws_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
