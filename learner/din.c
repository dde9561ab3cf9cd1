/* SPDX-License-Identifier: Apache-2.0 */
/* DIN's row phases: attention and the MLP's input, forward and backward; see
 * din.h for the equations and pack.h for the split of the first layer. Pairs
 * are walked in tiles: rows of h0 and of q.k are laid out for up to DIN_TILE
 * pairs of several samples, so that short histories fill the products too. */
#include "learner/din.h"

#include <stdlib.h>
#include <string.h>

/* count pairs of one sample with consecutive behaviors */
struct run {
    uint32_t sample, behavior, count;
};

struct tile {
    struct run runs[DIN_TILE];
    unsigned run_count;
    size_t first, rows;             /* pairs */
    uint32_t group, sample, offset; /* where the next tile starts */
};

static uint32_t history_size(const struct learner_din *din, uint32_t group)
{
    return din->history_begin[group + 1] - din->history_begin[group];
}

static void first_tile(const struct learner_din *din,
                       const struct learner_din_shard *shard,
                       struct tile *tile)
{
    tile->group = shard->group_begin;
    tile->sample = din->group_begin[tile->group];
    tile->offset = 0;
    tile->rows = 0;
    tile->first = din->pair_begin[tile->group];
}

/* The next at most DIN_TILE pairs; false at the end of the shard. */
static bool next_tile(const struct learner_din *din,
                      const struct learner_din_shard *shard,
                      struct tile *tile)
{
    tile->first += tile->rows;
    tile->rows = 0;
    tile->run_count = 0;
    while (tile->rows < DIN_TILE && tile->group < shard->group_end) {
        uint32_t size = history_size(din, tile->group);
        if (size == 0 || tile->sample == din->group_begin[tile->group + 1]) {
            tile->group++;
            tile->sample = din->group_begin[tile->group];
            continue;
        }
        uint32_t count = size - tile->offset;
        if (count > DIN_TILE - tile->rows)
            count = (uint32_t)(DIN_TILE - tile->rows);
        tile->runs[tile->run_count++] = (struct run){
            tile->sample, din->history_begin[tile->group] + tile->offset,
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

/* product (rows,ldD) = e_a . e_t */
static void multiply_pairs(const struct learner_din *din,
                           const struct tile *tile, float *product)
{
    size_t ldD = din->model->ldD;
    for (unsigned i = 0; i < tile->run_count; i++) {
        const struct run *run = &tile->runs[i];
        din->kernels->row_multiply(product, din->q + run->sample * ldD,
                                   din->k + run->behavior * ldD, ldD,
                                   run->count, ldD);
        product += run->count * ldD;
    }
}

/* h0, h1 (rows,ldA0), (rows,ldA1) and the scores of a tile */
static void score_tile(struct learner_din *din,
                       const struct learner_din_shard *shard,
                       const struct tile *tile, float *h0, float *h1)
{
    const struct learner_kernels *kernels = din->kernels;
    const struct learner_model *model = din->model;
    const struct learner_pack *pack = &din->pack;
    size_t ldD = model->ldD, ldA0 = model->ldA0, ldA1 = model->ldA1;
    float *at = h0;
    for (unsigned i = 0; i < tile->run_count; i++) {
        const struct run *run = &tile->runs[i];
        kernels->row_add(at, din->qp + run->sample * ldA0,
                         din->kp + run->behavior * ldA0, ldA0, run->count,
                         ldA0);
        at += run->count * ldA0;
    }
    multiply_pairs(din, tile, shard->product);
    kernels->gemm(h0, ldA0, shard->product, ldD, pack->ap, ldA0, tile->rows,
                  model->D, ldA0, NULL);
    kernels->sigmoid(h0, tile->rows * ldA0);
    kernels->gemm(h1, ldA1, h0, ldA0, pack->a1, ldA1, tile->rows,
                  model->config.attention_hidden[0], ldA1, pack->a1_bias);
    kernels->sigmoid(h1, tile->rows * ldA1);
    kernels->row_dot(din->a + tile->first, h1, ldA1, tile->rows, ldA1,
                     pack->a2, pack->a2_bias);
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

/* da (n): gradient of the weights in, of the scores out */
static void softmax_backward(float *da, const float *a, size_t n)
{
    float sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += da[i] * a[i];
    for (size_t i = 0; i < n; i++)
        da[i] = a[i] * (da[i] - sum);
}

/* Starts of the parts of x that are made here; profile and context were
 * gathered in place. */
struct parts {
    size_t item, sum, product, attention;
};

static struct parts parts_of(const struct learner_model *model)
{
    size_t D = model->D, sum = model->P + D + model->C;
    return (struct parts){model->P, sum, sum + D, sum + 2 * D};
}

/* x of one sample; s (D) of its group, pooled (D) */
static void compose(struct learner_din *din, uint32_t sample, const float *s,
                    const float *pooled)
{
    const struct learner_model *model = din->model;
    struct parts part = parts_of(model);
    size_t D = model->D;
    const float *q = din->q + (size_t)sample * model->ldD;
    float *x = din->x + (size_t)sample * model->ldX;
    memcpy(x + part.item, q, D * sizeof *x);
    memcpy(x + part.sum, s, D * sizeof *x);
    for (size_t j = 0; j < D; j++)
        x[part.product + j] = q[j] * s[j];
    memcpy(x + part.attention, pooled, D * sizeof *x);
}

static void pool_group(struct learner_din *din,
                       const struct learner_din_shard *shard, uint32_t group)
{
    const struct learner_kernels *kernels = din->kernels;
    size_t ldD = din->model->ldD, size = history_size(din, group);
    const float *k = din->k + din->history_begin[group] * ldD;
    float *s = din->s + group * ldD;
    memset(s, 0, ldD * sizeof *s);
    kernels->column_sum(s, k, ldD, size, ldD);
    float *a = din->a + din->pair_begin[group];
    for (uint32_t i = din->group_begin[group]; i < din->group_begin[group + 1];
         i++, a += size) {
        if (din->model->config.attention_softmax && size > 0)
            softmax(kernels, a, size);
        memset(shard->row, 0, ldD * sizeof *shard->row);
        kernels->weighted_sum(shard->row, k, ldD, size, ldD, a);
        compose(din, i, s, shard->row);
    }
}

/* Rows of a shard. */
struct range {
    size_t sample, samples, behavior, behaviors;
};

static struct range range_of(const struct learner_din *din,
                             const struct learner_din_shard *shard)
{
    uint32_t sample = din->group_begin[shard->group_begin];
    uint32_t behavior = din->history_begin[shard->group_begin];
    return (struct range){
        sample, din->group_begin[shard->group_end] - sample, behavior,
        din->history_begin[shard->group_end] - behavior};
}

void learner_din_forward_rows(struct learner_din *din, unsigned index)
{
    const struct learner_din_shard *shard = &din->shards[index];
    const struct learner_kernels *kernels = din->kernels;
    const struct learner_model *model = din->model;
    const struct learner_pack *pack = &din->pack;
    struct range rows = range_of(din, shard);
    size_t ldD = model->ldD, ldA0 = model->ldA0, ldX = model->ldX;
    kernels->gemm(din->qp + rows.sample * ldA0, ldA0,
                  din->q + rows.sample * ldD, ldD, pack->aq, ldA0,
                  rows.samples, model->D, ldA0, pack->a0_bias);
    kernels->gemm(din->kp + rows.behavior * ldA0, ldA0,
                  din->k + rows.behavior * ldD, ldD, pack->ak, ldA0,
                  rows.behaviors, model->D, ldA0, pack->zero);
    struct tile tile;
    first_tile(din, shard, &tile);
    while (next_tile(din, shard, &tile)) {
        bool keep = din->training;
        score_tile(din, shard, &tile,
                   keep ? din->h0 + tile.first * ldA0 : shard->tile0,
                   keep ? din->h1 + tile.first * model->ldA1 : shard->tile1);
    }
    for (uint32_t g = shard->group_begin; g < shard->group_end; g++)
        pool_group(din, shard, g);
    kernels->affine(din->y + rows.sample * ldX, din->x + rows.sample * ldX,
                    ldX, rows.samples, ldX, pack->gamma, pack->beta);
}

/* dq and the group's share of dk: through [e_a], [s] and [e_a . s] */
static void decompose_group(struct learner_din *din,
                            const struct learner_din_shard *shard,
                            uint32_t group)
{
    const struct learner_model *model = din->model;
    struct parts part = parts_of(model);
    size_t D = model->D, ldD = model->ldD;
    const float *s = din->s + group * ldD;
    float *ds = shard->row;
    memset(ds, 0, ldD * sizeof *ds);
    for (uint32_t i = din->group_begin[group]; i < din->group_begin[group + 1];
         i++) {
        const float *dx = din->dx + (size_t)i * model->ldX;
        const float *q = din->q + i * ldD;
        float *dq = din->dq + i * ldD;
        for (size_t j = 0; j < D; j++) {
            float dproduct = dx[part.product + j];
            dq[j] = dx[part.item + j] + dproduct * s[j];
            ds[j] += dx[part.sum + j] + dproduct * q[j];
        }
    }
    for (uint32_t t = din->history_begin[group];
         t < din->history_begin[group + 1]; t++)
        memcpy(din->dk + t * ldD, ds, ldD * sizeof *ds);
}

/* da and dk through sum_t a_t e_t */
static void unpool_group(struct learner_din *din,
                         const struct learner_din_shard *shard, uint32_t group)
{
    const struct learner_kernels *kernels = din->kernels;
    const struct learner_model *model = din->model;
    size_t ldD = model->ldD, size = history_size(din, group);
    size_t begin = din->history_begin[group] * ldD;
    size_t pair = din->pair_begin[group];
    for (uint32_t i = din->group_begin[group]; i < din->group_begin[group + 1];
         i++, pair += size) {
        const float *dx = din->dx + (size_t)i * model->ldX;
        memcpy(shard->drow, dx + parts_of(model).attention,
               model->D * sizeof *dx);
        kernels->row_dot(din->da + pair, din->k + begin, ldD, size, ldD,
                         shard->drow, 0.0f);
        kernels->row_spread(din->dk + begin, ldD, size, ldD, din->a + pair,
                            shard->drow);
        if (model->config.attention_softmax)
            softmax_backward(din->da + pair, din->a + pair, size);
    }
}

/* d0 (rows,ldA0): gradient of the first layer's input of a tile, into dqp,
 * dkp, dq, dk */
static void scatter_tile(struct learner_din *din,
                         const struct learner_din_shard *shard,
                         const struct tile *tile)
{
    const struct learner_kernels *kernels = din->kernels;
    size_t ldD = din->model->ldD, ldA0 = din->model->ldA0;
    const float *d0 = shard->tile0, *dproduct = shard->dproduct;
    for (unsigned i = 0; i < tile->run_count; i++) {
        const struct run *run = &tile->runs[i];
        size_t sample = run->sample, behavior = run->behavior;
        kernels->row_add_backward(din->dqp + sample * ldA0,
                                  din->dkp + behavior * ldA0, d0, ldA0,
                                  run->count, ldA0);
        kernels->row_multiply_backward(
            din->dq + sample * ldD, din->dk + behavior * ldD, dproduct,
            din->q + sample * ldD, din->k + behavior * ldD, ldD, run->count,
            ldD);
        d0 += run->count * ldA0;
        dproduct += run->count * ldD;
    }
}

static void backward_tile(struct learner_din *din,
                          const struct learner_din_shard *shard,
                          const struct tile *tile)
{
    const struct learner_kernels *kernels = din->kernels;
    const struct learner_model *model = din->model;
    const struct learner_pack *pack = &din->pack;
    const struct learner_din_partial *partial = &shard->partial;
    size_t ldD = model->ldD, ldA0 = model->ldA0, ldA1 = model->ldA1;
    size_t A0 = model->config.attention_hidden[0];
    size_t A1 = model->config.attention_hidden[1];
    const float *h0 = din->h0 + tile->first * ldA0;
    const float *h1 = din->h1 + tile->first * ldA1;
    const float *da = din->da + tile->first;
    float *d0 = shard->tile0, *d1 = shard->tile1;
    for (size_t i = 0; i < tile->rows; i++)
        *partial->da2_bias += da[i];
    kernels->weighted_sum(partial->da2, h1, ldA1, tile->rows, ldA1, da);
    kernels->output_backward(d1, h1, ldA1, tile->rows, ldA1, da, pack->a2);
    kernels->column_sum(partial->da1_bias, d1, ldA1, tile->rows, ldA1);
    kernels->gemm_tn(partial->da1, ldA1, h0, ldA0, d1, ldA1, A0, tile->rows,
                     ldA1, NULL);
    kernels->gemm(d0, ldA0, d1, ldA1, pack->a1_turned, ldA0, tile->rows, A1,
                  ldA0, pack->zero);
    kernels->sigmoid_backward(d0, h0, tile->rows * ldA0);
    multiply_pairs(din, tile, shard->product);
    kernels->gemm_tn(partial->dap, ldA0, shard->product, ldD, d0, ldA0,
                     model->D, tile->rows, ldA0, NULL);
    kernels->gemm(shard->dproduct, ldD, d0, ldA0, pack->ap_turned, ldD,
                  tile->rows, A0, ldD, pack->zero);
    scatter_tile(din, shard, tile);
}

/* The parts of the first layer that were made once per sample and behavior */
static void backward_split(struct learner_din *din,
                           const struct learner_din_shard *shard,
                           const struct range *rows)
{
    const struct learner_kernels *kernels = din->kernels;
    const struct learner_model *model = din->model;
    const struct learner_pack *pack = &din->pack;
    const struct learner_din_partial *partial = &shard->partial;
    size_t D = model->D, ldD = model->ldD, ldA0 = model->ldA0;
    size_t A0 = model->config.attention_hidden[0];
    const float *dqp = din->dqp + rows->sample * ldA0;
    const float *dkp = din->dkp + rows->behavior * ldA0;
    kernels->column_sum(partial->da0_bias, dqp, ldA0, rows->samples, ldA0);
    kernels->gemm_tn(partial->daq, ldA0, din->q + rows->sample * ldD, ldD, dqp,
                     ldA0, D, rows->samples, ldA0, NULL);
    kernels->gemm_tn(partial->dak, ldA0, din->k + rows->behavior * ldD, ldD,
                     dkp, ldA0, D, rows->behaviors, ldA0, NULL);
    kernels->gemm(din->dq + rows->sample * ldD, ldD, dqp, ldA0,
                  pack->aq_turned, ldD, rows->samples, A0, ldD, NULL);
    kernels->gemm(din->dk + rows->behavior * ldD, ldD, dkp, ldA0,
                  pack->ak_turned, ldD, rows->behaviors, A0, ldD, NULL);
}

void learner_din_backward_rows(struct learner_din *din, unsigned index)
{
    const struct learner_din_shard *shard = &din->shards[index];
    const struct learner_kernels *kernels = din->kernels;
    const struct learner_model *model = din->model;
    const struct learner_din_layer *layer = &din->layer[0];
    struct range rows = range_of(din, shard);
    size_t ldX = model->ldX, ldA0 = model->ldA0;
    float *dx = din->dx + rows.sample * ldX;
    memset(din->partials + index * din->partial_size, 0,
           din->partial_size * sizeof *din->partials);
    kernels->gemm(dx, ldX, layer->d + rows.sample * layer->ld, layer->ld,
                  din->pack.m0_turned, ldX, rows.samples, layer->out, ldX,
                  din->pack.zero);
    kernels->affine_backward(dx, shard->partial.dgamma, shard->partial.dbeta,
                             din->x + rows.sample * ldX, ldX, rows.samples,
                             ldX, din->pack.gamma);
    for (uint32_t g = shard->group_begin; g < shard->group_end; g++) {
        decompose_group(din, shard, g);
        unpool_group(din, shard, g);
    }
    memset(din->dqp + rows.sample * ldA0, 0,
           rows.samples * ldA0 * sizeof *din->dqp);
    memset(din->dkp + rows.behavior * ldA0, 0,
           rows.behaviors * ldA0 * sizeof *din->dkp);
    struct tile tile;
    first_tile(din, shard, &tile);
    while (next_tile(din, shard, &tile))
        backward_tile(din, shard, &tile);
    backward_split(din, shard, &rows);
}
