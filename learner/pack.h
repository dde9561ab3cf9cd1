/* SPDX-License-Identifier: Apache-2.0 */
/* The weights as the kernels want them: widths padded with zeros to 16
 * columns, turned copies for the backward pass, and the first attention layer
 * split by what it depends on. With W = [Wq; Wk; Wd; Wp] (each (K,A0)),
 *   [q; k; q-k; q.k] W = q (Wq + Wd) + k ((Wk - Wd) + diag(q) Wp),
 * so that a pair costs one product of K rows. With the outer product, W =
 * [Wq; Wo; Wk], Wo (K,K,A0), it is q Wq + k (Wk + sum_i q_i Wo_i).
 *
 * Loaded before each step (the dense slab changes with each), which costs
 * about one pass over the weights. One thread at a time. */
#ifndef LEARNER_PACK_H
#define LEARNER_PACK_H

#include "learner/model.h"

/* moving variance 0 + 1e-3 under the root: TF's untouched batch
 * normalization, an affine map (MODEL: "BN-affine"). */
#define LEARNER_BN_VARIANCE 1.001f

struct learner_pack {
    float *slab; /* OWNS */
    float *aq, *ak, *ap;     /* (K,ldA0) Wq + Wd, Wk - Wd, Wp */
    float *ao;               /* (K,K ldA0) Wo_i, one behind the other */
    float *a0_bias;          /* (ldA0) */
    float *a1, *a1_bias;     /* (A0,ldA1), (ldA1) */
    float *a2;               /* (ldA1) */
    float a2_bias;
    float *gamma, *beta;     /* (ldX) gamma / sqrt(1.001), beta */
    float *m0, *m0_bias;     /* (X,ldM0), (ldM0) */
    float *m1, *m1_bias;     /* (M0,ldM1), (ldM1) */
    float *m2, *m2_bias;     /* (M1,16), (16) */
    float *wide, wide_bias;  /* (ldW) column 0 - column 1, likewise */
    float first_order_bias;
    float *alpha[2];         /* (ldM0), (ldM1); 0 where there is none */
    float *mean[2], *variance[2], *scale[2]; /* moving, with Dice */
    float *zero;             /* the widest ld, all 0 */
    /* turned: (out,ld of in) */
    float *aq_turned, *ak_turned, *ap_turned, *a1_turned;
    float *ao_turned;        /* (K,A0 ldK) */
    float *m0_turned, *m1_turned, *m2_turned;
};

enum base_status learner_pack_init(struct learner_pack *pack,
                                   const struct learner_model *model,
                                   struct base_error *error) BASE_MUST_CHECK;
void learner_pack_fini(struct learner_pack *pack);

/* to (m,ld) from (m,n); to (n,ld) from (m,from_ld). */
void learner_pack_widen(float *to, size_t ld, const float *from, size_t m,
                        size_t n);
void learner_pack_turn(float *to, size_t ld, const float *from, size_t from_ld,
                       size_t m, size_t n);

/* From dense (learner_dense_size); the turned copies only where `backward`. */
void learner_pack_load(struct learner_pack *pack,
                       const struct learner_model *model, const float *dense,
                       bool backward);

/* floats in `slots` blocks, each rounded up to 16: one zeroed slab, 64-byte
 * aligned, cut into *slots[i] of sizes[i] floats. */
struct learner_slot {
    float **at;
    size_t size;
};
enum base_status learner_slab_cut(float **slab,
                                  const struct learner_slot *slots,
                                  unsigned count, struct base_error *error)
    BASE_MUST_CHECK;

#endif
