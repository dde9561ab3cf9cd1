/* SPDX-License-Identifier: Apache-2.0 */
/* Targets that are more than one value's id: hours, weekdays and buckets
 * against the calendar and against counting; runs of slots from arrays; and
 * every way in which a target does not fit its field. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "ingest/decode.h"
#include "learner/learner.h"
#include "tests/ingest/wire.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { SEED = 77 };

/* Schema of a record with the one field x. */
static void record_of(const char *type, char *schema, size_t size)
{
    snprintf(schema, size,
             "{\"type\": \"record\", \"name\": \"R\", \"fields\":"
             " [{\"name\": \"x\", \"type\": %s}]}",
             type);
}

static struct ingest_program *compile(const char *type,
                                      const struct ingest_target *targets,
                                      unsigned count)
{
    char schema[1024];
    struct ingest_program *program = NULL;
    struct base_error error = {.text = ""};
    record_of(type, schema, sizeof schema);
    if (ingest_program_new(schema, strlen(schema), targets, count, &program,
                           &error))
        fail_msg("%s: %s", type, error.text);
    return program;
}

/* Runs over memory of just the record's size. */
static enum ingest_reason run(const struct ingest_program *program,
                              const struct wire *wire, size_t size,
                              uint64_t *slots, uint32_t *cut)
{
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, wire->bytes, size);
    enum ingest_reason reason =
        ingest_program_run_cut(program, copy, size, slots, cut);
    free(copy);
    return reason;
}

static uint64_t one(const char *type, const struct ingest_target *target,
                    const struct wire *wire)
{
    uint64_t slot = 12345;
    uint32_t cut = 12345;
    struct ingest_program *program = compile(type, target, 1);
    assert_int_equal(ingest_program_slots(program), 1);
    assert_int_equal(run(program, wire, wire->size, &slot, &cut),
                     INGEST_REASON_NONE);
    assert_int_equal(cut, 0);
    ingest_program_free(program);
    return slot;
}

/* ---- weekday ------------------------------------------------------------- */

static void test_weekday(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        int day; /* 0 = Monday */
    } cases[] = {
        {0, 3},               /* Thursday, 1 January 1970 */
        {-1, 2},              /* the night before */
        {86399999, 3},        /* its last moment */
        {86400000, 4},        /* Friday */
        {345600000, 0},       /* Monday, 5 January 1970 */
        {345599999, 6},       /* Sunday */
        {-259200000, 0},      /* Monday, 29 December 1969 */
        {-259200001, 6},      /* Sunday */
        {1508198400000, 1},   /* Tuesday, 17 October 2017 */
        {951782400000, 1},    /* Tuesday, 29 February 2000 */
        {4102444800000, 4},   /* Friday, 1 January 2100 */
    };
    const struct ingest_target target = {
        .path = "x", .kind = INGEST_TARGET_WEEKDAY, .seed = SEED};
    for (unsigned i = 0; i < COUNT(cases); i++) {
        struct wire ms = {0}, us = {0};
        wire_long(&ms, cases[i].ms);
        assert_int_equal(one("\"long\"", &target, &ms),
                         learner_id_of_int(SEED, cases[i].day));
        wire_long(&us, cases[i].ms * 1000 + 999);
        assert_int_equal(one("{\"type\": \"long\", \"logicalType\": "
                             "\"timestamp-micros\"}",
                             &target, &us),
                         learner_id_of_int(SEED, cases[i].day));
    }
    struct wire extreme = {0};
    wire_long(&extreme, INT64_MIN);
    assert_int_not_equal(one("\"long\"", &target, &extreme), 0);
    struct wire null = {0};
    wire_long(&null, 0);
    assert_int_equal(one("[\"null\", \"long\"]", &target, &null), 0);
}

/* ---- buckets ------------------------------------------------------------- */

static const double ages[] = {18, 25, 35, 45, 55};

static struct ingest_target bucket(const double *bounds, unsigned count)
{
    return (struct ingest_target){.path = "x",
                                  .kind = INGEST_TARGET_BUCKET,
                                  .seed = SEED,
                                  .bounds = bounds,
                                  .bound_count = count};
}

static void wire_double(struct wire *wire, double value)
{
    wire_bytes(wire, &value, sizeof value); /* little-endian, as here */
}

static void wire_float(struct wire *wire, float value)
{
    wire_bytes(wire, &value, sizeof value);
}

static void test_bucket_of_age(void **state)
{
    (void)state;
    static const struct {
        int age, bucket;
    } cases[] = {{-3, 0}, {0, 0},  {17, 0}, {18, 1}, {19, 1},
                 {24, 1}, {25, 2}, {54, 4}, {55, 5}, {120, 5}};
    const struct ingest_target target = bucket(ages, COUNT(ages));
    for (unsigned i = 0; i < COUNT(cases); i++) {
        uint64_t id = learner_id_of_int(SEED, cases[i].bucket);
        struct wire whole = {0}, real = {0}, single = {0};
        wire_long(&whole, cases[i].age);
        wire_double(&real, cases[i].age);
        wire_float(&single, (float)cases[i].age);
        assert_int_equal(one("\"int\"", &target, &whole), id);
        assert_int_equal(one("\"long\"", &target, &whole), id);
        assert_int_equal(one("\"double\"", &target, &real), id);
        assert_int_equal(one("\"float\"", &target, &single), id);
    }
}

static void test_bucket_of_nothing(void **state)
{
    (void)state;
    const struct ingest_target target = bucket(ages, COUNT(ages));
    struct wire null = {0}, number = {0}, single = {0}, below = {0},
                above = {0};
    wire_long(&null, 0);
    wire_double(&number, __builtin_nan(""));
    wire_float(&single, __builtin_nanf(""));
    wire_double(&below, -__builtin_inf());
    wire_double(&above, __builtin_inf());
    assert_int_equal(one("[\"null\", \"int\"]", &target, &null), 0);
    assert_int_equal(one("\"null\"", &target, &(struct wire){0}), 0);
    assert_int_equal(one("\"double\"", &target, &number), 0);
    assert_int_equal(one("\"float\"", &target, &single), 0);
    assert_int_equal(one("\"double\"", &target, &below),
                     learner_id_of_int(SEED, 0));
    assert_int_equal(one("\"double\"", &target, &above),
                     learner_id_of_int(SEED, 5));
}

static uint64_t draw(unsigned round, uint64_t *drawn, uint64_t below)
{
    return base_random_u64(5, 0, round, (*drawn)++) % below;
}

/* Integers and fractional bounds against counting in 128 bits, sixteenths. */
static void test_bucket_by_counting(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        uint64_t drawn = 0;
        double bounds[INGEST_BOUNDS_MAX];
        __int128 sixteenths = -(__int128)draw(round, &drawn, 20000);
        unsigned count = 1 + (unsigned)draw(round, &drawn, INGEST_BOUNDS_MAX);
        __int128 exact[INGEST_BOUNDS_MAX];
        for (unsigned i = 0; i < count; i++) {
            sixteenths += 1 + (__int128)draw(round, &drawn, 600);
            exact[i] = sixteenths;
            bounds[i] = (double)(int64_t)sixteenths / 16;
        }
        const struct ingest_target target = bucket(bounds, count);
        struct ingest_program *program = compile("\"long\"", &target, 1);
        for (int i = 0; i < 50; i++) {
            int64_t value = (int64_t)draw(round, &drawn, 4000) - 1500;
            if (i < 2)
                value = i ? INT64_MAX : INT64_MIN;
            unsigned expected = 0;
            while (expected < count &&
                   exact[expected] <= (__int128)value * 16)
                expected++;
            struct wire wire = {0};
            uint64_t slot;
            uint32_t cut;
            wire_long(&wire, value);
            assert_int_equal(run(program, &wire, wire.size, &slot, &cut),
                             INGEST_REASON_NONE);
            assert_int_equal(slot, learner_id_of_int(SEED, expected));
        }
        ingest_program_free(program);
    }
}

/* The largest bounds: an integer and the same number as a double agree. */
static void test_bucket_at_the_limits(void **state)
{
    (void)state;
    static const double bounds[] = {-0x1p53, 0x1p53};
    static const int64_t values[] = {INT64_MIN, -(1ll << 53) - 1, -(1ll << 53),
                                     0, (1ll << 53) - 1, 1ll << 53,
                                     (1ll << 53) + 1, INT64_MAX};
    static const int buckets[] = {0, 0, 1, 1, 1, 2, 2, 2};
    const struct ingest_target target = bucket(bounds, 2);
    for (unsigned i = 0; i < COUNT(values); i++) {
        struct wire whole = {0}, real = {0};
        wire_long(&whole, values[i]);
        assert_int_equal(one("\"long\"", &target, &whole),
                         learner_id_of_int(SEED, buckets[i]));
        if (values[i] == -(1ll << 53) - 1)
            continue; /* is -2^53 as a double */
        wire_double(&real, (double)values[i]);
        assert_int_equal(one("\"double\"", &target, &real),
                         learner_id_of_int(SEED, buckets[i]));
    }
}

/* ---- runs ---------------------------------------------------------------- */

static struct ingest_target places(unsigned values)
{
    return (struct ingest_target){.path = "x", .seed = SEED, .values = values};
}

/* An array of one block with these strings, NULL at the end. */
static void wire_array(struct wire *wire, const char *const *texts)
{
    unsigned count = 0;
    while (texts[count])
        count++;
    if (count)
        wire_long(wire, count);
    for (unsigned i = 0; i < count; i++)
        wire_string(wire, texts[i]);
    wire_long(wire, 0);
}

/* Decodes x as three places and compares with the ids of `texts`. */
static void expect_three(const char *type, const struct wire *wire,
                         const char *const *texts, uint32_t cut_expected)
{
    const struct ingest_target target = places(3);
    struct ingest_program *program = compile(type, &target, 1);
    uint64_t slots[3];
    uint32_t cut;
    assert_int_equal(ingest_program_slots(program), 3);
    assert_int_equal(run(program, wire, wire->size, slots, &cut),
                     INGEST_REASON_NONE);
    assert_int_equal(cut, cut_expected);
    bool end = false;
    for (unsigned i = 0; i < 3; i++) {
        end = end || !texts[i];
        assert_true(slots[i] == (end ? LEARNER_ABSENT
                                     : learner_id(SEED, texts[i],
                                                  strlen(texts[i]))));
    }
    for (size_t size = 0; size < wire->size; size++)
        assert_int_not_equal(run(program, wire, size, slots, &cut),
                             INGEST_REASON_NONE);
    ingest_program_free(program);
}

static const char strings[] = "{\"type\": \"array\", \"items\": \"string\"}";

static void test_array_of_strings(void **state)
{
    (void)state;
    static const char *const texts[][8] = {
        {NULL},
        {"Drama", NULL},
        {"Drama", "", NULL},
        {"Drama", "War", "Drama", NULL},
        {"a", "b", "c", "d", NULL},
        {"a", "b", "c", "d", "e", "f", "g", NULL}};
    static const uint32_t cut[] = {0, 0, 0, 0, 1, 4};
    for (unsigned i = 0; i < COUNT(texts); i++) {
        struct wire wire = {0};
        wire_array(&wire, texts[i]);
        expect_three(strings, &wire, texts[i], cut[i]);
    }
}

static void test_array_that_may_be_null(void **state)
{
    (void)state;
    static const char *const none[] = {NULL}, *const two[] = {"a", "b", NULL};
    char type[256];
    snprintf(type, sizeof type, "[\"null\", %s]", strings);
    struct wire null = {0}, some = {0};
    wire_long(&null, 0);
    expect_three(type, &null, none, 0);
    wire_long(&some, 1);
    wire_array(&some, two);
    expect_three(type, &some, two, 0);
}

/* Elements that are null take no place. */
static void test_array_of_nullable(void **state)
{
    (void)state;
    static const char *const kept[] = {"a", "b", "c", NULL};
    struct wire wire = {0};
    wire_long(&wire, 6);
    wire_branch(&wire, 0, NULL);
    wire_branch(&wire, 1, "a");
    wire_branch(&wire, 0, NULL);
    wire_branch(&wire, 1, "b");
    wire_branch(&wire, 1, "c");
    wire_branch(&wire, 1, "d");
    wire_long(&wire, 0);
    expect_three("{\"type\": \"array\", \"items\": [\"null\", \"string\"]}",
                 &wire, kept, 1);
}

/* Several blocks, one of them with its size in bytes. */
static void test_array_of_blocks(void **state)
{
    (void)state;
    static const char *const all[] = {"a", "bc", "d", NULL};
    struct wire wire = {0};
    wire_long(&wire, 1);
    wire_string(&wire, "a");
    wire_long(&wire, -2);
    wire_long(&wire, 5); /* 1 + 2 and 1 + 1 bytes */
    wire_string(&wire, "bc");
    wire_string(&wire, "d");
    wire_long(&wire, 0);
    expect_three(strings, &wire, all, 0);
}

static void test_other_elements(void **state)
{
    (void)state;
    static const char *const digits[] = {"7", "-1", NULL};
    static const char *const symbols[] = {"B", "A", NULL};
    static const char *const flags[] = {"true", "false", NULL};
    static const char *const fixed[] = {"xy", NULL};
    struct wire numbers = {0}, enums = {0}, booleans = {0}, twos = {0};
    wire_long(&numbers, 2);
    wire_long(&numbers, 7);
    wire_long(&numbers, -1);
    wire_long(&numbers, 0);
    expect_three("{\"type\": \"array\", \"items\": \"int\"}", &numbers, digits,
                 0);
    expect_three("{\"type\": \"array\", \"items\": \"long\"}", &numbers,
                 digits, 0);
    wire_long(&enums, 2);
    wire_long(&enums, 1);
    wire_long(&enums, 0);
    wire_long(&enums, 0);
    expect_three("{\"type\": \"array\", \"items\": {\"type\": \"enum\", "
                 "\"name\": \"E\", \"symbols\": [\"A\", \"B\"]}}",
                 &enums, symbols, 0);
    wire_long(&booleans, 2);
    wire_byte(&booleans, 1);
    wire_byte(&booleans, 0);
    wire_long(&booleans, 0);
    expect_three("{\"type\": \"array\", \"items\": \"boolean\"}", &booleans,
                 flags, 0);
    wire_long(&twos, 1);
    wire_bytes(&twos, "xy", 2);
    wire_long(&twos, 0);
    expect_three("{\"type\": \"array\", \"items\": {\"type\": \"fixed\", "
                 "\"name\": \"F\", \"size\": 2}}",
                 &twos, fixed, 0);
}

static void test_scalar_is_an_array_of_one(void **state)
{
    (void)state;
    static const char *const one_text[] = {"Drama", NULL}, *const none[] = {
        NULL}, *const digits[] = {"42", NULL};
    struct wire text = {0}, null = {0}, number = {0};
    wire_string(&text, "Drama");
    expect_three("\"string\"", &text, one_text, 0);
    wire_long(&null, 0);
    expect_three("[\"null\", \"string\"]", &null, none, 0);
    wire_long(&number, 42);
    expect_three("\"long\"", &number, digits, 0);
}

/* Two runs and a time from one record; slots stand in the targets' order. */
static void test_runs_beside_others(void **state)
{
    (void)state;
    static const char schema[] =
        "{\"type\": \"record\", \"name\": \"R\", \"fields\": ["
        " {\"name\": \"g\", \"type\": {\"type\": \"array\", \"items\":"
        "  \"string\"}}, {\"name\": \"t\", \"type\": \"long\"}]}";
    static const char *const texts[] = {"a", "b", NULL};
    const struct ingest_target targets[] = {
        {.path = "t", .kind = INGEST_TARGET_MS, .required = true},
        {.path = "g", .seed = SEED, .values = 4},
        {.path = "t", .seed = SEED, .kind = INGEST_TARGET_HOUR},
        {.path = "g", .seed = SEED + 1, .values = 2},
        {.path = "t", .seed = SEED},
    };
    struct ingest_program *program = NULL;
    struct base_error error = {.text = ""};
    if (ingest_program_new(schema, strlen(schema), targets, COUNT(targets),
                           &program, &error))
        fail_msg("%s", error.text);
    assert_int_equal(ingest_program_slots(program), 9);
    struct wire wire = {0};
    uint64_t slots[9];
    uint32_t cut;
    wire_array(&wire, texts);
    wire_long(&wire, 7200000);
    assert_int_equal(run(program, &wire, wire.size, slots, &cut),
                     INGEST_REASON_NONE);
    const uint64_t expected[] = {
        7200000, learner_id(SEED, "a", 1), learner_id(SEED, "b", 1),
        LEARNER_ABSENT, LEARNER_ABSENT, learner_id_of_int(SEED, 2),
        learner_id(SEED + 1, "a", 1), learner_id(SEED + 1, "b", 1),
        learner_id_of_int(SEED, 7200000)};
    assert_memory_equal(slots, expected, sizeof expected);
    assert_int_equal(cut, 0);
    ingest_program_free(program);
}

/* ---- what does not fit --------------------------------------------------- */

static void refuse(const char *type, struct ingest_target target,
                   const char *part)
{
    char schema[1024];
    struct ingest_program *program = NULL;
    struct base_error error = {.text = ""};
    record_of(type, schema, sizeof schema);
    target.path = "x";
    target.name = "age";
    assert_int_equal(ingest_program_new(schema, strlen(schema), &target, 1,
                                        &program, &error),
                     BASE_CONFIG);
    if (!strstr(error.text, "feature 'age': ") || !strstr(error.text, part))
        fail_msg("%s has no '%s'", error.text, part);
}

static void test_refused(void **state)
{
    (void)state;
    static const double falling[] = {2, 1}, same[] = {1, 1},
                        huge[] = {0x1p54}, infinite[] = {__builtin_inf()};
    double many[INGEST_BOUNDS_MAX + 1];
    for (unsigned i = 0; i < COUNT(many); i++)
        many[i] = i;
    refuse("\"string\"", bucket(ages, 5),
           "path 'x' leads to string; a bucket is taken from int, long, "
           "float or double");
    refuse(strings, bucket(ages, 5), "leads to array; a bucket");
    refuse("\"double\"", (struct ingest_target){.kind = INGEST_TARGET_WEEKDAY},
           "leads to double; a weekday is taken from an int or a long");
    refuse("{\"type\": \"int\", \"logicalType\": \"date\"}",
           (struct ingest_target){.kind = INGEST_TARGET_WEEKDAY},
           "leads to int of another time unit; a weekday");
    refuse("\"int\"", bucket(ages, 0), "1 to 64 bounds");
    refuse("\"int\"", bucket(falling, 2), "each above the one before");
    refuse("\"int\"", bucket(same, 2), "each above the one before");
    refuse("\"int\"", bucket(huge, 1), "within 2^53");
    refuse("\"int\"", bucket(infinite, 1), "within 2^53");
    refuse("\"int\"", bucket(many, COUNT(many)), "1 to 64 bounds");
    refuse("\"double\"", places(2),
           "leads to double; several values are taken from an array of");
    refuse("{\"type\": \"array\", \"items\": \"float\"}", places(2),
           "leads to an array of float; several");
    refuse("{\"type\": \"array\", \"items\": {\"type\": \"array\", "
           "\"items\": \"int\"}}",
           places(2), "leads to an array of array; several");
    refuse("{\"type\": \"map\", \"values\": \"int\"}", places(2),
           "leads to map; several");
    refuse("\"int\"", places(INGEST_VALUES_MAX + 1), "at most 64 values");
    refuse("\"int\"",
           (struct ingest_target){.values = 2, .required = true},
           "at most 64 values");
    refuse("\"int\"",
           (struct ingest_target){.values = 2, .kind = INGEST_TARGET_HOUR},
           "not transformed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weekday),
        cmocka_unit_test(test_bucket_of_age),
        cmocka_unit_test(test_bucket_of_nothing),
        cmocka_unit_test(test_bucket_by_counting),
        cmocka_unit_test(test_bucket_at_the_limits),
        cmocka_unit_test(test_array_of_strings),
        cmocka_unit_test(test_array_that_may_be_null),
        cmocka_unit_test(test_array_of_nullable),
        cmocka_unit_test(test_array_of_blocks),
        cmocka_unit_test(test_other_elements),
        cmocka_unit_test(test_scalar_is_an_array_of_one),
        cmocka_unit_test(test_runs_beside_others),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
