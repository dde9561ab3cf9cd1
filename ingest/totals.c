/* SPDX-License-Identifier: Apache-2.0 */
/* The stored record of totals, the key of the last applied event in it, and
 * the status that others see: both as of one commit. Thread: store; the
 * status is read by any. */
#include "ingest/join.h"

#include <string.h>

#include "ingest/digest.h"

static const struct ingest_bytes totals_key = {"state", 5};

static void reset(struct ingest_totals *totals)
{
    totals->format = INGEST_STATE_FORMAT;
    totals->last_apply_ms = INT64_MIN;
    totals->last_own_ms = INT64_MIN;
    totals->last_partition = INT32_MIN;
    totals->last_offset = -1;
}

static enum base_status take(struct ingest_state *state,
                             struct ingest_bytes value,
                             struct base_error *error)
{
    struct ingest_totals *totals = &state->totals;
    uint64_t format = 0;
    if (value.size >= 16)
        memcpy(&format, (const uint8_t *)value.data + 8, sizeof format);
    if (format > INGEST_STATE_FORMAT)
        return base_fail(error, BASE_CONFIG,
                         "state: format %llu was written by a newer "
                         "interestd; this one knows up to %d",
                         (unsigned long long)format, INGEST_STATE_FORMAT);
    if (value.size != sizeof *totals)
        return base_fail(error, BASE_CORRUPT,
                         "state: the record of totals has %zu bytes",
                         value.size);
    memcpy(totals, value.data, sizeof *totals);
    if (totals->hash !=
        ingest_digest_64((const uint8_t *)totals + 8, sizeof *totals - 8, 0))
        return base_fail(error, BASE_CORRUPT,
                         "state: the record of totals does not verify");
    totals->cluster[sizeof totals->cluster - 1] = '\0';
    state->journal.mark = totals->journal;
    return BASE_OK;
}

enum base_status ingest_totals_load(struct ingest_state *state,
                                    struct base_error *error)
{
    struct ingest_bytes value;
    reset(&state->totals);
    enum base_status status = ingest_store_get(state->store, INGEST_DB_META,
                                               totals_key, &value, error);
    return status || !value.data ? status : take(state, value, error);
}

enum base_status ingest_totals_put(struct ingest_state *state,
                                   struct base_error *error)
{
    struct ingest_totals *totals = &state->totals;
    totals->journal = state->journal.mark;
    totals->hash =
        ingest_digest_64((const uint8_t *)totals + 8, sizeof *totals - 8, 0);
    return ingest_store_put(state->store, INGEST_DB_META, totals_key,
                            (struct ingest_bytes){totals, sizeof *totals},
                            error);
}

void ingest_state_last(struct ingest_state *state, struct ingest_event *last)
{
    *last = (struct ingest_event){.topic = (uint8_t)state->totals.last_topic,
                                  .partition = state->totals.last_partition,
                                  .offset = state->totals.last_offset,
                                  .own_ms = state->totals.last_own_ms,
                                  .apply_ms = state->totals.last_apply_ms};
}

void ingest_totals_advance(struct ingest_state *state,
                           const struct ingest_event *event)
{
    struct ingest_event last;
    ingest_state_last(state, &last);
    if (ingest_event_order(event, &last) <= 0)
        return;
    state->totals.last_topic = event->topic;
    state->totals.last_partition = event->partition;
    state->totals.last_offset = event->offset;
    state->totals.last_own_ms = event->own_ms;
    state->totals.last_apply_ms = event->apply_ms;
}

/* ---- status -------------------------------------------------------------- */

static void publish_partition(struct ingest_status *status, unsigned i,
                              const struct ingest_partition *partition)
{
    struct ingest_partition_status *to = &status->partitions[i];
    const struct ingest_position *position = &partition->position;
    to->topic = position->topic;
    to->partition = position->partition;
    to->start = position->start;
    to->next = position->next;
    to->before = partition->before;
    to->high = -1;
    to->own_ms = position->own_ms;
    memcpy(to->buckets, partition->buckets, sizeof to->buckets);
    for (int bucket = 0; bucket < INGEST_BUCKET_COUNT; bucket++)
        status->buckets[bucket] += partition->buckets[bucket];
}

static void publish_totals(struct ingest_status *status,
                           const struct ingest_totals *totals)
{
    status->events = totals->events;
    status->commits = totals->commits;
    status->journal_end = totals->journal.position;
    status->batch_end = totals->journal.batch_first;
    status->journal_begin = totals->journal.begin;
    status->journal_bytes = totals->journal.bytes;
    for (int i = 0; i < INGEST_REASON_COUNT; i++)
        status->reasons[i] = totals->reasons[i];
    status->history_cut = totals->history_cut;
    status->floored_records = totals->floored;
    status->clamped_records = totals->clamped;
    status->late_labels_lost = totals->late_labels_lost;
    status->dead_letters_dropped = totals->letters.letters_dropped;
    status->decisions = totals->letters.next_decision;
    status->crossed_partitions = totals->crossed;
    status->evicted = totals->evicted;
    status->damaged_sequences = totals->damaged;
    status->applied_ms = totals->last_apply_ms;
}

static uint64_t clicks_evicted(const struct ingest_ledger *ledger)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < ledger->count; i++)
        if (ledger->partitions[i].position.topic == INGEST_CLICKS)
            count += ledger->partitions[i].buckets[INGEST_EVICTED];
    return count;
}

void ingest_totals_publish(struct ingest_state *state, uint64_t users,
                           int64_t commit_us)
{
    struct ingest_status *status = &state->status;
    struct ingest_store_readers readers;
    ingest_store_get_readers(state->store, &readers);
    pthread_mutex_lock(&state->status_mutex);
    publish_totals(status, &state->totals);
    status->forget = state->forget;
    status->skew = state->skew;
    memset(status->buckets, 0, sizeof status->buckets);
    for (unsigned i = 0; i < state->ledger.count; i++)
        publish_partition(status, i, &state->ledger.partitions[i]);
    status->partition_count = state->ledger.count;
    status->unaccounted = ingest_ledger_unaccounted(&state->ledger);
    status->pending = state->impressions.open + state->clicks.open;
    status->waiting_clicks = state->clicks.open;
    status->evicted_clicks = clicks_evicted(&state->ledger);
    status->ids = base_map_size(state->impressions.index) +
                  base_map_size(state->clicks.index);
    status->ids_forgotten =
        state->impressions.forgotten + state->clicks.forgotten;
    status->lag_records = -1;
    status->map_used_bytes = ingest_store_used(state->store);
    status->map_bytes = ingest_store_map_bytes(state->store);
    status->reader_slots = readers.slots;
    status->reader_lag_commits = readers.lag_commits;
    status->dead_readers = state->dead_readers;
    status->users = users;
    status->last_commit_us = commit_us;
    if (commit_us > status->max_commit_us)
        status->max_commit_us = commit_us;
    pthread_mutex_unlock(&state->status_mutex);
}

void ingest_state_status(struct ingest_state *state,
                         struct ingest_status *status)
{
    pthread_mutex_lock(&state->status_mutex);
    size_t size =
        offsetof(struct ingest_status, partitions) +
        state->status.partition_count * sizeof state->status.partitions[0];
    memcpy(status, &state->status, size);
    pthread_mutex_unlock(&state->status_mutex);
    status->at_end = false;
    status->broker_error[0] = '\0';
}
