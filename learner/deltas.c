/* SPDX-License-Identifier: Apache-2.0 */
/* The trainer's deltas (delta.h): when one begins, how much is copied between
 * two batches, whom it goes to, and what is known of the newest version after a
 * restart; and the time that all of it takes away from training. Train thread,
 * where nothing else is said.
 *
 * At a start the trainer stands at its checkpoint's position, P_c, the newest
 * version is of P_v (STATE e): P_v = P_c: nothing has changed since; P_v > P_c:
 * training passes P_v again, with the same hash, or the chain ends; P_v < P_c:
 * the checkpoint holds what had changed since P_v, or the chain ends. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/role.h"
#include "learner/trainer.h"

enum {
    SLICE_US = 500,  /* of copying between two batches, about .. */
    SLICE_ROWS = 128, /* .. looked at after so many rows */
    SETTLE_SECONDS = 10 /* the longest that a stop waits for a settle() */
};

const double learner_pause_bounds[LEARNER_PAUSE_BUCKETS - 1] = {
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1};

/* ---- pauses -------------------------------------------------------------- */

void learner_trainer_paused(struct learner_trainer *trainer)
{
    struct learner_pauses *pauses = &trainer->shared.pauses;
    double seconds = (double)trainer->pause_us * 1e-6;
    unsigned bucket = 0;
    if (!trainer->pause_us)
        return;
    trainer->pause_us = 0;
    while (bucket < LEARNER_PAUSE_BUCKETS - 1 &&
           seconds > learner_pause_bounds[bucket])
        bucket++;
    pthread_mutex_lock(&trainer->mutex);
    pauses->count[bucket]++;
    pauses->seconds += seconds;
    pthread_mutex_unlock(&trainer->mutex);
}

/* ---- the version after a restart ----------------------------------------- */

static bool same_hash(const uint64_t a[2], const uint64_t b[2])
{
    return a[0] == b[0] && a[1] == b[1];
}

static void end_chain(struct learner_trainer *trainer, const char *why)
{
    trainer->awaiting = false;
    base_log(BASE_LOG_WARN, "event=chain_ended %sversion_position=%llu "
             "position=%llu reason=\"%s\" hint=\"the next version is a base\"",
             trainer->label,
             (unsigned long long)trainer->config.version_position,
             (unsigned long long)trainer->position, why);
}

/* Where training has come to the version's position, or past it. */
static void look_for_version(struct learner_trainer *trainer)
{
    const struct learner_trainer_config *config = &trainer->config;
    if (!trainer->awaiting || trainer->position < config->version_position)
        return;
    if (trainer->position > config->version_position)
        end_chain(trainer, "no batch ends at the version's position");
    else if (!same_hash(trainer->journal_hash, config->version_hash))
        end_chain(trainer, "the journal's hash there is another");
    else if (trainer->shared.samples != config->version_samples)
        end_chain(trainer, "the model began elsewhere");
    else
        learner_delta_start(trainer->delta, trainer->position,
                            trainer->journal_hash, trainer->dense_step);
    trainer->awaiting = false;
}

enum base_status
learner_trainer_follow(struct learner_trainer *trainer,
                       const struct learner_checkpoint_part *notes,
                       struct base_error *error)
{
    const struct learner_trainer_config *config = &trainer->config;
    if (!trainer->delta || !config->has_version)
        return BASE_OK;
    trainer->awaiting = trainer->position <= config->version_position;
    look_for_version(trainer);
    if (trainer->position <= config->version_position)
        return BASE_OK;
    enum base_status status = BASE_OK;
    if (notes && notes->bytes)
        status = learner_delta_load(
            trainer->delta, config->version_position, config->version_hash,
            trainer->dense_step, trainer->updater.every_row, notes->bytes,
            notes->size, error);
    if (!status && !learner_delta_known(trainer->delta))
        end_chain(trainer, "the checkpoint does not say what changed since");
    return status;
}

/* ---- begin, copy, hand over ---------------------------------------------- */

/* Something was trained that no version has. */
static bool has_news(const struct learner_trainer *trainer)
{
    if (trainer->awaiting)
        return false;
    if (learner_delta_known(trainer->delta))
        return trainer->position > learner_delta_since(trainer->delta);
    return trainer->position > trainer->shared.begin;
}

BASE_ON(train)
static void begin(struct learner_trainer *trainer, bool checkpoint)
{
    struct learner_delta_info *info = &trainer->delta_info;
    memset(info, 0, sizeof *info);
    info->position = trainer->position;
    memcpy(info->journal_hash, trainer->journal_hash,
           sizeof info->journal_hash);
    info->cut_ms = base_wall_ms();
    info->checkpoint = checkpoint;
    learner_trainer_status(trainer, &info->status);
    learner_delta_begin(trainer->delta, info, trainer->dense,
                        trainer->dense_step);
    trainer->handed = false;
}

/* A checkpoint at the position of the delta that begins. */
BASE_ON(train)
static enum base_status begin_checkpoint(struct learner_trainer *trainer,
                                         struct base_error *error)
{
    pthread_mutex_lock(&trainer->mutex);
    uint64_t request = ++trainer->requested;
    pthread_mutex_unlock(&trainer->mutex);
    if (!learner_trainer_up_to_date(trainer))
        return learner_trainer_begin_cut(trainer, request, error);
    learner_trainer_name_again(trainer, request);
    return BASE_OK;
}

/* What was asked for, where its time has come. */
BASE_ON(train)
static enum base_status begin_wanted(struct learner_trainer *trainer,
                                     int64_t now_ms, struct base_error *error)
{
    pthread_mutex_lock(&trainer->mutex);
    bool due = trainer->delta_wanted && now_ms >= trainer->delta_due_ms;
    bool checkpoint = trainer->delta_checkpoint;
    pthread_mutex_unlock(&trainer->mutex);
    if (!due || learner_delta_flying(trainer->delta) || !has_news(trainer))
        return BASE_OK;
    if (checkpoint && (learner_cut_running(trainer->cut) ||
                       now_ms < trainer->retry_ms)) {
        if (!learner_delta_known(trainer->delta))
            return BASE_OK;
        checkpoint = false;
    }
    pthread_mutex_lock(&trainer->mutex);
    trainer->delta_wanted = false;
    pthread_mutex_unlock(&trainer->mutex);
    begin(trainer, checkpoint);
    return checkpoint ? begin_checkpoint(trainer, error) : BASE_OK;
}

BASE_ON(train)
static void hand_over(struct learner_trainer *trainer)
{
    struct learner_delta *delta = learner_delta_get(trainer->delta);
    trainer->handed = true;
    pthread_mutex_lock(&trainer->mutex);
    trainer->shared.deltas++;
    trainer->shared.delta_rows += learner_delta_copied(trainer->delta);
    trainer->shared.delta_bytes = learner_delta_bytes(trainer->delta);
    pthread_mutex_unlock(&trainer->mutex);
    trainer->config.changed(trainer->config.hook_self, delta);
}

/* Copies for about SLICE_US. */
BASE_ON(train)
static void copy_slice(struct learner_trainer *trainer, int64_t begin_us)
{
    while (learner_delta_step(trainer->delta, SLICE_ROWS) &&
           base_monotonic_us() - begin_us < SLICE_US)
        ;
}

BASE_ON(train)
static void take_settle(struct learner_trainer *trainer)
{
    pthread_mutex_lock(&trainer->mutex);
    bool settled = trainer->settled, committed = trainer->settled_committed;
    trainer->settled = false;
    pthread_mutex_unlock(&trainer->mutex);
    if (settled)
        learner_delta_settle(trainer->delta, committed);
}

enum base_status learner_trainer_tend_deltas(struct learner_trainer *trainer,
                                             struct base_error *error)
{
    if (!trainer->delta)
        return BASE_OK;
    int64_t begin_us = base_monotonic_us();
    bool flew = learner_delta_copying(trainer->delta);
    look_for_version(trainer);
    take_settle(trainer);
    enum base_status status =
        begin_wanted(trainer, begin_us / 1000, error);
    if (status || !learner_delta_flying(trainer->delta) || trainer->handed)
        return status;
    copy_slice(trainer, flew ? begin_us : base_monotonic_us());
    if (!learner_delta_copying(trainer->delta))
        hand_over(trainer);
    trainer->pause_us += base_monotonic_us() - begin_us;
    return BASE_OK;
}

int learner_trainer_delta_timeout(struct learner_trainer *trainer, int most_ms)
{
    if (!trainer->delta)
        return most_ms;
    if (learner_delta_copying(trainer->delta))
        return 0;
    pthread_mutex_lock(&trainer->mutex);
    bool wanted = trainer->delta_wanted;
    int64_t left = trainer->delta_due_ms - base_monotonic_ms();
    pthread_mutex_unlock(&trainer->mutex);
    if (!wanted || learner_delta_flying(trainer->delta) || !has_news(trainer))
        return most_ms;
    return left < 1 ? 1 : left < most_ms ? (int)left : most_ms;
}

/* ---- at a stop ----------------------------------------------------------- */

/* False where the copy that flies is not given back in time. */
BASE_ON(train)
static bool await_settle(struct learner_trainer *trainer)
{
    struct timespec until;
    int timed_out = 0;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += SETTLE_SECONDS;
    pthread_mutex_lock(&trainer->mutex);
    while (!trainer->settled && !timed_out)
        timed_out = pthread_cond_timedwait(&trainer->changed, &trainer->mutex,
                                           &until);
    pthread_mutex_unlock(&trainer->mutex);
    take_settle(trainer);
    return !learner_delta_flying(trainer->delta);
}

void learner_trainer_last_delta(struct learner_trainer *trainer)
{
    if (!trainer->delta)
        return;
    look_for_version(trainer);
    take_settle(trainer);
    if (learner_delta_flying(trainer->delta)) {
        while (learner_delta_step(trainer->delta, SLICE_ROWS))
            ;
        if (!trainer->handed)
            hand_over(trainer);
        if (!await_settle(trainer))
            return;
    }
    if (!has_news(trainer))
        return;
    begin(trainer, true);
    while (learner_delta_step(trainer->delta, SLICE_ROWS))
        ;
    hand_over(trainer);
}

/* ---- boundary ------------------------------------------------------------ */

void learner_trainer_delta(struct learner_trainer *trainer, int64_t due_ms,
                           bool checkpoint)
{
    pthread_mutex_lock(&trainer->mutex);
    trainer->delta_wanted = true;
    trainer->delta_checkpoint = checkpoint;
    trainer->delta_due_ms = due_ms;
    pthread_cond_broadcast(&trainer->changed);
    pthread_mutex_unlock(&trainer->mutex);
}

void learner_trainer_settle(struct learner_trainer *trainer, bool committed)
{
    pthread_mutex_lock(&trainer->mutex);
    trainer->settled = true;
    trainer->settled_committed = committed;
    pthread_cond_broadcast(&trainer->changed);
    pthread_mutex_unlock(&trainer->mutex);
}
