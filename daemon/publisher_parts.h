/* SPDX-License-Identifier: Apache-2.0 */
/* Private to publisher.c (the thread) and publisher_notes.c (what is noted of
 * what it came to, for the log and for /status). */
#ifndef DAEMON_PUBLISHER_PARTS_H
#define DAEMON_PUBLISHER_PARTS_H

#include <pthread.h>

#include "base/role.h"
#include "daemon/beside.h"
#include "daemon/publisher.h"
#include "daemon/rollback.h"
#include "snapshot/snapshot.h"

/* A checkpoint that came. */
struct slot {
    char path[1200]; /* empty: none yet */
    uint64_t position;
};

struct daemon_publisher {
    struct snapshot_publisher *snapshot;
    struct ingest *ingest;
    struct learner_trainer *trainer;
    struct daemon_beside *beside;
    const struct daemon_config *config; /* BORROWS */
    struct snapshot_announcement current; /* at start, then the newest */
    uint64_t training_hash; /* of the model to publish */
    char *offsets; /* (OFFSETS_MAX) scratch of the thread */
    char *stream;  /* OWNS; of every manifest */
    /* Role publish. */
    bool forcing; /* what was asked for need not pass the gate */
    bool based;   /* .. and is to be a base of its own chain */
    enum daemon_gate_reason verdict;
    struct snapshot_judged judged;
    uint64_t deltas, bytes; /* since the newest base, at the start too */
    struct snapshot_announcement beside_of; /* a delta whose checkpoint is on
                                               its way; version 0: none */
    uint64_t waiting; /* the delta in hand waits for its checkpoint, of this
                         position; 0: not */
    int64_t announced_ms, said_ms;
    int64_t held_ms; /* the last wait for another try while the gate holds */
    pthread_t thread;
    bool started;

    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t changed;
    bool finishing;
    bool wanted, force_wanted, base_wanted; /* an operator's wish */
    uint64_t purge_wanted; /* request to forget; 0: none */
    uint64_t rollbacks;    /* asked for */
    struct daemon_rollback rollback; /* serial 0: none */
    bool rolling; /* deltas are given back at once */
    struct learner_delta *delta; /* the trainer's, not yet given back */
    struct slot slot;
    struct daemon_publish_status status;
};

/* A publication failed. */
void daemon_publisher_failed(struct daemon_publisher *publisher,
                             const struct base_error *error) BASE_ON(publish);
/* publisher->verdict keeps the state at `position` from being published. */
void daemon_publisher_held(struct daemon_publisher *publisher, const char *text,
                           uint64_t position) BASE_ON(publish);
/* It is current. */
void daemon_publisher_succeeded(struct daemon_publisher *publisher,
                                const struct snapshot_announcement *made,
                                int64_t took_us) BASE_ON(publish);
/* Where what is current is a rollback: nothing goes out any more. */
void daemon_publisher_rolled_back(struct daemon_publisher *publisher)
    BASE_ON(publish);

#endif
