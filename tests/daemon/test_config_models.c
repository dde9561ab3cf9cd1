/* SPDX-License-Identifier: Apache-2.0 */
/* The models of a configuration: defaults by profile and kind, each key alone,
 * shadows, fields that a model leaves out, which model is published, and every
 * wrong combination with its place. */
#include "daemon/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "learner/settings.h"

static char folder[] = "/tmp/interestd-models-XXXXXX";
static char path[64];
static struct daemon_config config;
static struct base_error error;

static const char head[] =
    "kafka: {brokers: 'h:1'}\n"
    "features:\n"
    "  - {name: age, group: profile, dimension: 4, path: age}\n"
    "  - {name: goods, group: item, dimension: 8, path: goods}\n"
    "  - {name: shop, group: item, dimension: 8, path: shop}\n"
    "  - {name: pid, group: context, dimension: 4, path: pid}\n";

static enum base_status load_with(const char *more, const char *override)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    fprintf(out, "%s%s", head, more);
    fclose(out);
    return daemon_config_load_with(path, &override, override ? 1 : 0, &config,
                                   &error);
}

static enum base_status load(const char *more)
{
    return load_with(more, NULL);
}

static void good(const char *more)
{
    if (load(more))
        fail_msg("%s", error.text);
}

/* The text behind "<path>" must begin so. */
static void bad(const char *more, const char *text)
{
    assert_int_equal(load(more), BASE_CONFIG);
    assert_memory_equal(error.text, path, strlen(path));
    if (strncmp(error.text + strlen(path), text, strlen(text)) != 0)
        assert_string_equal(error.text + strlen(path), text);
}

static void same(const struct learner_model_config *a,
                 const struct learner_model_config *b)
{
    for (unsigned i = 0; i < learner_model_settings.count; i++) {
        const struct base_setting *setting = &learner_model_settings.table[i];
        if (memcmp((const char *)a + setting->offset,
                   (const char *)b + setting->offset, setting->size))
            fail_msg("%s differs", setting->name);
    }
}

/* Every kind in both profiles, without a further key, is what the learner's
 * own function says. */
static void test_profiles_and_kinds(void **state)
{
    (void)state;
    for (int profile = 0; profile < 2; profile++)
        for (int kind = 0; kind < LEARNER_KINDS; kind++) {
            struct learner_model_config expected;
            char more[1200];
            snprintf(more, sizeof more,
                     "learner: {profile: %s, kind: %s, dimension: 8}\n",
                     learner_profile_words[profile], learner_kind_words[kind]);
            learner_model_config_profile(&expected,
                                         (enum learner_profile)profile,
                                         (enum learner_kind)kind);
            expected.dimension = 8; /* deepfm's tables must be equal */
            good(more);
            same(&config.learner.model, &expected);
        }
}

/* One key of the file changes that member and no other. */
static void test_each_key_alone(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "pooling: mean",
        "attention: outer",
        "evolution: agru",
        "auxiliary: inner",
        "auxiliary_weight: 0.5",
        "dice_epsilon: 1e-7",
        "auxiliary_negatives: any",
        "optimizer: sgd",
        "regularizer: mba",
        "lambda: 0.5",
        "admission: 7",
        "eviction_ms: 1000",
        "hidden: 16",
        "dimension: 8",
        "dice_statistics: batch",
        "probability_epsilon: 1e-6",
        "loss_scale: 0.5",
        "adam_rows: every",
        "rate_decay: 0.5",
        "rate_decay_samples: 9",
        "row_limit: 0.1",
        "row_vocabulary: 9",
        "activation: relu",
        "seed: 4294967297",
        "shards: 7",
        "attention_softmax: false",
        "ftrl_l1: 0.25",
    };
    struct learner_model_config plain;
    learner_model_config_profile(&plain, LEARNER_STREAMING, LEARNER_DIEN);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        char more[200];
        unsigned different = 0;
        size_t size = strcspn(lines[i], ":");
        snprintf(more, sizeof more, "learner: {kind: dien, %s}\n", lines[i]);
        good(more);
        for (unsigned k = 0; k < learner_model_settings.count; k++) {
            const struct base_setting *setting =
                &learner_model_settings.table[k];
            if (!memcmp((const char *)&plain + setting->offset,
                        (const char *)&config.learner.model + setting->offset,
                        setting->size))
                continue;
            different++;
            assert_int_equal(strlen(setting->name), size);
            assert_memory_equal(setting->name, lines[i], size);
        }
        assert_int_equal(different, 1);
    }
}

static void test_main(void **state)
{
    (void)state;
    good("");
    assert_string_equal(config.learner.name, "main");
    assert_string_equal(config.publish.model, "main");
    assert_int_equal(config.shadow_count, 0);
    assert_int_equal(config.learner.model.kind, LEARNER_DIN);
    good("learner: {fields_off: [shop, pid], threads: 3, name: a}\n");
    assert_true(config.learner.model.fields_off == (1u << 2 | 1u << 3));
    assert_int_equal(config.learner.threads, 3);
    assert_string_equal(config.publish.model, "a");
    assert_int_equal(load_with("", "learner.fields_off=age,shop"), BASE_OK);
    assert_true(config.learner.model.fields_off == (1u << 0 | 1u << 2));
    assert_int_equal(load_with("", "learner.fields_off=[age]"), BASE_OK);
    assert_true(config.learner.model.fields_off == 1);
}

static const char shadows[] =
    "learner:\n"
    "  batch_size: 64\n"
    "  shards: 2\n"
    "  threads: 2\n"
    "  seed: 5\n"
    "  window_ms: 7000\n"
    "  checkpoint_seconds: 9\n"
    "  shadow:\n"
    "    - {name: base, kind: base}\n"
    "    - {name: ref, profile: reference, fields_off: [goods], seed: 7,\n"
    "       batch_size: 32, threads: 4}\n";

static void test_shadows(void **state)
{
    (void)state;
    char expected[128];
    good(shadows);
    assert_int_equal(config.shadow_count, 2);
    const struct learner_trainer_config *base = &config.shadows[0];
    const struct learner_trainer_config *ref = &config.shadows[1];
    assert_string_equal(base->name, "base");
    assert_int_equal(base->model.kind, LEARNER_BASE);
    assert_int_equal(base->model.activation, LEARNER_PRELU);
    assert_int_equal(base->model.batch_size, 64);
    assert_int_equal(base->model.shards, 2);
    assert_int_equal(base->model.seed, 1);
    assert_int_equal(base->threads, 1);
    assert_int_equal(base->window_ms, 7000);
    assert_int_equal(base->checkpoint_seconds, 9);
    assert_int_equal(ref->model.kind, LEARNER_DIN);
    assert_true(ref->model.dice_batch && ref->model.attention_softmax);
    assert_int_equal(ref->model.seed, 7);
    assert_int_equal(ref->model.batch_size, 32);
    assert_int_equal(ref->model.fields_off, 1 << 1);
    assert_int_equal(ref->threads, 4);
    assert_int_equal(config.ingest.batch_size, 64);
    assert_memory_equal(&ref->schema, &config.learner.schema,
                        sizeof ref->schema);
    snprintf(expected, sizeof expected, "%s/state/shadow/ref", folder);
    assert_string_equal(ref->folder, expected);
    assert_int_equal(load_with(shadows, "publish.model=ref"), BASE_OK);
    assert_string_equal(config.publish.model, "ref");
    good("learner: {shadow: []}\n");
    assert_int_equal(config.shadow_count, 0);
}

static void shadow(const char *line, const char *text)
{
    char more[512];
    snprintf(more, sizeof more, "learner:\n  shadow:\n    - %s\n", line);
    bad(more, text);
}

static void test_wrong(void **state)
{
    (void)state;
    bad("learner: {fields_off: [shop, sho]}\n",
        ":7:23: learner.fields_off: there is no feature \"sho\"; there are "
        "age, goods, shop, pid");
    bad("learner: {fields_off: [goods, shop]}\n",
        ":7:23: learner.fields_off: model: fields_off");
    bad("learner: {kind: dien2}\n",
        ":7:17: learner.kind: \"dien2\" is not allowed: din, lr, base, ");
    bad("learner:\n  optimizer: ftrl\n",
        ":8:14: learner.optimizer: model: optimizer ftrl is for kind lr");
    bad("learner:\n  kind: base\n  auxiliary: network\n",
        ":8:9: learner.kind: model: the auxiliary loss needs the states");
    bad("learner: {kind: deepfm}\n", ":7:17: learner.kind: model: ");
    bad("learner: {name: a b}\n",
        ":7:17: learner.name: \"a b\" is not allowed: letters");
    bad("publish: {model: x}\n",
        ":7:18: publish.model: there is no model \"x\": the main one is "
        "\"main\"");
    bad("learner: {shadow: 3}\n", ":7:19: learner.shadow: learner.shadow is a");
    bad("learner: {shadow: [a]}\n", ":7:20: a list entry must be a mapping");
    shadow("{kind: base}", ":9:7: learner.shadow: must give \"name\"");
    shadow("{name: main}", ":9:14: name: another model has this name");
    shadow("{name: a}\n    - {name: a}", ":10:14: name: another model has");
    shadow("{name: a/b}", ":9:14: learner.shadow[0].name: \"a/b\" is not");
    shadow("{name: a, kind: lr, kind: lr}",
           ":9:33: kind: given twice in one model");
    shadow("{name: a, knd: lr}", ":9:22: knd: no such setting; did you mean "
                                 "\"kind\"?");
    shadow("{name: a, learner.kind: lr}", ":9:31: learner.kind: no such");
    shadow("{name: a, window_ms: 5}", ":9:28: window_ms: no such setting");
    shadow("{name: a, fields_off: [x]}",
           ":9:29: learner.shadow[0].fields_off: there is no feature \"x\"");
    shadow("{name: a, optimizer: ftrl}",
           ":9:28: learner.shadow[0].optimizer: model: optimizer ftrl");
    shadow("{name: a, seed: -1}",
           ":9:23: seed: \"-1\" is not allowed: a whole number from 0");
    assert_int_equal(load_with("", "learner.shadow=a"), BASE_CONFIG);
    assert_non_null(strstr(error.text, "given in the file only"));
}

static void test_many(void **state)
{
    (void)state;
    char more[2000] = "learner:\n  shadow:\n";
    for (int i = 0; i <= DAEMON_SHADOWS_MAX; i++) {
        if (i == DAEMON_SHADOWS_MAX)
            good(more);
        snprintf(more + strlen(more), sizeof more - strlen(more),
                 "    - {name: m%d, kind: lr}\n", i);
    }
    assert_int_equal(config.shadow_count, DAEMON_SHADOWS_MAX);
    bad(more, ":24:7: learner.shadow: more than 15 models");
}

/* What check-config prints: every switch with its value. */
static void test_print(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    good("learner: {kind: dien, fields_off: [shop], rate_decay: 0.25}\n");
    FILE *out = open_memstream(&text, &size);
    daemon_config_print_model(&config.learner, out);
    fclose(out);
    for (unsigned i = 0; i < learner_model_switches.count; i++) {
        char key[64];
        snprintf(key, sizeof key,
                 " %s: ", learner_model_switches.table[i].name);
        if (!strstr(text, key))
            fail_msg("no%sin %s", key, text);
    }
    assert_non_null(strstr(text, " auxiliary: network,"));
    assert_non_null(strstr(text, " rate_decay: 0.25,"));
    assert_non_null(strstr(text, " fields_off: [shop]\n"));
    for (char *line = text; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
    free(text);
    for (unsigned i = 0; daemon_config_shadow_setting(i); i++)
        assert_null(strchr(daemon_config_shadow_setting(i), '.'));
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/c.yaml", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return base_file_remove(folder, &error) != BASE_OK;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profiles_and_kinds),
        cmocka_unit_test(test_each_key_alone),
        cmocka_unit_test(test_main),
        cmocka_unit_test(test_shadows),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
