/* SPDX-License-Identifier: Apache-2.0 */
/* What the recurrent kinds put between the embeddings and the MLP:
 *
 *   h_t      first GRU over e_t, once a group
 *   q        PReLU(e_a Wq + bq), or e_a Wq for the inner product
 *   gru_att  second GRU over h_t, once a group; keys are its states, interest
 *            their attention-weighted sum
 *   dien     keys are h_t; a_t their attention; interest is the last state of
 *            a second GRU over h_t in which a_t takes part (gru.h), once a
 *            sample, its products of h_t once a group
 *
 * and the auxiliary loss of h_t and e_t+1 (auxiliary.h), once a group, with
 * the number of its samples as weight: exactly the mean over the cells of all
 * samples. Its divisor is counted over the whole batch before the phases.
 *
 * This file is the memory and the weights; evolution_rows.c the row phases.
 * One thread per shard in the phases, else alone. */
#ifndef LEARNER_EVOLUTION_H
#define LEARNER_EVOLUTION_H

#include "learner/auxiliary.h"
#include "learner/gru.h"

struct learner_net;
struct learner_shard;

enum {
    LEARNER_EVOLUTION_PARTIAL_SLOTS =
        2 * LEARNER_GRU_PARTIAL_SLOTS + LEARNER_AUXILIARY_PARTIAL_SLOTS + 3,
    LEARNER_EVOLUTION_SCRATCH_SLOTS =
        2 * (LEARNER_GRU_WORK_SLOTS + LEARNER_GRU_STEP_SLOTS) +
        LEARNER_AUXILIARY_WORK_SLOTS,
    LEARNER_EVOLUTION_ROOM_SLOTS = 2 * LEARNER_GRU_STEP_SLOTS + 8,
};

/* Gradients of weights, of one shard. */
struct learner_evolution_partial {
    struct learner_gru_partial gru[2];
    struct learner_auxiliary_partial auxiliary;
    float *dquery, *dquery_bias, *dquery_alpha; /* (D,ldH), (ldH), (ldH) */
};

/* Scratch of one shard, and its cells of the auxiliary loss. */
struct learner_evolution_shard {
    struct learner_gru_work work[2];
    struct learner_auxiliary_work auxiliary;
    size_t cell_begin, cell_end;
    double loss; /* sum over its cells, not divided */
};

struct learner_evolution_part {
    struct learner_gru_pack gru[2];
    struct learner_auxiliary_pack auxiliary;
    bool has_auxiliary;
    float *query, *query_bias, *query_alpha; /* (D,ldH), (ldH), (ldH) */
    float *query_turned;                     /* (H,ldD) */
    float *zero;                             /* (the wider of ldD, ldH) */
    float *slab;                             /* of the weights; OWNS */

    /* the batch at hand; OWNS, grows */
    struct learner_gru_sequence *by_group, *by_sample; /* (G), (B) */
    uint32_t *group_order, *sample_order;              /* (G), (B) scratch */
    struct learner_auxiliary_cell *cell;               /* (N) */
    size_t room_groups, room_samples, room_behaviors;
    double cells; /* what the auxiliary mean is divided by; 0: no loss */

    /* in the net's slab */
    float *product[2], *dproduct[2];  /* (N,ldP); one but for AIGRU */
    float *states, *dstates;          /* (N,ldH) h_t; dien: the net's keys */
    float *query_input;               /* (B,ldH) e_a Wq + bq */
    struct learner_gru_work steps[2]; /* rows of all shards; training */
};

enum base_status learner_evolution_init(struct learner_net *net,
                                        struct base_error *error)
    BASE_MUST_CHECK;
void learner_evolution_fini(struct learner_net *net);
/* Weights from dense (learner_dense_size). */
void learner_evolution_load(struct learner_net *net, const float *dense,
                            bool backward);

/* Slots of a shard's partial and scratch, and of the room that grows with the
 * batch; each returns how many. */
unsigned
learner_evolution_partial_slots(const struct learner_net *net,
                                struct learner_evolution_partial *partial,
                                struct learner_slot *slots);
unsigned learner_evolution_scratch_slots(const struct learner_net *net,
                                         struct learner_evolution_shard *shard,
                                         struct learner_slot *slots);
unsigned learner_evolution_room_slots(struct learner_net *net,
                                      struct learner_slot *slots);
/* After the room was made and the shards cut. */
enum base_status learner_evolution_begin(struct learner_net *net,
                                         struct base_error *error)
    BASE_MUST_CHECK;

/* Alone: gradients of the tensors from the summed partial into ddense; the
 * auxiliary loss, before its weight. */
void learner_evolution_collect(const struct learner_net *net, float *ddense);
double learner_evolution_loss(const struct learner_net *net);

/* Row phases. keys: states, query and key. evolve: interest from key and a
 * (dien). Back: evolve: da and dkey from dinterest (dien); keys: from dquery
 * and dkey to ditem and dhistory, both added to, with the auxiliary loss. */
void learner_evolution_keys(struct learner_net *net,
                            const struct learner_shard *shard);
void learner_evolution_evolve(struct learner_net *net,
                              const struct learner_shard *shard);
void learner_evolution_clear(struct learner_net *net,
                             const struct learner_shard *shard);
void learner_evolution_evolve_backward(struct learner_net *net,
                                       const struct learner_shard *shard);
void learner_evolution_keys_backward(struct learner_net *net,
                                     struct learner_shard *shard);

#endif
