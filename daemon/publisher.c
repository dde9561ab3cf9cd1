/* SPDX-License-Identifier: Apache-2.0 */
/* The publish thread; see publisher.h.
 *
 * Invariants: 1. one delta is asked for at a time, and given back to the
 * trainer with the word whether it became a version; 2. where it follows the
 * current version it is published as it is; else the gate judges it, and a base
 * is made from a checkpoint of one batch end, where a chain begins; 3. CURRENT
 * moves before its announcement is handed over, so a crash between the two is
 * mended at the next start; 4. the gate judges each version that would be;
 * --force holds for the answer to its own request only; 5. the newest
 * checkpoint lies in one slot, a newer one replaces it. */
#include "daemon/publisher_parts.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/role.h"
#include "daemon/beside.h"
#include "daemon/leftovers.h"
#include "daemon/rollback.h"
#include "daemon/stream.h"
#include "snapshot/snapshot.h"

enum {
    OFFSETS_MAX = 1 << 17,
    HEARTBEAT_MS = 10000,
    RETRY_MS = 5000, /* after a publication that failed */
    HELD_MS = 10000  /* the longest between two tries while the gate holds */
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
static void take_current(struct daemon_publisher *publisher)
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
    status->rollback_epoch = current->rollback_epoch;
    status->rollback_version = current->rollback_version;
    status->version = current->version;
    status->created_ms = current->created_ms;
    status->newest_event_ms = current->newest_event_ms;
    if (current->position <= end &&
        current->training_hash == publisher->training_hash)
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
        daemon_gate_judge(&publisher->config->publish.gate, last, next, text, sizeof text);
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
    *out = NULL;
    if (!publisher)
        return base_fail(error, BASE_SYSTEM, "publisher: no memory");
    publisher->ingest = ingest;
    publisher->config = config;
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
    if (status == BASE_OK)
        status = snapshot_training_hash(&published->schema, &published->model,
                                        &publisher->training_hash, error);
    if (status == BASE_OK)
        status = snapshot_publisher_chain(publisher->snapshot,
                                          &publisher->deltas,
                                          &publisher->bytes, error);
    if (status != BASE_OK) {
        daemon_publisher_free(publisher);
        return status;
    }
    publisher->status.chain = publisher->deltas;
    take_current(publisher);
    *out = publisher;
    return BASE_OK;
}

void daemon_publisher_checkpointed(void *self, const char *path,
                                   uint64_t position, uint64_t request)
{
    struct daemon_publisher *publisher = self;
    (void)request;
    pthread_mutex_lock(&publisher->mutex);
    snprintf(publisher->slot.path, sizeof publisher->slot.path, "%s", path);
    publisher->slot.position = position;
    pthread_cond_signal(&publisher->changed);
    pthread_mutex_unlock(&publisher->mutex);
}

void daemon_publisher_changed(void *self, struct learner_delta *delta)
{
    struct daemon_publisher *publisher = self;
    pthread_mutex_lock(&publisher->mutex);
    bool rolling = publisher->rolling;
    if (!rolling)
        publisher->delta = delta;
    pthread_cond_signal(&publisher->changed);
    pthread_mutex_unlock(&publisher->mutex);
    if (rolling)
        learner_trainer_settle(publisher->trainer, false);
}

const struct snapshot_announcement *
daemon_publisher_version(const struct daemon_publisher *publisher)
{
    return publisher->status.position ? &publisher->current : NULL;
}

/* ---- one version ---------------------------------------------------------- */

BASE_ON(publish)
static const char *read_offsets(struct daemon_publisher *publisher)
{
    size_t size =
        ingest_offsets_json(publisher->ingest, publisher->offsets, OFFSETS_MAX);
    return size && size < OFFSETS_MAX ? publisher->offsets : NULL;
}

/* What a publication came to. True where there is a new version. */
BASE_ON(publish)
static bool conclude(struct daemon_publisher *publisher,
                     enum base_status status, uint64_t position,
                     const struct snapshot_announcement *made,
                     const struct base_error *error, int64_t begin_us)
{
    if (status == BASE_DATA) /* a row; the gate sees the dense part only */
        publisher->verdict = DAEMON_GATE_NOT_FINITE;
    if (publisher->verdict != DAEMON_GATE_PASSED) {
        daemon_publisher_held(publisher, error->text, position);
        return false;
    }
    if (status != BASE_OK) {
        daemon_publisher_failed(publisher, error);
        return false;
    }
    hand_over(publisher->ingest, made);
    daemon_publisher_succeeded(publisher, made, base_monotonic_us() - begin_us);
    return true;
}

BASE_ON(publish)
static bool publish_base(struct daemon_publisher *publisher,
                         const struct slot *slot)
{
    struct snapshot_announcement made;
    struct base_error error;
    int64_t begin_us = base_monotonic_us();
    publisher->verdict = DAEMON_GATE_PASSED;
    enum base_status status =
        snapshot_publish(publisher->snapshot, slot->path,
                         read_offsets(publisher), &made, &error);
    return conclude(publisher, status, slot->position, &made, &error, begin_us);
}

BASE_ON(publish)
static bool base_is_due(const struct daemon_publisher *publisher)
{
    const struct daemon_publish_config *config = &publisher->config->publish;
    struct daemon_beside_status beside;
    daemon_beside_get(publisher->beside, &beside);
    if (beside.busy || publisher->beside_of.version)
        return false;
    return (config->base_deltas && publisher->deltas >= config->base_deltas) ||
           (config->base_bytes && publisher->bytes >= config->base_bytes);
}

BASE_ON(publish)
static bool publish_delta(struct daemon_publisher *publisher,
                          struct learner_delta *delta)
{
    struct snapshot_announcement made;
    struct base_error error;
    const struct learner_delta_info *info = learner_delta_get_info(delta);
    uint64_t position = info->position;
    int64_t begin_us = base_monotonic_us();
    int64_t lag_ms = info->cut_ms - info->status.newest_event_ms;
    publisher->verdict = DAEMON_GATE_PASSED;
    enum base_status status = snapshot_publish_delta(
        publisher->snapshot, delta, read_offsets(publisher), &made, &error);
    if (!conclude(publisher, status, position, &made, &error, begin_us))
        return false;
    if (info->checkpoint && base_is_due(publisher))
        publisher->beside_of = publisher->current;
    pthread_mutex_lock(&publisher->mutex);
    publisher->status.cut_lag_ms = lag_ms;
    publisher->status.commit_ms = base_wall_ms() - info->cut_ms;
    pthread_mutex_unlock(&publisher->mutex);
    return true;
}

/* ---- deltas asked for and given back -------------------------------------- */

BASE_ON(publish)
static void ask(struct daemon_publisher *publisher, int64_t wait_ms,
                bool checkpoint)
{
    if (publisher->trainer)
        learner_trainer_delta(publisher->trainer,
                              base_monotonic_ms() + wait_ms, checkpoint);
}

/* In its turn; with publish.delta_ms 0 only operators ask. */
BASE_ON(publish)
static void ask_next(struct daemon_publisher *publisher, int64_t wait_ms)
{
    publisher->forcing = false;
    if (publisher->config->publish.delta_ms &&
        !publisher->current.rollback_version)
        ask(publisher, wait_ms, base_is_due(publisher));
}

/* How long until the next. While the gate holds, ever more rows differ from the
 * newest version, and each try copies them: so tries become seldom. */
BASE_ON(publish)
static int64_t next_ms(struct daemon_publisher *publisher, bool made)
{
    int64_t delta_ms = (int64_t)publisher->config->publish.delta_ms;
    int64_t most_ms = delta_ms < HELD_MS ? HELD_MS : delta_ms;
    int64_t twice = 2 * publisher->held_ms;
    if (made)
        return delta_ms;
    if (publisher->verdict == DAEMON_GATE_PASSED)
        return RETRY_MS;
    twice = twice < delta_ms ? delta_ms : twice;
    publisher->held_ms = twice < most_ms ? twice : most_ms;
    return publisher->held_ms;
}

/* What was to be published at `position` is current; it may be even where an
 * error was returned. */
BASE_ON(publish)
static bool is_current(const struct daemon_publisher *publisher,
                       uint64_t position)
{
    return snapshot_publisher_position(publisher->snapshot) == position;
}

BASE_ON(publish)
static void give_back(struct daemon_publisher *publisher, bool committed)
{
    pthread_mutex_lock(&publisher->mutex);
    publisher->delta = NULL;
    pthread_mutex_unlock(&publisher->mutex);
    publisher->waiting = 0;
    learner_trainer_settle(publisher->trainer, committed);
}

/* After a rollback only what is forced goes out. */
BASE_ON(publish)
static bool holds(const struct daemon_publisher *publisher)
{
    return publisher->current.rollback_version && !publisher->forcing;
}

/* A chain must begin: does the gate let the state through? Then the same again
 * with a checkpoint. */
BASE_ON(publish)
static void prepare_base(struct daemon_publisher *publisher,
                         const struct learner_delta *delta)
{
    struct base_error error;
    uint64_t position = learner_delta_get_info(delta)->position;
    publisher->verdict = DAEMON_GATE_PASSED;
    enum base_status status =
        snapshot_judge(publisher->snapshot, delta, &error);
    if (publisher->verdict != DAEMON_GATE_PASSED)
        daemon_publisher_held(publisher, error.text, position);
    else if (status != BASE_OK)
        daemon_publisher_failed(publisher, &error);
    give_back(publisher, false);
    if (status == BASE_OK)
        ask(publisher, 0, true);
    else
        ask_next(publisher, next_ms(publisher, false));
}

/* The checkpoint that came with the delta is to become a base, or has yet to
 * come. */
BASE_ON(publish)
static void begin_chain(struct daemon_publisher *publisher,
                        const struct learner_delta_info *info,
                        const struct slot *slot)
{
    uint64_t position = info->position;
    if (slot->position < position) {
        publisher->waiting = position;
        return;
    }
    bool made = slot->position == position && publish_base(publisher, slot);
    give_back(publisher, is_current(publisher, position));
    publisher->based = publisher->based && !made;
    if (slot->position > position) /* that one could not be written */
        ask(publisher, 0, true);
    else
        ask_next(publisher, next_ms(publisher, made));
}

BASE_ON(publish)
static void take_delta(struct daemon_publisher *publisher,
                       struct learner_delta *delta, const struct slot *slot)
{
    const struct learner_delta_info *info = learner_delta_get_info(delta);
    if (holds(publisher)) {
        give_back(publisher, false);
        return;
    }
    if (!publisher->based && snapshot_follows(publisher->snapshot, delta)) {
        uint64_t position = info->position;
        bool made = publish_delta(publisher, delta);
        give_back(publisher, is_current(publisher, position));
        ask_next(publisher, next_ms(publisher, made));
    } else if (!info->checkpoint) {
        prepare_base(publisher, delta);
    } else {
        begin_chain(publisher, info, slot);
    }
}

/* The checkpoint of a published delta has come: the base beside it. */
BASE_ON(publish)
static void write_beside(struct daemon_publisher *publisher,
                         const struct slot *slot)
{
    struct snapshot_announcement *version = &publisher->beside_of;
    if (!version->version || slot->position < version->position)
        return;
    if (slot->position == version->position &&
        daemon_beside_write(publisher->beside, slot->path, version))
        publisher->deltas = publisher->bytes = 0;
    version->version = 0;
}

/* ---- the thread ----------------------------------------------------------- */

/* What the thread has to do next. */
struct work {
    struct slot slot;
    struct learner_delta *delta;
    bool wanted, force_wanted, base_wanted, finished;
    uint64_t purge;
    struct daemon_rollback rollback;
};

/* Under the mutex. */
static bool has_work(const struct daemon_publisher *publisher)
{
    uint64_t position = publisher->slot.position;
    const struct snapshot_announcement *beside = &publisher->beside_of;
    return publisher->finishing || publisher->wanted ||
           publisher->purge_wanted || publisher->rollback.serial ||
           (publisher->delta &&
            (!publisher->waiting || position >= publisher->waiting)) ||
           (beside->version && position >= beside->position);
}

/* Waits for a delta or a checkpoint, for an operator, for the end, or until a
 * heartbeat is due. */
static void wait_for_work(struct daemon_publisher *publisher,
                          struct work *work)
{
    int64_t due_ms = publisher->announced_ms + HEARTBEAT_MS;
    const struct timespec until = {.tv_sec = due_ms / 1000,
                                   .tv_nsec = due_ms % 1000 * 1000000};
    int timed_out = 0;
    pthread_mutex_lock(&publisher->mutex);
    while (!has_work(publisher) && timed_out != ETIMEDOUT)
        timed_out = pthread_cond_timedwait(&publisher->changed,
                                           &publisher->mutex, &until);
    *work = (struct work){
        .slot = publisher->slot,
        .delta = publisher->delta,
        .wanted = publisher->wanted,
        .force_wanted = publisher->force_wanted,
        .base_wanted = publisher->base_wanted,
        .finished = publisher->finishing,
        .purge = publisher->purge_wanted,
        .rollback = publisher->rollback,
    };
    publisher->purge_wanted = publisher->rollback.serial = 0;
    publisher->wanted = publisher->force_wanted = false;
    publisher->base_wanted = false;
    pthread_mutex_unlock(&publisher->mutex);
}

/* An operator asks for a version of what is trained by now. */
BASE_ON(publish)
static void take_wish(struct daemon_publisher *publisher,
                      const struct work *work)
{
    uint64_t position = learner_trainer_position(publisher->trainer);
    publisher->based = publisher->based || work->base_wanted;
    if (position > publisher->status.position ||
        publisher->current.rollback_version) {
        if (publisher->current.rollback_version && !work->force_wanted)
            base_log(BASE_LOG_INFO, "event=rollback_holds "
                     "hint=\"publish --force lets versions go on\"");
        publisher->forcing = publisher->forcing || work->force_wanted;
        ask(publisher, 0, false);
        return;
    }
    base_log(BASE_LOG_INFO, "event=nothing_to_publish hint=\"nothing was "
                            "trained since the newest version\"");
}

/* The same version again: quiet, not dead. */
BASE_ON(publish)
static void beat(struct daemon_publisher *publisher)
{
    int64_t now_ms = base_monotonic_ms();
    if (now_ms - publisher->announced_ms < HEARTBEAT_MS)
        return;
    publisher->announced_ms = now_ms;
    if (publisher->current.version)
        hand_over(publisher->ingest, &publisher->current);
}

/* The trainer has stopped: its last delta, or its last checkpoint where a chain
 * must begin. */
BASE_ON(publish)
static void publish_last(struct daemon_publisher *publisher,
                         const struct work *work)
{
    publisher->forcing = false;
    if (holds(publisher))
        return;
    if (work->delta && !publisher->based &&
        snapshot_follows(publisher->snapshot, work->delta))
        (void)publish_delta(publisher, work->delta);
    else if (work->slot.position > publisher->status.position)
        (void)publish_base(publisher, &work->slot);
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
        daemon_publisher_failed(publisher, &error);
        return;
    }
    base_log(BASE_LOG_INFO, "event=purged versions=%llu leftovers=%llu",
             (unsigned long long)removed, (unsigned long long)leftovers);
    pthread_mutex_lock(&publisher->mutex);
    publisher->status.purged = serial;
    publisher->status.removed += removed + leftovers;
    pthread_mutex_unlock(&publisher->mutex);
}

/* While the learner goes back it waits for no delta to be given back. */
BASE_ON(publish)
static void hold_deltas(struct daemon_publisher *publisher, bool rolling)
{
    pthread_mutex_lock(&publisher->mutex);
    bool has = publisher->delta != NULL;
    publisher->delta = NULL;
    publisher->rolling = rolling;
    pthread_mutex_unlock(&publisher->mutex);
    publisher->waiting = 0;
    if (has)
        learner_trainer_settle(publisher->trainer, false);
}

/* Journal position of the newest user who is forgotten; 0: none is. */
static uint64_t forgotten_at(const struct daemon_publisher *publisher)
{
    struct ingest_status *status = calloc(1, sizeof *status);
    if (!status)
        return UINT64_MAX; /* not known: refused */
    ingest_get_status(publisher->ingest, status);
    uint64_t position = status->forget.position;
    free(status);
    return position;
}

BASE_ON(publish)
static void roll_back(struct daemon_publisher *publisher,
                      const struct work *work)
{
    struct snapshot_announcement made;
    struct base_error error = {.text = ""};
    int64_t begin_us = base_monotonic_us();
    const struct daemon_rollback_site site = {
        .config = publisher->config,
        .model = published_of(publisher->config),
        .publisher = publisher->snapshot,
        .trainer = publisher->trainer,
        .forgotten = forgotten_at(publisher)};
    hold_deltas(publisher, true);
    publisher->beside_of.version = 0; /* its checkpoint may be replaced */
    if (daemon_rollback_do(&site, &work->rollback, &made, &error))
        base_log(BASE_LOG_ERROR, "event=rollback_failed version=%s error="
                 "\"%s\"", work->rollback.version, error.text);
    if (made.version) {
        base_log(BASE_LOG_WARN, "event=rolled_back to=%s as=%s learner=%s",
                 work->rollback.version, made.folder_name,
                 work->rollback.learner ? "true" : "false");
        publisher->judged.forced = false;
        hand_over(publisher->ingest, &made);
        daemon_publisher_succeeded(publisher, &made, base_monotonic_us() - begin_us);
        daemon_publisher_rolled_back(publisher);
    }
    hold_deltas(publisher, false);
    ask_next(publisher, publisher->config->publish.delta_ms);
    pthread_mutex_lock(&publisher->mutex);
    publisher->status.rollbacks = work->rollback.serial;
    snprintf(publisher->status.rollback_error,
             sizeof publisher->status.rollback_error, "%s", error.text);
    pthread_mutex_unlock(&publisher->mutex);
}

static void *run_thread(void *self)
{
    struct daemon_publisher *publisher = self;
    struct work work = {0};
    base_role_enter(&base_role_publish);
    publisher->announced_ms = base_monotonic_ms();
    daemon_publisher_rolled_back(publisher);
    ask_next(publisher, 0);
    while (!work.finished) {
        wait_for_work(publisher, &work);
        if (work.finished)
            publish_last(publisher, &work);
        else if (work.delta &&
                 work.slot.position >= publisher->waiting)
            take_delta(publisher, work.delta, &work.slot);
        write_beside(publisher, &work.slot);
        if (!work.finished && work.wanted)
            take_wish(publisher, &work);
        if (!work.finished && work.purge)
            purge(publisher, work.purge);
        if (!work.finished && work.rollback.serial)
            roll_back(publisher, &work);
        beat(publisher);
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

uint64_t daemon_publisher_rollback(struct daemon_publisher *publisher,
                                   const char *version, bool learner)
{
    uint64_t serial = 0;
    pthread_mutex_lock(&publisher->mutex);
    if (publisher->started &&
        publisher->rollbacks == publisher->status.rollbacks) {
        serial = ++publisher->rollbacks;
        publisher->rollback = (struct daemon_rollback){.serial = serial,
                                                       .learner = learner};
        snprintf(publisher->rollback.version,
                 sizeof publisher->rollback.version, "%s", version);
        pthread_cond_signal(&publisher->changed);
    }
    pthread_mutex_unlock(&publisher->mutex);
    return serial;
}

void daemon_publisher_base(struct daemon_publisher *publisher)
{
    pthread_mutex_lock(&publisher->mutex);
    bool trained = publisher->trainer && publisher->started;
    publisher->wanted = publisher->wanted || trained;
    publisher->base_wanted = publisher->base_wanted || trained;
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
    enum base_status status =
        daemon_beside_start(publisher->snapshot, &publisher->beside, error);
    if (status != BASE_OK)
        return status;
    int failed =
        pthread_create(&publisher->thread, NULL, run_thread, publisher);
    if (failed)
        return base_fail_errno(error, failed, "publisher: thread");
    publisher->started = true;
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
    if (publisher->beside)
        daemon_beside_get(publisher->beside, &status->beside);
}

void daemon_publisher_free(struct daemon_publisher *publisher)
{
    if (!publisher)
        return;
    daemon_publisher_finish(publisher);
    daemon_beside_free(publisher->beside);
    snapshot_publisher_free(publisher->snapshot);
    pthread_cond_destroy(&publisher->changed);
    pthread_mutex_destroy(&publisher->mutex);
    free(publisher->offsets);
    free(publisher->stream);
    free(publisher);
}
