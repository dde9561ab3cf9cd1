/* SPDX-License-Identifier: Apache-2.0 */
/* What gru.c and gru_backward.c share: one step of one block. Not for others.
 */
#ifndef LEARNER_GRU_STEP_H
#define LEARNER_GRU_STEP_H

#include <string.h>

#include "learner/gru.h"

struct learner_gru_step {
    const uint32_t *order; /* (active) sequences of the block that still run */
    uint32_t active, t;
    size_t row, state; /* first row of gates, candidate and reset; of state */
};

/* Rows are short: a call of memcpy would cost more than the copy. */
static inline void learner_gru_copy(float *to, const float *from, size_t size)
{
    size_t j = 0;
    for (; j + 16 <= size; j += 16)
        memcpy(to + j, from + j, 16 * sizeof *to);
    for (; j < size; j++)
        to[j] = from[j];
}

/* Fills batch->order, longest first, equal ones as they stand; returns how
 * many are not empty. */
uint32_t learner_gru_sort(const struct learner_gru_batch *batch);

/* alpha, beta (active) of the step: keep = alpha + beta u */
void learner_gru_gather_gates(const struct learner_gru_pack *pack,
                              const struct learner_gru_batch *batch,
                              const struct learner_gru_step *step,
                              const struct learner_gru_work *work);

#endif
