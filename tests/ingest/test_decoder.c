/* SPDX-License-Identifier: Apache-2.0 */
/* From record to event without Kafka: ids, click identity, time limits,
 * payloads of dead letters, chunks that hold them. */
#include "ingest/decoder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/log.h"
#include "ingest/chunk.h"
#include "kafka_fixture.h"
#include "learner/learner.h"

static struct ingest_config config;
static const int64_t now_ms = 1700000000000;

static void fill_config(void)
{
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, 1);
    kafka_fixture_config(&kafka, &config, "");
    kafka_fixture_close(&kafka);
}

static struct ingest_decoder *decoder_of(enum ingest_topic topic)
{
    struct ingest_decoder *decoder = NULL;
    struct base_error error = {.text = ""};
    if (ingest_decoder_new(&config, topic, NULL, &decoder, &error))
        fail_msg("%s", error.text);
    return decoder;
}

static uint64_t id_of(const char *table, const char *text)
{
    return learner_id(learner_table_seed(table), text, strlen(text));
}

static void test_impression(void **state)
{
    (void)state;
    struct ingest_decoder *decoder = decoder_of(INGEST_IMPRESSIONS);
    assert_int_equal(ingest_decoder_ids(decoder), 4);
    uint8_t bytes[256];
    uint64_t ids[4];
    struct ingest_event event = {.kafka_ms = now_ms};
    size_t size = kafka_fixture_impression(bytes, "i", "u", now_ms, "g");
    ingest_decoder_read(decoder, bytes, size, &event, ids);
    assert_int_equal(event.kind, INGEST_EVENT_IMPRESSION);
    assert_int_equal(event.event_id, id_of("event", "i"));
    assert_int_equal(event.impression, event.event_id);
    assert_int_equal(event.user, id_of("user", "u"));
    assert_int_equal(event.event_ms, now_ms);
    static const char *const fields[][2] = {
        {"goods", "g"}, {"shop", "shop"}, {"cate", "cate"}, {"pid", "top"}};
    for (int i = 0; i < 4; i++)
        assert_int_equal(ids[i], id_of(fields[i][0], fields[i][1]));
    ingest_decoder_free(decoder);
}

static struct ingest_event click(struct ingest_decoder *decoder,
                                 const char *impression, const char *user,
                                 int64_t event_ms, const char *goods)
{
    uint8_t bytes[256];
    uint64_t ids[4];
    struct ingest_event event = {.kafka_ms = -1};
    size_t size =
        kafka_fixture_click(bytes, impression, user, event_ms, goods);
    ingest_decoder_read(decoder, bytes, size, &event, ids);
    assert_int_equal(event.kind, INGEST_EVENT_CLICK);
    assert_int_equal(ids[0], id_of("goods", goods));
    return event;
}

/* Without an id of its own a click is (impression, user, items, time). */
static void test_click_identity(void **state)
{
    (void)state;
    struct ingest_decoder *decoder = decoder_of(INGEST_CLICKS);
    assert_int_equal(ingest_decoder_ids(decoder), 3);
    struct ingest_event one = click(decoder, "i", "u", now_ms, "g");
    uint8_t said[48];
    base_put_u64(said, id_of("event", "i"));
    base_put_u64(said + 8, id_of("user", "u"));
    base_put_u64(said + 16, id_of("goods", "g"));
    base_put_u64(said + 24, id_of("shop", "shop"));
    base_put_u64(said + 32, id_of("cate", "cate"));
    base_put_i64(said + 40, now_ms);
    assert_int_equal(one.event_id, learner_id(learner_table_seed("click"),
                                              said, sizeof said));
    assert_int_equal(one.impression, id_of("event", "i"));
    assert_int_equal(click(decoder, "i", "u", now_ms, "g").event_id,
                     one.event_id);
    assert_int_not_equal(click(decoder, "j", "u", now_ms, "g").event_id,
                         one.event_id);
    assert_int_not_equal(click(decoder, "i", "v", now_ms, "g").event_id,
                         one.event_id);
    assert_int_not_equal(click(decoder, "i", "u", now_ms + 1, "g").event_id,
                         one.event_id);
    assert_int_not_equal(click(decoder, "i", "u", now_ms, "h").event_id,
                         one.event_id);
    assert_int_equal(click(decoder, NULL, "u", now_ms, "g").impression, 0);
    ingest_decoder_free(decoder);
}

static void test_time_limits(void **state)
{
    (void)state;
    struct ingest_decoder *decoder = decoder_of(INGEST_IMPRESSIONS);
    static const struct {
        int64_t event_ms, kafka_ms;
        enum ingest_reason reason;
    } cases[] = {
        {0, 1000, INGEST_REASON_TIME},
        {-5, 1000, INGEST_REASON_TIME},
        {INT64_MIN, -1, INGEST_REASON_TIME},
        {1, -1, INGEST_REASON_NONE},
        {INT64_MAX, -1, INGEST_REASON_NONE}, /* the merge judges by the clock */
        {INT64_MAX, 0, INGEST_REASON_NONE},
        {INT64_MAX, 1000, INGEST_REASON_TIME},
        {301000, 1000, INGEST_REASON_NONE},
        {301001, 1000, INGEST_REASON_TIME},
        {1, INT64_MAX, INGEST_REASON_NONE}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t bytes[256];
        uint64_t ids[4];
        struct ingest_event event = {.kafka_ms = cases[i].kafka_ms};
        size_t size = kafka_fixture_impression(bytes, "i", "u",
                                               cases[i].event_ms, "g");
        ingest_decoder_read(decoder, bytes, size, &event, ids);
        assert_int_equal(event.reason, cases[i].reason);
        if (event.kind == INGEST_EVENT_DEAD) {
            assert_int_equal(event.payload_size, size);
            assert_memory_equal(event.payload, bytes, size);
        }
        free((void *)event.payload);
    }
    ingest_decoder_free(decoder);
}

/* What the clock condemns later keeps its bytes, at most event_max of them. */
static void test_buried_later(void **state)
{
    (void)state;
    struct ingest_decoder *decoder = decoder_of(INGEST_IMPRESSIONS);
    uint8_t bytes[256];
    uint64_t ids[4];
    struct ingest_event event = {.kafka_ms = now_ms};
    size_t size = kafka_fixture_impression(bytes, "i", "u", now_ms, "g");
    ingest_decoder_read(decoder, bytes, size, &event, ids);
    assert_int_equal(event.kind, INGEST_EVENT_IMPRESSION);
    uint32_t crc = event.crc;
    ingest_decoder_bury(decoder, INGEST_REASON_TIME, bytes, size, &event);
    assert_int_equal(event.kind, INGEST_EVENT_DEAD);
    assert_int_equal(event.reason, INGEST_REASON_TIME);
    assert_int_equal(event.crc, crc);
    assert_int_equal(event.payload_size, size);
    assert_memory_equal(event.payload, bytes, size);
    free((void *)event.payload);
    ingest_decoder_free(decoder);
}

/* Every prefix of a record is a dead letter with its bytes. */
static void test_prefixes(void **state)
{
    (void)state;
    struct ingest_decoder *decoder = decoder_of(INGEST_IMPRESSIONS);
    uint8_t bytes[256];
    uint64_t ids[4];
    size_t size = kafka_fixture_impression(bytes, "i", "u", now_ms, "g");
    for (size_t cut = 0; cut < size; cut++) {
        struct ingest_event event = {.kafka_ms = now_ms};
        ingest_decoder_read(decoder, bytes, cut, &event, ids);
        assert_int_equal(event.kind, INGEST_EVENT_DEAD);
        assert_int_equal(event.payload_size, cut);
        free((void *)event.payload);
    }
    ingest_decoder_free(decoder);
}

/* What a ranker logged: text or number by its id, the others as they are. */
static void test_served(void **state)
{
    (void)state;
    static struct ingest_config served;
    uint8_t bytes[256];
    uint64_t ids[4];
    struct ingest_decoder *decoder = NULL;
    struct base_error error = {.text = ""};
    struct ingest_event event = {.kafka_ms = now_ms};
    served = config;
    struct ingest_mapping *mapping = &served.topics[0].mapping;
    size_t size = kafka_fixture_impression(bytes, "i", "u", now_ms, "g");
    strcpy(mapping->served_hash, mapping->fields[0]);
    strcpy(mapping->served_version, mapping->time);
    assert_int_equal(ingest_decoder_new(&served, INGEST_IMPRESSIONS, NULL,
                                        &decoder, &error), BASE_CONFIG);
    assert_non_null(strstr(error.text, "served_history_length"));
    strcpy(mapping->served_length, mapping->time);
    assert_int_equal(ingest_decoder_new(&served, INGEST_IMPRESSIONS, NULL,
                                        &decoder, &error), BASE_OK);
    ingest_decoder_read(decoder, bytes, size, &event, ids);
    assert_int_equal(event.kind, INGEST_EVENT_IMPRESSION);
    assert_int_equal(event.served.hash, id_of("history", "g"));
    assert_int_equal(event.served.length, now_ms);
    assert_int_equal(event.served.version, now_ms);
    assert_int_equal(ids[0], id_of("goods", "g"));
    ingest_decoder_free(decoder);
    mapping->served_hash[0] = '\0';
    assert_int_equal(ingest_decoder_new(&served, INGEST_IMPRESSIONS, NULL,
                                        &decoder, &error), BASE_CONFIG);
    assert_non_null(strstr(error.text, "served_history_hash"));
}

static void test_mapping_must_be_whole(void **state)
{
    (void)state;
    static const struct {
        size_t offset;
        const char *text;
    } cases[] = {
        {offsetof(struct ingest_mapping, event_id), "event_id"},
        {offsetof(struct ingest_mapping, user), "user"},
        {offsetof(struct ingest_mapping, time), "time"},
        {offsetof(struct ingest_mapping, fields), "feature"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static struct ingest_config wrong;
        wrong = config;
        *((char *)&wrong.topics[0].mapping + cases[i].offset) = '\0';
        struct ingest_decoder *decoder = NULL;
        struct base_error error = {.text = ""};
        assert_int_equal(ingest_decoder_new(&wrong, INGEST_IMPRESSIONS, NULL,
                                            &decoder, &error), BASE_CONFIG);
        assert_non_null(strstr(error.text, cases[i].text));
    }
}

/* Confluent framing with no folder of schemas: every record would be dead. */
static void test_confluent_needs_its_folder(void **state)
{
    (void)state;
    static const struct {
        const char *folder, *text;
        enum base_status status;
    } cases[] = {
        {"schemas/nonexistent", "schemas/nonexistent", BASE_NO_INPUT},
        {"schemas/click.avsc", "is not a folder", BASE_CONFIG},
        {"schemas", NULL, BASE_OK},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        static struct ingest_config framed;
        struct ingest_decoder *decoder = NULL;
        struct base_error error;
        framed = config;
        framed.topics[INGEST_CLICKS].framing = INGEST_CONFLUENT;
        strcpy(framed.topics[INGEST_CLICKS].schema, cases[i].folder);
        assert_int_equal(
            ingest_decoder_new(&framed, INGEST_CLICKS, NULL, &decoder, &error),
            cases[i].status);
        if (cases[i].text)
            assert_non_null(strstr(error.text, cases[i].text));
        ingest_decoder_free(decoder);
    }
}

static void test_chunk_is_bounded(void **state)
{
    (void)state;
    enum { IDS = 3, EVENT_MAX = 1001 };
    struct ingest_chunk *chunk = ingest_chunk_new(IDS, EVENT_MAX);
    assert_non_null(chunk);
    uint8_t payload[EVENT_MAX];
    memset(payload, 7, sizeof payload);
    struct ingest_event dead = {.kind = INGEST_EVENT_DEAD, .payload = payload,
                                .payload_size = sizeof payload};
    unsigned held = 0;
    while (ingest_chunk_append(chunk, &dead, IDS))
        held++;
    assert_in_range(held, 1, INGEST_CHUNK_EVENTS);
    assert_true(chunk->arena_used <= chunk->arena_size);
    for (unsigned i = 0; i < held; i++)
        assert_memory_equal(chunk->events[i].payload, payload,
                            sizeof payload);
    ingest_chunk_clear(chunk);
    uint64_t ids[IDS];
    struct ingest_event event = {.kind = INGEST_EVENT_CLICK, .ids = ids};
    for (unsigned i = 0; i < INGEST_CHUNK_EVENTS; i++) {
        ids[0] = ids[1] = ids[2] = i;
        assert_true(ingest_chunk_append(chunk, &event, IDS));
    }
    assert_false(ingest_chunk_append(chunk, &event, IDS));
    for (unsigned i = 0; i < INGEST_CHUNK_EVENTS; i++)
        assert_int_equal(chunk->events[i].ids[2], i);
    ingest_chunk_free(chunk);
    ingest_chunk_free(NULL);
}

int main(void)
{
    base_log_set_level(BASE_LOG_ERROR);
    fill_config();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_impression),
        cmocka_unit_test(test_click_identity),
        cmocka_unit_test(test_time_limits),
        cmocka_unit_test(test_buried_later),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_served),
        cmocka_unit_test(test_mapping_must_be_whole),
        cmocka_unit_test(test_confluent_needs_its_folder),
        cmocka_unit_test(test_chunk_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
