/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer target of the schema compiler: the input is a writer's schema up
 * to its first NUL and a record behind it. What compiles must run. libavro
 * parses the schema too and leaks where it refuses one: run with
 * -detect_leaks=0 -max_len=4096 -dict=tests/fuzz/schema.dict. */
#include <string.h>

#include "ingest/decode.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size_t schema_size = end ? (size_t)(end - data) : size;
    for (unsigned count = 0; count <= sizeof targets / sizeof *targets;
         count++)
        compile_and_run(data, schema_size, size, count);
    return 0;
}
