/* SPDX-License-Identifier: Apache-2.0 */
/* What other threads ask of the store thread: starts of partitions, versions
 * to announce. A list in the order of posting; a mail belongs to whoever holds
 * it. It does not know what a mail leads to. Thread: any. */
#ifndef INGEST_MAILBOX_H
#define INGEST_MAILBOX_H

#include <pthread.h>

#include "ingest/announce.h"
#include "ingest/state.h"

struct ingest_mail {
    struct ingest_mail *next;
    bool opened; /* the source is open; else an announcement */
    char cluster[256];
    unsigned fresh_count;
    struct ingest_position *fresh; /* OWNS */
    uint64_t epoch, version;
    uint8_t row[INGEST_ROW_MAX];
    size_t size;
};

struct ingest_mailbox {
    pthread_mutex_t mutex;
    struct ingest_mail *first, **end;
};

void ingest_mailbox_init(struct ingest_mailbox *mailbox);
/* Frees what nobody took. */
void ingest_mailbox_fini(struct ingest_mailbox *mailbox);
/* TAKES mail. */
void ingest_mailbox_post(struct ingest_mailbox *mailbox,
                         struct ingest_mail *mail);
/* All of it, as a list that the caller frees one by one; NULL: empty. */
struct ingest_mail *ingest_mailbox_take(struct ingest_mailbox *mailbox);
struct ingest_mail *ingest_mail_new(void);
void ingest_mail_free(struct ingest_mail *mail);

#endif
