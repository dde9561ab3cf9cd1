/* SPDX-License-Identifier: Apache-2.0 */
/* Writers that lack a field, call it otherwise, or write it as another type;
 * values behind a map's key and inside an array's records. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "ingest/resolve.h"
#include "learner/learner.h"
#include "tests/ingest/decode_all.h"

#define RECORD(fields) \
    "{\"type\": \"record\", \"name\": \"R\", \"fields\": [" fields "]}"
#define FIELD(name, type, more) \
    "{\"name\": \"" name "\", \"type\": " type more "}"
#define DEFAULT(name, type, value) FIELD(name, type, ", \"default\": " value)

enum { SEED = 5, VALUES = 4 };

static struct ingest_schema *schema_of(const char *text)
{
    struct ingest_schema *schema = NULL;
    struct base_error error = {.text = ""};
    if (ingest_schema_new(text, strlen(text), &schema, &error))
        fail_msg("%s: %s", text, error.text);
    return schema;
}

/* Decodes one target of a record that `writer` wrote, as `reader` (NULL: none)
 * reads it. */
static enum ingest_reason read_one(const char *writer, const char *reader,
                                   const struct ingest_target *target,
                                   const struct wire *wire, uint64_t *slots)
{
    struct ingest_schema *schema = reader ? schema_of(reader) : NULL;
    struct ingest_program *program = NULL;
    struct base_error error = {.text = ""};
    const struct ingest_program_wish wish = {writer, strlen(writer), schema,
                                             target, 1};
    if (ingest_program_resolve(&wish, &program, &error))
        fail_msg("%s: %s", target->path, error.text);
    ingest_schema_free(schema);
    enum ingest_reason reason =
        ingest_program_run(program, wire->bytes, wire->size, slots);
    ingest_program_free(program);
    return reason;
}

static uint64_t text_id(const char *text)
{
    return learner_id(SEED, text, strlen(text));
}

/* ---- defaults ------------------------------------------------------------ */

#define WRITER RECORD(FIELD("there", "\"string\"", ""))
#define NESTED \
    "{\"type\": \"record\", \"name\": \"In\", \"fields\": [" \
    DEFAULT("a", "\"string\"", "\"inner\"") "," \
    FIELD("b", "[\"long\", \"null\"]", "") "]}"

static void test_defaults(void **state)
{
    (void)state;
    static const double bounds[] = {1, 2};
    static const struct {
        const char *type, *value, *path;
        enum ingest_target_kind kind;
        const char *id; /* NULL: absent */
        int64_t ms;
    } cases[] = {
        {"\"string\"", "\"gr\\u00fc\\u00df\"", "x", INGEST_TARGET_ID,
         "gr\xc3\xbc\xc3\x9f", 0},
        {"\"bytes\"", "\"a\\u00ff\\u0080\"", "x", INGEST_TARGET_ID,
         "a\xff\x80", 0},
        {"{\"type\": \"fixed\", \"name\": \"F\", \"size\": 2}", "\"\\u00e9b\"",
         "x", INGEST_TARGET_ID, "\xe9" "b", 0},
        {"{\"type\": \"enum\", \"name\": \"E\", \"symbols\": [\"A\", \"B\"]}",
         "\"B\"", "x", INGEST_TARGET_ID, "B", 0},
        {"\"int\"", "-7", "x", INGEST_TARGET_ID, "-7", 0},
        {"\"long\"", "9223372036854775807", "x", INGEST_TARGET_ID,
         "9223372036854775807", 0},
        {"\"boolean\"", "true", "x", INGEST_TARGET_ID, "true", 0},
        {"\"null\"", "null", "x", INGEST_TARGET_ID, NULL, 0},
        {"[\"null\", \"string\"]", "null", "x", INGEST_TARGET_ID, NULL, 0},
        {"[\"string\", \"null\"]", "\"s\"", "x", INGEST_TARGET_ID, "s", 0},
        {"\"long\"", "1500", "x", INGEST_TARGET_MS, NULL, 1500},
        {"{\"type\": \"long\", \"logicalType\": \"timestamp-micros\"}",
         "1999", "x", INGEST_TARGET_MS, NULL, 1},
        {"\"long\"", "7200000", "x", INGEST_TARGET_HOUR, "2", 0},
        {"\"float\"", "1.5", "x", INGEST_TARGET_BUCKET, "1", 0},
        {"\"double\"", "2", "x", INGEST_TARGET_BUCKET, "2", 0},
        {NESTED, "{\"b\": 9}", "x.a", INGEST_TARGET_ID, "inner", 0},
        {NESTED, "{\"b\": 9}", "x.b", INGEST_TARGET_ID, "9", 0},
        {NESTED, "{\"a\": \"own\", \"b\": 9}", "x.a", INGEST_TARGET_ID, "own",
         0},
        {"{\"type\": \"map\", \"values\": \"long\"}", "{\"k\": 3}", "x.k",
         INGEST_TARGET_ID, "3", 0},
        {"{\"type\": \"map\", \"values\": \"long\"}", "{}", "x.k",
         INGEST_TARGET_ID, NULL, 0},
    };
    struct wire wire = {0};
    wire_string(&wire, "t");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char reader[600];
        uint64_t slot;
        snprintf(reader, sizeof reader, RECORD(DEFAULT("x", "%s", "%s")),
                 cases[i].type, cases[i].value);
        struct ingest_target target = {cases[i].path, cases[i].kind,
                                       .seed = SEED, .bounds = bounds,
                                       .bound_count = 2};
        assert_int_equal(read_one(WRITER, reader, &target, &wire, &slot),
                         INGEST_REASON_NONE);
        assert_int_equal(slot, cases[i].id ? text_id(cases[i].id)
                                           : (uint64_t)cases[i].ms);
    }
}

static void test_default_of_several_values(void **state)
{
    (void)state;
    struct wire wire = {0};
    uint64_t slots[VALUES];
    wire_string(&wire, "t");
    struct ingest_target target = {"x", INGEST_TARGET_ID, .seed = SEED,
                                   .values = VALUES};
    read_one(WRITER, RECORD(DEFAULT("x", "{\"type\": \"array\", \"items\":"
                                    " \"string\"}", "[\"p\", \"q\"]")),
             &target, &wire, slots);
    assert_int_equal(slots[0], text_id("p"));
    assert_int_equal(slots[1], text_id("q"));
    assert_int_equal(slots[2], LEARNER_ABSENT);
    assert_int_equal(slots[3], LEARNER_ABSENT);
}

static void test_required_by_default(void **state)
{
    (void)state;
    struct wire wire = {0};
    uint64_t slot;
    wire_string(&wire, "t");
    struct ingest_target target = {"x", INGEST_TARGET_ID, true, .seed = SEED};
    assert_int_equal(read_one(WRITER, RECORD(DEFAULT("x", "\"string\"",
                                                     "\"d\"")),
                              &target, &wire, &slot), INGEST_REASON_NONE);
    assert_int_equal(slot, text_id("d"));
    assert_int_equal(read_one(WRITER, RECORD(DEFAULT("x", "[\"null\"]",
                                                     "null")),
                              &target, &wire, &slot), INGEST_REASON_MISSING);
    assert_int_equal(read_one(WRITER, RECORD(DEFAULT("x", "\"string\"",
                                                     "\"\"")),
                              &target, &wire, &slot), INGEST_REASON_MISSING);
}

/* The default is for writers that lack the field, not for null. */
static void test_default_in_one_branch(void **state)
{
    (void)state;
    static const char writer[] = RECORD(
        FIELD("who", "[\"null\", {\"type\": \"record\", \"name\": \"A\","
              " \"fields\": [" FIELD("id", "\"string\"", "") "]},"
              " {\"type\": \"record\", \"name\": \"B\", \"fields\": []}]", ""));
    static const char reader[] = RECORD(
        FIELD("who", "[\"null\", {\"type\": \"record\", \"name\": \"A\","
              " \"fields\": [" DEFAULT("id", "\"string\"", "\"none\"") "]}]",
              ""));
    struct ingest_target target = {"who.id", INGEST_TARGET_ID, .seed = SEED};
    static const char *const ids[] = {NULL, "x", "none"};
    for (int branch = 0; branch < 3; branch++) {
        struct wire wire = {0};
        uint64_t slot;
        wire_branch(&wire, branch, branch == 1 ? "x" : NULL);
        assert_int_equal(read_one(writer, reader, &target, &wire, &slot),
                         INGEST_REASON_NONE);
        assert_int_equal(slot, ids[branch] ? text_id(ids[branch]) : 0);
    }
}

static void test_wrong_defaults(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"\"string\"", "3"},
        {"\"int\"", "2147483648"},
        {"\"int\"", "1.5"},
        {"\"long\"", "\"1\""},
        {"\"boolean\"", "0"},
        {"\"null\"", "0"},
        {"\"double\"", "\"NaN\""},
        {"\"bytes\"", "\"\\u0100\""},
        {"{\"type\": \"fixed\", \"name\": \"F\", \"size\": 2}", "\"a\""},
        {"{\"type\": \"enum\", \"name\": \"E\", \"symbols\": [\"A\"]}",
         "\"B\""},
        {"[\"null\", \"string\"]", "\"s\""},
        {"{\"type\": \"array\", \"items\": \"int\"}", "[1, \"2\"]"},
        {"{\"type\": \"map\", \"values\": \"int\"}", "{\"a\": null}"},
        {"{\"type\": \"map\", \"values\": \"int\"}", "[]"},
        {NESTED, "{\"a\": \"own\"}"},
        {"[\"R\", \"null\"]", "{}"}, /* holds itself for ever */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char reader[600];
        struct base_error error = {.text = ""};
        snprintf(reader, sizeof reader, RECORD(DEFAULT("x", "%s", "%s")),
                 cases[i][0], cases[i][1]);
        struct ingest_schema *schema = schema_of(reader);
        if (ingest_resolve_check(schema, &error) != BASE_DATA)
            fail_msg("%s is taken", reader);
        assert_non_null(strstr(error.text, "the default of field x"));
        ingest_schema_free(schema);
    }
}

static void test_neither_field_nor_default(void **state)
{
    (void)state;
    struct ingest_schema *reader =
        schema_of(RECORD(FIELD("x", "\"string\"", "")));
    struct ingest_target target = {"x", INGEST_TARGET_ID, .seed = SEED};
    const struct ingest_program_wish wish = {WRITER, strlen(WRITER), reader,
                                             &target, 1};
    struct ingest_program *program = NULL;
    struct base_error error = {.text = ""};
    assert_int_equal(ingest_program_resolve(&wish, &program, &error),
                     BASE_CONFIG);
    assert_non_null(strstr(error.text, "path 'x' does not exist"));
    ingest_schema_free(reader);
}

/* ---- aliases and promotions ---------------------------------------------- */

static void test_aliases(void **state)
{
    (void)state;
    static const char old[] = RECORD(FIELD("u", "\"string\"", ""));
    static const char renamed[] =
        RECORD(FIELD("user", "\"string\"", ", \"aliases\": [\"v\", \"u\"]"));
    static const struct {
        const char *writer, *reader, *path;
    } cases[] = {
        {old, renamed, "user"},     /* the reader's alias, as Avro has it */
        {old, renamed, "u"},        /* a path that was not changed */
        {renamed, NULL, "u"},       /* a writer that says what it renamed */
        {renamed, NULL, "user"},
        {renamed, old, "u"},
        {renamed, renamed, "v"},
    };
    struct wire wire = {0};
    wire_string(&wire, "ann");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t slot;
        struct ingest_target target = {cases[i].path, INGEST_TARGET_ID,
                                       .seed = SEED};
        assert_int_equal(read_one(cases[i].writer, cases[i].reader, &target,
                                  &wire, &slot), INGEST_REASON_NONE);
        assert_int_equal(slot, text_id("ann"));
    }
}

/* A field's own name goes before another field's alias. */
static void test_names_before_aliases(void **state)
{
    (void)state;
    struct wire wire = {0};
    uint64_t slot;
    wire_string(&wire, "one");
    wire_string(&wire, "two");
    struct ingest_target target = {"b", INGEST_TARGET_ID, .seed = SEED};
    read_one(RECORD(FIELD("a", "\"string\"", ", \"aliases\": [\"b\"]") ","
                    FIELD("b", "\"string\"", "")),
             NULL, &target, &wire, &slot);
    assert_int_equal(slot, text_id("two"));
}

/* Fault 7: what a writer may write instead gives the very same id. */
static void test_promotions(void **state)
{
    (void)state;
    static const struct {
        const char *type, *bytes;
        size_t size;
        const char *id;
    } cases[] = {
        {"\"int\"", "\x0e", 1, "7"},
        {"\"long\"", "\x0e", 1, "7"},
        {"\"string\"", "\2" "7", 2, "7"},
        {"\"bytes\"", "\2" "7", 2, "7"},
        {"{\"type\": \"enum\", \"name\": \"E\", \"symbols\": [\"A\", \"B\"]}",
         "\2", 1, "B"},
        {"{\"type\": \"enum\", \"name\": \"E\", \"symbols\": [\"B\", \"X\","
         " \"A\"]}", "\0", 1, "B"},
        {"[\"null\", \"long\"]", "\2\x0e", 2, "7"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char writer[200];
        struct wire wire = {0};
        uint64_t slot;
        snprintf(writer, sizeof writer, RECORD(FIELD("x", "%s", "")),
                 cases[i].type);
        wire_bytes(&wire, cases[i].bytes, cases[i].size);
        struct ingest_target target = {"x", INGEST_TARGET_ID, .seed = SEED};
        assert_int_equal(read_one(writer, NULL, &target, &wire, &slot),
                         INGEST_REASON_NONE);
        assert_int_equal(slot, text_id(cases[i].id));
    }
}

/* ---- maps and arrays ----------------------------------------------------- */

static void test_keys_of_maps(void **state)
{
    (void)state;
    struct ingest_program *program = NULL;
    struct base_error error = {.text = ""};
    static const char schema[] = RECORD(FIELD(
        "m", "{\"type\": \"map\", \"values\": [\"null\", \"string\", {\"type\":"
        " \"record\", \"name\": \"In\", \"fields\": ["
        FIELD("id", "\"long\"", "") "]}]}", ""));
    const struct ingest_target targets[] = {
        {"m.b", INGEST_TARGET_ID, .seed = SEED},
        {"m.c.id", INGEST_TARGET_ID, .seed = SEED},
        {"m.b", INGEST_TARGET_ID, .seed = SEED + 1},
        {"m.none", INGEST_TARGET_ID, .seed = SEED}};
    if (ingest_program_new(schema, strlen(schema), targets, 3, &program,
                           &error) == BASE_OK)
        fail(); /* m.b leads to a record in one branch */
    assert_non_null(strstr(error.text, "leads to record"));
    static const char good[] = RECORD(
        FIELD("m", "{\"type\": \"map\", \"values\": \"string\"}", "") ","
        FIELD("n", "{\"type\": \"map\", \"values\": {\"type\": \"record\","
              " \"name\": \"In\", \"fields\": [" FIELD("id", "\"long\"", "")
              "," FIELD("rest", "\"string\"", "") "]}}", ""));
    const struct ingest_target others[] = {
        {"m.b", INGEST_TARGET_ID, .seed = SEED},
        {"n.c.id", INGEST_TARGET_ID, .seed = SEED},
        {"m.b", INGEST_TARGET_ID, .seed = SEED + 1},
        {"m.none", INGEST_TARGET_ID, .seed = SEED}};
    if (ingest_program_new(good, strlen(good), others, 4, &program, &error))
        fail_msg("%s", error.text);
    struct wire wire = {0};
    uint64_t slots[4];
    wire_long(&wire, 3);
    for (const char *key = "abc"; *key; key++) {
        wire_string(&wire, (char[]){*key, 0});
        wire_string(&wire, (char[]){'v', *key, 0});
    }
    wire_long(&wire, 0);
    for (const char *key = "bc"; *key; key++) { /* one entry a block */
        wire_long(&wire, 1);
        wire_string(&wire, (char[]){*key, 0});
        wire_long(&wire, *key);
        wire_string(&wire, "rest");
    }
    wire_long(&wire, 0);
    assert_int_equal(ingest_program_run(program, wire.bytes, wire.size, slots),
                     INGEST_REASON_NONE);
    assert_int_equal(slots[0], text_id("vb"));
    assert_int_equal(slots[1], learner_id_of_int(SEED, 'c'));
    assert_int_equal(slots[2], learner_id(SEED + 1, "vb", 2));
    assert_int_equal(slots[3], 0);
    for (size_t size = 0; size < wire.size; size++)
        assert_int_equal(ingest_program_run(program, wire.bytes, size, slots),
                         INGEST_REASON_TRUNCATED);
    ingest_program_free(program);
}

static void test_records_of_an_array(void **state)
{
    (void)state;
    static const char schema[] = RECORD(
        FIELD("seen", "{\"type\": \"array\", \"items\": [\"null\", {\"type\":"
              " \"record\", \"name\": \"Seen\", \"fields\": ["
              FIELD("shop", "\"string\"", "") ","
              FIELD("goods", "[\"null\", \"string\"]", "") "]}]}", ""));
    struct ingest_target target = {"seen.goods", INGEST_TARGET_ID,
                                   .seed = SEED, .values = VALUES};
    struct wire wire = {0};
    uint64_t slots[VALUES];
    static const char *const goods[] = {"g1", NULL, "g2"};
    wire_long(&wire, 4);
    for (int i = 0; i < 3; i++) {
        wire_branch(&wire, 1, "shop");
        wire_branch(&wire, goods[i] != NULL, goods[i]);
    }
    wire_long(&wire, 0);
    wire_long(&wire, 0);
    assert_int_equal(read_one(schema, NULL, &target, &wire, slots),
                     INGEST_REASON_NONE);
    assert_int_equal(slots[0], text_id("g1"));
    assert_int_equal(slots[1], text_id("g2"));
    assert_int_equal(slots[2], LEARNER_ABSENT);
}

/* A round over a target costs what it does: a bomb of empty records with
 * many of them ends as early as one without. */
static void test_bomb_of_wide_records(void **state)
{
    (void)state;
    char schema[20000];
    int used = snprintf(schema, sizeof schema,
                        "{\"type\": \"record\", \"name\": \"R\", \"fields\": ["
                        "{\"name\": \"x\", \"type\": {\"type\": \"array\","
                        " \"items\": {\"type\": \"record\", \"name\": \"I\","
                        " \"fields\": [{\"name\": \"id\", \"type\":"
                        " [\"null\"]}");
    for (int i = 0; i < 200; i++)
        used += snprintf(schema + used, sizeof schema - (size_t)used,
                         ", {\"name\": \"f%d\", \"type\": {\"type\": \"fixed\","
                         " \"name\": \"F%d\", \"size\": 0}}", i, i);
    snprintf(schema + used, sizeof schema - (size_t)used, "]}}}]}");
    struct ingest_target target = {"x.id", INGEST_TARGET_ID, .seed = SEED,
                                   .values = 2};
    uint64_t slots[2];
    struct wire wire = {0};
    wire_long(&wire, 1000);
    assert_int_equal(read_one(schema, NULL, &target, &wire, slots),
                     INGEST_REASON_LIMITS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_default_of_several_values),
        cmocka_unit_test(test_required_by_default),
        cmocka_unit_test(test_default_in_one_branch),
        cmocka_unit_test(test_wrong_defaults),
        cmocka_unit_test(test_neither_field_nor_default),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_names_before_aliases),
        cmocka_unit_test(test_promotions),
        cmocka_unit_test(test_keys_of_maps),
        cmocka_unit_test(test_records_of_an_array),
        cmocka_unit_test(test_bomb_of_wide_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
