/* SPDX-License-Identifier: Apache-2.0 */
/* The unique rows of one batch: packed copies for the step, and the way back
 * into the tables. In this order, once a batch:
 *
 * find     every id's row, the OOV row's content where it has none: what a
 *          ranker would see, for the prediction
 * train    training's view: id dropout, admission, the missing rows made, the
 *          auxiliary loss's negatives looked up
 * apply    regularizer and optimizer with the step's row gradients, counters,
 *          eviction; or
 * discard  the batch is rejected: tables and admission as they were
 *
 * Ids come from the stream's columns that the model uses; fields and tables
 * are the model's. An id of a multi-hot place that is absent has no row
 * (LEARNER_NO_ROW); where all places of a field are absent the first is id 0.
 *
 * 1. Each id of a table has one place among the packed rows. In training an
 *    id that was dropped out or is not admitted has the OOV row's place.
 * 2. A packed row that no cell of the training view points at is not changed,
 *    nor its count raised. A negative changes its row and is not counted; it
 *    makes no row: without one it uses the OOV row.
 * 3. Dropout draws from (seed, "dropout", position of the sample; for a
 *    history of its group's first sample; column in the stream + 64 x
 *    (behavior + 1, candidate 0)).
 *
 * Train thread. Buffers grow in find(), with the largest batch seen. */
#ifndef LEARNER_GATHER_H
#define LEARNER_GATHER_H

#include <stdint.h>

#include "base/status.h"
#include "learner/admission.h"
#include "learner/cut.h"
#include "learner/delta.h"
#include "learner/eviction.h"
#include "learner/learner.h"
#include "learner/optimizer.h"
#include "learner/table.h"

struct learner_places; /* private */

/* Where a line of ids (a sample's, a behavior's) has the model's fields: from
 * `field` on, `count` of them, stride ids to the next line. Private. */
struct learner_gather_line {
    unsigned field, count, stride;
    uint8_t column[LEARNER_FIELDS_MAX];
};

/* U_t unique rows of table t, W_t its width; F, f fields and item fields of
 * the model, B samples, N behaviors. */
struct learner_gather {
    const struct learner_model *model;   /* BORROWS */
    struct learner_table *const *tables; /* BORROWS; the model's, in order */
    struct learner_places *places;       /* [table] */
    uint32_t *index;          /* (B,F) */
    uint32_t *history_index;  /* (N,f) */
    uint32_t *negative_index; /* (N,f) after train() with negatives, or NULL */
    uint32_t *cross_index;    /* (pairs) or NULL, see step.h */
    uint8_t *fresh; /* (G) after train(): 0 where the group's rows are those of
                       find(), or NULL, see step.h */
    const float *rows[LEARNER_TABLES_MAX]; /* (U_t,W_t) */
    float *drows[LEARNER_TABLES_MAX];      /* (U_t,W_t), for the step */
    uint32_t row_count[LEARNER_TABLES_MAX];
    /* State of a run besides the tables: both belong into a checkpoint. */
    struct learner_admission *admission; /* NULL where nothing is admitted */
    struct learner_eviction eviction;

    /* Private. */
    struct learner_gather_line sample_line, history_line, negative_line;
    uint64_t seeds[LEARNER_TABLES_MAX]; /* of the tables' names */
    struct learner_batch batch; /* of find() */
    size_t behaviors, pairs;    /* N, pairs of it */
    uint32_t *negatives;        /* room behind negative_index */
    uint8_t *changed;           /* room behind fresh */
    size_t index_room, history_room, negative_room, cross_room, changed_room;
};

/* BORROWS model and tables until fini. */
enum base_status learner_gather_init(struct learner_gather *gather,
                                     const struct learner_model *model,
                                     struct learner_table *const *tables,
                                     struct base_error *error) BASE_MUST_CHECK;
void learner_gather_fini(struct learner_gather *gather);

/* `batch` BORROWS until apply or discard. */
enum base_status learner_gather_find(struct learner_gather *gather,
                                     const struct learner_batch *batch,
                                     struct base_error *error) BASE_MUST_CHECK;
/* Rewrites index, history_index and cross_index; rows and drows stay where
 * they are. negatives: (N,f) ids, LEARNER_ABSENT in every field of a cell that
 * is left out; or NULL. Where it fails, discard. */
enum base_status learner_gather_train(struct learner_gather *gather,
                                      const struct learner_batch *batch,
                                      const uint64_t *negatives,
                                      struct base_error *error)
    BASE_MUST_CHECK;
void learner_gather_discard(struct learner_gather *gather);
/* `number` of the batch, 1 for the first, goes into the rows' `touched` (its
 * low half); cut and delta (NULL: none) see each row before it changes.
 * event_ms: newest event time trained. The regularizer's part is added to drows. */
void learner_gather_apply(struct learner_gather *gather,
                          const struct learner_updater *updater,
                          struct learner_cut *cut,
                          struct learner_delta_cut *delta, uint64_t number,
                          int64_t event_ms);

#endif
