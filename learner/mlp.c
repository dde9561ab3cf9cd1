/* SPDX-License-Identifier: Apache-2.0 */
/* The MLP's column phases: over the whole batch, cut by columns of its
 * layers; and its rows one by one for a prediction. See net.h. */
#include <string.h>

#include "learner/net.h"

/* Columns [begin, begin + width) of a layer. */
struct block {
    size_t begin, width;
};

unsigned learner_net_blocks(const struct learner_net *net, unsigned layer)
{
    return (net->layer[layer].ld + NET_BLOCK - 1) / NET_BLOCK;
}

static struct block block_of(const struct learner_layer *layer,
                             unsigned index)
{
    size_t begin = (size_t)index * NET_BLOCK, left = layer->ld - begin;
    return (struct block){begin, left < NET_BLOCK ? left : NET_BLOCK};
}

/* Statistics of the batch, or the moving ones. */
static struct learner_activation_layer
activation_of(const struct learner_net *net, unsigned layer, bool moving)
{
    const struct learner_layer *own = &net->layer[layer];
    const struct learner_pack *pack = &net->pack;
    return (struct learner_activation_layer){
        .kind = net->model->config.activation,
        .ld = own->ld,
        .alpha = pack->alpha[layer],
        .epsilon = net->model->config.dice_epsilon,
        .mean = moving ? pack->mean[layer] : own->mean,
        .variance = moving ? pack->variance[layer] : own->variance,
        .scale = moving ? pack->scale[layer] : own->scale,
    };
}

static const float *input_of(const struct learner_net *net, unsigned layer)
{
    return layer ? net->layer[0].f : net->y;
}

static const float *weight_of(const struct learner_net *net, unsigned layer)
{
    return layer ? net->pack.m1 : net->pack.m0;
}

static const float *bias_of(const struct learner_net *net, unsigned layer)
{
    return layer ? net->pack.m1_bias : net->pack.m0_bias;
}

void learner_net_forward_block(struct learner_net *net, unsigned index,
                               unsigned block_index)
{
    struct learner_layer *layer = &net->layer[index];
    struct block block = block_of(layer, block_index);
    struct learner_activation_layer activation =
        activation_of(net, index, false);
    float *p = net->training ? layer->p : layer->f;
    net->kernels->gemm(layer->z + block.begin, layer->ld,
                       input_of(net, index), layer->ld_in,
                       weight_of(net, index) + block.begin, layer->ld,
                       net->samples, layer->in, block.width,
                       bias_of(net, index) + block.begin);
    learner_activation_forward(net->kernels, &activation, true, layer->f, p,
                               layer->z, net->samples, block.begin,
                               block.width);
}

void learner_net_predict_rows(struct learner_net *net, unsigned index)
{
    const struct learner_shard *shard = &net->shards[index];
    size_t first = net->group_begin[shard->group_begin];
    size_t rows = net->group_begin[shard->group_end] - first;
    if (!net->model->has_mlp)
        return;
    for (unsigned i = 0; i < 2; i++) {
        struct learner_layer *layer = &net->layer[i];
        struct learner_activation_layer activation =
            activation_of(net, i, true);
        float *z = layer->z + first * layer->ld;
        float *f = layer->f + first * layer->ld;
        net->kernels->gemm(z, layer->ld,
                           input_of(net, i) + first * layer->ld_in,
                           layer->ld_in, weight_of(net, i), layer->ld, rows,
                           layer->in, layer->ld, bias_of(net, i));
        learner_activation_forward(net->kernels, &activation, false, f, f, z,
                                   rows, 0, layer->ld);
    }
    const struct learner_layer *last = &net->layer[1];
    net->kernels->gemm(net->logit + first * 16, 16, last->f + first * last->ld,
                       last->ld, net->pack.m2, 16, rows, last->out, 16,
                       net->pack.m2_bias);
}

void learner_net_backward_block(struct learner_net *net, unsigned index,
                                unsigned block_index)
{
    const struct learner_kernels *kernels = net->kernels;
    struct learner_layer *layer = &net->layer[index];
    const struct learner_layer *next = &net->layer[1];
    struct block block = block_of(layer, block_index);
    struct learner_activation_layer activation =
        activation_of(net, index, false);
    size_t begin = block.begin, width = block.width, B = net->samples;
    if (index == 1)
        kernels->gemm(layer->d + begin, layer->ld, net->dlogit, 16,
                      net->pack.m2_turned + begin, layer->ld, B, 2, width,
                      net->pack.zero);
    else
        kernels->gemm(layer->d + begin, layer->ld, next->d, next->ld,
                      net->pack.m1_turned + begin, layer->ld, B, next->out,
                      width, net->pack.zero);
    memset(layer->dalpha + begin, 0, width * sizeof *layer->dalpha);
    memset(layer->dbias + begin, 0, width * sizeof *layer->dbias);
    learner_activation_backward(kernels, &activation, layer->d, layer->dalpha,
                                layer->z, layer->p, B, begin, width);
    kernels->gemm_tn(layer->dweight + begin, layer->ld, input_of(net, index),
                     layer->ld_in, layer->d + begin, layer->ld, layer->in, B,
                     width, net->pack.zero);
    kernels->column_sum(layer->dbias + begin, layer->d + begin, layer->ld, B,
                        width);
}
