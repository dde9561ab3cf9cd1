/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder against hand-made records: every type and target, every prefix
 * and every changed byte of a record, hostile lengths, indices and bombs.
 * Records are copied to memory of exactly their size, so that a sanitizer
 * sees each byte read too far. Ids are compared with the learner's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/random.h"
#include "learner/learner.h"
#include "tests/ingest/decode_all.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static struct ingest_program *compile(const char *schema,
                                      const struct ingest_target *targets,
                                      unsigned count)
{
    struct ingest_program *program = NULL;
    struct base_error error = {.text = ""};
    if (ingest_program_new(schema, strlen(schema), targets, count, &program,
                           &error))
        fail_msg("%s", error.text);
    return program;
}

/* Runs over a copy of just `size` bytes; slots in front and behind must stay
 * as they were. */
static enum ingest_reason run(const struct ingest_program *program,
                              const void *bytes, size_t size, uint64_t *slots,
                              unsigned count)
{
    enum { GUARD = 0x5a5a5a5a };
    uint64_t guarded[64];
    assert_true(count + 2 <= COUNT(guarded));
    for (unsigned i = 0; i < COUNT(guarded); i++)
        guarded[i] = GUARD;
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    enum ingest_reason reason =
        ingest_program_run(program, copy, size, guarded + 1);
    free(copy);
    assert_int_equal(guarded[0], GUARD);
    assert_int_equal(guarded[count + 1], GUARD);
    if (slots)
        memcpy(slots, guarded + 1, count * sizeof *slots);
    return reason;
}

static enum ingest_reason run_wire(const struct ingest_program *program,
                                   const struct wire *wire, uint64_t *slots,
                                   unsigned count)
{
    return run(program, wire->bytes, wire->size, slots, count);
}

/* The reason for a record of the one field `type`, not looked at. */
static enum ingest_reason reason_of(const char *type, const struct wire *wire)
{
    char schema[1024];
    snprintf(schema, sizeof schema,
             "{\"type\": \"record\", \"name\": \"R\", \"fields\":"
             " [{\"name\": \"x\", \"type\": %s}]}", type);
    struct ingest_program *program = compile(schema, NULL, 0);
    enum ingest_reason reason = run_wire(program, wire, NULL, 0);
    ingest_program_free(program);
    return reason;
}

/* The slot of one target on a record of the one field `type`. */
static enum ingest_reason slot_of(const char *type,
                                  enum ingest_target_kind kind, bool required,
                                  const struct wire *wire, uint64_t *slot)
{
    char schema[1024];
    snprintf(schema, sizeof schema,
             "{\"type\": \"record\", \"name\": \"R\", \"fields\":"
             " [{\"name\": \"x\", \"type\": %s}]}", type);
    struct ingest_target target = {"x", kind, required, .seed = 77};
    struct ingest_program *program = compile(schema, &target, 1);
    enum ingest_reason reason = run_wire(program, wire, slot, 1);
    ingest_program_free(program);
    return reason;
}

/* ---- values ------------------------------------------------------------ */

static void test_every_type(void **state)
{
    (void)state;
    struct ingest_program *program =
        compile(all_schema, all_targets, ALL_TARGETS);
    struct wire wire = {0};
    uint64_t slots[ALL_TARGETS];
    all_write(&wire);
    assert_int_equal(run_wire(program, &wire, slots, ALL_TARGETS),
                     INGEST_REASON_NONE);
    assert_int_equal(slots[ALL_TEXT], learner_id(1, "gr\xc3\xbc\xc3\x9f", 6));
    assert_int_equal(slots[ALL_RAW], learner_id(2, "a\0\xff", 3));
    assert_int_equal(slots[ALL_FIVE], learner_id(3, "12345", 5));
    assert_int_equal(slots[ALL_COLOR], learner_id(4, "GREEN", 5));
    assert_int_equal(slots[ALL_SMALL], learner_id_of_int(5, INT32_MIN));
    assert_int_equal(slots[ALL_SMALL], learner_id(5, "-2147483648", 11));
    assert_int_equal(slots[ALL_LARGE], learner_id_of_int(6, INT64_MIN));
    assert_int_equal(slots[ALL_FLAG], learner_id(7, "true", 4));
    assert_int_equal(slots[ALL_NOTHING], 0);
    assert_int_equal(slots[ALL_MILLIS], 1763788000123);
    assert_int_equal(slots[ALL_MILLIS_ID],
                     learner_id_of_int(9, 1763788000123));
    assert_int_equal(slots[ALL_MILLIS_HOUR], learner_id_of_int(10, 5));
    assert_int_equal((int64_t)slots[ALL_MICROS], -1);
    assert_int_equal(slots[ALL_MICROS_HOUR], learner_id_of_int(11, 23));
    assert_int_equal(slots[ALL_EITHER], learner_id_of_int(12, 42));
    assert_int_equal(slots[ALL_USER], learner_id(13, "u7", 2));
    assert_int_equal(slots[ALL_CITY], learner_id(14, "Oslo", 4));
    assert_int_equal(slots[ALL_CHAIN], learner_id_of_int(15, 2));
    assert_int_equal(slots[ALL_LAST], learner_id(16, "BLUE", 4));
    ingest_program_free(program);
}

static void test_integer_ids(void **state)
{
    (void)state;
    static const int64_t values[] = {
        0, 1, -1, 9, 10, -10, 99, 63, 64, -64, -65, 8191, 8192, 1048575,
        1048576, 134217727, 134217728, INT32_MAX, INT32_MIN,
        (int64_t)INT32_MAX + 1, (1ll << 34) - 1, 1ll << 41, 1ll << 48,
        (1ll << 55) - 1, 1ll << 55, 1ll << 62, INT64_MAX, INT64_MIN};
    for (unsigned i = 0; i < COUNT(values); i++) {
        /* Once at the very end of the bytes, once with more behind. */
        for (int behind = 0; behind < 2; behind++) {
            struct wire wire = {0};
            uint64_t slot;
            wire_long(&wire, values[i]);
            if (behind)
                wire_bytes(&wire, "12345678", 8);
            assert_int_equal(slot_of(behind ? "\"long\"}, {\"name\": \"y\","
                                              " \"type\": \"double\""
                                            : "\"long\"",
                                     INGEST_TARGET_ID, true, &wire, &slot),
                             INGEST_REASON_NONE);
            assert_int_equal(slot, learner_id_of_int(77, values[i]));
        }
    }
}

static void test_text_ids_of_all_sizes(void **state)
{
    (void)state;
    char text[2000];
    for (unsigned i = 0; i < sizeof text; i++)
        text[i] = (char)base_random_u64(3, 1, i, 0);
    for (unsigned size = 0; size < sizeof text; size += size < 300 ? 1 : 97) {
        struct wire wire = {0};
        uint64_t slot;
        wire_long(&wire, size);
        wire_bytes(&wire, text, size);
        assert_int_equal(slot_of("\"bytes\"", INGEST_TARGET_ID, false, &wire,
                                 &slot),
                         INGEST_REASON_NONE);
        assert_int_equal(slot, learner_id(77, text, size));
        assert_int_not_equal(slot, 0);
    }
}

static void test_time_units(void **state)
{
    (void)state;
    static const struct {
        const char *logical;
        int64_t value, ms;
        int hour;
    } cases[] = {
        {"timestamp-millis", 0, 0, 0},
        {"timestamp-millis", 3599999, 3599999, 0},
        {"timestamp-millis", 3600000, 3600000, 1},
        {"timestamp-millis", -1, -1, 23},
        {"timestamp-millis", -86400000, -86400000, 0},
        {"timestamp-millis", INT64_MIN, INT64_MIN, 16},
        {"timestamp-millis", INT64_MAX, INT64_MAX, 7},
        {"local-timestamp-millis", 7200000, 7200000, 2},
        {"timestamp-micros", 1999, 1, 0},
        {"timestamp-micros", -1, -1, 23},
        {"timestamp-micros", -1000, -1, 23},
        {"timestamp-micros", -1001, -2, 23},
        {"timestamp-micros", INT64_MIN, -9223372036854776, 19},
        {"no-such-type", 86399999, 86399999, 23},
    };
    for (unsigned i = 0; i < COUNT(cases); i++) {
        char type[100];
        struct wire wire = {0};
        uint64_t ms, hour;
        snprintf(type, sizeof type,
                 "{\"type\": \"long\", \"logicalType\": \"%s\"}",
                 cases[i].logical);
        wire_long(&wire, cases[i].value);
        assert_int_equal(slot_of(type, INGEST_TARGET_MS, true, &wire, &ms),
                         INGEST_REASON_NONE);
        assert_int_equal((int64_t)ms, cases[i].ms);
        assert_int_equal(slot_of(type, INGEST_TARGET_HOUR, true, &wire, &hour),
                         INGEST_REASON_NONE);
        assert_int_equal(hour, learner_id_of_int(77, cases[i].hour));
    }
}

static void test_null_is_zero(void **state)
{
    (void)state;
    struct ingest_program *program =
        compile(all_schema, all_targets, ALL_TARGETS);
    struct wire wire = {0};
    uint64_t slots[ALL_TARGETS];
    wire_string(&wire, "t");
    wire_long(&wire, 0);
    wire_bytes(&wire, "12345", 5);
    for (int zeros = 0; zeros < 3 + 1 + 4 + 8; zeros++)
        wire_byte(&wire, 0);
    wire_long(&wire, 5); /* millis */
    wire_long(&wire, 6);
    wire_long(&wire, 1); /* either, user, voids, table, chain: nothing */
    for (int zeros = 0; zeros < 4; zeros++)
        wire_byte(&wire, 0);
    wire_long(&wire, 0);
    assert_int_equal(run_wire(program, &wire, slots, ALL_TARGETS),
                     INGEST_REASON_NONE);
    assert_int_equal(slots[ALL_EITHER], 0);
    assert_int_equal(slots[ALL_USER], 0);
    assert_int_equal(slots[ALL_CITY], 0);
    assert_int_equal(slots[ALL_CHAIN], 0);
    assert_int_equal(slots[ALL_RAW], learner_id(2, "", 0));
    assert_int_equal(slots[ALL_FLAG], learner_id(7, "false", 5));
    assert_int_equal(slots[ALL_LAST], learner_id(16, "RED", 3));
    ingest_program_free(program);
}

static void test_required(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        const char *bytes;
        size_t size;
        enum ingest_reason reason;
    } cases[] = {
        {"\"string\"", "\0", 1, INGEST_REASON_MISSING},
        {"\"bytes\"", "\0", 1, INGEST_REASON_MISSING},
        {"\"string\"", "\2a", 2, INGEST_REASON_NONE},
        {"[\"null\", \"string\"]", "\0", 1, INGEST_REASON_MISSING},
        {"[\"null\", \"string\"]", "\2\0", 2, INGEST_REASON_MISSING},
        {"[\"null\", \"string\"]", "\2\2a", 3, INGEST_REASON_NONE},
        {"[\"long\", \"null\"]", "\2", 1, INGEST_REASON_MISSING},
        {"[\"long\", \"null\"]", "\0\0", 2, INGEST_REASON_NONE},
        {"\"null\"", "", 0, INGEST_REASON_MISSING},
        {"\"long\"", "\0", 1, INGEST_REASON_NONE},
        /* Damage comes before the missing value. */
        {"[\"null\", \"string\"]", "\0x", 2, INGEST_REASON_TRAILING},
        {"[\"null\", \"string\"]", "\4", 1, INGEST_REASON_INDEX},
        {"\"string\"", "", 0, INGEST_REASON_TRUNCATED},
    };
    for (unsigned i = 0; i < COUNT(cases); i++) {
        struct wire wire = {0};
        uint64_t slot;
        wire_bytes(&wire, cases[i].bytes, cases[i].size);
        assert_int_equal(slot_of(cases[i].type, INGEST_TARGET_ID, true, &wire,
                                 &slot),
                         cases[i].reason);
    }
}

static void test_path_into_some_branches(void **state)
{
    (void)state;
    static const char schema[] =
        "{\"type\": \"record\", \"name\": \"R\", \"fields\": ["
        "{\"name\": \"who\", \"type\": [\"null\", \"string\","
        " {\"type\": \"record\", \"name\": \"A\", \"fields\":"
        "  [{\"name\": \"id\", \"type\": \"string\"}]},"
        " {\"type\": \"record\", \"name\": \"B\", \"fields\":"
        "  [{\"name\": \"n\", \"type\": \"int\"},"
        "   {\"name\": \"id\", \"type\": \"long\"}]},"
        " {\"type\": \"record\", \"name\": \"C\", \"fields\":"
        "  [{\"name\": \"n\", \"type\": \"int\"}]}]}]}";
    static const struct {
        const char *bytes;
        size_t size;
        const char *id;
    } cases[] = {{"\0", 1, NULL},      {"\2\2x", 3, NULL}, {"\4\2y", 3, "y"},
                 {"\6\2\x0e", 3, "7"}, {"\10\2", 2, NULL}};
    for (int required = 0; required < 2; required++) {
        struct ingest_target target = {"who.id", INGEST_TARGET_ID, required,
                                       .seed = 5};
        struct ingest_program *program = compile(schema, &target, 1);
        for (unsigned i = 0; i < COUNT(cases); i++) {
            const char *id = cases[i].id;
            uint64_t slot;
            assert_int_equal(run(program, cases[i].bytes, cases[i].size, &slot,
                                 1),
                             required && !id ? INGEST_REASON_MISSING
                                             : INGEST_REASON_NONE);
            assert_int_equal(slot, id ? learner_id(5, id, strlen(id)) : 0);
        }
        ingest_program_free(program);
    }
}

/* ---- damage ------------------------------------------------------------ */

static void test_every_prefix(void **state)
{
    (void)state;
    struct ingest_program *read =
        compile(all_schema, all_targets, ALL_TARGETS);
    struct ingest_program *skip = compile(all_schema, NULL, 0);
    struct wire wire = {0};
    all_write(&wire);
    for (size_t size = 0; size < wire.size; size++) {
        assert_int_equal(run(read, wire.bytes, size, NULL, ALL_TARGETS),
                         INGEST_REASON_TRUNCATED);
        assert_int_equal(run(skip, wire.bytes, size, NULL, 0),
                         INGEST_REASON_TRUNCATED);
    }
    assert_int_equal(run_wire(read, &wire, NULL, ALL_TARGETS),
                     INGEST_REASON_NONE);
    assert_int_equal(run_wire(skip, &wire, NULL, 0), INGEST_REASON_NONE);
    wire_byte(&wire, 0);
    assert_int_equal(run_wire(read, &wire, NULL, ALL_TARGETS),
                     INGEST_REASON_TRAILING);
    assert_int_equal(ingest_program_run(skip, NULL, 0, NULL),
                     INGEST_REASON_TRUNCATED);
    ingest_program_free(read);
    ingest_program_free(skip);
}

/* Every byte takes every value: the program that reads and the program that
 * skips always come to the same verdict. */
static void test_every_byte_changed(void **state)
{
    (void)state;
    struct ingest_program *read =
        compile(all_schema, all_targets, ALL_TARGETS);
    struct ingest_program *skip = compile(all_schema, NULL, 0);
    struct wire wire = {0};
    unsigned verdicts[INGEST_REASON_COUNT] = {0};
    all_write(&wire);
    for (size_t i = 0; i < wire.size; i++) {
        uint8_t original = wire.bytes[i];
        for (unsigned byte = 0; byte < 256; byte++) {
            wire.bytes[i] = (uint8_t)byte;
            enum ingest_reason one =
                run_wire(read, &wire, NULL, ALL_TARGETS);
            enum ingest_reason other = run_wire(skip, &wire, NULL, 0);
            if (one == INGEST_REASON_MISSING)
                one = INGEST_REASON_NONE;
            assert_int_equal(one, other);
            verdicts[one]++;
        }
        wire.bytes[i] = original;
    }
    static const enum ingest_reason expected[] = {
        INGEST_REASON_NONE,   INGEST_REASON_TRUNCATED, INGEST_REASON_LENGTH,
        INGEST_REASON_VARINT, INGEST_REASON_INDEX,     INGEST_REASON_BOOLEAN,
        INGEST_REASON_LIMITS, INGEST_REASON_TRAILING};
    unsigned sum = 0;
    for (unsigned i = 0; i < COUNT(expected); i++) {
        if (expected[i] != INGEST_REASON_LIMITS)
            assert_int_not_equal(verdicts[expected[i]], 0);
        sum += verdicts[expected[i]];
    }
    assert_int_equal(sum, 256 * wire.size);
    ingest_program_free(read);
    ingest_program_free(skip);
}

static void test_lengths(void **state)
{
    (void)state;
    static const struct {
        int64_t length;
        enum ingest_reason reason;
    } cases[] = {
        {-1, INGEST_REASON_LENGTH},
        {INT64_MIN, INGEST_REASON_LENGTH},
        {1ll << 31, INGEST_REASON_LENGTH},
        {1ll << 45, INGEST_REASON_LENGTH},
        {INT64_MAX, INGEST_REASON_LENGTH},
        {INT32_MAX, INGEST_REASON_TRUNCATED},
        {65536, INGEST_REASON_TRUNCATED},
        {6, INGEST_REASON_TRUNCATED},
        {5, INGEST_REASON_NONE},
        {4, INGEST_REASON_TRAILING},
    };
    static const char *const types[] = {"\"string\"", "\"bytes\"",
                                        "[\"null\", \"string\"]"};
    for (unsigned type = 0; type < COUNT(types); type++) {
        for (unsigned i = 0; i < COUNT(cases); i++) {
            struct wire wire = {0};
            uint64_t slot;
            if (type == 2)
                wire_long(&wire, 1);
            wire_long(&wire, cases[i].length);
            wire_bytes(&wire, "hello", 5);
            assert_int_equal(reason_of(types[type], &wire), cases[i].reason);
            assert_int_equal(slot_of(types[type], INGEST_TARGET_ID, false,
                                     &wire, &slot),
                             cases[i].reason);
        }
    }
}

static void test_varints(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        const char *bytes;
        size_t size;
        enum ingest_reason reason;
    } cases[] = {
        {"\"long\"", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10,
         INGEST_REASON_NONE},
        {"\"long\"", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10,
         INGEST_REASON_VARINT},
        {"\"long\"", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x80\x00", 11,
         INGEST_REASON_VARINT},
        {"\"long\"", "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 10,
         INGEST_REASON_NONE},
        {"\"long\"", "\x80\x80\x80\x80\x80\x80\x80\x80\x80", 9,
         INGEST_REASON_TRUNCATED},
        {"\"int\"", "\xff\xff\xff\xff\x0f", 5, INGEST_REASON_NONE},
        {"\"int\"", "\x80\x80\x80\x80\x10", 5, INGEST_REASON_VARINT},
        {"\"int\"", "\xff\xff\xff\xff\xff\x01", 6, INGEST_REASON_VARINT},
        {"\"int\"", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10,
         INGEST_REASON_VARINT},
        {"\"string\"", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10,
         INGEST_REASON_VARINT},
        {"\"boolean\"", "\2", 1, INGEST_REASON_BOOLEAN},
        {"\"boolean\"", "\xff", 1, INGEST_REASON_BOOLEAN},
        {"\"boolean\"", "\1", 1, INGEST_REASON_NONE},
        {"[\"null\", \"int\"]", "\4", 1, INGEST_REASON_INDEX},
        {"[\"null\", \"int\"]", "\1", 1, INGEST_REASON_INDEX},
        {"[\"null\", \"int\"]",
         "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10, INGEST_REASON_INDEX},
        {"[\"null\"]", "\2", 1, INGEST_REASON_INDEX},
        {"[\"null\", \"int\", \"string\"]", "\6", 1, INGEST_REASON_INDEX},
        {"{\"type\": \"enum\", \"name\": \"E\", \"symbols\": [\"A\", \"B\"]}",
         "\4", 1, INGEST_REASON_INDEX},
        {"{\"type\": \"enum\", \"name\": \"E\", \"symbols\": [\"A\", \"B\"]}",
         "\1", 1, INGEST_REASON_INDEX},
        {"{\"type\": \"enum\", \"name\": \"E\", \"symbols\": [\"A\", \"B\"]}",
         "\2", 1, INGEST_REASON_NONE},
        {"\"float\"", "abc", 3, INGEST_REASON_TRUNCATED},
        {"\"double\"", "abcdefg", 7, INGEST_REASON_TRUNCATED},
        {"{\"type\": \"fixed\", \"name\": \"F\", \"size\": 2147483647}",
         "abcdefg", 7, INGEST_REASON_TRUNCATED},
        {"{\"type\": \"fixed\", \"name\": \"F\", \"size\": 0}", "", 0,
         INGEST_REASON_NONE},
    };
    for (unsigned i = 0; i < COUNT(cases); i++) {
        struct wire wire = {0};
        wire_bytes(&wire, cases[i].bytes, cases[i].size);
        enum ingest_reason reason = reason_of(cases[i].type, &wire);
        if (reason != cases[i].reason)
            fail_msg("case %u: %s", i, ingest_reason_name(reason));
    }
}

/* ---- blocks and bombs -------------------------------------------------- */

static void check_block(const char *type, int64_t count, int64_t bytes,
                        const char *rest, enum ingest_reason reason)
{
    struct wire wire = {0};
    wire_long(&wire, count);
    if (count < 0)
        wire_long(&wire, bytes);
    wire_bytes(&wire, rest, strlen(rest));
    wire_byte(&wire, 0);
    enum ingest_reason got = reason_of(type, &wire);
    if (got != reason)
        fail_msg("%s, count %lld, bytes %lld: %s", type, (long long)count,
                 (long long)bytes, ingest_reason_name(got));
}

static void test_blocks(void **state)
{
    (void)state;
    static const char ints[] = "{\"type\": \"array\", \"items\": \"int\"}";
    static const char nulls[] = "{\"type\": \"array\", \"items\": \"null\"}";
    static const char map[] = "{\"type\": \"map\", \"values\": \"null\"}";
    check_block(ints, 3, 0, "bb", INGEST_REASON_TRUNCATED);
    check_block(ints, 3, 0, "bbb", INGEST_REASON_NONE);
    check_block(ints, -3, 3, "bbb", INGEST_REASON_NONE);
    check_block(ints, -3, 2, "bbb", INGEST_REASON_LENGTH);
    check_block(ints, -3, 4, "bbb", INGEST_REASON_LENGTH);
    check_block(ints, -3, 0, "bbb", INGEST_REASON_LENGTH);
    check_block(ints, -3, 5, "bbb", INGEST_REASON_TRUNCATED);
    check_block(ints, -3, -1, "bbb", INGEST_REASON_LENGTH);
    check_block(ints, -3, 1ll << 31, "bbb", INGEST_REASON_LENGTH);
    check_block(ints, -3, 1ll << 45, "bbb", INGEST_REASON_LENGTH);
    check_block(ints, -3, INT64_MIN, "bbb", INGEST_REASON_LENGTH);
    check_block(ints, INT64_MIN, 3, "bbb", INGEST_REASON_LENGTH);
    check_block(ints, INT64_MIN + 1, 3, "bbb", INGEST_REASON_LIMITS);
    check_block(ints, INT64_MAX, 0, "bbb", INGEST_REASON_LIMITS);
    check_block(nulls, 1000, 0, "", INGEST_REASON_NONE);
    check_block(nulls, -1000, 0, "", INGEST_REASON_NONE);
    check_block(nulls, 1ll << 40, 0, "", INGEST_REASON_LIMITS);
    check_block(nulls, -(1ll << 40), 0, "", INGEST_REASON_LIMITS);
    check_block(map, 1, 0, "\2k", INGEST_REASON_NONE);
    check_block(map, -1, 2, "\2k", INGEST_REASON_NONE);
    check_block(map, 1, 0, "\1k", INGEST_REASON_LENGTH);
    check_block(map, 1ll << 40, 0, "\2k", INGEST_REASON_LIMITS);
    struct wire wire = {0};
    assert_int_equal(reason_of(ints, &wire), INGEST_REASON_TRUNCATED);
}

/* Blocks of nulls again and again: work is paid from one budget. */
static void test_repeated_blocks_of_nulls(void **state)
{
    (void)state;
    struct wire wire = {0};
    for (int i = 0; i < 1000; i++)
        wire_long(&wire, 8000);
    wire_long(&wire, 0);
    assert_int_equal(reason_of("{\"type\": \"array\", \"items\": \"null\"}",
                               &wire),
                     INGEST_REASON_LIMITS);
}

/* Thirty records, each of which holds the one before twice: 2^30 visits of
 * a record without bytes. */
static void test_records_that_double(void **state)
{
    (void)state;
    char schema[8192];
    int used = snprintf(schema, sizeof schema,
                        "{\"type\": \"record\", \"name\": \"Top\","
                        " \"fields\": [{\"name\": \"f0\", \"type\":"
                        " {\"type\": \"record\", \"name\": \"R0\","
                        " \"fields\": []}}");
    for (int i = 1; i <= 30; i++)
        used += snprintf(schema + used, sizeof schema - (size_t)used,
                         ", {\"name\": \"f%d\", \"type\": {\"type\":"
                         " \"record\", \"name\": \"R%d\", \"fields\":"
                         " [{\"name\": \"a\", \"type\": \"R%d\"},"
                         " {\"name\": \"b\", \"type\": \"R%d\"}]}}",
                         i, i, i - 1, i - 1);
    snprintf(schema + used, sizeof schema - (size_t)used, "]}");
    struct ingest_program *program = compile(schema, NULL, 0);
    assert_int_equal(run(program, "", 0, NULL, 0), INGEST_REASON_LIMITS);
    ingest_program_free(program);
}

static void test_nesting(void **state)
{
    (void)state;
    static const char schema[] =
        "{\"type\": \"record\", \"name\": \"L\", \"fields\":"
        " [{\"name\": \"next\", \"type\": [\"null\", \"L\"]}]}";
    static const char kids[] =
        "{\"type\": \"record\", \"name\": \"T\", \"fields\": [{\"name\":"
        " \"kids\", \"type\": {\"type\": \"array\", \"items\": \"T\"}}]}";
    enum { DEEP = 1000000 };
    uint8_t *bytes = malloc(DEEP + 1);
    assert_non_null(bytes);
    memset(bytes, 2, DEEP);
    bytes[DEEP] = 0;
    struct ingest_program *program = compile(schema, NULL, 0);
    assert_int_equal(run(program, bytes, DEEP + 1, NULL, 0),
                     INGEST_REASON_LIMITS);
    assert_int_equal(run(program, bytes + DEEP - 32, 33, NULL, 0),
                     INGEST_REASON_NONE);
    assert_int_equal(run(program, bytes + DEEP - 33, 34, NULL, 0),
                     INGEST_REASON_LIMITS);
    ingest_program_free(program);
    program = compile(kids, NULL, 0);
    assert_int_equal(run(program, bytes, DEEP, NULL, 0), INGEST_REASON_LIMITS);
    ingest_program_free(program);
    free(bytes);
}

static void test_large_array_is_within_limits(void **state)
{
    (void)state;
    enum { ITEMS = 300000 };
    static const char schema[] =
        "{\"type\": \"record\", \"name\": \"R\", \"fields\": [{\"name\":"
        " \"x\", \"type\": {\"type\": \"array\", \"items\": [\"null\","
        " {\"type\": \"record\", \"name\": \"I\", \"fields\": [{\"name\":"
        " \"flag\", \"type\": \"boolean\"}]}]}}]}";
    struct wire head = {0};
    wire_long(&head, ITEMS);
    size_t size = head.size + 2 * ITEMS + 1;
    uint8_t *bytes = calloc(size, 1);
    assert_non_null(bytes);
    memcpy(bytes, head.bytes, head.size);
    for (size_t i = 0; i < ITEMS; i++)
        bytes[head.size + 2 * i] = 2;
    struct ingest_program *program = compile(schema, NULL, 0);
    assert_int_equal(run(program, bytes, size, NULL, 0), INGEST_REASON_NONE);
    ingest_program_free(program);
    free(bytes);
}

/* Noise of every length: it ends, and it reads nothing outside. */
static void test_noise(void **state)
{
    (void)state;
    struct ingest_program *program =
        compile(all_schema, all_targets, ALL_TARGETS);
    uint8_t noise[256];
    for (unsigned round = 0; round < 20000; round++) {
        size_t size = base_random_u64(8, 0, round, 0) % sizeof noise;
        for (size_t i = 0; i < size; i++) {
            uint64_t bits = base_random_u64(8, 1, round, i);
            noise[i] = (uint8_t)(bits & 0x100 ? bits : bits & 7);
        }
        assert_in_range(run(program, noise, size, NULL, ALL_TARGETS),
                        INGEST_REASON_NONE, INGEST_REASON_COUNT - 1);
    }
    ingest_program_free(program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type),
        cmocka_unit_test(test_integer_ids),
        cmocka_unit_test(test_text_ids_of_all_sizes),
        cmocka_unit_test(test_time_units),
        cmocka_unit_test(test_null_is_zero),
        cmocka_unit_test(test_required),
        cmocka_unit_test(test_path_into_some_branches),
        cmocka_unit_test(test_every_prefix),
        cmocka_unit_test(test_every_byte_changed),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_varints),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_repeated_blocks_of_nulls),
        cmocka_unit_test(test_records_that_double),
        cmocka_unit_test(test_nesting),
        cmocka_unit_test(test_large_array_is_within_limits),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
