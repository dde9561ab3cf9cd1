/* SPDX-License-Identifier: Apache-2.0 */
/* The optimizers, for rows of tables and for dense tensors (g gradient, lr
 * learning rate, one element each unless said):
 *   Adam     m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
 *            w -= lr_t m / (sqrt(v) + eps),
 *            lr_t = lr sqrt(1 - b2^t) / (1 - b1^t); b1 .9, b2 .999, eps 1e-8
 *            (Kingma, Ba; arXiv 1412.6980, the "epsilon-hat" form)
 *   Adagrad  n += g^2,  w -= lr g / (sqrt(n) + 1e-10)
 *   row-wise n += mean over the row of g^2, one n a row; dense: Adagrad
 *   FTRL     s = (sqrt(n + g^2) - sqrt(n)) / alpha,  z += g - s w,  n += g^2,
 *            w = 0 where |z| <= l1, else
 *            w = -(z - sign(z) l1) / ((beta + sqrt(n)) / alpha + l2)
 *            (McMahan 2013; w follows from z and n alone, so it starts at 0)
 *   SGD      w -= lr g
 *
 * 1. t counts a dense tensor's batches and a row's own steps (lazy Adam: only
 *    rows with a gradient move), or, for adam_every_row, batches for both.
 * 2. lr is learning_rate x rate_decay^k, k = journal position /
 *    rate_decay_samples in integers; FTRL's alpha is not a rate and stays.
 * 3. The same bits on every machine: powers are products, no libm but sqrtf,
 *    element-wise but for the row's mean, which adds from the left.
 * State of a row stands behind its W weights in this order: Adam m, v (2 W);
 * Adagrad n (W); row-wise n (1); FTRL z, n (2 W). A dense tensor has the same
 * in slabs. Train thread. Knows no tables. */
#ifndef LEARNER_OPTIMIZER_H
#define LEARNER_OPTIMIZER_H

#include "learner/learner.h"

enum {
    LEARNER_ADAM_STEPS = 20000, /* 0.999^20000 < 2^-28: constant then */
    LEARNER_DENSE_STATES = 2,   /* slabs at most */
};

struct learner_updater {
    enum learner_optimizer kind;
    bool every_row;      /* Adam moves rows without a gradient too */
    float rate;          /* lr now */
    float learning_rate; /* lr at position 0 */
    double decay;
    uint64_t decay_samples, decays; /* k of `rate` */
    float alpha, beta, l1, l2;
    /* sqrt(1 - b2^t) and 1 - b1^t of t = 1 .. */
    float above[LEARNER_ADAM_STEPS], below[LEARNER_ADAM_STEPS];
};

/* Floats of optimizer state behind the W weights of a row. */
size_t learner_optimizer_row_state(const struct learner_model_config *config,
                                   size_t W);
/* Slabs of optimizer state for the dense part, each as large as it. */
unsigned
learner_optimizer_dense_states(const struct learner_model_config *config);

void learner_optimizer_init(struct learner_updater *updater,
                            const struct learner_model_config *config);
/* Learning rate of the batch that begins at journal position `position`. */
void learner_optimizer_seek(struct learner_updater *updater,
                            uint64_t position);
/* Adam's lr_t, t >= 1. */
float learner_optimizer_rate(const struct learner_updater *updater,
                             uint64_t t);

/* One step of a row: values (W + state), g (W). */
void learner_optimizer_row(const struct learner_updater *updater,
                           float *values, const float *g, size_t W,
                           uint64_t t);
/* One step of n dense values; state[i] (n) as many as dense_states() says.
 * Nothing overlaps. */
void learner_optimizer_dense(const struct learner_updater *updater, float *w,
                             float *const *state, const float *g, size_t n,
                             uint64_t t);
/* One step of Adam without a gradient, as adam_every_row wants. */
void learner_optimizer_rest(const struct learner_updater *updater,
                            float *values, size_t W, uint64_t t);

#endif
