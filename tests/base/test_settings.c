/* SPDX-License-Identifier: Apache-2.0 */
/* The settings table: each type's good and bad values, every error text,
 * defaults, hints, reference. */
#include "base/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct target {
    char name[8];
    char path[16];
    bool flag;
    uint16_t small;
    uint64_t large;
    int64_t offset_ms;
    double share;
    float rate;
    int colour;
};

#define AT(member) BASE_SETTING_MEMBER(struct target, member)
static const char *const colours[] = {"red", "green", "blue", NULL};
static const struct base_setting table[] = {
    {"name", BASE_SETTING_STRING, AT(name), "abc", 1, 0, NULL, NULL, "A name."},
    {"path", BASE_SETTING_PATH, AT(path), "x", 1, 0, NULL, NULL, "A path."},
    {"flag", BASE_SETTING_BOOL, AT(flag), "true", 0, 1, NULL, NULL, "A flag."},
    {"part.small", BASE_SETTING_UNSIGNED, AT(small), "7", 1, 65535, "rows",
     NULL, "Small."},
    {"part.large", BASE_SETTING_UNSIGNED, AT(large), NULL, 0, 0x1p53, NULL,
     NULL, "Large."},
    {"offset_ms", BASE_SETTING_SIGNED, AT(offset_ms), "-5", -10, 10, "ms", NULL,
     "Offset."},
    {"share", BASE_SETTING_DOUBLE, AT(share), "0.5", 0, 1, NULL, NULL,
     "Share."},
    {"rate", BASE_SETTING_DOUBLE, AT(rate), "0.25", 0, 1, NULL, NULL, "Rate."},
    {"colour", BASE_SETTING_ENUM, AT(colour), "green", 0, 0, NULL, colours,
     "Colour."},
};
static const struct base_settings settings = {table,
                                              sizeof table / sizeof table[0]};
static const struct base_setting_place place = {
    .file = "a.yaml", .line = 3, .column = 9, .folder = "/etc"};

/* Sets `key`; the error's text, or NULL where all went well. */
static const char *set(struct target *target, const char *key,
                       const char *value)
{
    static struct base_error error;
    int index = base_settings_find(&settings, key);
    assert_true(index >= 0);
    enum base_status status = base_settings_set(&settings, (unsigned)index,
                                                value, &place, target, &error);
    if (status == BASE_OK)
        return NULL;
    assert_int_equal(status, BASE_CONFIG);
    assert_int_equal(error.status, BASE_CONFIG);
    return error.text;
}

static void test_defaults(void **state)
{
    (void)state;
    struct target target;
    struct base_error error;
    memset(&target, 0x5a, sizeof target);
    assert_int_equal(base_settings_default(&settings, &place, &target, &error),
                     BASE_OK);
    assert_string_equal(target.name, "abc");
    assert_string_equal(target.path, "/etc/x");
    assert_true(target.flag);
    assert_int_equal(target.small, 7);
    assert_int_equal(target.large, 0);
    assert_int_equal(target.offset_ms, -5);
    assert_true(target.share == 0.5);
    assert_true(target.rate == 0.25f);
    assert_int_equal(target.colour, 1);
}

static void test_good_values(void **state)
{
    (void)state;
    struct target target = {0};
    assert_null(set(&target, "name", "1234567"));
    assert_string_equal(target.name, "1234567");
    assert_null(set(&target, "path", "/a/b"));
    assert_string_equal(target.path, "/a/b");
    assert_null(set(&target, "path", "12345678"));
    assert_string_equal(target.path, "/etc/12345678");
    assert_null(set(&target, "flag", "true"));
    assert_true(target.flag);
    assert_null(set(&target, "flag", "false"));
    assert_false(target.flag);
    assert_null(set(&target, "part.small", "65535"));
    assert_int_equal(target.small, 65535);
    assert_null(set(&target, "part.large", "9007199254740992"));
    assert_true(target.large == 9007199254740992u);
    assert_null(set(&target, "offset_ms", "-10"));
    assert_int_equal(target.offset_ms, -10);
    assert_null(set(&target, "share", "1e-3"));
    assert_true(target.share == 1e-3);
    assert_null(set(&target, "rate", "1"));
    assert_true(target.rate == 1.0f);
    assert_null(set(&target, "colour", "blue"));
    assert_int_equal(target.colour, 2);
}

struct bad_value {
    const char *key, *value, *text;
};

static const struct bad_value bad_values[] = {
    {"name", "12345678",
     "a.yaml:3:9: name: \"12345678\" is not allowed: a text of 1 to 7 bytes"},
    {"name", "",
     "a.yaml:3:9: name: \"\" is not allowed: a text of 1 to 7 "
     "bytes"},
    {"path", "",
     "a.yaml:3:9: path: \"\" is not allowed: a path of 1 to 15 "
     "bytes"},
    {"path", "12345678901",
     "a.yaml:3:9: path: \"12345678901\" is not allowed: a path of 1 to 15 "
     "bytes"},
    {"flag", "yes", "a.yaml:3:9: flag: \"yes\" is not allowed: true or false"},
    {"part.small", "0",
     "a.yaml:3:9: part.small: \"0\" is not allowed: a whole number from 1 to "
     "65535 rows"},
    {"part.small", "65536",
     "a.yaml:3:9: part.small: \"65536\" is not allowed: a whole number from 1 "
     "to 65535 rows"},
    {"part.small", "-1",
     "a.yaml:3:9: part.small: \"-1\" is not allowed: a whole number from 1 to "
     "65535 rows"},
    {"part.small", "7x",
     "a.yaml:3:9: part.small: \"7x\" is not allowed: a whole number from 1 to "
     "65535 rows"},
    {"part.small", " 7",
     "a.yaml:3:9: part.small: \" 7\" is not allowed: a whole number from 1 to "
     "65535 rows"},
    {"part.large", "99999999999999999999999",
     "a.yaml:3:9: part.large: \"99999999999999999999999\" is not allowed: a "
     "whole number from 0 to 9007199254740992"},
    {"offset_ms", "11",
     "a.yaml:3:9: offset_ms: \"11\" is not allowed: a whole number from -10 "
     "to 10 ms"},
    {"offset_ms", "-",
     "a.yaml:3:9: offset_ms: \"-\" is not allowed: a whole number from -10 to "
     "10 ms"},
    {"share", "1.01",
     "a.yaml:3:9: share: \"1.01\" is not allowed: a number from 0 to 1"},
    {"share", "nan",
     "a.yaml:3:9: share: \"nan\" is not allowed: a number from 0 to 1"},
    {"share", "0.5.",
     "a.yaml:3:9: share: \"0.5.\" is not allowed: a number from 0 to 1"},
    {"rate", "",
     "a.yaml:3:9: rate: \"\" is not allowed: a number from 0 to "
     "1"},
    {"colour", "Red",
     "a.yaml:3:9: colour: \"Red\" is not allowed: red, green or blue"},
};

static void test_bad_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_values / sizeof bad_values[0]; i++) {
        struct target target, before;
        memset(&target, 0x5a, sizeof target);
        before = target;
        const char *text = set(&target, bad_values[i].key, bad_values[i].value);
        assert_non_null(text);
        assert_string_equal(text, bad_values[i].text);
        assert_memory_equal(&target, &before, sizeof target);
    }
}

static void test_place_without_line(void **state)
{
    (void)state;
    struct target target = {0};
    struct base_error error;
    const struct base_setting_place line = {.file = "--set"};
    assert_int_equal(
        base_settings_set(&settings, 2, "no", &line, &target, &error),
        BASE_CONFIG);
    assert_string_equal(error.text, "--set: flag: \"no\" is not allowed: true "
                                    "or false");
}

static void unknown(const char *key, const char *text)
{
    struct base_error error;
    assert_int_equal(base_settings_unknown(&settings, key, &place, &error),
                     BASE_CONFIG);
    assert_string_equal(error.text, text);
}

static void test_unknown_key(void **state)
{
    (void)state;
    assert_int_equal(base_settings_find(&settings, "nome"), -1);
    unknown("nome", "a.yaml:3:9: nome: no such setting; did you mean "
                    "\"name\"?");
    unknown("part.smal", "a.yaml:3:9: part.smal: no such setting; did you "
                         "mean \"part.small\"?");
    unknown("small", "a.yaml:3:9: small: no such setting; did you mean "
                     "\"part.small\"?");
    unknown("other.offset_ms", "a.yaml:3:9: other.offset_ms: no such setting; "
                               "did you mean \"offset_ms\"?");
    unknown("zzzzzzzzzzzz", "a.yaml:3:9: zzzzzzzzzzzz: no such setting");
}

static void test_long_unknown_key(void **state)
{
    (void)state;
    char key[400];
    struct base_error error;
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    assert_int_equal(base_settings_unknown(&settings, key, &place, &error),
                     BASE_CONFIG);
    assert_non_null(strstr(error.text, "no such setting"));
}

static void test_reference(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    base_settings_reference(&settings, out);
    fclose(out);
    for (unsigned i = 0; i < settings.count; i++) {
        assert_non_null(strstr(text, table[i].name));
        assert_non_null(strstr(text, table[i].doc));
    }
    assert_non_null(strstr(text, "part.small\n    Small.\n    allowed: a whole "
                                 "number from 1 to 65535 rows\n    default: 7 "
                                 "rows\n"));
    assert_non_null(strstr(text, "default: none, must be given"));
    free(text);
}

static void test_path(void **state)
{
    (void)state;
    char joined[8];
    struct base_error error;
    assert_int_equal(base_settings_path(joined, 8, "ab", "cd", &error),
                     BASE_OK);
    assert_string_equal(joined, "ab/cd");
    assert_int_equal(base_settings_path(joined, 8, "", "cd", &error), BASE_OK);
    assert_string_equal(joined, "cd");
    assert_int_equal(base_settings_path(joined, 8, "ab", "", &error), BASE_OK);
    assert_string_equal(joined, "");
    assert_int_equal(base_settings_path(joined, 8, "abcd", "efg", &error),
                     BASE_LIMIT);
}

/* What base_settings_text() prints brings the value back, in few digits. */
static void test_texts(void **state)
{
    (void)state;
    static const char *const words[] = {"no", "yes", NULL};
    struct values {
        float narrow;
        double wide;
        int64_t signed_one;
        uint16_t small;
        bool flag, word;
        char text[8];
    } value = {0.1f, 0.1, -5, 65535, true, true, "abc"};
#define VALUE(member) BASE_SETTING_MEMBER(struct values, member)
    const struct base_setting entries[] = {
        {"a", BASE_SETTING_DOUBLE, VALUE(narrow), "0", 0, 1, NULL, NULL, ""},
        {"b", BASE_SETTING_DOUBLE, VALUE(wide), "0", 0, 1, NULL, NULL, ""},
        {"c", BASE_SETTING_SIGNED, VALUE(signed_one), "0", -9, 9, NULL, NULL,
         ""},
        {"d", BASE_SETTING_UNSIGNED, VALUE(small), "0", 0, 65535, NULL, NULL,
         ""},
        {"e", BASE_SETTING_BOOL, VALUE(flag), "false", 0, 1, NULL, NULL, ""},
        {"f", BASE_SETTING_ENUM, VALUE(word), "no", 0, 0, NULL, words, ""},
        {"g", BASE_SETTING_STRING, VALUE(text), "", 0, 0, NULL, NULL, ""},
    };
#undef VALUE
    static const char *const texts[] = {"0.1",  "0.1", "-5", "65535",
                                        "true", "yes", "abc"};
    const struct base_settings own = {entries, 7};
    const struct base_setting_place nowhere = {.file = "test"};
    for (unsigned i = 0; i < own.count; i++) {
        char text[40];
        base_settings_text(&own, i, &value, text, sizeof text);
        assert_string_equal(text, texts[i]);
    }
    value.wide = 1.0 / 3;
    value.narrow = 1.0f / 3;
    for (unsigned i = 0; i < 2; i++) {
        char text[40];
        struct values back = {0};
        struct base_error error;
        base_settings_text(&own, i, &value, text, sizeof text);
        assert_int_equal(base_settings_set(&own, i, text, &nowhere, &back,
                                           &error),
                         BASE_OK);
        assert_memory_equal((char *)&back + entries[i].offset,
                            (char *)&value + entries[i].offset,
                            entries[i].size);
    }
    assert_int_equal(base_settings_text(&own, 6, &value, NULL, 0), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_good_values),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_place_without_line),
        cmocka_unit_test(test_unknown_key),
        cmocka_unit_test(test_long_unknown_key),
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_path),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
