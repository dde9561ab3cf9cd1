/* SPDX-License-Identifier: Apache-2.0 */
/* What other threads ask of the store thread: starts of partitions, versions
 * to announce, users to forget. A list in the order of posting; a mail belongs
 * to whoever holds it. It does not know what a mail leads to. Thread: any. */
#ifndef INGEST_MAILBOX_H
#define INGEST_MAILBOX_H

#include <pthread.h>

#include "ingest/announce.h"
#include "ingest/state.h"

enum ingest_mail_kind {
    INGEST_MAIL_OPENED, /* the source is open */
    INGEST_MAIL_ANNOUNCEMENT,
    INGEST_MAIL_BEGINS, /* of the logs, in `next` of fresh */
    INGEST_MAIL_FORGET, /* serial 0: a mark alone */
    INGEST_MAIL_FORGOTTEN,
};

struct ingest_mail {
    struct ingest_mail *next;
    enum ingest_mail_kind kind;
    char cluster[256];
    unsigned fresh_count;
    struct ingest_position *fresh; /* OWNS */
    uint64_t epoch, version;
    uint8_t row[INGEST_ROW_MAX];
    size_t size;
    uint64_t serial;
    bool purge;
    unsigned forget_count;
    struct learner_forget *forgets; /* OWNS */
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
