/* SPDX-License-Identifier: Apache-2.0 */
/* Announcements against the mock cluster: bytes as the schema says, one at a
 * time, again after an outage, heartbeats, a fatal producer replaced. */
#include "ingest/announce.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "ingest/decode.h"
#include "kafka_fixture.h"
#include "learner/learner.h"

static const struct ingest_announcement sample = {
    .model_name = "ctr", .epoch = 1795000000, .version = 4711,
    .folder_name = "v1795000000-4711",
    .manifest_hash = "00112233445566778899aabbccddeeff",
    .position = 123456789012, .newest_event_ms = 1795000001234,
    .created_ms = 1795000002345};

/* Our encoder against the program compiled from the published schema. */
static void test_bytes_follow_the_schema(void **state)
{
    (void)state;
    char *schema;
    size_t size;
    assert_int_equal(base_file_read("schemas/announcement.avsc", 1 << 20,
                                    &schema, &size, NULL), BASE_OK);
    static const struct ingest_target targets[] = {
        {"model_name", INGEST_TARGET_ID, true, .seed = 1},
        {"epoch", INGEST_TARGET_MS, true, .seed = 0},
        {"version", INGEST_TARGET_MS, true, .seed = 0},
        {"folder_name", INGEST_TARGET_ID, true, .seed = 1},
        {"manifest_hash", INGEST_TARGET_ID, true, .seed = 1},
        {"position", INGEST_TARGET_MS, true, .seed = 0},
        {"newest_event_ms", INGEST_TARGET_MS, true, .seed = 0},
        {"created_ms", INGEST_TARGET_MS, true, .seed = 0}};
    struct ingest_program *program = NULL;
    struct base_error error = {.text = ""};
    if (ingest_program_new(schema, size, targets, 8, &program, &error))
        fail_msg("%s", error.text);
    uint8_t row[INGEST_ROW_MAX];
    uint64_t slots[8];
    size = ingest_announcement_encode(&sample, row);
    assert_int_equal(ingest_program_run(program, row, size, slots),
                     INGEST_REASON_NONE);
    assert_int_equal(slots[0], learner_id(1, "ctr", 3));
    assert_int_equal(slots[1], sample.epoch);
    assert_int_equal(slots[2], sample.version);
    assert_int_equal(slots[3],
                     learner_id(1, sample.folder_name,
                                strlen(sample.folder_name)));
    assert_int_equal(slots[4], learner_id(1, sample.manifest_hash, 32));
    assert_int_equal(slots[5], sample.position);
    assert_int_equal(slots[6], sample.newest_event_ms);
    assert_int_equal(slots[7], sample.created_ms);
    /* The longest one fits. */
    struct ingest_announcement longest = sample;
    memset(longest.model_name, 'm', sizeof longest.model_name);
    memset(longest.folder_name, 'f', sizeof longest.folder_name);
    memset(longest.manifest_hash, 'h', sizeof longest.manifest_hash);
    longest.epoch = longest.version = longest.position = UINT64_MAX / 2;
    assert_in_range(ingest_announcement_encode(&longest, row), 1,
                    INGEST_ROW_MAX);
    ingest_program_free(program);
    free(schema);
}

struct stage {
    struct kafka_fixture kafka;
    struct ingest_config config;
    struct ingest_announcer *announcer;
    rd_kafka_t *reader;
};

static void open_stage(struct stage *stage, int64_t heartbeat_ms)
{
    memset(stage, 0, sizeof *stage);
    kafka_fixture_open(&stage->kafka, 1);
    rd_kafka_mock_topic_create(stage->kafka.cluster, "model-announcements", 1,
                               1);
    kafka_fixture_config(&stage->kafka, &stage->config, "");
    kafka_fixture_property(&stage->config, "reconnect.backoff.max.ms", "100");
    assert_int_equal(ingest_announcer_new(&stage->config, heartbeat_ms,
                                          &stage->announcer, NULL), BASE_OK);
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers",
                      rd_kafka_mock_cluster_bootstraps(stage->kafka.cluster),
                      NULL, 0);
    rd_kafka_conf_set(conf, "group.id", "reader", NULL, 0);
    rd_kafka_conf_set(conf, "fetch.wait.max.ms", "10", NULL, 0);
    rd_kafka_conf_set(conf, "log_level", "2", NULL, 0);
    rd_kafka_conf_set(conf, "reconnect.backoff.max.ms", "100", NULL, 0);
    stage->reader = rd_kafka_new(RD_KAFKA_CONSUMER, conf, NULL, 0);
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, "model-announcements", 0)->offset =
        0;
    rd_kafka_assign(stage->reader, list);
    rd_kafka_topic_partition_list_destroy(list);
}

static void close_stage(struct stage *stage)
{
    ingest_announcer_free(stage->announcer);
    rd_kafka_destroy(stage->reader);
    kafka_fixture_close(&stage->kafka);
}

/* Steps until the receipt of `version`. */
static void await_receipt(struct stage *stage, uint64_t wanted)
{
    uint64_t epoch, version;
    while (!ingest_announcer_step(stage->announcer, &epoch, &version))
        usleep(1000);
    assert_int_equal(epoch, 1);
    assert_int_equal(version, wanted);
}

/* The next record's first byte, which the tests use as a mark. */
static int next_record(struct stage *stage)
{
    uint64_t epoch, version;
    for (;;) {
        ingest_announcer_step(stage->announcer, &epoch, &version);
        rd_kafka_message_t *message =
            rd_kafka_consumer_poll(stage->reader, 10);
        if (!message)
            continue;
        int mark = message->err ? -1 : *(const uint8_t *)message->payload;
        if (mark >= 0) {
            assert_int_equal(message->key_len, 3);
            assert_memory_equal(message->key, "ctr", 3);
        }
        rd_kafka_message_destroy(message);
        if (mark >= 0)
            return mark;
    }
}

static void test_one_after_the_other(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 1000000);
    for (uint8_t i = 1; i <= 3; i++) {
        assert_true(ingest_announcer_idle(stage.announcer));
        ingest_announcer_send(stage.announcer, 1, i, &i, 1);
        assert_false(ingest_announcer_idle(stage.announcer));
        await_receipt(&stage, i);
    }
    for (int i = 1; i <= 3; i++)
        assert_int_equal(next_record(&stage), i);
    close_stage(&stage);
}

static void test_heartbeat_repeats_the_last(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 30);
    uint8_t mark = 7;
    ingest_announcer_repeat(stage.announcer, &mark, 1); /* known before */
    assert_int_equal(next_record(&stage), 7);
    assert_int_equal(next_record(&stage), 7);
    mark = 8;
    ingest_announcer_send(stage.announcer, 1, 8, &mark, 1);
    await_receipt(&stage, 8);
    int seen;
    while ((seen = next_record(&stage)) == 7)
        ;
    assert_int_equal(seen, 8);
    assert_int_equal(next_record(&stage), 8);
    close_stage(&stage);
}

static void test_outage(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 1000000);
    uint8_t mark = 9;
    rd_kafka_mock_broker_set_down(stage.kafka.cluster, 1);
    ingest_announcer_send(stage.announcer, 1, 9, &mark, 1);
    uint64_t epoch, version;
    for (int i = 0; i < 50; i++) {
        assert_false(
            ingest_announcer_step(stage.announcer, &epoch, &version));
        usleep(5000);
    }
    rd_kafka_mock_broker_set_up(stage.kafka.cluster, 1);
    await_receipt(&stage, 9);
    assert_int_equal(next_record(&stage), 9);
    close_stage(&stage);
}

static void test_refused_is_sent_again(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 1000000);
    uint8_t mark = 5;
    rd_kafka_mock_push_request_errors(stage.kafka.cluster, 0 /* Produce */, 1,
                                      RD_KAFKA_RESP_ERR_INVALID_MSG);
    ingest_announcer_send(stage.announcer, 1, 5, &mark, 1);
    await_receipt(&stage, 5);
    assert_int_equal(next_record(&stage), 5);
    close_stage(&stage);
}

static void test_fatal_producer_is_replaced(void **state)
{
    (void)state;
    struct stage stage;
    open_stage(&stage, 1000000);
    assert_int_equal(ingest_announcer_producers(stage.announcer), 1);
    rd_kafka_test_fatal_error(ingest_announcer_handle(stage.announcer),
                              RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                              "asked for by the test");
    uint8_t mark = 3;
    ingest_announcer_send(stage.announcer, 1, 3, &mark, 1);
    await_receipt(&stage, 3);
    assert_int_equal(ingest_announcer_producers(stage.announcer), 2);
    assert_int_equal(next_record(&stage), 3);
    close_stage(&stage);
}

int main(void)
{
    base_log_set_level(getenv("VERBOSE") ? BASE_LOG_DEBUG : BASE_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_follow_the_schema),
        cmocka_unit_test(test_one_after_the_other),
        cmocka_unit_test(test_heartbeat_repeats_the_last),
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_refused_is_sent_again),
        cmocka_unit_test(test_fatal_producer_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
