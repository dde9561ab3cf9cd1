/* SPDX-License-Identifier: Apache-2.0 */
/* A mock cluster in the process, a producer to it, and events in the schemas
 * of this repository as bytes. Tests run in the project's folder. */
#ifndef TESTS_INGEST_KAFKA_FIXTURE_H
#define TESTS_INGEST_KAFKA_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

#include "ingest/ingest.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

struct kafka_fixture {
    rd_kafka_t *handle, *producer;
    rd_kafka_mock_cluster_t *cluster;
    unsigned partitions;
};

/* Topics "impressions" and "clicks" with as many partitions each. */
void kafka_fixture_open(struct kafka_fixture *fixture, unsigned partitions);
void kafka_fixture_open_on(struct kafka_fixture *fixture, unsigned partitions,
                           int brokers);
void kafka_fixture_close(struct kafka_fixture *fixture);

/* Queues one record; value NULL is a tombstone. */
void kafka_fixture_send(struct kafka_fixture *fixture, const char *topic,
                        int32_t partition, const void *value, size_t size,
                        int64_t kafka_ms);
void kafka_fixture_flush(struct kafka_fixture *fixture);

/* Configuration of a daemon on this cluster: profile none, item fields goods,
 * shop, cate, context pid. `folder` for its state. */
void kafka_fixture_config(const struct kafka_fixture *fixture,
                          struct ingest_config *config, const char *folder);
void kafka_fixture_property(struct ingest_config *config, const char *name,
                            const char *value);

/* Avro bytes into bytes[256]; the size. impression NULL: none. */
size_t kafka_fixture_impression(uint8_t *bytes, const char *id,
                                const char *user, int64_t event_ms,
                                const char *goods);
size_t kafka_fixture_click(uint8_t *bytes, const char *impression,
                           const char *user, int64_t event_ms,
                           const char *goods);

#endif
