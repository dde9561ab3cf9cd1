/* SPDX-License-Identifier: Apache-2.0 */
/* The MLP's activation: Dice, PReLU, sigmoid or ReLU.
 *
 * Dice (DIN 4.4, arXiv 1706.06978): z = (x - mean) / sqrt(variance + epsilon),
 * p = sigma(z), y = p x + alpha (1-p) x, per column. Training uses mean and
 * (biased) variance of the whole batch and passes gradients through both;
 * prediction uses their moving values, momentum 0.99. PReLU: y = max(0,x) +
 * alpha min(0,x); ReLU is that with alpha 0.
 *
 * Every function works on columns [column, column + n), both multiples of 16,
 * of matrices with the leading dimension ld, so that workers can split a
 * layer by columns. Any thread, one per column. */
#ifndef LEARNER_ACTIVATION_H
#define LEARNER_ACTIVATION_H

#include <stddef.h>

#include "learner/kernel.h"
#include "learner/learner.h"

/* One layer. All vectors (ld), BORROWS. */
struct learner_activation_layer {
    enum learner_activation kind;
    size_t ld;
    const float *alpha;                 /* ReLU: all 0 */
    float epsilon;                      /* of Dice */
    float *mean, *variance, *scale; /* Dice: batch's or moving; scale =
                                       1 / sqrt(variance + epsilon) */
};

/* scale (n) from variance (n) */
void learner_activation_scale(float *scale, const float *variance, size_t n,
                              float epsilon);

/* moving = 0.99 moving + 0.01 batch */
void learner_activation_move(float *moving, const float *batch, size_t n);

/* y, p (m,ld) from x (m,ld). With `statistics` the layer's mean, variance and
 * scale are taken from x first. p is needed by the backward pass of Dice and
 * sigmoid; it may be y where there is none. y must not be x. */
void learner_activation_forward(const struct learner_kernels *kernels,
                                const struct learner_activation_layer *layer,
                                bool statistics, float *y, float *p,
                                const float *x, size_t m, size_t column,
                                size_t n);

/* d (m,ld): gradient of y in, of x out; dalpha (ld) +=; sigmoid leaves it
 * alone */
void learner_activation_backward(const struct learner_kernels *kernels,
                                 const struct learner_activation_layer *layer,
                                 float *d, float *dalpha, const float *x,
                                 const float *p, size_t m, size_t column,
                                 size_t n);

#endif
