/* SPDX-License-Identifier: Apache-2.0 */
/* The train thread: journal batch -> prediction -> training -> optimizer ->
 * metrics, and when a checkpoint is due. See learner.h for the contract.
 *
 * 1. After batch k the state is a function of configuration, arithmetic and
 *    journal positions below its end: neither time, threads, pauses,
 *    checkpoints nor restarts enter.
 * 2. begin + samples + rejected + forgets + skipped = position, at every batch
 *    end.
 * 3. `mutex` guards what other threads read (`shared`, and metrics while they
 *    change); weights are the train thread's alone.
 *
 * A frozen trainer stops after the prediction and its metrics. Loading and the
 * choice of a checkpoint are in restore.c, what goes into one in parts.c. */
#include "learner/trainer.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/role.h"
#include "learner/model.h"

enum {
    POLL_MS = 50,       /* the longest that a request waits when idle */
    WRITER_MS = 2,      /* until the cut's writer may have an empty buffer */
    RETRY_MS = 5 * 1000 /* after a checkpoint could not be written */
};

/* ---- hooks of the parts -------------------------------------------------- */

static void before_slot(void *self, uint32_t slot)
{
    const struct learner_trainer_watch *watch = self;
    learner_cut_touch(watch->trainer->cut, watch->table, slot);
}

static void removed_slot(void *self, uint32_t slot)
{
    const struct learner_trainer_watch *watch = self;
    learner_delta_gone(watch->trainer->delta, watch->table, slot);
}

/* Writer thread. */
static void checkpoint_written(void *self, const char *path,
                               uint64_t position, uint64_t oldest_kept,
                               uint64_t request)
{
    struct learner_trainer *trainer = self;
    pthread_mutex_lock(&trainer->mutex);
    snprintf(trainer->newest_path, sizeof trainer->newest_path, "%s", path);
    trainer->oldest_kept = oldest_kept;
    trainer->shared.checkpoints++;
    trainer->shared.checkpoint_position = position;
    pthread_mutex_unlock(&trainer->mutex);
    if (trainer->config.checkpointed)
        trainer->config.checkpointed(trainer->config.hook_self, path, position,
                                     oldest_kept, request);
}

/* ---- one batch ----------------------------------------------------------- */

static bool all_finite(const float *values, size_t n)
{
    uint32_t worst = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits &= 0x7f800000u;
        worst = bits > worst ? bits : worst;
    }
    return worst != 0x7f800000u;
}

static enum base_status check_batch(const struct learner_trainer *trainer,
                                    const struct learner_batch *batch,
                                    struct base_error *error)
{
    if (batch->first == trainer->position && batch->end > batch->first &&
        batch->end - batch->first == (uint64_t)batch->samples + batch->forgets)
        return BASE_OK;
    return base_fail(error, BASE_BROKEN,
                     "journal batch [%llu, %llu) of %u samples and %u forgets "
                     "asked for at %llu", (unsigned long long)batch->first,
                     (unsigned long long)batch->end, batch->samples,
                     batch->forgets,
                     (unsigned long long)trainer->position);
}

static enum base_status reserve_probability(struct learner_trainer *trainer,
                                            uint32_t samples,
                                            struct base_error *error)
{
    if (samples <= trainer->probability_room)
        return BASE_OK;
    float *larger = realloc(trainer->probability, samples * sizeof *larger);
    if (!larger)
        return base_fail(error, BASE_SYSTEM, "no memory for %u samples",
                         samples);
    trainer->probability = larger;
    trainer->probability_room = samples;
    return BASE_OK;
}

/* What a batch came to. */
struct outcome {
    bool finite;
    const char *worst; /* where not: what was not, or was too large */
    uint64_t position; /* and where */
    double loss, auxiliary;
};

static size_t tensor_size(const struct learner_tensor *tensor)
{
    return tensor->shape[0] *
           (tensor->dimensions > 1 ? (size_t)tensor->shape[1] : 1);
}

/* The weights that made a prediction which is not finite. */
static const char *find_worst(const struct learner_trainer *trainer)
{
    unsigned tensors = learner_tensor_count(trainer->model);
    for (unsigned i = 0; i < tensors; i++) {
        const struct learner_tensor *tensor =
            learner_tensor(trainer->model, i);
        if (!all_finite(trainer->dense + tensor->offset, tensor_size(tensor)))
            return tensor->name;
    }
    for (unsigned t = 0; t < learner_model_tables(trainer->model); t++) {
        const struct learner_table_spec *spec =
            learner_model_table(trainer->model, t);
        if (!all_finite(trainer->gather.rows[t],
                        (size_t)trainer->gather.row_count[t] *
                            spec->dimension))
            return spec->name;
    }
    return "prediction";
}

static void input_of(const struct learner_trainer *trainer,
                     const struct learner_batch *batch,
                     struct learner_step_input *input)
{
    const struct learner_gather *gather = &trainer->gather;
    *input = (struct learner_step_input){
        .batch = batch,
        .index = gather->index,
        .history_index = gather->history_index,
        .negative_index = gather->negative_index,
        .cross_index = gather->cross_index,
        .rows = gather->rows,
        .row_count = gather->row_count,
        .dense = trainer->dense,
        .fresh = gather->fresh,
    };
}

/* The predictions, with what a ranker would see. */
BASE_ON(train)
static enum base_status predict(struct learner_trainer *trainer,
                                const struct learner_batch *batch,
                                struct outcome *outcome,
                                struct base_error *error)
{
    struct learner_step_input input;
    enum base_status status =
        learner_gather_find(&trainer->gather, batch, error);
    if (status)
        return status;
    input_of(trainer, batch, &input);
    status = learner_step_predict(trainer->step, &input, trainer->probability,
                                  error);
    if (status)
        return status;
    *outcome = (struct outcome){.finite = true, .position = batch->first};
    for (uint32_t i = 0; outcome->finite && i < batch->samples; i++)
        if (!all_finite(&trainer->probability[i], 1))
            *outcome = (struct outcome){.worst = find_worst(trainer),
                                        .position = batch->first + i};
    return BASE_OK;
}

/* Gradients into the gather's and the trainer's buffers. */
BASE_ON(train)
static enum base_status train(struct learner_trainer *trainer,
                              const struct learner_batch *batch,
                              struct outcome *outcome,
                              struct base_error *error)
{
    struct learner_gather *gather = &trainer->gather;
    const uint64_t *negatives = NULL;
    enum base_status status = BASE_OK;
    if (trainer->negatives)
        status = learner_negatives_draw(trainer->negatives, batch, &negatives,
                                        error);
    if (!status)
        status = learner_gather_train(gather, batch, negatives, error);
    struct learner_step_input input;
    struct learner_step_output output = {
        .dense = trainer->dense,
        .ddense = trainer->gradient,
        .drows = gather->drows,
    };
    input_of(trainer, batch, &input);
    if (!status)
        status = learner_step_train(trainer->step, &input, &output, error);
    if (status)
        return status;
    const struct learner_model_config *config = &trainer->config.model;
    outcome->finite = output.finite;
    outcome->worst = output.worst ? output.worst : "gradient";
    outcome->auxiliary = output.auxiliary;
    /* of a sample, without the auxiliary loss */
    outcome->loss =
        (output.loss - (double)config->auxiliary_weight * output.auxiliary) *
        config->batch_size / batch->samples;
    return BASE_OK;
}

static int64_t newest_of(const struct learner_batch *batch)
{
    int64_t newest = batch->event_ms[0];
    for (uint32_t i = 1; i < batch->samples; i++)
        newest = batch->event_ms[i] > newest ? batch->event_ms[i] : newest;
    return newest;
}

BASE_ON(train)
static void apply(struct learner_trainer *trainer,
                  const struct learner_batch *batch)
{
    struct learner_updater *updater = &trainer->updater;
    unsigned tensors = learner_tensor_count(trainer->model);
    trainer->dense_step++;
    learner_optimizer_seek(updater, batch->first);
    for (unsigned i = 0; i < tensors; i++) {
        const struct learner_tensor *tensor =
            learner_tensor(trainer->model, i);
        float *const state[LEARNER_DENSE_STATES] = {
            trainer->state[0] + tensor->offset,
            trainer->state[1] + tensor->offset};
        if (tensor->trained)
            learner_optimizer_dense(updater, trainer->dense + tensor->offset,
                                    state, trainer->gradient + tensor->offset,
                                    tensor_size(tensor), trainer->dense_step);
    }
    learner_gather_apply(&trainer->gather, updater, trainer->cut,
                         trainer->delta, trainer->dense_step,
                         newest_of(batch));
    if (trainer->negatives)
        learner_negatives_add(trainer->negatives, batch);
}

BASE_ON(train)
static void reject(struct learner_trainer *trainer,
                   const struct learner_batch *batch,
                   const struct outcome *outcome)
{
    learner_gather_discard(&trainer->gather);
    base_log(BASE_LOG_WARN,
             "event=batch_rejected %sfirst=%llu samples=%u tensor=\"%s\" "
             "position=%llu reason=\"not finite, or too large\"",
             trainer->label, (unsigned long long)batch->first, batch->samples,
             outcome->worst, (unsigned long long)outcome->position);
}

BASE_ON(train)
static void count_batch(struct learner_trainer *trainer,
                        const struct learner_batch *batch,
                        const struct outcome *outcome, int64_t busy_us)
{
    struct learner_status *shared = &trainer->shared;
    pthread_mutex_lock(&trainer->mutex);
    learner_metrics_add(trainer->metrics, batch,
                        outcome->finite ? trainer->probability : NULL);
    shared->position = batch->end;
    shared->batches += batch->samples > 0;
    shared->forgets += batch->forgets;
    if (batch->samples == 0) {
        /* nothing was predicted */
    } else if (outcome->finite) {
        int64_t newest = newest_of(batch);
        if (!shared->samples || newest > shared->newest_event_ms)
            shared->newest_event_ms = newest;
        shared->samples += batch->samples;
        if (!trainer->config.frozen)
            learner_metrics_loss(trainer->metrics, batch->samples,
                                 outcome->loss, outcome->auxiliary);
    } else {
        shared->rejected += batch->samples;
        shared->rejected_batches++;
        shared->rejected_position = outcome->position;
        snprintf(shared->rejected_for, sizeof shared->rejected_for, "%s",
                 outcome->worst);
    }
    learner_trainer_measure(trainer);
    shared->busy_seconds += (double)busy_us * 1e-6;
    pthread_mutex_unlock(&trainer->mutex);
}

/* About what the batch takes in its journal. */
static uint64_t bytes_of(const struct learner_trainer *trainer,
                         const struct learner_batch *batch)
{
    const struct learner_schema *schema = &trainer->config.schema;
    uint64_t behaviors =
        batch->groups ? batch->history_begin[batch->groups] : 0;
    return batch->samples * (24 + 8ull * schema->field_count) +
           behaviors * 8ull * schema->item_count +
           (batch->finals + batch->forgets) * 16ull;
}

/* A batch with samples: predicts, trains, or rejects it. */
BASE_ON(train)
static enum base_status train_samples(struct learner_trainer *trainer,
                                      const struct learner_batch *batch,
                                      struct outcome *outcome,
                                      struct base_error *error)
{
    bool frozen = trainer->config.frozen;
    enum base_status status =
        reserve_probability(trainer, batch->samples, error);
    if (!status)
        status = predict(trainer, batch, outcome, error);
    if (!status && outcome->finite && !frozen)
        status = train(trainer, batch, outcome, error);
    if (status)
        return status;
    if (!outcome->finite)
        reject(trainer, batch, outcome);
    else if (!frozen)
        apply(trainer, batch);
    if (outcome->finite && trainer->config.predicted)
        trainer->config.predicted(trainer->config.hook_self, batch,
                                  trainer->probability);
    return BASE_OK;
}

BASE_ON(train)
static enum base_status train_batch(struct learner_trainer *trainer,
                                    const struct learner_batch *batch,
                                    struct base_error *error)
{
    int64_t begin_us = base_monotonic_us();
    struct outcome outcome = {.finite = true};
    enum base_status status = check_batch(trainer, batch, error);
    if (!status)
        status = learner_metrics_reserve(trainer->metrics, batch, error);
    if (!status && batch->samples)
        status = train_samples(trainer, batch, &outcome, error);
    if (status)
        return base_wrap(error, "train batch at %llu",
                         (unsigned long long)trainer->position);
    trainer->position = batch->end;
    if (!trainer->config.frozen)
        trainer->trained_bytes += bytes_of(trainer, batch);
    memcpy(trainer->journal_hash, batch->journal_hash,
           sizeof trainer->journal_hash);
    count_batch(trainer, batch, &outcome, base_monotonic_us() - begin_us);
    learner_trainer_forget(trainer, batch);
    base_log(BASE_LOG_DEBUG, "event=trained %sposition=%llu samples=%u",
             trainer->label, (unsigned long long)trainer->position,
             batch->samples);
    return BASE_OK;
}

/* ---- checkpoints --------------------------------------------------------- */

BASE_ON(train)
enum base_status learner_trainer_begin_cut(struct learner_trainer *trainer,
                                           uint64_t request,
                                           struct base_error *error)
{
    const struct learner_status *shared = &trainer->shared;
    if (shared->begin + shared->samples + shared->rejected +
            shared->forgets + shared->skipped !=
        trainer->position)
        return base_fail(error, BASE_BROKEN, "ledger: %llu samples trained, "
                         "%llu rejected, %llu forgets and %llu skipped since "
                         "%llu, but the position is %llu",
                         (unsigned long long)shared->samples,
                         (unsigned long long)shared->rejected,
                         (unsigned long long)shared->forgets,
                         (unsigned long long)shared->skipped,
                         (unsigned long long)shared->begin,
                         (unsigned long long)trainer->position);
    int64_t begin_us = base_monotonic_us();
    enum base_status status = learner_trainer_save(trainer, request, error);
    if (status)
        return status;
    trainer->pause_us += base_monotonic_us() - begin_us;
    trainer->cut_position = trainer->position;
    trainer->cut_request = request;
    trainer->cut_bytes = trainer->trained_bytes;
    trainer->cut_begin_ms = base_monotonic_ms();
    return BASE_OK;
}

BASE_ON(train)
enum base_status learner_trainer_end_cut(struct learner_trainer *trainer,
                                         bool wait, struct base_error *error)
{
    struct base_error why;
    switch (learner_cut_outcome(trainer->cut, wait, &why)) {
    case LEARNER_CUT_DONE:
        trainer->newest_position = trainer->cut_position;
        trainer->newest_bytes = trainer->cut_bytes;
        trainer->has_newest = true;
        if (trainer->cut_request)
            trainer->served = trainer->cut_request;
        return BASE_OK;
    case LEARNER_CUT_FAILED:
        base_log(BASE_LOG_WARN, "event=checkpoint_failed %sposition=%llu "
                 "reason=\"%s\"", trainer->label,
                 (unsigned long long)trainer->cut_position, why.text);
        trainer->retry_ms = base_monotonic_ms() + RETRY_MS;
        if (error)
            *error = why;
        return why.status;
    default: return BASE_OK;
    }
}

/* A frozen trainer is always: it has nothing new to write. */
bool learner_trainer_up_to_date(const struct learner_trainer *trainer)
{
    return trainer->config.frozen ||
           (trainer->has_newest &&
            trainer->newest_position == trainer->position);
}

/* As much journal was trained as a checkpoint may be behind. */
static bool too_far(const struct learner_trainer *trainer)
{
    uint64_t from = learner_cut_running(trainer->cut) ? trainer->cut_bytes
                                                      : trainer->newest_bytes;
    return trainer->config.checkpoint_bytes &&
           trainer->trained_bytes - from >= trainer->config.checkpoint_bytes;
}

/* Nothing was trained since the newest checkpoint: it answers the request. */
BASE_ON(train)
void learner_trainer_name_again(struct learner_trainer *trainer,
                                uint64_t request)
{
    char path[sizeof trainer->newest_path];
    pthread_mutex_lock(&trainer->mutex);
    memcpy(path, trainer->newest_path, sizeof path);
    uint64_t oldest_kept = trainer->oldest_kept;
    pthread_mutex_unlock(&trainer->mutex);
    trainer->served = request;
    if (trainer->has_newest && trainer->config.checkpointed)
        trainer->config.checkpointed(trainer->config.hook_self, path,
                                     trainer->newest_position, oldest_kept,
                                     request);
}

/* Starts what is due. A checkpoint that cannot be written is tried again
 * later; training goes on meanwhile, unless it is too far. */
BASE_ON(train)
static enum base_status tend_checkpoints(struct learner_trainer *trainer,
                                         struct base_error *error)
{
    (void)learner_trainer_end_cut(trainer, false, NULL);
    int64_t now_ms = base_monotonic_ms();
    if (learner_cut_running(trainer->cut) || now_ms < trainer->retry_ms)
        return BASE_OK;
    pthread_mutex_lock(&trainer->mutex);
    uint64_t requested = trainer->requested;
    pthread_mutex_unlock(&trainer->mutex);
    bool asked = requested > trainer->served;
    bool due = too_far(trainer) ||
               (trainer->config.checkpoint_seconds &&
                now_ms - trainer->cut_begin_ms >=
                    (int64_t)trainer->config.checkpoint_seconds * 1000);
    if (asked && learner_trainer_up_to_date(trainer))
        learner_trainer_name_again(trainer, requested);
    else if (asked || (due && !learner_trainer_up_to_date(trainer)))
        return learner_trainer_begin_cut(trainer, asked ? requested : 0,
                                         error);
    return BASE_OK;
}

/* At a stop. */
BASE_ON(train)
static enum base_status last_checkpoint(struct learner_trainer *trainer,
                                        struct base_error *error)
{
    enum base_status status = BASE_OK;
    (void)learner_trainer_end_cut(trainer, true, NULL);
    pthread_mutex_lock(&trainer->mutex);
    uint64_t requested = trainer->requested;
    pthread_mutex_unlock(&trainer->mutex);
    uint64_t request = requested > trainer->served ? requested : 0;
    if (!learner_trainer_up_to_date(trainer))
        status = learner_trainer_begin_cut(trainer, request, error);
    else if (request)
        learner_trainer_name_again(trainer, request);
    if (status)
        return status;
    learner_trainer_last_delta(trainer);
    return learner_trainer_end_cut(trainer, true, error);
}

/* ---- the thread ---------------------------------------------------------- */

static bool stopping(struct learner_trainer *trainer)
{
    pthread_mutex_lock(&trainer->mutex);
    bool stop = trainer->stop;
    pthread_mutex_unlock(&trainer->mutex);
    return stop;
}

/* The longest that the thread may wait for a batch. */
BASE_ON(train)
static int wait_of(struct learner_trainer *trainer)
{
    int most_ms = POLL_MS;
    if (learner_cut_slicing(trainer->cut))
        most_ms = learner_cut_ready(trainer->cut) ? 0 : WRITER_MS;
    return learner_trainer_delta_timeout(trainer, most_ms);
}

/* True while nothing may be trained; waits a little then, unless rows are to
 * be copied. */
BASE_ON(train)
static bool rest(struct learner_trainer *trainer)
{
    int wait_ms = wait_of(trainer);
    pthread_mutex_lock(&trainer->mutex);
    bool paused = trainer->paused || too_far(trainer);
    if (paused && !trainer->stop && wait_ms) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += wait_ms * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000L;
        }
        pthread_cond_timedwait(&trainer->changed, &trainer->mutex, &until);
    }
    pthread_mutex_unlock(&trainer->mutex);
    return paused;
}

BASE_ON(train)
static void take_slice(struct learner_trainer *trainer)
{
    if (!learner_cut_slicing(trainer->cut))
        return;
    int64_t begin_us = base_monotonic_us();
    learner_cut_step(trainer->cut, false);
    trainer->pause_us += base_monotonic_us() - begin_us;
}

/* One turn: at most one batch and one slice of each cut. */
BASE_ON(train)
static enum base_status turn(struct learner_trainer *trainer,
                             struct base_error *error)
{
    enum base_status status = tend_checkpoints(trainer, error);
    if (!status)
        status = learner_trainer_tend_deltas(trainer, error);
    if (!status)
        status = learner_trainer_tend_rollback(trainer, error);
    if (status)
        return status;
    take_slice(trainer);
    learner_trainer_paused(trainer);
    if (rest(trainer))
        return BASE_OK;
    struct learner_batch batch = {0};
    status = trainer->config.source.next(trainer->config.source.self,
                                         trainer->position, wait_of(trainer),
                                         &batch, error);
    atomic_store(&trainer->idle, status == BASE_AGAIN);
    if (!status)
        status = train_batch(trainer, &batch, error);
    return status == BASE_AGAIN ? BASE_OK : status;
}

static void *train_thread(void *argument)
{
    struct learner_trainer *trainer = argument;
    struct base_error *error = &trainer->error;
    base_role_enter(&base_role_train);
    enum base_status status = BASE_OK;
    while (!status && !stopping(trainer))
        status = turn(trainer, error);
    if (status) {
        base_wrap(error, "trainer");
        base_log(BASE_LOG_ERROR, "event=trainer_failed %sreason=\"%s\"",
                 trainer->label, error->text);
        learner_cut_abandon(trainer->cut);
        if (trainer->config.failed)
            trainer->config.failed(trainer->config.hook_self, error);
    } else if (trainer->stop_checkpoint) {
        status = last_checkpoint(trainer, error);
    } else {
        learner_cut_abandon(trainer->cut);
    }
    trainer->status = status;
    learner_trainer_end_rollback(trainer);
    return NULL;
}

/* ---- boundary ------------------------------------------------------------ */

uint64_t learner_trainer_position(const struct learner_trainer *trainer)
{
    struct learner_trainer *self = (struct learner_trainer *)(uintptr_t)trainer;
    pthread_mutex_lock(&self->mutex);
    uint64_t position = self->shared.position;
    pthread_mutex_unlock(&self->mutex);
    return position;
}

enum base_status learner_trainer_start(struct learner_trainer *trainer,
                                       struct base_error *error)
{
    trainer->cut_begin_ms = base_monotonic_ms();
    int refused = pthread_create(&trainer->thread, NULL, train_thread,
                                 trainer);
    if (refused)
        return base_fail_errno(error, refused, "trainer: start its thread");
    trainer->started = true;
    return BASE_OK;
}

uint64_t learner_trainer_checkpoint(struct learner_trainer *trainer)
{
    pthread_mutex_lock(&trainer->mutex);
    uint64_t request = ++trainer->requested;
    pthread_cond_broadcast(&trainer->changed);
    pthread_mutex_unlock(&trainer->mutex);
    return request;
}

enum base_status learner_trainer_stop(struct learner_trainer *trainer,
                                      bool checkpoint,
                                      struct base_error *error)
{
    if (!trainer->started)
        return BASE_OK;
    pthread_mutex_lock(&trainer->mutex);
    trainer->stop = true;
    trainer->stop_checkpoint = checkpoint;
    pthread_cond_broadcast(&trainer->changed);
    pthread_mutex_unlock(&trainer->mutex);
    pthread_join(trainer->thread, NULL);
    trainer->started = false;
    if (trainer->status && error)
        *error = trainer->error;
    return trainer->status;
}

void learner_trainer_pause(struct learner_trainer *trainer, bool paused)
{
    pthread_mutex_lock(&trainer->mutex);
    trainer->paused = paused;
    pthread_cond_broadcast(&trainer->changed);
    pthread_mutex_unlock(&trainer->mutex);
}

bool learner_trainer_idle(const struct learner_trainer *trainer)
{
    return atomic_load(&trainer->idle);
}

void learner_trainer_status(struct learner_trainer *trainer,
                            struct learner_status *status)
{
    pthread_mutex_lock(&trainer->mutex);
    *status = trainer->shared;
    status->oldest_checkpoint =
        trainer->shared.checkpoint_position ? trainer->oldest_kept : 0;
    learner_metrics_last(trainer->metrics, &status->last_samples,
                         &status->last_time);
    learner_metrics_total(trainer->metrics, &status->total);
    learner_metrics_losses(trainer->metrics, &status->loss,
                           &status->auxiliary_loss);
    pthread_mutex_unlock(&trainer->mutex);
}

unsigned learner_trainer_windows(struct learner_trainer *trainer,
                                 struct learner_window *windows, unsigned max)
{
    pthread_mutex_lock(&trainer->mutex);
    unsigned n = learner_metrics_windows(trainer->metrics, windows, max);
    pthread_mutex_unlock(&trainer->mutex);
    return n;
}

/* Trainer's own hooks, for open (restore.c). */
void learner_trainer_connect(struct learner_trainer *trainer,
                             struct learner_cut_config *cut)
{
    cut->written = checkpoint_written;
    cut->written_self = trainer;
    for (unsigned t = 0; t < learner_model_tables(trainer->model); t++) {
        trainer->watches[t] = (struct learner_trainer_watch){trainer, t};
        learner_table_watch(trainer->tables[t], before_slot,
                            &trainer->watches[t]);
        learner_table_on_remove(trainer->tables[t], removed_slot,
                                &trainer->watches[t]);
    }
}

void learner_trainer_measure(struct learner_trainer *trainer)
{
    struct learner_status *shared = &trainer->shared;
    shared->table_bytes = 0;
    for (unsigned t = 0; t < learner_model_tables(trainer->model); t++) {
        shared->rows[t] = learner_table_rows(trainer->tables[t]);
        shared->table_bytes += learner_table_bytes(trainer->tables[t]);
    }
    shared->dense_bytes = learner_dense_size(trainer->model) * 3 *
                          sizeof(float);
    shared->evicted = 0;
    for (unsigned t = 0; t < learner_model_tables(trainer->model); t++)
        shared->evicted += trainer->gather.eviction.evicted[t];
    shared->admission_waiting =
        learner_admission_waiting(trainer->gather.admission);
    shared->cut_waits = learner_cut_waits(trainer->cut);
}
