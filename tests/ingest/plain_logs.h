/* SPDX-License-Identifier: Apache-2.0 */
/* The logs of all partitions, and what the state machine must make of them by
 * a model: sort by the rules of STATE a, apply to plain_state.c, with whatever
 * clocks and operators decided. */
#ifndef TESTS_INGEST_PLAIN_LOGS_H
#define TESTS_INGEST_PLAIN_LOGS_H

#include "plain_state.h"
#include "streams.h"

enum {
    PLAIN_RECORDS = 100,
    PLAIN_SLOTS = INGEST_TOPICS * STREAM_PARTITIONS,
    PLAIN_DECISIONS = 1024,
};

/* One record of a partition's log; `written_ms` is the clock's time when it
 * came. */
struct plain_record {
    struct fixture_event made;
    int64_t written_ms;
};

struct plain_logs {
    uint64_t seed;
    struct plain_record records[PLAIN_RECORDS];
    unsigned count; /* of a slot: those of its topic and partition, in order */
};

unsigned plain_slot(const struct plain_record *record);

struct plain_decision {
    unsigned slot;
    int64_t offset, own_ms, apply_ms;
    bool floored, clamped, ahead;
    bool stopped, skipped;      /* between records: */
    struct ingest_event behind; /* this one and the next */
    int64_t to;                 /* of a skip, from `offset` on */
};

struct plain_decided {
    struct plain_decision items[PLAIN_DECISIONS];
    unsigned count;
};

/* Reads the lines of `inspect decisions`. */
void plain_decisions_read(const char *text, struct plain_decided *decided);

enum plain_view { PLAIN_LEDGER, PLAIN_SAMPLES, PLAIN_SEQUENCES, PLAIN_CHAIN,
                  PLAIN_VIEWS };
struct plain_views {
    char *text[PLAIN_VIEWS]; /* OWNS */
};
void plain_views_fini(struct plain_views *views);

/* What the daemon must print; totals are added to seen[INGEST_BUCKET_COUNT]. */
void plain_logs_run(const struct ingest_config *config,
                    const struct plain_logs *logs,
                    const struct plain_decided *decided,
                    struct plain_views *views, uint64_t *seen);

#endif
