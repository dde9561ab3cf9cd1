/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to forget, from outside: as mail to the store thread of a running
 * daemon, or at once on a state that nobody runs. Thread: any. */
#include <stdlib.h>
#include <string.h>

#include "ingest/parts.h"

/* The users, and a mark of nobody behind them (forget.h). */
static struct learner_forget *with_mark(const struct learner_forget *forgets,
                                        unsigned count)
{
    struct learner_forget *all = calloc(count + 1, sizeof *all);
    if (all && count)
        memcpy(all, forgets, count * sizeof *all);
    return all;
}

static void post(struct ingest *ingest, enum ingest_mail_kind kind,
                 uint64_t serial, bool purge, struct learner_forget *forgets,
                 unsigned count)
{
    struct ingest_mail *mail = ingest_mail_new();
    mail->kind = kind;
    mail->serial = serial;
    mail->purge = purge;
    mail->forgets = forgets;
    mail->forget_count = count;
    ingest_mailbox_post(&ingest->mailbox, mail);
}

uint64_t ingest_forget(struct ingest *ingest,
                       const struct learner_forget *forgets, unsigned count,
                       bool purge)
{
    struct learner_forget *all = with_mark(forgets, count);
    BASE_ASSERT(all); /* some KiB */
    uint64_t serial = atomic_fetch_add(&ingest->forgets, 1) + 1;
    post(ingest, INGEST_MAIL_FORGET, serial, purge, all, count + 1);
    return serial;
}

void ingest_forget_mark(struct ingest *ingest)
{
    struct learner_forget *mark = with_mark(NULL, 0);
    BASE_ASSERT(mark);
    post(ingest, INGEST_MAIL_FORGET, 0, false, mark, 1);
}

bool ingest_forget_open(const struct ingest *ingest)
{
    return atomic_load(&ingest->forgets) > atomic_load(&ingest->forgets_done);
}

void ingest_forget_done(struct ingest *ingest, uint64_t serial)
{
    atomic_store(&ingest->forgets_done, serial);
    post(ingest, INGEST_MAIL_FORGOTTEN, serial, false, NULL, 0);
}

static enum base_status forget_in(struct ingest_state *state,
                                  const struct learner_forget *all,
                                  unsigned count, bool purge,
                                  struct base_error *error)
{
    enum base_status status = ingest_state_begin(state, error);
    if (!status)
        status = ingest_state_forget(state, all, count, error);
    if (!status)
        status = ingest_state_forget_asked(
            state, ingest_state_forgets(state) + 1, purge, error);
    return status ? status : ingest_state_commit(state, error);
}

enum base_status ingest_forget_offline(const struct ingest_config *config,
                                       const struct learner_forget *forgets,
                                       unsigned count, bool purge,
                                       struct ingest_forget_status *status,
                                       struct base_error *error)
{
    struct ingest_state *state = NULL;
    struct ingest_status *all = malloc(sizeof *all);
    struct learner_forget *marked = with_mark(forgets, count);
    enum base_status result =
        all && marked ? ingest_state_open(config, &state, error)
                      : base_fail(error, BASE_SYSTEM, "forget: no memory");
    if (!result)
        result = forget_in(state, marked, count + 1, purge, error);
    if (!result) {
        ingest_state_status(state, all);
        *status = all->forget;
    }
    ingest_state_free(state);
    free(marked);
    free(all);
    return result;
}
