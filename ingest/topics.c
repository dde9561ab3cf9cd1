/* SPDX-License-Identifier: Apache-2.0 */
/* What the brokers say of the topics; see topics.h. */
#include "ingest/topics.h"

#include <stdio.h>
#include <string.h>

static enum base_status partitions_of(rd_kafka_t *broker,
                                      const char *topic, unsigned *count,
                                      struct base_error *error)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(broker, topic, NULL);
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code =
        handle ? rd_kafka_metadata(broker, 0, handle, &metadata,
                                   INGEST_ANSWER_MS)
               : rd_kafka_last_error();
    enum base_status status = BASE_OK;
    if (code)
        status = base_fail(error, BASE_UNAVAILABLE, "kafka: topic %s: %s",
                           topic, rd_kafka_err2str(code));
    else if (metadata->topic_cnt != 1 || metadata->topics[0].err ||
             metadata->topics[0].partition_cnt == 0)
        status = base_fail(
            error, BASE_UNAVAILABLE,
            "kafka: topic %s: %s; it must exist, interestd does not make it",
            topic,
            rd_kafka_err2str(metadata->topic_cnt == 1 && metadata->topics[0].err
                                 ? metadata->topics[0].err
                                 : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART));
    else
        *count = (unsigned)metadata->topics[0].partition_cnt;
    if (metadata)
        rd_kafka_metadata_destroy(metadata);
    if (handle)
        rd_kafka_topic_destroy(handle);
    return status;
}

enum base_status ingest_topics_counts(rd_kafka_t *handle,
                                      const struct ingest_config *config,
                                      unsigned counts[INGEST_TOPICS],
                                      struct base_error *error)
{
    for (int i = 0; i < INGEST_TOPICS; i++)
        if (partitions_of(handle, config->topics[i].name, &counts[i], error))
            return error->status;
    return BASE_OK;
}

enum base_status ingest_topics_check(const struct ingest_config *config,
                                     const unsigned counts[INGEST_TOPICS],
                                     struct base_error *error)
{
    const struct ingest_topic_config *topics = config->topics;
    if (counts[0] != counts[1])
        return base_fail(error, BASE_CONFIG,
                         "topics %s and %s have %u and %u partitions; both "
                         "must have as many, keyed alike",
                         topics[0].name, topics[1].name, counts[0], counts[1]);
    if (2 * counts[0] > INGEST_PARTITIONS_MAX)
        return base_fail(error, BASE_LIMIT,
                         "topics %s and %s have %u partitions together, at "
                         "most %d can be read", topics[0].name, topics[1].name,
                         2 * counts[0], INGEST_PARTITIONS_MAX);
    return BASE_OK;
}

enum base_status ingest_topics_count(rd_kafka_t *handle,
                                     const struct ingest_config *config,
                                     unsigned *count, struct base_error *error)
{
    unsigned counts[INGEST_TOPICS] = {0};
    if (ingest_topics_counts(handle, config, counts, error) ||
        ingest_topics_check(config, counts, error))
        return error->status;
    *count = counts[0];
    return BASE_OK;
}

enum base_status ingest_topics_cluster(rd_kafka_t *handle, char *id,
                                       size_t size, struct base_error *error)
{
    char *found = rd_kafka_clusterid(handle, INGEST_ANSWER_MS);
    if (!found)
        return base_fail(error, BASE_UNAVAILABLE,
                         "kafka: the brokers do not tell their cluster's id");
    snprintf(id, size, "%s", found);
    rd_kafka_mem_free(handle, found);
    return BASE_OK;
}

enum base_status
ingest_topics_ranges(rd_kafka_t *handle, const struct ingest_config *config,
                     const struct ingest_position *positions,
                     const unsigned *slots, unsigned count, int64_t *low,
                     int64_t *high, struct base_error *error)
{
    const struct {
        int64_t when, *into;
    } questions[] = {{RD_KAFKA_OFFSET_BEGINNING, low},
                     {RD_KAFKA_OFFSET_END, high}};
    for (int i = 0; i < 2; i++) {
        if (ingest_kafka_offsets(handle, config, positions, slots, count,
                                 questions[i].when, INGEST_ANSWER_MS,
                                 questions[i].into, error))
            return error->status;
        for (unsigned k = 0; k < count; k++)
            if (questions[i].into[k] < 0)
                return base_fail(error, BASE_UNAVAILABLE,
                                 "kafka: no broker leads %s/%d",
                                 config->topics[positions[slots[k]].topic].name,
                                 positions[slots[k]].partition);
    }
    return BASE_OK;
}
