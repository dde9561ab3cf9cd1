/* SPDX-License-Identifier: Apache-2.0 */
/* Anchor check; see anchor.h. Assigns all anchors at once and waits for the
 * first record, end or error of each. A partition that has answered is paused:
 * what follows its anchor would fill the queue and starve the others. */
#include "ingest/anchor.h"

#include <string.h>

#include <xxhash.h>

#include "base/clock.h"
#include "base/log.h"

enum {
    OPEN = -1,
    POLL_MS = 20,
    WAKE_MS = 200,
};

static unsigned assign(rd_kafka_t *handle, const struct ingest_config *config,
                       const struct ingest_position *positions, unsigned slots,
                       enum ingest_anchor *verdicts,
                       rd_kafka_resp_err_t *code)
{
    unsigned open = 0;
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)slots);
    for (unsigned i = 0; i < slots; i++) {
        verdicts[i] = INGEST_ANCHOR_NONE;
        if (positions[i].anchor_offset < 0)
            continue;
        verdicts[i] = (enum ingest_anchor)OPEN;
        open++;
        rd_kafka_topic_partition_list_add(
            list, config->topics[positions[i].topic].name,
            positions[i].partition)
            ->offset = positions[i].anchor_offset;
    }
    *code = open ? rd_kafka_assign(handle, list) : RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_topic_partition_list_destroy(list);
    return open;
}

static enum ingest_anchor compare(const struct ingest_position *position,
                                  const rd_kafka_message_t *message)
{
    if (message->offset > position->anchor_offset)
        return INGEST_ANCHOR_GONE;
    rd_kafka_timestamp_type_t type;
    int64_t kafka_ms = rd_kafka_message_timestamp(message, &type);
    if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE)
        kafka_ms = -1;
    uint32_t crc = message->payload ? (uint32_t)XXH3_64bits(message->payload,
                                                            message->len)
                                    : 0;
    return kafka_ms == position->anchor_ms && crc == position->anchor_crc
               ? INGEST_ANCHOR_SAME
               : INGEST_ANCHOR_OTHER;
}

/* The broker refuses the offset: it lies before the log, or behind it. */
static int out_of_range(rd_kafka_t *handle, const struct ingest_config *config,
                        const struct ingest_position *positions, unsigned slot)
{
    int64_t low;
    if (ingest_kafka_offsets(handle, config, positions, &slot, 1,
                             RD_KAFKA_OFFSET_BEGINNING, 6000, &low, NULL) ||
        low < 0)
        return OPEN;
    return positions[slot].anchor_offset < low ? INGEST_ANCHOR_GONE
                                               : INGEST_ANCHOR_OTHER;
}

static int judge(rd_kafka_t *handle, const struct ingest_config *config,
                 const struct ingest_position *positions, unsigned slot,
                 const rd_kafka_message_t *message)
{
    switch (message->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        if (message->offset < positions[slot].anchor_offset)
            return OPEN; /* left over from an assignment before */
        return (int)compare(&positions[slot], message);
    case RD_KAFKA_RESP_ERR__PARTITION_EOF: /* compacted away, or cut off */
        return message->offset > positions[slot].anchor_offset
                   ? INGEST_ANCHOR_GONE
                   : INGEST_ANCHOR_OTHER;
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
        /* What librdkafka says next is read from the wrong place. */
        return INGEST_ANCHOR_DAMAGED;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        return out_of_range(handle, config, positions, slot);
    default: return OPEN; /* transient: librdkafka tries again */
    }
}

static int slot_of(const struct ingest_config *config,
                   const struct ingest_position *positions, unsigned slots,
                   const rd_kafka_message_t *message)
{
    if (!message->rkt)
        return -1;
    const char *topic = rd_kafka_topic_name(message->rkt);
    for (unsigned i = 0; i < slots; i++)
        if (positions[i].partition == message->partition &&
            strcmp(config->topics[positions[i].topic].name, topic) == 0)
            return (int)i;
    return -1;
}

/* Pauses the message's partition and notes it in `paused`. */
static void silence(rd_kafka_t *handle, const rd_kafka_message_t *message,
                    rd_kafka_topic_partition_list_t *paused)
{
    const char *topic = rd_kafka_topic_name(message->rkt);
    rd_kafka_topic_partition_list_t *one =
        rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(one, topic, message->partition);
    rd_kafka_topic_partition_list_add(paused, topic, message->partition);
    rd_kafka_pause_partitions(handle, one);
    rd_kafka_topic_partition_list_destroy(one);
}

/* librdkafka 2.0.2: the thread of an idle broker may have gone to sleep for a
 * second just before it was given partitions to fetch. A request wakes it. */
static void wake(rd_kafka_t *handle, const struct ingest_config *config,
                 const struct ingest_position *positions, unsigned slots,
                 const enum ingest_anchor *verdicts)
{
    unsigned open[INGEST_PARTITIONS_MAX], count = 0;
    int64_t ends[INGEST_PARTITIONS_MAX];
    for (unsigned i = 0; i < slots; i++)
        if ((int)verdicts[i] == OPEN)
            open[count++] = i;
    if (ingest_kafka_offsets(handle, config, positions, open, count,
                             RD_KAFKA_OFFSET_END, WAKE_MS, ends, NULL))
        base_log(BASE_LOG_DEBUG, "event=anchor_wake_unanswered");
}

enum base_status
ingest_anchor_check(rd_kafka_t *handle, const struct ingest_config *config,
                    const struct ingest_position *positions, unsigned slots,
                    int timeout_ms, const atomic_bool *stopping,
                    enum ingest_anchor *verdicts, struct base_error *error)
{
    rd_kafka_resp_err_t code;
    unsigned open =
        assign(handle, config, positions, slots, verdicts, &code);
    if (code)
        return base_fail(error, BASE_AGAIN, "anchors: assign: %s",
                         rd_kafka_err2str(code));
    rd_kafka_topic_partition_list_t *answered =
        rd_kafka_topic_partition_list_new((int)slots);
    int64_t until = base_monotonic_ms() + timeout_ms;
    while (open > 0 && base_monotonic_ms() < until &&
           !atomic_load(stopping)) {
        rd_kafka_message_t *message =
            rd_kafka_consumer_poll(handle, POLL_MS);
        if (!message) {
            wake(handle, config, positions, slots, verdicts);
            continue;
        }
        int slot = slot_of(config, positions, slots, message);
        if (slot >= 0 && (int)verdicts[slot] == OPEN) {
            int verdict = judge(handle, config, positions, (unsigned)slot,
                                message);
            verdicts[slot] = (enum ingest_anchor)verdict;
            open -= verdict != OPEN;
            if (verdict != OPEN)
                silence(handle, message, answered);
        }
        rd_kafka_message_destroy(message);
    }
    rd_kafka_resume_partitions(handle, answered);
    rd_kafka_topic_partition_list_destroy(answered);
    rd_kafka_assign(handle, NULL);
    if (open == 0)
        return BASE_OK;
    if (atomic_load(stopping))
        return base_fail(error, BASE_STOPPED, "anchors: asked to stop");
    return base_fail(error, BASE_AGAIN,
                     "anchors: %u partitions did not answer in %d ms", open,
                     timeout_ms);
}
