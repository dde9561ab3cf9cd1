/* SPDX-License-Identifier: Apache-2.0 */
/* The decoder against another implementation: decode_cases.py makes random
 * schemas and records with python3-avro and says what the slots must be. All
 * prefixes of each record must be refused as truncated, and a byte behind it
 * as trailing. Ends with 77, "skipped", where python3-avro or python3-xxhash
 * is missing. INTERESTD_TEST_SEED chooses other cases. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/file.h"
#include "ingest/decode.h"
#include "ingest/resolve.h"

enum {
    TARGETS_MAX = 16,
    SLOTS_MAX = 8 * TARGETS_MAX,
    BOUNDS_MAX = 8,
    SCHEMAS = 600,
    SKIPPED = 77
};

/* The cases, read from front to back. */
static char *cases, *at;
static size_t cases_size;
static unsigned checked_records, checked_slots, missing_records, cut_records,
    resolved;

static const char *take(size_t size)
{
    assert_in_range(size, 0, (size_t)(cases + cases_size - at));
    at += size;
    return at - size;
}

static uint8_t take_u8(void)
{
    return (uint8_t)*take(1);
}

static uint32_t take_u32(void)
{
    return base_get_u32(take(4));
}

static uint64_t take_u64(void)
{
    return base_get_u64(take(8));
}

/* Memory of exactly `size` bytes, for sanitizers. */
static enum ingest_reason run(const struct ingest_program *program,
                              const char *bytes, size_t size, uint64_t *slots,
                              uint32_t *cut)
{
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, size);
    enum ingest_reason reason =
        ingest_program_run_cut(program, copy, size, slots, cut);
    free(copy);
    return reason;
}

static void check_damage(const struct ingest_program *program,
                         const char *record, uint32_t size)
{
    uint64_t slots[SLOTS_MAX];
    uint32_t cut;
    for (uint32_t shorter = 0; shorter < size;
         shorter += 1 + (shorter > 500 ? 97 : 0))
        assert_int_equal(run(program, record, shorter, slots, &cut),
                         INGEST_REASON_TRUNCATED);
    char *longer = malloc(size + 1);
    assert_non_null(longer);
    memcpy(longer, record, size);
    longer[size] = 0;
    assert_int_equal(run(program, longer, size + 1, slots, &cut),
                     INGEST_REASON_TRAILING);
    free(longer);
}

static void check_record(const struct ingest_program *program,
                         const char *schema,
                         const struct ingest_target *targets, unsigned count)
{
    uint64_t slots[SLOTS_MAX], *slot = slots;
    uint32_t size = take_u32(), cut = 0;
    const char *record = take(size);
    bool missing = take_u8();
    enum ingest_reason reason = run(program, record, size, slots, &cut);
    if (reason != (missing ? INGEST_REASON_MISSING : INGEST_REASON_NONE))
        fail_msg("%s, record %u: %s", schema, checked_records,
                 ingest_reason_name(reason));
    for (unsigned i = 0; i < count; i++) {
        for (unsigned j = 0; j < targets[i].values; j++, slot++) {
            uint64_t expected = take_u64();
            if (!missing && *slot != expected)
                fail_msg("%s, record %u, path %s, kind %d, place %u: %llx, "
                         "not %llx", schema, checked_records, targets[i].path,
                         (int)targets[i].kind, j, (unsigned long long)*slot,
                         (unsigned long long)expected);
            checked_slots += !missing;
        }
    }
    assert_int_equal(cut, take_u32());
    cut_records += cut > 0;
    check_damage(program, record, size);
    checked_records++;
    missing_records += missing;
}

static char *take_text(uint32_t size)
{
    char *text = malloc(size + 1);
    assert_non_null(text);
    memcpy(text, take(size), size);
    text[size] = '\0';
    return text;
}

static void check_schema(uint32_t size)
{
    char *schema = take_text(size), *reader_text = take_text(take_u32());
    struct ingest_schema *reader = NULL;
    struct ingest_target targets[TARGETS_MAX] = {{0}};
    double bounds[TARGETS_MAX][BOUNDS_MAX];
    unsigned count = take_u32();
    assert_in_range(count, 0, TARGETS_MAX);
    for (unsigned i = 0; i < count; i++) {
        targets[i].kind = take_u8();
        targets[i].required = take_u8();
        targets[i].seed = take_u64();
        targets[i].path = take_text(take_u32());
        targets[i].values = take_u8();
        targets[i].bound_count = take_u8();
        targets[i].bounds = bounds[i];
        assert_in_range(targets[i].bound_count, 0, BOUNDS_MAX);
        for (unsigned j = 0; j < targets[i].bound_count; j++) {
            uint64_t bits = take_u64();
            memcpy(&bounds[i][j], &bits, sizeof bits);
        }
    }
    struct ingest_program *program = NULL;
    struct base_error error;
    if (*reader_text &&
        (ingest_schema_new(reader_text, strlen(reader_text), &reader, &error) ||
         ingest_resolve_check(reader, &error)))
        fail_msg("%s: %s", reader_text, error.text);
    const struct ingest_program_wish wish = {schema, size, reader, targets,
                                             count};
    if (ingest_program_resolve(&wish, &program, &error))
        fail_msg("%s, read as %s: %s", schema, reader_text, error.text);
    ingest_schema_free(reader);
    resolved += *reader_text != '\0';
    for (uint32_t records = take_u32(); records; records--)
        check_record(program, schema, targets, count);
    ingest_program_free(program);
    for (unsigned i = 0; i < count; i++)
        free((char *)targets[i].path);
    free(schema);
    free(reader_text);
}

static void test_against_python(void **state)
{
    (void)state;
    unsigned schemas = 0;
    for (uint32_t size; (size = take_u32()); schemas++)
        check_schema(size);
    assert_int_equal(schemas, SCHEMAS);
    assert_int_equal(at - cases, cases_size);
    assert_true(checked_slots > 5 * SCHEMAS);
    assert_in_range(missing_records, 1, checked_records / 2);
    assert_in_range(resolved, SCHEMAS / 4, SCHEMAS * 3 / 4);
    assert_in_range(cut_records, 1, checked_records / 2);
    print_message("%u schemas, %u with a reader's, %u records, %u slots, %u "
                  "records without a required value\n", schemas, resolved,
                  checked_records, checked_slots, missing_records);
}

/* Runs the script and reads what it wrote; its exit status, or -1. */
static int make_cases(const char *folder)
{
    const char *python = getenv("INTERESTD_PYTHON");
    const char *seed = getenv("INTERESTD_TEST_SEED");
    char path[600], command[1024];
    snprintf(path, sizeof path, "%s/cases", folder);
    snprintf(command, sizeof command,
             "exec %s -B tests/ingest/decode_cases.py %s %d %d",
             python ? python : "/usr/bin/python3", path,
             seed ? atoi(seed) : 1, SCHEMAS);
    int status = system(command);
    status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (status == 127) /* no such Python */
        return SKIPPED;
    struct base_error error = {.text = ""};
    if (!status && base_file_read(path, 1 << 30, &cases, &cases_size, &error))
        status = -1;
    if (status && status != SKIPPED)
        fprintf(stderr, "decode_cases.py: status %d %s\n", status, error.text);
    at = cases;
    return status;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_python),
    };
    const char *base = getenv("TMPDIR");
    char folder[512];
    struct base_error error;
    snprintf(folder, sizeof folder, "%s/interestd-decode-XXXXXX",
             base && *base ? base : "/tmp");
    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    int status = make_cases(folder);
    if (base_file_remove(folder, &error))
        fprintf(stderr, "%s\n", error.text);
    if (status == 0)
        status = cmocka_run_group_tests(tests, NULL, NULL);
    free(cases);
    return status;
}
