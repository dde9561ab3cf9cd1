/* SPDX-License-Identifier: Apache-2.0 */
/* The list of features: groups of one's own, transforms with their bounds,
 * multi-hot runs, what the manifest says of them, and every refusal with its
 * place; and that records do not fit such a feature is said with its name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/config.h"
#include "daemon/stream.h"
#include "ingest/ingest.h"

static char folder[] = "/tmp/interestd-features-XXXXXX";
static char path[64];
static struct daemon_config config;
static struct base_error error;

static void write_text(const char *name, const char *text)
{
    char at[128];
    snprintf(at, sizeof at, "%s/%s", folder, name);
    FILE *out = fopen(at, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

/* Loads one item feature in line 3, then `lines`. */
static enum base_status load(const char *lines)
{
    char text[4096];
    snprintf(text, sizeof text,
             "kafka: {brokers: 'h:1'}\nfeatures:\n"
             "  - {name: goods, group: item, dimension: 8, path: goods}\n%s",
             lines);
    write_text("c.yaml", text);
    return daemon_config_load(path, &config, &error);
}

static void good(const char *lines)
{
    if (load(lines))
        fail_msg("%s", error.text);
}

/* Feature `keys` in line 4 is refused so. */
static void refuse(const char *keys, const char *part)
{
    char line[1024];
    snprintf(line, sizeof line, "  - {name: x, dimension: 4, path: p, %s}\n",
             keys);
    assert_int_equal(load(line), BASE_CONFIG);
    if (!strstr(error.text, part) || !strstr(error.text, ":4:"))
        fail_msg("%s: %s", keys, error.text);
}

static void expect_names(const char *const *names)
{
    const struct learner_schema *schema = &config.ingest.schema;
    unsigned count = 0;
    for (; names[count]; count++)
        assert_string_equal(schema->fields[count].name, names[count]);
    assert_int_equal(schema->field_count, count);
}

static void test_multi_hot(void **state)
{
    (void)state;
    good("  - {name: genres, group: item, dimension: 8, path: a.genres,"
         " values: 3, click: g}\n"
         "  - {name: tags, group: profile, dimension: 2, path: tags,"
         " values: 2, table: words}\n"
         "  - {name: year, group: item, dimension: 4, path: year}\n");
    expect_names((const char *const[]){"tags", "tags.2", "goods", "genres",
                                       "genres.2", "genres.3", "year", NULL});
    const struct learner_schema *schema = &config.ingest.schema;
    static const unsigned more[] = {1, 0, 0, 2, 0, 0, 0};
    static const bool continues[] = {false, true, false, false,
                                     true,  true, false};
    for (unsigned i = 0; i < schema->field_count; i++) {
        assert_int_equal(schema->fields[i].more, more[i]);
        assert_int_equal(schema->fields[i].continues, continues[i]);
    }
    assert_int_equal(schema->profile_count, 2);
    assert_int_equal(schema->item_count, 5);
    assert_int_equal(schema->table_count, 4);
    assert_int_equal(schema->fields[5].table, schema->fields[3].table);
    assert_string_equal(schema->tables[schema->fields[1].table].name, "words");
    for (unsigned i = 3; i < 6; i++) {
        assert_string_equal(config.ingest.topics[0].mapping.fields[i],
                            "a.genres");
        assert_string_equal(config.ingest.topics[1].mapping.fields[i], "g");
    }
    assert_string_equal(config.ingest.topics[1].mapping.fields[0], "");
}

static void test_groups(void **state)
{
    (void)state;
    good("  - {name: hour, group: time, dimension: 4, path: t}\n"
         "  - {name: pid, group: context, dimension: 4, path: pid}\n"
         "  - {name: city, group: place, dimension: 4, path: city}\n"
         "  - {name: day, group: time, dimension: 4, path: t}\n"
         "  - {name: user, group: profile, dimension: 4, path: user_id}\n");
    expect_names((const char *const[]){"user", "goods", "hour", "day", "pid",
                                       "city", NULL});
    assert_int_equal(config.ingest.schema.context_count, 4);
    static const char *const groups[] = {"profile", "item", "time",
                                         "time", "context", "place"};
    static const bool own[] = {false, false, true, true, false, true};
    for (unsigned i = 0; i < 6; i++) {
        assert_string_equal(config.ingest.groups[i], groups[i]);
        assert_int_equal(ingest_own_group(&config.ingest, i), own[i]);
        assert_int_equal(config.ingest.schema.fields[i].group,
                         i == 0   ? LEARNER_PROFILE
                         : i == 1 ? LEARNER_ITEM
                                  : LEARNER_CONTEXT);
    }
    static const char *const slips[] = {"profil", "Item", "items", "contex",
                                        "contexts", "iem", "content"};
    for (unsigned i = 0; i < sizeof slips / sizeof *slips; i++) {
        char keys[64];
        snprintf(keys, sizeof keys, "group: %s", slips[i]);
        refuse(keys, "needs a name less like profile, item and context than");
    }
    refuse("group: a/b", "a group is named with letters, digits");
}

static void test_bounds(void **state)
{
    (void)state;
    good("  - {name: day, group: context, dimension: 4, path: t,"
         " transform: weekday}\n"
         "  - {name: age, group: profile, dimension: 4, path: age,"
         " transform: bucket, bounds: [-1, 18, 25.5]}\n"
         "  - {name: hour, group: time, dimension: 4, path: t,"
         " transform: hour}\n"
         "  - {name: one, group: time, dimension: 4, path: t,"
         " transform: bucket, bounds: 7}\n");
    const struct ingest_transform *age = &config.ingest.transforms[0];
    assert_int_equal(age->kind, INGEST_TRANSFORM_BUCKET);
    assert_int_equal(age->bound_count, 3);
    assert_true(age->bounds[0] == -1 && age->bounds[1] == 18 &&
                age->bounds[2] == 25.5);
    assert_int_equal(config.ingest.transforms[1].kind, INGEST_TRANSFORM_NONE);
    assert_int_equal(config.ingest.transforms[2].kind,
                     INGEST_TRANSFORM_WEEKDAY);
    assert_int_equal(config.ingest.transforms[4].bound_count, 1);
    char *text = daemon_stream_json(&config.ingest);
    assert_non_null(text);
    assert_non_null(strstr(
        text, "\"transforms\":{\"age\":{\"transform\":\"bucket\",\"bounds\":"
              "[-1.0,18.0,25.5]},\"day\":{\"transform\":\"weekday\"},\"hour\":"
              "{\"transform\":\"hour\"},\"one\":{\"transform\":\"bucket\","
              "\"bounds\":[7.0]}},\"groups\":{\"hour\":\"time\",\"one\":"
              "\"time\"}"));
    free(text);
}

static void test_refused_transforms(void **state)
{
    (void)state;
    refuse("group: item, transform: bucket", "must give \"bounds\"");
    refuse("group: item, bounds: [1]", "only transform bucket takes");
    refuse("group: item, transform: hour, bounds: [1]",
           "only transform bucket takes");
    refuse("group: item, transform: hour, values: 2",
           "a feature with a transform cannot have more \"values\"");
    refuse("group: item, transform: day", "none, hour, weekday or bucket");
    static const char *const wrong[] = {"[2, 1]", "[1, 1]", "[1, x]", "x",
                                        "1e300",  "nan",    "'1,'",  "inf"};
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char keys[128];
        snprintf(keys, sizeof keys,
                 "group: item, transform: bucket, bounds: %s", wrong[i]);
        refuse(keys, "features[1]: bounds are 1 to 64 numbers within 2^53");
    }
    char keys[1024] = "group: item, transform: bucket, bounds: [0";
    for (int i = 1; i <= 64; i++)
        snprintf(keys + strlen(keys), sizeof keys - strlen(keys), ", %d", i);
    strcat(keys, "]");
    refuse(keys, "bounds are 1 to 64 numbers");
}

static void test_refused_runs(void **state)
{
    (void)state;
    char lines[1024];
    refuse("group: item, values: 0", "a whole number from 1 to 64 places");
    refuse("group: item, values: 64", "more than 64 fields");
    snprintf(lines, sizeof lines,
             "  - {name: %s, group: item, dimension: 4, path: p, values: 10}\n",
             "abcdefghijklmnopqrstuvwxyz012");
    assert_int_equal(load(lines), BASE_CONFIG);
    assert_non_null(strstr(error.text, "too long with the numbers of its"));
    assert_int_equal(load("  - {name: g.2, group: item, dimension: 4, path: p,"
                          " table: t}\n"
                          "  - {name: g, group: item, dimension: 4, path: p,"
                          " values: 2}\n"),
                     BASE_CONFIG);
    assert_non_null(strstr(error.text,
                           "a feature has this name already: \"g.2\""));
}

/* Blanks, '=' and line ends part the lines that are kept beside the state. */
static void test_refused_names(void **state)
{
    (void)state;
    static const char *const names[] = {"a b", "a=b", "a\\nitem_count=1",
                                        "a,b"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        char line[200];
        snprintf(line, sizeof line,
                 "  - {name: \"%s\", table: t, group: item, dimension: 4,"
                 " path: p}\n", names[i]);
        assert_int_equal(load(line), BASE_CONFIG);
        assert_non_null(strstr(error.text, ":4:"));
        assert_non_null(strstr(error.text, "a feature is named with letters"));
    }
    good("  - {name: a.b-c_1, table: t, group: item, dimension: 4, path: p}\n");
}

static void test_records_that_do_not_fit(void **state)
{
    (void)state;
    write_text("i.avsc",
               "{\"type\": \"record\", \"name\": \"I\", \"fields\": ["
               "{\"name\": \"impression_id\", \"type\": \"string\"},"
               "{\"name\": \"user_id\", \"type\": \"string\"},"
               "{\"name\": \"event_ms\", \"type\": \"long\"},"
               "{\"name\": \"goods\", \"type\": \"string\"},"
               "{\"name\": \"tags\", \"type\": {\"type\": \"array\","
               " \"items\": \"string\"}}]}");
    static const struct {
        const char *keys, *text;
    } cases[] = {
        {"path: goods, transform: bucket, bounds: [1]",
         "feature 'x': path 'goods' leads to string; a bucket is taken from "
         "int, long, float or double"},
        {"path: goods, transform: weekday",
         "feature 'x': path 'goods' leads to string; a weekday is taken from "
         "an int or a long"},
        {"path: tags", "feature 'x': path 'tags' leads to array; an id"},
        {"path: tag", "feature 'x': path 'tag' does not exist"},
        {"path: tags, values: 2", NULL},
        {"path: user_id", NULL},
        {"path: event_ms, transform: bucket, bounds: [1, 2]", NULL},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char lines[512];
        snprintf(lines, sizeof lines,
                 "  - {name: x, group: profile, dimension: 4, %s}\n"
                 "impressions: {schema: i.avsc}\n"
                 "clicks: {schema: i.avsc}\n",
                 cases[i].keys);
        good(lines);
        enum base_status status = ingest_check(&config.ingest, &error);
        assert_int_equal(status, cases[i].text ? BASE_CONFIG : BASE_OK);
        if (cases[i].text && !strstr(error.text, cases[i].text))
            fail_msg("%s", error.text);
    }
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/c.yaml", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    static const char *const names[] = {"c.yaml", "i.avsc"};
    for (unsigned i = 0; i < 2; i++) {
        char at[128];
        snprintf(at, sizeof at, "%s/%s", folder, names[i]);
        unlink(at);
    }
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_multi_hot),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_refused_transforms),
        cmocka_unit_test(test_refused_runs),
        cmocka_unit_test(test_refused_names),
        cmocka_unit_test(test_records_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
