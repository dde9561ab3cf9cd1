/* SPDX-License-Identifier: Apache-2.0 */
/* Attention of a query q (K) of each sample to the keys k_t (K) of its
 * group's behaviors:
 *
 *   unit   v = [q; k; q - k; q . k] or [q; q (x) k; k],
 *          a_t = w2 sigma(W1 sigma(W0 v + b0) + b1) + b2
 *   inner  a_t = q . k_t
 *
 * through a softmax over t where configured, and the weighted sum of keys;
 * forward and backward. fold.c is the first layer. Pairs are walked in tiles:
 * rows of the first layers are laid out for up to NET_TILE pairs of several
 * samples, so that short histories fill the second layer's products too. */
#include <string.h>

#include "learner/attention.h"

struct tile {
    struct learner_run runs[NET_TILE];
    unsigned run_count;
    size_t first, rows;             /* pairs */
    bool brief;                     /* of short histories; else of none */
    uint32_t group, sample, offset; /* where the next tile starts */
};

static void first_tile(const struct learner_net *net,
                       const struct learner_shard *shard, struct tile *tile)
{
    tile->group = shard->group_begin;
    tile->sample = net->group_begin[tile->group];
    tile->offset = 0;
    tile->rows = 0;
    tile->first = net->pair_begin[tile->group];
}

/* A function of the history alone: a score does not depend on its batch. */
static bool is_brief(const struct learner_net *net, uint32_t size)
{
    return size <= NET_BRIEF &&
           net->model->config.attention != LEARNER_ATTENTION_OUTER;
}

/* The next at most NET_TILE pairs; false at the end of the shard. */
static bool next_tile(const struct learner_net *net,
                      const struct learner_shard *shard, struct tile *tile)
{
    tile->first += tile->rows;
    tile->rows = 0;
    tile->run_count = 0;
    while (tile->rows < NET_TILE && tile->group < shard->group_end) {
        uint32_t size = learner_net_history(net, tile->group);
        if (size == 0 || tile->sample == net->group_begin[tile->group + 1]) {
            tile->group++;
            tile->sample = net->group_begin[tile->group];
            continue;
        }
        uint32_t count = size - tile->offset;
        bool fits = count <= NET_TILE - tile->rows;
        if (tile->rows > 0 && (!fits || tile->brief != is_brief(net, size)))
            break; /* few, long runs: each has a matrix of its own */
        if (!fits)
            count = NET_TILE;
        tile->brief = is_brief(net, size);
        tile->runs[tile->run_count++] = (struct learner_run){
            tile->sample, net->history_begin[tile->group] + tile->offset,
            count};
        tile->rows += count;
        tile->offset += count;
        if (tile->offset == size) {
            tile->offset = 0;
            tile->sample++;
        }
    }
    return tile->rows > 0;
}

/* h0, h1 (rows,ldA0), (rows,ldA1) and the scores of a tile */
static void score_tile(struct learner_net *net,
                       const struct learner_shard *shard,
                       const struct tile *tile, float *h0, float *h1)
{
    const struct learner_kernels *kernels = net->kernels;
    const struct learner_model *model = net->model;
    const struct learner_pack *pack = &net->pack;
    size_t ldA0 = model->ldA0, ldA1 = model->ldA1;
    (tile->brief ? learner_pairs_forward : learner_fold_forward)(
        net, shard, tile->runs, tile->run_count, h0);
    kernels->sigmoid(h0, tile->rows * ldA0);
    kernels->gemm(h1, ldA1, h0, ldA0, pack->a1, ldA1, tile->rows, model->A0,
                  ldA1, pack->a1_bias);
    kernels->sigmoid(h1, tile->rows * ldA1);
    kernels->row_dot(net->a + tile->first, h1, ldA1, tile->rows, ldA1,
                     pack->a2, pack->a2_bias);
}

static void score_unit(struct learner_net *net,
                       const struct learner_shard *shard)
{
    const struct learner_kernels *kernels = net->kernels;
    const struct learner_model *model = net->model;
    const struct learner_pack *pack = &net->pack;
    struct learner_range rows = learner_net_range(net, shard);
    size_t ldK = model->ldK, ldA0 = model->ldA0;
    kernels->gemm(net->qp + rows.sample * ldA0, ldA0,
                  net->query + rows.sample * ldK, ldK, pack->aq, ldA0,
                  rows.samples, model->K, ldA0, pack->a0_bias);
    struct tile tile;
    first_tile(net, shard, &tile);
    while (next_tile(net, shard, &tile)) {
        bool keep = net->training;
        score_tile(net, shard, &tile,
                   keep ? net->h0 + tile.first * ldA0 : shard->tile0,
                   keep ? net->h1 + tile.first * model->ldA1 : shard->tile1);
    }
}

/* a (n) = softmax(a), in place. exponential() works on whole vectors, hence
 * by way of `lanes`. */
static void softmax(const struct learner_kernels *kernels, float *a, size_t n)
{
    float top = a[0], sum = 0, lanes[16] = {0};
    for (size_t i = 1; i < n; i++)
        top = a[i] > top ? a[i] : top;
    for (size_t i = 0; i < n; i += 16) {
        size_t count = n - i < 16 ? n - i : 16;
        for (size_t j = 0; j < count; j++)
            lanes[j] = a[i + j] - top;
        kernels->exponential(lanes, 16);
        for (size_t j = 0; j < count; j++) {
            a[i + j] = lanes[j];
            sum += lanes[j];
        }
    }
    for (size_t i = 0; i < n; i++)
        a[i] /= sum;
}

/* da (n): gradient of the weights in, of the scores out. What the mean lost to
 * rounding is taken out of what is left: the biases see nothing but the sum,
 * which is 0 but for rounding. */
static void softmax_backward(float *da, const float *a, size_t n)
{
    float sum = 0, rest = 0;
    for (size_t i = 0; i < n; i++)
        sum += da[i] * a[i];
    for (size_t i = 0; i < n; i++) {
        da[i] -= sum;
        rest += da[i] * a[i];
    }
    for (size_t i = 0; i < n; i++)
        da[i] = a[i] * (da[i] - rest);
}

/* One sample with all behaviors of its group. */
struct pairs {
    size_t first, size;     /* pairs */
    size_t sample, behavior;
};

/* work(net, pairs) for each sample of the shard that has a history */
static void each_sample(struct learner_net *net,
                        const struct learner_shard *shard,
                        void (*work)(struct learner_net *net,
                                     const struct pairs *pairs))
{
    for (uint32_t g = shard->group_begin; g < shard->group_end; g++) {
        struct pairs pairs = {net->pair_begin[g], learner_net_history(net, g),
                              net->group_begin[g], net->history_begin[g]};
        if (pairs.size == 0)
            continue;
        for (; pairs.sample < net->group_begin[g + 1]; pairs.sample++) {
            work(net, &pairs);
            pairs.first += pairs.size;
        }
    }
}

static void score_inner(struct learner_net *net, const struct pairs *pairs)
{
    size_t ldK = net->model->ldK;
    net->kernels->row_dot(net->a + pairs->first,
                          net->key + pairs->behavior * ldK, ldK, pairs->size,
                          ldK, net->query + pairs->sample * ldK, 0.0f);
}

static void normalize(struct learner_net *net, const struct pairs *pairs)
{
    softmax(net->kernels, net->a + pairs->first, pairs->size);
}

void learner_attention_forward(struct learner_net *net,
                               const struct learner_shard *shard)
{
    if (net->model->has_unit)
        score_unit(net, shard);
    else
        each_sample(net, shard, score_inner);
    if (net->model->config.attention_softmax)
        each_sample(net, shard, normalize);
}

static void pool(struct learner_net *net, const struct pairs *pairs)
{
    size_t ldK = net->model->ldK;
    net->kernels->weighted_sum(net->interest + pairs->sample * ldK,
                               net->key + pairs->behavior * ldK, ldK,
                               pairs->size, ldK, net->a + pairs->first);
}

void learner_attention_pool(struct learner_net *net,
                            const struct learner_shard *shard)
{
    struct learner_range rows = learner_net_range(net, shard);
    size_t ldI = net->model->ldI;
    memset(net->interest + rows.sample * ldI, 0,
           rows.samples * ldI * sizeof *net->interest);
    each_sample(net, shard, pool);
}

/* ---- backward ------------------------------------------------------------ */

static void unpool(struct learner_net *net, const struct pairs *pairs)
{
    size_t ldK = net->model->ldK, begin = pairs->behavior * ldK;
    const float *dinterest = net->dinterest + pairs->sample * ldK;
    net->kernels->row_dot(net->da + pairs->first, net->key + begin, ldK,
                          pairs->size, ldK, dinterest, 0.0f);
    net->kernels->row_spread(net->dkey + begin, ldK, pairs->size, ldK,
                             net->a + pairs->first, dinterest);
}

void learner_attention_unpool(struct learner_net *net,
                              const struct learner_shard *shard)
{
    each_sample(net, shard, unpool);
}

static void normalize_backward(struct learner_net *net,
                               const struct pairs *pairs)
{
    softmax_backward(net->da + pairs->first, net->a + pairs->first,
                     pairs->size);
}

static void score_inner_backward(struct learner_net *net,
                                 const struct pairs *pairs)
{
    size_t ldK = net->model->ldK, begin = pairs->behavior * ldK;
    const float *da = net->da + pairs->first;
    net->kernels->weighted_sum(net->dquery + pairs->sample * ldK,
                               net->key + begin, ldK, pairs->size, ldK, da);
    net->kernels->row_spread(net->dkey + begin, ldK, pairs->size, ldK, da,
                             net->query + pairs->sample * ldK);
}

static void backward_tile(struct learner_net *net,
                          const struct learner_shard *shard,
                          const struct tile *tile)
{
    const struct learner_kernels *kernels = net->kernels;
    const struct learner_model *model = net->model;
    const struct learner_pack *pack = &net->pack;
    const struct learner_partial *partial = &shard->partial;
    size_t ldA0 = model->ldA0, ldA1 = model->ldA1;
    const float *h0 = net->h0 + tile->first * ldA0;
    const float *h1 = net->h1 + tile->first * ldA1;
    const float *da = net->da + tile->first;
    float *d0 = shard->tile0, *d1 = shard->tile1;
    for (size_t i = 0; i < tile->rows; i++)
        *partial->da2_bias += da[i];
    kernels->weighted_sum(partial->da2, h1, ldA1, tile->rows, ldA1, da);
    kernels->output_backward(d1, h1, ldA1, tile->rows, ldA1, da, pack->a2);
    kernels->column_sum(partial->da1_bias, d1, ldA1, tile->rows, ldA1);
    kernels->gemm_tn(partial->da1, ldA1, h0, ldA0, d1, ldA1, model->A0,
                     tile->rows, ldA1, NULL);
    kernels->gemm(d0, ldA0, d1, ldA1, pack->a1_turned, ldA0, tile->rows,
                  model->A1, ldA0, pack->zero);
    kernels->sigmoid_backward(d0, h0, tile->rows * ldA0);
    (tile->brief ? learner_pairs_backward : learner_fold_backward)(
        net, shard, tile->runs, tile->run_count, d0);
}

/* The part of the first layer that was made once per sample */
static void backward_query(struct learner_net *net,
                           const struct learner_shard *shard,
                           const struct learner_range *rows)
{
    const struct learner_kernels *kernels = net->kernels;
    const struct learner_model *model = net->model;
    const struct learner_pack *pack = &net->pack;
    const struct learner_partial *partial = &shard->partial;
    size_t K = model->K, ldK = model->ldK, A0 = model->A0, ldA0 = model->ldA0;
    const float *dqp = net->dqp + rows->sample * ldA0;
    kernels->column_sum(partial->da0_bias, dqp, ldA0, rows->samples, ldA0);
    kernels->gemm_tn(partial->daq, ldA0, net->query + rows->sample * ldK, ldK,
                     dqp, ldA0, K, rows->samples, ldA0, NULL);
    kernels->gemm(net->dquery + rows->sample * ldK, ldK, dqp, ldA0,
                  pack->aq_turned, ldK, rows->samples, A0, ldK, NULL);
}

void learner_attention_backward(struct learner_net *net,
                                const struct learner_shard *shard)
{
    struct learner_range rows = learner_net_range(net, shard);
    size_t ldA0 = net->model->ldA0;
    if (net->model->config.attention_softmax)
        each_sample(net, shard, normalize_backward);
    if (!net->model->has_unit) {
        each_sample(net, shard, score_inner_backward);
        return;
    }
    memset(net->dqp + rows.sample * ldA0, 0,
           rows.samples * ldA0 * sizeof *net->dqp);
    struct tile tile;
    first_tile(net, shard, &tile);
    while (next_tile(net, shard, &tile))
        backward_tile(net, shard, &tile);
    backward_query(net, shard, &rows);
}
