/* SPDX-License-Identifier: Apache-2.0 */
/* The auxiliary loss of DIEN (arXiv 1809.03672, 4.2): does the state after a
 * behavior tell the next behavior e from another item e^? With p a
 * probability made of v = [h; e] by the same weights for both,
 *
 *   loss of a cell = -ln(p(h, e) + eps) - ln(1 - p(h, e^) - eps)
 *
 * network: y = gamma v / sqrt(1.001) + beta, f0 = sigma(y W0 + b0), f1 =
 *   sigma(f0 W1 + b1), p = softmax(f1 W2 + b2)[0]   (the authors' code)
 * inner:   p = sigma(h . e)                         (the paper, eq. 4)
 *
 * The affine map is folded into W0; the part of the first layer that sees h
 * is made once for e and e^; softmax of two is sigma of a difference. A cell
 * goes forward and backward at once, in tiles that stay in cache: only the
 * divisor of the mean depends on other cells, and it is known before.
 *
 * One thread per shard, each with its own work and partial. Allocates
 * nothing; who calls cuts the slabs from the slots. */
#ifndef LEARNER_AUXILIARY_H
#define LEARNER_AUXILIARY_H

#include "learner/kernel.h"
#include "learner/pack.h"

enum {
    LEARNER_AUXILIARY_TILE = 96, /* cells */
    LEARNER_AUXILIARY_PACK_SLOTS = 10,
    LEARNER_AUXILIARY_PARTIAL_SLOTS = 7,
    LEARNER_AUXILIARY_WORK_SLOTS = 10,
};

/* Weights as the kernels want them. */
struct learner_auxiliary_pack {
    enum learner_auxiliary form;
    float epsilon;               /* 0: -ln p is made without cancellation */
    size_t H, D, A0, A1;         /* widths of h, e and the hidden layers */
    size_t ldH, ldD, ld0, ld1;   /* rounded up to 16 */
    float *h, *e;                /* (H,ld0), (D,ld0) folded W0 */
    float *bias0;                /* (ld0) folded */
    float *w1, *bias1;           /* (A0,ld1), (ld1) */
    float *w2;                   /* (ld1) W2[:,0] - W2[:,1] */
    float bias2;
    float *h_turned, *e_turned;  /* (A0,ldH), (A0,ldD) */
    float *w1_turned;            /* (A1,ld0) */
    float *zero;                 /* as long as any row; all 0 */
};
/* hidden (2), NULL for the inner product. */
void learner_auxiliary_pack_init(struct learner_auxiliary_pack *pack,
                                 enum learner_auxiliary form, float epsilon,
                                 size_t H, size_t D, const uint16_t *hidden);
unsigned learner_auxiliary_pack_slots(struct learner_auxiliary_pack *pack,
                                      struct learner_slot *slots);
/* gamma, beta (H+D), weight0 (H+D,A0), weight1 (A0,A1), weight2 (A1,2) */
struct learner_auxiliary_tensors {
    const float *gamma, *beta, *weight0, *bias0, *weight1, *bias1, *weight2,
        *bias2;
};
void learner_auxiliary_pack_load(
    struct learner_auxiliary_pack *pack,
    const struct learner_auxiliary_tensors *tensors);

/* Gradients of the packed weights; added to. */
struct learner_auxiliary_partial {
    float *dh, *de, *dbias0; /* (H,ld0), (D,ld0), (ld0): v^T d, sum d */
    float *dw1, *dbias1;     /* (A0,ld1), (ld1) */
    float *dw2, *dbias2;     /* (ld1), (1) */
};
unsigned learner_auxiliary_partial_slots(
    const struct learner_auxiliary_pack *pack,
    struct learner_auxiliary_partial *partial, struct learner_slot *slots);
/* Overwrites the eight tensors' gradients. */
struct learner_auxiliary_gradients {
    float *gamma, *beta, *weight0, *bias0, *weight1, *bias1, *weight2, *bias2;
};
void learner_auxiliary_collect(
    const struct learner_auxiliary_pack *pack,
    const struct learner_auxiliary_partial *partial,
    const struct learner_auxiliary_tensors *tensors,
    const struct learner_auxiliary_gradients *to);

/* Scratch of one shard. */
struct learner_auxiliary_work {
    float *h, *dh;           /* (TILE,ldH) */
    float *e, *de;           /* (2 TILE,ldD) */
    float *f0, *d0;          /* (2 TILE,ld0) */
    float *f1, *d1;          /* (2 TILE,ld1) */
    float *margin, *dmargin; /* (2 TILE) */
};
unsigned learner_auxiliary_work_slots(
    const struct learner_auxiliary_pack *pack,
    struct learner_auxiliary_work *work, struct learner_slot *slots);

/* A behavior that is told from its negative by the state one row before. */
struct learner_auxiliary_cell {
    uint32_t row;
    float weight; /* samples that share it */
};
/* The cells of a shard. All BORROWS. */
struct learner_auxiliary_batch {
    const struct learner_auxiliary_cell *cell; /* (count) */
    size_t count;
    float share;            /* of a cell's loss in the whole loss, weight 1 */
    const float *states;    /* (rows,ldH); state before `row`: row - 1 */
    const float *items;     /* (rows,ldD) */
    const float *negatives; /* (rows,ldD) */
    float *dstates, *ditems; /* added to */
    float *dnegatives;       /* rows of cells overwritten */
};
/* Returns the sum of weight x loss of the cells, without `share`. */
double learner_auxiliary_run(const struct learner_auxiliary_pack *pack,
                             const struct learner_kernels *kernels,
                             const struct learner_auxiliary_batch *batch,
                             const struct learner_auxiliary_work *work,
                             const struct learner_auxiliary_partial *partial);

#endif
