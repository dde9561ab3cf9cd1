/* SPDX-License-Identifier: Apache-2.0 */
/* What the brokers say of the topics: partitions, cluster, begin and end of
 * the logs. All block up to INGEST_ANSWER_MS a question; BASE_UNAVAILABLE
 * (retriable) where there is no answer yet, or no such topic. */
#ifndef INGEST_TOPICS_H
#define INGEST_TOPICS_H

#include "ingest/event.h"
#include "ingest/kafka.h"

enum { INGEST_ANSWER_MS = 6000 };

/* Partitions of each topic, and whether these can be read together:
 * BASE_CONFIG where the topics differ, BASE_LIMIT where they are too many. */
enum base_status ingest_topics_counts(rd_kafka_t *handle,
                                      const struct ingest_config *config,
                                      unsigned counts[INGEST_TOPICS],
                                      struct base_error *error)
    BASE_MUST_CHECK;
enum base_status ingest_topics_check(const struct ingest_config *config,
                                     const unsigned counts[INGEST_TOPICS],
                                     struct base_error *error) BASE_MUST_CHECK;

/* Both in one: the partitions of either topic. */
enum base_status ingest_topics_count(rd_kafka_t *handle,
                                     const struct ingest_config *config,
                                     unsigned *count,
                                     struct base_error *error) BASE_MUST_CHECK;

enum base_status ingest_topics_cluster(rd_kafka_t *handle, char *id,
                                       size_t size,
                                       struct base_error *error)
    BASE_MUST_CHECK;

/* Begin and true end of positions[slots[i]] into low[i] and high[i]; the
 * handle reads uncommitted. */
enum base_status
ingest_topics_ranges(rd_kafka_t *handle, const struct ingest_config *config,
                     const struct ingest_position *positions,
                     const unsigned *slots, unsigned count, int64_t *low,
                     int64_t *high, struct base_error *error) BASE_MUST_CHECK;

#endif
