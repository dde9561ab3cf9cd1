/* SPDX-License-Identifier: Apache-2.0 */
/* The end of damage; see damage.h. */
#include "ingest/damage.h"

#include "base/clock.h"
#include "ingest/topics.h"

struct probe {
    rd_kafka_t *handle;
    const char *topic;
    int32_t partition;
    const atomic_bool *stopping;
};

static rd_kafka_resp_err_t assign(const struct probe *probe, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, probe->topic, probe->partition)
        ->offset = offset;
    rd_kafka_resp_err_t code = rd_kafka_assign(probe->handle, list);
    rd_kafka_topic_partition_list_destroy(list);
    return code;
}

enum verdict { UNKNOWN, READABLE, DAMAGED };

static enum verdict judge(const rd_kafka_message_t *message)
{
    switch (message->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
    case RD_KAFKA_RESP_ERR__PARTITION_EOF: return READABLE;
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED: return DAMAGED;
    default: return UNKNOWN;
    }
}

/* Can the record at `offset`, or the next one there is, be read? */
static enum base_status try(const struct probe *probe, int64_t offset,
                            bool *readable, struct base_error *error)
{
    enum verdict found = UNKNOWN;
    rd_kafka_resp_err_t code = assign(probe, offset);
    if (code)
        return base_fail(error, BASE_AGAIN, "damage: assign: %s",
                         rd_kafka_err2str(code));
    int64_t until = base_monotonic_ms() + INGEST_ANSWER_MS;
    while (found == UNKNOWN && base_monotonic_ms() < until &&
           !atomic_load(probe->stopping)) {
        rd_kafka_message_t *message =
            rd_kafka_consumer_poll(probe->handle, 100);
        if (!message)
            continue;
        found = judge(message);
        rd_kafka_message_destroy(message);
    }
    *readable = found == READABLE;
    if (atomic_load(probe->stopping))
        return base_fail(error, BASE_STOPPED, "damage: asked to stop");
    return found == UNKNOWN
               ? base_fail(error, BASE_AGAIN, "damage: no answer for %s/%d",
                           probe->topic, (int)probe->partition)
               : BASE_OK;
}

/* [bad, good): everything below is damaged, the log ends at `end`. */
static enum base_status narrow(const struct probe *probe, int64_t bad,
                               int64_t end, int64_t *found,
                               struct base_error *error)
{
    int64_t step = 1, good = end;
    bool readable = false;
    while (good - bad > 1) {
        int64_t at = good < end || bad + step >= end ? bad + (good - bad) / 2
                                                     : bad + step;
        if (try(probe, at, &readable, error))
            return error->status;
        if (readable)
            good = at;
        else
            bad = at;
        step *= 2;
    }
    *found = good;
    return BASE_OK;
}

enum base_status
ingest_damage_find_end(rd_kafka_t *handle, const struct ingest_config *config,
                       const struct ingest_position *position, int64_t from,
                       const atomic_bool *stopping, int64_t *end,
                       struct base_error *error)
{
    const struct probe probe = {
        .handle = handle, .topic = config->topics[position->topic].name,
        .partition = position->partition, .stopping = stopping};
    const unsigned slot = 0;
    int64_t high;
    if (ingest_kafka_offsets(handle, config, position, &slot, 1,
                             RD_KAFKA_OFFSET_END, INGEST_ANSWER_MS, &high,
                             error))
        return error->status;
    if (high < 0)
        return base_fail(error, BASE_AGAIN, "damage: no broker leads %s/%d",
                         probe.topic, (int)probe.partition);
    enum base_status status = narrow(&probe, from, high, end, error);
    rd_kafka_assign(handle, NULL);
    return status;
}
