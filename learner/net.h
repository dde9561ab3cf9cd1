/* SPDX-License-Identifier: Apache-2.0 */
/* The network of every kind (enum learner_kind), forward and backward over
 * the rows of a batch, from rows of tables to gradients of rows:
 *
 *   e_a, e_t  item embeddings of the candidate and of behavior t, (D); a
 *             multi-hot field is the mean of the rows present
 *   s         = sum_t e_t, or their mean                         (D)
 *   q, k_t    query and keys of the attention: e_a and e_t, or what the
 *             recurrent kinds make of them                       (K)
 *   a_t       attention of q to k_t (attention.c), through a softmax over t
 *             where configured
 *   interest  = sum_t a_t k_t, or an evolving GRU's last state   (I)
 *   x         = [profile; e_a; context; s; e_a . s; interest], the last two
 *             where the kind has them                            (X)
 *   y         = gamma x / sqrt(1.001) + beta
 *   f0, f1    = activation(W y + b), activation(W f0 + b)        (M0), (M1)
 *   logits    = W f1 + b                                         (2)
 *   margin    = logit 0 - logit 1 + extra, extra: first-order weights,
 *             crosses, the dense wide layer (wide.c), factors (factor.c)
 *   p         = sigma(margin)
 *
 * Behaviors are packed: there is no padding, an empty history gives 0.
 *
 * The work is cut into phases between which all workers meet; the functions
 * below are the phases' jobs. Row phases (net.c and what it calls) are cut
 * into shards, runs of whole groups, and their gradients of weights are kept
 * apart per shard and added in the order of shards. Column phases (mlp.c) are
 * cut into blocks of columns over all samples, so that Dice sees the whole
 * batch and gradients need no adding up. Rows of tables (embedding.c) are one
 * job a table.
 *
 * One thread per job; jobs of one phase write different places. Knows no
 * tables and no optimizer. */
#ifndef LEARNER_NET_H
#define LEARNER_NET_H

#include "learner/activation.h"
#include "learner/evolution.h"
#include "learner/kernel.h"
#include "learner/pack.h"
#include "learner/step.h"

enum {
    NET_TILE = 128, /* pairs whose first layers stay in cache */
    NET_BRIEF = 4,  /* behaviors of a short history, see pairs.c */
    NET_BLOCK = 48, /* columns of a block */
    NET_RUNS = 4,   /* runs that share a pass over the outer weights */
};

/* Gradients of weights that row phases make; padded. All 0 at the start of
 * learner_net_backward_rows(). */
struct learner_partial {
    float *dgamma, *dbeta;  /* (ldX), of the scaled gamma */
    float *daq;             /* (K,ldA0) of the split weights */
    float *dak, *dap;       /* (A0,ldK), turned */
    float *dao;             /* (K,A0 ldK), each turned */
    float *da0_bias;        /* (ldA0) */
    float *da1, *da1_bias;  /* (A0,ldA1), (ldA1) */
    float *da2;             /* (ldA1) */
    float *da2_bias;        /* (1) */
    float *dwide;           /* (3D) of column 0; column 1 the opposite */
    struct learner_evolution_partial evolution;
};

/* Scratch of one shard, and its gradients. */
struct learner_shard {
    uint32_t group_begin, group_end;
    float *tile0, *tile1;       /* (NET_TILE,ldA0), (NET_TILE,ldA1) */
    float *pair, *dpair;        /* (NET_TILE,2 ldK) */
    float *fold;                /* (runs,K,ldA0) runs: see fold.c */
    float *fold_turned, *dfold; /* (runs,A0,ldK) */
    float *fold_query;          /* (runs,ldK) */
    float *wide;                /* (3D) [e_a; s; e_a . s] of one sample */
    struct learner_partial partial;
    struct learner_evolution_shard evolution;
};

struct learner_layer {
    uint32_t in, out, ld_in, ld;       /* true widths, padded ones */
    float *z, *p, *f, *d;              /* (B,ld) */
    float *dweight, *dbias, *dalpha;   /* (in,ld), (ld), (ld) */
    float *mean, *variance, *scale;    /* (ld) of the batch */
};

struct learner_net {
    const struct learner_model *model; /* BORROWS */
    const struct learner_kernels *kernels;
    struct learner_pack pack;
    bool training; /* has room for the backward pass */
    unsigned shard_count;
    struct learner_shard *shards; /* (shard_count) OWNS */
    float *fixed;                 /* slab of what no batch grows; OWNS */
    float *partials;              /* (shard_count, partial_size) */
    size_t partial_size;

    /* the batch at hand; BORROWS */
    const struct learner_step_input *input;
    uint32_t samples, groups, behaviors;
    const uint32_t *group_begin, *history_begin;
    size_t *pair_begin; /* (G+1) a pair is (sample, behavior) OWNS */

    /* room: grows, never shrinks; slab OWNS. What the kind does not need has
     * no room; d...: training only. */
    size_t room_samples, room_groups, room_behaviors, room_pairs;
    float *slab;
    float *x, *y, *dx;       /* (B,ldX) */
    float *item, *ditem;     /* (B,ldD) e_a */
    float *history, *dhistory;   /* (N,ldD) e_t */
    float *negative, *dnegative; /* (N,ldD) e-hat_t; with auxiliary loss */
    float *s, *ds;           /* (G,ldD) */
    float *padding;          /* (ldD) the row that pads histories */
    float *query, *dquery;   /* (B,ldK) DIN: item itself */
    float *key, *dkey;       /* (N,ldK) DIN: history itself */
    float *qp, *dqp;         /* (B,ldA0) q (Wq + Wd) + b0 */
    float *a, *da;           /* (pairs) */
    float *h0, *h1;          /* (pairs,ldA0), (pairs,ldA1); training */
    float *interest, *dinterest; /* (B,ldI) */
    float *extra;            /* (B) */
    float *logit, *dlogit;   /* (B,16) */
    float *margin, *p, *plus, *minus; /* (B) margin, its sigma,
                                         softplus(margin), (-margin) */
    float *dmargin;          /* (B) */
    float *dbag;             /* (G) sum of dmargin over the group */
    struct learner_layer layer[2];
    float *dm2, *dm2_bias;   /* (M1,16), (16) */
    struct learner_evolution_part evolution; /* of the recurrent kinds */
};

enum base_status learner_net_init(struct learner_net *net,
                                  const struct learner_model *model,
                                  unsigned shards, bool training,
                                  struct base_error *error) BASE_MUST_CHECK;
void learner_net_fini(struct learner_net *net);

/* Makes room and cuts the batch into shards of about the same work. Weights
 * are not loaded. */
enum base_status learner_net_begin(struct learner_net *net,
                                   const struct learner_step_input *input,
                                   struct base_error *error) BASE_MUST_CHECK;

/* Weights from dense (learner_dense_size); what the backward pass needs of
 * them only where `backward`. */
void learner_net_load(struct learner_net *net, const float *dense,
                      bool backward);

/* Rows of a shard. */
struct learner_range {
    size_t sample, samples, behavior, behaviors;
};
struct learner_range learner_net_range(const struct learner_net *net,
                                       const struct learner_shard *shard);

static inline uint32_t learner_net_history(const struct learner_net *net,
                                           uint32_t group)
{
    return net->history_begin[group + 1] - net->history_begin[group];
}

/* True where a prediction too takes the statistics of its batch, so that it
 * goes through the column phases (dice_batch). */
static inline bool learner_net_batch_statistics(const struct learner_net *net)
{
    return net->model->config.dice_batch &&
           learner_model_has(net->model, TENSOR_MLP_0_MEAN);
}

/* True where the group's behavior t, counted over the batch, has a negative
 * to be set against. */
bool learner_net_has_negative(const struct learner_net *net, uint32_t group,
                              uint32_t t);

/* ---- phases -------------------------------------------------------------- */

/* Row phase: rows, then all that lies before the MLP, of a shard. */
void learner_net_forward_rows(struct learner_net *net, unsigned shard);
/* Row phase: from layer[0].d, or dmargin, to the gradients of embeddings and
 * the shard's partial. */
void learner_net_backward_rows(struct learner_net *net, unsigned shard);
/* Row phase, after forward_rows: logits of the shard's samples with moving
 * statistics. */
void learner_net_predict_rows(struct learner_net *net, unsigned shard);

/* Column phases: blocks of a layer (none without MLP), and one of them. */
unsigned learner_net_blocks(const struct learner_net *net, unsigned layer);
void learner_net_forward_block(struct learner_net *net, unsigned layer,
                               unsigned block);
void learner_net_backward_block(struct learner_net *net, unsigned layer,
                                unsigned block);

/* Alone, after the last column phase: logits of all samples. */
void learner_net_logits(struct learner_net *net);
/* Alone: probability (B) from the logits. */
void learner_net_probability(struct learner_net *net, float *probability);
/* Alone: loss, its gradient, the output layer's weights' gradient. label,
 * kind (B). Returns the loss. */
double learner_net_loss(struct learner_net *net, const uint8_t *label,
                        const uint8_t *kind);

/* Alone: adds the shards up and writes every tensor's gradient; ddense
 * (learner_dense_size) is overwritten. */
void learner_net_collect(struct learner_net *net, float *ddense);
/* Gradients of a table's rows, (U,W) overwritten; one job a table. */
void learner_net_collect_rows(const struct learner_net *net, unsigned table,
                              float *drows);
/* Alone: moves the statistics in dense (learner_dense_size). */
void learner_net_move(const struct learner_net *net, float *dense);

/* ---- parts of the row phases --------------------------------------------- */

/* embedding.c: rows into x, item, history; and into negative. */
void learner_embedding_gather(struct learner_net *net,
                              const struct learner_range *rows);
void learner_embedding_negatives(struct learner_net *net,
                                 const struct learner_range *rows);
/* The padding row, before the phases. */
void learner_embedding_pad(struct learner_net *net);

/* compose.c: s of the shard's groups; x and y of its samples; and back: dx
 * from layer[0].d; ditem, dhistory (both overwritten), ds, dinterest. */
void learner_compose_pool(struct learner_net *net,
                          const struct learner_shard *shard);
void learner_compose_forward(struct learner_net *net,
                             const struct learner_shard *shard);
void learner_compose_backward(struct learner_net *net,
                              const struct learner_shard *shard);

/* attention.c: a from query and key; interest = sum_t a_t k_t; and back: da
 * and dkey from dinterest; dquery and dkey from da. dquery and dkey are added
 * to. */
void learner_attention_forward(struct learner_net *net,
                               const struct learner_shard *shard);
void learner_attention_pool(struct learner_net *net,
                            const struct learner_shard *shard);
void learner_attention_unpool(struct learner_net *net,
                              const struct learner_shard *shard);
void learner_attention_backward(struct learner_net *net,
                                const struct learner_shard *shard);

/* wide.c: extra from first-order weights, crosses, the dense layer; and back:
 * dbag. Gradients of a field's first-order weights and of the crosses; drows
 * (U,W) are added to. */
void learner_wide_forward(struct learner_net *net,
                          const struct learner_shard *shard);
void learner_wide_backward(struct learner_net *net,
                           const struct learner_shard *shard);
void learner_wide_scatter(const struct learner_net *net, unsigned field,
                          float *drows);
void learner_wide_scatter_crosses(const struct learner_net *net,
                                  float *drows);
/* The dense layer's share of a group; ditem and ds are added to. */
void learner_wide_backward_dense(struct learner_net *net,
                                 const struct learner_shard *shard,
                                 uint32_t group);

/* factor.c: adds the second-order term to extra; its gradient to dx. */
void learner_factor_forward(struct learner_net *net,
                            const struct learner_range *rows);
void learner_factor_backward(struct learner_net *net,
                             const struct learner_range *rows);

/* How many of a multi-hot field's places have a row. */
static inline unsigned learner_places_present(const uint32_t *index,
                                              unsigned places)
{
    unsigned present = 0;
    for (unsigned i = 0; i < places; i++)
        present += index[i] != LEARNER_NO_ROW;
    return present;
}

#endif
