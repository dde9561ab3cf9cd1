/* SPDX-License-Identifier: Apache-2.0 */
/* The two threads and what goes between them; see ingest.h.
 *
 *   ingest --out--> store --back--> ingest     chunks, a fixed number
 *   any thread --mailbox--> store              starts, versions
 *   any thread --trim_to--> store
 *
 * What the store thread does is in writer.c. A thread that ends by itself says
 * why through `failed`, and takes the other one with it. */
#include "ingest/ingest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "ingest/parts.h"

/* ---- mails for the store thread ----------------------------------------- */

/* Role ingest: before the first chunk. */
static void on_opened(void *self, const char *cluster,
                      const struct ingest_position *fresh, unsigned count)
{
    struct ingest *ingest = self;
    struct ingest_mail *mail = ingest_mail_new();
    mail->kind = INGEST_MAIL_OPENED;
    snprintf(mail->cluster, sizeof mail->cluster, "%s", cluster);
    mail->fresh_count = count;
    mail->fresh = calloc(count + 1, sizeof *mail->fresh);
    BASE_ASSERT(mail->fresh);
    memcpy(mail->fresh, fresh, count * sizeof *fresh);
    ingest_mailbox_post(&ingest->mailbox, mail);
}

/* Role ingest: what has left Kafka needs no decisions any more. */
static void on_begins(void *self, const struct ingest_position *positions,
                      const int64_t *begins, unsigned count)
{
    struct ingest *ingest = self;
    struct ingest_mail *mail = ingest_mail_new();
    mail->kind = INGEST_MAIL_BEGINS;
    mail->fresh = calloc(count + 1, sizeof *mail->fresh);
    BASE_ASSERT(mail->fresh);
    for (unsigned i = 0; i < count; i++) {
        mail->fresh[i] = positions[i];
        mail->fresh[i].next = begins[i];
    }
    mail->fresh_count = count;
    ingest_mailbox_post(&ingest->mailbox, mail);
}

/* Role ingest: of a group member. */
static uint64_t on_committed(void *self)
{
    struct ingest *ingest = self;
    return atomic_load(&ingest->committed);
}

void ingest_announce(struct ingest *ingest,
                     const struct ingest_announcement *announcement)
{
    struct ingest_mail *mail = ingest_mail_new();
    mail->kind = INGEST_MAIL_ANNOUNCEMENT;
    mail->epoch = announcement->epoch;
    mail->version = announcement->version;
    mail->size = ingest_announcement_encode(announcement, mail->row);
    ingest_mailbox_post(&ingest->mailbox, mail);
}

/* ---- threads ------------------------------------------------------------ */

void ingest_fail(struct ingest *ingest, const struct base_error *error)
{
    ingest_source_stop(ingest->source);
    if (atomic_exchange(&ingest->failed_once, true))
        return;
    ingest->failure = *error;
    base_log(BASE_LOG_ERROR, "event=ingest_failed text=\"%s\"", error->text);
    if (ingest->failed)
        ingest->failed(ingest->failed_self, error);
}

static void *run_ingest(void *argument)
{
    struct ingest *ingest = argument;
    struct base_error error = {.text = ""};
    enum base_status status = ingest_source_run(ingest->source, &error);
    base_ring_close(ingest->out); /* the store drains it and ends */
    if (status && status != BASE_STOPPED)
        ingest_fail(ingest, &error);
    return NULL;
}

/* ---- boundary ----------------------------------------------------------- */

static enum base_status open_source(struct ingest *ingest,
                                    struct base_error *error)
{
    struct ingest_event last;
    struct ingest_source_config config = {
        .config = &ingest->config, .out = ingest->out, .back = ingest->back,
        .self = ingest, .opened = on_opened, .begins = on_begins,
        .committed = on_committed,
        .cluster = ingest_state_cluster(ingest->state)};
    config.positions =
        ingest_state_positions(ingest->state, &config.position_count);
    ingest_state_last(ingest->state, &last);
    config.last = last.apply_ms > INT64_MIN ? &last : NULL;
    return ingest_source_new(&config, &ingest->source, error);
}

static enum base_status make_chunks(struct ingest *ingest,
                                    struct base_error *error)
{
    for (int i = 0; i < INGEST_CHUNKS; i++) {
        struct ingest_chunk *chunk = ingest_source_chunk(ingest->source);
        if (!chunk || !base_ring_push(ingest->back, chunk, 0)) {
            ingest_chunk_free(chunk);
            return base_fail(error, BASE_SYSTEM, "ingest: no memory");
        }
    }
    return BASE_OK;
}

static enum base_status read_decisions(struct ingest *ingest,
                                       struct base_error *error)
{
    struct ingest_event last;
    if (ingest_decisions_read(ingest->config.decisions, &ingest->decisions,
                              error))
        return error->status;
    ingest_state_last(ingest->state, &last);
    ingest->repeated = ingest_repeats_done(
        ingest_decisions_repeats(ingest->decisions), &last);
    return BASE_OK;
}

enum base_status ingest_open(const struct ingest_config *config,
                             struct ingest **ingest, struct base_error *error)
{
    struct ingest *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "ingest: no memory");
    made->config = *config;
    made->outbox_filled = true; /* of the run before, perhaps */
    ingest_mailbox_init(&made->mailbox);
    ingest_followers_init(&made->followers);
    ingest_disk_init(&made->disk, made->config.folder,
                     made->config.disk_reserve_bytes);
    enum base_status status =
        ingest_state_open(&made->config, &made->state, error);
    if (!status)
        status = ingest_journal_new(made->state, &made->journal, error);
    if (!status && config->decisions[0])
        status = read_decisions(made, error);
    if (!status)
        status = base_ring_new(&made->out, INGEST_CHUNKS, error);
    if (!status)
        status = base_ring_new(&made->back, INGEST_CHUNKS, error);
    if (!status)
        status = open_source(made, error);
    if (!status)
        status = make_chunks(made, error);
    if (status) {
        ingest_free(made);
        return status;
    }
    atomic_store(&made->epoch, ingest_state_epoch(made->state));
    atomic_store(&made->forgets, ingest_state_forgets(made->state));
    atomic_store(&made->forgets_done, ingest_state_forgets_done(made->state));
    *ingest = made;
    return BASE_OK;
}

enum base_status ingest_start(struct ingest *ingest,
                              void (*failed)(void *self,
                                             const struct base_error *error),
                              void *self, struct base_error *error)
{
    ingest->failed = failed;
    ingest->failed_self = self;
    if (ingest->config.announcement_topic[0] &&
        ingest_announcer_new(&ingest->config, INGEST_HEARTBEAT_MS,
                             &ingest->announcer, error))
        return error->status;
    int code =
        pthread_create(&ingest->store_thread, NULL, ingest_writer_run, ingest);
    if (code)
        return base_fail_errno(error, code, "ingest: thread");
    code = pthread_create(&ingest->ingest_thread, NULL, run_ingest, ingest);
    if (code) {
        base_ring_close(ingest->out);
        pthread_join(ingest->store_thread, NULL);
        return base_fail_errno(error, code, "ingest: thread");
    }
    ingest->started = true;
    return BASE_OK;
}

enum base_status ingest_stop(struct ingest *ingest, struct base_error *error)
{
    if (!ingest->started)
        return BASE_OK;
    atomic_store(&ingest->stopping, true);
    ingest_source_stop(ingest->source);
    pthread_join(ingest->ingest_thread, NULL);
    pthread_join(ingest->store_thread, NULL);
    ingest->started = false;
    ingest_source_leave(ingest->source);
    if (!atomic_load(&ingest->failed_once))
        return BASE_OK;
    return base_fail(error, ingest->failure.status, "ingest: %.900s",
                     ingest->failure.text);
}

static void free_chunks(struct base_ring *ring)
{
    struct ingest_chunk *chunk;
    while (ring && (chunk = base_ring_pop(ring, 0)))
        ingest_chunk_free(chunk);
    base_ring_free(ring);
}

void ingest_free(struct ingest *ingest)
{
    if (!ingest)
        return;
    if (ingest->started && ingest_stop(ingest, NULL))
        base_log(BASE_LOG_DEBUG, "event=ingest_freed_after_failure");
    ingest_source_free(ingest->source);
    ingest_decisions_free(ingest->decisions);
    ingest_announcer_free(ingest->announcer);
    ingest_journal_free(ingest->journal);
    ingest_state_free(ingest->state);
    free_chunks(ingest->out);
    free_chunks(ingest->back);
    ingest_mailbox_fini(&ingest->mailbox);
    free(ingest->begins);
    ingest_followers_fini(&ingest->followers);
    while (ingest->forgetting) {
        struct ingest_mail *next = ingest->forgetting->next;
        ingest_mail_free(ingest->forgetting);
        ingest->forgetting = next;
    }
    free(ingest->row);
    free(ingest);
}

void ingest_pause(struct ingest *ingest, bool paused)
{
    ingest_source_pause(ingest->source, paused);
}

static enum base_status next_batch(void *self, uint64_t position,
                                   int timeout_ms, struct learner_batch *batch,
                                   struct base_error *error)
{
    struct ingest *ingest = self;
    enum base_status status = ingest_journal_next(ingest->journal, position,
                                                  timeout_ms, batch, error);
    atomic_store(&ingest->hungry_at, position);
    if (status != BASE_AGAIN)
        atomic_store(&ingest->hungry_ms, 0);
    else if (atomic_load(&ingest->hungry_ms) == 0)
        atomic_store(&ingest->hungry_ms, base_monotonic_ms());
    return status;
}

enum base_status ingest_follower_new(struct ingest *ingest, const char *name,
                                     uint64_t position,
                                     struct ingest_follower **follower,
                                     struct base_error *error)
{
    return ingest_followers_add(&ingest->followers, ingest->state, name,
                                position, follower, error);
}

enum base_status ingest_follower_begin(struct ingest *ingest,
                                       uint64_t *position,
                                       struct base_error *error)
{
    struct ingest_journal *journal = NULL;
    enum base_status status =
        ingest_journal_new(ingest->state, &journal, error);
    if (!status)
        status = ingest_journal_begin(journal, position, error);
    ingest_journal_free(journal);
    return status;
}

struct learner_source ingest_source(struct ingest *ingest)
{
    return (struct learner_source){.self = ingest, .next = next_batch};
}

void ingest_trainer_idle(struct ingest *ingest, bool idle)
{
    atomic_store(&ingest->trainer_idle, idle);
}

void ingest_trim(struct ingest *ingest, uint64_t position)
{
    uint64_t before = atomic_load(&ingest->trim_to);
    while (position > before &&
           !atomic_compare_exchange_weak(&ingest->trim_to, &before, position))
        ;
}

uint64_t ingest_epoch(struct ingest *ingest)
{
    return atomic_load(&ingest->epoch);
}
