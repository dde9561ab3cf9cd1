/* SPDX-License-Identifier: Apache-2.0 */
/* Opening the source: brokers and topics are waited for, then every partition
 * is judged (lost range, other log, anchor) before the first record is read.
 * Role ingest; blocks, but for asking to stop. */
#include "ingest/source_parts.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "ingest/topics.h"

enum {
    QUEUE_EVENTS = 65536, /* of all merge queues together */
    QUEUE_LEAST = 64,
};

const char *ingest_source_topic(const struct ingest_source *source,
                                unsigned slot)
{
    return source->config->topics[source->positions[slot].topic].name;
}

/* False once asked to stop. */
bool ingest_source_rest(struct ingest_source *source, int milliseconds)
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
    if (ingest_topics_count(source->helper, source->config, &count, error)) {
        /* of a group's new numbers: both topics will have them soon */
        error->retriable |= source->group && error->status == BASE_CONFIG;
        return error->status;
    }
    for (unsigned i = 0; i < source->known_count; i++)
        if ((unsigned)source->known[i].partition >= count)
            return base_fail(error, BASE_CONFIG,
                             "topic %s has %u partitions, the state has read "
                             "number %d of it: another topic?",
                             source->config
                                 ->topics[source->known[i].topic]
                                 .name,
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
                         "read from (%s); offsets mean nothing there. To read "
                         "it from its beginning: interestd skip --config %s "
                         "--partition all --from earliest --accept-cluster",
                         id, source->cluster,
                         source->config->file[0] ? source->config->file
                                                 : "FILE");
    memcpy(source->cluster, id, sizeof id);
    return BASE_OK;
}

static bool is_away(const struct ingest_source *source, unsigned slot)
{
    return source->config->assignment == INGEST_ASSIGN_GROUP &&
           !source->owned[slot % source->per_topic];
}

/* What stopped for cause before it was opened once more has stopped still. */
static void keep_stops(struct ingest_source *source)
{
    for (unsigned k = 0; k < source->former_count; k++) {
        unsigned number = k % (source->former_count / INGEST_TOPICS);
        unsigned i = k / (source->former_count / INGEST_TOPICS) *
                         source->per_topic + number;
        struct ingest_slot *slot = &source->slots[i];
        const struct ingest_slot *former = &source->former[k];
        if (!former->stopped || slot->away)
            continue;
        slot->stopped = true;
        slot->stop_pending = former->stop_pending;
        slot->cause = former->cause;
        slot->cause_at = former->cause_at;
        slot->lost_from = former->lost_from;
        slot->lost_to = former->lost_to;
        memcpy(slot->stop_reason, former->stop_reason,
               sizeof slot->stop_reason);
        memcpy(slot->resume, former->resume, sizeof slot->resume);
    }
    free(source->former);
    source->former = NULL;
    source->former_count = 0;
}

static enum base_status make_slots(struct ingest_source *source,
                                   struct base_error *error)
{
    unsigned count = source->slot_count;
    source->positions = calloc(count, sizeof *source->positions);
    source->fresh = calloc(count, sizeof *source->fresh);
    source->asking = calloc(count, sizeof *source->asking);
    struct ingest_slot *slots = calloc(count, sizeof *slots);
    for (unsigned i = 0; slots && i < count; i++)
        slots[i] = (struct ingest_slot){.lost_from = -1, .lost_to = -1,
                                        .end = -1, .gone = -1, .cached = -1,
                                        .away = is_away(source, i)};
    pthread_mutex_lock(&source->mutex); /* the status sees them from here on */
    source->slots = slots;
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
    keep_stops(source);
    for (unsigned i = 0; i < source->known_count; i++)
        source->positions[source->known[i].topic * source->per_topic +
                          (unsigned)source->known[i].partition] =
            source->known[i];
    return BASE_OK;
}

unsigned ingest_source_active(struct ingest_source *source)
{
    unsigned count = 0;
    for (unsigned i = 0; i < source->slot_count; i++)
        if (!source->slots[i].stopped && !source->slots[i].away)
            source->asking[count++] = i;
    return count;
}

/* The log's begin and end of one slot against where we stand. */
void ingest_source_judge_range(struct ingest_source *source, unsigned slot,
                        int64_t low, int64_t high)
{
    int64_t next = source->slots[slot].next;
    if (next < low)
        ingest_source_stop_pair(source, slot, INGEST_CAUSE_RETENTION, low);
    else if (next > high)
        ingest_source_stop_pair(source, slot, INGEST_CAUSE_SHORT, high);
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
        ingest_source_hear(source);
        ingest_source_hear_group(source);
        if (!status || !error->retriable)
            return status;
        ingest_source_note(source, error->text);
        if (!ingest_source_rest(source, wait_ms))
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
        .last = source->has_last ? &source->last : NULL,
        .decisions = source->decisions};
    enum base_status status =
        ingest_merge_new(&config, &source->merge, error);
    free(starts);
    for (unsigned i = 0; !status && i < source->slot_count; i++)
        if (source->slots[i].away || source->slots[i].stopped)
            ingest_merge_stop(source->merge, i);
    return status;
}

/* Where each partition begins, what is lost, who stops. */
static enum base_status find_starts(struct ingest_source *source,
                                    struct base_error *error)
{
    int64_t low[INGEST_PARTITIONS_MAX], high[INGEST_PARTITIONS_MAX];
    unsigned all = ingest_source_active(source);
    if (all > 0 &&
        ingest_topics_ranges(source->helper, source->config,
                             source->positions, source->asking, all, low,
                             high, error))
        return error->status;
    for (unsigned k = 0; k < all; k++) {
        unsigned i = source->asking[k];
        struct ingest_position *position = &source->positions[i];
        if (position->next < 0) {
            position->next = position->start = low[k];
            source->fresh[source->fresh_count++] = *position;
        }
        source->slots[i].next = position->next;
        pthread_mutex_lock(&source->mutex);
        source->slots[i].high = high[k];
        pthread_mutex_unlock(&source->mutex);
    }
    enum base_status status = start_merge(source, error);
    for (unsigned k = 0; !status && k < all; k++)
        ingest_source_judge_range(source, source->asking[k], low[k], high[k]);
    return status;
}

void ingest_source_assign(struct ingest_source *source)
{
    static const uint64_t one = 1;
    unsigned count = ingest_source_active(source);
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)count);
    for (unsigned k = 0; k < count; k++) {
        unsigned i = source->asking[k];
        rd_kafka_topic_partition_list_add(list, ingest_source_topic(source, i),
                                          source->positions[i].partition)
            ->offset = source->slots[i].next;
    }
    rd_kafka_resp_err_t code = rd_kafka_assign(source->consumer, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (code)
        ingest_source_note(source, rd_kafka_err2str(code));
    for (unsigned k = 0; k < count; k++) {
        struct ingest_slot *slot = &source->slots[source->asking[k]];
        slot->fetched = false;
        if (!slot->queue) {
            slot->queue = rd_kafka_queue_get_partition(
                source->consumer,
                ingest_source_topic(source, source->asking[k]),
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
    const struct ingest_kafka_callbacks callbacks = {
        .self = source, .log = ingest_source_on_log,
        .error = ingest_source_on_error};
    rd_kafka_t *consumer = NULL;
    if (ingest_kafka_new(source->config, INGEST_KAFKA_SOURCE,
                         source->slot_count, &callbacks, &consumer, error))
        return error->status;
    pthread_mutex_lock(&source->mutex);
    source->consumer = consumer;
    pthread_mutex_unlock(&source->mutex);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(source->consumer);
    rd_kafka_queue_io_event_enable(queue, source->event_fd, &one, sizeof one);
    rd_kafka_queue_destroy(queue);
    ingest_source_assign(source);
    const struct ingest_watch_config watch = {
        .config = source->config, .consumer = source->consumer,
        .helper = source->helper, .slots = source->slot_count,
        .event_fd = source->event_fd};
    if (ingest_watch_new(&watch, &source->watch, error))
        return error->status;
    return ingest_ends_new(source->helper, source->config, source->positions,
                           source->slot_count, source->event_fd, &source->ends,
                           error);
}

void ingest_source_close(struct ingest_source *source)
{
    ingest_ends_free(source->ends);
    ingest_watch_free(source->watch);
    for (unsigned i = 0; source->slots && i < source->slot_count; i++) {
        ingest_source_drop_held(&source->slots[i]);
        if (source->slots[i].queue)
            rd_kafka_queue_destroy(source->slots[i].queue);
    }
    pthread_mutex_lock(&source->mutex); /* the store thread commits to it */
    rd_kafka_t *consumer = source->consumer;
    source->consumer = NULL;
    pthread_mutex_unlock(&source->mutex);
    ingest_kafka_free(consumer);
    ingest_kafka_free(source->helper);
    ingest_merge_free(source->merge);
    free(source->positions);
    free(source->fresh);
    free(source->asking);
    pthread_mutex_lock(&source->mutex);
    free(source->former);
    source->former = source->slots; /* their queues are gone */
    source->former_count = source->slot_count;
    source->slots = NULL;
    source->at_end = false;
    source->parked = 0;
    pthread_mutex_unlock(&source->mutex);
    source->ends = NULL;
    source->watch = NULL;
    source->helper = NULL;
    source->merge = NULL;
    source->positions = source->fresh = NULL;
    source->asking = NULL;
    source->fresh_count = source->slot_count = 0;
}

enum base_status ingest_source_reopen(struct ingest_source *source,
                                      struct base_error *error)
{
    source->reopen = false;
    if (!source->group) /* whose lines say what has changed */
        base_log(BASE_LOG_INFO, "event=partitions_added before=%u",
                 source->per_topic);
    free(source->known);
    source->known = source->positions;
    source->known_count = source->slot_count;
    source->positions = NULL;
    ingest_source_close(source);
    return ingest_source_open(source, error);
}

enum base_status ingest_source_open(struct ingest_source *source,
                                 struct base_error *error)
{
    const struct ingest_kafka_callbacks callbacks = {
        .self = source, .error = ingest_source_on_error};
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
        status = open_consumer(source, error);
    if (status)
        return status;
    source->wiring.opened(source->wiring.self, source->cluster, source->fresh,
                          source->fresh_count);
    ingest_source_all_well(source);
    ingest_source_doubt(source);
    base_log(BASE_LOG_INFO, "event=source_open cluster=%s partitions=%u",
             source->cluster, source->slot_count);
    return BASE_OK;
}
