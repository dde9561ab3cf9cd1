/* SPDX-License-Identifier: Apache-2.0 */
/* The unique rows of one batch: packed copies for the step, and the way back
 * into the tables. In this order, once a batch:
 *
 * find     every id's row, the OOV row's content where it has none: what a
 *          ranker would see, for the prediction
 * create   the missing rows, their start values in the packed copies
 * apply    Adam with the step's row gradients, counters; or
 * discard  the created rows, where the batch is rejected
 *
 * Train thread. Buffers grow with the largest batch seen, else nothing is
 * allocated. Does not know the model; ids alone. */
#ifndef LEARNER_GATHER_H
#define LEARNER_GATHER_H

#include <stdint.h>

#include "base/status.h"
#include "learner/adam.h"
#include "learner/cut.h"
#include "learner/learner.h"
#include "learner/table.h"

struct learner_gather_table; /* private */

/* U_t unique rows of table t, E_t its dimension. */
struct learner_gather {
    const struct learner_schema *schema; /* BORROWS */
    struct learner_table *const *tables; /* BORROWS */
    struct learner_gather_table *parts;  /* [table] */
    uint32_t *index;         /* (B,F) */
    uint32_t *history_index; /* (N,f) */
    size_t index_room, history_room;
    const float *rows[LEARNER_TABLES_MAX]; /* (U_t,E_t) */
    float *drows[LEARNER_TABLES_MAX];      /* (U_t,E_t), for the step */
    uint32_t row_count[LEARNER_TABLES_MAX];
};

enum base_status learner_gather_init(struct learner_gather *gather,
                                     const struct learner_schema *schema,
                                     struct learner_table *const *tables,
                                     struct base_error *error) BASE_MUST_CHECK;
void learner_gather_fini(struct learner_gather *gather);

enum base_status learner_gather_find(struct learner_gather *gather,
                                     const struct learner_batch *batch,
                                     struct base_error *error) BASE_MUST_CHECK;
/* Where it fails, what was created is there still: discard. */
enum base_status learner_gather_create(struct learner_gather *gather,
                                       struct base_error *error)
    BASE_MUST_CHECK;
void learner_gather_discard(struct learner_gather *gather);
/* `number` of the batch goes into the rows' `touched`; cut sees each row
 * before it changes. */
void learner_gather_apply(struct learner_gather *gather,
                          const struct learner_adam *adam,
                          struct learner_cut *cut, uint32_t number);

#endif
