/* SPDX-License-Identifier: Apache-2.0 */
/* A list under a mutex; see mailbox.h. */
#include "ingest/mailbox.h"

#include <stdlib.h>

void ingest_mailbox_init(struct ingest_mailbox *mailbox)
{
    pthread_mutex_init(&mailbox->mutex, NULL);
    mailbox->first = NULL;
    mailbox->end = &mailbox->first;
}

void ingest_mailbox_fini(struct ingest_mailbox *mailbox)
{
    for (struct ingest_mail *mail = ingest_mailbox_take(mailbox); mail;) {
        struct ingest_mail *next = mail->next;
        ingest_mail_free(mail);
        mail = next;
    }
    pthread_mutex_destroy(&mailbox->mutex);
}

void ingest_mailbox_post(struct ingest_mailbox *mailbox,
                         struct ingest_mail *mail)
{
    pthread_mutex_lock(&mailbox->mutex);
    *mailbox->end = mail;
    mailbox->end = &mail->next;
    pthread_mutex_unlock(&mailbox->mutex);
}

struct ingest_mail *ingest_mailbox_take(struct ingest_mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    struct ingest_mail *mail = mailbox->first;
    mailbox->first = NULL;
    mailbox->end = &mailbox->first;
    pthread_mutex_unlock(&mailbox->mutex);
    return mail;
}

struct ingest_mail *ingest_mail_new(void)
{
    struct ingest_mail *mail = calloc(1, sizeof *mail);
    BASE_ASSERT(mail); /* 800 bytes, a few an hour */
    return mail;
}

void ingest_mail_free(struct ingest_mail *mail)
{
    free(mail->fresh);
    free(mail->forgets);
    free(mail);
}
