/* SPDX-License-Identifier: Apache-2.0 */
/* The consumer; see source.h. Each partition has its own librdkafka queue
 * (forwarding off), so that the merge decides who is read; all of them wake
 * one eventfd. This file: events out in chunks, questions for true ends, the
 * thread's rounds, and what other threads may ask. */
#include "ingest/source_parts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/role.h"
#include "ingest/topics.h"

enum {
    HOUSEKEEPING_MS = 250,
    SURVEY_MS = 100, /* between questions for all ends while not there */
    REST_MS = 1000,  /* and once there */
};

/* ---- chunks ------------------------------------------------------------- */

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
    position->next = event->offset + 1;
    position->anchor_offset = event->offset;
    position->anchor_ms = event->kafka_ms;
    position->anchor_crc = event->crc;
    position->own_ms = event->own_ms;
    position->apply_ms = event->apply_ms;
    source->last = *event;
    source->last.payload = NULL;
    source->last.ids = NULL;
    source->has_last = true;
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

enum base_status ingest_source_say_revoked(struct ingest_source *source,
                                           int32_t number, bool *said,
                                           struct base_error *error)
{
    struct ingest_chunk *chunk = open_chunk(source);
    *said = chunk != NULL;
    if (!chunk)
        return BASE_OK;
    chunk->stop_partition = number;
    chunk->revoked = true;
    return hand_over(source, error);
}

/* Hands over all that may go: nothing while in doubt. */
static enum base_status release(struct ingest_source *source,
                                struct base_error *error)
{
    const struct ingest_event *event;
    ingest_source_compare_cluster(source);
    while (!source->held && !ingest_source_in_doubt(source) &&
           (event = ingest_merge_peek(source->merge))) {
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
    ingest_source_finish_stops(source);
    return say_stops(source, error);
}

/* ---- ends --------------------------------------------------------------- */

static void set_at_end(struct ingest_source *source,
                       const struct ingest_ends_answer *answer)
{
    unsigned count = ingest_source_active(source);
    bool there =
        answer->count == count && ingest_merge_size(source->merge) == 0;
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
        ingest_source_note(source, answer.error.text);
    } else {
        for (unsigned k = 0; k < answer.count; k++) {
            struct ingest_slot *slot = &source->slots[answer.slots[k]];
            if (answer.ends[k] < slot->end)
                ingest_source_doubt(source); /* a log does not shrink */
            slot->end = answer.ends[k];
            if (answer.ends[k] >= 0)
                ingest_merge_answer(source->merge, answer.slots[k],
                                    answer.asked_ms, answer.ends[k]);
        }
        ingest_source_all_well(source);
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
        count = ingest_source_active(source);
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

/* ---- housekeeping ------------------------------------------------------- */

/* The broker refused an offset: lost range, other log, or only a moment. False
 * where it does not answer: to be asked again in the next round. */
static bool examine(struct ingest_source *source, unsigned i)
{
    int64_t low, high;
    struct base_error error;
    if (ingest_topics_ranges(source->helper, source->config,
                             source->positions, &i, 1, &low, &high, &error)) {
        ingest_source_note(source, error.text);
        return false;
    }
    source->slots[i].examine = false;
    ingest_source_judge_range(source, i, low, high);
    source->reassign_ms = source->now_ms;
    return true;
}

static void read_highs(struct ingest_source *source)
{
    for (unsigned i = 0; i < source->slot_count; i++) {
        int64_t low, high;
        if (source->slots[i].away)
            continue;
        if (rd_kafka_get_watermark_offsets(
                source->consumer, ingest_source_topic(source, i),
                source->positions[i].partition, &low, &high))
            continue;
        if (high < source->slots[i].cached)
            ingest_source_doubt(source); /* unknown once more, or shrunk */
        source->slots[i].cached = high;
        if (high < 0)
            continue;
        pthread_mutex_lock(&source->mutex);
        source->slots[i].high = high;
        pthread_mutex_unlock(&source->mutex);
    }
}

static void keep_house(struct ingest_source *source)
{
    if (source->now_ms < source->kept_house_ms + HOUSEKEEPING_MS)
        return;
    source->kept_house_ms = source->now_ms;
    if (!ingest_watch_busy(source->watch))
        ingest_source_hear(source);
    read_highs(source);
    for (unsigned i = 0; i < source->slot_count; i++)
        if (source->slots[i].examine && !source->slots[i].stopped &&
            !examine(source, i))
            break;
    if (source->reassign_ms > 0 && source->now_ms >= source->reassign_ms) {
        source->reassign_ms = 0;
        ingest_source_assign(source);
    }
}

static enum base_status round_once(struct ingest_source *source,
                                   struct base_error *error)
{
    source->now_ms = base_monotonic_ms();
    source->wall_ms = base_wall_ms();
    if (ingest_source_follow_group(source, error))
        return error->status;
    if (source->reopen)
        return BASE_OK; /* what is merged is of the former numbers */
    if (ingest_source_poll(source, error))
        return error->status;
    take_answer(source);
    ingest_source_unpark(source);
    keep_house(source);
    ingest_source_look_after(source);
    if (release(source, error))
        return error->status;
    int64_t back_ms = ask(source);
    if (source->polled)
        return BASE_OK;
    int64_t wait = back_ms - source->now_ms;
    if (wait > HOUSEKEEPING_MS)
        wait = HOUSEKEEPING_MS;
    ingest_source_rest(source, wait > 0 ? (int)wait : 1);
    return BASE_OK;
}

enum base_status ingest_source_run(struct ingest_source *source,
                                   struct base_error *error)
{
    base_role_enter(&base_role_ingest);
    enum base_status status = ingest_source_open(source, error);
    while (!status && !atomic_load(&source->stopping))
        status = source->reopen ? ingest_source_reopen(source, error)
                                : round_once(source, error);
    if (!status && source->chunk && source->chunk->count > 0)
        status = hand_over(source, error);
    if (status == BASE_STOPPED && atomic_load(&source->stopping))
        status = BASE_OK;
    ingest_ends_free(source->ends);
    ingest_watch_free(source->watch);
    source->ends = NULL;
    source->watch = NULL;
    return status;
}

/* ---- life and other threads --------------------------------------------- */

static enum base_status open_registry(struct ingest_source *source,
                                      struct base_error *error)
{
    const struct ingest_config *config = source->config;
    if (!config->registry_url[0])
        return BASE_OK;
    const struct ingest_registry_config registry = {
        .url = config->registry_url,
        .user = config->registry_user,
        .password = config->registry_password,
        .folder = config->registry_folder,
        .event_fd = source->event_fd,
    };
    return ingest_registry_new(&registry, &source->registry, error);
}

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
    if (!status)
        status = open_registry(made, error);
    for (int i = 0; !status && i < INGEST_TOPICS; i++)
        status = ingest_decoder_new(made->config, (enum ingest_topic)i,
                                    made->registry, &made->decoders[i],
                                    error);
    if (!status)
        status = ingest_kafka_check(made->config, error);
    if (!status)
        status = ingest_group_check(made->config, error);
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
    for (unsigned i = 0; i < config->position_count; i++)
        made->merged[config->positions[i].partition % INGEST_NUMBERS_MAX] =
            true;
    made->held = made->config->assignment == INGEST_ASSIGN_GROUP;
    made->has_last = config->last != NULL;
    if (config->last)
        made->last = *config->last;
    snprintf(made->cluster, sizeof made->cluster, "%s", config->cluster);
    *source = made;
    return BASE_OK;
}

void ingest_source_leave(struct ingest_source *source)
{
    pthread_mutex_lock(&source->mutex);
    struct ingest_group *group = source->group;
    source->group = NULL;
    pthread_mutex_unlock(&source->mutex);
    ingest_group_free(group);
}

void ingest_source_free(struct ingest_source *source)
{
    if (!source)
        return;
    ingest_source_leave(source);
    ingest_source_close(source);
    ingest_chunk_free(source->chunk);
    for (int i = 0; i < INGEST_TOPICS; i++)
        ingest_decoder_free(source->decoders[i]);
    ingest_registry_free(source->registry);
    ingest_decisions_free(source->decisions);
    if (source->event_fd >= 0)
        close(source->event_fd);
    pthread_mutex_destroy(&source->mutex);
    free(source->former);
    free(source->known);
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

static void show(const struct ingest_slot *slot,
                 struct ingest_partition_status *partition,
                 struct ingest_status *status)
{
    partition->high = slot->high;
    partition->away = slot->away;
    partition->stopped = slot->stopped;
    memcpy(partition->stop_reason, slot->stop_reason,
           sizeof partition->stop_reason);
    partition->lost_from = slot->lost_from;
    partition->lost_to = slot->lost_to;
    memcpy(partition->resume, slot->resume, sizeof partition->resume);
    partition->transaction_ms =
        slot->stalled_ms && !slot->stopped
            ? base_monotonic_ms() - slot->stalled_ms
            : 0;
    if (slot->stopped || slot->away || status->lag_records < 0)
        return;
    if (slot->high > partition->next && partition->next >= 0)
        status->lag_records += slot->high - partition->next;
}

static void show_registry(struct ingest_source *source,
                          struct ingest_status *status)
{
    struct ingest_registry_status registry = {.trouble = ""};
    if (source->registry)
        ingest_registry_get_status(source->registry, &registry);
    memcpy(status->registry_error, registry.trouble,
           sizeof status->registry_error);
    status->registry_requests = registry.requests;
    pthread_mutex_lock(&source->mutex);
    status->parked_partitions = source->parked;
    pthread_mutex_unlock(&source->mutex);
}

void ingest_source_status(struct ingest_source *source,
                          struct ingest_status *status, uint64_t *handed)
{
    show_registry(source, status);
    status->features_cut = 0;
    for (int i = 0; i < INGEST_TOPICS; i++)
        status->features_cut += ingest_decoder_cut(source->decoders[i]);
    pthread_mutex_lock(&source->mutex);
    status->lag_records = source->slots && source->consumer ? 0 : -1;
    for (unsigned i = 0; i < status->partition_count; i++) {
        struct ingest_partition_status *partition = &status->partitions[i];
        partition->high = partition->lost_from = partition->lost_to = -1;
        partition->transaction_ms = 0;
        partition->away =
            source->config->assignment == INGEST_ASSIGN_GROUP;
        if (source->slots && (unsigned)partition->partition < source->per_topic)
            show(&source->slots[partition->topic * source->per_topic +
                                (unsigned)partition->partition],
                 partition, status);
    }
    status->group = (struct ingest_group_status){.state = ""};
    if (source->group)
        ingest_group_get_status(source->group, &status->group);
    status->at_end = source->at_end;
    status->broker_refuses = source->refused;
    *handed = source->handed;
    memcpy(status->broker_error,
           source->broker_error[0] ? source->broker_error
                                   : source->watch_error,
           sizeof status->broker_error);
    pthread_mutex_unlock(&source->mutex);
}

void ingest_source_commit(struct ingest_source *source,
                          const struct ingest_position *positions,
                          unsigned count)
{
    if (source->config->assignment == INGEST_ASSIGN_GROUP) {
        pthread_mutex_lock(&source->mutex);
        if (source->group)
            ingest_group_commit(source->group, positions, count);
        pthread_mutex_unlock(&source->mutex);
        return;
    }
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new((int)count);
    bool refused = false;
    for (unsigned i = 0; i < count; i++)
        if (positions[i].next >= 0)
            rd_kafka_topic_partition_list_add(
                list, source->config->topics[positions[i].topic].name,
                positions[i].partition)
                ->offset = positions[i].next;
    pthread_mutex_lock(&source->mutex);
    if (list->cnt > 0 && source->consumer)
        refused = rd_kafka_commit(source->consumer, list, 1) ==
                  RD_KAFKA_RESP_ERR__UNKNOWN_GROUP;
    pthread_mutex_unlock(&source->mutex);
    if (refused)
        base_log(BASE_LOG_DEBUG, "event=telemetry_commit_refused");
    rd_kafka_topic_partition_list_destroy(list);
}
