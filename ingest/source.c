/* SPDX-License-Identifier: Apache-2.0 */
/* The consumer; see source.h. Each partition has its own librdkafka queue
 * (forwarding off), so that the merge decides who is read; all of them wake
 * one eventfd. A slot is a partition of one topic: topic * per_topic + number.
 *
 * librdkafka turns forwarding on again with each assignment, a moment after
 * assign() returned. So the common queue is emptied first in every round, and
 * a record found there turns it off once more: whatever a partition's own
 * queue holds is younger than all that was in the common one. */
#include "ingest/source.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/role.h"
#include "ingest/anchor.h"
#include "ingest/chunk.h"
#include "ingest/decisions.h"
#include "ingest/ends.h"
#include "ingest/kafka.h"
#include "ingest/merge.h"
#include "ingest/decoder.h"
#include "ingest/topics.h"

enum {
    BATCH = 512,          /* records of one poll of a partition */
    QUEUE_EVENTS = 65536, /* of all merge queues together */
    QUEUE_LEAST = 64,
    HOUSEKEEPING_MS = 250,
    SURVEY_MS = 100, /* between questions for all ends while not there */
    REST_MS = 1000,  /* and once there */
    FAILURES_MAX = 5, /* damaged batches in a row until a partition stops */
};

struct slot {
    rd_kafka_queue_t *queue;
    int64_t next;      /* first offset not handed to the merge */
    unsigned failures; /* since the last good record */
    bool suspicious;   /* after a damaged batch a gap is a loss */
    bool examine;      /* the broker refused our offset */
    bool stop_pending; /* to be said to the store behind what it has */
    /* Under the mutex, for ingest_source_status(). */
    int64_t high;
    bool stopped;
    char stop_reason[200];
};

struct ingest_source {
    struct ingest_source_config wiring;
    const struct ingest_config *config;
    struct ingest_decoder *decoders[INGEST_TOPICS];
    struct ingest_decisions *decisions;
    struct ingest_event last;
    char cluster[256];
    unsigned known_count;
    struct ingest_position *known; /* of the state */

    /* From the brokers' metadata on. */
    unsigned per_topic, slot_count;
    struct ingest_position *positions; /* by slot; anchors as handed over */
    struct slot *slots;
    unsigned fresh_count;
    struct ingest_position *fresh; /* never read before */
    unsigned *asking;
    struct ingest_merge *merge;
    rd_kafka_t *consumer, *helper;
    atomic_bool open; /* consumer is there, for the store thread too */
    struct ingest_ends *ends;
    struct ingest_chunk *chunk; /* being filled */
    int64_t asked_ms, kept_house_ms, reassign_ms, logged_ms;
    int64_t now_ms, wall_ms; /* of this round */
    bool check_anchors, polled;

    int event_fd;
    atomic_bool stopping, paused, starved;
    pthread_mutex_t mutex; /* guards what follows and parts of slots */
    bool at_end;
    uint64_t handed;
    char broker_error[200];
};

/* ---- errors and stops ------------------------------------------------------ */

/* Something with the brokers: kept for the status, logged now and then. */
static void note(struct ingest_source *source, const char *text)
{
    int64_t now = base_monotonic_ms();
    pthread_mutex_lock(&source->mutex);
    bool same = strncmp(source->broker_error, text,
                        sizeof source->broker_error - 1) == 0;
    size_t size = strnlen(text, sizeof source->broker_error - 1);
    memcpy(source->broker_error, text, size);
    source->broker_error[size] = '\0';
    pthread_mutex_unlock(&source->mutex);
    if (same && now < source->logged_ms + 10000)
        return;
    source->logged_ms = now;
    base_log(BASE_LOG_WARN, "event=broker_trouble text=\"%s\"", text);
}

static void all_well(struct ingest_source *source)
{
    pthread_mutex_lock(&source->mutex);
    bool was = source->broker_error[0] != '\0';
    source->broker_error[0] = '\0';
    pthread_mutex_unlock(&source->mutex);
    if (!was)
        return;
    source->check_anchors = source->consumer != NULL;
    base_log(BASE_LOG_INFO, "event=broker_well");
}

static void on_error(rd_kafka_t *handle, int code, const char *text,
                     void *self)
{
    (void)handle;
    struct ingest_source *source = self;
    note(source, text);
    if (code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
        code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        source->check_anchors = true;
}

static const char *topic_of(const struct ingest_source *source, unsigned slot)
{
    return source->config->topics[source->positions[slot].topic].name;
}

/* Stops this partition number in both topics: clicks without their
 * impressions, or the other way round, would be labelled wrongly. */
static void stop_pair(struct ingest_source *source, unsigned cause,
                      const char *reason)
{
    int32_t partition = source->positions[cause].partition;
    char text[sizeof source->slots->stop_reason];
    snprintf(text, sizeof text, "%s/%d: %s", topic_of(source, cause),
             partition, reason);
    if (source->slots[cause].stopped)
        return;
    base_log(BASE_LOG_ERROR, "event=partition_stopped partition=%d "
             "text=\"%s\"", partition, text);
    for (unsigned topic = 0; topic < INGEST_TOPICS; topic++) {
        unsigned i = topic * source->per_topic + (unsigned)partition;
        pthread_mutex_lock(&source->mutex);
        source->slots[i].stopped = true;
        memcpy(source->slots[i].stop_reason, text, sizeof text);
        pthread_mutex_unlock(&source->mutex);
        ingest_merge_stop(source->merge, i);
    }
    source->slots[partition].stop_pending = true;
}

/* ---- before the first record ----------------------------------------------- */

/* False once asked to stop. */
static bool rest(struct ingest_source *source, int milliseconds)
{
    struct pollfd wait = {.fd = source->event_fd, .events = POLLIN};
    poll(&wait, 1, milliseconds);
    uint64_t count;
    if (wait.revents && read(source->event_fd, &count, sizeof count) < 0 &&
        errno != EAGAIN)
        return false;
    return !atomic_load(&source->stopping);
}

static enum base_status find_partitions(struct ingest_source *source,
                                        struct base_error *error)
{
    unsigned count;
    if (ingest_topics_count(source->helper, source->config, &count, error))
        return error->status;
    for (unsigned i = 0; i < source->known_count; i++)
        if ((unsigned)source->known[i].partition >= count)
            return base_fail(error, BASE_CONFIG,
                             "topic %s has %u partitions, the state has read "
                             "number %d of it: another topic?",
                             source->config->topics[source->known[i].topic].name,
                             count, source->known[i].partition);
    source->per_topic = count;
    source->slot_count = 2 * count;
    return BASE_OK;
}

static enum base_status find_cluster(struct ingest_source *source,
                                     struct base_error *error)
{
    char id[sizeof source->cluster];
    if (ingest_topics_cluster(source->helper, id, sizeof id, error))
        return error->status;
    if (source->cluster[0] && strcmp(id, source->cluster) != 0)
        return base_fail(error, BASE_CONFIG,
                         "kafka: cluster %s is not the one this state was "
                         "read from (%s); offsets mean nothing there",
                         id, source->cluster);
    memcpy(source->cluster, id, sizeof id);
    return BASE_OK;
}

static enum base_status make_slots(struct ingest_source *source,
                                   struct base_error *error)
{
    unsigned count = source->slot_count;
    source->positions = calloc(count, sizeof *source->positions);
    source->fresh = calloc(count, sizeof *source->fresh);
    source->asking = calloc(count, sizeof *source->asking);
    pthread_mutex_lock(&source->mutex); /* the status sees them from here on */
    source->slots = calloc(count, sizeof *source->slots);
    pthread_mutex_unlock(&source->mutex);
    if (!source->positions || !source->slots || !source->fresh ||
        !source->asking)
        return base_fail(error, BASE_SYSTEM, "source: no memory for %u "
                         "partitions", count);
    for (unsigned i = 0; i < count; i++)
        source->positions[i] = (struct ingest_position){
            .topic = (uint8_t)(i / source->per_topic),
            .partition = (int32_t)(i % source->per_topic),
            .next = -1, .start = -1, .own_ms = INT64_MIN,
            .apply_ms = INT64_MIN, .anchor_offset = -1};
    for (unsigned i = 0; i < source->known_count; i++)
        source->positions[source->known[i].topic * source->per_topic +
                          (unsigned)source->known[i].partition] =
            source->known[i];
    return BASE_OK;
}

static unsigned all_slots(const struct ingest_source *source)
{
    unsigned count = 0;
    for (unsigned i = 0; i < source->slot_count; i++)
        if (!source->slots[i].stopped)
            source->asking[count++] = i;
    return count;
}

/* The log's begin and end of one slot against where we stand. */
static void judge_range(struct ingest_source *source, unsigned slot,
                        int64_t low, int64_t high)
{
    int64_t next = source->slots[slot].next;
    char reason[160];
    if (next < low)
        snprintf(reason, sizeof reason,
                 "offsets %lld to %lld are lost: the broker begins at %lld",
                 (long long)next, (long long)low - 1, (long long)low);
    else if (next > high)
        snprintf(reason, sizeof reason,
                 "the log ends at %lld, before offset %lld that comes next: "
                 "truncated, or made anew", (long long)high, (long long)next);
    else
        return;
    stop_pair(source, slot, reason);
}

static enum base_status judge_anchors(struct ingest_source *source,
                                      struct base_error *error)
{
    enum ingest_anchor verdicts[INGEST_PARTITIONS_MAX];
    if (ingest_anchor_check(source->helper, source->config, source->positions,
                            source->slot_count, INGEST_ANSWER_MS, &source->stopping,
                            verdicts, error))
        return error->status;
    for (unsigned i = 0; i < source->slot_count; i++) {
        char reason[160];
        if (verdicts[i] == INGEST_ANCHOR_GONE)
            base_log(BASE_LOG_WARN, "event=anchor_gone topic=%s partition=%d "
                     "offset=%lld", topic_of(source, i),
                     source->positions[i].partition,
                     (long long)source->positions[i].anchor_offset);
        if (verdicts[i] != INGEST_ANCHOR_OTHER)
            continue;
        snprintf(reason, sizeof reason,
                 "offset %lld holds another record than the one that was "
                 "applied: the topic was made anew or truncated",
                 (long long)source->positions[i].anchor_offset);
        stop_pair(source, i, reason);
    }
    return BASE_OK;
}

/* Repeats a step until the brokers answer it. */
static enum base_status
until_answered(struct ingest_source *source,
               enum base_status (*step)(struct ingest_source *,
                                        struct base_error *),
               struct base_error *error)
{
    for (int wait_ms = 100;; wait_ms = wait_ms < 2500 ? 2 * wait_ms : 5000) {
        *error = (struct base_error){.text = ""};
        enum base_status status = step(source, error);
        if (!status || !error->retriable)
            return status;
        note(source, error->text);
        if (!rest(source, wait_ms))
            return base_fail(error, BASE_STOPPED, "source: asked to stop");
    }
}

static enum base_status start_merge(struct ingest_source *source,
                                    struct base_error *error)
{
    struct ingest_merge_start *starts =
        calloc(source->slot_count, sizeof *starts);
    if (!starts)
        return base_fail(error, BASE_SYSTEM, "source: no memory");
    unsigned ids = 0;
    for (int i = 0; i < INGEST_TOPICS; i++)
        if (ingest_decoder_ids(source->decoders[i]) > ids)
            ids = ingest_decoder_ids(source->decoders[i]);
    for (unsigned i = 0; i < source->slot_count; i++)
        starts[i] = (struct ingest_merge_start){
            .topic = source->positions[i].topic,
            .partition = source->positions[i].partition,
            .next = source->slots[i].next,
            .own_ms = source->positions[i].own_ms,
            .apply_ms = source->positions[i].apply_ms};
    unsigned depth = QUEUE_EVENTS / source->slot_count;
    struct ingest_merge_config config = {
        .slots = source->slot_count, .ids = ids,
        .depth = depth > QUEUE_LEAST ? depth : QUEUE_LEAST,
        .idle_ms = source->config->idle_ms, .starts = starts,
        .last = source->wiring.last ? &source->last : NULL,
        .decisions = source->decisions};
    enum base_status status =
        ingest_merge_new(&config, &source->merge, error);
    free(starts);
    return status;
}

/* Where each partition begins, what is lost, who stops. */
static enum base_status find_starts(struct ingest_source *source,
                                    struct base_error *error)
{
    int64_t low[INGEST_PARTITIONS_MAX], high[INGEST_PARTITIONS_MAX];
    unsigned all = all_slots(source);
    if (ingest_topics_ranges(source->helper, source->config,
                             source->positions, source->asking, all, low,
                             high, error))
        return error->status;
    for (unsigned i = 0; i < source->slot_count; i++) {
        struct ingest_position *position = &source->positions[i];
        if (position->next < 0) {
            position->next = position->start = low[i];
            source->fresh[source->fresh_count++] = *position;
        }
        source->slots[i].next = position->next;
        pthread_mutex_lock(&source->mutex);
        source->slots[i].high = high[i];
        pthread_mutex_unlock(&source->mutex);
    }
    enum base_status status = start_merge(source, error);
    for (unsigned i = 0; !status && i < source->slot_count; i++)
        judge_range(source, i, low[i], high[i]);
    return status;
}

static void assign(struct ingest_source *source)
{
    static const uint64_t one = 1;
    unsigned count = all_slots(source);
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)count);
    for (unsigned k = 0; k < count; k++) {
        unsigned i = source->asking[k];
        rd_kafka_topic_partition_list_add(list, topic_of(source, i),
                                          source->positions[i].partition)
            ->offset = source->slots[i].next;
    }
    rd_kafka_resp_err_t code = rd_kafka_assign(source->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code)
        note(source, rd_kafka_err2str(code));
    for (unsigned k = 0; k < count; k++) {
        struct slot *slot = &source->slots[source->asking[k]];
        if (!slot->queue) {
            slot->queue = rd_kafka_queue_get_partition(
                source->consumer, topic_of(source, source->asking[k]),
                source->positions[source->asking[k]].partition);
            rd_kafka_queue_io_event_enable(slot->queue, source->event_fd, &one,
                                           sizeof one);
        }
        rd_kafka_queue_forward(slot->queue, NULL);
    }
}

static enum base_status open_consumer(struct ingest_source *source,
                                      struct base_error *error)
{
    static const uint64_t one = 1;
    const struct ingest_kafka_callbacks callbacks = {.self = source,
                                                     .error = on_error};
    if (ingest_kafka_new(source->config, INGEST_KAFKA_SOURCE,
                         source->slot_count, &callbacks, &source->consumer,
                         error))
        return error->status;
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(source->consumer);
    rd_kafka_queue_io_event_enable(queue, source->event_fd, &one, sizeof one);
    rd_kafka_queue_destroy(queue);
    assign(source);
    return ingest_ends_new(source->helper, source->config, source->positions,
                           source->slot_count, source->event_fd, &source->ends,
                           error);
}

static enum base_status open_all(struct ingest_source *source,
                                 struct base_error *error)
{
    const struct ingest_kafka_callbacks callbacks = {.self = source};
    enum base_status status =
        ingest_kafka_new(source->config, INGEST_KAFKA_HELPER, 0, &callbacks,
                         &source->helper, error);
    if (!status)
        status = until_answered(source, find_partitions, error);
    if (!status)
        status = until_answered(source, find_cluster, error);
    if (!status)
        status = make_slots(source, error);
    if (!status)
        status = until_answered(source, find_starts, error);
    if (!status)
        status = until_answered(source, judge_anchors, error);
    if (!status)
        status = open_consumer(source, error);
    if (status)
        return status;
    source->wiring.opened(source->wiring.self, source->cluster, source->fresh,
                          source->fresh_count);
    atomic_store(&source->open, true);
    all_well(source);
    source->check_anchors = false; /* just done */
    base_log(BASE_LOG_INFO, "event=source_open cluster=%s partitions=%u",
             source->cluster, source->slot_count);
    return BASE_OK;
}

/* ---- records --------------------------------------------------------------- */

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
    struct slot *slot = &source->slots[i];
    char text[200];
    snprintf(text, sizeof text, "%s/%d: %s", topic_of(source, i),
             message->partition, rd_kafka_message_errstr(message));
    note(source, text);
    slot->suspicious = true;
    if (++slot->failures > FAILURES_MAX) {
        snprintf(text, sizeof text, "the batch at offset %lld is damaged: %s",
                 (long long)slot->next, rd_kafka_err2str(message->err));
        stop_pair(source, i, text);
    }
    source->reassign_ms = source->now_ms + 100 * (int64_t)slot->failures;
}

/* Behind a damaged batch librdkafka may go on anywhere: a gap is a loss. */
static bool skipped_loss(struct ingest_source *source, unsigned i,
                         int64_t offset)
{
    struct slot *slot = &source->slots[i];
    if (!slot->suspicious || offset <= slot->next)
        return false;
    char reason[160];
    snprintf(reason, sizeof reason,
             "offsets %lld to %lld are lost behind a damaged batch",
             (long long)slot->next, (long long)offset - 1);
    stop_pair(source, i, reason);
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
        all_well(source);
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
        source->check_anchors = true;
        note(source, rd_kafka_message_errstr(message));
        break;
    default: note(source, rd_kafka_message_errstr(message));
    }
}

/* Decodes a record and queues it for the merge. */
static enum base_status take(struct ingest_source *source, unsigned i,
                             const rd_kafka_message_t *message,
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
    ingest_decoder_read(source->decoders[event->topic], message->payload,
                       message->len, event, ids);
    ingest_merge_push(source->merge, i, source->now_ms, source->wall_ms);
    return BASE_OK;
}

static enum base_status on_message(struct ingest_source *source,
                                   const rd_kafka_message_t *message,
                                   struct base_error *error)
{
    int found = slot_of(source, message);
    if (found < 0) {
        if (message->err)
            note(source, rd_kafka_message_errstr(message));
        return BASE_OK;
    }
    unsigned i = (unsigned)found;
    struct slot *slot = &source->slots[i];
    if (slot->stopped)
        return BASE_OK;
    if (message->err) {
        on_message_error(source, i, message);
        return BASE_OK;
    }
    if (message->offset < slot->next)
        return BASE_OK; /* read before: left over from an assignment */
    if (skipped_loss(source, i, message->offset))
        return BASE_OK;
    slot->next = message->offset + 1;
    slot->failures = 0;
    slot->suspicious = false;
    return take(source, i, message, error);
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
        rd_kafka_message_destroy(message);
        source->polled = true;
    }
    return status;
}

static enum base_status poll_slot(struct ingest_source *source, unsigned i,
                                  struct base_error *error)
{
    rd_kafka_message_t *batch[BATCH];
    struct slot *slot = &source->slots[i];
    unsigned room = ingest_merge_room(source->merge, i);
    if (!slot->queue || room == 0 || rd_kafka_queue_length(slot->queue) == 0)
        return BASE_OK;
    ssize_t count = rd_kafka_consume_batch_queue(slot->queue, 0, batch,
                                                 room < BATCH ? room : BATCH);
    enum base_status status = BASE_OK;
    for (ssize_t k = 0; k < count; k++) {
        if (!status)
            status = on_message(source, batch[k], error);
        rd_kafka_message_destroy(batch[k]);
    }
    source->polled = source->polled || count > 0;
    return status;
}

static enum base_status poll_all(struct ingest_source *source,
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

/* ---- chunks ---------------------------------------------------------------- */

struct ingest_chunk *ingest_source_chunk(const struct ingest_source *source)
{
    return ingest_chunk_new(
        ingest_decoder_ids(source->decoders[INGEST_IMPRESSIONS]),
        source->config->event_max);
}

/* A chunk to fill, or NULL while the store has them all. */
static struct ingest_chunk *open_chunk(struct ingest_source *source)
{
    if (source->chunk)
        return source->chunk;
    source->chunk = base_ring_pop(source->wiring.back, 0);
    if (!source->chunk) {
        /* Said first, looked at once more: no wake-up is lost. */
        atomic_store(&source->starved, true);
        source->chunk = base_ring_pop(source->wiring.back, 0);
    }
    if (!source->chunk)
        return NULL;
    atomic_store(&source->starved, false);
    ingest_chunk_clear(source->chunk);
    return source->chunk;
}

static enum base_status hand_over(struct ingest_source *source,
                                  struct base_error *error)
{
    struct ingest_chunk *chunk = source->chunk;
    source->chunk = NULL;
    pthread_mutex_lock(&source->mutex);
    source->handed += chunk->count;
    pthread_mutex_unlock(&source->mutex);
    if (base_ring_push(source->wiring.out, chunk, -1))
        return BASE_OK;
    ingest_chunk_free(chunk);
    return base_fail(error, BASE_STOPPED, "source: the store has ended");
}

static void remember(struct ingest_source *source,
                     const struct ingest_event *event)
{
    struct ingest_position *position =
        &source->positions[event->topic * source->per_topic +
                           (unsigned)event->partition];
    position->anchor_offset = event->offset;
    position->anchor_ms = event->kafka_ms;
    position->anchor_crc = event->crc;
}

static enum base_status say_stops(struct ingest_source *source,
                                  struct base_error *error)
{
    for (unsigned i = 0; i < source->per_topic; i++) {
        if (!source->slots[i].stop_pending)
            continue;
        struct ingest_chunk *chunk = open_chunk(source);
        if (!chunk)
            return BASE_OK; /* next round */
        source->slots[i].stop_pending = false;
        chunk->stop_partition = (int32_t)i;
        memcpy(chunk->stop_reason, source->slots[i].stop_reason,
               sizeof chunk->stop_reason);
        if (hand_over(source, error))
            return error->status;
    }
    return BASE_OK;
}

/* Hands over all that may go. */
static enum base_status release(struct ingest_source *source,
                                struct base_error *error)
{
    const struct ingest_event *event;
    while ((event = ingest_merge_peek(source->merge))) {
        struct ingest_chunk *chunk = open_chunk(source);
        if (!chunk)
            return BASE_OK; /* back-pressure: the store wakes us */
        uint32_t ids = ingest_decoder_ids(source->decoders[event->topic]);
        if (!ingest_chunk_append(chunk, event, ids)) {
            if (hand_over(source, error))
                return error->status;
            continue;
        }
        remember(source, event);
        ingest_merge_pop(source->merge);
    }
    if (source->chunk && source->chunk->count > 0 && hand_over(source, error))
        return error->status;
    return say_stops(source, error);
}

/* ---- ends ------------------------------------------------------------------ */

static void set_at_end(struct ingest_source *source,
                       const struct ingest_ends_answer *answer)
{
    unsigned count = all_slots(source);
    bool there = answer->count == count && ingest_merge_size(source->merge) == 0;
    for (unsigned k = 0; there && k < answer->count; k++)
        there = answer->ends[k] >= 0 &&
                ingest_merge_position(source->merge, answer->slots[k]) >=
                    answer->ends[k];
    pthread_mutex_lock(&source->mutex);
    for (unsigned k = 0; k < answer->count; k++)
        if (answer->ends[k] >= 0)
            source->slots[answer->slots[k]].high = answer->ends[k];
    source->at_end = there;
    pthread_mutex_unlock(&source->mutex);
}

static void take_answer(struct ingest_source *source)
{
    struct ingest_ends_answer answer;
    if (!ingest_ends_answered(source->ends, &answer))
        return;
    if (answer.status) {
        note(source, answer.error.text);
    } else {
        for (unsigned k = 0; k < answer.count; k++)
            if (answer.ends[k] >= 0)
                ingest_merge_answer(source->merge, answer.slots[k],
                                    answer.asked_ms, answer.ends[k]);
        all_well(source);
        set_at_end(source, &answer);
    }
    ingest_ends_done(source->ends);
}

/* Asks for the ends that hold the merge up, or now and then for all. Returns
 * when to come back. */
static int64_t ask(struct ingest_source *source)
{
    int64_t due_ms;
    unsigned count =
        ingest_merge_blockers(source->merge, source->asking, &due_ms);
    int64_t gap = source->config->idle_ms / 4;
    if (count == 0) {
        count = all_slots(source);
        due_ms = 0;
        gap = source->at_end ? REST_MS : SURVEY_MS;
    }
    if (gap < 10)
        gap = 10;
    if (due_ms < source->asked_ms + gap)
        due_ms = source->asked_ms + gap;
    if (source->now_ms < due_ms)
        return due_ms;
    if (count > 0 && ingest_ends_ask(source->ends, source->asking, count))
        source->asked_ms = source->now_ms;
    return source->now_ms + gap;
}

/* ---- housekeeping ---------------------------------------------------------- */

/* The broker refused an offset: lost range, other log, or only a moment. */
static void examine(struct ingest_source *source, unsigned i)
{
    int64_t low, high;
    struct base_error error;
    if (ingest_topics_ranges(source->helper, source->config,
                             source->positions, &i, 1, &low, &high, &error)) {
        note(source, error.text);
        return; /* asked again in the next round */
    }
    source->slots[i].examine = false;
    judge_range(source, i, low, high);
    source->reassign_ms = source->now_ms;
}

static void read_highs(struct ingest_source *source)
{
    for (unsigned i = 0; i < source->slot_count; i++) {
        int64_t low, high;
        if (rd_kafka_get_watermark_offsets(
                source->consumer, topic_of(source, i),
                source->positions[i].partition, &low, &high) ||
            high < 0)
            continue;
        pthread_mutex_lock(&source->mutex);
        if (high < source->slots[i].high)
            source->check_anchors = true; /* a log does not shrink */
        source->slots[i].high = high;
        pthread_mutex_unlock(&source->mutex);
    }
}

static void keep_house(struct ingest_source *source)
{
    if (source->now_ms < source->kept_house_ms + HOUSEKEEPING_MS)
        return;
    source->kept_house_ms = source->now_ms;
    read_highs(source);
    for (unsigned i = 0; i < source->slot_count; i++)
        if (source->slots[i].examine && !source->slots[i].stopped)
            examine(source, i);
    struct base_error error;
    if (source->check_anchors) {
        source->check_anchors = false;
        if (judge_anchors(source, &error) && error.retriable) {
            note(source, error.text);
            source->check_anchors = true;
        }
    }
    if (source->reassign_ms > 0 && source->now_ms >= source->reassign_ms) {
        source->reassign_ms = 0;
        assign(source);
    }
}

static enum base_status round_once(struct ingest_source *source,
                                   struct base_error *error)
{
    source->now_ms = base_monotonic_ms();
    source->wall_ms = base_wall_ms();
    if (poll_all(source, error))
        return error->status;
    take_answer(source);
    keep_house(source);
    if (release(source, error))
        return error->status;
    int64_t back_ms = ask(source);
    if (source->polled)
        return BASE_OK;
    int64_t wait = back_ms - source->now_ms;
    if (wait > HOUSEKEEPING_MS)
        wait = HOUSEKEEPING_MS;
    rest(source, wait > 0 ? (int)wait : 1);
    return BASE_OK;
}

enum base_status ingest_source_run(struct ingest_source *source,
                                   struct base_error *error)
{
    base_role_enter(&base_role_ingest);
    enum base_status status = open_all(source, error);
    while (!status && !atomic_load(&source->stopping))
        status = round_once(source, error);
    if (!status && source->chunk && source->chunk->count > 0)
        status = hand_over(source, error);
    if (status == BASE_STOPPED && atomic_load(&source->stopping))
        status = BASE_OK;
    ingest_ends_free(source->ends);
    source->ends = NULL;
    return status;
}

/* ---- life and other threads ------------------------------------------------- */

enum base_status ingest_source_new(const struct ingest_source_config *config,
                                   struct ingest_source **source,
                                   struct base_error *error)
{
    struct ingest_source *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "source: no memory");
    made->wiring = *config;
    made->config = config->config;
    pthread_mutex_init(&made->mutex, NULL);
    made->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    made->known_count = config->position_count;
    made->known = calloc(config->position_count + 1, sizeof *made->known);
    enum base_status status = BASE_OK;
    if (made->event_fd < 0 || !made->known)
        status = base_fail_errno(error, errno, "source: eventfd or memory");
    for (int i = 0; !status && i < INGEST_TOPICS; i++)
        status = ingest_decoder_new(made->config, (enum ingest_topic)i,
                                   &made->decoders[i], error);
    if (!status)
        status = ingest_kafka_check(made->config, error);
    if (!status && made->config->decisions[0])
        status = ingest_decisions_read(made->config->decisions,
                                       &made->decisions, error);
    if (status) {
        ingest_source_free(made);
        return status;
    }
    if (config->position_count)
        memcpy(made->known, config->positions,
               config->position_count * sizeof *made->known);
    if (config->last)
        made->last = *config->last;
    snprintf(made->cluster, sizeof made->cluster, "%s", config->cluster);
    *source = made;
    return BASE_OK;
}

void ingest_source_free(struct ingest_source *source)
{
    if (!source)
        return;
    for (unsigned i = 0; source->slots && i < source->slot_count; i++)
        if (source->slots[i].queue)
            rd_kafka_queue_destroy(source->slots[i].queue);
    /* Nobody to say good-bye to: there is no group membership. */
    if (source->consumer)
        rd_kafka_destroy_flags(source->consumer,
                               RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    if (source->helper)
        rd_kafka_destroy_flags(source->helper,
                               RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    ingest_merge_free(source->merge);
    ingest_chunk_free(source->chunk);
    for (int i = 0; i < INGEST_TOPICS; i++)
        ingest_decoder_free(source->decoders[i]);
    ingest_decisions_free(source->decisions);
    if (source->event_fd >= 0)
        close(source->event_fd);
    pthread_mutex_destroy(&source->mutex);
    free(source->known);
    free(source->positions);
    free(source->slots);
    free(source->fresh);
    free(source->asking);
    free(source);
}

static void wake(struct ingest_source *source)
{
    uint64_t one = 1;
    if (write(source->event_fd, &one, sizeof one) < 0)
        return; /* the counter is full: awake anyway */
}

void ingest_source_stop(struct ingest_source *source)
{
    atomic_store(&source->stopping, true);
    wake(source);
}

void ingest_source_pause(struct ingest_source *source, bool paused)
{
    atomic_store(&source->paused, paused);
    wake(source);
}

void ingest_source_wake(struct ingest_source *source)
{
    if (atomic_load(&source->starved))
        wake(source);
}

static void show(const struct slot *slot,
                 struct ingest_partition_status *partition,
                 struct ingest_status *status)
{
    partition->high = slot->high;
    partition->stopped = slot->stopped;
    memcpy(partition->stop_reason, slot->stop_reason,
           sizeof partition->stop_reason);
    if (slot->stopped || status->lag_records < 0)
        return;
    if (slot->high > partition->next && partition->next >= 0)
        status->lag_records += slot->high - partition->next;
}

void ingest_source_status(struct ingest_source *source,
                          struct ingest_status *status, uint64_t *handed)
{
    pthread_mutex_lock(&source->mutex);
    status->lag_records = source->slots ? 0 : -1;
    for (unsigned i = 0; i < status->partition_count; i++) {
        struct ingest_partition_status *partition = &status->partitions[i];
        partition->high = -1;
        if (source->slots && (unsigned)partition->partition < source->per_topic)
            show(&source->slots[partition->topic * source->per_topic +
                                (unsigned)partition->partition],
                 partition, status);
    }
    status->at_end = source->at_end;
    *handed = source->handed;
    memcpy(status->broker_error, source->broker_error,
           sizeof status->broker_error);
    pthread_mutex_unlock(&source->mutex);
}

enum base_status ingest_source_check_cluster(struct ingest_source *source,
                                             struct base_error *error)
{
    if (!atomic_load(&source->open))
        return BASE_OK; /* nothing was read yet */
    char *id = rd_kafka_clusterid(source->consumer, 0);
    enum base_status status = BASE_OK;
    if (id && strcmp(id, source->cluster) != 0)
        status = base_fail(error, BASE_CONFIG,
                           "kafka: the brokers became cluster %s, it was %s",
                           id, source->cluster);
    if (id)
        rd_kafka_mem_free(source->consumer, id);
    return status;
}

void ingest_source_commit(struct ingest_source *source,
                          const struct ingest_position *positions,
                          unsigned count)
{
    if (!atomic_load(&source->open))
        return;
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)count);
    for (unsigned i = 0; i < count; i++)
        if (positions[i].next >= 0)
            rd_kafka_topic_partition_list_add(
                list, source->config->topics[positions[i].topic].name,
                positions[i].partition)
                ->offset = positions[i].next;
    if (list->cnt > 0 &&
        rd_kafka_commit(source->consumer, list, 1) ==
            RD_KAFKA_RESP_ERR__UNKNOWN_GROUP)
        base_log(BASE_LOG_DEBUG, "event=telemetry_commit_refused");
    rd_kafka_topic_partition_list_destroy(list);
}
