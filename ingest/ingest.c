/* SPDX-License-Identifier: Apache-2.0 */
/* The two threads and what goes between them; see ingest.h.
 *
 *   ingest --out--> store --back--> ingest     chunks, a fixed number
 *   any thread --letters--> store              starts, versions
 *   any thread --trim_to--> store
 *
 * The store thread applies events inside one LMDB transaction and commits by
 * size or time; everything else that changes the state happens between two
 * events of it. An announcement leaves the process only once its outbox row is
 * committed, and is marked as sent in a later transaction.
 *
 * A thread that ends by itself says why through `failed`, and takes the other
 * one with it. */
#include "ingest/ingest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/ring.h"
#include "base/role.h"
#include "ingest/announce.h"
#include "ingest/event.h"
#include "ingest/follower.h"
#include "ingest/source.h"
#include "ingest/state.h"

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

/* What the ingest or the publish thread asks of the store thread. */
struct letter {
    struct letter *next;
    bool opened; /* the source is open; else an announcement */
    char cluster[256];
    unsigned fresh_count;
    struct ingest_position *fresh; /* OWNS */
    uint64_t epoch, version;
    uint8_t row[INGEST_ROW_MAX];
    size_t size;
};

struct ingest {
    struct ingest_config config;
    struct ingest_state *state;
    struct ingest_journal *journal;
    struct ingest_source *source;
    struct ingest_announcer *announcer; /* NULL: no topic */
    struct base_ring *out, *back;
    pthread_t ingest_thread, store_thread;
    bool started;

    pthread_mutex_t mutex; /* guards letters */
    struct letter *letters, **letters_end;
    atomic_bool stopping, failed_once, trainer_idle;
    _Atomic uint64_t trim_to, epoch, committed;
    /* Since when the main model finds no batch (0: it does), and where. */
    _Atomic int64_t hungry_ms;
    _Atomic uint64_t hungry_at;
    struct ingest_followers followers;
    void (*failed)(void *self, const struct base_error *error);
    void *failed_self;

    /* Role store. */
    bool source_open; /* cluster and positions are known */
    bool begun;       /* a transaction is open */
    bool commit_now;
    bool outbox_filled; /* perhaps a row is unsent */
    int64_t begun_ms, told_ms, flushed_ms, full_ms;
    uint64_t pending; /* events applied in the open transaction */
    uint64_t trimmed_to, trim_tried; /* done; of the step before */
    uint64_t trim_begin;             /* the journal's begin before it */
    void *row; /* OWNS: goes out after the commit */
    size_t row_size;
    uint64_t row_epoch, row_version;
};

/* ---- letters ------------------------------------------------------------ */

static void post(struct ingest *ingest, struct letter *letter)
{
    pthread_mutex_lock(&ingest->mutex);
    *ingest->letters_end = letter;
    ingest->letters_end = &letter->next;
    pthread_mutex_unlock(&ingest->mutex);
}

static struct letter *take_letters(struct ingest *ingest)
{
    pthread_mutex_lock(&ingest->mutex);
    struct letter *letters = ingest->letters;
    ingest->letters = NULL;
    ingest->letters_end = &ingest->letters;
    pthread_mutex_unlock(&ingest->mutex);
    return letters;
}

static void free_letter(struct letter *letter)
{
    free(letter->fresh);
    free(letter);
}

static struct letter *new_letter(void)
{
    struct letter *letter = calloc(1, sizeof *letter);
    BASE_ASSERT(letter); /* 800 bytes, a few an hour */
    return letter;
}

/* Role ingest: before the first chunk. */
static void on_opened(void *self, const char *cluster,
                      const struct ingest_position *fresh, unsigned count)
{
    struct letter *letter = new_letter();
    letter->opened = true;
    snprintf(letter->cluster, sizeof letter->cluster, "%s", cluster);
    letter->fresh_count = count;
    letter->fresh = calloc(count + 1, sizeof *letter->fresh);
    BASE_ASSERT(letter->fresh);
    memcpy(letter->fresh, fresh, count * sizeof *fresh);
    post(self, letter);
}

void ingest_announce(struct ingest *ingest,
                     const struct ingest_announcement *announcement)
{
    struct letter *letter = new_letter();
    letter->epoch = announcement->epoch;
    letter->version = announcement->version;
    letter->size = ingest_announcement_encode(announcement, letter->row);
    post(ingest, letter);
}

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
    if (!ingest->source_open || now < ingest->told_ms + TELEMETRY_MS)
        return;
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
    if (ingest->source_open &&
        ingest_source_check_cluster(ingest->source, error))
        return error->status;
    if (pick_row(ingest, error) || ingest_state_commit(ingest->state, error))
        return error->status;
    ingest->begun = false;
    atomic_fetch_add(&ingest->committed, ingest->pending);
    ingest->pending = 0;
    send_row(ingest);
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
                                    const struct letter *letter,
                                    struct base_error *error)
{
    ingest->source_open = true;
    if (begin(ingest, error) ||
        ingest_state_set_cluster(ingest->state, letter->cluster, error))
        return error->status;
    for (unsigned i = 0; i < letter->fresh_count; i++)
        if (ingest_state_start_partition(
                ingest->state, letter->fresh[i].topic,
                letter->fresh[i].partition, letter->fresh[i].next, error))
            return error->status;
    ingest->commit_now = true;
    return BASE_OK;
}

BASE_ON(store)
static enum base_status read_announcement(struct ingest *ingest,
                                          const struct letter *letter,
                                          struct base_error *error)
{
    if (begin(ingest, error))
        return error->status;
    if (letter->epoch > atomic_load(&ingest->epoch)) {
        if (ingest_state_set_epoch(ingest->state, letter->epoch, error))
            return error->status;
        atomic_store(&ingest->epoch, letter->epoch);
    }
    ingest->commit_now = true;
    if (!ingest->announcer)
        return BASE_OK;
    ingest->outbox_filled = true;
    if (ingest_state_outbox_has(ingest->state, letter->epoch,
                                letter->version)) {
        ingest_announcer_repeat(ingest->announcer, letter->row, letter->size);
        return BASE_OK;
    }
    return ingest_state_outbox_put(ingest->state, letter->epoch,
                                   letter->version, letter->row, letter->size,
                                   error);
}

BASE_ON(store)
static enum base_status read_letters(struct ingest *ingest,
                                     struct base_error *error)
{
    struct letter *letter = take_letters(ingest);
    enum base_status status = BASE_OK;
    while (letter) {
        struct letter *next = letter->next;
        if (!status)
            status = letter->opened
                         ? read_opened(ingest, letter, error)
                         : read_announcement(ingest, letter, error);
        free_letter(letter);
        letter = next;
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
    if (read_letters(ingest, error) || announce(ingest, error) ||
        trim(ingest, error) || flush(ingest, error))
        return error->status;
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

/* Commits what is there and, with the journal at its cap, waits until the
 * learner has let go of some. Kafka keeps the backlog. */
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
        if (ingest_state_has_room(ingest->state))
            return BASE_OK;
        say_full(ingest);
        let_go(ingest);
        nanosleep(&(struct timespec){.tv_nsec = PULSE_MS * 1000000}, NULL);
    }
}

BASE_ON(store)
static enum base_status apply(struct ingest *ingest,
                              const struct ingest_event *event,
                              struct base_error *error)
{
    enum base_status status;
    do {
        status = begin(ingest, error);
        if (!status)
            status = ingest_state_apply(ingest->state, event, error);
        if (status == BASE_AGAIN && wait_for_room(ingest, error))
            return error->status;
    } while (status == BASE_AGAIN);
    if (!status)
        ingest->pending++;
    return status;
}

BASE_ON(store)
static enum base_status apply_chunk(struct ingest *ingest,
                                    const struct ingest_chunk *chunk,
                                    struct base_error *error)
{
    for (uint32_t i = 0; i < chunk->count; i++) {
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

/* ---- threads ------------------------------------------------------------ */

/* One thread has ended by itself: says so once, ends the other. */
static void fail(struct ingest *ingest, const struct base_error *error)
{
    ingest_source_stop(ingest->source);
    if (atomic_exchange(&ingest->failed_once, true))
        return;
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
        fail(ingest, &error);
    return NULL;
}

static void *run_store(void *argument)
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
        fail(ingest, &error);
    return NULL;
}

/* ---- boundary ----------------------------------------------------------- */

static enum base_status open_source(struct ingest *ingest,
                                    struct base_error *error)
{
    struct ingest_event last;
    struct ingest_source_config config = {
        .config = &ingest->config, .out = ingest->out, .back = ingest->back,
        .self = ingest, .opened = on_opened,
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

enum base_status ingest_open(const struct ingest_config *config,
                             struct ingest **ingest, struct base_error *error)
{
    struct ingest *made = calloc(1, sizeof *made);
    if (!made)
        return base_fail(error, BASE_SYSTEM, "ingest: no memory");
    made->config = *config;
    made->letters_end = &made->letters;
    made->outbox_filled = true; /* of the run before, perhaps */
    pthread_mutex_init(&made->mutex, NULL);
    ingest_followers_init(&made->followers);
    enum base_status status =
        ingest_state_open(&made->config, &made->state, error);
    if (!status)
        status = ingest_journal_new(made->state, &made->journal, error);
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
        pthread_create(&ingest->store_thread, NULL, run_store, ingest);
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
    if (atomic_load(&ingest->failed_once))
        return base_fail(error, BASE_BROKEN, "ingest had failed before");
    return BASE_OK;
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
    ingest_announcer_free(ingest->announcer);
    ingest_journal_free(ingest->journal);
    ingest_state_free(ingest->state);
    free_chunks(ingest->out);
    free_chunks(ingest->back);
    for (struct letter *letter = take_letters(ingest); letter;) {
        struct letter *next = letter->next;
        free_letter(letter);
        letter = next;
    }
    pthread_mutex_destroy(&ingest->mutex);
    ingest_followers_fini(&ingest->followers);
    free(ingest->row);
    free(ingest);
}

void ingest_pause(struct ingest *ingest, bool paused)
{
    ingest_source_pause(ingest->source, paused);
}

void ingest_get_status(struct ingest *ingest, struct ingest_status *status)
{
    uint64_t handed, committed = atomic_load(&ingest->committed);
    ingest_state_status(ingest->state, status);
    ingest_source_status(ingest->source, status, &handed);
    ingest_followers_status(&ingest->followers, status);
    status->at_end = status->at_end && handed == committed;
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

size_t ingest_offsets_json(struct ingest *ingest, char *text, size_t size)
{
    struct ingest_status *status = malloc(sizeof *status);
    if (!status)
        return (size_t)snprintf(text, size, "{}");
    ingest_state_status(ingest->state, status);
    size_t used = 0;
    for (unsigned i = 0; i < status->partition_count; i++) {
        const struct ingest_partition_status *at = &status->partitions[i];
        int wrote = snprintf(used < size ? text + used : NULL,
                             used < size ? size - used : 0,
                             "%s\"%s/%d\": %lld", i ? ", " : "{",
                             ingest->config.topics[at->topic].name,
                             at->partition, (long long)at->next);
        used += (size_t)wrote;
    }
    used += (size_t)snprintf(used < size ? text + used : NULL,
                             used < size ? size - used : 0, "%s",
                             status->partition_count ? "}" : "{}");
    free(status);
    return used;
}
