/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer target of the schema compiler: the input is a writer's schema up
 * to its first NUL and a record behind it. What compiles must run. As a
 * reader's schema it must give its defaults, or refuse them. libavro
 * parses the schema too and leaks where it refuses one: run with
 * -detect_leaks=0 -max_len=4096 -dict=tests/fuzz/schema.dict. */
#include <string.h>

#include "ingest/decode.h"
#include "ingest/resolve.h"

static const struct ingest_target targets[] = {
    {"a", INGEST_TARGET_ID, true, .seed = 1},
    {"b", INGEST_TARGET_MS, false, .seed = 2},
    {"b", INGEST_TARGET_HOUR, false, .seed = 3},
    {"c.a", INGEST_TARGET_ID, false, .seed = 4},
    {"c.c.a", INGEST_TARGET_ID, false, .seed = 5},
};

/* With the first `count` targets, so that fewer paths suffice. */
static void compile_and_run(const uint8_t *data, size_t schema_size,
                            size_t size, unsigned count)
{
    struct ingest_program *program;
    struct base_error error;
    uint64_t slots[sizeof targets / sizeof *targets];
    if (ingest_program_new((const char *)data, schema_size, targets, count,
                           &program, &error))
        return;
    enum ingest_reason reason = ingest_program_run(
        program, data + schema_size, size - schema_size, slots);
    if (reason >= INGEST_REASON_COUNT)
        __builtin_trap();
    ingest_program_free(program);
}

/* A writer that has nothing of what the schema has. */
static void read_defaults(const uint8_t *data, size_t size)
{
    static const char writer[] =
        "{\"type\": \"record\", \"name\": \"W\", \"fields\": []}";
    struct ingest_schema *reader;
    struct ingest_program *program;
    struct base_error error;
    uint64_t slot;
    if (ingest_schema_new((const char *)data, size, &reader, &error))
        return;
    (void)!ingest_resolve_check(reader, &error);
    const struct ingest_program_wish wish = {writer, sizeof writer - 1, reader,
                                             targets, 1};
    if (ingest_program_resolve(&wish, &program, &error) == BASE_OK) {
        enum ingest_reason reason = ingest_program_run(program, NULL, 0, &slot);
        if (reason && reason != INGEST_REASON_MISSING)
            __builtin_trap();
        ingest_program_free(program);
    }
    ingest_schema_free(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t schema_size = end ? (size_t)(end - data) : size;
    for (unsigned count = 0; count <= sizeof targets / sizeof *targets;
         count++)
        compile_and_run(data, schema_size, size, count);
    read_defaults(data, schema_size);
    return 0;
}
