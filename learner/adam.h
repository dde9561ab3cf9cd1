/* SPDX-License-Identifier: Apache-2.0 */
/* Adam (Kingma, Ba; arXiv 1412.6980, the "epsilon-hat" form):
 *   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
 *   w -= lr_t m / (sqrt(v) + eps),  lr_t = lr sqrt(1 - b2^t) / (1 - b1^t)
 * with b1 0.9, b2 0.999, eps 1e-8. For the dense part t counts its batches;
 * for a row its own steps (lazy: only rows with a gradient move).
 *
 * lr_t comes from a table of powers by repeated products in double, so it has
 * the same bits on every machine; no libm but sqrtf. Immutable once made. */
#ifndef LEARNER_ADAM_H
#define LEARNER_ADAM_H

#include <stddef.h>
#include <stdint.h>

enum { LEARNER_ADAM_RATES = 20000 }; /* 0.999^20000 < 2^-28: constant then */

struct learner_adam {
    float rate[LEARNER_ADAM_RATES]; /* lr_t of t = 1 .. */
};

void learner_adam_init(struct learner_adam *adam, float learning_rate);

/* lr_t of step t >= 1. */
static inline float learner_adam_rate(const struct learner_adam *adam,
                                      uint64_t step)
{
    return adam->rate[step < LEARNER_ADAM_RATES ? step - 1
                                                : LEARNER_ADAM_RATES - 1];
}

/* One step over n values; w, m, v, g do not overlap. */
void learner_adam_step(float *w, float *m, float *v, const float *g, size_t n,
                       float rate);

#endif
