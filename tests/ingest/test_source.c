/* SPDX-License-Identifier: Apache-2.0 */
/* The source against librdkafka's mock cluster: order, restart, outage, poison
 * records, framing, lost ranges, foreign logs, wrong configurations. */
#include "ingest/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "kafka_fixture.h"
#include "learner/learner.h"
#include "registry_server.h"
#include "source_run.h"

enum { PARTITIONS = 3, SLOTS = 2 * PARTITIONS };

/* ---- streams ------------------------------------------------------------ */

static uint64_t random_state = 7;
static unsigned draw(unsigned below)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(random_state >> 33) % below;
}

static int64_t now_ms;

static void send_event(struct kafka_fixture *kafka, unsigned slot, int number,
                       int64_t event_ms, int64_t kafka_ms)
{
    uint8_t bytes[256];
    char id[32];
    snprintf(id, sizeof id, "i%d", number);
    size_t size = slot % 2
                      ? kafka_fixture_click(bytes, id, "u", event_ms, "g")
                      : kafka_fixture_impression(bytes, id, "u", event_ms, "g");
    kafka_fixture_send(kafka, slot % 2 ? "clicks" : "impressions",
                       (int32_t)(slot / 2), bytes, size, kafka_ms);
}

/* `count` events over all partitions, times rising within each. */
static void send_many(struct kafka_fixture *kafka, int count)
{
    static int number;
    int64_t base = now_ms - 3600000;
    for (int i = 0; i < count; i++)
        send_event(kafka, draw(SLOTS), number++, base + i - (int64_t)draw(30),
                   base + i);
    kafka_fixture_flush(kafka);
}

/* Strictly rising keys, each partition's offsets without hole or repeat. */
static void assert_whole(const struct source_run *run, size_t count)
{
    int64_t next[SLOTS] = {0};
    assert_int_equal(run->count, count);
    for (size_t i = 0; i < count; i++) {
        const struct ingest_event *event = &run->events[i];
        unsigned slot = (unsigned)event->partition * 2 + event->topic;
        assert_int_equal(event->offset, next[slot]++);
        assert_int_equal(event->kind, event->topic ? INGEST_EVENT_CLICK
                                                   : INGEST_EVENT_IMPRESSION);
        if (i > 0)
            assert_true(
                ingest_event_order(&run->events[i - 1], event) < 0);
    }
}

static void assert_same(const struct source_run *a, const struct source_run *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_int_equal(
            ingest_event_order(&a->events[i], &b->events[i]), 0);
        assert_int_equal(a->events[i].event_id, b->events[i].event_id);
        assert_int_equal(a->events[i].decisions, 0);
        assert_int_equal(b->events[i].decisions, 0);
    }
}

/* ---- tests -------------------------------------------------------------- */

static void test_order_and_restart(void **state)
{
    (void)state;
    enum { EVENTS = 30000 };
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, PARTITIONS);
    send_many(&kafka, EVENTS);
    struct source_run *once = source_run_new(&kafka);
    source_run_start(once);
    source_run_collect(once, EVENTS);
    source_run_stop(once);
    assert_int_equal(once->status, BASE_OK);
    assert_int_equal(once->fresh_count, SLOTS);
    assert_whole(once, EVENTS);
    /* Cut off at random moments, with another fetch size. */
    struct source_run *often = source_run_new(&kafka);
    kafka_fixture_property(&often->config, "fetch.message.max.bytes", "2000");
    for (size_t upto = 0; upto < EVENTS;) {
        upto += 1 + draw(6000);
        source_run_start(often);
        source_run_collect(often, upto < EVENTS ? upto : EVENTS);
        source_run_stop(often);
        assert_int_equal(often->status, BASE_OK);
    }
    assert_whole(often, EVENTS);
    assert_same(once, often);
    source_run_free(once);
    source_run_free(often);
    kafka_fixture_close(&kafka);
}

static void test_ids(void **state)
{
    (void)state;
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, 1);
    send_event(&kafka, 0, 5, now_ms - 10, now_ms - 5);
    send_event(&kafka, 1, 5, now_ms - 4, now_ms - 3);
    kafka_fixture_flush(&kafka);
    struct source_run *run = source_run_new(&kafka);
    source_run_start(run);
    source_run_collect(run, 2);
    source_run_stop(run);
    uint64_t id = learner_id(learner_table_seed("event"), "i5", 2);
    assert_int_equal(run->events[0].event_id, id);
    assert_int_equal(run->events[0].impression, id);
    assert_int_equal(run->events[1].impression, id);
    assert_int_equal(run->events[1].user,
                     learner_id(learner_table_seed("user"), "u", 1));
    assert_int_equal(run->events[0].own_ms, now_ms - 10);
    assert_int_equal(run->events[0].kafka_ms, now_ms - 5);
    source_run_free(run);
    kafka_fixture_close(&kafka);
}

static void test_broker_down_and_up(void **state)
{
    (void)state;
    enum { EVENTS = 20000 };
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, PARTITIONS);
    struct source_run *run = source_run_new(&kafka);
    kafka_fixture_property(&run->config, "reconnect.backoff.max.ms", "200");
    kafka_fixture_property(&run->config, "fetch.message.max.bytes", "2000");
    send_many(&kafka, EVENTS / 2);
    source_run_start(run);
    source_run_collect(run, 500);
    rd_kafka_mock_broker_set_down(kafka.cluster, 1);
    static struct ingest_status status;
    uint64_t handed;
    do {
        struct ingest_chunk *chunk = base_ring_pop(run->out, 20);
        if (chunk) {
            for (uint32_t i = 0; i < chunk->count; i++)
                source_run_apply(run, &chunk->events[i]);
            assert_true(base_ring_push(run->back, chunk, 0));
            ingest_source_wake(run->source);
        }
        ingest_source_status(run->source, &status, &handed);
    } while (!status.broker_error[0]);
    rd_kafka_mock_broker_set_up(kafka.cluster, 1);
    send_many(&kafka, EVENTS / 2);
    source_run_collect(run, EVENTS);
    do {
        ingest_source_status(run->source, &status, &handed);
        usleep(1000);
    } while (!status.at_end || status.broker_error[0]);
    assert_int_equal(handed, EVENTS);
    source_run_stop(run);
    assert_int_equal(run->status, BASE_OK);
    int64_t next[SLOTS] = {0};
    for (size_t i = 0; i < run->count; i++) {
        unsigned slot = (unsigned)run->events[i].partition * 2 +
                        run->events[i].topic;
        assert_int_equal(run->events[i].offset, next[slot]++);
    }
    source_run_free(run);
    kafka_fixture_close(&kafka);
}

/* A damaged batch: every partition is assigned anew, in the middle of the
 * stream; nothing is lost, doubled or out of order. */
static void test_damaged_batches_are_read_again(void **state)
{
    (void)state;
    enum { EVENTS = 20000 };
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, PARTITIONS);
    send_many(&kafka, EVENTS);
    struct source_run *run = source_run_new(&kafka);
    kafka_fixture_property(&run->config, "fetch.message.max.bytes", "2000");
    source_run_start(run);
    for (size_t upto = 2000; upto < EVENTS; upto += 4000) {
        rd_kafka_mock_push_request_errors(kafka.cluster, 1 /* Fetch */, 1,
                                          RD_KAFKA_RESP_ERR_INVALID_MSG);
        source_run_collect(run, upto);
    }
    source_run_collect(run, EVENTS);
    source_run_stop(run);
    assert_int_equal(run->status, BASE_OK);
    assert_int_equal(run->stops, 0);
    assert_whole(run, EVENTS);
    source_run_free(run);
    kafka_fixture_close(&kafka);
}

/* A batch that stays damaged stops its partition, and only says so. */
static void test_damage_that_stays_stops(void **state)
{
    (void)state;
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, 1);
    send_event(&kafka, 0, 1, now_ms, now_ms);
    kafka_fixture_flush(&kafka);
    struct source_run *run = source_run_new(&kafka);
    for (int i = 0; i < 100; i++)
        rd_kafka_mock_push_request_errors(kafka.cluster, 1 /* Fetch */, 1,
                                          RD_KAFKA_RESP_ERR_INVALID_MSG);
    source_run_start(run);
    source_run_await_stop(run);
    source_run_stop(run);
    assert_int_equal(run->status, BASE_OK);
    assert_int_equal(run->count, 0);
    source_run_free(run);
    kafka_fixture_close(&kafka);
}

/* A partition that stops for damage names the first offset that was not handed
 * over, and how to go on. */
static void test_the_place_of_damage_is_exact(void **state)
{
    (void)state;
    enum { EVENTS = 12000 };
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, PARTITIONS);
    send_many(&kafka, EVENTS);
    struct source_run *run = source_run_new(&kafka);
    kafka_fixture_property(&run->config, "fetch.message.max.bytes", "2000");
    source_run_start(run);
    source_run_collect(run, 500);
    for (int i = 0; i < 1000; i++)
        rd_kafka_mock_push_request_errors(kafka.cluster, 1 /* Fetch */, 1,
                                          RD_KAFKA_RESP_ERR_INVALID_MSG);
    while (run->stops < PARTITIONS) {
        struct ingest_chunk *chunk = base_ring_pop(run->out, 20000);
        assert_non_null(chunk);
        run->stops += chunk->stop_partition >= 0;
        for (uint32_t i = 0; i < chunk->count; i++)
            source_run_apply(run, &chunk->events[i]);
        assert_true(base_ring_push(run->back, chunk, 0));
        ingest_source_wake(run->source);
    }
    static struct ingest_status status;
    uint64_t handed;
    status.partition_count = SLOTS;
    for (unsigned i = 0; i < SLOTS; i++) {
        status.partitions[i].topic = (uint8_t)(i / PARTITIONS);
        status.partitions[i].partition = (int32_t)(i % PARTITIONS);
    }
    ingest_source_status(run->source, &status, &handed);
    source_run_stop(run);
    unsigned causes = 0;
    for (unsigned i = 0; i < SLOTS; i++) {
        int64_t seen = 0;
        for (size_t k = 0; k < run->count; k++)
            seen += run->events[k].topic == status.partitions[i].topic &&
                    run->events[k].partition == status.partitions[i].partition;
        assert_true(status.partitions[i].stopped);
        if (status.partitions[i].lost_from < 0)
            continue;
        causes++;
        assert_int_equal(status.partitions[i].lost_from, seen);
        assert_non_null(strstr(status.partitions[i].resume, "--topic "));
    }
    assert_true(causes >= PARTITIONS);
    source_run_free(run);
    kafka_fixture_close(&kafka);
}

static void test_poison(void **state)
{
    (void)state;
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, 1);
    static uint8_t big[100000];
    uint8_t bytes[256];
    size_t size =
        kafka_fixture_impression(bytes, "i", "u", now_ms - 500, "g");
    const struct {
        const void *value;
        size_t size;
        int64_t kafka_ms;
        enum ingest_reason reason;
    } records[] = {
        {bytes, size, now_ms, INGEST_REASON_NONE},
        {NULL, 0, now_ms, INGEST_REASON_TOMBSTONE},
        {bytes, size - 1, now_ms, INGEST_REASON_TRUNCATED},
        {big, sizeof big, now_ms, INGEST_REASON_OVERSIZE},
        {bytes, size + 1, now_ms, INGEST_REASON_TRAILING},
        {bytes, size, now_ms - 3600000, INGEST_REASON_TIME},
        {bytes, size, now_ms, INGEST_REASON_NONE},
    };
    enum { COUNT = sizeof records / sizeof records[0] };
    bytes[size] = 0;
    for (int i = 0; i < COUNT; i++)
        kafka_fixture_send(&kafka, "impressions", 0, records[i].value,
                           records[i].size, records[i].kafka_ms);
    kafka_fixture_flush(&kafka);
    struct source_run *run = source_run_new(&kafka);
    source_run_start(run);
    source_run_collect(run, COUNT);
    source_run_stop(run);
    for (int i = 0; i < COUNT; i++) {
        const struct ingest_event *event = &run->events[i];
        assert_int_equal(event->offset, i);
        assert_int_equal(event->reason, records[i].reason);
        assert_int_equal(event->own_ms, now_ms - 500);
        if (!records[i].reason)
            continue;
        assert_int_equal(event->kind, INGEST_EVENT_DEAD);
        assert_int_equal(event->payload_size,
                         records[i].size < 65536 ? records[i].size : 65536);
    }
    assert_memory_equal(run->last_payload, bytes, size < 64 ? size : 64);
    source_run_free(run);
    kafka_fixture_close(&kafka);
}

static void copy_file(const char *from, const char *to)
{
    char *text;
    size_t size;
    assert_int_equal(base_file_read(from, 1 << 20, &text, &size, NULL),
                     BASE_OK);
    assert_int_equal(base_file_replace(to, text, size, NULL), BASE_OK);
    free(text);
}

static void test_confluent_framing(void **state)
{
    (void)state;
    char folder[] = "/tmp/interestd-source-XXXXXX", path[128];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/258.avsc", folder);
    copy_file("schemas/impression.avsc", path);
    snprintf(path, sizeof path, "%s/9.avsc", folder);
    assert_int_equal(base_file_replace(path, "[not", 4, NULL), BASE_OK);
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, 1);
    uint8_t framed[300] = {0, 0, 0, 1, 2};
    size_t size =
        5 + kafka_fixture_impression(framed + 5, "i", "u", now_ms, "g");
    static const struct {
        uint8_t magic, low, high;
        size_t cut;
        enum ingest_reason reason;
    } records[] = {{0, 2, 1, 0, INGEST_REASON_NONE},
                   {1, 2, 1, 0, INGEST_REASON_WIRE},
                   {0, 2, 1, 4, INGEST_REASON_WIRE},
                   {0, 9, 0, 0, INGEST_REASON_SCHEMA},
                   {0, 7, 0, 0, INGEST_REASON_SCHEMA_UNKNOWN},
                   {0, 7, 0, 0, INGEST_REASON_SCHEMA_UNKNOWN},
                   {0, 2, 1, 0, INGEST_REASON_NONE}};
    enum { COUNT = sizeof records / sizeof records[0] };
    for (int i = 0; i < COUNT; i++) {
        framed[0] = records[i].magic;
        framed[3] = records[i].high;
        framed[4] = records[i].low;
        kafka_fixture_send(&kafka, "impressions", 0, framed,
                           records[i].cut ? records[i].cut : size, now_ms);
    }
    kafka_fixture_flush(&kafka);
    struct source_run *run = source_run_new(&kafka);
    run->config.topics[0].framing = INGEST_CONFLUENT;
    snprintf(run->config.topics[0].schema,
             sizeof run->config.topics[0].schema, "%s", folder);
    source_run_start(run);
    source_run_collect(run, COUNT);
    source_run_stop(run);
    for (int i = 0; i < COUNT; i++) {
        bool unknown = records[i].reason == INGEST_REASON_SCHEMA_UNKNOWN;
        assert_int_equal(run->events[i].reason, records[i].reason);
        assert_int_equal(run->events[i].decisions,
                         unknown ? INGEST_UNREGISTERED : 0);
    }
    source_run_free(run);
    kafka_fixture_close(&kafka);
    assert_int_equal(base_file_remove(folder, NULL), BASE_OK);
}

/* The mock keeps 5 MiB a partition: the begin of the log goes. */
/* An impression framed with a schema id. */
static void send_framed(struct kafka_fixture *kafka, uint8_t id, int number)
{
    uint8_t framed[300] = {0, 0, 0, 0, id};
    char name[32];
    snprintf(name, sizeof name, "i%d", number);
    size_t size = 5 + kafka_fixture_impression(framed + 5, name, "u",
                                               now_ms - 1000 + number, "g");
    kafka_fixture_send(kafka, "impressions", 0, framed, size,
                       now_ms - 1000 + number);
}

static struct source_run *new_registry_run(const struct kafka_fixture *kafka,
                                    const struct registry_server *server,
                                    const char *folder)
{
    struct source_run *run = source_run_new(kafka);
    run->config.topics[0].framing = INGEST_CONFLUENT;
    snprintf(run->config.registry_url, sizeof run->config.registry_url,
             "http://127.0.0.1:%u/registry", server->port);
    snprintf(run->config.registry_folder, sizeof run->config.registry_folder,
             "%s", folder);
    return run;
}

static void await_requests(struct registry_server *server, unsigned count)
{
    for (int i = 0; i < 400 && atomic_load(&server->requests) < count; i++)
        usleep(50000);
    assert_true(atomic_load(&server->requests) >= count);
}

/* Parked while the registry is in trouble, whole once it is well; then from
 * the kept schema, with no registry at all. */
static void test_registry(void **state)
{
    (void)state;
    enum { EVENTS = 50 };
    char folder[] = "/tmp/interestd-schemas-XXXXXX", *schema;
    size_t size;
    struct kafka_fixture kafka;
    static struct registry_server server;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(base_file_read("schemas/impression.avsc", 7000, &schema,
                                    &size, NULL), BASE_OK);
    registry_server_start(&server, schema);
    atomic_store(&server.broken, true);
    kafka_fixture_open(&kafka, 1);
    for (int i = 0; i < EVENTS; i++)
        send_framed(&kafka, 7, i);
    kafka_fixture_flush(&kafka);
    struct source_run *run = new_registry_run(&kafka, &server, folder);
    source_run_start(run);
    await_requests(&server, 2);
    assert_null(base_ring_pop(run->out, 300)); /* nothing is lost or skipped */
    static struct ingest_status status;
    uint64_t handed;
    ingest_source_status(run->source, &status, &handed);
    assert_int_equal(status.parked_partitions, 1);
    assert_non_null(strstr(status.registry_error, "HTTP status 500"));
    atomic_store(&server.broken, false);
    source_run_collect(run, EVENTS);
    source_run_stop(run);
    registry_server_stop(&server);
    struct source_run *again = new_registry_run(&kafka, &server, folder);
    source_run_start(again);
    source_run_collect(again, EVENTS);
    source_run_stop(again);
    for (int i = 0; i < EVENTS; i++) {
        assert_int_equal(run->events[i].offset, i);
        assert_int_equal(run->events[i].kind, INGEST_EVENT_IMPRESSION);
    }
    assert_same(run, again);
    source_run_free(run);
    source_run_free(again);
    kafka_fixture_close(&kafka);
    free(schema);
    assert_int_equal(base_file_remove(folder, NULL), BASE_OK);
}

/* A schema that the registry does not know: a dead letter by decision, and the
 * records around it are whole. */
static void test_registry_knows_it_not(void **state)
{
    (void)state;
    char folder[] = "/tmp/interestd-schemas-XXXXXX", *schema;
    size_t size;
    struct kafka_fixture kafka;
    static struct registry_server server;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(base_file_read("schemas/impression.avsc", 7000, &schema,
                                    &size, NULL), BASE_OK);
    registry_server_start(&server, schema);
    kafka_fixture_open(&kafka, 1);
    send_framed(&kafka, 7, 0);
    send_framed(&kafka, 100, 1);
    send_framed(&kafka, 8, 2);
    kafka_fixture_flush(&kafka);
    struct source_run *run = new_registry_run(&kafka, &server, folder);
    source_run_start(run);
    source_run_collect(run, 3);
    source_run_stop(run);
    static const uint8_t kinds[] = {INGEST_EVENT_IMPRESSION, INGEST_EVENT_DEAD,
                                    INGEST_EVENT_IMPRESSION};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(run->events[i].offset, i);
        assert_int_equal(run->events[i].kind, kinds[i]);
        assert_int_equal(run->events[i].decisions,
                         i == 1 ? INGEST_UNREGISTERED : 0);
    }
    assert_int_equal(run->events[1].reason, INGEST_REASON_SCHEMA_UNKNOWN);
    registry_server_stop(&server);
    source_run_free(run);
    kafka_fixture_close(&kafka);
    free(schema);
    assert_int_equal(base_file_remove(folder, NULL), BASE_OK);
}

/* One new schema after another: each parks the partition, and all records come
 * once and in order. */
static void test_many_schemas(void **state)
{
    (void)state;
    enum { IDS = 40, EVENTS = 4000 };
    char folder[] = "/tmp/interestd-schemas-XXXXXX", *schema;
    size_t size;
    struct kafka_fixture kafka;
    static struct registry_server server;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(base_file_read("schemas/impression.avsc", 7000, &schema,
                                    &size, NULL), BASE_OK);
    registry_server_start(&server, schema);
    kafka_fixture_open(&kafka, 1);
    for (int i = 0; i < EVENTS; i++)
        send_framed(&kafka, 1 + (unsigned)i * IDS / EVENTS, i);
    kafka_fixture_flush(&kafka);
    struct source_run *run = new_registry_run(&kafka, &server, folder);
    source_run_start(run);
    source_run_collect(run, EVENTS);
    source_run_stop(run);
    for (int i = 0; i < EVENTS; i++) {
        assert_int_equal(run->events[i].offset, i);
        assert_int_equal(run->events[i].kind, INGEST_EVENT_IMPRESSION);
    }
    assert_int_equal(atomic_load(&server.requests), IDS);
    registry_server_stop(&server);
    source_run_free(run);
    kafka_fixture_close(&kafka);
    free(schema);
    assert_int_equal(base_file_remove(folder, NULL), BASE_OK);
}

static void test_lost_range_stops_the_pair(void **state)
{
    (void)state;
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, 2);
    static uint8_t filler[60000];
    for (int i = 0; i < 150; i++)
        kafka_fixture_send(&kafka, "impressions", 1, filler, sizeof filler,
                           now_ms);
    for (int i = 0; i < 10; i++)
        send_event(&kafka, 0, i, now_ms + i, now_ms + i);
    kafka_fixture_flush(&kafka);
    struct source_run *run = source_run_new(&kafka);
    run->position_count = 1;
    run->positions[0] = (struct ingest_position){
        .topic = INGEST_IMPRESSIONS, .partition = 1, .next = 3,
        .anchor_offset = -1};
    source_run_start(run);
    source_run_await_stop(run);
    source_run_collect(run, 10); /* the others go on */
    static struct ingest_status status;
    uint64_t handed;
    status.partition_count = 2;
    for (unsigned i = 0; i < 2; i++) {
        status.partitions[i].topic = (uint8_t)i;
        status.partitions[i].partition = 1;
    }
    ingest_source_status(run->source, &status, &handed);
    source_run_stop(run);
    assert_int_equal(run->status, BASE_OK);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(status.partitions[i].stopped);
        assert_non_null(strstr(status.partitions[i].stop_reason,
                               "impressions/1: offsets 3 to "));
    }
    for (size_t i = 0; i < run->count; i++)
        assert_int_equal(run->events[i].partition, 0);
    source_run_free(run);
    kafka_fixture_close(&kafka);
}

static void test_foreign_log_stops(void **state)
{
    (void)state;
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, 2);
    for (int i = 0; i < 10; i++)
        send_event(&kafka, (unsigned)i % 4, i, now_ms + i, now_ms + i);
    kafka_fixture_flush(&kafka);
    struct source_run *run = source_run_new(&kafka);
    source_run_start(run);
    source_run_collect(run, 10);
    source_run_stop(run);
    size_t before = run->count;
    /* One partition's anchor has another timestamp now. */
    for (unsigned i = 0; i < run->position_count; i++)
        run->positions[i].anchor_ms += run->positions[i].partition == 1;
    for (int i = 0; i < 8; i++)
        send_event(&kafka, (unsigned)i % 4, i, now_ms + i, now_ms + i);
    kafka_fixture_flush(&kafka);
    source_run_start(run);
    source_run_await_stop(run);
    source_run_collect(run, before + 4);
    source_run_stop(run);
    for (size_t i = before; i < run->count; i++)
        assert_int_equal(run->events[i].partition, 0);
    /* A log that ends before our position was made anew. */
    for (unsigned i = 0; i < run->position_count; i++) {
        run->positions[i].anchor_offset = -1;
        run->positions[i].next = 1000;
    }
    source_run_start(run);
    source_run_await_stop(run);
    source_run_stop(run);
    source_run_free(run);
    kafka_fixture_close(&kafka);
}

static void end_by_itself(struct source_run *run, const char *text)
{
    source_run_await_end(run);
    assert_int_equal(run->status, BASE_CONFIG);
    assert_non_null(strstr(run->error.text, text));
    source_run_stop(run);
}

static void test_wrong_configurations(void **state)
{
    (void)state;
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, 2);
    rd_kafka_mock_topic_create(kafka.cluster, "uneven", 3, 1);
    static const char *const fixed[][2] = {
        {"auto.offset.reset", "earliest"},
        {"enable.auto.commit", "true"},
        {"isolation.level", "read_uncommitted"},
        {"check.crcs", "false"},
        {"queued.max.messages.kbytes", "100"},
        {"no.such.property", "1"}};
    for (unsigned i = 0; i < sizeof fixed / sizeof fixed[0]; i++) {
        struct source_run *run = source_run_new(&kafka);
        kafka_fixture_property(&run->config, fixed[i][0], fixed[i][1]);
        assert_int_equal(source_run_try_start(run), BASE_CONFIG);
        assert_non_null(strstr(run->error.text, fixed[i][0]));
        base_ring_free(run->out);
        base_ring_free(run->back);
        source_run_free(run);
    }
    struct source_run *run = source_run_new(&kafka);
    strcpy(run->config.topics[1].name, "uneven");
    source_run_start(run);
    end_by_itself(run, "2 and 3 partitions");
    source_run_free(run);
    run = source_run_new(&kafka);
    strcpy(run->cluster, "another");
    source_run_start(run);
    end_by_itself(run, "another");
    source_run_free(run);
    run = source_run_new(&kafka); /* there were more partitions once */
    run->position_count = 1;
    run->positions[0] = (struct ingest_position){
        .topic = INGEST_CLICKS, .partition = 2, .anchor_offset = -1};
    source_run_start(run);
    end_by_itself(run, "clicks has 2 partitions, the state has read number 2");
    source_run_free(run);
    run = source_run_new(&kafka);
    strcpy(run->config.topics[0].mapping.user, "nobody");
    assert_int_not_equal(source_run_try_start(run), BASE_OK);
    assert_non_null(strstr(run->error.text, "nobody"));
    base_ring_free(run->out);
    base_ring_free(run->back);
    source_run_free(run);
    kafka_fixture_close(&kafka);
}

static void test_waits_for_the_topic(void **state)
{
    (void)state;
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, 1);
    rd_kafka_mock_topic_set_error(
        kafka.cluster, "clicks", RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
    struct source_run *run = source_run_new(&kafka);
    source_run_start(run);
    static struct ingest_status status;
    uint64_t handed;
    do {
        ingest_source_status(run->source, &status, &handed);
        usleep(1000);
    } while (!strstr(status.broker_error, "topic clicks"));
    rd_kafka_mock_topic_set_error(kafka.cluster, "clicks", 0);
    send_event(&kafka, 0, 1, now_ms, now_ms);
    kafka_fixture_flush(&kafka);
    source_run_collect(run, 1);
    source_run_stop(run);
    assert_int_equal(run->status, BASE_OK);
    source_run_free(run);
    kafka_fixture_close(&kafka);
}

static void test_speed(void **state)
{
    (void)state;
    enum { EVENTS = 300000 };
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, 8);
    int64_t base = now_ms - 3600000;
    for (int i = 0; i < EVENTS; i++)
        send_event(&kafka, draw(16), i, base + i, base + i);
    kafka_fixture_flush(&kafka);
    struct source_run *run = source_run_new(&kafka);
    int64_t begun = base_monotonic_us();
    source_run_start(run);
    source_run_collect(run, EVENTS);
    print_message("mock -> source -> merge: %.0f k events/s\n",
                  EVENTS / ((double)(base_monotonic_us() - begun) / 1e3));
    source_run_stop(run);
    source_run_free(run);
    kafka_fixture_close(&kafka);
}

int main(void)
{
    base_log_set_level(getenv("VERBOSE") ? BASE_LOG_DEBUG : BASE_LOG_ERROR);
    now_ms = base_wall_ms();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_restart),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_broker_down_and_up),
        cmocka_unit_test(test_damaged_batches_are_read_again),
        cmocka_unit_test(test_damage_that_stays_stops),
        cmocka_unit_test(test_the_place_of_damage_is_exact),
        cmocka_unit_test(test_poison),
        cmocka_unit_test(test_confluent_framing),
        cmocka_unit_test(test_registry),
        cmocka_unit_test(test_registry_knows_it_not),
        cmocka_unit_test(test_many_schemas),
        cmocka_unit_test(test_lost_range_stops_the_pair),
        cmocka_unit_test(test_foreign_log_stops),
        cmocka_unit_test(test_wrong_configurations),
        cmocka_unit_test(test_waits_for_the_topic),
        cmocka_unit_test(test_speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
