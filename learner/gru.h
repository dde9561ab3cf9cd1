/* SPDX-License-Identifier: Apache-2.0 */
/* Gated recurrent cells over packed sequences, forward and backward, and the
 * cells whose attention a_t takes part (DIEN, arXiv 1809.03672, 4.3). With x_t
 * the input and h the state, of H units, h_0 = 0:
 *
 *   r, u = sigma([x_t; h] Wg + bg)         reset gate, update gate
 *   c    = tanh([x_t; r . h] Wc + bc)
 *   h'   = keep . h + (1 - keep) . c
 *
 *   keep = u                the ordinary cell, as TensorFlow's GRUCell
 *        = 1 - a_t (1 - u)  AUGRU of the paper; its update gate is 1 - u
 *        = (1 - a_t) u      AUGRU of the authors' code
 *        = 1 - a_t          AGRU, which needs no update gate
 *   AIGRU is the ordinary cell over the inputs a_t x_t.
 *
 * x_t W is made ahead, for all steps in one product and for all sequences
 * that share their inputs once; AIGRU scales it by a_t instead of x_t. The
 * sequences are sorted by length, longest first, and cut into blocks; a block
 * goes step by step over those that still run. Nothing is padded; a sequence
 * of length 0 keeps the state 0.
 *
 * Invariants:
 * 1. A state depends on its own sequence only, never on the others or on
 *    where it stands in a block.
 * 2. Gradients are added up in one order, given by the sequences alone:
 *    blocks ascending, steps descending, longer sequences first.
 * 3. Columns beyond H of every state are 0.
 *
 * One thread per shard, each with its own struct learner_gru_work and
 * partial. Allocates nothing; who calls cuts the slabs from the slots. */
#ifndef LEARNER_GRU_H
#define LEARNER_GRU_H

#include <stdbool.h>
#include <stdint.h>

#include "learner/kernel.h"
#include "learner/pack.h"

enum {
    LEARNER_GRU_BLOCK = 64, /* sequences that go step by step together */
    LEARNER_GRU_PACK_SLOTS = 8,
    LEARNER_GRU_PARTIAL_SLOTS = 4,
    LEARNER_GRU_WORK_SLOTS = 7,
    LEARNER_GRU_STEP_SLOTS = 4,
};

enum learner_gru_form {
    LEARNER_GRU_PLAIN,
    LEARNER_GRU_AUGRU,
    LEARNER_GRU_AUGRU_CODE,
    LEARNER_GRU_AGRU,
    LEARNER_GRU_AIGRU
};

struct learner_gru_shape {
    size_t input, hidden;   /* I, H */
    size_t gates;           /* 2; 1 for AGRU, which has r only */
    size_t ldI, ldH;        /* I and H rounded up to 16, .. */
    size_t ldG, ldP;        /* .. gates H, (gates + 1) H too */
};
void learner_gru_shape_init(struct learner_gru_shape *shape, size_t input,
                            size_t hidden, enum learner_gru_form form);

/* Weights as the kernels want them; columns [r | u | c]. */
struct learner_gru_pack {
    struct learner_gru_shape shape;
    enum learner_gru_form form;
    float *x, *bias;   /* (I,ldP), (ldP) */
    float *gates;      /* (H,ldG) of the state */
    float *candidate;  /* (H,ldH) of r . state */
    float *x_turned;   /* ((gates + 1) H,ldI) */
    float *gates_turned, *candidate_turned; /* (gates H,ldH), (H,ldH) */
    float *zero;       /* (max(ldP,ldI)) all 0 */
};
void learner_gru_pack_init(struct learner_gru_pack *pack, size_t input,
                           size_t hidden, enum learner_gru_form form);
unsigned learner_gru_pack_slots(struct learner_gru_pack *pack,
                                struct learner_slot *slots);
/* gates (I+H, gates H), candidate (I+H,H) and their biases, rows of the input
 * first. */
struct learner_gru_tensors {
    const float *gates, *gates_bias, *candidate, *candidate_bias;
};
void learner_gru_pack_load(struct learner_gru_pack *pack,
                           const struct learner_gru_tensors *tensors,
                           bool backward);

/* Gradients of the packed weights; added to. */
struct learner_gru_partial {
    float *dx, *dbias;          /* (I,ldP), (ldP) */
    float *dgates, *dcandidate; /* (H,ldG), (H,ldH) */
};
unsigned learner_gru_partial_slots(const struct learner_gru_shape *shape,
                                   struct learner_gru_partial *partial,
                                   struct learner_slot *slots);
/* Overwrites the four tensors' gradients. */
struct learner_gru_gradients {
    float *gates, *gates_bias, *candidate, *candidate_bias;
};
void learner_gru_collect(const struct learner_gru_shape *shape,
                         const struct learner_gru_partial *partial,
                         const struct learner_gru_gradients *to);

/* Scratch of one shard. */
struct learner_gru_work {
    /* Kept for the backward pass: a row for each step of each sequence;
     * else rows of two blocks, used again and again. */
    float *gates;                     /* (rows,ldG) */
    float *candidate, *state, *reset; /* (rows,ldH) */
    float *dstate, *dreset, *zero;    /* (BLOCK,ldH) */
    float *alpha, *beta, *dalpha;     /* (BLOCK) */
    float *row;                       /* (ldP) */
};
/* Slots of what no batch grows. */
unsigned learner_gru_work_slots(const struct learner_gru_shape *shape,
                                struct learner_gru_work *work,
                                struct learner_slot *slots);
/* Slots of the steps: rows is the number of steps of all sequences where they
 * are kept, else 2 LEARNER_GRU_BLOCK. */
unsigned learner_gru_step_slots(const struct learner_gru_shape *shape,
                                size_t rows, struct learner_gru_work *work,
                                struct learner_slot *slots);

struct learner_gru_sequence {
    uint32_t input;  /* row of its first input; sequences that share it have
                        one length and follow one another */
    uint32_t length; /* T, at most LEARNER_HISTORY_MAX */
    size_t own;      /* row of its first step among what is not shared */
};

/* The sequences of one shard. All BORROWS. */
struct learner_gru_batch {
    const struct learner_gru_sequence *sequence; /* (S) */
    uint32_t *order;   /* (S) scratch: sequences, longest first */
    uint32_t sequences;
    bool keep;              /* a backward pass follows */
    const float *product;   /* (inputs,ldP) of learner_gru_input() */
    const float *attention; /* (own rows); NULL for the plain cell */
    float *states;          /* (own rows,ldH) of every step, or NULL */
    float *last;            /* (S,ldH) state at the end, or NULL */
};

/* product (rows,ldP) = x (rows,ldI) Wx + b; without b for AIGRU. */
void learner_gru_input(const struct learner_gru_pack *pack,
                       const struct learner_kernels *kernels, float *product,
                       const float *x, size_t rows);
void learner_gru_forward(const struct learner_gru_pack *pack,
                         const struct learner_kernels *kernels,
                         const struct learner_gru_batch *batch,
                         const struct learner_gru_work *work);

struct learner_gru_backward {
    const float *dstates; /* (own rows,ldH), or NULL */
    const float *dlast;   /* (S,ldH), or NULL */
    float *dproduct;      /* (inputs,ldP) rows of sequences overwritten; may
                             be the product but for AIGRU */
    float *dattention;    /* (own rows) overwritten; NULL for the plain cell */
};
/* After a forward pass with `keep`, of which it uses up `work`. */
void learner_gru_backward(const struct learner_gru_pack *pack,
                          const struct learner_kernels *kernels,
                          const struct learner_gru_batch *batch,
                          const struct learner_gru_work *work,
                          const struct learner_gru_backward *gradients,
                          const struct learner_gru_partial *partial);
/* dx (rows,ldI) += from dproduct; NULL where nobody wants it. */
void learner_gru_input_backward(const struct learner_gru_pack *pack,
                                const struct learner_kernels *kernels,
                                float *dx, const float *dproduct,
                                const float *x, size_t rows,
                                const struct learner_gru_partial *partial);

#endif
