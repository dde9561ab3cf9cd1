/* SPDX-License-Identifier: Apache-2.0 */
/* The inside of struct ingest, shared by ingest.c (life and boundary),
 * writer.c (the store thread) and status.c (what is told of them). Private to
 * ingest. */
#ifndef INGEST_PARTS_H
#define INGEST_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/ring.h"
#include "ingest/announce.h"
#include "ingest/disk.h"
#include "ingest/decisions.h"
#include "ingest/follower.h"
#include "ingest/ingest.h"
#include "ingest/mailbox.h"
#include "ingest/source.h"
#include "ingest/state.h"

struct ingest {
    struct ingest_config config;
    struct ingest_state *state;
    struct ingest_journal *journal;
    struct ingest_source *source;
    struct ingest_announcer *announcer; /* NULL: no topic */
    struct base_ring *out, *back;
    pthread_t ingest_thread, store_thread;
    bool started;

    struct ingest_mailbox mailbox; /* for the store thread */
    atomic_bool stopping, failed_once, trainer_idle;
    struct base_error failure; /* of who failed; read once both have ended */
    _Atomic uint64_t trim_to, epoch, committed;
    _Atomic uint64_t forgets, forgets_done; /* newest requests to forget */
    /* Since when the main model finds no batch (0: it does), and where. */
    _Atomic int64_t hungry_ms;
    _Atomic uint64_t hungry_at;
    struct ingest_followers followers;
    struct ingest_disk disk; /* looked at by role store */
    void (*failed)(void *self, const struct base_error *error);
    void *failed_self;

    /* Role store. */
    bool source_open; /* cluster and positions are known */
    bool begun;       /* a transaction is open */
    bool commit_now;
    bool untold;      /* Kafka does not know of the newest commit */
    bool outbox_filled; /* perhaps a row is unsent */
    int64_t begun_ms, told_ms, flushed_ms, full_ms;
    uint64_t pending; /* events applied in the open transaction */
    uint64_t trimmed_to, trim_tried; /* done; of the step before */
    uint64_t trim_begin;             /* the journal's begin before it */
    struct ingest_position *begins; /* OWNS: of the logs, in `next` */
    unsigned begin_count;
    uint64_t decisions_at; /* decisions before this serial were looked at;
                              UINT64_MAX: all */
    _Atomic uint64_t decisions_trimmed;
    void *row; /* OWNS: goes out after the commit */
    size_t row_size;
    struct ingest_mail *forgetting; /* OWNS: wait until no event is half done */
    struct ingest_decisions *decisions; /* OWNS; given, or NULL */
    size_t repeated; /* of those between records, so far */
    uint64_t row_epoch, row_version;
};

/* ingest.c. One thread has ended by itself: says so once, ends the other. */
void ingest_fail(struct ingest *ingest, const struct base_error *error);
/* writer.c: the store thread; its argument is the struct ingest. */
void *ingest_writer_run(void *ingest);

#endif
