/* SPDX-License-Identifier: Apache-2.0 */
/* Going back to a kept checkpoint and on from where the journal is trained to:
 * what lies between, the skipped range, is as if it had never come, but for
 * users who are forgotten in it. The checkpoint at the end of the range, which
 * says what was skipped, makes it last; those in the range are removed first,
 * for a start must not go on from them. A crash before it is written undoes
 * the rollback: the range is trained again.
 *
 * So begin + samples + rejected + forgets + skipped = position. Thread: train,
 * but for the boundary. */
#include <string.h>

#include "base/log.h"
#include "learner/trainer.h"

enum { MOST = 256, WAIT_MS = 1000 };

static enum base_status list(const struct learner_trainer *trainer,
                             uint64_t *positions, unsigned *count,
                             struct base_error *error)
{
    return learner_checkpoint_list(trainer->config.folder, positions, MOST,
                                   count, error);
}

static enum base_status choose(const struct learner_trainer *trainer,
                               uint64_t most, uint64_t *chosen,
                               struct base_error *error)
{
    uint64_t positions[MOST];
    unsigned count, i;
    enum base_status status = list(trainer, positions, &count, error);
    if (status)
        return status;
    for (i = count; i > 0 && positions[i - 1] > most; i--)
        ;
    if (i == 0)
        return base_fail(error, BASE_NO_INPUT,
                         "no checkpoint at or before position %llu is kept; "
                         "the oldest is at %llu (learner.checkpoints_kept)",
                         (unsigned long long)most,
                         (unsigned long long)(count ? positions[0] : 0));
    *chosen = positions[i - 1];
    return BASE_OK;
}

/* The next checkpoint takes their place. */
static enum base_status remove_newer(const struct learner_trainer *trainer,
                                     uint64_t position,
                                     struct base_error *error)
{
    uint64_t positions[MOST];
    unsigned count;
    enum base_status status = list(trainer, positions, &count, error);
    for (unsigned i = count; !status && i-- > 0 && positions[i] > position;)
        status = learner_cut_remove(trainer->config.folder, positions[i],
                                    error);
    return status;
}

/* What was skipped is read for its forgets. */
BASE_ON(train)
static enum base_status skip_to(struct learner_trainer *trainer, uint64_t end,
                                struct base_error *error)
{
    struct learner_status *shared = &trainer->shared;
    const struct learner_source *source = &trainer->config.source;
    uint64_t from = trainer->position, forgets = 0;
    while (trainer->position < end) {
        struct learner_batch batch = {0};
        enum base_status status = source->next(
            source->self, trainer->position, WAIT_MS, &batch, error);
        if (!status && (batch.first != trainer->position || batch.end > end))
            status = base_fail(error, BASE_BROKEN,
                               "no batch of the journal ends at %llu",
                               (unsigned long long)end);
        if (status)
            return status;
        trainer->position = batch.end;
        memcpy(trainer->journal_hash, batch.journal_hash,
               sizeof trainer->journal_hash);
        learner_trainer_forget(trainer, &batch);
        forgets += batch.forgets;
    }
    pthread_mutex_lock(&trainer->mutex);
    shared->position = end;
    shared->forgets += forgets;
    shared->skipped += end - from - forgets;
    shared->skip_from = from;
    shared->skip_to = end;
    pthread_mutex_unlock(&trainer->mutex);
    return BASE_OK;
}

/* *changed: the state is another from here on, or the trainer has failed. */
BASE_ON(train)
static enum base_status go_back(struct learner_trainer *trainer, uint64_t to,
                                bool *changed, struct base_error *error)
{
    uint64_t end = trainer->position;
    enum base_status status =
        learner_trainer_load(trainer, to, changed, error);
    if (!*changed)
        return status;
    learner_delta_lose(trainer->delta, "rolled back");
    trainer->awaiting = false;
    if (!status)
        status = skip_to(trainer, end, error);
    if (!status)
        status = remove_newer(trainer, to, error);
    if (!status)
        status = learner_trainer_begin_cut(trainer, 0, error);
    if (status)
        return status;
    pthread_mutex_lock(&trainer->mutex);
    learner_trainer_measure(trainer);
    pthread_mutex_unlock(&trainer->mutex);
    base_log(BASE_LOG_WARN, "event=learner_rolled_back %scheckpoint=%llu "
             "skipped_from=%llu skipped_to=%llu", trainer->label,
             (unsigned long long)to, (unsigned long long)to,
             (unsigned long long)end);
    return learner_trainer_end_cut(trainer, true, error);
}

static void answer(struct learner_trainer *trainer, enum base_status status,
                   const struct base_error *error)
{
    pthread_mutex_lock(&trainer->mutex);
    trainer->back_wanted = false;
    trainer->back_status = status;
    if (status)
        trainer->back_error = *error;
    pthread_cond_broadcast(&trainer->changed);
    pthread_mutex_unlock(&trainer->mutex);
}

BASE_ON(train)
enum base_status learner_trainer_tend_rollback(struct learner_trainer *trainer,
                                               struct base_error *error)
{
    struct base_error why;
    uint64_t to = 0;
    pthread_mutex_lock(&trainer->mutex);
    bool lose = trainer->lose_wanted, back = trainer->back_wanted;
    uint64_t most = trainer->back_most;
    trainer->lose_wanted = false;
    pthread_mutex_unlock(&trainer->mutex);
    if (lose)
        learner_delta_lose(trainer->delta, "rolled back");
    if (!back || learner_delta_flying(trainer->delta))
        return BASE_OK;
    (void)learner_trainer_end_cut(trainer, true, NULL);
    if (most > trainer->position)
        most = trainer->position;
    if (choose(trainer, most, &to, &why)) {
        answer(trainer, why.status, &why);
        return BASE_OK;
    }
    if (to == trainer->position) { /* it is that state already */
        answer(trainer, BASE_OK, NULL);
        return BASE_OK;
    }
    bool changed = false;
    uint64_t end = trainer->position;
    enum base_status status = go_back(trainer, to, &changed, error);
    answer(trainer, status, error);
    /* A checkpoint that cannot be written now is tried again; what is in
     * memory is rolled back then. */
    return !changed || trainer->position == end ? BASE_OK : status;
}

void learner_trainer_end_rollback(struct learner_trainer *trainer)
{
    struct base_error why;
    pthread_mutex_lock(&trainer->mutex);
    bool waits = trainer->back_wanted;
    trainer->ended = true;
    pthread_mutex_unlock(&trainer->mutex);
    if (waits)
        answer(trainer,
               base_fail(&why, BASE_AGAIN, "the trainer ends meanwhile"), &why);
}

/* ---- boundary ------------------------------------------------------------ */

void learner_trainer_lose(struct learner_trainer *trainer)
{
    pthread_mutex_lock(&trainer->mutex);
    trainer->lose_wanted = true;
    pthread_cond_broadcast(&trainer->changed);
    pthread_mutex_unlock(&trainer->mutex);
}

enum base_status learner_trainer_rollback(struct learner_trainer *trainer,
                                          uint64_t most,
                                          struct base_error *error)
{
    enum base_status status = BASE_OK;
    pthread_mutex_lock(&trainer->mutex);
    bool ended = trainer->ended;
    trainer->back_wanted = !ended;
    trainer->back_most = most;
    pthread_cond_broadcast(&trainer->changed);
    while (trainer->back_wanted)
        pthread_cond_wait(&trainer->changed, &trainer->mutex);
    if (ended)
        status = base_fail(error, BASE_AGAIN, "the trainer has ended");
    else if ((status = trainer->back_status) && error)
        *error = trainer->back_error;
    pthread_mutex_unlock(&trainer->mutex);
    return status ? base_wrap(error, "rollback of the learner") : BASE_OK;
}
