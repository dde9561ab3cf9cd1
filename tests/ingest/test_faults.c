/* SPDX-License-Identifier: Apache-2.0 */
/* The bad inputs that concern a single record, by their numbers: each becomes
 * a dead letter with its own reason, and the records around it are decoded as
 * if it had not been there. Faults 6 and 14 need a registry and a broker: see
 * test_registry.c, and `huge` in tests/e2e/bad_input.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "ingest/decoder.h"
#include "ingest/schema.h"
#include "kafka_fixture.h"
#include "learner/learner.h"
#include "tests/ingest/wire.h"

/* libavro forgets memory when it refuses a schema; that is not ours to free.
 * Leaks of this project's own code are still reported. */
__attribute__((visibility("default"))) const char *
__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libavro.so\n";
}

static const int64_t now_ms = 1700000000000;
static struct ingest_config config;

static struct ingest_decoder *decoder_of(const struct ingest_config *given)
{
    struct ingest_decoder *decoder = NULL;
    struct base_error error = {.text = ""};
    if (ingest_decoder_new(given, INGEST_IMPRESSIONS, NULL, &decoder, &error))
        fail_msg("%s", error.text);
    return decoder;
}

/* The reason for these bytes (a copy of just their size), between two good
 * records. `user`: its id, where it is decoded. */
static enum ingest_reason reason_of(struct ingest_decoder *decoder,
                                    const void *bytes, size_t size,
                                    uint64_t *user)
{
    uint8_t good[256], *copy = malloc(size ? size : 1);
    uint64_t ids[4], before[4];
    size_t good_size = kafka_fixture_impression(good, "i", "u", now_ms, "g");
    struct ingest_event events[3] = {{0}};
    assert_non_null(copy);
    if (size)
        memcpy(copy, bytes, size);
    ingest_decoder_read(decoder, good, good_size, &events[0], before);
    ingest_decoder_read(decoder, bytes ? copy : NULL, size, &events[1], ids);
    ingest_decoder_read(decoder, good, good_size, &events[2], ids);
    assert_int_equal(events[2].kind, INGEST_EVENT_IMPRESSION);
    assert_int_equal(events[2].event_id, events[0].event_id);
    assert_memory_equal(ids, before, sizeof ids);
    free((void *)events[1].payload);
    free(copy);
    if (user)
        *user = events[1].user;
    return (enum ingest_reason)events[1].reason;
}

static void fault_1_truncated(void **state)
{
    (void)state;
    struct ingest_decoder *decoder = decoder_of(&config);
    uint8_t bytes[256];
    size_t size = kafka_fixture_impression(bytes, "i", "u", now_ms, "g");
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(reason_of(decoder, bytes, cut, NULL),
                         INGEST_REASON_TRUNCATED);
    ingest_decoder_free(decoder);
}

static void fault_2_lengths(void **state)
{
    (void)state;
    static const int64_t lengths[] = {-1, INT64_MIN, 1ll << 31, 1ll << 45,
                                      INT64_MAX};
    struct ingest_decoder *decoder = decoder_of(&config);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct wire wire = {0};
        wire_long(&wire, lengths[i]);
        wire_string(&wire, "rest");
        assert_int_equal(reason_of(decoder, wire.bytes, wire.size, NULL),
                         INGEST_REASON_LENGTH);
    }
    struct wire wire = {0};
    wire_long(&wire, 1000); /* more than is left */
    wire_string(&wire, "rest");
    assert_int_equal(reason_of(decoder, wire.bytes, wire.size, NULL),
                     INGEST_REASON_TRUNCATED);
    ingest_decoder_free(decoder);
}

/* ---- schemas of the test's own ------------------------------------------- */

struct folder {
    char path[64];
    struct ingest_config config;
    struct ingest_decoder *decoder;
};

static void open_folder(struct folder *folder)
{
    *folder = (struct folder){.path = "/tmp/interestd-faults-XXXXXX",
                              .config = config};
    assert_non_null(mkdtemp(folder->path));
    struct ingest_topic_config *topic = &folder->config.topics[0];
    topic->framing = INGEST_CONFLUENT;
    snprintf(topic->schema, sizeof topic->schema, "%s", folder->path);
    folder->decoder = decoder_of(&folder->config);
}

static void close_folder(struct folder *folder)
{
    struct base_error error;
    ingest_decoder_free(folder->decoder);
    assert_int_equal(base_file_remove(folder->path, &error), BASE_OK);
}

static void put_schema(const struct folder *folder, unsigned id,
                       const char *text)
{
    char path[100];
    struct base_error error;
    snprintf(path, sizeof path, "%s/%u.avsc", folder->path, id);
    assert_int_equal(base_file_replace(path, text, strlen(text), &error),
                     BASE_OK);
}

#define STRING(name) "{\"name\": \"" name "\", \"type\": \"string\"},"
#define SHORT \
    STRING("impression_id") STRING("user_id") STRING("goods") \
    STRING("shop") STRING("cate") STRING("pid") \
    "{\"name\": \"event_ms\", \"type\": \"long\"}"
#define WITH(more) \
    "{\"type\": \"record\", \"name\": \"I\", \"fields\": [" SHORT more "]}"

/* The start of a framed record of schema `id`. */
static struct wire framed(unsigned id)
{
    struct wire wire = {0};
    wire_bytes(&wire, (uint8_t[]){0, 0, 0, 0, (uint8_t)id}, 5);
    for (const char *text = "iugscp"; *text; text++)
        wire_string(&wire, (char[]){*text, 0});
    wire_long(&wire, now_ms);
    return wire;
}

static enum ingest_reason framed_reason(const struct folder *folder,
                                        const struct wire *wire)
{
    struct ingest_event event = {.kafka_ms = -1};
    uint64_t ids[4];
    ingest_decoder_read(folder->decoder, wire->bytes, wire->size, &event, ids);
    free((void *)event.payload);
    return (enum ingest_reason)event.reason;
}

static void fault_3_bombs(void **state)
{
    (void)state;
    struct folder folder;
    open_folder(&folder);
    put_schema(&folder, 1, WITH(",{\"name\": \"n\", \"type\": {\"type\":"
                                " \"array\", \"items\": \"null\"}}"));
    put_schema(&folder, 2, WITH(",{\"name\": \"n\", \"type\": {\"type\":"
                                " \"record\", \"name\": \"N\", \"fields\":"
                                " [{\"name\": \"n\", \"type\": [\"null\","
                                " \"N\"]}]}}"));
    static const struct {
        int64_t count, bytes;
        enum ingest_reason reason;
    } cases[] = {{1ll << 40, 0, INGEST_REASON_LIMITS},
                 {-(1ll << 40), 0, INGEST_REASON_LIMITS},
                 {INT64_MAX, 0, INGEST_REASON_LIMITS},
                 {INT64_MIN, 0, INGEST_REASON_LENGTH},
                 {-3, 7, INGEST_REASON_TRUNCATED},
                 {-3, 1, INGEST_REASON_LENGTH},
                 {5, 0, INGEST_REASON_NONE}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct wire wire = framed(1);
        wire_long(&wire, cases[i].count);
        if (cases[i].count < 0)
            wire_long(&wire, cases[i].bytes);
        wire_byte(&wire, 0);
        assert_int_equal(framed_reason(&folder, &wire), cases[i].reason);
    }
    enum { DEEP = 1000000 };
    struct wire head = framed(2);
    uint8_t *deep = malloc(head.size + DEEP);
    assert_non_null(deep);
    memcpy(deep, head.bytes, head.size);
    memset(deep + head.size, 2, DEEP);
    struct ingest_event event = {.kafka_ms = -1};
    uint64_t ids[4];
    folder.config.event_max = 2 * DEEP;
    ingest_decoder_free(folder.decoder);
    folder.decoder = decoder_of(&folder.config);
    ingest_decoder_read(folder.decoder, deep, head.size + DEEP, &event, ids);
    assert_int_equal(event.reason, INGEST_REASON_LIMITS);
    free((void *)event.payload);
    free(deep);
    close_folder(&folder);
}

static void fault_4_numbers(void **state)
{
    (void)state;
    struct folder folder;
    open_folder(&folder);
    put_schema(&folder, 1, WITH(",{\"name\": \"n\", \"type\": \"int\"}"));
    put_schema(&folder, 2, WITH(",{\"name\": \"n\", \"type\": [\"null\","
                                " \"int\"]}"));
    put_schema(&folder, 3, WITH(",{\"name\": \"n\", \"type\": {\"type\":"
                                " \"enum\", \"name\": \"E\", \"symbols\":"
                                " [\"A\", \"B\"]}}"));
    put_schema(&folder, 4, WITH(",{\"name\": \"n\", \"type\": \"boolean\"}"));
    put_schema(&folder, 5, WITH(",{\"name\": \"n\", \"type\": \"long\"}"));
    static const struct {
        unsigned schema;
        const char *bytes;
        size_t size;
        enum ingest_reason reason;
    } cases[] = {
        {5, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11,
         INGEST_REASON_VARINT},
        {1, "\x80\x80\x80\x80\x10", 5, INGEST_REASON_VARINT},
        {2, "\4", 1, INGEST_REASON_INDEX},
        {2, "\1", 1, INGEST_REASON_INDEX},
        {3, "\4", 1, INGEST_REASON_INDEX},
        {4, "\2", 1, INGEST_REASON_BOOLEAN},
        {1, "\2\2", 2, INGEST_REASON_TRAILING},
        {1, "\2", 1, INGEST_REASON_NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct wire wire = framed(cases[i].schema);
        wire_bytes(&wire, cases[i].bytes, cases[i].size);
        assert_int_equal(framed_reason(&folder, &wire), cases[i].reason);
    }
    close_folder(&folder);
}

static void fault_5_framing(void **state)
{
    (void)state;
    struct folder folder;
    open_folder(&folder);
    struct ingest_decoder *plain = decoder_of(&config);
    assert_int_equal(reason_of(plain, NULL, 0, NULL), INGEST_REASON_TOMBSTONE);
    static const struct {
        const char *bytes;
        size_t size;
        enum ingest_reason reason;
    } cases[] = {
        {"", 0, INGEST_REASON_WIRE},
        {"\0\0\0\0", 4, INGEST_REASON_WIRE},
        {"\1\x12\x34\x56\x78\x9a\xbc\xde\xf0\x12\x34\x56\x78\x9a\xbc\xde\xf0"
         "\2i", 19, INGEST_REASON_WIRE}, /* magic 1 and a GUID */
        {"{\"user_id\": \"u\"}", 16, INGEST_REASON_WIRE},
        {"\0\0\0\0\x63", 5, INGEST_REASON_SCHEMA_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct wire wire = {0};
        wire_bytes(&wire, cases[i].bytes, cases[i].size);
        assert_int_equal(framed_reason(&folder, &wire), cases[i].reason);
    }
    ingest_decoder_free(plain);
    close_folder(&folder);
}

/* Hostile or unfit schemas; the verdict is kept. What is good of an evolved
 * schema: test_resolve.c and the differential test. */
static void fault_7_schemas(void **state)
{
    (void)state;
    struct folder folder;
    open_folder(&folder);
    char *deep = calloc(300000, 1), *wide = calloc(1000000, 1);
    assert_non_null(deep);
    assert_non_null(wide);
    char *at = deep;
    for (int i = 0; i < 10000; i++)
        at += sprintf(at, "{\"type\":\"array\",\"items\":");
    at = wide + sprintf(wide, "{\"type\": \"record\", \"name\": \"I\","
                              " \"fields\": [");
    for (int i = 0; i < 20000; i++)
        at += sprintf(at, "{\"name\":\"f%d\",\"type\":\"int\"},", i);
    const char *const schemas[] = {
        deep, wide, WITH(",{\"name\": \"pid\", \"type\": \"int\"}"), "{}", "",
        "{\"type\": \"record\", \"name\": \"I\", \"fields\": []}"};
    for (unsigned id = 0; id < sizeof schemas / sizeof *schemas; id++) {
        struct wire wire = framed(id);
        put_schema(&folder, id, schemas[id]);
        assert_int_equal(framed_reason(&folder, &wire), INGEST_REASON_SCHEMA);
        put_schema(&folder, id, WITH("")); /* too late */
        assert_int_equal(framed_reason(&folder, &wire), INGEST_REASON_SCHEMA);
    }
    put_schema(&folder, 99, WITH(""));
    struct wire wire = framed(99);
    assert_int_equal(framed_reason(&folder, &wire), INGEST_REASON_NONE);
    free(deep);
    free(wide);
    close_folder(&folder);
}

/* Ids are bytes: any that are there count, but none at all is missing. */
static void fault_12_ids(void **state)
{
    (void)state;
    static char large[60000];
    memset(large, 'x', sizeof large);
    static const struct {
        const char *id;
        size_t size;
        enum ingest_reason reason;
    } cases[] = {
        {"", 0, INGEST_REASON_MISSING},
        {"0", 1, INGEST_REASON_NONE},
        {"18446744073709551615", 20, INGEST_REASON_NONE},
        {"\xff\xfe\xc3", 3, INGEST_REASON_NONE},
        {"a\0b", 3, INGEST_REASON_NONE},
        {large, sizeof large, INGEST_REASON_NONE},
    };
    struct ingest_decoder *decoder = decoder_of(&config);
    uint8_t *bytes = malloc(sizeof large + 300);
    assert_non_null(bytes);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t tail[256];
        struct wire head = {0};
        uint64_t user;
        size_t size =
            kafka_fixture_impression(tail, "", "", now_ms, "g") - 2;
        wire_string(&head, "i");
        wire_long(&head, (int64_t)cases[i].size);
        memcpy(bytes, head.bytes, head.size);
        memcpy(bytes + head.size, cases[i].id, cases[i].size);
        memcpy(bytes + head.size + cases[i].size, tail + 2, size);
        assert_int_equal(reason_of(decoder, bytes,
                                   head.size + cases[i].size + size, &user),
                         cases[i].reason);
        if (!cases[i].reason)
            assert_int_equal(user, learner_id(learner_table_seed("user"),
                                              cases[i].id, cases[i].size));
    }
    free(bytes);
    ingest_decoder_free(decoder);
}

int main(void)
{
    struct kafka_fixture kafka;
    base_log_set_level(BASE_LOG_ERROR);
    kafka_fixture_open(&kafka, 1);
    kafka_fixture_config(&kafka, &config, "");
    kafka_fixture_close(&kafka);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fault_1_truncated), cmocka_unit_test(fault_2_lengths),
        cmocka_unit_test(fault_3_bombs),     cmocka_unit_test(fault_4_numbers),
        cmocka_unit_test(fault_5_framing),   cmocka_unit_test(fault_7_schemas),
        cmocka_unit_test(fault_12_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
