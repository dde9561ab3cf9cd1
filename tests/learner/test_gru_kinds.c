/* SPDX-License-Identifier: Apache-2.0 */
/* What is particular to the recurrent kinds as whole models: the size of the
 * reference DIEN, what the auxiliary loss is divided by, cells left out,
 * histories that are too long. test_net.c has what they share with the
 * others. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/learner/net_case.h"

static const struct net_variant dien = {"dien", LEARNER_DIEN,
                                        LEARNER_STREAMING, NULL};

static size_t trained_parameters(enum learner_evolution evolution)
{
    struct learner_schema schema = {
        .field_count = 3, .profile_count = 1, .item_count = 2,
        .table_count = 3,
        .fields = {{"uid", LEARNER_PROFILE, 0, 0, false},
                   {"mid", LEARNER_ITEM, 1, 0, false},
                   {"cat", LEARNER_ITEM, 2, 0, false}},
        .tables = {{"uid", 18}, {"mid", 18}, {"cat", 18}}};
    struct learner_model_config config;
    struct learner_model *model;
    learner_model_config_profile(&config, LEARNER_REFERENCE, LEARNER_DIEN);
    config.evolution = evolution;
    assert_int_equal(learner_model_new(&schema, &config, &model, NULL), 0);
    size_t trained = learner_dense_trained(model);
    learner_model_free(model);
    return trained;
}

/* AGRU has no update gate: 72 x 36 weights and 36 biases less. */
static void reference_has_its_parameters(void **state)
{
    (void)state;
    assert_int_equal(trained_parameters(LEARNER_AUGRU_CODE), 94059);
    assert_int_equal(trained_parameters(LEARNER_AUGRU), 94059);
    assert_int_equal(trained_parameters(LEARNER_AIGRU), 94059);
    assert_int_equal(trained_parameters(LEARNER_AGRU), 94059 - 73 * 36);
}

static void make(struct net_case *c)
{
    struct net_case_spec spec = net_case_usual(&dien);
    net_case_init(c, &spec);
}

/* Largest |gradient| of the tensors whose name starts with `name`. */
static float largest(const struct net_case *c, const char *name)
{
    float top = 0;
    for (unsigned i = 0; i < learner_tensor_count(c->model); i++) {
        const struct learner_tensor *tensor = learner_tensor(c->model, i);
        size_t size = (size_t)tensor->shape[0] * tensor->shape[1];
        if (strncmp(tensor->name, name, strlen(name)) != 0)
            continue;
        for (size_t j = 0; j < size; j++)
            top = fmaxf(top, fabsf(c->ddense[tensor->offset + j]));
    }
    return top;
}

static void leave_out(struct net_case *c, uint32_t behavior)
{
    size_t f = learner_model_schema(c->model)->item_count;
    memset(c->negative_index + behavior * f, 0xff,
           f * sizeof *c->negative_index);
}

/* No pool yet, and no cell with a negative: no auxiliary loss, no gradient of
 * its network, and all else as without it. */
static void no_cell_no_auxiliary_loss(void **state)
{
    (void)state;
    struct net_case c;
    make(&c);
    net_case_train(&c, 1);
    double with = c.output.loss, auxiliary = c.output.auxiliary;
    double weight = (double)learner_model_get_config(c.model)->auxiliary_weight;
    assert_true(auxiliary > 0.5 && largest(&c, "auxiliary.") > 0);
    c.input.negative_index = NULL;
    net_case_train(&c, 1);
    assert_true(c.output.finite && c.output.auxiliary == 0);
    assert_true(largest(&c, "auxiliary.") == 0 && largest(&c, "gru1.") > 0);
    double without = c.output.loss;
    assert_true(fabs(with - without - weight * auxiliary) < 1e-9);
    c.input.negative_index = c.negative_index;
    for (uint32_t t = 0; t < c.history_begin[c.batch.groups]; t++)
        leave_out(&c, t);
    net_case_train(&c, 1);
    assert_true(c.output.finite && c.output.auxiliary == 0);
    assert_true(c.output.loss == without);
    net_case_fini(&c);
}

/* Cells of all samples; a group's count once for each of them. */
static double cells_of(const struct net_case *c)
{
    size_t f = learner_model_schema(c->model)->item_count;
    double cells = 0;
    for (uint32_t g = 0; g < c->batch.groups; g++)
        for (size_t t = c->history_begin[g] + 1; t < c->history_begin[g + 1];
             t++)
            if (c->negative_index[t * f] != LEARNER_NO_ROW)
                cells += c->group_begin[g + 1] - c->group_begin[g];
    return cells;
}

/* Over the cells there are, or over B (T - 1) where histories are padded. */
static void auxiliary_mean_is_over_cells(void **state)
{
    (void)state;
    struct net_case c;
    make(&c);
    net_case_train(&c, 1);
    double mean = c.output.auxiliary, cells = cells_of(&c);
    float gradient = largest(&c, "auxiliary.2.bias");
    uint32_t padding[LEARNER_FIELDS_MAX] = {0};
    c.input.padded_to = 9;
    c.input.padding_index = padding;
    net_case_train(&c, 1);
    double share = cells / ((double)c.batch.samples * 8);
    assert_true(share < 1);
    assert_true(fabs(c.output.auxiliary - mean * share) < 1e-9);
    assert_true(fabs((double)largest(&c, "auxiliary.2.bias") -
                     (double)gradient * share) < 1e-6 * (double)gradient);
    net_case_fini(&c);
}

/* A cell left out takes its loss with it, and the divisor. */
static void a_cell_left_out_is_not_counted(void **state)
{
    (void)state;
    struct net_case c;
    make(&c);
    net_case_train(&c, 1);
    double all = c.output.auxiliary * cells_of(&c), apart = 0;
    size_t f = learner_model_schema(c.model)->item_count;
    uint32_t count = c.history_begin[c.batch.groups];
    uint32_t *kept = c.negative_index, own[64 * 16];
    assert_true(count * f <= sizeof own / sizeof *own);
    for (uint32_t half = 0; half < 2; half++) {
        memcpy(own, kept, count * f * sizeof *own);
        c.negative_index = own;
        c.input.negative_index = own;
        for (uint32_t t = 0; t < count; t++)
            if (t % 2 == half)
                leave_out(&c, t);
        net_case_train(&c, 1);
        apart += c.output.auxiliary * cells_of(&c);
        c.negative_index = kept;
    }
    assert_true(fabs(apart - all) < 1e-9 * all);
    net_case_fini(&c);
}

static void too_long_is_refused(void **state)
{
    (void)state;
    struct net_case c;
    struct learner_scorer *scorer;
    struct base_error error;
    make(&c);
    assert_int_equal(learner_scorer_new(c.model, LEARNER_HISTORY_MAX, 2,
                                        &scorer, &error), BASE_OK);
    learner_scorer_free(scorer);
    assert_int_equal(learner_scorer_new(c.model, LEARNER_HISTORY_MAX + 1, 2,
                                        &scorer, &error), BASE_LIMIT);
    assert_null(scorer);
    assert_non_null(strstr(error.text, "1025"));
    net_case_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_has_its_parameters),
        cmocka_unit_test(no_cell_no_auxiliary_loss),
        cmocka_unit_test(auxiliary_mean_is_over_cells),
        cmocka_unit_test(a_cell_left_out_is_not_counted),
        cmocka_unit_test(too_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
