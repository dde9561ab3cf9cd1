/* SPDX-License-Identifier: Apache-2.0 */
/* Doubts while one of two brokers answers slowly: every look at the anchors
 * gets all its answers, whatever else the source does meanwhile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "ingest/source_parts.h"
#include "source_run.h"

enum { RTT_MS = 250, DOUBTS = 5, START = 4 };

static void send_event(struct kafka_fixture *kafka, int number)
{
    char id[32];
    uint8_t bytes[256];
    int64_t now_ms = base_wall_ms();
    snprintf(id, sizeof id, "event %d", number);
    bool click = number % 2;
    size_t size =
        click ? kafka_fixture_click(bytes, "", "user", now_ms, "7")
              : kafka_fixture_impression(bytes, id, "user", now_ms, "7");
    kafka_fixture_send(kafka, click ? "clicks" : "impressions", 0, bytes, size,
                       now_ms);
    kafka_fixture_flush(kafka);
}

/* An answer that somebody else took looks as if compaction had removed the
 * anchor: the record behind it comes first. */
static void assert_none_gone(struct source_run *run)
{
    ingest_source_stop(run->source);
    source_run_await_end(run);
    for (unsigned i = 0; i < run->source->slot_count; i++)
        assert_int_equal(run->source->slots[i].gone, -1);
}

static void test_every_look_is_answered(void **state)
{
    (void)state;
    struct kafka_fixture kafka;
    kafka_fixture_open_on(&kafka, 1, 2);
    rd_kafka_mock_partition_set_leader(kafka.cluster, "impressions", 0, 1);
    rd_kafka_mock_partition_set_leader(kafka.cluster, "clicks", 0, 2);
    for (int i = 0; i < START; i++)
        send_event(&kafka, i);
    struct source_run *run = source_run_new(&kafka);
    source_run_start(run);
    source_run_collect(run, START);
    rd_kafka_mock_broker_set_rtt(kafka.cluster, 2, RTT_MS);
    for (int i = 0; i < DOUBTS; i++) {
        ingest_source_doubt(run->source);
        send_event(&kafka, START + i);
        source_run_collect(run, (size_t)(START + i + 1));
    }
    assert_none_gone(run);
    source_run_stop(run);
    source_run_free(run);
    kafka_fixture_close(&kafka);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_look_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
