/* SPDX-License-Identifier: Apache-2.0 */
/* Records in: polls the partitions' queues, filters by offset, decodes, and
 * queues for the merge; what a broker or a log does wrong is judged here.
 *
 * librdkafka turns forwarding to the common queue on again with each
 * assignment, a moment after assign() returned. So the common queue is emptied
 * first in every round, and a record found there turns it off once more:
 * whatever a partition's own queue holds is younger than all that was in the
 * common one. Role ingest. */
#include "ingest/source_parts.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "ingest/envelope.h"

enum {
    BATCH = 512,      /* records of one poll of a partition */
    FAILURES_MAX = 5, /* damaged batches in a row until a partition stops */
};

/* ---- trouble ------------------------------------------------------------ */

/* Something with the brokers: kept for the status, logged now and then. While
 * they refuse us, that they do not answer is no news. */
void ingest_source_note(struct ingest_source *source, const char *text)
{
    int64_t now = base_monotonic_ms();
    pthread_mutex_lock(&source->mutex);
    if (source->refused) {
        pthread_mutex_unlock(&source->mutex);
        return;
    }
    bool same = strncmp(source->broker_error, text,
                        sizeof source->broker_error - 1) == 0;
    size_t size = strnlen(text, sizeof source->broker_error - 1);
    memcpy(source->broker_error, text, size);
    source->broker_error[size] = '\0';
    bool say = !same || now >= source->logged_ms + 10000;
    if (say)
        source->logged_ms = now;
    pthread_mutex_unlock(&source->mutex);
    if (say)
        base_log(BASE_LOG_WARN, "event=broker_trouble text=\"%s\"", text);
}

void ingest_source_all_well(struct ingest_source *source)
{
    pthread_mutex_lock(&source->mutex);
    bool was = source->broker_error[0] != '\0';
    source->broker_error[0] = '\0';
    source->refused = false;
    pthread_mutex_unlock(&source->mutex);
    if (!was)
        return;
    ingest_source_doubt(source);
    base_log(BASE_LOG_INFO, "event=broker_well");
}

/* Said by a broker's thread before it takes any further record. */
void ingest_source_on_log(const rd_kafka_t *handle, int level,
                          const char *facility, const char *text)
{
    if (strcmp(facility, "BROKERUA") == 0)
        ingest_source_doubt(rd_kafka_opaque(handle));
    ingest_kafka_log(handle, level, facility, text);
}

/* What an operator must mend: the text says first which of them it is. */
static const char *refusal(int code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
        return "authentication failed";
    case RD_KAFKA_RESP_ERR__SSL: return "TLS failed";
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return "not authorized";
    default: return NULL;
    }
}

static void note_refusal(struct ingest_source *source, const char *what,
                         const char *text)
{
    int64_t now = base_monotonic_ms();
    pthread_mutex_lock(&source->mutex);
    bool new = !source->refused;
    source->refused = true;
    snprintf(source->broker_error, sizeof source->broker_error, "%s: %.160s",
             what, text);
    bool say = new || now >= source->logged_ms + 10000;
    if (say)
        source->logged_ms = now;
    pthread_mutex_unlock(&source->mutex);
    if (say)
        base_log(BASE_LOG_ERROR, "event=broker_refuses reason=\"%s\" "
                 "text=\"%s\"", what, text);
}

void ingest_source_hear(struct ingest_source *source)
{
    rd_kafka_message_t *message;
    while ((message = rd_kafka_consumer_poll(source->helper, 0)))
        rd_kafka_message_destroy(message);
}

void ingest_source_on_error(rd_kafka_t *handle, int code, const char *text,
                            void *self)
{
    struct ingest_source *source = self;
    const char *refused = refusal(code);
    if (refused)
        note_refusal(source, refused, text);
    if (handle == source->helper)
        return; /* whoever asks it notes what else is wrong */
    ingest_source_note(source, text); /* unless refused */
    ingest_source_doubt(source);
}

/* What is to be said of the slot that is the cause, and how to go on. */
static void explain(struct ingest_source *source, unsigned i)
{
    struct ingest_slot *slot = &source->slots[i];
    long long next = source->positions[i].next, at = slot->cause_at;
    char text[160], from[32] = "earliest";
    slot->lost_from = next;
    switch (slot->cause) {
    case INGEST_CAUSE_RETENTION:
        slot->lost_to = at;
        snprintf(text, sizeof text,
                 "offsets %lld to %lld are lost: the broker begins at %lld",
                 next, at - 1, at);
        break;
    case INGEST_CAUSE_SHORT:
        snprintf(text, sizeof text,
                 "the log ends at %lld, before offset %lld that comes next: "
                 "truncated, or made anew", at, next);
        break;
    case INGEST_CAUSE_OTHER:
        snprintf(text, sizeof text,
                 "offset %lld holds another record than the one that was "
                 "applied: the topic was made anew or truncated", at);
        break;
    case INGEST_CAUSE_FEWER:
        snprintf(text, sizeof text,
                 "the topic has %lld partitions now: made anew; a state is "
                 "not carried over to fewer", at);
        break;
    case INGEST_CAUSE_CLUSTER:
        snprintf(text, sizeof text,
                 "the brokers are cluster %.40s now; offsets of %.40s mean "
                 "nothing there", source->other_cluster, source->cluster);
        break;
    case INGEST_CAUSE_DAMAGE:
        slot->lost_from = slot->next;
        slot->lost_to = at;
        snprintf(from, sizeof from, at < 0 ? "OFFSET" : "%lld", at);
        snprintf(text, sizeof text,
                 at < 0 ? "the batch at offset %lld is damaged; go on behind "
                          "its end"
                        : "offsets %lld to %lld are lost: their batch is "
                          "damaged",
                 (long long)slot->next, at - 1);
        break;
    default:
        slot->lost_to = at;
        snprintf(from, sizeof from, "%lld", at);
        snprintf(text, sizeof text,
                 "offsets %lld to %lld are lost behind a damaged batch", next,
                 at - 1);
    }
    bool one = slot->cause >= INGEST_CAUSE_DAMAGE;
    if (slot->cause == INGEST_CAUSE_CLUSTER)
        snprintf(slot->resume, sizeof slot->resume,
                 "--partition all --from earliest --accept-cluster");
    else
        snprintf(slot->resume, sizeof slot->resume,
                 "--partition %d%s%s --from %s",
             source->positions[i].partition, one ? " --topic " : "",
             !one ? "" : i < source->per_topic ? "impressions" : "clicks",
             from);
    snprintf(slot->stop_reason, sizeof slot->stop_reason, "%s/%d: %s",
             ingest_source_topic(source, i), source->positions[i].partition,
             text);
}

static void stop_now(struct ingest_source *source, unsigned cause)
{
    int32_t partition = source->positions[cause].partition;
    struct ingest_slot *from = &source->slots[cause];
    bool both = from->stopped; /* the other topic was first; say this too */
    pthread_mutex_lock(&source->mutex);
    explain(source, cause);
    for (unsigned topic = 0; topic < INGEST_TOPICS && !both; topic++) {
        unsigned i = topic * source->per_topic + (unsigned)partition;
        struct ingest_slot *slot = &source->slots[i];
        slot->stopped = true;
        memmove(slot->stop_reason, from->stop_reason,
                sizeof slot->stop_reason);
        memmove(slot->resume, from->resume, sizeof slot->resume);
        ingest_merge_stop(source->merge, i);
    }
    pthread_mutex_unlock(&source->mutex);
    source->slots[partition].stop_pending |= !both;
    base_log(BASE_LOG_ERROR, "event=partition_stopped partition=%d "
             "lost_from=%lld lost_to=%lld text=\"%s\" "
             "resume=\"interestd skip --config %s %s\"", partition,
             (long long)from->lost_from, (long long)from->lost_to,
             from->stop_reason,
             source->config->file[0] ? source->config->file : "FILE",
             from->resume);
}

void ingest_source_stop_pair(struct ingest_source *source, unsigned slot,
                             enum ingest_cause cause, int64_t at)
{
    struct ingest_slot *found = &source->slots[slot];
    bool foreign =
        cause >= INGEST_CAUSE_SHORT && cause <= INGEST_CAUSE_CLUSTER;
    if (found->away || (found->cause && (found->stopped || !foreign)))
        return;
    found->cause = cause;
    found->cause_at = at;
    if (found->stopped || foreign ||
        ingest_merge_count(source->merge, slot) == 0)
        stop_now(source, slot);
}

void ingest_source_finish_stops(struct ingest_source *source)
{
    for (unsigned i = 0; i < source->slot_count; i++) {
        struct ingest_slot *slot = &source->slots[i];
        if (slot->cause && !slot->stopped &&
            ingest_merge_count(source->merge, i) == 0)
            stop_now(source, i);
    }
}

/* ---- records ------------------------------------------------------------ */

static int slot_of(const struct ingest_source *source,
                   const rd_kafka_message_t *message)
{
    if (!message->rkt || message->partition < 0 ||
        (unsigned)message->partition >= source->per_topic)
        return -1;
    const char *name = rd_kafka_topic_name(message->rkt);
    for (unsigned topic = 0; topic < INGEST_TOPICS; topic++)
        if (strcmp(name, source->config->topics[topic].name) == 0)
            return (int)(topic * source->per_topic +
                         (unsigned)message->partition);
    return -1;
}

static void bad_batch(struct ingest_source *source, unsigned i,
                      const rd_kafka_message_t *message)
{
    struct ingest_slot *slot = &source->slots[i];
    char text[200];
    snprintf(text, sizeof text, "%s/%d: %s", ingest_source_topic(source, i),
             message->partition, rd_kafka_message_errstr(message));
    ingest_source_note(source, text);
    slot->suspicious = true;
    slot->damaged = ++slot->failures > FAILURES_MAX;
    source->reassign_ms = source->now_ms + 100 * (int64_t)slot->failures;
}

/* Behind a damaged batch librdkafka may go on anywhere: a gap is a loss. */
static bool skipped_loss(struct ingest_source *source, unsigned i,
                         int64_t offset)
{
    struct ingest_slot *slot = &source->slots[i];
    if (!slot->suspicious || offset <= slot->next)
        return false;
    ingest_source_stop_pair(source, i, INGEST_CAUSE_GAP, offset);
    return true;
}

/* All before `offset` is read; what we did not see had no record for us. */
static void reach(struct ingest_source *source, unsigned i, int64_t offset)
{
    if (offset < source->slots[i].next)
        return;
    source->slots[i].next = offset;
    ingest_merge_reached(source->merge, i, offset);
}

static void on_message_error(struct ingest_source *source, unsigned i,
                             const rd_kafka_message_t *message)
{
    switch (message->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        if (!skipped_loss(source, i, message->offset))
            reach(source, i, message->offset);
        ingest_source_all_well(source);
        break;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        source->slots[i].examine = true;
        break;
    case RD_KAFKA_RESP_ERR_INVALID_MSG:
    case RD_KAFKA_RESP_ERR__BAD_MSG:
    case RD_KAFKA_RESP_ERR__BAD_COMPRESSION:
    case RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED:
        bad_batch(source, i, message);
        break;
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
        ingest_source_doubt(source);
        ingest_source_note(source, rd_kafka_message_errstr(message));
        break;
    default: ingest_source_note(source, rd_kafka_message_errstr(message));
    }
}

/* Decodes a record, where it is not judged already, and queues it. */
static enum base_status take(struct ingest_source *source, unsigned i,
                             const rd_kafka_message_t *message,
                             enum ingest_reason judged,
                             struct base_error *error)
{
    uint64_t *ids;
    struct ingest_event *event =
        ingest_merge_reserve(source->merge, i, &ids);
    if (!event)
        return base_fail(error, BASE_SYSTEM, "source: no memory for a record");
    rd_kafka_timestamp_type_t type;
    event->offset = message->offset;
    event->kafka_ms = rd_kafka_message_timestamp(message, &type);
    if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE)
        event->kafka_ms = -1;
    struct ingest_decoder *decoder = source->decoders[event->topic];
    if (!judged) {
        ingest_decoder_read(decoder, message->payload, message->len, event,
                            ids);
        judged = ingest_merge_judge(source->merge, i, source->wall_ms);
    }
    if (judged)
        ingest_decoder_bury(decoder, judged, message->payload, message->len,
                            event);
    ingest_merge_push(source->merge, i, source->now_ms, source->wall_ms);
    return BASE_OK;
}

/* In a range that the given decisions pass over. */
static bool given_up(struct ingest_source *source, unsigned i, int64_t offset)
{
    if (!source->decisions ||
        !ingest_repeats_passed(ingest_decisions_repeats(source->decisions),
                               (uint8_t)(i / source->per_topic),
                               (int32_t)(i % source->per_topic), offset))
        return false;
    reach(source, i, offset + 1);
    return true;
}

enum base_status ingest_source_judge(struct ingest_source *source, unsigned i,
                                     const rd_kafka_message_t *message,
                                     struct base_error *error)
{
    struct ingest_slot *slot = &source->slots[i];
    if (slot->stopped || slot->cause || slot->damaged)
        return BASE_OK;
    if (message->err) {
        on_message_error(source, i, message);
        return BASE_OK;
    }
    if (message->offset < slot->next)
        return BASE_OK; /* read before: left over from an assignment */
    if (skipped_loss(source, i, message->offset))
        return BASE_OK;
    if (given_up(source, i, message->offset))
        return BASE_OK;
    enum ingest_reason judged = ingest_envelope_judge(
        message, source->config->event_max,
        source->config->topics[i / source->per_topic].framing);
    if (!judged && ingest_source_park(source, i, message))
        return BASE_OK;
    slot->next = message->offset + 1;
    slot->failures = 0;
    slot->suspicious = false;
    return take(source, i, message, judged, error);
}

/* TAKES the message. */
static enum base_status on_message(struct ingest_source *source,
                                   rd_kafka_message_t *message,
                                   struct base_error *error)
{
    enum base_status status = BASE_OK;
    int i = slot_of(source, message);
    bool holds = false;
    if (i >= 0) {
        struct ingest_slot *slot = &source->slots[i];
        if (!slot->fetched)
            ingest_source_doubt(source); /* since our last look, perhaps */
        slot->fetched = true;
        holds = ingest_source_holds(slot);
        if (!holds)
            status = ingest_source_judge(source, (unsigned)i, message, error);
        holds |= slot->parked;
    } else if (message->err) {
        ingest_source_note(source, rd_kafka_message_errstr(message));
    }
    if (!status && holds)
        status = ingest_source_hold(source, (unsigned)i, message, error);
    if (status || !holds)
        rd_kafka_message_destroy(message);
    return status;
}

/* Empties the common queue; see the top of this file. */
static enum base_status poll_common(struct ingest_source *source,
                                    struct base_error *error)
{
    enum base_status status = BASE_OK;
    rd_kafka_message_t *message;
    while (!status &&
           (message = rd_kafka_consumer_poll(source->consumer, 0))) {
        int slot = slot_of(source, message);
        if (slot >= 0 && source->slots[slot].queue)
            rd_kafka_queue_forward(source->slots[slot].queue, NULL);
        status = on_message(source, message, error);
        source->polled = true;
    }
    return status;
}

static enum base_status poll_slot(struct ingest_source *source, unsigned i,
                                  struct base_error *error)
{
    rd_kafka_message_t *batch[BATCH];
    struct ingest_slot *slot = &source->slots[i];
    if (ingest_source_release(source, i, error))
        return error->status;
    unsigned room = ingest_merge_room(source->merge, i);
    if (!slot->queue || ingest_source_holds(slot) || room == 0 ||
        rd_kafka_queue_length(slot->queue) == 0)
        return BASE_OK;
    ssize_t count = rd_kafka_consume_batch_queue(slot->queue, 0, batch,
                                                 room < BATCH ? room : BATCH);
    enum base_status status = BASE_OK;
    for (ssize_t k = 0; k < count; k++)
        if (!status)
            status = on_message(source, batch[k], error);
        else
            rd_kafka_message_destroy(batch[k]);
    source->polled = source->polled || count > 0;
    return status;
}

enum base_status ingest_source_poll(struct ingest_source *source,
                                 struct base_error *error)
{
    source->polled = false;
    if (atomic_load(&source->paused))
        return BASE_OK;
    if (poll_common(source, error))
        return error->status;
    for (unsigned i = 0; i < source->slot_count; i++)
        if (poll_slot(source, i, error))
            return error->status;
    if (source->polled) {
        pthread_mutex_lock(&source->mutex);
        source->at_end = false;
        pthread_mutex_unlock(&source->mutex);
    }
    return BASE_OK;
}
