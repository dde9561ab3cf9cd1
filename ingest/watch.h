/* SPDX-License-Identifier: Apache-2.0 */
/* Looks after the logs while they are read, on a thread of its own, so that
 * the ingest thread never waits for an answer: are they still those that were
 * read (anchors), how many partitions are there, where does an open
 * transaction hold readers up; and where does damage end. One question at a
 * time. */
#ifndef INGEST_WATCH_H
#define INGEST_WATCH_H

#include <stdatomic.h>

#include "ingest/anchor.h"
#include "ingest/kafka.h"

struct ingest_watch;

struct ingest_watch_config {
    const struct ingest_config *config; /* BORROWS for life, as the handles */
    rd_kafka_t *consumer;               /* read committed */
    rd_kafka_t *helper;                 /* read uncommitted; the watch assigns
                                           it, nobody else does */
    unsigned slots;                     /* at most so many in a question */
    int event_fd;                       /* written when an answer came */
};

enum base_status ingest_watch_new(const struct ingest_watch_config *config,
                                  struct ingest_watch **watch,
                                  struct base_error *error) BASE_MUST_CHECK;
/* Ends an open question first. Takes NULL. */
void ingest_watch_free(struct ingest_watch *watch);

/* False where a question or an answer not taken yet is under way. `mark` comes
 * back with the answer; slots index positions, both are copied. */
bool ingest_watch_ask(struct ingest_watch *watch, uint64_t mark,
                      const struct ingest_position *positions,
                      const unsigned *slots, unsigned count);
/* The same for one slot's damaged batch at offset `from`. */
bool ingest_watch_ask_damage(struct ingest_watch *watch,
                             const struct ingest_position *position,
                             unsigned slot, int64_t from);

/* While a question is under way the watch alone polls the helper: whoever did
 * so beside it would take its answers away. */
bool ingest_watch_busy(struct ingest_watch *watch);

/* A finished question; BORROWED until ingest_watch_done(). */
struct ingest_watch_answer {
    bool damage;             /* of ingest_watch_ask_damage() */
    uint64_t mark;
    const unsigned *slots;
    const struct ingest_position *positions; /* as they were asked with */
    unsigned count;
    const enum ingest_anchor *anchors;
    /* Where readers of committed records end, and the true end asked before
     * it; -1: not known. */
    const int64_t *stable, *ends;
    const int64_t *begins; /* what the logs begin with; -1: not known */
    unsigned partitions[INGEST_TOPICS];
    int64_t damage_end; /* first offset behind it that can be read */
    enum base_status status;
    struct base_error error; /* where status is not BASE_OK */
};
bool ingest_watch_answered(struct ingest_watch *watch,
                           struct ingest_watch_answer *answer);
void ingest_watch_done(struct ingest_watch *watch);

#endif
