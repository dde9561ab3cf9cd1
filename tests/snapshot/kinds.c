/* SPDX-License-Identifier: Apache-2.0 */
/* Models of every kind; see kinds.h. */
#include "tests/snapshot/kinds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "learner/settings.h"
#include "tests/snapshot/fixture.h"

#define STREAMING LEARNER_STREAMING
#define REFERENCE LEARNER_REFERENCE

const struct kind_case kind_cases[] = {
    {"lr", LEARNER_LR, STREAMING, "", ""},
    {"lr-adam", LEARNER_LR, STREAMING, "optimizer=adam", "gender"},
    {"base", LEARNER_BASE, STREAMING, "", ""},
    {"base-mean", LEARNER_BASE, STREAMING, "pooling=mean activation=sigmoid",
     "genres"},
    {"base-relu", LEARNER_BASE, STREAMING, "activation=relu", "goods hour"},
    {"base-dice", LEARNER_BASE, REFERENCE, "activation=dice", ""},
    {"base-filter", LEARNER_BASE, STREAMING, "regularizer=filter admission=3",
     ""},
    {"wide_deep", LEARNER_WIDE_DEEP, STREAMING, "", ""},
    {"wide_deep-off", LEARNER_WIDE_DEEP, STREAMING, "pooling=mean",
     "goods tags"},
    {"wide_deep-dense", LEARNER_WIDE_DEEP, REFERENCE, "", ""},
    {"pnn", LEARNER_PNN, STREAMING, "", ""},
    {"pnn-mean", LEARNER_PNN, STREAMING, "pooling=mean", ""},
    {"deepfm", LEARNER_DEEPFM, STREAMING, "", ""},
    {"deepfm-wide", LEARNER_DEEPFM, STREAMING, "dimension=6 pooling=mean",
     "cate_seen"},
    {"din", LEARNER_DIN, STREAMING, "", ""},
    {"din-off", LEARNER_DIN, STREAMING, "activation=prelu",
     "gender age goods pid hour tags cate_seen"},
    {"din-softmax", LEARNER_DIN, STREAMING, "attention_softmax=true", ""},
    {"din-outer", LEARNER_DIN, STREAMING, "attention=outer dimension=3", ""},
    {"din-inner", LEARNER_DIN, STREAMING, "attention=inner", ""},
    {"din-code", LEARNER_DIN, REFERENCE, "", ""},
    {"gru_att", LEARNER_GRU_ATT, STREAMING, "", ""},
    {"gru_att-inner", LEARNER_GRU_ATT, STREAMING, "attention=inner hidden=11",
     ""},
    {"gru_att-code", LEARNER_GRU_ATT, REFERENCE, "", ""},
    {"dien", LEARNER_DIEN, STREAMING, "", ""},
    {"dien-code", LEARNER_DIEN, REFERENCE, "", ""},
    {"dien-agru", LEARNER_DIEN, STREAMING, "evolution=agru auxiliary=none", ""},
    {"dien-aigru", LEARNER_DIEN, STREAMING, "evolution=aigru hidden=21", ""},
    {"dien-inner", LEARNER_DIEN, STREAMING,
     "attention=inner auxiliary=inner attention_softmax=false", "shop"},
    {"dien-outer", LEARNER_DIEN, STREAMING, "attention=outer hidden=5", ""},
};
const unsigned kind_case_count = sizeof kind_cases / sizeof kind_cases[0];

static void set_switches(const char *text, struct learner_model_config *model)
{
    static const struct base_setting_place nowhere = {.file = "case"};
    while (*text) {
        char word[80] = "";
        struct base_error error;
        size_t size = strcspn(text, " ");
        memcpy(word, text, size);
        char *value = strchr(word, '=');
        *value++ = '\0';
        int index = base_settings_find(&learner_model_settings, word);
        assert_true(index >= 0);
        if (base_settings_set(&learner_model_settings, (unsigned)index, value,
                              &nowhere, model, &error))
            fail_msg("%s", error.text);
        text += size + strspn(text + size, " ");
    }
}

static uint64_t fields_off(const char *text,
                           const struct learner_schema *schema)
{
    uint64_t bits = 0;
    unsigned found = 0, words = 0;
    for (const char *at = text; *at; at += strspn(at, " ")) {
        size_t size = strcspn(at, " ");
        for (unsigned i = 0; i < schema->field_count; i++)
            if (strlen(schema->fields[i].name) == size &&
                strncmp(schema->fields[i].name, at, size) == 0) {
                bits |= UINT64_C(1) << i;
                found++;
            }
        words++;
        at += size;
    }
    assert_int_equal(found, words);
    return bits;
}

void kind_train(const struct kind_case *one, struct run *run)
{
    const struct stream_config stream = {
        .seed = 5,
        .batch_size = RUN_BATCH,
        .group_max = 4,
        .lengths = STREAM_GEOMETRIC,
        .history_mean = 6,
        .history_max = 20,
        .users = 100,
        .goods = 60,
        .cates = 9,
        .interests = 4,
        .rich = true,
    };
    run_init(run, false);
    struct learner_model_config *model = &run->config.model;
    run_stream(run, &stream);
    learner_model_config_profile(model, one->profile, one->kind);
    model->batch_size = RUN_BATCH;
    model->learning_rate = 0.02f;
    set_switches("mlp_hidden_1=24 mlp_hidden_2=10 attention_hidden_1=12 "
                 "attention_hidden_2=7 auxiliary_hidden_1=9 "
                 "auxiliary_hidden_2=8 row_limit=0.3",
                 model);
    set_switches(one->switches, model);
    model->fields_off = fields_off(one->fields_off, &run->config.schema);
    run_to(run, 24 * RUN_BATCH);
}

void kind_publish(const struct run *run, const char *folder)
{
    struct snapshot_publisher *publisher = fixture_publisher(folder);
    struct snapshot_announcement said;
    struct base_error error;
    if (snapshot_publish(publisher, run->path, NULL, &said, &error))
        fail_msg("%s", error.text);
    snapshot_publisher_free(publisher);
}
