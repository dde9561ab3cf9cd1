/* SPDX-License-Identifier: Apache-2.0 */
/* libFuzzer target of the record decoder. The first byte chooses one of some
 * schemas, the rest is the record. The program that reads all targets and the
 * program that only skips must come to the same verdict, which catches a
 * reader that loses its place as well as one that reads too far. Only limits
 * may differ: a record that lies on a target's path is no call and costs
 * none. A corpus is not needed: run with -max_len=4096. */
#include <stdio.h>
#include <stdlib.h>

#include "ingest/schema.h"
#include "tests/ingest/decode_all.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

struct subject {
    const char *schema;
    const struct ingest_target *targets;
    unsigned target_count;
    struct ingest_program *read, *skip;
    const char *reader; /* NULL: none */
};

static const char impression_schema[] =
    "{\"type\": \"record\", \"name\": \"Impression\", \"fields\": ["
    ALL_FIELD("impression_id", "\"string\"") ","
    ALL_FIELD("user_id", "\"string\"") ","
    ALL_FIELD("event_ms", "{\"type\": \"long\","
              " \"logicalType\": \"timestamp-millis\"}") ","
    ALL_FIELD("gender", "[\"null\", \"string\"]") ","
    ALL_FIELD("age_level", "[\"null\", \"int\"]") ","
    ALL_FIELD("price", "[\"float\", \"double\"]") ","
    ALL_FIELD("tags", "[\"null\", {\"type\": \"array\", \"items\":"
              " [\"null\", \"string\", \"long\", \"boolean\"]}]") ","
    ALL_FIELD("goods", "\"string\"") "]}";

static const double bounds[] = {-1, 18, 25.5};

static const struct ingest_target impression_targets[] = {
    {"impression_id", INGEST_TARGET_ID, true, .seed = 1},
    {"user_id", INGEST_TARGET_ID, true, .seed = 2},
    {"event_ms", INGEST_TARGET_MS, true, .seed = 0},
    {"event_ms", INGEST_TARGET_HOUR, false, .seed = 3},
    {"gender", INGEST_TARGET_ID, false, .seed = 4},
    {"age_level", INGEST_TARGET_ID, false, .seed = 5},
    {"goods", INGEST_TARGET_ID, false, .seed = 6},
    {"event_ms", INGEST_TARGET_WEEKDAY, false, .seed = 7},
    {"age_level", INGEST_TARGET_BUCKET, .bounds = bounds, .bound_count = 3},
    {"price", INGEST_TARGET_BUCKET, .bounds = bounds, .bound_count = 3},
    {"tags", INGEST_TARGET_ID, .seed = 8, .values = 3},
    {"goods", INGEST_TARGET_ID, .seed = 9, .values = 2},
};

static const char tree_schema[] =
    "{\"type\": \"record\", \"name\": \"Tree\", \"fields\": ["
    ALL_FIELD("name", "[\"string\", \"null\", \"bytes\"]") ","
    ALL_FIELD("kids", "{\"type\": \"map\", \"values\": [{\"type\": \"array\","
              " \"items\": [\"null\", \"Tree\"]}, \"null\", {\"type\":"
              " \"fixed\", \"name\": \"None\", \"size\": 0}]}") "]}";

static const struct ingest_target tree_targets[] = {
    {"name", INGEST_TARGET_ID, true, .seed = 1},
};

/* Keys of maps, records of arrays, and what the reader's schema stands in
 * for: there `skip` reads no more than the writer's own. */
static const char basket_schema[] =
    "{\"type\": \"record\", \"name\": \"Basket\", \"fields\": ["
    ALL_FIELD("marks", "{\"type\": \"map\", \"values\": [\"null\","
              " \"string\", \"long\"]}") ","
    ALL_FIELD("seen", "[\"null\", {\"type\": \"array\", \"items\": {\"type\":"
              " \"record\", \"name\": \"Seen\", \"fields\": ["
              ALL_FIELD("goods", "[\"null\", \"string\"]") ","
              ALL_FIELD("more", "{\"type\": \"map\", \"values\": \"int\"}")
              "]}}]") ","
    ALL_FIELD("login", "\"bytes\"") "]}";

static const char basket_reader[] =
    "{\"type\": \"record\", \"name\": \"Basket\", \"fields\": ["
    "{\"name\": \"user\", \"type\": \"string\", \"aliases\": [\"login\"]},"
    "{\"name\": \"level\", \"type\": \"int\", \"default\": 3}]}";

static const struct ingest_target basket_targets[] = {
    {"marks.a", INGEST_TARGET_ID, .seed = 1},
    {"marks.b", INGEST_TARGET_ID, .seed = 2},
    {"marks.a", INGEST_TARGET_ID, .seed = 3},
    {"seen.goods", INGEST_TARGET_ID, .seed = 4, .values = 3},
    {"seen.more.a", INGEST_TARGET_ID, .seed = 5, .values = 2},
    {"user", INGEST_TARGET_ID, true, .seed = 6},
    {"level", INGEST_TARGET_ID, true, .seed = 7},
};

static struct subject subjects[] = {
    {all_schema, all_targets, ALL_TARGETS, NULL, NULL, NULL},
    {impression_schema, impression_targets, COUNT(impression_targets), NULL,
     NULL, NULL},
    {tree_schema, tree_targets, COUNT(tree_targets), NULL, NULL, NULL},
    {basket_schema, basket_targets, COUNT(basket_targets), NULL, NULL,
     basket_reader},
};

static void compile(const struct subject *subject, unsigned target_count,
                    struct ingest_program **program)
{
    struct base_error error;
    struct ingest_schema *reader = NULL;
    enum base_status status = BASE_OK;
    if (subject->reader)
        status = ingest_schema_new(subject->reader, strlen(subject->reader),
                                   &reader, &error);
    const struct ingest_program_wish wish = {
        subject->schema, strlen(subject->schema), reader, subject->targets,
        target_count};
    if (status || ingest_program_resolve(&wish, program, &error)) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
    ingest_schema_free(reader);
}

static void check(const struct subject *subject, const uint8_t *record,
                  size_t size)
{
    uint64_t slots[ALL_TARGETS + 16];
    enum ingest_reason read =
        ingest_program_run(subject->read, record, size, slots);
    enum ingest_reason skip =
        ingest_program_run(subject->skip, record, size, NULL);
    if (read == INGEST_REASON_MISSING)
        read = INGEST_REASON_NONE;
    if (read == INGEST_REASON_LIMITS || skip == INGEST_REASON_LIMITS)
        return;
    if (read != skip || read >= INGEST_REASON_COUNT) {
        fprintf(stderr, "read says %s, skip says %s\n",
                ingest_reason_name(read), ingest_reason_name(skip));
        abort();
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    for (unsigned i = 0; i < COUNT(subjects); i++) {
        compile(&subjects[i], subjects[i].target_count, &subjects[i].read);
        compile(&subjects[i], 0, &subjects[i].skip);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size)
        check(&subjects[data[0] % COUNT(subjects)], data + 1, size - 1);
    return 0;
}
