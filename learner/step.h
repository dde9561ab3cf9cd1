/* SPDX-License-Identifier: Apache-2.0 */
/* One training step, and one prediction, over one journal batch. The model's
 * kind chooses the mathematics (net.h); this is the only door to it for the
 * trainer.
 *
 * The caller looks ids up once per batch: for every table a packed buffer of
 * the unique rows that the batch touches, and for every cell of `ids` and
 * `history` the place of its row in that buffer. The step reads rows, writes
 * gradients of rows (packed the same way) and of the dense slab, and never
 * sees a key or a table.
 *
 * Invariants:
 * 1. The results are a function of the inputs, config.shards and the
 *    arithmetic (learner_arithmetic()) only: any number of threads, AVX2 or
 *    AVX-512, gives the same bits.
 * 2. A probability depends on its own sample only, but with dice_batch, where
 *    Dice's statistics are those of the batch; learner_score() gives the same
 *    bits for the same weights.
 * 3. Nothing is allocated once the largest batch has been seen.
 *
 * Threads: one caller at a time; `threads - 1` workers of its own wait
 * between calls. Does not look up rows, does not apply an optimizer. */
#ifndef LEARNER_STEP_H
#define LEARNER_STEP_H

#include "learner/learner.h"

struct learner_step; /* scratch and workers; OWNS */

/* threads >= 1 counts the caller. BORROWS model until the free. */
enum base_status learner_step_new(const struct learner_model *model,
                                  unsigned threads,
                                  struct learner_step **step,
                                  struct base_error *error) BASE_MUST_CHECK;
void learner_step_free(struct learner_step *step);

/* All BORROWS for the call. U_t: unique rows of table t in this batch, E_t:
 * its dimension, B, F, G, f as in learner.h, N: behaviors of the batch,
 * history_begin[G]. Only samples, groups, group_begin, history_begin, label
 * and kind of `batch` are read (label and kind only by training). */
struct learner_step_input {
    const struct learner_batch *batch;
    /* F, f: fields of the model's own schema. LEARNER_NO_ROW where a place of
     * a multi-hot field is absent (never all of its places). */
    const uint32_t *index;         /* (B,F) into rows[fields[j].table] */
    const uint32_t *history_index; /* (N,f) into rows[item field's table] */
    /* Training with an auxiliary loss: e-hat_t, the negative shown beside
     * behavior t; LEARNER_NO_ROW in all fields where the cell is left out (the
     * first of a history is never looked at). Else NULL. */
    const uint32_t *negative_index; /* (N,f) */
    /* Where the model has crosses: row of (behavior t, candidate) in the last
     * table; groups in order, in a group samples, for each its behaviors.
     * Else NULL. */
    const uint32_t *cross_index;   /* (pairs) */
    const float *const *rows;      /* [table] (U_t,W_t) packed, W_t the
                                      dimension of learner_model_table() */
    const uint32_t *row_count;     /* [table] U_t; may be 0 */
    const float *dense;            /* (learner_dense_size) */
    /* Training: 0 for each group whose rows, read through these indexes, are
     * those of the prediction of the same batch and dense that was this step's
     * call before: what it computed is kept and not computed again, with the
     * same bits. NULL: everything is computed. */
    const uint8_t *fresh;          /* (G) */
    /* Profile `reference` of the tests: behaviors that every history is padded
     * to with row `padding_index` (f); the sum takes them in and the auxiliary
     * mean divides by B (padded_to - 1). 0: nothing is padded, the mean is over
     * the valid cells. */
    uint32_t padded_to;
    const uint32_t *padding_index;
};
#define LEARNER_NO_ROW UINT32_MAX

/* probability (B): p(click) with Dice's moving statistics (dice_batch: the
 * batch's). Ids without a row
 * point at a copy of the table's OOV row. Fails only with BASE_SYSTEM (no
 * memory), or BASE_LIMIT where a recurrent kind meets a history of more than
 * LEARNER_HISTORY_MAX. */
enum base_status learner_step_predict(struct learner_step *step,
                                      const struct learner_step_input *input,
                                      float *probability,
                                      struct base_error *error)
    BASE_MUST_CHECK;

struct learner_step_output {
    float *dense;        /* (learner_dense_size): the moving statistics in it
                            are updated in place; else untouched. May be the
                            input's dense. */
    float *ddense;       /* (learner_dense_size) overwritten; 0 in statistics
                            and between tensors */
    float *const *drows; /* [table] (U_t,W_t) overwritten; the sum over all
                            cells that point at the row */
    double loss;         /* loss_scale x sum of the samples' losses /
                            config.batch_size + auxiliary_weight x auxiliary */
    double auxiliary;    /* the auxiliary loss in it, before its weight */
    const char *worst;   /* where not finite: what went wrong first: "loss",
                            the name of a dense tensor, or of a table */
    bool finite;         /* false: the loss is not finite, or a gradient or a
                            batch statistic is not below 2^60 (Adam squares
                            gradients); the moving statistics were left
                            alone; reject the batch */
};

/* Gradients of the loss with Dice's batch statistics. `samples` >= 1.
 * Per sample, y = label, p = probability with the gradient stopped:
 *   window:        -[ y ln p + (1-y) ln(1-p) ]
 *   fnw negative:  -(1-p)(1+p) ln(1-p)
 *   fnw positive:  -(1+p) ln p                        (Ktena et al. 2019) */
enum base_status learner_step_train(struct learner_step *step,
                                    const struct learner_step_input *input,
                                    struct learner_step_output *output,
                                    struct base_error *error) BASE_MUST_CHECK;

#endif
