/* SPDX-License-Identifier: Apache-2.0 */
/* The Kafka consumer: reads both topics from the offsets of the state, decodes
 * and merges, and hands over chunks of events in the order of application.
 *
 * 1. Partitions are assigned explicitly: all there are, or those whose numbers
 *    a consumer group gives us (handover.c). Kafka's committed offsets are only
 *    telemetry, a lost or foreign range stops the partition and is said.
 * 2. No offset is handed over twice or out of its partition's order.
 * 3. Memory is bounded: librdkafka's prefetch, the merge's queues, and a fixed
 *    number of chunks that go round.
 * 4. A broker that is down or slow is never an end: it is waited for.
 * 5. What is handed over is of the logs and the cluster that were read before:
 *    known by a look at them that was later than the record's arrival, where
 *    anything gave reason to ask (doubt.c).
 *
 * Role ingest, but where a function says otherwise. Does not write state. */
#ifndef INGEST_SOURCE_H
#define INGEST_SOURCE_H

#include "base/ring.h"
#include "base/status.h"
#include "ingest/chunk.h"
#include "ingest/event.h"
#include "ingest/ingest.h"
#include "ingest/state.h"

enum { INGEST_CHUNKS = 16 };

struct ingest_source;

struct ingest_source_config {
    const struct ingest_config *config;       /* BORROWS for life */
    const struct ingest_position *positions;  /* of the state; copied */
    unsigned position_count;
    const struct ingest_event *last; /* last applied; NULL: none; copied */
    const char *cluster;             /* of the state, "" at first; copied */
    struct base_ring *out;  /* of INGEST_CHUNKS at least: chunks to apply */
    struct base_ring *back; /* the same chunks, applied */
    void *self;
    /* Called before the first chunk, and again before the first chunk with
     * partitions that were added since: the cluster's id, and partitions
     * never read before with their first offset in `start`. */
    void (*opened)(void *self, const char *cluster,
                   const struct ingest_position *fresh, unsigned count);
    /* Now and then: what the logs of these partitions begin with (-1: not
     * known). NULL: nobody asks. */
    void (*begins)(void *self, const struct ingest_position *positions,
                   const int64_t *begins, unsigned count);
    /* Events committed, of those handed over. Of a group member only. */
    uint64_t (*committed)(void *self);
};

/* Compiles schemas and checks properties; connects nowhere. Any thread. */
enum base_status ingest_source_new(const struct ingest_source_config *config,
                                   struct ingest_source **source,
                                   struct base_error *error) BASE_MUST_CHECK;
/* Leaves the group, where it is in one: after run() has returned and what was
 * handed over is committed. Any thread. */
void ingest_source_leave(struct ingest_source *source);
/* After run() has returned. Any thread. */
void ingest_source_free(struct ingest_source *source);

/* A chunk for this source's events; INGEST_CHUNKS of them go into `back`
 * first. NULL where memory is refused. */
struct ingest_chunk *ingest_source_chunk(const struct ingest_source *source);

/* The thread's whole life: BASE_OK once asked to stop, else why it ended. */
enum base_status ingest_source_run(struct ingest_source *source,
                                   struct base_error *error) BASE_MUST_CHECK;

/* ---- any thread --------------------------------------------------------- */

void ingest_source_stop(struct ingest_source *source);
void ingest_source_pause(struct ingest_source *source, bool paused);
/* A chunk came back: goes on where none was left. */
void ingest_source_wake(struct ingest_source *source);
/* Fills high, stopped, stop_reason of the partitions that *status names,
 * lag_records and broker_error; at_end: all there is has been handed over and
 * *handed events were so far. */
void ingest_source_status(struct ingest_source *source,
                          struct ingest_status *status, uint64_t *handed);
/* Tells Kafka what is applied, for outside tools; does not wait. */
void ingest_source_commit(struct ingest_source *source,
                          const struct ingest_position *positions,
                          unsigned count);

#endif
