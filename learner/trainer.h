/* SPDX-License-Identifier: Apache-2.0 */
/* The trainer's inside, shared by trainer.c (the thread), parts.c (its state as
 * parts of a checkpoint) and restore.c (open, loading, free). Not for others:
 * learner.h is the boundary. */
#ifndef LEARNER_TRAINER_H
#define LEARNER_TRAINER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/role.h"
#include "learner/checkpoint.h"
#include "learner/cut.h"
#include "learner/delta.h"
#include "learner/gather.h"
#include "learner/learner.h"
#include "learner/metrics.h"
#include "learner/negatives.h"
#include "learner/optimizer.h"
#include "learner/step.h"
#include "learner/table.h"

struct learner_trainer_watch {
    struct learner_trainer *trainer;
    unsigned table;
};

struct learner_trainer {
    struct learner_trainer_config config;
    char label[LEARNER_NAME_MAX + 8]; /* "model=ctr ", for log lines */
    struct learner_model *model;
    struct learner_step *step;
    struct learner_table *tables[LEARNER_TABLES_MAX];
    struct learner_trainer_watch watches[LEARNER_TABLES_MAX];
    struct learner_gather gather; /* with admission and eviction */
    struct learner_updater updater;
    struct learner_metrics *metrics; /* changed under mutex */
    struct learner_cut *cut;
    struct learner_delta_cut *delta; /* NULL: nobody is told what changed */
    struct learner_negatives *negatives; /* NULL: no auxiliary loss */
    /* One slab (4, dense_size): weights, the optimizer's state, gradient. */
    float *dense, *state[LEARNER_DENSE_STATES], *gradient;
    float *probability; /* (B) of the current batch */
    uint32_t probability_room;
    uint64_t dense_step; /* trained batches */
    uint64_t position, journal_hash[2];
    uint64_t forgotten_rows; /* by this process */
    uint8_t *head; /* LEARNER_CHECKPOINT_HEAD_MAX, scratch */
    struct learner_checkpoint_info info; /* scratch */

    /* Checkpoints, train thread. */
    uint64_t cut_position, cut_request, served;
    int64_t cut_begin_ms, retry_ms;
    bool has_newest; /* and newest_position is its */
    uint64_t newest_position;
    /* Bytes of journal since the start: trained, and in the running cut and
     * the newest checkpoint. */
    uint64_t trained_bytes, cut_bytes, newest_bytes;

    /* Deltas, train thread. */
    bool handed;   /* the copy that flies, to changed() */
    bool awaiting; /* training has yet to come to the version's position */
    struct learner_delta_info delta_info; /* scratch */
    int64_t pause_us; /* of this turn */

    pthread_t thread;
    bool started;
    enum base_status status; /* of the ended thread, with error */
    struct base_error error;

    _Atomic bool idle;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t changed;
    bool stop, stop_checkpoint, paused;
    uint64_t requested;
    bool delta_wanted, delta_checkpoint; /* learner_trainer_delta() */
    int64_t delta_due_ms;
    bool settled, settled_committed; /* learner_trainer_settle() */
    bool ended;       /* the thread */
    bool lose_wanted; /* learner_trainer_lose() */
    bool back_wanted; /* learner_trainer_rollback() */
    uint64_t back_most;
    enum base_status back_status;
    struct base_error back_error;
    uint64_t oldest_kept;
    char newest_path[1200];
    struct learner_status shared;
};

/* Hands the trainer to its cut and tables. */
void learner_trainer_connect(struct learner_trainer *trainer,
                             struct learner_cut_config *cut);
/* Room for what learner_trainer_save() copies, before the thread starts. */
enum base_status learner_trainer_reserve(struct learner_trainer *trainer,
                                         struct base_error *error)
    BASE_MUST_CHECK;
/* Begins a cut of the state as it is. */
enum base_status learner_trainer_save(struct learner_trainer *trainer,
                                      uint64_t request,
                                      struct base_error *error)
    BASE_ON(train) BASE_MUST_CHECK;
/* Begins a checkpoint's cut; none is running. */
enum base_status learner_trainer_begin_cut(struct learner_trainer *trainer,
                                           uint64_t request,
                                           struct base_error *error)
    BASE_ON(train) BASE_MUST_CHECK;
/* Looks whether the running cut has ended; with `wait` until it has. */
enum base_status learner_trainer_end_cut(struct learner_trainer *trainer,
                                         bool wait, struct base_error *error)
    BASE_ON(train);
/* restore.c. The state of the kept checkpoint at `position`; takes the mutex.
 * After an error the trainer is only good to be freed where *changed. */
enum base_status learner_trainer_load(struct learner_trainer *trainer,
                                      uint64_t position, bool *changed,
                                      struct base_error *error)
    BASE_MUST_CHECK;
/* rollback.c. Between two batches; and at the thread's end. */
enum base_status learner_trainer_tend_rollback(struct learner_trainer *trainer,
                                               struct base_error *error)
    BASE_ON(train) BASE_MUST_CHECK;
void learner_trainer_end_rollback(struct learner_trainer *trainer);
/* Nothing was trained since the newest checkpoint: it answers the request. */
bool learner_trainer_up_to_date(const struct learner_trainer *trainer);
void learner_trainer_name_again(struct learner_trainer *trainer,
                                uint64_t request) BASE_ON(train);
/* After a restore: what is known of the newest version. `notes`: of the
 * checkpoint, or NULL. */
enum base_status
learner_trainer_follow(struct learner_trainer *trainer,
                       const struct learner_checkpoint_part *notes,
                       struct base_error *error) BASE_MUST_CHECK;
/* Between two batches: begins, copies, hands over. */
enum base_status learner_trainer_tend_deltas(struct learner_trainer *trainer,
                                             struct base_error *error)
    BASE_ON(train) BASE_MUST_CHECK;
/* How long the thread may wait for a batch, at most most_ms. */
int learner_trainer_delta_timeout(struct learner_trainer *trainer, int most_ms)
    BASE_ON(train);
/* At a stop, behind the last batch. */
void learner_trainer_last_delta(struct learner_trainer *trainer)
    BASE_ON(train);
/* Counts what this turn took, if anything. */
void learner_trainer_paused(struct learner_trainer *trainer) BASE_ON(train);
/* All but rows; BASE_CORRUPT where a part is missing or makes no sense. */
enum base_status
learner_trainer_load_parts(struct learner_trainer *trainer,
                           const struct learner_checkpoint_parts *parts,
                           struct base_error *error) BASE_MUST_CHECK;
/* forget.c. The batch's forgets: rows go, metrics no longer name the users. */
void learner_trainer_forget(struct learner_trainer *trainer,
                            const struct learner_batch *batch) BASE_ON(train);
/* Fills sizes and rows of `shared`. */
void learner_trainer_measure(struct learner_trainer *trainer);

#endif
