/* SPDX-License-Identifier: Apache-2.0 */
/* The store thread: applies events inside one LMDB transaction and commits by
 * size or time; everything else that changes the state happens between two
 * events of it. An announcement leaves the process only once its outbox row is
 * committed, and is marked as sent in a later transaction. Role: store. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/role.h"
#include "ingest/event.h"
#include "ingest/parts.h"

enum {
    PULSE_MS = 20,      /* longest sleep of the store thread */
    TELEMETRY_MS = 200, /* between offsets told to Kafka */
    FLUSH_SAMPLES = 32, /* a timed batch has as many */
    FLUSH_AGE_MS = 5000, /* or one that old */
    FAREWELL_MS = 2000, /* for a last announcement's receipt */
    CLOCK_EVERY = 64,   /* events between looks at the clock */
    FULL_MS = 60000,    /* between lines about a full journal */
    HUNGRY_MS = 1000,   /* the main model finds nothing in a full journal */
};

/* ---- the store's transaction -------------------------------------------- */

BASE_ON(store)
static enum base_status begin(struct ingest *ingest, struct base_error *error)
{
    if (ingest->begun)
        return BASE_OK;
    if (ingest_state_begin(ingest->state, error))
        return error->status;
    ingest->begun = true;
    ingest->begun_ms = base_monotonic_ms();
    return BASE_OK;
}

/* The oldest unsent announcement, to leave once this transaction is there. */
BASE_ON(store)
static enum base_status pick_row(struct ingest *ingest,
                                 struct base_error *error)
{
    if (!ingest->announcer || !ingest->outbox_filled || ingest->row ||
        !ingest_announcer_idle(ingest->announcer))
        return BASE_OK;
    enum base_status status = ingest_state_outbox_next(
        ingest->state, &ingest->row_epoch, &ingest->row_version, &ingest->row,
        &ingest->row_size, error);
    if (status != BASE_AGAIN)
        return status;
    ingest->outbox_filled = false;
    return BASE_OK;
}

BASE_ON(store)
static void send_row(struct ingest *ingest)
{
    if (!ingest->row)
        return;
    ingest_announcer_send(ingest->announcer, ingest->row_epoch,
                          ingest->row_version, ingest->row, ingest->row_size);
    free(ingest->row);
    ingest->row = NULL;
}

BASE_ON(store)
static void tell_kafka(struct ingest *ingest)
{
    int64_t now = base_monotonic_ms();
    if (!ingest->source_open || !ingest->untold ||
        now < ingest->told_ms + TELEMETRY_MS)
        return;
    ingest->untold = false;
    ingest->told_ms = now;
    unsigned count;
    const struct ingest_position *positions =
        ingest_state_positions(ingest->state, &count);
    ingest_source_commit(ingest->source, positions, count);
}

BASE_ON(store)
static enum base_status commit(struct ingest *ingest, struct base_error *error)
{
    ingest->commit_now = false;
    if (!ingest->begun)
        return BASE_OK;
    if (pick_row(ingest, error) || ingest_state_commit(ingest->state, error))
        return error->status;
    ingest->begun = false;
    base_log(BASE_LOG_DEBUG, "event=committed position=%llu events=%llu",
             (unsigned long long)ingest_state_journal_end(ingest->state),
             (unsigned long long)ingest->pending);
    atomic_fetch_add(&ingest->committed, ingest->pending);
    ingest->pending = 0;
    send_row(ingest);
    ingest->untold = true;
    tell_kafka(ingest);
    return BASE_OK;
}

static bool due(const struct ingest *ingest)
{
    if (!ingest->begun)
        return false;
    return ingest->commit_now ||
           ingest->pending >= ingest->config.commit_events ||
           base_monotonic_ms() - ingest->begun_ms >=
               (int64_t)ingest->config.commit_ms;
}

/* ---- work for others ---------------------------------------------------- */

BASE_ON(store)
static enum base_status read_opened(struct ingest *ingest,
                                    const struct ingest_mail *mail,
                                    struct base_error *error)
{
    ingest->source_open = true;
    if (begin(ingest, error) ||
        ingest_state_set_cluster(ingest->state, mail->cluster, error))
        return error->status;
    for (unsigned i = 0; i < mail->fresh_count; i++)
        if (ingest_state_start_partition(
                ingest->state, mail->fresh[i].topic,
                mail->fresh[i].partition, mail->fresh[i].next, error))
            return error->status;
    ingest->commit_now = true;
    return BASE_OK;
}

BASE_ON(store)
static enum base_status read_announcement(struct ingest *ingest,
                                          const struct ingest_mail *mail,
                                          struct base_error *error)
{
    if (begin(ingest, error))
        return error->status;
    if (mail->epoch > atomic_load(&ingest->epoch)) {
        if (ingest_state_set_epoch(ingest->state, mail->epoch, error))
            return error->status;
        atomic_store(&ingest->epoch, mail->epoch);
    }
    ingest->commit_now = true;
    if (!ingest->announcer)
        return BASE_OK;
    ingest->outbox_filled = true;
    /* A row that still waits goes out in its turn, after older ones. */
    if (ingest_state_outbox_announced(ingest->state, mail->epoch,
                                      mail->version)) {
        ingest_announcer_repeat(ingest->announcer, mail->row, mail->size);
        return BASE_OK;
    }
    return ingest_state_outbox_put(ingest->state, mail->epoch,
                                   mail->version, mail->row, mail->size,
                                   error);
}

BASE_ON(store)
static enum base_status read_forget(struct ingest *ingest,
                                    const struct ingest_mail *mail,
                                    struct base_error *error)
{
    if (begin(ingest, error))
        return error->status;
    ingest->commit_now = true;
    if (mail->kind == INGEST_MAIL_FORGOTTEN)
        return ingest_state_forget_done(ingest->state, mail->serial, error);
    enum base_status status = ingest_state_forget(
        ingest->state, mail->forgets, mail->forget_count, error);
    if (!status && mail->serial)
        status = ingest_state_forget_asked(ingest->state, mail->serial,
                                           mail->purge, error);
    return status;
}

/* Between two events, so that a rebuild can do it at the same place. */
BASE_ON(store)
static enum base_status read_forgets(struct ingest *ingest,
                                     struct base_error *error)
{
    enum base_status status = BASE_OK;
    while (!status && ingest->forgetting) {
        struct ingest_mail *mail = ingest->forgetting;
        ingest->forgetting = mail->next;
        status = read_forget(ingest, mail, error);
        ingest_mail_free(mail);
    }
    return status;
}

/* Where a log begins further on than before, decisions may go. */
BASE_ON(store)
static void read_begins(struct ingest *ingest, struct ingest_mail *mail)
{
    bool same = ingest->begins && ingest->begin_count == mail->fresh_count;
    for (unsigned i = 0; same && i < mail->fresh_count; i++)
        same = ingest->begins[i].next == mail->fresh[i].next;
    if (same)
        return;
    free(ingest->begins);
    ingest->begins = mail->fresh;
    ingest->begin_count = mail->fresh_count;
    ingest->decisions_at = 0;
    mail->fresh = NULL;
}

BASE_ON(store)
static enum base_status read_mails(struct ingest *ingest,
                                     struct base_error *error)
{
    struct ingest_mail *mail = ingest_mailbox_take(&ingest->mailbox);
    enum base_status status = BASE_OK;
    struct ingest_mail **forgets = &ingest->forgetting;
    while (*forgets)
        forgets = &(*forgets)->next;
    while (mail) {
        struct ingest_mail *next = mail->next;
        if (mail->kind >= INGEST_MAIL_FORGET) {
            mail->next = NULL;
            *forgets = mail;
            forgets = &mail->next;
            mail = next;
            continue;
        }
        if (mail->kind == INGEST_MAIL_BEGINS)
            read_begins(ingest, mail);
        else if (!status)
            status = mail->kind == INGEST_MAIL_OPENED
                         ? read_opened(ingest, mail, error)
                         : read_announcement(ingest, mail, error);
        ingest_mail_free(mail);
        mail = next;
    }
    return status;
}

/* Receipts of announcements; a row to send where none is in flight. */
BASE_ON(store)
static enum base_status announce(struct ingest *ingest,
                                 struct base_error *error)
{
    uint64_t epoch, version;
    if (!ingest->announcer)
        return BASE_OK;
    if (ingest_announcer_step(ingest->announcer, &epoch, &version)) {
        if (begin(ingest, error) ||
            ingest_state_outbox_sent(ingest->state, epoch, version, error))
            return error->status;
        ingest->outbox_filled = true; /* the next one may go */
        ingest->commit_now = true;
    }
    if (ingest->outbox_filled && ingest_announcer_idle(ingest->announcer)) {
        ingest->commit_now = true;
        return begin(ingest, error);
    }
    return BASE_OK;
}

/* A step of trimming a transaction, as long as one changes something. */
BASE_ON(store)
static enum base_status trim(struct ingest *ingest, struct base_error *error)
{
    uint64_t to = ingest_followers_oldest(&ingest->followers,
                                          atomic_load(&ingest->trim_to));
    if (ingest->config.journal_keep || to <= ingest->trimmed_to)
        return BASE_OK;
    struct ingest_status *status = malloc(sizeof *status);
    if (!status)
        return base_fail(error, BASE_SYSTEM, "ingest: no memory");
    ingest_state_status(ingest->state, status);
    uint64_t first = status->journal_begin;
    free(status);
    if (first == ingest->trim_begin && to == ingest->trim_tried) {
        ingest->trimmed_to = to; /* the last step found nothing to do */
        return BASE_OK;
    }
    ingest->trim_begin = first;
    ingest->trim_tried = to;
    if (begin(ingest, error))
        return error->status;
    ingest->commit_now = true;
    return ingest_state_trim(ingest->state, to, error);
}

/* A step of letting decisions go whose records have left Kafka. */
BASE_ON(store)
static enum base_status trim_decisions(struct ingest *ingest,
                                       struct base_error *error)
{
    uint64_t gone = 0;
    if (!ingest->begins || ingest->decisions_at == UINT64_MAX)
        return BASE_OK;
    if (begin(ingest, error) ||
        ingest_state_trim_decisions(ingest->state, ingest->begins,
                                    ingest->begin_count,
                                    &ingest->decisions_at, &gone, error))
        return error->status;
    atomic_fetch_add(&ingest->decisions_trimmed, gone);
    return BASE_OK;
}

/* Ends a batch by time: only where the trainer waits for it. */
BASE_ON(store)
static enum base_status flush(struct ingest *ingest, struct base_error *error)
{
    int64_t now = base_monotonic_ms(), oldest_ms = 0;
    if (ingest->config.flush_ms == 0 || !atomic_load(&ingest->trainer_idle) ||
        now < ingest->flushed_ms + (int64_t)ingest->config.flush_ms)
        return BASE_OK;
    uint32_t samples = ingest_state_open_samples(ingest->state, &oldest_ms);
    if (samples == 0 ||
        (samples < FLUSH_SAMPLES && now - oldest_ms < FLUSH_AGE_MS))
        return BASE_OK;
    ingest->flushed_ms = now;
    if (begin(ingest, error))
        return error->status;
    ingest->commit_now = true;
    return ingest_state_end_batch(ingest->state, error);
}

BASE_ON(store)
static enum base_status serve_others(struct ingest *ingest,
                                     struct base_error *error)
{
    (void)ingest_disk_low(&ingest->disk); /* for the status */
    if (read_mails(ingest, error) || announce(ingest, error) ||
        trim(ingest, error) || trim_decisions(ingest, error) ||
        flush(ingest, error))
        return error->status;
    tell_kafka(ingest); /* of the last commit before a silence, too */
    return due(ingest) ? commit(ingest, error) : BASE_OK;
}

/* ---- events ------------------------------------------------------------- */

BASE_ON(store)
static void say_full(struct ingest *ingest)
{
    int64_t now = base_monotonic_ms();
    if (ingest->full_ms && now < ingest->full_ms + FULL_MS)
        return;
    ingest->full_ms = now;
    base_log(BASE_LOG_WARN, "event=journal_full max_bytes=%llu hint=\"%s\"",
             (unsigned long long)ingest->config.journal_max_bytes,
             ingest->config.journal_keep
                 ? "ingest.journal_keep forbids to trim it"
                 : "waits for the trainer and its checkpoints");
}

/* With the journal full and nothing left in it for the main model: a follower
 * that holds it goes. */
BASE_ON(store)
static void let_go(struct ingest *ingest)
{
    int64_t since = atomic_load(&ingest->hungry_ms);
    if (ingest->config.journal_keep || since == 0 ||
        base_monotonic_ms() - since < HUNGRY_MS ||
        atomic_load(&ingest->hungry_at) < ingest_state_batch_end(ingest->state))
        return;
    (void)ingest_followers_let_go(&ingest->followers,
                                  atomic_load(&ingest->trim_to));
}

/* Commits what is there and, with the journal at its cap or the disk below its
 * reserve, waits until the learner has let go of some, or somebody has made
 * room. Kafka keeps the backlog. */
BASE_ON(store)
static enum base_status wait_for_room(struct ingest *ingest,
                                      struct base_error *error)
{
    if (commit(ingest, error))
        return error->status;
    for (;;) {
        if (atomic_load(&ingest->stopping))
            return base_fail(error, BASE_STOPPED, "ingest: asked to stop");
        if (serve_others(ingest, error))
            return error->status;
        bool has_room = ingest_state_has_room(ingest->state);
        if (has_room && !ingest_disk_low(&ingest->disk))
            return BASE_OK;
        if (!has_room) {
            say_full(ingest);
            let_go(ingest);
        }
        nanosleep(&(struct timespec){.tv_nsec = PULSE_MS * 1000000}, NULL);
    }
}

/* Given decisions that came before this record, or right behind it. */
BASE_ON(store)
static enum base_status repeat(struct ingest *ingest,
                               const struct ingest_event *event, bool behind,
                               struct base_error *error)
{
    const struct ingest_repeats *all =
        ingest_decisions_repeats(ingest->decisions);
    while (ingest->repeated < all->count) {
        const struct ingest_repeat *one = &all->items[ingest->repeated];
        int order = ingest_event_order(&one->behind, event);
        if (order > 0 || (order == 0 && !behind))
            break;
        if (begin(ingest, error) ||
            ingest_repeat_apply(one, ingest->state, error))
            return error->status;
        ingest->repeated++;
    }
    return BASE_OK;
}

BASE_ON(store)
static enum base_status apply(struct ingest *ingest,
                              const struct ingest_event *event,
                              struct base_error *error)
{
    enum base_status status;
    if (ingest->decisions && repeat(ingest, event, false, error))
        return error->status;
    do {
        status = begin(ingest, error);
        if (!status)
            status = ingest_state_apply(ingest->state, event, error);
        if (status == BASE_AGAIN && wait_for_room(ingest, error))
            return error->status;
    } while (status == BASE_AGAIN);
    if (!status)
        ingest->pending++;
    if (!status && ingest->decisions)
        status = repeat(ingest, event, true, error);
    return status;
}

BASE_ON(store)
static enum base_status apply_chunk(struct ingest *ingest,
                                    const struct ingest_chunk *chunk,
                                    struct base_error *error)
{
    for (uint32_t i = 0; i < chunk->count; i++) {
        if (i % CLOCK_EVERY == 0 && ingest_disk_low(&ingest->disk) &&
            wait_for_room(ingest, error))
            return error->status;
        if (apply(ingest, &chunk->events[i], error))
            return error->status;
        bool look = i % CLOCK_EVERY == 0 ||
                    ingest->pending >= ingest->config.commit_events;
        if (look && due(ingest) && commit(ingest, error))
            return error->status;
    }
    if (chunk->stop_partition < 0)
        return BASE_OK;
    if (begin(ingest, error))
        return error->status;
    ingest->commit_now = true;
    if (chunk->revoked)
        return ingest_state_revoke_partition(ingest->state,
                                             chunk->stop_partition, error);
    return ingest_state_stop_partition(ingest->state, chunk->stop_partition,
                                       chunk->stop_reason, error);
}

static int sleep_ms(const struct ingest *ingest)
{
    if (!ingest->begun)
        return PULSE_MS;
    int64_t left = ingest->begun_ms + (int64_t)ingest->config.commit_ms -
                   base_monotonic_ms();
    return left < 0 ? 0 : left < PULSE_MS ? (int)left : PULSE_MS;
}

BASE_ON(store)
static enum base_status store_once(struct ingest *ingest, bool *more,
                                   struct base_error *error)
{
    struct ingest_chunk *chunk = base_ring_pop(ingest->out, sleep_ms(ingest));
    enum base_status status = serve_others(ingest, error);
    if (!status)
        status = read_forgets(ingest, error);
    if (!chunk) {
        *more = !base_ring_closed(ingest->out) ||
                base_ring_size(ingest->out) > 0;
        return status;
    }
    if (!status)
        status = apply_chunk(ingest, chunk, error);
    if (!base_ring_push(ingest->back, chunk, 0))
        ingest_chunk_free(chunk); /* closed: the other side has ended */
    ingest_source_wake(ingest->source);
    return status;
}

/* What is handed over is in; a last version still wants its receipt. */
BASE_ON(store)
static enum base_status say_farewell(struct ingest *ingest,
                                     struct base_error *error)
{
    int64_t until = base_monotonic_ms() + FAREWELL_MS;
    if (read_forgets(ingest, error))
        return error->status;
    do {
        if (serve_others(ingest, error))
            return error->status;
        if (!ingest->announcer || (!ingest->outbox_filled &&
                                   ingest_announcer_idle(ingest->announcer)))
            break;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    } while (base_monotonic_ms() < until);
    return commit(ingest, error);
}

void *ingest_writer_run(void *argument)
{
    struct ingest *ingest = argument;
    base_role_enter(&base_role_store);
    struct base_error error = {.text = ""};
    enum base_status status = BASE_OK;
    for (bool more = true; more && !status;)
        status = store_once(ingest, &more, &error);
    if (!status)
        status = say_farewell(ingest, &error);
    base_ring_close(ingest->out);
    base_ring_close(ingest->back);
    if (status && status != BASE_STOPPED)
        ingest_fail(ingest, &error);
    return NULL;
}
