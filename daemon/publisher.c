/* SPDX-License-Identifier: Apache-2.0 */
/* The publish thread; see publisher.h.
 *
 * Invariants: 1. the newest checkpoint lies in one slot, a newer one replaces
 * it; it is published when one was asked for, and at the end; 2. a version is
 * published only where its position is beyond the newest one's; 3. CURRENT
 * moves before its announcement is handed over, so a crash between the two is
 * mended at the next start; 4. the gate judges each checkpoint that would
 * become a version; --force holds for the answer to its own request only. */
#include "daemon/publisher.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/role.h"
#include "daemon/leftovers.h"
#include "daemon/stream.h"
#include "snapshot/snapshot.h"

enum { OFFSETS_MAX = 1 << 17 };

struct daemon_publisher {
    const struct daemon_config *config; /* BORROWS */
    struct snapshot_publisher *snapshot;
    struct ingest *ingest;
    struct learner_trainer *trainer;
    uint32_t every_ms;
    struct snapshot_announcement current; /* at start */
    char *offsets; /* (OFFSETS_MAX) scratch of the thread */
    char *stream;  /* OWNS; of every manifest */
    struct daemon_gate_config gate;
    /* Of the publication that runs; role publish. */
    bool forcing;
    enum daemon_gate_reason verdict;
    struct snapshot_judged judged;
    pthread_t thread;
    bool started;

    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t changed;
    bool finishing;
    bool wanted, force_wanted; /* an operator asks for a version */
    uint64_t purge_wanted;     /* request to forget; 0: none */
    /* Numbers of the trainer: asked for by this thread and not answered (0:
     * nothing), the part of it that is to be forced, the newest answer. */
    uint64_t requested, force_request, answered;
    char path[1200]; /* the slot, with position; empty: none yet */
    uint64_t position;
    struct daemon_publish_status status;
};

static void hand_over(struct ingest *ingest,
                      const struct snapshot_announcement *from)
{
    struct ingest_announcement to = {
        .epoch = from->epoch,
        .version = from->version,
        .position = from->position,
        .newest_event_ms = from->newest_event_ms,
        .created_ms = from->created_ms,
    };
    memcpy(to.model_name, from->model_name, sizeof to.model_name);
    memcpy(to.folder_name, from->folder_name, sizeof to.folder_name);
    memcpy(to.manifest_hash, from->manifest_hash, sizeof to.manifest_hash);
    ingest_announce(ingest, &to);
}

/* What is current counts as published, unless the journal ends before it (a
 * new state beside an old model folder starts over) or it is of another model
 * than the one to publish. */
static void take_current(struct daemon_publisher *publisher, uint64_t hash)
{
    const struct snapshot_announcement *current = &publisher->current;
    struct ingest_status *ingest = malloc(sizeof *ingest);
    struct daemon_publish_status *status = &publisher->status;
    uint64_t end = 0;
    if (ingest) {
        ingest_get_status(publisher->ingest, ingest);
        end = ingest->journal_end;
        free(ingest);
    }
    status->epoch = snapshot_publisher_epoch(publisher->snapshot);
    if (!current->version)
        return;
    status->version = current->version;
    status->created_ms = current->created_ms;
    status->newest_event_ms = current->newest_event_ms;
    if (current->position <= end && current->config_hash == hash)
        status->position = current->position;
}

static const struct learner_trainer_config *
published_of(const struct daemon_config *config)
{
    for (unsigned i = 0; i < config->shadow_count; i++)
        if (strcmp(config->shadows[i].name, config->publish.model) == 0)
            return &config->shadows[i];
    return &config->learner;
}

static enum base_status judge(void *self, const struct snapshot_judged *last,
                              struct snapshot_judged *next,
                              struct base_error *error)
{
    struct daemon_publisher *publisher = self;
    char text[sizeof publisher->status.gate.text];
    publisher->verdict =
        daemon_gate_judge(&publisher->gate, last, next, text, sizeof text);
    if (publisher->forcing && publisher->verdict > DAEMON_GATE_NOT_FINITE) {
        base_log(BASE_LOG_WARN, "event=version_forced reason=%s text=\"%s\"",
                 daemon_gate_words[publisher->verdict], text);
        next->forced = true;
        publisher->verdict = DAEMON_GATE_PASSED;
    }
    publisher->judged = *next;
    if (publisher->verdict == DAEMON_GATE_PASSED)
        return BASE_OK;
    return base_fail(error, BASE_AGAIN, "%s", text);
}

static void init_locks(struct daemon_publisher *publisher)
{
    pthread_condattr_t monotonic;
    pthread_mutex_init(&publisher->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&publisher->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

enum base_status daemon_publisher_open(const struct daemon_config *config,
                                       struct ingest *ingest,
                                       struct daemon_publisher **out,
                                       struct base_error *error)
{
    struct daemon_publisher *publisher = calloc(1, sizeof *publisher);
    const struct learner_trainer_config *published = published_of(config);
    struct snapshot_config snapshot = config->snapshot;
    uint64_t hash;
    *out = NULL;
    if (!publisher)
        return base_fail(error, BASE_SYSTEM, "publisher: no memory");
    publisher->ingest = ingest;
    publisher->config = config;
    publisher->every_ms = config->publish.every_ms;
    publisher->gate = config->publish.gate;
    init_locks(publisher);
    publisher->offsets = malloc(OFFSETS_MAX);
    publisher->stream = daemon_stream_json(&config->ingest);
    snapshot.stream_json = publisher->stream;
    snapshot.gate = (struct snapshot_gate){publisher, judge};
    enum base_status status = BASE_OK;
    if (!publisher->offsets || !publisher->stream)
        status = base_fail(error, BASE_SYSTEM, "publisher: no memory");
    if (status == BASE_OK)
        status = snapshot_publisher_open(&snapshot, ingest_epoch(ingest),
                                         &publisher->snapshot,
                                         &publisher->current, error);
    if (status != BASE_OK) {
        daemon_publisher_free(publisher);
        return status;
    }
    status = snapshot_config_hash(&published->schema, &published->model, &hash,
                                  error);
    if (status != BASE_OK) {
        daemon_publisher_free(publisher);
        return status;
    }
    take_current(publisher, hash);
    *out = publisher;
    return BASE_OK;
}

void daemon_publisher_checkpointed(void *self, const char *path,
                                   uint64_t position, uint64_t request)
{
    struct daemon_publisher *publisher = self;
    pthread_mutex_lock(&publisher->mutex);
    snprintf(publisher->path, sizeof publisher->path, "%s", path);
    publisher->position = position;
    if (request > publisher->answered) /* 0: between two versions */
        publisher->answered = request;
    pthread_cond_signal(&publisher->changed);
    pthread_mutex_unlock(&publisher->mutex);
}

BASE_ON(publish)
static void note_failure(struct daemon_publisher *publisher,
                         const struct base_error *error)
{
    base_log(BASE_LOG_ERROR, "event=publish_failed error=\"%s\"", error->text);
    pthread_mutex_lock(&publisher->mutex);
    publisher->status.failed++;
    snprintf(publisher->status.last_error, sizeof publisher->status.last_error,
             "%s", error->text);
    pthread_mutex_unlock(&publisher->mutex);
}

/* What is held is tried again with the next checkpoint, as all else. */
BASE_ON(publish)
static void note_held(struct daemon_publisher *publisher, const char *text,
                      uint64_t position)
{
    base_log(BASE_LOG_WARN,
             "event=version_held reason=%s position=%llu text=\"%s\" "
             "hint=\"interestd publish --force publishes it once\"",
             daemon_gate_words[publisher->verdict],
             (unsigned long long)position, text);
    pthread_mutex_lock(&publisher->mutex);
    struct daemon_gate_status *gate = &publisher->status.gate;
    if (!gate->holding)
        gate->since_ms = base_wall_ms();
    gate->holding = true;
    gate->reason = publisher->verdict;
    gate->position = position;
    gate->held[publisher->verdict]++;
    gate->judged = publisher->judged;
    gate->judged_once = true;
    snprintf(gate->text, sizeof gate->text, "%.199s", text);
    publisher->status.last_error[0] = '\0';
    pthread_mutex_unlock(&publisher->mutex);
}

static void note_passed(struct daemon_gate_status *gate,
                        const struct snapshot_judged *judged)
{
    gate->holding = false;
    gate->reason = DAEMON_GATE_PASSED;
    gate->text[0] = '\0';
    gate->since_ms = 0;
    gate->position = 0;
    gate->forced += judged->forced;
    gate->judged = *judged;
    gate->judged_once = true;
}

BASE_ON(publish)
static void note_success(struct daemon_publisher *publisher,
                         const struct snapshot_announcement *made,
                         int64_t took_us)
{
    base_log(BASE_LOG_INFO,
             "event=published folder=%s position=%llu took_us=%lld",
             made->folder_name, (unsigned long long)made->position,
             (long long)took_us);
    pthread_mutex_lock(&publisher->mutex);
    struct daemon_publish_status *status = &publisher->status;
    status->epoch = made->epoch;
    status->version = made->version;
    status->position = made->position;
    status->created_ms = made->created_ms;
    status->newest_event_ms = made->newest_event_ms;
    status->published++;
    status->last_us = (uint64_t)took_us;
    status->last_error[0] = '\0';
    note_passed(&status->gate, &publisher->judged);
    pthread_mutex_unlock(&publisher->mutex);
}

/* What the thread has to do next. */
struct work {
    char path[1200]; /* the slot, as position */
    uint64_t position;
    bool newer;  /* it is to become a version, ... */
    bool forced; /* ... whatever the gate says */
    bool wanted, force_wanted, finished;
    uint64_t purge;
};

BASE_ON(publish)
static void publish(struct daemon_publisher *publisher, const struct work *work)
{
    struct snapshot_announcement made;
    struct base_error error;
    int64_t start_us = base_monotonic_us();
    size_t size =
        ingest_offsets_json(publisher->ingest, publisher->offsets, OFFSETS_MAX);
    const char *offsets =
        size && size < OFFSETS_MAX ? publisher->offsets : NULL;
    publisher->verdict = DAEMON_GATE_PASSED;
    publisher->forcing = work->forced;
    enum base_status status = snapshot_publish(publisher->snapshot, work->path,
                                               offsets, &made, &error);
    if (status == BASE_DATA) /* a row; the gate sees the dense part only */
        publisher->verdict = DAEMON_GATE_NOT_FINITE;
    if (publisher->verdict != DAEMON_GATE_PASSED) {
        note_held(publisher, error.text, work->position);
        return;
    }
    if (status != BASE_OK) {
        note_failure(publisher, &error);
        return;
    }
    hand_over(publisher->ingest, &made);
    note_success(publisher, &made, base_monotonic_us() - start_us);
}

/* Asks for a checkpoint where something was trained since the newest version.
 * The answer comes through the hook. False where nothing was. */
BASE_ON(publish)
static bool ask(struct daemon_publisher *publisher, bool force)
{
    struct learner_status *learner = malloc(sizeof *learner);
    if (!learner || !publisher->trainer) {
        free(learner);
        return false;
    }
    learner_trainer_status(publisher->trainer, learner);
    pthread_mutex_lock(&publisher->mutex);
    bool newer = learner->position > publisher->status.position;
    pthread_mutex_unlock(&publisher->mutex);
    free(learner);
    if (!newer)
        return false;
    uint64_t request = learner_trainer_checkpoint(publisher->trainer);
    pthread_mutex_lock(&publisher->mutex);
    publisher->requested = request;
    if (force)
        publisher->force_request = request;
    pthread_mutex_unlock(&publisher->mutex);
    return true;
}

/* Under the mutex. */
static bool answered(const struct daemon_publisher *publisher, uint64_t request)
{
    return request && publisher->answered >= request;
}

/* Under the mutex: takes what is to be done, once. */
static void take_work(struct daemon_publisher *publisher, struct work *work)
{
    bool come = answered(publisher, publisher->requested);
    work->finished = publisher->finishing;
    work->newer = (come || publisher->finishing) &&
                  publisher->position > publisher->status.position;
    work->forced = answered(publisher, publisher->force_request);
    work->wanted = publisher->wanted;
    work->force_wanted = publisher->force_wanted;
    if (come)
        publisher->requested = 0;
    if (work->forced)
        publisher->force_request = 0;
    publisher->wanted = publisher->force_wanted = false;
    work->purge = publisher->purge_wanted;
    publisher->purge_wanted = 0;
    work->position = publisher->position;
    memcpy(work->path, publisher->path, sizeof work->path);
}

/* Waits for a checkpoint that was asked for, for an operator, for the end, or
 * until due_ms (negative: never). */
static void wait_for_work(struct daemon_publisher *publisher, int64_t due_ms,
                          struct work *work)
{
    const struct timespec until = {.tv_sec = due_ms / 1000,
                                   .tv_nsec = due_ms % 1000 * 1000000};
    int timed_out = 0;
    pthread_mutex_lock(&publisher->mutex);
    while (!answered(publisher, publisher->requested) && !publisher->wanted &&
           !publisher->purge_wanted && !publisher->finishing &&
           timed_out != ETIMEDOUT)
        timed_out =
            due_ms < 0
                ? pthread_cond_wait(&publisher->changed, &publisher->mutex)
                : pthread_cond_timedwait(&publisher->changed, &publisher->mutex,
                                         &until);
    take_work(publisher, work);
    pthread_mutex_unlock(&publisher->mutex);
}

/* Whoever asked asks again where it fails. */
BASE_ON(publish)
static void purge(struct daemon_publisher *publisher, uint64_t serial)
{
    struct base_error error;
    uint64_t removed = 0, leftovers = 0;
    enum base_status status =
        snapshot_publisher_purge(publisher->snapshot, &removed, &error);
    if (status == BASE_OK)
        status = daemon_leftovers_remove(publisher->config, &leftovers, &error);
    if (status != BASE_OK) {
        note_failure(publisher, &error);
        return;
    }
    base_log(BASE_LOG_INFO, "event=purged versions=%llu leftovers=%llu",
             (unsigned long long)removed, (unsigned long long)leftovers);
    pthread_mutex_lock(&publisher->mutex);
    publisher->status.purged = serial;
    publisher->status.removed += removed + leftovers;
    pthread_mutex_unlock(&publisher->mutex);
}

static void *run_thread(void *self)
{
    struct daemon_publisher *publisher = self;
    struct work work = {0};
    int64_t every_ms = publisher->every_ms;
    int64_t due_ms = every_ms ? base_monotonic_ms() + every_ms : -1;
    base_role_enter(&base_role_publish);
    while (!work.finished) {
        wait_for_work(publisher, due_ms, &work);
        if (work.newer)
            publish(publisher, &work);
        if (!work.finished && work.wanted && !ask(publisher, work.force_wanted))
            base_log(BASE_LOG_INFO, "event=nothing_to_publish "
                                    "hint=\"nothing was trained since the "
                                    "newest version\"");
        if (!work.finished && work.purge)
            purge(publisher, work.purge);
        if (!work.finished && due_ms >= 0 && base_monotonic_ms() >= due_ms) {
            (void)ask(publisher, false);
            due_ms = base_monotonic_ms() + every_ms;
        }
    }
    return NULL;
}

void daemon_publisher_purge(struct daemon_publisher *publisher,
                            uint64_t serial)
{
    pthread_mutex_lock(&publisher->mutex);
    publisher->purge_wanted = serial;
    pthread_cond_signal(&publisher->changed);
    pthread_mutex_unlock(&publisher->mutex);
}

bool daemon_publisher_publish(struct daemon_publisher *publisher, bool force)
{
    pthread_mutex_lock(&publisher->mutex);
    bool trained = publisher->trainer && publisher->started;
    publisher->wanted = publisher->wanted || trained;
    publisher->force_wanted = publisher->force_wanted || (trained && force);
    pthread_cond_signal(&publisher->changed);
    pthread_mutex_unlock(&publisher->mutex);
    return trained;
}

enum base_status daemon_publisher_start(struct daemon_publisher *publisher,
                                        struct learner_trainer *trainer,
                                        struct base_error *error)
{
    publisher->trainer = trainer;
    if (!trainer) { /* models.c has said why */
        pthread_mutex_lock(&publisher->mutex);
        snprintf(publisher->status.last_error,
                 sizeof publisher->status.last_error,
                 "the model of publish.model is not trained");
        pthread_mutex_unlock(&publisher->mutex);
    }
    if (publisher->current.version)
        hand_over(publisher->ingest, &publisher->current);
    int failed =
        pthread_create(&publisher->thread, NULL, run_thread, publisher);
    if (failed)
        return base_fail_errno(error, failed, "publisher: thread");
    publisher->started = true;
    /* Named again: a kill may have come between it and its version. */
    if (trainer && learner_trainer_position(trainer) > 0) {
        uint64_t request = learner_trainer_checkpoint(trainer);
        pthread_mutex_lock(&publisher->mutex);
        if (request > publisher->requested)
            publisher->requested = request;
        pthread_cond_signal(&publisher->changed);
        pthread_mutex_unlock(&publisher->mutex);
    }
    return BASE_OK;
}

void daemon_publisher_finish(struct daemon_publisher *publisher)
{
    if (!publisher || !publisher->started)
        return;
    pthread_mutex_lock(&publisher->mutex);
    publisher->finishing = true;
    pthread_cond_signal(&publisher->changed);
    pthread_mutex_unlock(&publisher->mutex);
    pthread_join(publisher->thread, NULL);
    publisher->started = false;
}

void daemon_publisher_status(struct daemon_publisher *publisher,
                             struct daemon_publish_status *status)
{
    pthread_mutex_lock(&publisher->mutex);
    *status = publisher->status;
    pthread_mutex_unlock(&publisher->mutex);
}

void daemon_publisher_free(struct daemon_publisher *publisher)
{
    if (!publisher)
        return;
    daemon_publisher_finish(publisher);
    snapshot_publisher_free(publisher->snapshot);
    pthread_cond_destroy(&publisher->changed);
    pthread_mutex_destroy(&publisher->mutex);
    free(publisher->offsets);
    free(publisher->stream);
    free(publisher);
}
