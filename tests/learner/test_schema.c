/* SPDX-License-Identifier: Apache-2.0 */
/* Ids, validation of schemas and model configurations, the hash that guards
 * carrying weights over, and the table of tensors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "learner/model.h"

static struct learner_schema good(void)
{
    return (struct learner_schema){
        .field_count = 5, .profile_count = 1, .item_count = 2,
        .context_count = 2, .table_count = 4,
        .fields = {{"gender", LEARNER_PROFILE, 0}, {"goods", LEARNER_ITEM, 1},
                   {"shop", LEARNER_ITEM, 2}, {"pid", LEARNER_CONTEXT, 3},
                   {"slot", LEARNER_CONTEXT, 3}},
        .tables = {{"gender", 4}, {"goods", 18}, {"shop", 12}, {"pid", 3}}};
}

static struct learner_model_config config(void)
{
    struct learner_model_config made;
    learner_model_config_default(&made);
    return made;
}

/* Values by Python's xxhash: xxh3_64(text, seed=xxh3_64("goods")). */
static void ids_are_xxh3(void **state)
{
    (void)state;
    uint64_t seed = learner_table_seed("goods");
    assert_true(seed == 486764128139422060u);
    assert_true(learner_id(seed, "42", 2) == 1251040808406294986u);
    assert_true(learner_id_of_int(seed, 42) == 1251040808406294986u);
    assert_true(learner_id_of_int(seed, -7) == 272429738674681078u);
    assert_true(learner_id(seed, "\xe5\x95\x86\xe5\x93\x81", 6) ==
                4926366341471787788u);
    assert_true(learner_id(seed, "", 0) == 6140012930583072169u);
    assert_true(learner_id_of_int(seed, INT64_MIN) ==
                learner_id(seed, "-9223372036854775808", 20));
    assert_true(learner_id(learner_table_seed("shop"), "42", 2) !=
                learner_id(seed, "42", 2));
}

/* Value by the C library: XXH3_64bits_withSeed over 7 and 9. */
static void crosses_have_ids(void **state)
{
    (void)state;
    assert_true(learner_cross_id(7, 9) == 7687582386769854822u);
    assert_true(learner_cross_id(9, 7) != learner_cross_id(7, 9));
    assert_true(learner_cross_id(0, 9) == 0 && learner_cross_id(7, 0) == 0);
    assert_true(learner_cross_id(LEARNER_ABSENT, 9) == 0);
    assert_true(learner_cross_id(7, LEARNER_ABSENT) == 0);
}

static void rejected(const struct learner_schema *schema, const char *why)
{
    struct base_error error;
    struct learner_model *model;
    struct learner_model_config usual = config();
    assert_int_equal(learner_schema_check(schema, &error), BASE_CONFIG);
    if (!strstr(error.text, why))
        fail_msg("'%s' does not say '%s'", error.text, why);
    assert_int_equal(learner_model_new(schema, &usual, &model, NULL),
                     BASE_CONFIG);
    assert_null(model);
}

static void bad_schemas_are_rejected(void **state)
{
    (void)state;
    struct learner_schema s = good();
    assert_int_equal(learner_schema_check(&s, NULL), 0);
    s.field_count = 4;
    rejected(&s, "4 fields in groups of 5");
    s = good(), s.item_count = 0, s.profile_count = 3;
    rejected(&s, "item group");
    s = good(), s.fields[0].group = LEARNER_ITEM;
    rejected(&s, "gender");
    s = good(), s.fields[2].table = 4;
    rejected(&s, "no table 4");
    s = good(), s.fields[4] = s.fields[3];
    rejected(&s, "pid stands twice");
    s = good(), s.tables[1].dimension = 0;
    rejected(&s, "goods: dimension 0");
    s = good(), s.tables[1].dimension = LEARNER_DIMENSION_MAX + 1;
    rejected(&s, "dimension 129");
    s = good(), s.tables[3] = s.tables[0];
    rejected(&s, "gender stands twice");
    s = good(), s.table_count = 0;
    rejected(&s, "0 tables");
    s = good(), s.fields[1].name[0] = 0;
    rejected(&s, "field 1: name");
    s = good(), s.fields[1].more = 1;
    rejected(&s, "goods: a multi-hot field");
    s = good(), s.fields[2].continues = true;
    rejected(&s, "shop: a multi-hot field");
    s = good(), s.fields[3].more = 1, s.fields[4].continues = true;
    assert_int_equal(learner_schema_check(&s, NULL), 0);
    s.fields[4].table = 2;
    rejected(&s, "pid: a multi-hot field");
    s = good(), memset(s.tables[2].name, 'x', LEARNER_NAME_MAX);
    rejected(&s, "table 2: name");
}

static void bad_configurations_are_rejected(void **state)
{
    (void)state;
    struct learner_schema schema = good();
    struct learner_model *model;
    struct learner_model_config bad[8];
    for (unsigned i = 0; i < 8; i++)
        bad[i] = config();
    bad[0].kind = (enum learner_kind)9;
    bad[1].activation = (enum learner_activation)9;
    bad[2].mlp_hidden[1] = 0;
    bad[3].attention_hidden[0] = 5000;
    bad[4].batch_size = 0;
    bad[5].shards = 0;
    bad[6].learning_rate = NAN;
    bad[7].row_limit = -1;
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(learner_model_new(&schema, &bad[i], &model, NULL),
                         BASE_CONFIG);
}

static void the_hash_follows_what_weights_mean(void **state)
{
    (void)state;
    struct learner_schema schema = good();
    struct learner_model_config usual = config(), c = config();
    uint64_t hash = learner_config_hash(&schema, &usual);
    c.learning_rate = 0.5f, c.seed = 9, c.shards = 2, c.batch_size = 7;
    assert_true(learner_config_hash(&schema, &c) == hash);
    /* .. but other weights come of it */
    assert_true(learner_training_hash(&schema, &c) !=
                learner_training_hash(&schema, &usual));
    c = usual, c.row_limit = 0.5f, c.fields_off = 1;
    assert_true(learner_training_hash(&schema, &c) !=
                learner_training_hash(&schema, &usual));
    c.row_limit = usual.row_limit;
    assert_true(learner_training_hash(&schema, &c) ==
                learner_training_hash(&schema, &usual));
    struct learner_model_config others[4] = {usual, usual, usual, usual};
    others[0].activation = LEARNER_PRELU;
    others[1].attention_softmax = true;
    others[2].attention_hidden[1]++;
    others[3].mlp_hidden[0]++;
    for (unsigned i = 0; i < 4; i++)
        assert_true(learner_config_hash(&schema, &others[i]) != hash);
    struct learner_schema s[5] = {schema, schema, schema, schema, schema};
    strcpy(s[0].fields[0].name, "sex");
    s[1].fields[4].table = 0;
    s[2].tables[1].dimension++;
    strcpy(s[3].tables[1].name, "items");
    s[4].fields[3].group = LEARNER_ITEM;
    for (unsigned i = 0; i < 5; i++)
        assert_true(learner_config_hash(&s[i], &usual) != hash);
}

/* The widths by hand: P 4, D 30, C 6, X = 4 + 6 + 4 * 30 = 130. */
static void tensors_have_their_shapes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t rows, columns;
    } want[] = {
        {"bn.gamma", 130, 1}, {"bn.beta", 130, 1},
        {"attention.0.weight", 120, 80}, {"attention.0.bias", 80, 1},
        {"attention.1.weight", 80, 40}, {"attention.1.bias", 40, 1},
        {"attention.2.weight", 40, 1}, {"attention.2.bias", 1, 1},
        {"mlp.0.weight", 130, 200}, {"mlp.0.bias", 200, 1},
        {"mlp.1.weight", 200, 80}, {"mlp.1.bias", 80, 1},
        {"mlp.2.weight", 80, 2}, {"mlp.2.bias", 2, 1},
        {"mlp.0.alpha", 200, 1}, {"mlp.1.alpha", 80, 1},
        {"mlp.0.mean", 200, 1}, {"mlp.0.variance", 200, 1},
        {"mlp.1.mean", 80, 1}, {"mlp.1.variance", 80, 1}};
    struct learner_schema schema = good();
    struct learner_model_config c = config();
    struct learner_model *model;
    assert_int_equal(learner_model_new(&schema, &c, &model, NULL), 0);
    assert_int_equal(learner_tensor_count(model), 20);
    size_t end = 0, trained = 0;
    for (unsigned i = 0; i < 20; i++) {
        const struct learner_tensor *t = learner_tensor(model, i);
        size_t size = (size_t)want[i].rows * want[i].columns;
        assert_string_equal(t->name, want[i].name);
        assert_int_equal(t->shape[0], want[i].rows);
        assert_int_equal(t->shape[1], want[i].columns);
        assert_int_equal(t->trained, i < 16);
        assert_true(t->offset == (end + 15) / 16 * 16);
        end = t->offset + size;
        trained += t->trained ? size : 0;
    }
    assert_true(learner_dense_size(model) == (end + 15) / 16 * 16);
    assert_true(learner_dense_trained(model) == trained);
    assert_memory_equal(learner_model_schema(model), &schema, sizeof schema);
    assert_int_equal(learner_model_get_config(model)->batch_size, 128);
    learner_model_free(model);
    c.activation = LEARNER_PRELU; /* no statistics */
    assert_int_equal(learner_model_new(&schema, &c, &model, NULL), 0);
    assert_int_equal(learner_tensor_count(model), 16);
    learner_model_free(model);
    learner_model_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_xxh3),
        cmocka_unit_test(crosses_have_ids),
        cmocka_unit_test(bad_schemas_are_rejected),
        cmocka_unit_test(bad_configurations_are_rejected),
        cmocka_unit_test(the_hash_follows_what_weights_mean),
        cmocka_unit_test(tensors_have_their_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
