/* SPDX-License-Identifier: Apache-2.0 */
/* The MLP's input: the pooled history s and x = [profile; e_a; context; s;
 * e_a . s; interest], forward and backward; see net.h. Profile and context
 * were gathered in place. */
#include <string.h>

#include "learner/net.h"

/* Behaviors that s is made of beyond the history itself. */
static float pads_of(const struct learner_net *net, size_t size)
{
    uint32_t padded = net->input->padded_to;
    return padded > size ? (float)(padded - size) : 0;
}

/* What a sum is multiplied with to give s. */
static float share_of(const struct learner_net *net, size_t size)
{
    float count = (float)size + pads_of(net, size);
    bool mean = net->model->config.pooling == LEARNER_MEAN;
    return mean && count > 0 ? 1.0f / count : 1.0f;
}

static void pool_group(struct learner_net *net, uint32_t group)
{
    size_t ldD = net->model->ldD, size = learner_net_history(net, group);
    float *s = net->s + group * ldD;
    float pads = pads_of(net, size), share = share_of(net, size);
    memset(s, 0, ldD * sizeof *s);
    net->kernels->column_sum(s, net->history + net->history_begin[group] * ldD,
                             ldD, size, ldD);
    if (pads > 0)
        for (size_t j = 0; j < ldD; j++)
            s[j] += pads * net->padding[j];
    if (share != 1)
        for (size_t j = 0; j < ldD; j++)
            s[j] *= share;
}

void learner_compose_pool(struct learner_net *net,
                          const struct learner_shard *shard)
{
    for (uint32_t g = shard->group_begin; g < shard->group_end; g++)
        pool_group(net, g);
}

/* x of one sample; s (D) of its group */
static void compose(struct learner_net *net, uint32_t sample, const float *s)
{
    const struct learner_model *model = net->model;
    const struct learner_parts *part = &model->part;
    size_t D = model->D;
    const float *item = net->item + (size_t)sample * model->ldD;
    float *x = net->x + (size_t)sample * model->ldX;
    memcpy(x + part->item, item, D * sizeof *x);
    memcpy(x + part->sum, s, D * sizeof *x);
    if (model->has_product)
        for (size_t j = 0; j < D; j++)
            x[part->product + j] = item[j] * s[j];
    if (model->I > 0)
        memcpy(x + part->interest, net->interest + (size_t)sample * model->ldI,
               model->I * sizeof *x);
}

void learner_compose_forward(struct learner_net *net,
                             const struct learner_shard *shard)
{
    struct learner_range rows = learner_net_range(net, shard);
    const struct learner_pack *pack = &net->pack;
    size_t ldX = net->model->ldX;
    for (uint32_t g = shard->group_begin; g < shard->group_end; g++)
        for (uint32_t i = net->group_begin[g]; i < net->group_begin[g + 1];
             i++)
            compose(net, i, net->s + (size_t)g * net->model->ldD);
    net->kernels->affine(net->y + rows.sample * ldX, net->x + rows.sample * ldX,
                         ldX, rows.samples, ldX, pack->gamma, pack->beta);
}

/* ditem, dinterest of one sample; ds (D) of its group is added to */
static void decompose(struct learner_net *net, size_t sample, const float *s,
                      float *ds)
{
    const struct learner_model *model = net->model;
    const struct learner_parts *part = &model->part;
    const float *dx = net->dx + sample * model->ldX;
    const float *item = net->item + sample * model->ldD;
    float *ditem = net->ditem + sample * model->ldD;
    if (model->I > 0)
        memcpy(net->dinterest + sample * model->ldI, dx + part->interest,
               model->I * sizeof *dx);
    for (size_t j = 0; j < model->D; j++) {
        if (!model->has_product) {
            ditem[j] = dx[part->item + j];
            ds[j] += dx[part->sum + j];
            continue;
        }
        float dproduct = dx[part->product + j];
        ditem[j] = dx[part->item + j] + dproduct * s[j];
        ds[j] += dx[part->sum + j] + dproduct * item[j];
    }
}

/* ds: of s, then of what was summed; it is every behavior's gradient */
static void decompose_group(struct learner_net *net,
                            const struct learner_shard *shard, uint32_t group)
{
    size_t ldD = net->model->ldD, size = learner_net_history(net, group);
    const float *s = net->s + group * ldD;
    float *ds = net->ds + group * ldD, share = share_of(net, size);
    memset(ds, 0, ldD * sizeof *ds);
    for (uint32_t i = net->group_begin[group]; i < net->group_begin[group + 1];
         i++)
        decompose(net, i, s, ds);
    if (net->model->has_wide)
        learner_wide_backward_dense(net, shard, group);
    if (share != 1)
        for (size_t j = 0; j < ldD; j++)
            ds[j] *= share;
    for (size_t t = net->history_begin[group];
         t < net->history_begin[group + 1]; t++)
        memcpy(net->dhistory + t * ldD, ds, ldD * sizeof *ds);
}

void learner_compose_backward(struct learner_net *net,
                              const struct learner_shard *shard)
{
    const struct learner_kernels *kernels = net->kernels;
    const struct learner_layer *layer = &net->layer[0];
    struct learner_range rows = learner_net_range(net, shard);
    size_t ldX = net->model->ldX;
    float *dx = net->dx + rows.sample * ldX;
    kernels->gemm(dx, ldX, layer->d + rows.sample * layer->ld, layer->ld,
                  net->pack.m0_turned, ldX, rows.samples, layer->out, ldX,
                  net->pack.zero);
    kernels->affine_backward(dx, shard->partial.dgamma, shard->partial.dbeta,
                             net->x + rows.sample * ldX, ldX, rows.samples,
                             ldX, net->pack.gamma);
    if (net->model->has_factors)
        learner_factor_backward(net, &rows);
    for (uint32_t g = shard->group_begin; g < shard->group_end; g++)
        decompose_group(net, shard, g);
}
