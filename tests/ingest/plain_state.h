/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of the state machine over plain arrays: every question is answered
 * by looking at everything that ever happened. Slow, and short enough to be
 * read beside the rules; what ingest/state.h does is compared with it. */
#ifndef TESTS_INGEST_PLAIN_STATE_H
#define TESTS_INGEST_PLAIN_STATE_H

#include <stdio.h>

#include "ingest/event.h"
#include "ingest/ingest.h"
#include "state_fixture.h"

enum { PLAIN_EVENTS = 4096, PLAIN_PARTITIONS = 4 };

struct plain_event {
    struct ingest_event event;
    uint64_t ids[FIXTURE_FIELDS];
    bool accepted; /* opened, or remembered */
    uint64_t number; /* of the accepted of its topic */
    bool waits, clicked;
    int64_t due;
    uint32_t seen;     /* impression: behaviors of the user before it */
    uint64_t position; /* impression: of its fnw sample */
};

struct plain_behavior {
    uint64_t user;
    int64_t time;
    uint32_t ordinal;
    uint64_t ids[FIXTURE_ITEMS];
    int32_t partition;
    bool dropped;
};

struct plain_state {
    const struct ingest_config *config;
    struct plain_event events[PLAIN_EVENTS];
    unsigned count;
    struct plain_behavior behaviors[PLAIN_EVENTS];
    unsigned behavior_count;
    int64_t own[INGEST_TOPICS][PLAIN_PARTITIONS];
    int64_t next[INGEST_TOPICS][PLAIN_PARTITIONS];
    uint64_t buckets[INGEST_TOPICS][PLAIN_PARTITIONS][INGEST_BUCKET_COUNT];
    uint64_t reasons[INGEST_REASON_COUNT];
    /* Journal. */
    uint64_t position, batch_first;
    FILE *samples; /* the lines of inspect; NULL: not wanted */
    uint64_t group_user, group_size, group_count;
    uint64_t group_history[LEARNER_HISTORY_MAX * FIXTURE_ITEMS];
    uint64_t chain[2];
    unsigned batches;
    struct {
        uint64_t end, chain[2];
    } batch[PLAIN_EVENTS];
};

void plain_apply(struct plain_state *plain, const struct ingest_event *event);
void plain_end_batch(struct plain_state *plain);
/* All that waits from partitions of this number leaves. */
void plain_stop(struct plain_state *plain, int32_t partition);
/* And the partition of this topic goes on at `to`. */
void plain_skip(struct plain_state *plain, unsigned topic, int32_t partition,
                int64_t to);
void plain_print_ledger(const struct plain_state *plain, unsigned partitions,
                        FILE *out);
void plain_print_sequences(const struct plain_state *plain, FILE *out);

#endif
