/* SPDX-License-Identifier: Apache-2.0 */
/* DIN's column phases: the MLP over the whole batch, cut by columns of its
 * layers; the loss; and the gradients' way back into tensors. See din.h. */
#include <math.h>
#include <string.h>

#include "learner/din.h"

/* Columns [begin, begin + width) of a layer. */
struct block {
    size_t begin, width;
};

unsigned learner_din_blocks(const struct learner_din *din, unsigned layer)
{
    return (din->layer[layer].ld + DIN_BLOCK - 1) / DIN_BLOCK;
}

static struct block block_of(const struct learner_din_layer *layer,
                             unsigned index)
{
    size_t begin = (size_t)index * DIN_BLOCK, left = layer->ld - begin;
    return (struct block){begin, left < DIN_BLOCK ? left : DIN_BLOCK};
}

/* Statistics of the batch, or the moving ones. */
static struct learner_activation_layer
activation_of(const struct learner_din *din, unsigned layer, bool moving)
{
    const struct learner_din_layer *own = &din->layer[layer];
    const struct learner_pack *pack = &din->pack;
    return (struct learner_activation_layer){
        .kind = din->model->config.activation,
        .ld = own->ld,
        .alpha = pack->alpha[layer],
        .mean = moving ? pack->mean[layer] : own->mean,
        .variance = moving ? pack->variance[layer] : own->variance,
        .scale = moving ? pack->scale[layer] : own->scale,
    };
}

static const float *input_of(const struct learner_din *din, unsigned layer)
{
    return layer ? din->layer[0].f : din->y;
}

static const float *weight_of(const struct learner_din *din, unsigned layer)
{
    return layer ? din->pack.m1 : din->pack.m0;
}

static const float *bias_of(const struct learner_din *din, unsigned layer)
{
    return layer ? din->pack.m1_bias : din->pack.m0_bias;
}

void learner_din_forward_block(struct learner_din *din, unsigned index,
                               unsigned block_index)
{
    struct learner_din_layer *layer = &din->layer[index];
    struct block block = block_of(layer, block_index);
    struct learner_activation_layer activation =
        activation_of(din, index, false);
    din->kernels->gemm(layer->z + block.begin, layer->ld,
                       input_of(din, index), layer->ld_in,
                       weight_of(din, index) + block.begin, layer->ld,
                       din->samples, layer->in, block.width,
                       bias_of(din, index) + block.begin);
    learner_activation_forward(din->kernels, &activation, true, layer->f,
                               layer->p, layer->z, din->samples, block.begin,
                               block.width);
}

void learner_din_predict_rows(struct learner_din *din, unsigned index)
{
    const struct learner_din_shard *shard = &din->shards[index];
    size_t first = din->group_begin[shard->group_begin];
    size_t rows = din->group_begin[shard->group_end] - first;
    for (unsigned i = 0; i < 2; i++) {
        struct learner_din_layer *layer = &din->layer[i];
        struct learner_activation_layer activation =
            activation_of(din, i, true);
        float *z = layer->z + first * layer->ld;
        float *f = layer->f + first * layer->ld;
        din->kernels->gemm(z, layer->ld,
                           input_of(din, i) + first * layer->ld_in,
                           layer->ld_in, weight_of(din, i), layer->ld, rows,
                           layer->in, layer->ld, bias_of(din, i));
        learner_activation_forward(din->kernels, &activation, false, f, f, z,
                                   rows, 0, layer->ld);
    }
    const struct learner_din_layer *last = &din->layer[1];
    din->kernels->gemm(din->logit + first * 16, 16, last->f + first * last->ld,
                       last->ld, din->pack.m2, 16, rows, last->out, 16,
                       din->pack.m2_bias);
}

/* margin (B) = logit 0 - logit 1, 0 up to the next whole vector;
 * softmax(logits)[0] = sigma(margin). Returns that length. */
static size_t take_margins(struct learner_din *din)
{
    size_t B = din->samples, whole = (B + 15u) & ~(size_t)15;
    for (size_t i = 0; i < B; i++)
        din->margin[i] = din->logit[i * 16] - din->logit[i * 16 + 1];
    for (size_t i = B; i < whole; i++)
        din->margin[i] = 0;
    memcpy(din->p, din->margin, whole * sizeof *din->p);
    din->kernels->sigmoid(din->p, whole);
    return whole;
}

void learner_din_probability(struct learner_din *din, float *probability)
{
    take_margins(din);
    memcpy(probability, din->p, din->samples * sizeof *probability);
}

/* Ktena et al., RecSys 2019: the fake negative weighted loss. */
static float weight_of_sample(uint8_t kind, float p)
{
    switch ((enum learner_sample_kind)kind) {
    case LEARNER_FNW_NEGATIVE: return (1 - p) * (1 + p);
    case LEARNER_FNW_POSITIVE: return 1 + p;
    case LEARNER_WINDOW: break;
    }
    return 1;
}

double learner_din_output(struct learner_din *din, const uint8_t *label,
                          const uint8_t *kind)
{
    const struct learner_kernels *kernels = din->kernels;
    const struct learner_din_layer *last = &din->layer[1];
    size_t B = din->samples;
    kernels->gemm(din->logit, 16, last->f, last->ld, din->pack.m2, 16, B,
                  last->out, 16, din->pack.m2_bias);
    size_t whole = take_margins(din);
    kernels->softplus(din->plus, din->margin, whole);
    for (size_t i = 0; i < whole; i++)
        din->margin[i] = -din->margin[i];
    kernels->softplus(din->minus, din->margin, whole);
    double loss = 0, divisor = din->model->config.batch_size;
    float share = 1.0f / (float)divisor;
    for (size_t i = 0; i < B; i++) {
        float weight = weight_of_sample(kind[i], din->p[i]);
        float target = label[i] ? 1 : 0;
        float d = weight * (din->p[i] - target) * share;
        loss += (double)weight * (label[i] ? din->minus[i] : din->plus[i]);
        din->dlogit[i * 16] = d;
        din->dlogit[i * 16 + 1] = -d;
    }
    kernels->gemm_tn(din->dm2, 16, last->f, last->ld, din->dlogit, 16,
                     last->out, B, 16, din->pack.zero);
    memset(din->dm2_bias, 0, 16 * sizeof *din->dm2_bias);
    kernels->column_sum(din->dm2_bias, din->dlogit, 16, B, 16);
    return loss / divisor;
}

void learner_din_backward_block(struct learner_din *din, unsigned index,
                                unsigned block_index)
{
    const struct learner_kernels *kernels = din->kernels;
    struct learner_din_layer *layer = &din->layer[index];
    const struct learner_din_layer *next = &din->layer[1];
    struct block block = block_of(layer, block_index);
    struct learner_activation_layer activation =
        activation_of(din, index, false);
    size_t begin = block.begin, width = block.width, B = din->samples;
    if (index == 1)
        kernels->gemm(layer->d + begin, layer->ld, din->dlogit, 16,
                      din->pack.m2_turned + begin, layer->ld, B, 2, width,
                      din->pack.zero);
    else
        kernels->gemm(layer->d + begin, layer->ld, next->d, next->ld,
                      din->pack.m1_turned + begin, layer->ld, B, next->out,
                      width, din->pack.zero);
    memset(layer->dalpha + begin, 0, width * sizeof *layer->dalpha);
    memset(layer->dbias + begin, 0, width * sizeof *layer->dbias);
    learner_activation_backward(kernels, &activation, layer->d, layer->dalpha,
                                layer->z, layer->p, B, begin, width);
    kernels->gemm_tn(layer->dweight + begin, layer->ld, input_of(din, index),
                     layer->ld_in, layer->d + begin, layer->ld, layer->in, B,
                     width, din->pack.zero);
    kernels->column_sum(layer->dbias + begin, layer->d + begin, layer->ld, B,
                        width);
}

/* to (m,n) from (m,ld) */
static void narrow(float *to, const float *from, size_t ld, size_t m, size_t n)
{
    for (size_t i = 0; i < m; i++)
        memcpy(to + i * n, from + i * ld, n * sizeof *to);
}

static void collect_attention(const struct learner_din *din, float *ddense)
{
    const struct learner_model *model = din->model;
    const struct learner_tensor *tensors = model->tensors;
    const struct learner_din_partial *sum = &din->shards[0].partial;
    size_t D = model->D, ldA0 = model->ldA0, ldA1 = model->ldA1;
    size_t A0 = model->config.attention_hidden[0];
    size_t A1 = model->config.attention_hidden[1];
    float *dwq = ddense + tensors[DIN_ATTENTION_0_WEIGHT].offset;
    float *dwk = dwq + D * A0, *dwd = dwk + D * A0, *dwp = dwd + D * A0;
    narrow(dwq, sum->daq, ldA0, D, A0);
    narrow(dwk, sum->dak, ldA0, D, A0);
    for (size_t i = 0; i < D * A0; i++)
        dwd[i] = dwq[i] - dwk[i];
    narrow(dwp, sum->dap, ldA0, D, A0);
    narrow(ddense + tensors[DIN_ATTENTION_0_BIAS].offset, sum->da0_bias, ldA0,
           1, A0);
    narrow(ddense + tensors[DIN_ATTENTION_1_WEIGHT].offset, sum->da1, ldA1,
           A0, A1);
    narrow(ddense + tensors[DIN_ATTENTION_1_BIAS].offset, sum->da1_bias, ldA1,
           1, A1);
    narrow(ddense + tensors[DIN_ATTENTION_2_WEIGHT].offset, sum->da2, ldA1, 1,
           A1);
    ddense[tensors[DIN_ATTENTION_2_BIAS].offset] = *sum->da2_bias;
}

static void collect_mlp(const struct learner_din *din, float *ddense)
{
    const struct learner_tensor *tensors = din->model->tensors;
    for (unsigned i = 0; i < 2; i++) {
        const struct learner_din_layer *layer = &din->layer[i];
        unsigned weight = DIN_MLP_0_WEIGHT + 2 * i;
        narrow(ddense + tensors[weight].offset, layer->dweight, layer->ld,
               layer->in, layer->out);
        narrow(ddense + tensors[weight + 1].offset, layer->dbias, layer->ld,
               1, layer->out);
        narrow(ddense + tensors[DIN_MLP_0_ALPHA + i].offset, layer->dalpha,
               layer->ld, 1, layer->out);
    }
    narrow(ddense + tensors[DIN_MLP_2_WEIGHT].offset, din->dm2, 16,
           din->layer[1].out, 2);
    narrow(ddense + tensors[DIN_MLP_2_BIAS].offset, din->dm2_bias, 16, 1, 2);
}

void learner_din_collect(struct learner_din *din, float *ddense)
{
    const struct learner_model *model = din->model;
    const struct learner_din_partial *sum = &din->shards[0].partial;
    for (unsigned s = 1; s < din->shard_count; s++) {
        const float *from = din->partials + s * din->partial_size;
        for (size_t i = 0; i < din->partial_size; i++)
            din->partials[i] += from[i];
    }
    memset(ddense, 0, model->dense_size * sizeof *ddense);
    float factor = 1.0f / sqrtf(LEARNER_BN_VARIANCE);
    float *dgamma = ddense + model->tensors[DIN_BN_GAMMA].offset;
    for (size_t j = 0; j < model->X; j++)
        dgamma[j] = sum->dgamma[j] * factor;
    narrow(ddense + model->tensors[DIN_BN_BETA].offset, sum->dbeta, model->ldX,
           1, model->X);
    collect_attention(din, ddense);
    collect_mlp(din, ddense);
}

void learner_din_move(const struct learner_din *din, float *dense)
{
    const struct learner_tensor *tensors = din->model->tensors;
    if (din->model->config.activation != LEARNER_DICE)
        return;
    for (unsigned i = 0; i < 2; i++) {
        const struct learner_din_layer *layer = &din->layer[i];
        unsigned mean = DIN_MLP_0_MEAN + 2 * i;
        learner_activation_move(dense + tensors[mean].offset, layer->mean,
                                layer->out);
        learner_activation_move(dense + tensors[mean + 1].offset,
                                layer->variance, layer->out);
    }
}
