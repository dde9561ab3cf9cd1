/* SPDX-License-Identifier: Apache-2.0 */
/* DIN (arXiv 1706.06978), profile `streaming`, forward and backward over the
 * rows of a batch, from gathered embeddings to gradients of embeddings:
 *
 *   e_a, e_t  item embeddings of the candidate and of behavior t, (D)
 *   s         = sum_t e_t
 *   v         = [e_a; e_t; e_a - e_t; e_a . e_t]                (4D)
 *   a_t       = w2 sigma(W1 sigma(W0 v + b0) + b1) + b2, weights of the
 *               pooling; through a softmax over t where configured
 *   x         = [profile; e_a; context; s; e_a . s; sum_t a_t e_t]   (X)
 *   y         = gamma x / sqrt(1.001) + beta
 *   f0, f1    = activation(W y + b), activation(W f0 + b)      (M0), (M1)
 *   p         = softmax(W f1 + b)[0]                            (2)
 *
 * Behaviors are packed: there is no padding, an empty history gives 0.
 *
 * The work is cut into phases between which all workers meet; the functions
 * below are the phases' jobs. Row phases (din.c) are cut into shards, runs of
 * whole groups, and their gradients of weights are kept apart per shard and
 * added in the order of shards. Column phases (mlp.c) are cut into blocks of
 * columns over all samples, so that Dice sees the whole batch and gradients
 * need no adding up.
 *
 * One thread per job; jobs of one phase write different places. Knows no
 * tables and no optimizer. */
#ifndef LEARNER_DIN_H
#define LEARNER_DIN_H

#include "learner/activation.h"
#include "learner/kernel.h"
#include "learner/pack.h"

enum {
    DIN_TILE = 96,  /* pairs whose first layers stay in cache */
    DIN_BLOCK = 48, /* columns of a block */
};

/* Gradients of the attention's weights and of the affine map; padded. */
struct learner_din_partial {
    float *dgamma, *dbeta;  /* (ldX), of the scaled gamma */
    float *daq, *dak, *dap; /* (D,ldA0) of the split weights */
    float *da0_bias;        /* (ldA0) */
    float *da1, *da1_bias;  /* (A0,ldA1), (ldA1) */
    float *da2;             /* (ldA1) */
    float *da2_bias;        /* (1) */
};

struct learner_din_shard {
    uint32_t group_begin, group_end;
    float *product, *dproduct;  /* (DIN_TILE,ldD) */
    float *tile0, *tile1;       /* (DIN_TILE,ldA0), (DIN_TILE,ldA1) */
    float *row, *drow;          /* (ldD) */
    struct learner_din_partial partial;
};

struct learner_din_layer {
    uint32_t in, out, ld_in, ld;       /* true widths, padded ones */
    float *z, *p, *f, *d;              /* (B,ld) */
    float *dweight, *dbias, *dalpha;   /* (in,ld), (ld), (ld) */
    float *mean, *variance, *scale;    /* (ld) of the batch */
};

struct learner_din {
    const struct learner_model *model; /* BORROWS */
    const struct learner_kernels *kernels;
    struct learner_pack pack;
    bool training; /* has room for the backward pass */
    unsigned shard_count;
    struct learner_din_shard *shards; /* (shard_count) OWNS */
    float *fixed;                     /* slab of what no batch grows; OWNS */
    float *partials;                  /* (shard_count, partial_size) */
    size_t partial_size;

    /* the batch at hand; begins BORROW */
    uint32_t samples, groups, behaviors;
    const uint32_t *group_begin, *history_begin;
    size_t *pair_begin; /* (G+1) a pair is (sample, behavior) OWNS */

    /* room: grows, never shrinks; slab OWNS */
    size_t room_samples, room_groups, room_behaviors, room_pairs;
    float *slab;
    float *x, *y, *dx;    /* (B,ldX) */
    float *q, *dq;        /* (B,ldD) candidates */
    float *k, *dk;        /* (N,ldD) behaviors */
    float *s;             /* (G,ldD) */
    float *qp, *dqp;      /* (B,ldA0) e_a (Wq + Wd) + b0 */
    float *kp, *dkp;      /* (N,ldA0) e_t (Wk - Wd) */
    float *a, *da;        /* (pairs) */
    float *h0, *h1;       /* (pairs,ldA0), (pairs,ldA1); training only */
    float *logit, *dlogit;             /* (B,16) */
    float *margin, *p, *plus, *minus;  /* (B) logit 0 - logit 1, its sigma,
                                          softplus(margin), (-margin) */
    struct learner_din_layer layer[2];
    float *dm2, *dm2_bias; /* (M1,16), (16) */
};

enum base_status learner_din_init(struct learner_din *din,
                                  const struct learner_model *model,
                                  unsigned shards, bool training,
                                  struct base_error *error) BASE_MUST_CHECK;
void learner_din_fini(struct learner_din *din);

/* Makes room and cuts the batch into shards of about the same work. */
enum base_status learner_din_begin(struct learner_din *din, uint32_t groups,
                                   const uint32_t *group_begin,
                                   const uint32_t *history_begin,
                                   struct base_error *error) BASE_MUST_CHECK;

/* Where the embedding of field `field` of a sample goes, or comes from
 * (gradients); of an item field of a behavior. */
float *learner_din_place(struct learner_din *din, unsigned field,
                         uint32_t sample);
const float *learner_din_gradient(const struct learner_din *din,
                                  unsigned field, uint32_t sample);

/* Row phase: x, y and the attention of the shard's samples. */
void learner_din_forward_rows(struct learner_din *din, unsigned shard);
/* Row phase: from layer[0].d to dq, dk, dx and the shard's partial. */
void learner_din_backward_rows(struct learner_din *din, unsigned shard);

/* Row phase: logits of the shard's samples with moving statistics. */
void learner_din_predict_rows(struct learner_din *din, unsigned shard);
/* probability (B) from the logits. */
void learner_din_probability(struct learner_din *din, float *probability);

/* Column phases: blocks of a layer, and one of them. */
unsigned learner_din_blocks(const struct learner_din *din, unsigned layer);
void learner_din_forward_block(struct learner_din *din, unsigned layer,
                               unsigned block);
void learner_din_backward_block(struct learner_din *din, unsigned layer,
                                unsigned block);
/* Between them, alone: output layer, loss, its gradient. label, kind (B).
 * Returns the loss. */
double learner_din_output(struct learner_din *din, const uint8_t *label,
                          const uint8_t *kind);

/* Alone: adds the shards up and writes every tensor's gradient; ddense
 * (learner_dense_size) is overwritten. */
void learner_din_collect(struct learner_din *din, float *ddense);
/* Alone: moves the statistics in dense (learner_dense_size). */
void learner_din_move(const struct learner_din *din, float *dense);

#endif
