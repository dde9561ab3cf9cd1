/* SPDX-License-Identifier: Apache-2.0 */
/* Further readers of the journal beside the main model's (ingest.h:
 * ingest_follower_*), one a shadow: how far back each still needs it, and who
 * is let go when one of them holds up the rest.
 *
 * 1. The journal is kept from the smallest mark on, the main model's and those
 *    of the attached. A detached follower has no say and reads no more.
 * 2. The list is under `mutex`; a follower's marks are atomic: its own threads
 *    write them, the store thread and whoever asks for the status read them.
 * It trims nothing itself: ingest.c does. */
#ifndef INGEST_FOLLOWER_H
#define INGEST_FOLLOWER_H

#include <pthread.h>

#include "ingest/ingest.h"

struct ingest_state;

struct ingest_followers {
    pthread_mutex_t mutex;
    unsigned count;
    struct ingest_follower *list[INGEST_FOLLOWERS_MAX]; /* BORROWS */
};

void ingest_followers_init(struct ingest_followers *followers);
void ingest_followers_fini(struct ingest_followers *followers);

/* ingest_follower_new() over this list. Any thread. */
enum base_status ingest_followers_add(struct ingest_followers *followers,
                                      struct ingest_state *state,
                                      const char *name, uint64_t position,
                                      struct ingest_follower **follower,
                                      struct base_error *error)
    BASE_MUST_CHECK;
/* The smallest mark of the attached, at most `mark`. */
uint64_t ingest_followers_oldest(struct ingest_followers *followers,
                                 uint64_t mark);
/* Detaches the one furthest behind `mark` and says so in the log; false where
 * none is behind. */
bool ingest_followers_let_go(struct ingest_followers *followers,
                             uint64_t mark);
void ingest_followers_status(struct ingest_followers *followers,
                             struct ingest_status *status);

#endif
