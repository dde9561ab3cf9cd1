/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration file: what a good one becomes, every way of being wrong
 * with its place, secrets, and the sample files, which must be complete. */
#include "daemon/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "learner/settings.h"

static char folder[] = "/tmp/interestd-config-XXXXXX";
static char path[64];
static struct daemon_config config;
static struct base_error error;

static const char minimal[] =
    "kafka: {brokers: 'h:1'}\n"
    "features:\n"
    "  - {name: pid, group: context, dimension: 4, path: pid}\n"
    "  - {name: goods, group: item, dimension: 8, path: goods}\n"
    "  - {name: age, group: profile, dimension: 2, path: age}\n";

static void write_text(const char *name, const char *text)
{
    char at[128];
    snprintf(at, sizeof at, "%s/%s", folder, name);
    FILE *out = fopen(at, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

/* Loads minimal + `more`. */
static enum base_status load(const char *more)
{
    char text[4096];
    snprintf(text, sizeof text, "%s%s", minimal, more);
    write_text("c.yaml", text);
    return daemon_config_load(path, &config, &error);
}

/* The text behind "<path>:" must begin so. */
static void expect(enum base_status status, const char *text)
{
    assert_int_equal(status, BASE_CONFIG);
    size_t length = strlen(path);
    assert_memory_equal(error.text, path, length);
    if (strncmp(error.text + length, text, strlen(text)) != 0)
        assert_string_equal(error.text + length, text);
}

static void test_minimal(void **state)
{
    (void)state;
    char expected[128];
    assert_int_equal(load(""), BASE_OK);
    const struct learner_schema *schema = &config.ingest.schema;
    assert_int_equal(schema->field_count, 3);
    assert_int_equal(schema->profile_count, 1);
    assert_int_equal(schema->item_count, 1);
    assert_int_equal(schema->context_count, 1);
    assert_string_equal(schema->fields[0].name, "age");
    assert_string_equal(schema->fields[1].name, "goods");
    assert_string_equal(schema->fields[2].name, "pid");
    assert_int_equal(schema->tables[schema->fields[1].table].dimension, 8);
    assert_memory_equal(schema, &config.learner.schema, sizeof *schema);
    const struct ingest_mapping *click = &config.ingest.topics[1].mapping;
    assert_string_equal(config.ingest.topics[0].mapping.fields[0], "age");
    assert_string_equal(click->fields[0], "");
    assert_string_equal(click->fields[1], "goods");
    snprintf(expected, sizeof expected, "%s/state/store", folder);
    assert_string_equal(config.ingest.folder, expected);
    snprintf(expected, sizeof expected, "%s/state/checkpoints", folder);
    assert_string_equal(config.learner.folder, expected);
    snprintf(expected, sizeof expected, "%s/model", folder);
    assert_string_equal(config.snapshot.folder, expected);
    assert_string_equal(
        daemon_config_property(&config.ingest, "bootstrap.servers"), "h:1");
    assert_string_equal(daemon_config_property(&config.ingest, "group.id"),
                        "interestd");
    assert_null(daemon_config_property(&config.ingest, "other"));
    assert_int_equal(config.ingest.window_ms, 1800000);
    assert_int_equal(config.ingest.batch_size, 128);
    assert_true(config.ingest.map_bytes == (uint64_t)16384 << 20);
    assert_true(config.learner.model.learning_rate == 0.001f);
    assert_int_equal(config.learner.checkpoints_kept, 2);
    assert_string_equal(config.ingest.model_name, "ctr");
}

static void test_values(void **state)
{
    (void)state;
    assert_int_equal(load("state: /var/x\n"
                          "impressions: {topic: a}\n"
                          "clicks: {topic: b, framing: confluent}\n"
                          "ingest: {label_mode: fnw, window_ms: 5}\n"
                          "learner: {activation: prelu, batch_size: 32}\n"
                          "kafka.properties: {client.id: me}\n"),
                     BASE_OK);
    assert_string_equal(config.ingest.folder, "/var/x/store");
    assert_string_equal(config.ingest.topics[0].name, "a");
    assert_int_equal(config.ingest.topics[1].framing, INGEST_CONFLUENT);
    assert_int_equal(config.ingest.label_mode, INGEST_LABEL_FNW);
    assert_int_equal(config.ingest.batch_size, 32);
    assert_int_equal(config.learner.model.activation, LEARNER_PRELU);
    assert_string_equal(daemon_config_property(&config.ingest, "client.id"),
                        "me");
}

static void test_table_and_click(void **state)
{
    (void)state;
    write_text("c.yaml", "kafka: {brokers: 'h:1'}\nfeatures:\n"
                         "  - {name: a, group: item, dimension: 8, path: x.y, "
                         "click: z}\n"
                         "  - {name: b, group: context, dimension: 8, path: t, "
                         "transform: hour, table: a}\n");
    assert_int_equal(daemon_config_load(path, &config, &error), BASE_OK);
    const struct learner_schema *schema = &config.ingest.schema;
    assert_int_equal(schema->table_count, 1);
    assert_int_equal(schema->fields[1].table, 0);
    assert_string_equal(config.ingest.topics[0].mapping.fields[0], "x.y");
    assert_string_equal(config.ingest.topics[1].mapping.fields[0], "z");
    assert_int_equal(config.ingest.transforms[1].kind, INGEST_TRANSFORM_HOUR);
    assert_int_equal(config.ingest.transforms[0].kind, INGEST_TRANSFORM_NONE);
}

static void test_bad_yaml(void **state)
{
    (void)state;
    expect(load("ingest: {window_ms: 5\n"), ":7:1: not YAML: ");
    expect(load("ingest: [1, 2]\n"), ":6:9: ingest: no such setting");
    expect(load("http: {listen: [a, b], port: [1, 2]}\n"),
           ":6:30: http.port: \"1,2\" is not allowed");
    expect(load("http: {listen: [a, {b: c}]}\n"),
           ":6:20: this list holds plain values only");
    expect(load("http: {listen: [a, 'b,c']}\n"),
           ":6:20: an empty value, or one with a comma,");
    expect(load("ingest: &a {window_ms: 5}\nlearner: *a\n"),
           ":7:10: aliases (*name) are not allowed");
    expect(load("? [a]\n: b\n"), ":6:3: a key must be a plain name");
    expect(load("---\na: b\n"), ":6:1: only one document is allowed");
    expect(load("a: {b: {c: {d: {e: {f: {g: {h: {i: {j: 1}}}}}}}}}\n"),
           ":6:32: mappings are nested too deep here");
    write_text("c.yaml", "- a\n");
    expect(daemon_config_load(path, &config, &error),
           ":1:1: the file must be a mapping of settings");
    write_text("c.yaml", "");
    expect(daemon_config_load(path, &config, &error),
           ":1:1: the file must be a mapping of settings");
}

static void test_wrong_keys(void **state)
{
    (void)state;
    expect(load("ingest: {windw_ms: 5}\n"),
           ":6:20: ingest.windw_ms: no such setting; did you mean "
           "\"ingest.window_ms\"?");
    expect(load("window_samples: 5\n"),
           ":6:17: window_samples: no such setting; did you mean "
           "\"learner.window_samples\"?");
    expect(load("ingest: {window_ms: 0}\n"),
           ":6:21: ingest.window_ms: \"0\" is not allowed: a whole number "
           "from 1 to 604800000 ms");
    expect(load("learner:\n  activation: relux\n"),
           ":7:15: learner.activation: \"relux\" is not allowed: prelu, "
           "dice, sigmoid or relu");
    expect(load("http: {port: }\n"), ":6:8: http.port: \"\" is not allowed");
    expect(load("http: {port: 1}\nhttp.port: 2\n"),
           ":7:12: http.port: given twice; first in line 6");
    expect(load("features: 3\n"), ":6:11: features: features is a list");
    expect(load("features.goods: 3\n"), ":6:17: features.goods: features is");
}

static void test_whole(void **state)
{
    (void)state;
    expect(load("impressions: {topic: a}\nclicks: {topic: a}\n"),
           ": impressions.topic and clicks.topic are both \"a\"");
    expect(load("impressions: {topic: a/b}\n"),
           ": impressions.topic: \"a/b\" cannot be a topic's name");
    expect(load("clicks: {topic: ..}\n"),
           ": clicks.topic: \"..\" cannot be a topic's name");
    expect(load("kafka.announcement_topic: clicks\n"),
           ": kafka.announcement_topic is \"clicks\", which is read too");
    expect(load("state: /same\nmodel_folder: /same\n"),
           ": state and model_folder are both /same");
    expect(load("ingest: {label_mode: fnw, negative_keep: 0.5}\n"),
           ": ingest.negative_keep below 1 needs");
    write_text("c.yaml", "state: s\n");
    expect(daemon_config_load(path, &config, &error),
           ": kafka.brokers must be given: ");
    write_text("c.yaml", "kafka.brokers: b\n");
    expect(daemon_config_load(path, &config, &error),
           ": features: at least one of group item is needed");
}

static void feature(const char *line, const char *text)
{
    char more[512];
    snprintf(more, sizeof more, "  - %s\n", line);
    expect(load(more), text);
}

static void test_features(void **state)
{
    (void)state;
    feature("{name: x, group: item, dimension: 4}",
            ":6:5: features[3]: must give \"path\"");
    feature("{group: item, dimension: 4, path: x}",
            ":6:5: features[3]: must give \"name\"");
    feature("{name: goods, group: item, dimension: 4, path: x}",
            ":6:5: features[3]: a feature has this name already: \"goods\"");
    feature("{name: x, group: item, dimension: 4, path: x, table: goods}",
            ":6:5: features[3]: dimension differs from the other field of "
            "table \"goods\"");
    feature("{name: x, group: profile, dimension: 4, path: x, click: y}",
            ":6:5: features[3]: only features of group item may give");
    feature("{name: x, group: item, dimension: 4, path: x, table: ../x}",
            ":6:5: features[3]: a table, which has the feature's name where "
            "none is given, is named with");
    feature("{name: a b, group: item, dimension: 4, path: x}",
            ":6:5: features[3]: a table, which");
    feature("{nam: x}", ":6:11: nam: no such setting; did you mean "
                        "\"name\"?");
    feature("{name: x, name: y}", ":6:21: name: given twice in one feature");
    feature("{name: x, dimension: 129}",
            ":6:26: dimension: \"129\" is not allowed: a whole number from 1 "
            "to 128 floats");
    feature("{name: x, path: {a: b}}",
            ":6:21: mappings are nested too deep here");
    feature("x", ":6:5: a list entry must be a mapping");
}

static void test_secrets(void **state)
{
    (void)state;
    expect(load("kafka.properties: {sasl.password: hunter2}\n"),
           ":6:35: kafka.properties.sasl.password: a secret does not belong");
    assert_null(strstr(error.text, "hunter2"));
    write_text("secret", "s3\n");
    assert_int_equal(load("kafka.properties: {sasl.password: 'file:secret'}\n"),
                     BASE_OK);
    assert_string_equal(daemon_config_property(&config.ingest, "sasl.password"),
                        "s3");
    setenv("INTERESTD_TEST_SECRET", "s4", 1);
    assert_int_equal(load("kafka.properties:\n  ssl.key.password: "
                          "env:INTERESTD_TEST_SECRET\n"),
                     BASE_OK);
    assert_string_equal(
        daemon_config_property(&config.ingest, "ssl.key.password"), "s4");
    unsetenv("INTERESTD_TEST_SECRET");
    expect(load("kafka.properties:\n  ssl.key.password: "
                "env:INTERESTD_TEST_SECRET\n"),
           ":7:21: kafka.properties.ssl.key.password: that environment "
           "variable is not set");
    assert_int_equal(load("kafka.properties: {a.secret: 'file:none'}\n"),
                     BASE_NO_INPUT);
    expect(load("kafka.properties: {bootstrap.servers: x}\n"),
           ":6:39: kafka.properties.bootstrap.servers: set kafka.brokers");
}

static void test_registry(void **state)
{
    (void)state;
    expect(load("registry: {url: 'http://r:8081'}\n"),
           ": registry.url is given, but impressions.framing and "
           "clicks.framing are plain; confluent names its schemas by id");
    write_text("secret", "s3\n");
    assert_int_equal(load("registry: {url: 'http://r:8081', user: u, "
                          "password: 'file:secret'}\n"
                          "impressions: {framing: confluent}\n"),
                     BASE_OK);
    assert_string_equal(config.ingest.registry_url, "http://r:8081");
    assert_string_equal(config.ingest.registry_password, "s3");
    assert_non_null(strstr(config.ingest.registry_folder, "/schemas"));
    expect(load("registry: {password: hunter2}\n"),
           ":6:22: registry.password: a secret does not belong");
    assert_null(strstr(error.text, "hunter2"));
}

static void test_token(void **state)
{
    static const char *const bad[] = {"fifteen-letters", "sixteen but spaced",
                                      "sixteen-bu\xc3\xbc-coded", "",
                                      "sixteen-or-more\nsecond line"};
    char large[300];
    (void)state;
    assert_int_equal(load(""), BASE_OK);
    assert_string_equal(config.http.token, "");
    expect(load("http: {token: sixteen-letters-}\n"),
           ":6:15: http.token: a secret does not belong");
    assert_null(strstr(error.text, "sixteen"));
    write_text("secret", "sixteen-letters-\n");
    assert_int_equal(load("http: {token: 'file:secret'}\n"), BASE_OK);
    assert_string_equal(config.http.token, "sixteen-letters-");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_text("secret", bad[i]);
        expect(load("http: {token: 'file:secret'}\n"),
               ":6:15: http.token: a token has 16 to 255 visible");
    }
    memset(large, 'k', 256);
    large[256] = '\0';
    setenv("INTERESTD_TEST_SECRET", large, 1);
    expect(load("http: {token: 'env:INTERESTD_TEST_SECRET'}\n"),
           ":6:15: http.token: that environment variable is too long");
    setenv("INTERESTD_TEST_SECRET", large + 1, 1);
    assert_int_equal(load("http: {token: 'env:INTERESTD_TEST_SECRET'}\n"),
                     BASE_OK);
    assert_string_equal(config.http.token, large + 1);
    unsetenv("INTERESTD_TEST_SECRET");
}

static void test_overrides(void **state)
{
    (void)state;
    const char *good[] = {"http.port=0", "kafka.properties.client.id=a=b",
                          "state=rel"};
    assert_int_equal(load("http: {port: 7}\n"), BASE_OK);
    assert_int_equal(config.http.port, 7);
    assert_int_equal(daemon_config_load_with(path, good, 3, &config, &error),
                     BASE_OK);
    assert_int_equal(config.http.port, 0);
    assert_string_equal(config.ingest.folder, "rel/store");
    assert_string_equal(daemon_config_property(&config.ingest, "client.id"),
                        "a=b");
    const char *bad[] = {"http.port=x", "http.prt=1", "novalue"};
    assert_int_equal(daemon_config_load_with(path, bad, 1, &config, &error),
                     BASE_CONFIG);
    assert_non_null(strstr(error.text, "--set: http.port: \"x\""));
    assert_int_equal(daemon_config_load_with(path, bad + 1, 1, &config, &error),
                     BASE_CONFIG);
    assert_non_null(strstr(error.text, "did you mean \"http.port\"?"));
    assert_int_equal(daemon_config_load_with(path, bad + 2, 1, &config, &error),
                     BASE_USAGE);
}

static void test_no_file(void **state)
{
    (void)state;
    assert_int_equal(daemon_config_load("/nowhere/c.yaml", &config, &error),
                     BASE_NO_INPUT);
    assert_non_null(strstr(error.text, "/nowhere/c.yaml"));
}

/* True where "  name:", or "  # name:", of a dotted key's last part is in the
 * text, below its first part. */
static bool names_key_as(const char *text, const char *dotted,
                         const char *before)
{
    char part[128];
    const char *dot = strchr(dotted, '.');
    const char *at = text;
    if (dot) {
        snprintf(part, sizeof part, "\n%.*s:\n", (int)(dot - dotted), dotted);
        at = strstr(text, part);
        if (!at)
            return false;
        at += strlen(part) - 1;
    }
    snprintf(part, sizeof part, "\n%s%s:", dot ? before : "",
             dot ? dot + 1 : dotted);
    const char *found = strstr(at, part);
    if (!found || !dot)
        return found;
    /* No other top-level key between: a line that starts with a letter. */
    for (const char *line = at; line < found; line++)
        if (line[0] == '\n' && line[1] >= 'a' && line[1] <= 'z')
            return false;
    return true;
}

static bool names_key(const char *text, const char *dotted)
{
    return names_key_as(text, dotted, "  ") ||
           names_key_as(text, dotted, "  # ");
}

/* Runs in the source folder (tests/CMakeLists.txt). */
static void test_sample_is_complete(void **state)
{
    (void)state;
    char *text;
    size_t size;
    assert_int_equal(
        base_file_read("configs/interestd.yaml", 1 << 20, &text, &size, &error),
        BASE_OK);
    for (unsigned i = 0; daemon_config_setting(i); i++)
        if (!names_key(text, daemon_config_setting(i)))
            fail_msg("configs/interestd.yaml misses %s",
                     daemon_config_setting(i));
    for (unsigned i = 0; daemon_config_feature_setting(i); i++) {
        char key[64];
        snprintf(key, sizeof key, "%s: ", daemon_config_feature_setting(i));
        if (!strstr(text, key))
            fail_msg("configs/interestd.yaml shows no feature's %s", key);
    }
    assert_true(names_key(text, "learner.shadow"));
    assert_false(names_key(text, "ingest.batch_size"));
    free(text);
}

static void same_model(const struct learner_model_config *a,
                       const struct learner_model_config *b)
{
    for (unsigned i = 0; i < learner_model_settings.count; i++) {
        char x[64], y[64];
        base_settings_text(&learner_model_settings, i, a, x, sizeof x);
        base_settings_text(&learner_model_settings, i, b, y, sizeof y);
        if (strcmp(x, y) != 0)
            fail_msg("%s: %s and %s", learner_model_settings.table[i].name, x,
                     y);
    }
}

static void test_samples_load(void **state)
{
    (void)state;
    if (daemon_config_load("configs/interestd.yaml", &config, &error))
        fail_msg("%s", error.text);
    assert_string_equal(config.ingest.topics[0].schema,
                        "configs/../schemas/impression.avsc");
    /* The sample gives every default as it is. */
    struct daemon_config given = config;
    assert_int_equal(load(""), BASE_OK);
    same_model(&config.learner.model, &given.learner.model);
    assert_int_equal(config.ingest.window_ms, given.ingest.window_ms);
    assert_true(config.ingest.map_bytes == given.ingest.map_bytes);
    assert_int_equal(config.publish.delta_ms, given.publish.delta_ms);
    if (daemon_config_load("configs/demo.yaml", &config, &error))
        fail_msg("%s", error.text);
    assert_int_equal(config.http.port, 0);
}

static void test_reference(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    daemon_config_reference(out);
    fclose(out);
    for (unsigned i = 0; daemon_config_setting(i); i++)
        assert_non_null(strstr(text, daemon_config_setting(i)));
    free(text);
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
        cmocka_unit_test(test_minimal),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_table_and_click),
        cmocka_unit_test(test_bad_yaml),
        cmocka_unit_test(test_wrong_keys),
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_registry),
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_overrides),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_sample_is_complete),
        cmocka_unit_test(test_samples_load),
        cmocka_unit_test(test_reference),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
