/* SPDX-License-Identifier: Apache-2.0 */
/* What is around a record: large keys, large and many headers, and a schema id
 * in a header, as librdkafka hands them over from the mock cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ingest/envelope.h"
#include "kafka_fixture.h"

enum { EVENT_MAX = 5000 };

static const struct {
    size_t value, key;
    unsigned headers;
    size_t header; /* bytes of each one's value; each name has 5 */
    const char *name; /* of one more header; NULL: none */
    enum ingest_reason plain, confluent;
} cases[] = {
    {10, 0, 0, 0, NULL, INGEST_REASON_NONE, INGEST_REASON_NONE},
    {5000, 0, 0, 0, NULL, INGEST_REASON_NONE, INGEST_REASON_NONE},
    {5001, 0, 0, 0, NULL, INGEST_REASON_OVERSIZE, INGEST_REASON_OVERSIZE},
    {4000, 1000, 0, 0, NULL, INGEST_REASON_NONE, INGEST_REASON_NONE},
    {4000, 1001, 0, 0, NULL, INGEST_REASON_OVERSIZE, INGEST_REASON_OVERSIZE},
    {4000, 0, 2, 495, NULL, INGEST_REASON_NONE, INGEST_REASON_NONE},
    {4001, 0, 2, 495, NULL, INGEST_REASON_OVERSIZE, INGEST_REASON_OVERSIZE},
    {0, 0, 1000, 0, NULL, INGEST_REASON_NONE, INGEST_REASON_NONE},
    {0, 0, 1001, 0, NULL, INGEST_REASON_OVERSIZE, INGEST_REASON_OVERSIZE},
    {10, 0, 1, 3, "__value_schema_id", INGEST_REASON_NONE, INGEST_REASON_WIRE},
    {10, 0, 1, 3, "__key_schema_id", INGEST_REASON_NONE, INGEST_REASON_NONE},
};
enum { CASES = sizeof cases / sizeof *cases };

static void produce(struct kafka_fixture *kafka, size_t which)
{
    static const char bytes[EVENT_MAX + 1];
    rd_kafka_headers_t *headers = rd_kafka_headers_new(8);
    for (unsigned i = 0; i < cases[which].headers; i++)
        rd_kafka_header_add(headers, "abcde", 5, bytes,
                            (ssize_t)cases[which].header);
    if (cases[which].name)
        rd_kafka_header_add(headers, cases[which].name, -1, bytes, 16);
    rd_kafka_resp_err_t code = rd_kafka_producev(
        kafka->producer, RD_KAFKA_V_TOPIC("impressions"),
        RD_KAFKA_V_PARTITION(0),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)bytes, cases[which].value),
        RD_KAFKA_V_KEY(bytes, cases[which].key), RD_KAFKA_V_HEADERS(headers),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
    assert_int_equal(code, RD_KAFKA_RESP_ERR_NO_ERROR);
}

static rd_kafka_t *reader_of(const struct kafka_fixture *kafka)
{
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers",
                      rd_kafka_mock_cluster_bootstraps(kafka->cluster), text,
                      sizeof text);
    rd_kafka_conf_set(conf, "group.id", "test", text, sizeof text);
    rd_kafka_t *reader =
        rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    assert_non_null(reader);
    rd_kafka_poll_set_consumer(reader);
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, "impressions", 0)->offset = 0;
    assert_int_equal(rd_kafka_assign(reader, list), 0);
    rd_kafka_topic_partition_list_destroy(list);
    return reader;
}

static void test_envelopes(void **state)
{
    (void)state;
    struct kafka_fixture kafka;
    kafka_fixture_open(&kafka, 1);
    for (size_t i = 0; i < CASES; i++)
        produce(&kafka, i);
    kafka_fixture_flush(&kafka);
    rd_kafka_t *reader = reader_of(&kafka);
    for (size_t i = 0; i < CASES;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(reader, 30000);
        assert_non_null(message);
        if (!message->err) {
            assert_int_equal(message->offset, i);
            assert_int_equal(ingest_envelope_judge(message, EVENT_MAX,
                                                   INGEST_PLAIN),
                             cases[i].plain);
            assert_int_equal(ingest_envelope_judge(message, EVENT_MAX,
                                                   INGEST_CONFLUENT),
                             cases[i].confluent);
            i++;
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_destroy_flags(reader, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    kafka_fixture_close(&kafka);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_envelopes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
