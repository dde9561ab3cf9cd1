/* SPDX-License-Identifier: Apache-2.0 */
/* The table of tensors of every kind, tables and fields of a model, what may
 * be configured together, and the hash's view of switches. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "learner/model.h"

/* The features of mouna99/dien: uid, goods and category, all 18 wide. */
static struct learner_schema authors(void)
{
    return (struct learner_schema){
        .field_count = 3, .profile_count = 1, .item_count = 2,
        .table_count = 3,
        .fields = {{.name = "uid", .group = LEARNER_PROFILE, .table = 0},
                   {.name = "mid", .group = LEARNER_ITEM, .table = 1},
                   {.name = "cat", .group = LEARNER_ITEM, .table = 2}},
        .tables = {{"uid", 18}, {"mid", 18}, {"cat", 18}}};
}

static struct learner_model *made(const struct learner_schema *schema,
                                  const struct learner_model_config *config)
{
    struct learner_model *model;
    struct base_error error;
    if (learner_model_new(schema, config, &model, &error))
        fail_msg("%s", error.text);
    return model;
}

static struct learner_model *reference(enum learner_kind kind)
{
    struct learner_schema schema = authors();
    struct learner_model_config config;
    learner_model_config_profile(&config, LEARNER_REFERENCE, kind);
    return made(&schema, &config);
}

/* MODEL 1.8 adds DIEN's up to 94,059; the others by hand from 1.14. */
static void kinds_have_their_parameters(void **state)
{
    (void)state;
    const size_t attention = 144 * 80 + 80 + 80 * 40 + 40 + 41;
    const size_t gru = 72 * 72 + 72 + 72 * 36 + 36, query = 36 * 36 + 72;
    const size_t tail = 200 + 200 + 200 * 80 + 80 + 80 + 80 * 2 + 2;
    const size_t auxiliary =
        144 + 72 * 100 + 100 + 100 * 50 + 50 + 50 * 2 + 2;
    const struct {
        enum learner_kind kind;
        size_t count;
    } want[] = {
        {LEARNER_LR, 1},
        {LEARNER_BASE, 180 + 90 * 200 + tail},
        {LEARNER_WIDE_DEEP, 180 + 90 * 200 + tail + 108 * 2 + 2},
        {LEARNER_PNN, 252 + 126 * 200 + tail},
        {LEARNER_DEEPFM, 180 + 90 * 200 + tail + 1},
        {LEARNER_DIN, 324 + 162 * 200 + tail + attention},
        {LEARNER_GRU_ATT,
         324 + 162 * 200 + tail + attention + 2 * gru + query},
        {LEARNER_DIEN,
         324 + 162 * 200 + tail + attention + 2 * gru + query + auxiliary},
    };
    for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
        struct learner_model *model = reference(want[i].kind);
        assert_int_equal(learner_dense_trained(model), want[i].count);
        learner_model_free(model);
    }
    struct learner_model *dien = reference(LEARNER_DIEN);
    assert_int_equal(learner_dense_trained(dien), 94059);
    learner_model_free(dien);
}

static const struct learner_tensor *named(const struct learner_model *model,
                                          const char *name)
{
    for (unsigned i = 0; i < learner_tensor_count(model); i++)
        if (strcmp(learner_tensor(model, i)->name, name) == 0)
            return learner_tensor(model, i);
    return NULL;
}

static void assert_shape(const struct learner_model *model, const char *name,
                         uint32_t rows, uint32_t columns)
{
    const struct learner_tensor *tensor = named(model, name);
    if (!tensor)
        fail_msg("there is no %s", name);
    assert_int_equal(tensor->shape[0], rows);
    assert_int_equal(tensor->shape[1], columns);
}

static void switches_shape_the_tensors(void **state)
{
    (void)state;
    struct learner_schema schema = authors();
    struct learner_model_config config;
    learner_model_config_profile(&config, LEARNER_STREAMING, LEARNER_DIEN);
    config.hidden = 20;
    config.evolution = LEARNER_AGRU;
    config.activation = LEARNER_RELU;
    struct learner_model *model = made(&schema, &config);
    assert_shape(model, "query.weight", 36, 20);
    assert_shape(model, "attention.0.weight", 80, 80);
    assert_shape(model, "gru1.gates.weight", 56, 40);
    assert_shape(model, "gru2.gates.weight", 40, 20);
    assert_shape(model, "gru2.candidate.weight", 40, 20);
    assert_shape(model, "auxiliary.0.weight", 56, 100);
    assert_shape(model, "mlp.0.weight", 18 + 3 * 36 + 20, 200);
    assert_null(named(model, "mlp.0.alpha"));
    assert_null(named(model, "mlp.0.mean"));
    learner_model_free(model);
    config.attention = LEARNER_ATTENTION_INNER;
    config.auxiliary = LEARNER_AUXILIARY_NONE;
    model = made(&schema, &config);
    assert_shape(model, "query.weight", 36, 20);
    assert_null(named(model, "query.bias"));
    assert_null(named(model, "attention.0.weight"));
    assert_null(named(model, "auxiliary.0.weight"));
    learner_model_free(model);
    learner_model_config_profile(&config, LEARNER_STREAMING, LEARNER_DIN);
    config.attention = LEARNER_ATTENTION_OUTER;
    model = made(&schema, &config);
    assert_shape(model, "attention.0.weight", 72 + 36 * 36, 80);
    learner_model_free(model);
}

/* Every tensor finds its place in the slab, and starts as it should. */
static void tensors_start_as_they_should(void **state)
{
    (void)state;
    struct learner_model *model = reference(LEARNER_DIEN);
    float *dense = aligned_alloc(64, learner_dense_size(model) * 4 + 64 -
                                         learner_dense_size(model) * 4 % 64);
    learner_model_start(model, dense);
    static const struct {
        const char *name;
        float value;
    } want[] = {
        {"bn.gamma", 1}, {"bn.beta", 0}, {"query.bias", 0},
        {"query.alpha", 0.1f}, {"gru1.gates.bias", 1},
        {"gru1.candidate.bias", 0}, {"gru2.gates.bias", 1},
        {"auxiliary.bn.gamma", 1}, {"mlp.0.alpha", 0},
        {"mlp.1.variance", 1},
    };
    for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
        const struct learner_tensor *tensor = named(model, want[i].name);
        for (size_t j = 0; j < tensor->shape[0]; j++)
            assert_true(dense[tensor->offset + j] == want[i].value);
    }
    const struct learner_tensor *glorot = named(model, "gru2.gates.weight");
    float top = 0, limit = sqrtf(6.0f / 144);
    for (size_t j = 0; j < 72 * 72; j++)
        top = fmaxf(top, fabsf(dense[glorot->offset + j]));
    assert_true(top <= limit && top > 0.99f * limit);
    free(dense);
    learner_model_free(model);
}

static struct learner_schema stream(void)
{
    return (struct learner_schema){
        .field_count = 7, .profile_count = 1, .item_count = 5,
        .context_count = 1, .table_count = 4,
        .fields = {{.name = "gender", .group = LEARNER_PROFILE, .table = 0},
                   {.name = "goods", .group = LEARNER_ITEM, .table = 1},
                   {.name = "genres", .group = LEARNER_ITEM, .table = 2,
                    .more = 2},
                   {.name = "genres.2", .group = LEARNER_ITEM, .table = 2,
                    .continues = true},
                   {.name = "genres.3", .group = LEARNER_ITEM, .table = 2,
                    .continues = true},
                   {.name = "cate", .group = LEARNER_ITEM, .table = 3},
                   {.name = "hour", .group = LEARNER_CONTEXT, .table = 0}},
        .tables = {{"small", 4}, {"goods", 18}, {"genre", 6}, {"cate", 10}}};
}

/* Fields switched off take their tables along; a multi-hot one goes whole. */
static void a_model_takes_its_fields(void **state)
{
    (void)state;
    struct learner_schema schema = stream();
    struct learner_model_config config;
    struct learner_model *model;
    learner_model_config_profile(&config, LEARNER_STREAMING, LEARNER_BASE);
    config.fields_off = 1u << 1 | 1u << 2;
    model = made(&schema, &config);
    const struct learner_schema *own = learner_model_schema(model);
    assert_int_equal(own->field_count, 3);
    assert_int_equal(own->item_count, 1);
    assert_int_equal(learner_model_column(model, 1), 5);
    assert_int_equal(learner_model_column(model, 2), 6);
    assert_int_equal(learner_model_tables(model), 2);
    assert_string_equal(learner_model_table(model, 1)->name, "cate");
    assert_shape(model, "bn.gamma", 4 + 10 + 4 + 10, 1);
    learner_model_free(model);
    config.fields_off = 0;
    model = made(&schema, &config); /* a multi-hot field is one embedding */
    assert_shape(model, "bn.gamma", 4 + 34 + 4 + 34, 1);
    learner_model_free(model);
    config.fields_off = 1u << 1 | 1u << 2 | 1u << 5;
    assert_int_equal(learner_model_new(&schema, &config, &model, NULL),
                     BASE_CONFIG);
    assert_null(model);
}

static void assert_width(enum learner_kind kind, uint16_t dimension,
                         unsigned tables, uint16_t goods)
{
    struct learner_schema schema = stream();
    struct learner_model_config config;
    learner_model_config_profile(&config, LEARNER_STREAMING, kind);
    config.dimension = dimension;
    struct learner_model *model = made(&schema, &config);
    assert_int_equal(learner_model_tables(model), tables);
    assert_int_equal(learner_model_table(model, 1)->dimension, goods);
    if (tables == 5) {
        assert_string_equal(learner_model_table(model, 4)->name,
                            LEARNER_CROSS_TABLE);
        assert_int_equal(learner_model_table(model, 4)->dimension, 1);
    }
    learner_model_free(model);
}

static void rows_are_as_wide_as_the_kind_needs(void **state)
{
    (void)state;
    assert_width(LEARNER_DIN, 0, 4, 18);
    assert_width(LEARNER_BASE, 7, 4, 7);
    assert_width(LEARNER_LR, 0, 4, 1);
    assert_width(LEARNER_WIDE_DEEP, 0, 5, 19);
    assert_width(LEARNER_DEEPFM, 8, 4, 9);
}

static void assert_refused(const struct learner_schema *schema,
                           const struct learner_model_config *config,
                           const char *why)
{
    struct base_error error;
    struct learner_model *model;
    assert_int_equal(learner_model_new(schema, config, &model, &error),
                     BASE_CONFIG);
    assert_null(model);
    if (!strstr(error.text, why))
        fail_msg("'%s' does not say '%s'", error.text, why);
}

static void what_does_not_go_together_is_refused(void **state)
{
    (void)state;
    struct learner_schema schema = stream();
    struct learner_model_config c;
    learner_model_config_profile(&c, LEARNER_STREAMING, LEARNER_DEEPFM);
    assert_refused(&schema, &c, "small has 4, goods has 18");
    learner_model_config_profile(&c, LEARNER_STREAMING, LEARNER_BASE);
    c.optimizer = LEARNER_FTRL;
    assert_refused(&schema, &c, "ftrl");
    c.optimizer = LEARNER_ADAM, c.auxiliary = LEARNER_AUXILIARY_INNER;
    assert_refused(&schema, &c, "auxiliary");
    learner_model_config_profile(&c, LEARNER_STREAMING, LEARNER_DIEN);
    c.auxiliary = LEARNER_AUXILIARY_INNER, c.hidden = 33;
    assert_refused(&schema, &c, "hidden 34");
    c.hidden = 0, c.dice_epsilon = 0;
    assert_refused(&schema, &c, "dice_epsilon is 0");
    learner_model_config_profile(&c, LEARNER_STREAMING, LEARNER_BASE);
    c.admission = 16;
    assert_refused(&schema, &c, "admission is 16");
    c.admission = 2, c.regularizer = (enum learner_regularizer)6;
    assert_refused(&schema, &c, "regularizer 6");
    c.regularizer = LEARNER_L2, c.optimizer = LEARNER_SGD;
    c.learning_rate = 0.5f, c.lambda = 3;
    assert_refused(&schema, &c, "lambda times learning_rate is 1.5");
    learner_model_config_profile(&c, LEARNER_STREAMING, LEARNER_WIDE_DEEP);
    strcpy(schema.tables[3].name, LEARNER_CROSS_TABLE);
    assert_refused(&schema, &c, "rename");
    learner_model_config_profile(&c, LEARNER_STREAMING, LEARNER_DIN);
    c.attention = LEARNER_ATTENTION_OUTER;
    c.attention_hidden[0] = 4096, c.dimension = 128;
    assert_refused(&schema, &c, "attention.0.weight");
}

/* Another kind's switches do not count, one's own do. */
static void the_hash_sees_what_the_kind_uses(void **state)
{
    (void)state;
    struct learner_schema schema = stream(), other = stream();
    struct learner_model_config usual, c;
    learner_model_config_profile(&usual, LEARNER_STREAMING, LEARNER_BASE);
    uint64_t hash = learner_config_hash(&schema, &usual);
    c = usual;
    c.attention = LEARNER_ATTENTION_INNER, c.evolution = LEARNER_AGRU;
    c.hidden = 9, c.wide = LEARNER_WIDE_DENSE, c.lambda = 1;
    c.regularizer = LEARNER_MBA, c.loss_scale = 3, c.dice_epsilon = 1;
    assert_true(learner_config_hash(&schema, &c) == hash);
    struct learner_model_config others[5] = {usual, usual, usual, usual,
                                             usual};
    others[0].pooling = LEARNER_MEAN;
    others[1].optimizer = LEARNER_SGD;
    others[2].fields_off = 1;
    others[3].dimension = 5;
    others[4].kind = LEARNER_PNN;
    for (unsigned i = 0; i < 5; i++)
        assert_true(learner_config_hash(&schema, &others[i]) != hash);
    other.fields[4].continues = false, other.fields[2].more = 1;
    assert_true(learner_config_hash(&other, &usual) != hash);
    learner_model_config_profile(&usual, LEARNER_STREAMING, LEARNER_DIEN);
    hash = learner_config_hash(&schema, &usual);
    struct learner_model_config dien[6] = {usual, usual, usual, usual, usual,
                                           usual};
    dien[0].evolution = LEARNER_AGRU;
    dien[1].auxiliary = LEARNER_AUXILIARY_NONE;
    dien[2].hidden = 12;
    dien[3].dice_epsilon = 1e-9f;
    dien[4].auxiliary_hidden[1] = 7;
    dien[5].attention = LEARNER_ATTENTION_OUTER;
    for (unsigned i = 0; i < 6; i++)
        assert_true(learner_config_hash(&schema, &dien[i]) != hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_have_their_parameters),
        cmocka_unit_test(switches_shape_the_tensors),
        cmocka_unit_test(tensors_start_as_they_should),
        cmocka_unit_test(a_model_takes_its_fields),
        cmocka_unit_test(rows_are_as_wide_as_the_kind_needs),
        cmocka_unit_test(what_does_not_go_together_is_refused),
        cmocka_unit_test(the_hash_sees_what_the_kind_uses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
