/* SPDX-License-Identifier: Apache-2.0 */
/* The order in which all partitions are applied: a k-way merge over one FIFO
 * queue a partition. Pure: knows no Kafka, reads no clock (times are given).
 *
 * 1. own_ms is the running maximum of a partition's stamps, apply_ms that of
 *    max(own_ms, floors); a dead letter advances neither, but by a floor.
 * 2. Events leave in the order of ingest_event_order, always increasing.
 * 3. An event passes an empty partition only where that one's next key must
 *    be larger, or where the broker said, asked idle_ms or more after the
 *    event came, that we have read all it had (true end).
 * 4. What then comes below the last event that left gets the floor
 *    last apply_ms + 1, marked INGEST_FLOORED.
 * 5. A stamp ahead of the clock is clamped, marked INGEST_CLAMPED; an event
 *    time INGEST_FUTURE_MS above that is to be a dead letter, INGEST_AHEAD.
 *
 * One owner thread (ingest). Does not decode, hand over or store. */
#ifndef INGEST_MERGE_H
#define INGEST_MERGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "ingest/decisions.h"
#include "ingest/event.h"

enum {
    INGEST_AHEAD_MS = 10000, /* a stamp this far ahead is clamped */
    /* Payloads of dead letters that fill a queue, however few they are. */
    INGEST_MERGE_PAYLOADS = 1 << 20,
};

struct ingest_merge;

/* A partition's place in the order and where it resumes. */
struct ingest_merge_start {
    uint8_t topic;
    int32_t partition;
    int64_t next;             /* offset of the first event to come */
    int64_t own_ms, apply_ms; /* so far; negative counts as 0 */
};

struct ingest_merge_config {
    unsigned slots;     /* partitions, numbered as in starts[] */
    unsigned ids;       /* most ids an event has */
    unsigned depth;     /* events a queue should hold; it grows beyond */
    int64_t idle_ms;
    const struct ingest_merge_start *starts;
    const struct ingest_event *last; /* applied before; NULL: none */
    const struct ingest_decisions *decisions; /* BORROWS for life; or NULL */
};

enum base_status ingest_merge_new(const struct ingest_merge_config *config,
                                  struct ingest_merge **merge,
                                  struct base_error *error) BASE_MUST_CHECK;
void ingest_merge_free(struct ingest_merge *merge);

/* Events that still fit into the queue's depth; 0 also where the payloads in
 * it are as large as they may be. */
unsigned ingest_merge_room(const struct ingest_merge *merge, unsigned slot);

/* Space for the slot's next event and its ids; the event's topic, partition
 * and own_ms/apply_ms are the merge's business. NULL where memory is refused.
 * BORROWS until the next call. */
struct ingest_event *ingest_merge_reserve(struct ingest_merge *merge,
                                          unsigned slot, uint64_t **ids);
/* Whether the clock makes the event filled in a dead letter `time`, or a given
 * decision one of an unknown schema; it then is marked and the caller's to bury
 * with this reason before the push. Where decisions are given, theirs alone:
 * those marked, whatever the clock says, and no other. */
enum ingest_reason ingest_merge_judge(struct ingest_merge *merge, unsigned slot,
                        int64_t wall_ms);
/* Queues what was filled in; TAKES its payload (malloc). received_ms is
 * monotonic, wall_ms the time of day that clamps stamps. */
void ingest_merge_push(struct ingest_merge *merge, unsigned slot,
                       int64_t received_ms, int64_t wall_ms);

/* All offsets below `offset` were read, also those without a record. */
void ingest_merge_reached(struct ingest_merge *merge, unsigned slot,
                          int64_t offset);
/* The broker's answer: asked at asked_ms (monotonic), the partition ended
 * before offset `end`. */
void ingest_merge_answer(struct ingest_merge *merge, unsigned slot,
                         int64_t asked_ms, int64_t end);
/* The partition is out: its queue is dropped, nobody waits for it. */
void ingest_merge_stop(struct ingest_merge *merge, unsigned slot);
bool ingest_merge_stopped(const struct ingest_merge *merge, unsigned slot);

/* The next event in order, or NULL while none may go. BORROWS until the next
 * call but peek. */
const struct ingest_event *ingest_merge_peek(struct ingest_merge *merge);
/* Takes it off; its payload is freed. */
void ingest_merge_pop(struct ingest_merge *merge);

/* Slots whose ends must be asked for the first event to go, into slots[] (room
 * for all); 0 where none holds it. *due_ms: not to be asked before. These are
 * all empty ones: asked one by one, each in its turn would hold what is
 * behind. */
unsigned ingest_merge_blockers(struct ingest_merge *merge, unsigned *slots,
                               int64_t *due_ms);

/* Offset behind the last one read of a slot. */
int64_t ingest_merge_position(const struct ingest_merge *merge, unsigned slot);
/* Events in a slot's queue. */
unsigned ingest_merge_count(const struct ingest_merge *merge, unsigned slot);
/* Events in all queues. */
uint64_t ingest_merge_size(const struct ingest_merge *merge);

#endif
