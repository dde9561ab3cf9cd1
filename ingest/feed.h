/* SPDX-License-Identifier: Apache-2.0 */
/* What the journal's readers share with the store thread: how far the last
 * commit reaches, and the wake-up. The readers (state.h: ingest_journal_*) are
 * in feed.c. */
#ifndef INGEST_FEED_H
#define INGEST_FEED_H

#include <pthread.h>

#include "ingest/journal.h"

struct ingest_journal; /* a reader; state.h */

struct ingest_feed {
    struct ingest_store *store;
    unsigned field_count, item_count;
    pthread_mutex_t mutex;
    pthread_cond_t committed;
    uint64_t batch_end; /* under mutex: end of the newest committed batch */
};

void ingest_feed_init(struct ingest_feed *feed, struct ingest_store *store,
                      unsigned field_count, unsigned item_count);
void ingest_feed_fini(struct ingest_feed *feed);
/* After a commit. Role store. */
void ingest_feed_signal(struct ingest_feed *feed, uint64_t batch_end);
enum base_status ingest_feed_open(struct ingest_feed *feed,
                                  struct ingest_journal **journal,
                                  struct base_error *error) BASE_MUST_CHECK;

#endif
